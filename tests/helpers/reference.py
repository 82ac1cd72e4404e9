"""A real redis-server to compare with: raw requests go in, raw reply bytes come out.

``with reference_server() as server`` starts one on a free port and skips the test, saying why, where Redis is not
installed. Between tests `Connection.call` of FLUSHALL gives an empty server. RESP is read here by a dozen lines of
plain Python, so that a fault of mpkv's own parser cannot hide in the comparison.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import pytest

from tests.helpers.sanitizers import foreign_environment

START_TIMEOUT_S = 60.0
#: No reply of a test is later; a blocking command that blocks for ever fails instead of hanging.
REPLY_TIMEOUT_S = 60.0

_ONE_LINE = b"+-:,#_("
_BULK = b"$=!"
#: How many values an element of an aggregate stands for.
AGGREGATES = {b"*": 1, b"~": 1, b">": 1, b"%": 2}


def pack_request(words: Sequence[bytes]) -> bytes:
    """A request in RESP."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def read_reply(stream: BinaryIO) -> bytes:
    """The bytes of one whole reply."""
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise EOFError(f"the connection was closed within a reply: {line!r}")
    mark, size = line[:1], line[1:-2]
    if mark in _ONE_LINE or size == b"-1":
        return line
    if mark in _BULK:
        return line + stream.read(int(size) + 2)
    return line + b"".join(read_reply(stream) for _ in range(int(size) * AGGREGATES[mark]))


class Connection:
    """A client of any server that speaks RESP."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection((host, port), timeout=REPLY_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._socket.makefile("rb")

    def call(self, words: Sequence[bytes]) -> bytes:
        """Send one request; its reply as it came over the wire."""
        self._socket.sendall(pack_request(words))
        return read_reply(self._stream)

    def call_all(self, requests: Sequence[Sequence[bytes]]) -> list[bytes]:
        """The same for a pipeline."""
        self._socket.sendall(b"".join(map(pack_request, requests)))
        return [read_reply(self._stream) for _ in requests]

    @property
    def address(self) -> bytes:
        """What the server calls this client."""
        host, port = self._socket.getsockname()
        return f"{host}:{port}".encode()

    def send(self, requests: Sequence[Sequence[bytes]]) -> None:
        """Send a pipeline, whatever comes back."""
        self.send_packed(b"".join(map(pack_request, requests)))

    def send_packed(self, data: bytes) -> None:
        """Send what is packed already."""
        self._socket.sendall(data)

    def send_end(self) -> None:
        """Say that nothing more will be sent; replies are still read."""
        self._socket.shutdown(socket.SHUT_WR)

    def receive(self) -> bytes:
        """The next reply."""
        return read_reply(self._stream)

    def read(self, size: int) -> bytes:
        """So many bytes of what comes back."""
        return self._stream.read(size)

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def reference_server(*options: str) -> Iterator[int]:
    """The port of a fresh redis-server that keeps nothing; it ends with the block."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed: nothing to compare with")
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        command = [program, "--port", str(port), "--save", "", "--appendonly", "no", "--dir", directory, *options]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=foreign_environment())
        try:
            _wait_until_ready(port)
            yield port
        finally:
            process.terminate()
            process.wait(START_TIMEOUT_S)


def _wait_until_ready(port: int) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            connection = Connection(port)
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
            continue
        try:
            assert connection.call([b"PING"]) in (b"+PONG\r\n", b"-NOAUTH Authentication required.\r\n")
            return
        finally:
            connection.close()
