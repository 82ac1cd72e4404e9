"""Processes are killed while large values are under way: what was not begun is done, nothing is mixed up, and all pages
come back."""

from __future__ import annotations

import hashlib
import random
import threading
import time

from mpkv.testing import Server
from tests.faults.token_load import BACK_S, ROUNDS, SHARDS, Client, faulty_server, key_on, kill, totals, wait_until
from tests.helpers.pages import all_pages_come_back, by_reference, pages_in_use
from tests.helpers.reference import free_port

MB = 1 << 20
VALUE_BYTES = 700_000


def sealed(seed: int) -> bytes:
    """Bytes that say themselves whether they are whole."""
    body = random.Random(seed).randbytes(VALUE_BYTES)
    return hashlib.sha256(body).digest() + body


def is_whole(value: bytes) -> bool:
    return hashlib.sha256(value[32:]).digest() == value[:32]


def test_large_requests_that_a_dead_worker_had_not_begun_reach_its_successor_whole() -> None:
    port = free_port()
    with faulty_server(metrics_port=port) as server:
        sleeper = Client(server)
        sleeper.send("DEBUG", "SLEEP", 60, 1)
        assert not sleeper.answered_within(0.3)
        clients = [Client(server) for _ in range(12)]
        for number, client in enumerate(clients):
            client.send("SET", key_on(1, f"large{number}"), sealed(number))
        wait_until(lambda: pages_in_use(port) > 12 * VALUE_BYTES, "all are under way")
        others = Client(server)
        for number in range(12):  # the pages of those that wait are nobody else's meanwhile
            assert others.call("SET", key_on(2, f"large{number}"), sealed(100 + number)) == b"OK"
        kill(server, "worker 1")
        for number, client in enumerate(clients):
            assert client.receive() == b"OK"
            assert client.call("GET", key_on(1, f"large{number}")) == sealed(number)
        assert all_pages_come_back(port)


def test_a_large_part_that_a_dead_worker_had_not_begun_reaches_its_successor_whole() -> None:
    port = free_port()
    keys = [key_on(shard, "large") for shard in (1, 2)]
    with faulty_server(metrics_port=port) as server:
        sleeper = Client(server)
        sleeper.send("DEBUG", "SLEEP", 60, 1)
        assert not sleeper.answered_within(0.3)
        writer, others = Client(server), Client(server)
        writer.send("MSET", keys[0], sealed(1), keys[1], sealed(2))
        wait_until(lambda: others.call("EXISTS", keys[1]) == 1, "the other part is done")
        for number in range(12):  # the pages of the part that waits are nobody else's meanwhile
            assert others.call("SET", key_on(3, f"large{number}"), sealed(100 + number)) == b"OK"
        kill(server, "worker 1")
        assert writer.receive() == b"OK"
        assert writer.call("MGET", *keys) == [sealed(1), sealed(2)]
        assert all_pages_come_back(port)


def test_a_reply_that_was_under_way_when_its_worker_died_is_whole_or_does_not_come() -> None:
    port = free_port()
    with faulty_server(metrics_port=port) as server:
        key = key_on(3, "large")
        for attempt in range(4 * ROUNDS):
            writer = Client(server)
            assert writer.call("SET", key, sealed(attempt)) == b"OK"
            readers = [Client(server) for _ in range(20)]
            for reader in readers:
                reader.send("GET", key)
            kill(server, "worker 3")
            for reader in readers:
                try:
                    value = reader.receive()
                except (EOFError, ConnectionError):
                    continue
                assert value in (sealed(attempt), None) or str(value).startswith("LOADING"), type(value)
            server.wait_until_ready()
        assert all_pages_come_back(port)


def test_a_new_frontend_begins_with_all_pages_free() -> None:
    port = free_port()
    with faulty_server(metrics_port=port) as server:
        Client(server).send("DEBUG", "SLEEP", 2, 1)
        before = by_reference(port)
        clients = [Client(server) for _ in range(12)]
        for number, client in enumerate(clients):
            client.send("SET", key_on(number % SHARDS, "large"), sealed(number))
        wait_until(lambda: by_reference(port) >= before + 12, "all are under way")
        halfway = Client(server)
        halfway.send_much("SET", key_on(2, "never"), sealed(0)[: MB // 2], times=1)
        kill(server, "frontend")
        reader = Client(server)
        for shard in range(SHARDS):
            value = reader.call("GET", key_on(shard, "large"))
            assert value is None or is_whole(value)  # type: ignore[arg-type]
            assert reader.call("SET", key_on(shard, "large"), sealed(shard)) == b"OK"
            assert reader.call("GET", key_on(shard, "large")) == sealed(shard)
        assert all_pages_come_back(port)


def test_under_kills_no_value_is_mixed_up_and_no_page_is_lost() -> None:
    port = free_port()
    with faulty_server(metrics_port=port, restart_limit=1000) as server, _Load(server) as load:
        for attempt in range(3 * ROUNDS):
            for role in (f"worker {attempt % SHARDS}", "frontend"):
                begun = load.done
                wait_until(lambda begun=begun: load.done > begun + 20, "the load goes on")  # type: ignore[misc]
                kill(server, role)
            server.wait_until_ready()
        load.stop()
        assert not load.damaged
        assert by_reference(port) > load.done // 4
        assert all_pages_come_back(port)


class _Load:
    """Clients that write and read sealed values of all shards, and connect again when they are cut off."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._play, args=(number,)) for number in range(6)]
        self.done = 0
        self.damaged = 0

    def __enter__(self) -> _Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(BACK_S)

    def _play(self, number: int) -> None:
        chance = random.Random(number)
        values = [sealed(number * 10 + place) for place in range(4)]
        keys = [key_on(shard, "shared") for shard in range(SHARDS)]
        client = None
        while not self._stop.is_set():
            try:
                client = client or Client(self._server)
                client.call("SET", chance.choice(keys), chance.choice(values))
                value = client.call("GET", chance.choice(keys))
            except (EOFError, OSError):
                client = None
                time.sleep(0.02)
                continue
            if isinstance(value, bytes):
                self.done += 1
                totals["reads"] += 1
                self.damaged += not is_whole(value)
