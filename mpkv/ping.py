"""``mpkv ping``: whether a server answers, as an exit status. For health checks of containers and scripts.

All within one time limit: looking a name up aside, a server that accepts and hangs, or that answers byte by byte, does
not hold the asker longer than a dead one.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_LONGEST_ANSWER_BYTES: Final = 4096

#: Long and short names of what can be said on the command line -> the attribute of `Target`.
_OPTIONS: Final = {
    "--host": "host", "-h": "host", "--port": "port", "-p": "port", "--socket": "path", "-s": "path",
    "--user": "user", "-u": "user", "--password": "password", "-a": "password", "--timeout": "timeout",
    "-t": "timeout",
}  # fmt: skip


@dataclass(slots=True)
class Target:
    """Whom to ask, in the words of the command line."""

    host: str = "127.0.0.1"
    port: str = "6379"
    path: str = ""  #: of a unix socket, which then takes the place of host and port
    user: str = ""
    password: str = ""
    timeout: str = "3"  #: in s, for everything together

    @property
    def port_number(self) -> int:
        number = int(self.port)
        if not 0 < number < 65536:
            raise ValueError(f"{self.port} is no port")
        return number

    @property
    def timeout_seconds(self) -> float:
        seconds = float(self.timeout)
        if not 0 < seconds < 86400:
            raise ValueError(f"{self.timeout} is no time to wait")
        return seconds


def parse(argv: Sequence[str]) -> Target:
    """The options of ``mpkv ping``; a password that is not among them comes from REDISCLI_AUTH.

    :raises ValueError: with what was wrong
    """
    target = Target(password=os.environ.get("REDISCLI_AUTH", ""))
    words = list(argv)
    while words:
        name, equals, value = words.pop(0).partition("=")
        if name not in _OPTIONS or not (equals or words):
            raise ValueError(f"{name} is not an option with a value")
        setattr(target, _OPTIONS[name], value if equals else words.pop(0))
    if not target.path:
        target.port_number  # noqa: B018 -- raises what is to be said of it
    target.timeout_seconds  # noqa: B018
    return target


def ping(target: Target) -> str:
    """The answer to PING without its type byte, or the error that came instead; OSError if there is no answer."""
    deadline = time.monotonic() + target.timeout_seconds
    with _connect(target) as connection:
        if target.password:
            user = [target.user] if target.user else []
            answer = _ask(connection, ["AUTH", *user, target.password], deadline)
            if not answer.startswith(b"+"):
                return _text(answer)
        return _text(_ask(connection, ["PING"], deadline))


def _connect(target: Target) -> socket.socket:
    if not target.path:
        return socket.create_connection((target.host, target.port_number), target.timeout_seconds)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(target.timeout_seconds)
        connection.connect(target.path)
    except OSError:
        connection.close()
        raise
    return connection


def _ask(connection: socket.socket, words: list[str], deadline: float) -> bytes:
    """One request, and the one line that answers it."""
    encoded = [os.fsencode(word) for word in words]
    _limit(connection, deadline)
    connection.sendall(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded))
    answer = b""
    while not answer.endswith(b"\r\n"):
        _limit(connection, deadline)
        chunk = connection.recv(_LONGEST_ANSWER_BYTES)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        answer += chunk
        if len(answer) > _LONGEST_ANSWER_BYTES:
            raise ConnectionError("what answers is no server of this kind")
    return answer


def _limit(connection: socket.socket, deadline: float) -> None:
    left_seconds = deadline - time.monotonic()
    if left_seconds <= 0:
        raise TimeoutError("timed out")
    connection.settimeout(left_seconds)


def _text(answer: bytes) -> str:
    return answer[1:].decode(errors="replace").strip()
