"""What a dead frontend had still sent is not executed after its successor has begun (R2): the epoch decides."""

import time

from mpkv.sharding import shard_of
from mpkv.testing import Server
from mpkv.workers.link import OLD_LINK_CLOSED_AFTER_S
from tests.faults.token_load import BACK_S, KEYS, SHARDS, Client, faulty_server, kill, totals, wait_until

STALLED = 3
#: Longer than a frontend's restart takes: the stalled worker must not get at its old link before.
STALL_S = 4
#: A batch that gathers while another is under way is sent with the next tick.
QUEUED_S = 0.3


def tokens_after_stale_delivery(server: Server) -> set[object]:
    """Stall a worker, queue old writes on its link, kill the frontend, write newer ones: what all keys hold at last."""
    client = Client(server)
    client.set_all(b"first")
    client.send("DEBUG", "SLEEP", STALL_S, STALLED)
    assert not client.answered_within(0.2)
    writers = [Client(server) for _ in range(3)]
    for writer in writers:
        writer.send(b"MSET", *(word for key in KEYS for word in (key, b"old")))
    moving = [key for key in KEYS if shard_of(key, SHARDS) != STALLED]
    reader = Client(server)
    wait_until(lambda: reader.call(b"MGET", *moving) == [b"old"] * len(moving), "the other shards have executed them")
    time.sleep(QUEUED_S)
    dead = kill(server, "frontend")
    wait_until(lambda: server.processes().get("frontend", dead) != dead, "there is a new frontend", STALL_S - 1)
    assert Client(server).set_all(b"newer") is not None
    seen: set[object] = set()
    end = time.monotonic() + OLD_LINK_CLOSED_AFTER_S
    while time.monotonic() < end and len(seen) < 2:
        try:
            seen = Client(server).tokens()
        except (EOFError, OSError):
            continue  # with the check off, replies to nobody's requests cost the frontend its life
        time.sleep(0.02)
    return seen


def test_what_a_dead_frontend_had_sent_is_dropped() -> None:
    with faulty_server() as server:
        assert tokens_after_stale_delivery(server) == {b"newer"}
        assert "dropped a batch of epoch 1" in server.log()


def test_control_without_the_check_of_the_epoch_an_old_write_undoes_a_newer_one() -> None:
    with faulty_server(debug_ignore_epoch=True, restart_limit=1000) as server:
        assert tokens_after_stale_delivery(server) == {b"old", b"newer"}
        totals["tears_of_controls"] += 1
        wait_until(lambda: "frontend" in server.processes(), "the frontend is back", BACK_S)
