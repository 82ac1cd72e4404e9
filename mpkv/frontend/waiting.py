"""Clients that a shard has made wait: the time and the end of their waits are kept here, what they wait for there."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from mpkv.frontend.connection import Connection
from mpkv.frontend.pending import Answer
from mpkv.wire import CONTROL_NUMBERS

if TYPE_CHECKING:
    from mpkv.frontend.main import Frontend

#: When a client's wait ends while its shard is down: how often it is tried to tell the shard.
DOWN_AGAIN_S: Final = 0.05
_BLOCKED_NEWS: Final = struct.Struct("=qQq")


class Waiting:
    """The blocked clients, by their ids."""

    def __init__(self, server: Frontend) -> None:
        self._server = server
        self._router = server.router
        self._loop = server.loop
        self.clients: dict[int, Connection] = {}

    def blocked(self, conn: Connection, news: bytes) -> None:
        """A shard has made a client wait; the time is kept here."""
        timeout_ms, number, shard = _BLOCKED_NEWS.unpack(news)
        if conn.blocked_on is not None:
            return  # its shard died and is back: it waits on, until the time that it was given first
        timer = self._loop.call_later(timeout_ms / 1000, self.unblock, conn, b"timeout") if timeout_ms else None
        conn.blocked_on = (shard, number, timer)
        self.clients[conn.id] = conn

    def blocked_in_vain(self, news: bytes) -> None:
        """A shard has made a client wait that is gone: what it waits for must not be spent on it."""
        _, number, shard = _BLOCKED_NEWS.unpack(news)
        if self._server.links[shard].up:
            self._router.control(shard, CONTROL_NUMBERS["unblock"], [b"%d" % number, b"gone"], Answer(lambda *_: None))

    def unblocked(self, conn: Connection) -> None:
        """The wait is over, in whatever way."""
        if conn.blocked_on is not None:
            timer = conn.blocked_on[2]
            if timer is not None:
                timer.cancel()
            conn.blocked_on = None
        self.clients.pop(conn.id, None)

    def unblock(self, conn: Connection, reason: bytes) -> None:
        """Tell the shard that a client does not wait any longer; its answer ends the wait."""
        if conn.blocked_on is None:
            return
        shard, number, _ = conn.blocked_on
        if reason == b"gone":
            self.unblocked(conn)
        if self._server.links[shard].up:
            answer = Answer(lambda kind, _: self._again(conn, reason) if kind is None else None)
            self._router.control(shard, CONTROL_NUMBERS["unblock"], [b"%d" % number, reason], answer)
        else:
            self._again(conn, reason)

    def _again(self, conn: Connection, reason: bytes) -> None:
        """The shard's worker died before it heard of it. The request will be sent to the next: the end of the wait must
        come after it."""
        if conn.blocked_on is None:  # gone, or served
            return
        shard, number, timer = conn.blocked_on
        if timer is not None:
            timer.cancel()
        conn.blocked_on = (shard, number, self._loop.call_later(DOWN_AGAIN_S, self.unblock, conn, reason))

    def unblock_client(self, client: int, reason: bytes) -> bool:
        """CLIENT UNBLOCK."""
        conn = self.clients.get(client)
        if conn is None or conn.blocked_on is None:
            return False
        self.unblock(conn, reason)
        return True
