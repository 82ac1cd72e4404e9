"""Large values travel by reference: they come out as they went in, whatever stands beside them, and no page is lost."""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from mpkv.resp.decoder import decode
from mpkv.sharding import shard_of
from mpkv.testing import Server
from tests.helpers.pages import all_pages_come_back, by_reference, pages_in_use, without_room
from tests.helpers.reference import free_port, pack_request, read_reply
from tests.helpers.running import leaving_nothing

KB, MB = 1 << 10, 1 << 20
LARGE = 16 * KB
WAIT_S = 60.0

Running = tuple[Server, int]


@pytest.fixture(scope="module", params=[1, 4], ids=["1 worker", "4 workers"])
def module_server(request: pytest.FixtureRequest) -> Iterator[Running]:
    port = free_port()
    with leaving_nothing(request.param, metrics_port=port) as server:
        yield server, port


@pytest.fixture
def running(module_server: Running) -> Iterator[Running]:
    """An empty server; after the test all its pages are free."""
    server, port = module_server
    with Client(server) as client:
        assert client.call(b"FLUSHALL") == b"OK"
    yield module_server
    assert all_pages_come_back(port)


class Client:
    """A connection; replies come decoded."""

    def __init__(self, server: Server) -> None:
        self.socket = socket.create_connection((server.host, server.port), timeout=WAIT_S)
        self.stream = self.socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.stream.close()
        self.socket.close()

    def call(self, *words: bytes) -> object:
        self.socket.sendall(pack_request(words))
        return self.receive()

    def receive(self) -> object:
        return decode(read_reply(self.stream))[0]

    def exchange(self, requests: Sequence[Sequence[bytes]]) -> list[object]:
        """Send all requests, and read meanwhile."""
        data = b"".join(map(pack_request, requests))
        writer = threading.Thread(target=self.socket.sendall, args=(data,))
        writer.start()
        replies = [self.receive() for _ in requests]
        writer.join(WAIT_S)
        return replies


def keys_on_all_shards(server: Server) -> list[bytes]:
    """Two keys on each shard, neighbours on different ones."""
    found: dict[int, list[bytes]] = {shard: [] for shard in range(server.workers)}
    number = 0
    while any(len(keys) < 2 for keys in found.values()):
        key = b"key:%d" % number
        found[shard_of(key, server.workers)].append(key)
        number += 1
    return [keys[place] for place in range(2) for keys in found.values()]


def noise(size: int) -> bytes:
    """Bytes of which no part looks like another: what is misplaced is seen."""
    return random.Random(size).randbytes(size)


@pytest.mark.parametrize("size", [LARGE - 100, LARGE - 1, LARGE, LARGE + 1, 256 * KB, MB, 5 * MB + 3, 64 * MB])
def test_a_value_comes_out_as_it_went_in(running: Running, size: int) -> None:
    server, port = running
    value = noise(size)
    before = by_reference(port)
    with Client(server) as client:
        assert client.call(b"SET", b"key", value) == b"OK"
        assert client.call(b"GET", b"key") == value
        assert client.call(b"SET", b"key", value[::-1], b"GET") == value  # by its handler
        assert client.call(b"GET", b"key") == value[::-1]
        assert client.call(b"GETRANGE", b"key", b"0", b"-1") == value[::-1]
        assert client.call(b"APPEND", b"key", value) == 2 * size
        assert client.call(b"STRLEN", b"key") == 2 * size
    grown = by_reference(port) - before
    if LARGE <= size <= 5 * MB + 3:
        assert grown == 7
    elif size < LARGE:  # a reply is a few bytes longer than its value
        assert grown == (4 if size == LARGE - 1 else 0), "the threshold is where it is said to be"


def test_every_kind_of_value_takes_large_words(running: Running) -> None:
    server, port = running
    value, other = noise(100_000), noise(20_000)
    before = by_reference(port)
    with Client(server) as client:
        assert client.call(b"HSET", b"hash", b"a", value, b"small", b"1", other, value) == 3
        assert client.call(b"HGET", b"hash", b"a") == value
        assert client.call(b"HMGET", b"hash", other, b"none", b"small") == [value, None, b"1"]
        assert sorted(client.call(b"HGETALL", b"hash")) == sorted([b"a", value, b"small", b"1", other, value])  # type: ignore[call-overload]
        assert client.call(b"RPUSH", b"list", value, b"between", other) == 3
        assert client.call(b"LRANGE", b"list", b"0", b"-1") == [value, b"between", other]
        assert client.call(b"LPOP", b"list") == value
        assert client.call(b"SADD", b"set", value, other, b"small") == 3
        assert client.call(b"SISMEMBER", b"set", value) == 1
        assert set(client.call(b"SMEMBERS", b"set")) == {value, other, b"small"}  # type: ignore[call-overload]
        assert client.call(b"ZADD", b"zset", b"1", value, b"2", other) == 2
        assert client.call(b"ZRANGE", b"zset", b"0", b"-1") == [value, other]
        assert client.call(b"SET", value, other) == b"OK"  # a large key
        assert client.call(b"GET", value) == other
        assert client.call(b"EXISTS", value, value, b"none") == 2
    assert by_reference(port) >= before + 15


def test_values_over_all_shards_keep_their_places(running: Running) -> None:
    server, _ = running
    keys = keys_on_all_shards(server)
    values = [noise(size) for size, _ in zip(range(10_000, 10_000 + 40_000 * len(keys), 40_000), keys, strict=False)]
    with Client(server) as client:
        words = [word for pair in zip(keys, values, strict=True) for word in pair]
        assert client.call(b"MSET", *words) == b"OK"
        assert client.call(b"MGET", *keys, b"none", *reversed(keys)) == [*values, None, *reversed(values)]
        assert client.call(b"MULTI") == b"OK"
        for key, value in zip(keys, values, strict=True):
            assert client.call(b"SET", key, value[::-1]) == b"QUEUED"
            assert client.call(b"GET", key) == b"QUEUED"
        assert client.call(b"EXEC") == [reply for value in values for reply in (b"OK", value[::-1])]


@pytest.mark.parametrize("size", [LARGE, MB, 5 * MB])
def test_parts_of_a_write_over_shards_travel_by_reference(running: Running, size: int) -> None:
    server, port = running
    keys = keys_on_all_shards(server)[: server.workers]
    values = [noise(size + place) for place in range(len(keys))]
    before = by_reference(port)
    with Client(server) as client:
        assert client.call(b"MSET", *(word for pair in zip(keys, values, strict=True) for word in pair)) == b"OK"
        assert by_reference(port) - before == len(keys)
        for key, value in zip(keys, values, strict=True):
            assert client.call(b"GET", key) == value
    assert not list(server.runtime_dir.glob("intent-*"))


def test_a_pipeline_of_large_and_small_requests_is_answered_in_order(running: Running) -> None:
    server, _ = running
    keys = keys_on_all_shards(server)
    chance = random.Random(4)
    stored: dict[bytes, bytes] = {}
    requests: list[list[bytes]] = []
    expected: list[object] = []
    for _ in range(300):
        key = chance.choice(keys)
        if chance.random() < 0.5:
            stored[key] = noise(chance.choice([3, 100, LARGE - 1, LARGE, LARGE + 7, 50_000, 300_000, 1_500_000]))
            requests.append([b"SET", key, stored[key]])
            expected.append(b"OK")
        else:
            requests.append([b"GET", key])
            expected.append(stored.get(key))
    with Client(server) as client:
        assert client.exchange(requests) == expected


def test_pieces_may_end_anywhere(running: Running) -> None:
    server, _ = running
    value = noise(70_000)
    data = b"".join([
        pack_request([b"SET", b"key", value]), pack_request([b"GET", b"key"]), pack_request([b"PING"]),
        pack_request([b"RPUSH", b"list", value, value[:20_000], value]),
        pack_request([b"LRANGE", b"list", b"0", b"-1"]),
    ])  # fmt: skip
    chance = random.Random(1)
    for _ in range(8):
        with Client(server) as client:
            client.call(b"DEL", b"key", b"list")
            at = 0
            while at < len(data):
                end = at + chance.choice([1, 2, 5, 1000, 16_384, 40_000, 70_000])
                client.socket.sendall(data[at:end])
                at = end
                if chance.random() < 0.3:
                    time.sleep(0.002)
            replies = [client.receive() for _ in range(5)]
            assert replies == [b"OK", value, b"PONG", 3, [value, value[:20_000], value]]


def test_many_clients_at_once_get_what_is_theirs(running: Running) -> None:
    server, _ = running
    failures: list[object] = []

    def play(number: int) -> None:
        value = random.Random(number).randbytes(700_000 + number)
        with Client(server) as client:
            for _ in range(8):
                got = client.exchange([[b"SET", b"own:%d" % number, value], [b"GET", b"own:%d" % number]])
                if got != [b"OK", value]:
                    failures.append(number)

    players = [threading.Thread(target=play, args=(number,)) for number in range(30)]
    for player in players:
        player.start()
    for player in players:
        player.join(WAIT_S)
    assert not failures


def test_a_large_request_with_an_error_is_answered_with_it(running: Running) -> None:
    server, _ = running
    value = noise(1_000_000)
    with Client(server) as client:
        client.call(b"RPUSH", b"list", b"x")
        assert "WRONGTYPE" in str(client.call(b"APPEND", b"list", value))
        assert "unknown command" in str(client.call(b"NO-SUCH", value))
        assert "wrong number" in str(client.call(b"GET", b"key", value))
        assert client.call(b"PING") == b"PONG"


# -- room --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["0", "16kb", "100kb", "1mb"])
def test_without_room_values_travel_as_small_ones_do(pool: str) -> None:
    port = free_port()
    with leaving_nothing(2, metrics_port=port, large_value_pool=pool) as server:
        keys = keys_on_all_shards(server)
        values = [noise(size) for size in (16_384, 30_000, 100_000, 1_000_000)]
        with Client(server) as client:
            for _ in range(3):
                requests = [[b"SET", key, value] for key, value in zip(keys, values, strict=True)]
                assert client.exchange(requests) == [b"OK"] * 4
                assert client.exchange([[b"GET", key] for key in keys]) == values
                assert client.call(b"MGET", *keys) == values
        if pool == "0":
            assert by_reference(port) == without_room(port) == 0
        else:
            assert without_room(port) > 0
        assert all_pages_come_back(port)


def test_the_threshold_is_a_setting() -> None:
    port = free_port()
    with leaving_nothing(1, metrics_port=port, large_value="100kb") as server, Client(server) as client:
        client.call(b"SET", b"key", noise(100 * KB - 1))
        assert by_reference(port) == 0
        client.call(b"SET", b"key", noise(100 * KB))
        assert by_reference(port) == 1


def test_no_rings_no_references() -> None:
    port = free_port()
    with leaving_nothing(2, metrics_port=port, link_rings=False) as server, Client(server) as client:
        value = noise(1_000_000)
        assert client.call(b"SET", b"key", value) == b"OK"
        assert client.call(b"GET", b"key") == value
        assert by_reference(port) == 0


def memory_of_segment(server: Server) -> int:
    """What the shared segment takes, as the supervisor sees the file."""
    for entry in os.scandir(f"/proc/{server.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            if "memfd:mpkv " in os.readlink(entry.path):
                return os.stat(entry.path).st_blocks * 512
    raise AssertionError("there is no segment")


def test_memory_of_a_burst_goes_back(running: Running) -> None:
    server, _ = running
    value = noise(4 * MB)
    clients = [Client(server) for _ in range(5)]
    with Client(server) as sleeper:
        sleeper.socket.sendall(pack_request([b"DEBUG", b"SLEEP", b"2", b"%d" % shard_of(b"burst", server.workers)]))
        time.sleep(0.2)
        for client in clients:
            client.socket.sendall(pack_request([b"SET", b"burst", value]))
        _wait_for(lambda: memory_of_segment(server) > 20 * MB)
        most = memory_of_segment(server)
        for client in clients:
            assert client.receive() == b"OK"
            client.close()
    end = time.monotonic() + WAIT_S
    while memory_of_segment(server) > most // 4:
        assert time.monotonic() < end, "the pages are still there"
        time.sleep(0.1)


# -- clients that do not play along ------------------------------------------------------------------------------------


def test_a_client_that_vanishes_in_mid_value_leaves_no_page_behind(running: Running) -> None:
    server, port = running
    data = pack_request([b"SET", b"key", noise(3 * MB)])
    clients = [Client(server) for _ in range(6)]
    for number, client in enumerate(clients):
        client.socket.sendall(data[: (number + 1) * 400_000])
    _wait_for(lambda: pages_in_use(port) > 3 * MB)
    for client in clients:
        client.close()
    assert all_pages_come_back(port)
    with Client(server) as client:
        assert client.call(b"EXISTS", b"key") == 0


def test_a_client_that_pauses_in_mid_value_goes_on_without_pages(running: Running) -> None:
    server, port = running
    value = noise(3 * MB)
    data = pack_request([b"SET", b"key", value])
    with Client(server) as slow:
        slow.socket.sendall(data[: 2 * MB])
        _wait_for(lambda: pages_in_use(port) > MB)
        assert all_pages_come_back(port), "who is slow must make room"
        slow.socket.sendall(data[2 * MB :])
        assert slow.receive() == b"OK"
        assert slow.call(b"GET", b"key") == value


def test_what_was_announced_takes_pages_for_a_moment_and_not_all_of_them(running: Running) -> None:
    server, port = running
    announcement = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$60000000\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(Client(server)).socket.sendall(announcement + b"x" * 20_000)
        _wait_for(lambda: pages_in_use(port) > 0)
        assert pages_in_use(port) <= 16 * MB
        assert all_pages_come_back(port)


def test_a_client_that_never_reads_pins_no_pages(running: Running) -> None:
    server, port = running
    value = noise(MB)
    with Client(server) as client, Client(server) as deaf:
        assert client.call(b"SET", b"key", value) == b"OK"
        deaf.socket.sendall(pack_request([b"GET", b"key"]) * 40)
        select.select([deaf.socket], [], [], WAIT_S)
        assert all_pages_come_back(port)
        assert client.call(b"GET", b"key") == value
        assert [deaf.receive() for _ in range(40)] == [value] * 40


def test_an_unauthenticated_client_gets_no_pages() -> None:
    port = free_port()
    with leaving_nothing(1, metrics_port=port, requirepass="secret") as server:
        with Client(server) as stranger:
            stranger.socket.sendall(b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$1000000\r\n" + b"x" * 100_000)
            assert "unauthenticated bulk length" in str(stranger.receive())
        assert pages_in_use(port) == by_reference(port) == 0
        with Client(server) as friend:
            friend.call(b"AUTH", b"secret")
            assert friend.call(b"SET", b"key", noise(MB)) == b"OK"
        assert by_reference(port) == 1


def test_a_snapshot_child_is_not_confused_by_pages(running: Running) -> None:
    """It walks a fork's private memory; what travels meanwhile is in no snapshot."""
    server, _ = running
    value = noise(MB)
    with Client(server) as client:
        for number in range(20):
            client.call(b"SET", b"old:%d" % number, value)
        assert client.call(b"BGSAVE") == b"Background saving started"
        for number in range(20):
            assert client.call(b"SET", b"old:%d" % number, value[::-1]) == b"OK"
            assert client.call(b"GET", b"old:%d" % number) == value[::-1]
        _wait_for(lambda: b"rdb_bgsave_in_progress:0" in client.call(b"INFO", b"persistence"))  # type: ignore[operator]
        assert b"rdb_last_bgsave_status:ok" in client.call(b"INFO", b"persistence")  # type: ignore[operator]
        assert (Path(server.dir) / "dump.rdb").stat().st_size > 20 * 1000
        assert client.call(b"DEBUG", b"RELOAD", b"NOSAVE") == b"OK"
        for number in range(20):
            assert client.call(b"GET", b"old:%d" % number) == value


def _wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.01)
