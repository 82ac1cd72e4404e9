"""Load for any server that speaks RESP: the parts of `load.py`, `soak.py` and `locustfile.py`.

What locust needs is in `resp_user`, `users` and `stages`; only `locustfile.py` imports those, in an environment of its
own. Everything else is plain Python: it plans a run, reads what the clients have recorded, and judges it.
"""
