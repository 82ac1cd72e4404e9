"""A real redis-server as reference for raw requests and replies."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest


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
        servers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd="/"))
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


@pytest.fixture
def ask_redis(redis_ports: dict[bool, int]) -> Callable[..., bytes]:
    """Send raw bytes, get all that the server answers until it closes or has nothing more to say."""

    def ask(data: bytes, unauthenticated: bool = False) -> bytes:
        with socket.create_connection(("127.0.0.1", redis_ports[unauthenticated])) as client:
            client.sendall(data)
            client.settimeout(0.2)
            answer = b""
            try:
                while chunk := client.recv(65536):
                    answer += chunk
            except (TimeoutError, ConnectionResetError):
                pass
            return answer

    return ask
