"""What the profiles keep in the server: the names of the keys, what they hold, and how a server is filled with it.

Everything is bounded by the number of keys, and a key's value is always the same, so the need for memory of a filled
server does not change however long the load lasts.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from traffic.resp_connection import RespConnection, Word

LEADERBOARD: Final = b"leaderboard"
MEMBERS: Final = 5_000
LARGE_KEYS: Final = 30
CACHE_SIZES: Final = (100, 1_000)
LARGE_SIZES: Final = (64 << 10, 1 << 20)

_FILL_PIPELINE: Final = 200
_FILLER: Final = random.Random(20).randbytes(LARGE_SIZES[1] + 1024)


def _value(key: bytes, sizes: tuple[int, int]) -> bytes:
    """The key's name, then bytes of no meaning; of a size that follows from the name."""
    dice = zlib.crc32(key)
    size = sizes[0] + dice % (sizes[1] - sizes[0] + 1)
    begin = dice % 1024
    return (key + b"=" + _FILLER[begin : begin + size])[:size]


def cache_key(at: int) -> bytes:
    return b"cache:%d" % at


def cache_value(key: bytes) -> bytes:
    return _value(key, CACHE_SIZES)


def large_key(at: int) -> bytes:
    return b"large:%d" % at


@lru_cache(LARGE_KEYS)
def large_value(key: bytes) -> bytes:
    return _value(key, LARGE_SIZES)


def session_key(at: int) -> bytes:
    return b"session:%d" % at


def session_fields(at: int) -> tuple[Word, ...]:
    """Names and values in turn."""
    return ("user", at, "visits", 0, "cart", b"c" * 100, "language", "en")


def member(at: int) -> bytes:
    return b"player:%d" % at


def fill(connection: RespConnection, keys: int, *, large: bool) -> None:
    """Write what the profiles read, without the sessions, which come and go. Raises hiredis.ReplyError."""
    commands = list(_small(keys))
    for begin in range(0, len(commands), _FILL_PIPELINE):
        connection.call_all(commands[begin : begin + _FILL_PIPELINE])
    if large:
        for at in range(LARGE_KEYS):
            connection.call("SET", large_key(at), large_value(large_key(at)))


def _small(keys: int) -> Iterator[tuple[Word, ...]]:
    for at in range(keys):
        key = cache_key(at)
        yield "SET", key, cache_value(key)
    for at in range(MEMBERS):
        yield "ZADD", LEADERBOARD, at, member(at)
