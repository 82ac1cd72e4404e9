"""Sessions of several clients, written down and replayed: what each sends, in which order, and how many replies follow.

    a: SET key 1            one reply
    b*2: SUBSCRIBE x y      two replies
    a-: BLPOP list 0        no reply yet
    a:                      nothing is sent, one reply is read
    a!: QUIT                one reply, then the server closes the connection
    a: GET x ;; GET y       a pipeline: a reply for each
    a: <raw> PING\\r\\n       these bytes as they are
    a: <close>              the client goes away
    : <wait> 0.2            seconds in which nothing is sent
    a: PUBLISH x 1 ==> :1   where mpkv, which implements 7.2, is right to differ from the reference: its reply

A client whose name ends in 3 speaks RESP3. Words are quoted as in a shell, with Python's escapes. A file holds several
sessions, each under a line ``== title``.
"""

from __future__ import annotations

import re
import select
import shlex
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.reference import REPLY_TIMEOUT_S, pack_request, read_reply

_LINE = re.compile(r"(?P<client>\w*)(?P<count>-|\*\d+)?(?P<closes>!)?:\s*(?P<words>.*?)(?:\s*==> (?P<ours>.*))?")
#: What two servers need not have in common: version, ids of clients.
_OWN = (
    (re.compile(rb"\$\d+\r\n7\.\d+\.\d+\r\n"), b"<version>"),
    (re.compile(rb"(\r\nid\r\n):\d+"), rb"\1:<id>"),
)


@dataclass(frozen=True)
class Step:
    """One line of a session."""

    line: str
    client: str
    payload: bytes
    replies: int
    closes: bool
    ours: bytes | None
    action: str = ""
    seconds: float = 0.0


def load(path: Path) -> dict[str, str]:
    """Title -> session, of a file."""
    parts = re.split(r"^== (.*)$", path.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _unescaped(text: str) -> bytes:
    return text.encode().decode("unicode_escape").encode("latin-1")


def _words(text: str) -> list[bytes]:
    return [_unescaped(word) for word in shlex.split(text)]


def parse(session: str) -> list[Step]:
    """The steps of a session; blank lines and lines that begin with # are skipped."""
    lines = (line.strip() for line in session.splitlines())
    return [_step(line) for line in lines if line and not line.startswith("#")]


def _step(line: str) -> Step:
    found = _LINE.fullmatch(line)
    assert found is not None, f"not a line of a session: {line}"
    words, ours = found["words"], found["ours"]
    action, _, rest = words.partition(" ")
    requests: list[str] = []
    payload = b""
    if action == "<raw>":
        payload = _unescaped(rest)
    elif not action.startswith("<"):
        requests = [request for request in words.split(" ;; ") if request]
        payload = b"".join(pack_request(_words(request)) for request in requests)
    default = 0 if action.startswith("<") else max(1, len(requests))
    count = {"-": 0, None: default}.get(found["count"])
    return Step(
        line,
        found["client"],
        payload,
        int(found["count"][1:]) if count is None else count,
        found["closes"] is not None,
        None if ours is None else _unescaped(ours),
        action if action in ("<close>", "<wait>") else "",
        float(rest) if action == "<wait>" else 0.0,
    )


@dataclass
class Replay:
    """Plays sessions on one server."""

    port: int
    _sockets: dict[str, socket.socket] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def replies(self, steps: list[Step]) -> Iterator[bytes]:
        """What comes back in each step; at the end every client must have been told no more than that."""
        with self._stack:
            for step in steps:
                yield self._play(step)
            for name, client in self._sockets.items():
                readable, _, _ = select.select([client], [], [], 0)
                assert not readable, f"client {name} was sent more than the session says: {client.recv(200)!r}"

    def _play(self, step: Step) -> bytes:
        if step.action == "<wait>":
            time.sleep(step.seconds)
            return b""
        client = self._client(step.client)
        if step.action == "<close>":
            self._sockets.pop(step.client).close()
            return b""
        client.sendall(step.payload)
        found = b"".join(_read(client) for _ in range(step.replies))
        if step.closes:
            found += _end_of(client)
            self._sockets.pop(step.client)
        for pattern, replacement in _OWN:
            found = pattern.sub(replacement, found)
        return found

    def _client(self, name: str) -> socket.socket:
        if name not in self._sockets:
            client = socket.create_connection(("127.0.0.1", self.port), timeout=REPLY_TIMEOUT_S)
            self._stack.callback(client.close)
            self._sockets[name] = client
            if name.endswith("3"):
                client.sendall(pack_request([b"HELLO", b"3"]))
                _read(client)
        return self._sockets[name]


def _read(client: socket.socket) -> bytes:
    with client.makefile("rb", buffering=0) as stream:
        return read_reply(_Unbuffered(stream))  # type: ignore[arg-type]


class _Unbuffered:
    """A stream that takes from the socket no more than it gives."""

    def __init__(self, raw: object) -> None:
        self._raw = raw

    def readline(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            byte = self._raw.read(1)  # type: ignore[attr-defined]
            if not byte:
                break
            line += byte
        return line

    def read(self, size: int) -> bytes:
        found = b""
        while len(found) < size and (more := self._raw.read(size - len(found))):  # type: ignore[attr-defined]
            found += more
        return found


def _end_of(client: socket.socket) -> bytes:
    try:
        rest = client.recv(1000)
    except ConnectionResetError:
        rest = b""
    return b"<closed>" if not rest else b"<more> " + rest


def assert_same_session(session: str, port: int, reference_port: int) -> None:
    """Replay a session on both servers, step by step."""
    steps = parse(session)
    expected = list(Replay(reference_port).replies(steps))
    for step, reference, reply in zip(steps, expected, Replay(port).replies(steps), strict=True):
        wanted = reference if step.ours is None else step.ours
        assert reply == wanted, f"at {step.line!r}"
        assert step.ours is None or reference != wanted, f"no longer a difference: {step.line!r}"
