"""mpkv beside redis-server: the parts of `loadtests/bench.py`, one module a question, and what they share."""
