"""What was read together is answered together, over several shards too; nobody waits for a shard that is not his."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from mpkv.sharding import shard_of
from mpkv.testing import Server
from tests.helpers.reference import Connection
from tests.helpers.running import leaving_nothing

WORKERS = 4
TICKS_HZ = 1
KEYS = [next(key for key in (b"k%d" % i for i in range(1000)) if shard_of(key, WORKERS) == s) for s in range(WORKERS)]


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    """A server of this module's own: its writes are counted, and its workers are stopped and continued."""
    with leaving_nothing(WORKERS, hz=TICKS_HZ) as server:
        yield server


@pytest.fixture
def client(running: Server) -> Iterator[Connection]:
    connection = Connection(running.port)
    connection.call([b"FLUSHALL"])
    yield connection
    connection.close()


def stats(client: Connection, field: str) -> int:
    info = client.call([b"INFO", b"stats"]).decode()
    return int(next(line for line in info.splitlines() if line.startswith(field + ":")).partition(":")[2])


def test_a_pipeline_over_all_shards_is_answered_with_one_write(client: Connection):
    pipelines = 200
    before = stats(client, "total_writes_processed")
    for _ in range(pipelines):
        client.call_all([[b"INCR", KEYS[i % WORKERS]] for i in range(16)])
    written = stats(client, "total_writes_processed") - before
    assert pipelines < written <= pipelines + 5, "replies of one read left in pieces"


def test_replies_before_a_blocked_command_do_not_wait_for_it(running: Server, client: Connection):
    client.send([[b"SET", KEYS[0], b"v"], [b"GET", KEYS[1]], [b"BLPOP", KEYS[2], b"0"]])
    assert client.receive() == b"+OK\r\n"
    assert client.receive() == b"$-1\r\n"
    other = Connection(running.port)
    other.call([b"RPUSH", KEYS[2], b"x"])
    other.close()
    assert client.receive() == b"*2\r\n$%d\r\n%b\r\n$1\r\nx\r\n" % (len(KEYS[2]), KEYS[2])


def test_replies_before_a_blocked_command_reach_a_client_that_has_sent_its_last_byte(
    running: Server, client: Connection
):
    for attempt in range(30):
        connection = Connection(running.port)
        connection.send([*([b"STRLEN", key] for key in KEYS), [b"BLPOP", b"none:%d" % attempt, b"5"]])
        connection.send_end()
        assert [connection.receive() for _ in KEYS] == [b":0\r\n"] * len(KEYS)
        assert connection.read(1) == b""
        connection.close()


def test_a_message_does_not_wait_for_replies_that_are_under_way(running: Server, client: Connection):
    subscriber = Connection(running.port)
    subscriber.call([b"HELLO", b"3"])
    subscriber.call([b"SUBSCRIBE", b"news"])
    worker = running.kill(signal.SIGSTOP, role=f"worker {WORKERS - 1}")
    try:
        subscriber.send([[b"STRLEN", KEYS[WORKERS - 1]]])
        time.sleep(0.1)
        assert client.call([b"PUBLISH", b"news", b"x"]) == b":1\r\n"
        assert subscriber.receive() == b">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nx\r\n"
    finally:
        os.kill(worker, signal.SIGCONT)
    assert subscriber.receive() == b":0\r\n"
    subscriber.close()


def test_a_time_out_that_its_worker_did_not_live_to_see_ends_the_wait_all_the_same(running: Server, client: Connection):
    waiting = Connection(running.port)
    started = time.monotonic()
    waiting.send([[b"BLPOP", KEYS[2], b"0.6"]])
    time.sleep(0.3)
    running.kill(signal.SIGSTOP, role="worker 2")
    time.sleep(0.6)
    running.kill(signal.SIGKILL, role="worker 2")
    assert waiting.receive() == b"*-1\r\n"
    assert time.monotonic() - started >= 0.6
    waiting.close()
    assert client.call([b"RPUSH", KEYS[2], b"x"]) == b":1\r\n", "the dead wait took the element"


def test_replies_that_are_there_leave_when_the_shard_of_the_others_dies(running: Server, client: Connection):
    """The group would be whole only when the shard is back: far later than the replies of the living."""
    running.kill(signal.SIGSTOP, role=f"worker {WORKERS - 1}")
    client.send([[b"INCR", KEYS[0]], [b"INCR", KEYS[WORKERS - 1]]])
    time.sleep(0.2)
    running.kill(signal.SIGKILL, role=f"worker {WORKERS - 1}")
    started = time.monotonic()
    assert client.receive() == b":1\r\n"
    first = time.monotonic() - started
    assert client.receive() == b":1\r\n"
    assert first < time.monotonic() - started - 0.05, "both came together: the first was held back"


# -- bells: with one tick a second it shows which answer the tick has found, as its worker did not ring ----------------

ROUNDS = 6
#: On average; a tick would take half a second.
PROMPT_S = 0.2


def stop(server: Server, shard: int) -> int:
    return server.kill(signal.SIGSTOP, role=f"worker {shard}")


def prompt(average_s: Callable[[], float]) -> bool:
    """Whether a bell rang: the best of a few, as on a busy machine a process may wait for a processor for longer."""
    return any(average_s() < PROMPT_S for _ in range(3))


def test_a_part_that_is_answered_after_its_siblings_rings(running: Server, client: Connection):
    def average_s() -> float:
        waited = 0.0
        for _ in range(ROUNDS):
            worker = stop(running, 0)
            client.send([[b"MSET", KEYS[0], b"1", KEYS[1], b"2"]])
            time.sleep(0.05)
            os.kill(worker, signal.SIGCONT)
            started = time.monotonic()
            assert client.receive() == b"+OK\r\n"
            waited += time.monotonic() - started
        return waited / ROUNDS

    assert prompt(average_s)


def test_a_request_before_a_part_rings_while_the_siblings_wait(running: Server, client: Connection):
    other = Connection(running.port)

    def average_s() -> float:
        waited = 0.0
        for _ in range(ROUNDS):
            first, second = stop(running, 0), stop(running, 1)
            other.send([[b"INCR", b"other{" + KEYS[0] + b"}"]])
            time.sleep(0.05)
            client.send([[b"MSET", KEYS[0], b"1", KEYS[1], b"2"]])
            time.sleep(0.05)
            os.kill(first, signal.SIGCONT)
            started = time.monotonic()
            assert other.receive().startswith(b":")
            waited += time.monotonic() - started
            os.kill(second, signal.SIGCONT)
            assert client.receive() == b"+OK\r\n"
        return waited / ROUNDS

    assert prompt(average_s)
    other.close()


@pytest.mark.parametrize("stopped", [0, 1])
def test_a_write_over_two_shards_that_waits_for_one_slows_nobody_on_the_other(
    running: Server, client: Connection, stopped: int
):
    worker = stop(running, stopped)
    try:
        client.send([[b"MSET", KEYS[0], b"1", KEYS[1], b"2"]])
        other = Connection(running.port)

        def average_s() -> float:
            started = time.monotonic()
            for _ in range(ROUNDS):
                assert other.call([b"TTL", KEYS[1 - stopped]]) in (b":-1\r\n", b":-2\r\n")
            return (time.monotonic() - started) / ROUNDS

        was_prompt = prompt(average_s)
        other.close()
    finally:
        os.kill(worker, signal.SIGCONT)
    assert client.receive() == b"+OK\r\n"
    assert was_prompt
