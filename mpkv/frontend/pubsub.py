"""Who listens to what: channels and patterns are the frontend's own, no shard knows of them.

Messages are pushed in the order in which PUBLISH is executed. A RESP2 client that is subscribed is restricted (see the
gate); a RESP3 client is not, since pushes cannot be mistaken for replies.
"""

from __future__ import annotations

from typing import Any

from mpkv.glob import matches
from mpkv.resp.encoder import encode_bytes
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
        self._late: list[bytes] = []

    def listeners(self, kind: str) -> dict[bytes, dict[Any, None]]:
        return self._listeners[kind]

    def subscribe(self, conn: Any, kind: str, name: bytes) -> PushReply:
        """Add; the message that answers."""
        if conn.closed:  # its transaction ran to the end, but nobody is there any more
            return PushReply([_WORDS[kind][0], name, 0])
        if conn.subscriptions is None:
            conn.subscriptions = Subscriptions()
        getattr(conn.subscriptions, kind)[name] = None
        self._listeners[kind].setdefault(name, {})[conn] = None
        return PushReply([_WORDS[kind][0], name, self._count(conn, kind)])

    @staticmethod
    def names_of(conn: Any, kind: str) -> dict[bytes, None]:
        """What a connection listens to."""
        return {} if conn.subscriptions is None else getattr(conn.subscriptions, kind)

    def unsubscribe(self, conn: Any, kind: str, name: bytes | None) -> PushReply:
        """Remove, if it is there; the message that answers. None stands for all where there are none."""
        names = self.names_of(conn, kind)
        if name is not None and name in names:
            del names[name]
            listeners = self._listeners[kind][name]
            del listeners[conn]
            if not listeners:
                del self._listeners[kind][name]
        return PushReply([_WORDS[kind][1], name, self._count(conn, kind)])

    def drop(self, conn: Any) -> None:
        """A connection is gone, or was reset."""
        for kind in (CHANNEL, PATTERN, SHARD_CHANNEL):
            for name in list(self.names_of(conn, kind)):
                self.unsubscribe(conn, kind, name)
        conn.subscriptions = None

    @staticmethod
    def _count(conn: Any, kind: str) -> int:
        if conn.subscriptions is None:
            return 0
        return len(conn.subscriptions.shard_channels) if kind == SHARD_CHANNEL else conn.subscriptions.count

    def publish(self, publisher: Any, channel: bytes, message: bytes) -> int:
        """Push to everyone who listens; how many."""
        conns = self._listeners[CHANNEL].get(channel, {})
        receivers = self._push(publisher, conns, [b"message", channel, message])
        for pattern, conns in self._listeners[PATTERN].items():
            if matches(pattern, channel):
                receivers += self._push(publisher, conns, [b"pmessage", pattern, channel, message])
        return receivers

    def publish_shard(self, publisher: Any, channel: bytes, message: bytes) -> int:
        """The same to those who listen to a shard channel."""
        return self._push(publisher, self._listeners[SHARD_CHANNEL].get(channel, {}), [b"smessage", channel, message])

    def _push(self, publisher: Any, conns: dict[Any, None], words: list[bytes]) -> int:
        """Send one message to many, encoded once for each protocol."""
        encoded: dict[int, bytes] = {}
        for conn in conns:
            message = encoded.get(conn.protocol)
            if message is None:
                message = encoded[conn.protocol] = encode_bytes(PushReply(words), conn.protocol)
            if conn is publisher:
                self._late.append(message)
            else:
                conn.push(message)
        return len(conns)

    def push_late(self, conn: Any) -> None:
        """What a connection has published to itself follows the reply that it got for that."""
        if self._late:
            late, self._late = self._late, []
            for message in late:
                conn.push(message)
