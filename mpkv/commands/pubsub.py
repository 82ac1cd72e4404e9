"""Publishing and subscribing: all in the frontend, no shard knows of channels."""

from __future__ import annotations

from typing import Any

from mpkv import errors
from mpkv.commands import help_texts
from mpkv.commands.spec import (
    ALL_KEYS,
    FAST,
    FIRST_KEY,
    LOADING,
    MAY_REPLICATE,
    NOSCRIPT,
    PUBSUB,
    SETTLED,
    STALE,
    command,
)
from mpkv.errors import CommandError
from mpkv.glob import matches
from mpkv.resp.replies import Messages, Status

_SUBSCRIBE = PUBSUB | NOSCRIPT | LOADING | STALE | SETTLED


def _subscribe(conn: Any, kind: str, names: tuple[bytes, ...]) -> Messages:
    messages = Messages(conn.server.pubsub.subscribe(conn, kind, name) for name in names)
    conn.server.subscriptions_changed(conn)
    return messages


def _unsubscribe(conn: Any, kind: str, names: tuple[bytes, ...]) -> Messages:
    pubsub = conn.server.pubsub
    messages = Messages(
        pubsub.unsubscribe(conn, kind, name) for name in names or list(pubsub.names_of(conn, kind)) or [None]
    )
    conn.server.subscriptions_changed(conn)
    return messages


@command(
    "SUBSCRIBE",
    arity=-2,
    flags=_SUBSCRIBE,
    since="2.0.0",
    complexity="O(N) where N is the number of channels to subscribe to.",
)
def subscribe(conn: Any, *channels: bytes) -> Messages:
    """SUBSCRIBE channel [channel ...] -- Listens for messages published to channels."""
    return _subscribe(conn, "channels", channels)


@command(
    "UNSUBSCRIBE",
    arity=-1,
    flags=_SUBSCRIBE,
    since="2.0.0",
    complexity="O(N) where N is the number of channels to unsubscribe.",
)
def unsubscribe(conn: Any, *channels: bytes) -> Messages:
    """UNSUBSCRIBE [channel [channel ...]] -- Stops listening to messages posted to channels."""
    return _unsubscribe(conn, "channels", channels)


@command(
    "PSUBSCRIBE",
    arity=-2,
    flags=_SUBSCRIBE,
    since="2.0.0",
    complexity="O(N) where N is the number of patterns to subscribe to.",
)
def psubscribe(conn: Any, *patterns: bytes) -> Messages:
    """PSUBSCRIBE pattern [pattern ...] -- Listens for messages published to channels that match one or more
    patterns."""
    return _subscribe(conn, "patterns", patterns)


@command(
    "PUNSUBSCRIBE",
    arity=-1,
    flags=_SUBSCRIBE,
    since="2.0.0",
    complexity="O(N) where N is the number of patterns to unsubscribe.",
)
def punsubscribe(conn: Any, *patterns: bytes) -> Messages:
    """PUNSUBSCRIBE [pattern [pattern ...]] -- Stops listening to messages published to channels that match one or more
    patterns."""
    return _unsubscribe(conn, "patterns", patterns)


@command(
    "SSUBSCRIBE",
    arity=-2,
    keys=ALL_KEYS,
    flags=_SUBSCRIBE,
    since="7.0.0",
    complexity="O(N) where N is the number of shard channels to subscribe to.",
)
def ssubscribe(conn: Any, *channels: bytes) -> Messages:
    """SSUBSCRIBE shardchannel [shardchannel ...] -- Listens for messages published to shard channels."""
    if conn.server.in_transaction:
        raise CommandError("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client")
    return _subscribe(conn, "shard_channels", channels)


@command(
    "SUNSUBSCRIBE",
    arity=-1,
    keys=ALL_KEYS,
    flags=_SUBSCRIBE,
    since="7.0.0",
    complexity="O(N) where N is the number of shard channels to unsubscribe.",
)
def sunsubscribe(conn: Any, *channels: bytes) -> Messages:
    """SUNSUBSCRIBE [shardchannel [shardchannel ...]] -- Stops listening to messages posted to shard channels."""
    return _unsubscribe(conn, "shard_channels", channels)


@command(
    "PUBLISH", arity=3, flags=PUBSUB | LOADING | STALE | FAST | MAY_REPLICATE, since="2.0.0",
    complexity="O(N+M) where N is the number of clients subscribed to the receiving channel and M is the total number "
    "of subscribed patterns (by any client).",
)  # fmt: skip
def publish(conn: Any, channel: bytes, message: bytes) -> int:
    """PUBLISH channel message -- Posts a message to a channel."""
    return int(conn.server.pubsub.publish(conn, channel, message))


@command(
    "SPUBLISH", arity=3, keys=FIRST_KEY, flags=PUBSUB | LOADING | STALE | FAST | MAY_REPLICATE, since="7.0.0",
    complexity="O(N) where N is the number of clients subscribed to the receiving shard channel.",
)  # fmt: skip
def spublish(conn: Any, channel: bytes, message: bytes) -> int:
    """SPUBLISH shardchannel message -- Posts a message to a shard channel."""
    return int(conn.server.pubsub.publish_shard(conn, channel, message))


_ASK = PUBSUB | LOADING | STALE


def _names(conn: Any, kind: str, pattern: tuple[bytes, ...]) -> list[bytes]:
    if len(pattern) > 1:
        raise errors.MISUSED
    names = conn.server.pubsub.listeners(kind)
    return [name for name in names if not pattern or matches(pattern[0], name)]


def _counts(conn: Any, kind: str, channels: tuple[bytes, ...]) -> list[Any]:
    listeners = conn.server.pubsub.listeners(kind)
    return [item for name in channels for item in (name, len(listeners.get(name, ())))]


@command(
    "PUBSUB CHANNELS", arity=-2, flags=_ASK, since="2.8.0", complexity="O(N) where N is the number of active channels."
)
def pubsub_channels(conn: Any, *pattern: bytes) -> list[bytes]:
    """PUBSUB CHANNELS [pattern] -- Returns the active channels."""
    return _names(conn, "channels", pattern)


@command(
    "PUBSUB NUMSUB",
    arity=-2,
    flags=_ASK,
    since="2.8.0",
    complexity="O(N) for the NUMSUB subcommand, where N is the number of requested channels",
)
def pubsub_numsub(conn: Any, *channels: bytes) -> list[Any]:
    """PUBSUB NUMSUB [channel [channel ...]] -- Returns a count of subscribers to channels."""
    return _counts(conn, "channels", channels)


@command("PUBSUB NUMPAT", arity=2, flags=_ASK, since="2.8.0")
def pubsub_numpat(conn: Any) -> int:
    """PUBSUB NUMPAT -- Returns a count of unique pattern subscriptions."""
    return len(conn.server.pubsub.listeners("patterns"))


@command(
    "PUBSUB SHARDCHANNELS",
    arity=-2,
    flags=_ASK,
    since="7.0.0",
    complexity="O(N) where N is the number of active shard channels.",
)
def pubsub_shardchannels(conn: Any, *pattern: bytes) -> list[bytes]:
    """PUBSUB SHARDCHANNELS [pattern] -- Returns the active shard channels."""
    return _names(conn, "shard_channels", pattern)


@command(
    "PUBSUB SHARDNUMSUB",
    arity=-2,
    flags=_ASK,
    since="7.0.0",
    complexity="O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard channels",
)
def pubsub_shardnumsub(conn: Any, *channels: bytes) -> list[Any]:
    """PUBSUB SHARDNUMSUB [shardchannel [shardchannel ...]] -- Returns the count of subscribers of shard channels."""
    return _counts(conn, "shard_channels", channels)


@command("PUBSUB HELP", arity=2, flags=LOADING | STALE, since="6.2.0")
def pubsub_help(conn: Any) -> list[Status]:
    """PUBSUB HELP -- Returns helpful text about the different subcommands."""
    return help_texts.lines_of("pubsub")
