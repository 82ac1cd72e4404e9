"""What the others see when a frontend or a worker dies, hangs, or does not stay up."""

import os
import signal
from contextlib import closing
from types import SimpleNamespace

import pytest

from mpkv import supervisor
from mpkv.sharding import shard_of
from tests.faults.token_load import (
    KEYS,
    SHARDS,
    Client,
    faulty_server,
    key_on,
    kill,
    last_numbers,
    loses_connection,
    totals,
    wait_until,
)  # fmt: skip
from tests.helpers.reference import Connection


def info(client: Client, section: str) -> str:
    text = client.call("INFO", section)
    assert isinstance(text, bytes)
    return text.decode()


def test_a_new_frontend_finds_the_data_goes_on_counting_and_refuses_nobody() -> None:
    with faulty_server() as server:
        client = Client(server)
        client.set_all(b"kept")
        before = last_numbers(client)
        client.call("CONFIG", "SET", "hash-max-listpack-entries", 3)
        kill(server, "frontend")
        newcomers = [Client(server) for _ in range(20)]  # in the gap: accepted by nobody yet, refused by nobody
        assert [newcomer.tokens() for newcomer in newcomers] == [{b"kept"}] * 20
        client = newcomers[0]
        assert all(after >= number for after, number in zip(last_numbers(client), before, strict=True))
        client.set_all(b"later")
        assert all(after > number for after, number in zip(last_numbers(client), before, strict=True))
        assert client.call("CONFIG", "GET", "hash-max-listpack-entries") == [b"hash-max-listpack-entries", b"3"]


def test_the_numbers_go_on_when_all_workers_and_the_frontend_were_killed() -> None:
    with faulty_server() as server:
        client = Client(server)
        for _ in range(100):
            client.set_all(b"lost")
        before = last_numbers(client)
        for role in ("worker 0", "worker 1", "worker 2", "worker 3", "frontend"):
            kill(server, role)
        server.wait_until_ready()
        client = Client(server)
        assert client.tokens() == {None}  # there is no snapshot to fall back to
        client.set_all(b"new")
        assert all(after > number for after, number in zip(last_numbers(client), before, strict=True))


def test_sockets_of_links_that_are_past_do_not_stay_in_the_runtime_folder() -> None:
    with faulty_server() as server:
        for role in ("frontend", "worker 1", "frontend"):
            kill(server, role)
            server.wait_until_ready()
        Client(server).tokens()
        names = {path.name for path in server.runtime_dir.glob("w*")}
        assert names == {"w0.1.3", "w1.2.3", "w2.1.3", "w3.1.3"}


def test_a_client_that_loses_many_commands_is_closed_with_one_line_of_the_log() -> None:
    with faulty_server() as server, closing(Connection(server.port)) as losing:
        losing.call([b"RPUSH", key_on(1), *[b"element"] * 500_000])
        # one batch: no reply leaves the worker before all have run
        losing.send([[b"LPOS", key_on(1), b"another"]] * 400)
        client = Client(server)
        client.send("GET", key_on(1))
        assert not client.answered_within(0.1)
        kill(server, "worker 1")
        with pytest.raises((EOFError, ConnectionError)):
            losing.receive()
        assert server.log().count("outcome is unknown") == 1


def test_while_a_worker_is_away_the_others_serve_and_its_own_shard_says_so_or_waits() -> None:
    with faulty_server() as server:
        client, waiting = Client(server), Client(server)
        client.set_all(b"old")
        client.send("DEBUG", "SLEEP", 60, 1)
        assert not client.answered_within(0.3)
        waiting.send("SET", key_on(1), "sent before the death, not begun")
        kill(server, "worker 1")
        others = Client(server)
        for key in KEYS:
            if shard_of(key, SHARDS) != 1:
                assert others.call("GET", key) == b"old"
        away = others.call("GET", key_on(1))
        assert away == b"sent before the death, not begun" or str(away).startswith("LOADING"), away
        assert isinstance(client.receive(), Exception)  # what it died in is not tried again: the shard does not sleep
        assert waiting.receive() == b"OK"
        assert others.call("GET", key_on(1)) == b"sent before the death, not begun"
        assert "worker 1 killed by SIGKILL while it executed command" in server.log()
        assert "shard 1 falls back to its last snapshot" in server.log()


def test_a_worker_that_comes_back_has_its_snapshot_and_the_settings_of_today() -> None:
    with faulty_server() as server:
        client = Client(server)
        client.set_all(b"saved")
        assert client.call("SAVE") == b"OK"
        client.set_all(b"not saved")
        client.call("CONFIG", "SET", "hash-max-listpack-entries", 2)
        kill(server, "worker 2")
        server.wait_until_ready()
        values = client.call(b"MGET", *KEYS)
        assert isinstance(values, list)
        for key, value in zip(KEYS, values, strict=True):
            assert value == (b"saved" if shard_of(key, SHARDS) == 2 else b"not saved")
        table = key_on(2, "hash")
        client.call("HSET", table, "a", 1, "b", 2, "c", 3)
        assert client.call("OBJECT", "ENCODING", table) == b"hashtable"


def test_a_transaction_whose_watched_shard_fell_back_is_not_executed() -> None:
    with faulty_server() as server:
        client, other = Client(server), Client(server)
        key = key_on(1)
        client.call("WATCH", key)
        other.send("DEBUG", "SLEEP", 60, 1)
        assert not other.answered_within(0.3)
        client.call("MULTI")
        client.call("SET", key, "must not be")
        client.send("EXEC")
        assert not client.answered_within(0.2)
        kill(server, "worker 1")
        server.wait_until_ready()
        assert client.receive() is None
        assert client.call("GET", key) is None


def test_a_blocked_client_outlives_its_shards_worker() -> None:
    with faulty_server() as server:
        waiter, impatient, pusher = Client(server), Client(server), Client(server)
        key = key_on(3, "queue")
        waiter.send("BLPOP", key, 0)
        impatient.send("BLPOP", key_on(3, "empty"), "0.5")
        wait_until(lambda: "blocked_clients:2" in info(pusher, "clients"), "both wait")
        kill(server, "worker 3")
        server.wait_until_ready()
        assert impatient.receive() is None
        assert not waiter.answered_within(0.2)
        assert pusher.call("RPUSH", key, "served") == 1
        assert waiter.receive() == [key, b"served"]
        assert waiter.call("PING") == b"PONG"
        assert "blocked_clients:0" in info(pusher, "clients")


def test_what_a_blocked_client_waits_for_is_not_spent_on_one_that_has_left_while_its_worker_was_away() -> None:
    with faulty_server() as server:
        leaver, pusher = Client(server), Client(server)
        key = key_on(0, "queue")
        leaver.send("BLPOP", key, 0)
        wait_until(lambda: "blocked_clients:1" in info(pusher, "clients"), "it waits")
        kill(server, "worker 0")
        leaver.close()
        server.wait_until_ready()
        wait_until(lambda: "blocked_clients:0" in info(pusher, "clients"), "it is forgotten")
        assert pusher.call("RPUSH", key, "kept") == 1
        assert pusher.call("LRANGE", key, 0, -1) == [b"kept"]


def test_a_subscriber_connects_again_to_the_new_frontend() -> None:
    with faulty_server() as server:
        subscriber = Client(server)
        assert subscriber.call("SUBSCRIBE", "news") == [b"subscribe", b"news", 1]
        kill(server, "frontend")
        with pytest.raises((EOFError, ConnectionError)):
            subscriber.receive()
        subscriber = Client(server)
        assert subscriber.call("SUBSCRIBE", "news") == [b"subscribe", b"news", 1]
        assert Client(server).call("PUBLISH", "news", "hello") == 1
        assert subscriber.receive() == [b"message", b"news", b"hello"]


def test_a_stopped_worker_holds_up_nobody_else_and_what_waits_for_it_is_bounded() -> None:
    with faulty_server(worker_max_inflight=1 << 20) as server:
        client = Client(server)
        client.set_all(b"old")
        frontend = server.processes()["frontend"]
        stopped = kill(server, "worker 1", signal.SIGSTOP)
        try:
            memory = resident_bytes(frontend)
            flooding = [Client(server) for _ in range(4)]
            for flood in flooding:
                flood.send_much("SET", key_on(1), "x" * 10_000, times=4_000)
            for key in KEYS:
                if shard_of(key, SHARDS) != 1:
                    assert client.call("GET", key) == b"old"
            # 160 MB were offered: what a client may have unparsed, and the limit, were taken
            assert resident_bytes(frontend) - memory < 60 << 20
        finally:
            os.kill(stopped, signal.SIGCONT)
        for flood in flooding:
            flood.close()
        wait_until(lambda: client.call("GET", key_on(1)) == b"x" * 10_000, "the shard goes on")


def resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as sizes:
        return int(sizes.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_worker_that_does_not_stay_up_is_given_up_and_its_clients_are_told() -> None:
    with faulty_server(restart_limit=3) as server:
        client, waiting = Client(server), Client(server)
        client.set_all(b"old")
        for _ in range(3):
            kill(server, "worker 1")
            server.wait_until_ready()
        client.send("DEBUG", "SLEEP", 60, 1)
        assert not client.answered_within(0.3)
        waiting.send("GET", key_on(1))
        kill(server, "worker 1")
        with pytest.raises((EOFError, ConnectionError)):
            waiting.receive()
        assert "worker 1 has died 4 times" in server.log()
        client = Client(server)
        assert str(client.call("GET", key_on(1))).startswith("LOADING")
        assert str(client.call("BGSAVE")).startswith("ERR")
        assert client.call("GET", key_on(2, "token0")) == b"old"
        kill(server, "frontend")
        client = Client(server)
        assert client.call("GET", key_on(2, "token0")) == b"old"
        assert str(client.call("GET", key_on(1))).startswith("LOADING")
        assert "worker 1" not in server.processes()


def test_restarts_back_off() -> None:
    config = SimpleNamespace(restart_limit=100)
    child = supervisor.Child("worker 0", "mpkv.workers.main", ["0"], 2)
    delays = []
    for _ in range(10):
        supervisor.Supervisor._schedule_restart(SimpleNamespace(config=config, frontend=None), child)  # type: ignore[arg-type]
        assert child.start_at is not None
        delays.append(child.start_at - child.deaths[-1])
    assert delays == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5])


def test_a_frontend_that_does_not_stay_up_ends_the_server() -> None:
    with faulty_server(restart_limit=1) as server:
        kill(server, "frontend")
        server.wait_until_ready()
        kill(server, "frontend")
        wait_until(lambda: not server.is_running, "the server ends")
        assert "the frontend does not stay up" in server.log()
        failed = server._process
        assert failed is not None
        assert failed.returncode == 1
        failed.returncode = 0  # as expected: not a failure of the test


def test_an_idle_server_survives_a_burst_of_crashes_by_command() -> None:
    with faulty_server() as server:
        client = Client(server)
        assert client.call("DEBUG", "CRASH-WORKER", 2) == b"OK"
        totals["kills"] += 1
        server.wait_until_ready()
        assert loses_connection(client, "DEBUG", "CRASH-FRONTEND")
        totals["kills"] += 1
        assert Client(server).call("PING") == b"PONG"
