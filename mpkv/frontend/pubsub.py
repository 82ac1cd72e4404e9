"""Who listens to what: channels and patterns are the frontend's own, no shard knows of them.

Messages are pushed in the order in which PUBLISH is executed. A RESP2 client that is subscribed is restricted (see the
gate); a RESP3 client is not, since pushes cannot be mistaken for replies.
"""

from __future__ import annotations

from typing import Any

from mpkv.glob import matches
from mpkv.resp.replies import PushReply


class Subscriptions:
    """What one connection listens to."""

    __slots__ = ("channels", "patterns", "shard_channels")

    def __init__(self) -> None:
        self.channels: dict[bytes, None] = {}
        self.patterns: dict[bytes, None] = {}
        self.shard_channels: dict[bytes, None] = {}

    @property
    def count(self) -> int:
        """What the replies to SUBSCRIBE count."""
        return len(self.channels) + len(self.patterns)

    @property
    def empty(self) -> bool:
        return not (self.channels or self.patterns or self.shard_channels)


#: The kinds: word of the message -> (attribute, word of the subscription, word of its end)
CHANNEL, PATTERN, SHARD_CHANNEL = "channels", "patterns", "shard_channels"
_WORDS = {
    CHANNEL: (b"subscribe", b"unsubscribe"),
    PATTERN: (b"psubscribe", b"punsubscribe"),
    SHARD_CHANNEL: (b"ssubscribe", b"sunsubscribe"),
}


class Registry:
    """All subscriptions of the server: name -> connections in order of subscription."""

    def __init__(self) -> None:
        self._listeners: dict[str, dict[bytes, dict[Any, None]]] = {CHANNEL: {}, PATTERN: {}, SHARD_CHANNEL: {}}

    def listeners(self, kind: str) -> dict[bytes, dict[Any, None]]:
        return self._listeners[kind]

    def subscribe(self, conn: Any, kind: str, name: bytes) -> PushReply:
        """Add; the message that answers."""
        if conn.subscriptions is None:
            conn.subscriptions = Subscriptions()
        getattr(conn.subscriptions, kind)[name] = None
        self._listeners[kind].setdefault(name, {})[conn] = None
        return PushReply([_WORDS[kind][0], name, self._count(conn, kind)])

    def unsubscribe(self, conn: Any, kind: str, name: bytes) -> PushReply:
        """Remove, if it is there; the message that answers."""
        if conn.subscriptions is not None and name in getattr(conn.subscriptions, kind):
            del getattr(conn.subscriptions, kind)[name]
            listeners = self._listeners[kind][name]
            del listeners[conn]
            if not listeners:
                del self._listeners[kind][name]
        return PushReply([_WORDS[kind][1], name, self._count(conn, kind)])

    def unsubscribe_all(self, conn: Any, kind: str) -> list[PushReply]:
        """Remove all of a kind; the messages that answer."""
        names = list(getattr(conn.subscriptions, kind)) if conn.subscriptions is not None else []
        if not names:
            return [PushReply([_WORDS[kind][1], None, self._count(conn, kind)])]
        return [self.unsubscribe(conn, kind, name) for name in names]

    def drop(self, conn: Any) -> None:
        """A connection is gone, or was reset."""
        for kind in (CHANNEL, PATTERN, SHARD_CHANNEL):
            if conn.subscriptions is not None and getattr(conn.subscriptions, kind):
                self.unsubscribe_all(conn, kind)
        conn.subscriptions = None

    @staticmethod
    def _count(conn: Any, kind: str) -> int:
        if conn.subscriptions is None:
            return 0
        return len(conn.subscriptions.shard_channels) if kind == SHARD_CHANNEL else conn.subscriptions.count

    def publish(self, channel: bytes, message: bytes) -> int:
        """Push to everyone who listens; how many."""
        receivers = 0
        for conn in list(self._listeners[CHANNEL].get(channel, ())):
            conn.push(PushReply([b"message", channel, message]))
            receivers += 1
        for pattern, conns in list(self._listeners[PATTERN].items()):
            if matches(pattern, channel):
                for conn in list(conns):
                    conn.push(PushReply([b"pmessage", pattern, channel, message]))
                    receivers += 1
        return receivers

    def publish_shard(self, channel: bytes, message: bytes) -> int:
        receivers = list(self._listeners[SHARD_CHANNEL].get(channel, ()))
        for conn in receivers:
            conn.push(PushReply([b"smessage", channel, message]))
        return len(receivers)
