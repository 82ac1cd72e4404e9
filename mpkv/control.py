"""The way between the supervisor and its children: a pair of sockets each, messages whole and in order.

It carries no commands and no data: who is there, who is gone, where to listen, when to stop. The end of the stream
means that the other side has died. A message is a dict with a key `kind`; what else is in it stands beside the function
that sends it.
"""

from __future__ import annotations

import select
import socket
from typing import Any, Final

import msgspec

#: The longest message: the configuration, some 20 KB, is the largest.
MOST_BYTES: Final = 192 * 1024

Message = dict[str, Any]


class Closed(Exception):
    """The other side is gone."""


class Channel:
    """One end; non-blocking."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """The supervisor's end, and the socket that the child inherits."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), theirs

    @classmethod
    def inherited(cls, fd: int) -> Channel:
        """The child's end."""
        return cls(socket.socket(fileno=fd))

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, kind: str, **content: Any) -> None:
        """Send a message; if the other side is gone nobody will miss it."""
        try:
            self._socket.send(self._encode({"kind": kind, **content}))
        except (BrokenPipeError, ConnectionResetError, BlockingIOError):
            return

    def receive(self) -> list[Message]:
        """What has arrived; raises `Closed` when the other side is gone and nothing is left."""
        messages: list[Message] = []
        while self._poll.poll(0):  # costs a tenth of the exception that would say that there is nothing
            try:
                data = self._socket.recv(MOST_BYTES)
            except ConnectionResetError:
                data = b""
            if not data:
                if messages:
                    return messages
                raise Closed
            messages.append(self._decode(data))
        return messages

    def wait(self, timeout_s: float | None = None) -> Message:
        """Wait for one message, at most so long; what comes after it stays for `receive`.

        Raises `Closed` when the other side is gone, TimeoutError.
        """
        self._socket.settimeout(timeout_s)
        try:
            data = self._socket.recv(MOST_BYTES)
        finally:
            self._socket.setblocking(False)
        if not data:
            raise Closed
        message: Message = self._decode(data)
        return message

    def close(self) -> None:
        self._socket.close()
