"""The HTTP side: answers, refuses, and never lets one peer hold up another."""

import contextlib
import re
import select
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from mpkv.config import Config
from mpkv.metrics import http
from mpkv.metrics.prometheus import Renderer
from mpkv.metrics.source import BoardSource
from mpkv.shm.layout import State
from mpkv.shm.segment import Segment
from tests.helpers.reference import free_port

SCRAPE_S = 0.02


def start(source) -> http.MetricsServer:
    source.config.metrics_port = free_port()
    server = http.MetricsServer(source, source.config)
    server.start()
    return server


@pytest.fixture
def server(source):
    made = start(source)
    yield made
    made.stop()


def get(server: http.MetricsServer, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def raw(server: http.MetricsServer, data: bytes) -> bytes:
    """Everything that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(data)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def test_metrics_are_served(server):
    status, text = get(server, "/metrics?x=1")
    assert status == 200
    assert "\nredis_up 1\n" in text


def test_a_server_is_healthy_while_all_its_processes_are_heard_of(server, source):
    assert get(server, "/healthz") == (200, "ok\n")
    source.board.workers[1].enter(State.LOADING)
    assert get(server, "/healthz")[0] == 200, "who loads is alive"
    source.board.workers[1].mark_down()
    assert get(server, "/healthz") == (503, "worker 1 is down\n")


def test_a_process_without_heartbeat_is_not_healthy(source):
    assert http.why_unhealthy(source) == []
    time.sleep(0.02)
    reasons = http.why_unhealthy(source, stale_ms=5)
    assert len(reasons) == 4
    assert re.fullmatch(r"frontend has not been heard of for \d\.\d s", reasons[1])


def test_a_server_is_ready_when_all_shards_are_loaded_and_linked(server, source):
    frontend, first, second = source.board.processes[1:]
    frontend.put_link(0, True, 0, 0)
    assert get(server, "/readyz") == (503, "shard 1 is not linked\n")
    frontend.put_link(1, True, 0, 0)
    assert get(server, "/readyz") == (200, "ok\n")
    second.enter(State.LOADING)
    second.put("load_total_bytes", 200)
    second.put("load_loaded_bytes", 50)
    assert get(server, "/readyz") == (503, "worker 1 is loading: 25%\n")
    second.enter(State.SAVING)
    assert get(server, "/readyz")[0] == 200, "who saves answers"
    frontend.enter(State.STARTING)
    first.mark_down()
    assert get(server, "/readyz") == (503, "worker 0 is down\nfrontend is starting\n")


def test_other_paths_and_methods_are_refused(server):
    assert get(server, "/other")[0] == 404
    assert raw(server, b"POST /metrics HTTP/1.0\r\n\r\n").split()[1] == b"405"
    assert raw(server, b"HEAD /metrics HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x00\xff" * 100 + b"\r\n",
        b"GET " + b"x" * 70_000 + b"\r\n",
        b"GET /metrics HTTP/9\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n" + b"X: x\r\n" * 100 + b"\r\n",
        b"GET /metrics HTTP/1.1\r\nX: x",
    ],
)
def test_nonsense_closes_its_own_connection_only(server, data):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        try:
            answer = connection.recv(65536)
            assert not answer or answer.split()[1] == b"400"
            while connection.recv(65536):
                pass
        except ConnectionResetError:
            pass  # closed while our bytes were still under way
    assert get(server, "/metrics")[0] == 200


def test_a_peer_that_dawdles_is_hung_up_on(source, monkeypatch):
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.3)
    server = start(source)
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"GET /metr")
        with contextlib.suppress(OSError):
            while connection.send(b"i") and not select.select([connection], [], [], 0.05)[0]:
                pass  # a byte now and then does not help
    assert 0.2 < time.monotonic() - begin < 3
    server.stop()


def test_a_peer_that_does_not_take_its_answer_is_hung_up_on(source, monkeypatch):
    monkeypatch.setattr(http, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(http, "Renderer", lambda source: lambda: b"x" * (64 << 20))
    server = start(source)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        time.sleep(1)
        taken = 0
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(1 << 20):
                taken += len(chunk)
        assert taken < 64 << 20
    server.stop()


def test_beyond_the_limit_connections_are_closed_and_places_come_back(server):
    idle = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(http.MAX_CONNECTIONS)]
    with pytest.raises(OSError):
        for _ in range(50):
            get(server, "/metrics")
            time.sleep(0.02)
    for connection in idle:
        connection.close()
    end = time.monotonic() + 60
    while True:
        try:
            assert get(server, "/metrics")[0] == 200
            break
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_many_scrapes_at_once_share_their_text_and_nobody_gets_an_old_one(source, monkeypatch):
    made = []

    def render() -> bytes:
        made.append(time.monotonic())
        return b"%d" % source.board.workers[0].counter("keyspace_hits")

    monkeypatch.setattr(http, "Renderer", lambda source: render)
    server = start(source)
    with ThreadPoolExecutor(8) as askers:
        answers = list(askers.map(lambda _: get(server, "/metrics"), range(80)))
    assert {status for status, _ in answers} == {200}
    assert len(made) < 40, "one for each would be 80"
    assert min(b - a for a, b in pairwise(made)) > 0.9 * http.RENDER_GAP_SECONDS
    for hits in range(1, 4):
        source.board.workers[0].count("keyspace_hits")
        assert get(server, "/metrics") == (200, str(hits)), "asked after it was counted"
    server.stop()


def test_a_scrape_takes_less_than_20_ms(source, capsys):
    """Of processor time, with 40 commands in use on each of 4 shards. The best of several, since a machine that is busy
    with other tests has its caches full of other things."""
    names = [f"command{number}" for number in range(240)]
    segment = Segment.create(4, names, intents_bytes=4096)
    busy = BoardSource(segment, Config())
    for block in busy.board.processes:
        block.begin()
        for command in range(40):
            block.count_command(command, 3000)
            block.count_sizes(command, 30, 5)
    render = Renderer(busy)
    lines = render().count(b"\n")
    took: list[float] = []
    while len(took) < 5 or (min(took) >= SCRAPE_S and len(took) < 200):
        begin = time.process_time()
        render()
        took.append(time.process_time() - begin)
    segment.close()
    with capsys.disabled():
        print(f"\na scrape of {lines} lines takes {1000 * min(took):.1f} ms")
    assert lines > 8000
    assert min(took) < SCRAPE_S


def test_port_0_is_off(source):
    source.config.metrics_port = 0
    server = http.MetricsServer(source, source.config)
    server.start()
    assert server.port == 0
    server.stop()


def test_a_port_that_is_taken_is_an_error_at_once(server, source):
    with pytest.raises(OSError, match="in use"):
        http.MetricsServer(source, source.config)
