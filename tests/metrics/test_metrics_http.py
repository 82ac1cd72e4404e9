"""The HTTP side: answers, refuses, and never lets one peer hold up another."""

import socket
import time
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from mpkv.metrics import http
from mpkv.shm.layout import State
from tests.helpers.reference import free_port


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


def test_health_is_that_of_all_processes(server, source):
    assert get(server, "/healthz") == (200, "supervisor: ready\nfrontend: ready\nworker 0: ready\nworker 1: ready\n")
    source.board.workers[1].enter(State.SAVING)
    assert get(server, "/healthz")[0] == 200
    source.board.workers[1].enter(State.LOADING)
    status, text = get(server, "/healthz")
    assert (status, text.splitlines()[-1]) == (503, "worker 1: loading")


def test_a_process_without_heartbeat_is_not_healthy(source):
    time.sleep(0.02)
    healthy, text = http.health(source, stale_ms=5)
    assert not healthy
    assert "worker 0: ready, no heartbeat\n" in text


def test_other_paths_and_methods_are_refused(server):
    assert get(server, "/other")[0] == 404
    assert raw(server, b"POST /metrics HTTP/1.0\r\n\r\n").split()[1] == b"501"
    assert raw(server, b"HEAD /metrics HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x00\xff" * 100 + b"\r\n",
        b"GET " + b"x" * 70_000 + b"\r\n",
        b"GET /metrics HTTP/9\r\n\r\n",
    ],
)
def test_nonsense_closes_its_own_connection_only(server, data):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(data)
        try:
            while connection.recv(65536):
                pass
        except ConnectionResetError:
            pass  # closed while our bytes were still under way
    assert get(server, "/metrics")[0] == 200


def test_a_peer_that_dawdles_is_hung_up_on(source, monkeypatch):
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.3)
    server = start(source)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        begin = time.monotonic()
        connection.sendall(b"GET /metr")
        connection.recv(1)
        assert time.monotonic() - begin < 3
    server.stop()


def test_beyond_the_limit_connections_are_closed_and_places_come_back(server, monkeypatch):
    idle = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(http.MAX_CONNECTIONS)]
    with pytest.raises(OSError):
        for _ in range(50):
            get(server, "/metrics")
            time.sleep(0.02)
    for connection in idle:
        connection.close()
    end = time.monotonic() + 5
    while True:
        try:
            assert get(server, "/metrics")[0] == 200
            break
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_port_0_is_off(source):
    source.config.metrics_port = 0
    server = http.MetricsServer(source, source.config)
    server.start()
    assert server.port == 0
    server.stop()


def test_a_port_that_is_taken_is_an_error_at_once(server, source):
    with pytest.raises(OSError, match="in use"):
        http.MetricsServer(source, source.config)
