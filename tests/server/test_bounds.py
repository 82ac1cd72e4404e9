"""Nothing grows without a bound: clients that do not read, do not finish, or send more than can be worked off.

Memory is read from the kernel: the proportional set size of every process, so that what they share counts once. Bounds
are far above what is used and far below what an unbounded server would take.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mpkv.sharding import shard_of
from mpkv.testing import Server
from tests.helpers.reference import free_port, pack_request
from tests.helpers.running import leaving_nothing, without_leaks

MB = 1 << 20
WAIT_S = 60.0
WORKERS = 2
MILLION = 1_000_000
METRICS_PORT = free_port()


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    """A server of this module's own: its memory is measured, and its processes are stopped and continued."""
    with leaving_nothing(WORKERS, loglevel="verbose", metrics_port=METRICS_PORT) as server:
        yield server


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    with Client(running) as client:
        client.ask(b"FLUSHALL")
    with without_leaks(running):
        yield running


class Client:
    """A connection that sends and receives when it is told to."""

    def __init__(self, server: Server) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S)
        self.stream = self.socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self.socket.close()

    def send(self, *words: bytes) -> None:
        self.socket.sendall(pack_request(words))

    def line(self) -> bytes:
        return self.stream.readline().rstrip(b"\r\n")

    def bulk(self) -> bytes:
        size = int(self.line()[1:])
        return self.stream.read(size + 2)[:-2]

    def ask(self, *words: bytes) -> bytes:
        """The first line of the reply."""
        self.send(*words)
        return self.line()

    def fetch(self, *words: bytes) -> bytes:
        """A reply that is a bulk string."""
        self.send(*words)
        return self.bulk()

    def is_hung_up_on(self) -> bool:
        """Read on until the server closes; False if it is silent for long instead."""
        try:
            while self.socket.recv(MB):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True


@pytest.fixture
def observer(server: Server) -> Iterator[Client]:
    """A client that has nothing to do with what the test does."""
    with Client(server) as client:
        yield client


@contextlib.contextmanager
def settings(server: Server, **directives: str) -> Iterator[None]:
    """Directives that are others within the block."""
    new = {name.replace("_", "-").encode(): value.encode() for name, value in directives.items()}
    old = {}
    with Client(server) as client:
        for name in new:
            assert client.ask(b"CONFIG", b"GET", name) == b"*2"
            client.bulk()
            old[name] = client.bulk()
    try:
        _set(server, new)
        yield
    finally:
        _set(server, old)


def _set(server: Server, directives: dict[bytes, bytes]) -> None:
    with Client(server) as client:
        for name, value in directives.items():
            assert client.ask(b"CONFIG", b"SET", name, value) == b"+OK"


def memory_mb(server: Server, role: str | None = None) -> float:
    """Proportional set size of one process or of all."""
    pids = [pid for name, pid in server.processes().items() if role in (None, name)]
    return sum(_proportional_kb(pid) for pid in pids) / 1024


def _proportional_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def counted(name: str) -> int:
    """A counter of /metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{METRICS_PORT}/metrics", timeout=WAIT_S) as page:
        lines = page.read().decode().splitlines()
    return int(next(float(line.split()[1]) for line in lines if line.startswith(f"redis_{name} ")))


OUTPUT_LIMIT = "client_output_buffer_limit_disconnections_total"
QUERY_LIMIT = "client_query_buffer_limit_disconnections_total"


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def clients(client: Client) -> int:
    return client.fetch(b"CLIENT", b"LIST").count(b" laddr=")


class Pulse:
    """Asks for a key again and again while the block runs: the slowest answer says whether others noticed."""

    def __init__(self, server: Server) -> None:
        self._client = Client(server)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat)
        self.answers_ms: list[float] = []

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(WAIT_S)
        self._client.__exit__()

    def _beat(self) -> None:
        while not self._stop.is_set():
            begun = time.perf_counter()
            self._client.ask(b"GET", b"pulse")
            self.answers_ms.append((time.perf_counter() - begun) * 1000)
            time.sleep(0.002)

    @property
    def median_ms(self) -> float:
        return sorted(self.answers_ms)[len(self.answers_ms) // 2]


# -- clients that do not read ------------------------------------------------------------------------------------------


def test_a_client_that_never_reads_is_disconnected_at_the_hard_limit(server: Server, observer: Client):
    before = counted(OUTPUT_LIMIT)
    memory_before = memory_mb(server)
    observer.ask(b"SET", b"large", b"x" * MB)
    with settings(server, client_output_buffer_limit="normal 8mb 0 0"), Client(server) as deaf:
        deaf.socket.sendall(pack_request([b"GET", b"large"]) * 400)
        wait_until(lambda: counted(OUTPUT_LIMIT) > before, "nobody was cut")
        assert clients(observer) == 1
        assert memory_mb(server) < memory_before + 150
        assert deaf.is_hung_up_on()
    assert "overcoming of output buffer limits" in server.log()


def test_the_soft_limit_gives_a_client_time_to_read(server: Server, observer: Client):
    before = counted(OUTPUT_LIMIT)
    observer.ask(b"SET", b"large", b"x" * MB)
    with settings(server, client_output_buffer_limit="normal 0 4mb 1"), Client(server) as deaf:
        deaf.socket.sendall(pack_request([b"GET", b"large"]) * 40)
        begun = time.monotonic()
        time.sleep(0.5)
        assert clients(observer) == 2
        wait_until(lambda: counted(OUTPUT_LIMIT) > before, "nobody was cut")
        assert time.monotonic() - begun > 0.9
        assert deaf.is_hung_up_on()


def test_a_client_that_reads_in_time_gets_everything(server: Server, observer: Client):
    observer.ask(b"SET", b"large", b"x" * MB)
    with settings(server, client_output_buffer_limit="normal 64mb 4mb 2"), Client(server) as slow:
        slow.socket.sendall(pack_request([b"GET", b"large"]) * 40)
        time.sleep(0.5)
        for _ in range(40):
            assert len(slow.bulk()) == MB
        time.sleep(2)
        assert slow.ask(b"PING") == b"+PONG"


def test_a_subscriber_that_never_reads_is_disconnected_at_its_own_limit(server: Server, observer: Client):
    with settings(server, client_output_buffer_limit="pubsub 4mb 0 0"), Client(server) as deaf:
        assert deaf.ask(b"SUBSCRIBE", b"news") == b"*3"
        message = b"x" * MB
        wait_until(lambda: observer.ask(b"PUBLISH", b"news", message) == b":0", "the subscriber is still there")
        assert deaf.is_hung_up_on()


# -- large requests ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10 * MB, 100 * MB])
def test_a_large_value_goes_in_and_comes_out(server: Server, observer: Client, size: int):
    value = os.urandom(MB) * (size // MB)
    assert observer.ask(b"SET", b"large", value) == b"+OK"
    assert observer.fetch(b"GET", b"large") == value
    assert observer.ask(b"APPEND", b"large", value[: 10 * MB]) == b":%d" % (size + 10 * MB)
    assert observer.ask(b"STRLEN", b"large") == b":%d" % (size + 10 * MB)
    assert observer.ask(b"DEL", b"large") == b":1"
    wait_until(lambda: memory_mb(server) < 250, "memory of a large value was not given back")


def test_a_string_beyond_512_mb_is_refused(observer: Client):
    refusal = b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)"
    assert observer.ask(b"SETRANGE", b"large", b"536870911", b"xx") == refusal
    assert observer.ask(b"SETRANGE", b"large", b"536870912", b"") == b":0"
    assert observer.ask(b"EXISTS", b"large") == b":0"


def exchange(server: Server, data: bytes, reply_bytes: int, *, reading_at_once: bool) -> bytes:
    """Write all of `data` and read so many bytes, meanwhile or afterwards; the last of them."""
    with Client(server) as client:
        writer = threading.Thread(target=client.socket.sendall, args=(data,))
        writer.start()
        if not reading_at_once:
            writer.join(WAIT_S)
            assert not writer.is_alive(), "the server stopped reading a client that does not read yet"
        received = 0
        while received < reply_bytes:
            piece = client.socket.recv(MB)
            assert piece, f"closed after {received} of {reply_bytes} bytes"
            received += len(piece)
        writer.join(WAIT_S)
        assert received == reply_bytes
        return piece[-64:]


@pytest.mark.parametrize("reading_at_once", [True, False], ids=["reading at once", "writing all first"])
def test_a_pipeline_of_a_million_commands_is_answered(server: Server, observer: Client, reading_at_once: bool):
    before = memory_mb(server)
    keys = 1000
    block = b"".join(pack_request([b"SET", b"k%03d" % at, b"value-%03d" % at]) for at in range(keys))
    last = exchange(server, block * (MILLION // keys), 5 * MILLION, reading_at_once=reading_at_once)
    assert last.endswith(b"+OK\r\n")
    block = b"".join(pack_request([b"GET", b"k%03d" % at]) for at in range(keys))
    with Pulse(server) as pulse:
        last = exchange(server, block * (MILLION // keys), 15 * MILLION, reading_at_once=reading_at_once)
    assert last.endswith(b"$9\r\nvalue-999\r\n")
    assert pulse.median_ms < 100, "a deep pipeline holds the others up"
    assert memory_mb(server) < before + 100
    assert observer.ask(b"DBSIZE") == b":%d" % keys


def test_a_million_words_in_one_command(server: Server, observer: Client):
    keys = [b"k%06d" % at for at in range(MILLION // 2)]
    assert observer.ask(b"MSET", *[word for key in keys for word in (key, b"v")]) == b"+OK"
    assert observer.ask(b"DBSIZE") == b":%d" % len(keys)
    observer.send(b"MGET", *keys)
    assert observer.line() == b"*%d" % len(keys)
    assert observer.stream.read(7 * len(keys)) == b"$1\r\nv\r\n" * len(keys)
    assert observer.ask(b"DEL", *keys, *keys) == b":%d" % len(keys)
    assert observer.ask(b"DBSIZE") == b":0"


# -- unfinished requests -----------------------------------------------------------------------------------------------


def test_what_is_announced_and_not_sent_takes_no_memory(server: Server, observer: Client):
    before = memory_mb(server)
    with contextlib.ExitStack() as stack:
        count, length = b"*2147483647\r\n", b"$536870912\r\n"
        for announcement in (count, b"*2\r\n" + length, count + b"$3\r\nDEL\r\n" + length + b"x"):
            for _ in range(30):
                stack.enter_context(Client(server)).socket.sendall(announcement)
        wait_until(lambda: clients(observer) == 91, "not all clients are there")
        assert memory_mb(server) < before + 20


def test_an_unfinished_request_beyond_the_query_buffer_limit_ends_its_connection(server: Server, observer: Client):
    before = counted(QUERY_LIMIT)
    with settings(server, client_query_buffer_limit="1mb"):
        with Client(server) as greedy, contextlib.suppress(ConnectionError):
            greedy.socket.sendall(b"*2\r\n$4\r\nECHO\r\n$10485760\r\n")
            greedy.socket.sendall(b"x" * 4 * MB)
            assert greedy.stream.read() == b""
        wait_until(lambda: clients(observer) == 1, "the connection is still there")
        assert counted(QUERY_LIMIT) == before + 1
        many = pack_request([b"SET", b"k", b"x" * 1000]) * 10_000
        assert exchange(server, many, 50_000, reading_at_once=True).endswith(b"+OK\r\n")
    assert "max query buffer length" in server.log()


def test_a_transaction_that_outgrows_the_query_buffer_limit_ends_its_connection(server: Server, observer: Client):
    with settings(server, client_query_buffer_limit="1mb"), Client(server) as greedy:
        assert greedy.ask(b"MULTI") == b"+OK"
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                greedy.send(b"SET", b"k", b"x" * 100_000)
        assert greedy.is_hung_up_on()
    assert observer.ask(b"EXISTS", b"k") == b":0"


def test_half_open_requests_are_ended_by_the_timeout_and_others_stay(server: Server, observer: Client):
    with settings(server, timeout="1"), contextlib.ExitStack() as stack:
        lorises = [stack.enter_context(Client(server)) for _ in range(200)]
        for loris in lorises:
            loris.socket.sendall(b"*2\r\n$3\r\nGET\r\n$100\r\nxxx")
        subscriber = stack.enter_context(Client(server))
        subscriber.ask(b"SUBSCRIBE", b"news")
        waiter = stack.enter_context(Client(server))
        waiter.send(b"BLPOP", b"queue", b"0")
        wait_until(lambda: clients(observer) <= 4, "half-open requests are still there")
        assert all(loris.is_hung_up_on() for loris in lorises)
        assert observer.ask(b"LPUSH", b"queue", b"v") == b":1"
        assert waiter.line() == b"*2"
        assert observer.ask(b"PUBLISH", b"news", b"hello") == b":1"


# -- more than can be worked off ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def stopped(server: Server, role: str) -> Iterator[None]:
    pid = server.kill(signal.SIGSTOP, role)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def key_on(shard: int, name: str = "k") -> bytes:
    """A key of this shard."""
    keys = (b"%s:%d" % (name.encode(), number) for number in range(1000))
    return next(key for key in keys if shard_of(key, WORKERS) == shard)


def test_a_stalled_worker_holds_its_clients_back_and_not_the_others(server: Server, observer: Client):
    """Eight clients pump 400 MB at a worker that stands still: what is under way stays within its limit."""
    before = memory_mb(server, "frontend")
    value = b"x" * MB
    replies: list[bytes] = []

    def pump(at: int) -> None:
        with Client(server) as client:
            writer = threading.Thread(
                target=lambda: client.socket.sendall(pack_request([b"SET", b"{%b}%d" % (key_on(0), at), value]) * 50)
            )
            writer.start()
            replies.append(client.stream.read(5 * 50))
            writer.join(WAIT_S)

    pumps = [threading.Thread(target=pump, args=(at,)) for at in range(8)]
    with stopped(server, "worker 0"):
        for thread in pumps:
            thread.start()
        time.sleep(1)
        assert memory_mb(server, "frontend") < before + 150
        begun = time.monotonic()
        for number in range(100):
            assert observer.ask(b"SET", key_on(1), b"%d" % number) == b"+OK"
        assert time.monotonic() - begun < 5, "another shard's client waits with them"
    for thread in pumps:
        thread.join(WAIT_S)
    assert replies == [b"+OK\r\n" * 50] * 8
    assert observer.ask(b"GET", key_on(1)) == b"$2"
    assert observer.line() == b"99"


def test_one_client_has_a_limited_share_of_what_is_under_way(server: Server, observer: Client):
    before = memory_mb(server, "frontend")
    with settings(server, client_max_inflight="1mb", worker_max_inflight="1gb"), Client(server) as client:
        data = pack_request([b"SET", key_on(0), b"x" * 100_000]) * 1000 + pack_request([b"GET", key_on(0)])
        writer = threading.Thread(target=client.socket.sendall, args=(data,))
        with stopped(server, "worker 0"):
            writer.start()
            time.sleep(0.7)
            assert memory_mb(server, "frontend") < before + 30
        assert client.stream.read(5 * 1000) == b"+OK\r\n" * 1000
        assert len(client.bulk()) == 100_000
        writer.join(WAIT_S)


def test_replies_stay_in_order_while_one_shard_stands_still(server: Server):
    words = [[b"SET", key_on(number % WORKERS, f"k{number}"), b"%d" % number] for number in range(2000)]
    gets = [[b"GET", key] for _, key, _ in words]
    expected = b"+OK\r\n" * 2000 + b"".join(b"$%d\r\n%b\r\n" % (len(value), value) for _, _, value in words)
    with Client(server) as client:
        with stopped(server, "worker 0"):
            client.socket.sendall(b"".join(map(pack_request, words + gets)))
            time.sleep(0.2)
        assert client.stream.read(len(expected)) == expected


# -- many connections --------------------------------------------------------------------------------------------------


def test_a_thousand_idle_connections_cost_less_than_20_mb(server: Server, observer: Client):
    with contextlib.ExitStack() as stack:
        before = memory_mb(server)
        for number in range(1000):
            client = stack.enter_context(Client(server))
            assert client.ask(b"SET", b"key:%d" % number, b"x" * 100) == b"+OK"
            assert client.ask(b"DEL", *[b"key:%d" % number] * 50) == b":1"
        time.sleep(2.2)
        cost = memory_mb(server) - before
        assert clients(observer) == 1001
        assert cost < 20, f"{cost:.1f} MB"


def test_opening_and_closing_5000_connections_leaks_nothing(server: Server, observer: Client):
    def cycle(times: int) -> None:
        for _ in range(times):
            with Client(server) as client:
                assert client.ask(b"PING") == b"+PONG"

    cycle(500)
    before = memory_mb(server)
    cycle(5000)
    wait_until(lambda: clients(observer) == 1, "connections that were closed are still listed")
    assert memory_mb(server) < before + 5


def test_a_short_pipeline_of_large_values_fills_no_worker(server: Server, observer: Client):
    """Two kilobytes of requests ask for half a gigabyte of replies: a worker must not make them all at once."""
    assert observer.ask(b"SET", b"large", bytes(1_000_000)) == b"+OK"
    workers = [pid for role, pid in server.processes().items() if role.startswith("worker")]
    before = sum(map(_proportional_kb, workers)) / 1024
    assert before > 5
    with socket.create_connection((server.host, server.port)) as greedy:
        greedy.sendall(pack_request([b"GET", b"large"]) * 500)
        grown = 0.0
        end = time.monotonic() + 2
        while time.monotonic() < end:
            grown = max(grown, sum(map(_proportional_kb, workers)) / 1024 - before)
        assert grown < 150, f"the workers grew by {grown:.0f} MB"


def test_an_idle_server_sleeps(server: Server, observer: Client):
    assert observer.ask(b"SET", b"key", b"value") == b"+OK"
    seconds, before = 1.0, cpu_seconds(server)
    time.sleep(seconds)
    used = cpu_seconds(server) - before
    assert used < 0.3 * seconds, f"{used:.2f} s of CPU in {seconds} s"


def cpu_seconds(server: Server) -> float:
    """CPU time of all processes since their start."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in server.processes().values()]
    return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")


def test_a_burst_larger_than_a_ring_does_not_wait_for_the_next_tick() -> None:
    with leaving_nothing(1, hz=1) as server, socket.create_connection((server.host, server.port)) as client:
        begun = time.monotonic()
        requests = pack_request([b"SET", b"key", bytes(1000)]) * 8000
        client.sendall(requests + pack_request([b"PING"]))
        received = b""
        while not received.endswith(b"+PONG\r\n"):
            received = received[-64:] + client.recv(65536)
        # it is sixteen rings' worth: with one ring for each tick it would take as many seconds
        assert time.monotonic() - begun < 8
