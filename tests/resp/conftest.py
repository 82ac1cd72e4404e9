"""A real redis-server as reference for raw requests and replies."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

import hiredis
import pytest

from tests.helpers.sanitizers import foreign_environment

#: However slow the machine is: the whole answer, if it is one.
ANSWERED_AFTER_S = 30.0
#: What an answer that is complete is waited for, lest there be more of it.
SILENCE_S = 0.1


@pytest.fixture(scope="module")
def redis_ports() -> Iterator[dict[bool, int]]:
    """Two real servers: without a password, and with one that nobody gives."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    servers, ports = [], {}
    for protected in (False, True):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports[protected] = probe.getsockname()[1]
        command = ["redis-server", "--port", str(ports[protected]), "--save", "", "--daemonize", "no"]
        command += ["--requirepass", "secret"] if protected else []
        servers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd="/", env=foreign_environment()))
    try:
        for port in ports.values():
            _wait_for(port)
        yield ports
    finally:
        for server in servers:
            server.kill()
            server.wait()


def _wait_for(port: int) -> None:
    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < until, "redis-server does not start"
            time.sleep(0.02)


def _collect(client: socket.socket, replies: int, closes: bool) -> bytes:
    """What arrives until it was all: an answer that is complete, or the end of the connection."""
    reader, answer, seen = hiredis.Reader(), b"", 0
    until = time.monotonic() + ANSWERED_AFTER_S
    while True:
        complete = seen >= replies and not closes
        client.settimeout(SILENCE_S if complete else max(until - time.monotonic(), 0.001))
        try:
            chunk = client.recv(65536)
        except TimeoutError:
            assert complete, f"redis-server gave {seen} replies of {replies} and {answer[-100:]!r}"
            return answer
        except ConnectionResetError:
            return answer
        if not chunk:
            return answer
        answer += chunk
        reader.feed(chunk)
        while reader.gets() is not False:
            seen += 1


@pytest.fixture
def ask_redis(redis_ports: dict[bool, int]) -> Callable[..., bytes]:
    """Send raw bytes, get all that the server answers: it is known how many replies that are at least, or that it
    closes the connection behind them."""

    def ask(data: bytes, replies: int, closes: bool = False, unauthenticated: bool = False) -> bytes:
        with socket.create_connection(("127.0.0.1", redis_ports[unauthenticated])) as client:
            client.sendall(data)
            return _collect(client, replies, closes)

    return ask
