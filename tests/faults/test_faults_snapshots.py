"""A snapshot is all of one moment or nothing: whoever dies over it, the old file stays and nothing is left lying about.

A snapshot child that is stopped holds its snapshot open as long as a test needs.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from mpkv.testing import Server
from tests.faults.token_load import (
    Client,
    TokenLoad,
    faulty_server,
    key_on,
    kill,
    temporary_files,
    totals,
    wait_until,
)  # fmt: skip


def persistence(server: Server) -> dict[str, str]:
    text = Client(server).call("INFO", "persistence")
    assert isinstance(text, bytes)
    return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)


def snapshot_child(server: Server, shard: int) -> int | None:
    """The process that writes a shard's part, if there is one."""
    children = psutil.Process(server.processes()[f"worker {shard}"]).children()
    return children[0].pid if children else None


@contextmanager
def held_snapshot(server: Server, shard: int) -> Iterator[int]:
    """A BGSAVE under way whose child of one shard does nothing; the child."""
    client = Client(server)
    client.call("DEBUG", "POPULATE", 400_000, "filler")
    assert client.call("BGSAVE") == b"Background saving started"
    child: int | None = None
    while child is None:
        child = snapshot_child(server, shard)
        assert child is not None or persistence(server)["rdb_bgsave_in_progress"] == "1", "it was too quick to hold"
    os.kill(child, signal.SIGSTOP)
    try:
        yield child
    finally:
        if psutil.pid_exists(child):
            os.kill(child, signal.SIGCONT)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server with a snapshot of `old` and newer data in memory."""
    with faulty_server() as running:
        client = Client(running)
        client.set_all(b"old")
        assert client.call("SAVE") == b"OK"
        client.set_all(b"new")
        yield running


def dump(server: Server) -> bytes:
    return (server.dir / "dump.rdb").read_bytes()


def assert_the_next_snapshot_works(server: Server, before: bytes) -> None:
    """And holds what is there now."""
    assert dump(server) == before
    wait_until(lambda: temporary_files(server) == [], "the parts are removed")
    assert Client(server).call("SAVE") == b"OK"
    assert persistence(server)["rdb_last_bgsave_status"] == "ok"
    assert dump(server) != before
    assert temporary_files(server) == []


def test_a_snapshot_child_that_is_killed_fails_the_snapshot(server: Server) -> None:
    before = dump(server)
    with held_snapshot(server, 2) as child:
        os.kill(child, signal.SIGKILL)
        totals["kills"] += 1
        wait_until(lambda: persistence(server)["rdb_bgsave_in_progress"] == "0", "the snapshot ends")
        assert persistence(server)["rdb_last_bgsave_status"] == "err"
    assert_the_next_snapshot_works(server, before)


def test_a_worker_that_is_killed_during_a_snapshot_fails_it(server: Server) -> None:
    before = dump(server)
    with held_snapshot(server, 1) as child:
        kill(server, "worker 3")
        os.kill(child, signal.SIGCONT)
        wait_until(lambda: persistence(server)["rdb_bgsave_in_progress"] == "0", "the snapshot ends")
        assert persistence(server)["rdb_last_bgsave_status"] == "err"
    server.wait_until_ready()
    assert_the_next_snapshot_works(server, before)


def test_a_frontend_that_is_killed_during_a_snapshot_ends_it(server: Server) -> None:
    before = dump(server)
    with held_snapshot(server, 0):
        kill(server, "frontend")
        server.wait_until_ready()
        assert temporary_files(server) == []
        assert snapshot_child(server, 0) is None
    assert persistence(server)["rdb_bgsave_in_progress"] == "0"
    assert_the_next_snapshot_works(server, before)


def test_no_snapshot_starts_while_a_shard_is_down(server: Server) -> None:
    before = dump(server)
    client = Client(server)
    stalled = Client(server)
    stalled.send("DEBUG", "SLEEP", 60, 0)
    assert not stalled.answered_within(0.2)
    kill(server, "worker 0")
    assert isinstance(stalled.receive(), Exception)  # from here on the frontend knows
    refusal = client.call("BGSAVE")
    assert str(refusal).startswith("ERR a shard is down or loading"), refusal
    assert dump(server) == before
    server.wait_until_ready()
    assert_the_next_snapshot_works(server, before)


def test_a_snapshot_under_load_holds_whole_writes_only() -> None:
    with faulty_server() as server:
        for _ in range(2):
            with TokenLoad(server, writers=4) as load:
                load.go_on()
                assert Client(server).call("BGSAVE") == b"Background saving started"
                wait_until(lambda: persistence(server)["rdb_bgsave_in_progress"] == "0", "the snapshot ends")
                load.go_on()
            assert load.tears == []
            for pid in server.family():
                os.kill(pid, signal.SIGKILL)
                totals["kills"] += 1
            wait_until(lambda: not server.family() and not server.is_running, "all are gone")
            server.start()
            (token,) = Client(server).tokens()
            assert token is not None


def test_the_save_schedule_does_not_forget_when_the_last_snapshot_was(server: Server) -> None:
    before = Client(server).call("LASTSAVE")
    kill(server, "frontend")
    assert Client(server).call("LASTSAVE") == before
    assert Client(server).call("GET", key_on(0)) is None
