"""How the replies of several shards become one: the merges that several commands share.

Each takes what `Across.merge` takes: the words of the whole request, and per shard the words of its part with its
reply. A merge counts and concatenates; what would have to compute runs on a shard.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mpkv.resp import replies

Parts = list[tuple[Sequence[bytes], Any]]


def total(request: Sequence[bytes], parts: Parts) -> int:
    """The sum of counts (DEL, EXISTS, DBSIZE …)."""
    return sum(reply for _, reply in parts)


def all_done(request: Sequence[bytes], parts: Parts) -> replies.Status:
    """OK: an error of one part never comes here."""
    return replies.OK


def joined(request: Sequence[bytes], parts: Parts) -> list[Any]:
    """One list of all (KEYS)."""
    return [element for _, reply in parts for element in reply]


def by_key(request: Sequence[bytes], parts: Parts) -> list[Any]:
    """One element per key of the request, in its order, where all words after the name are keys (MGET)."""
    values = {key: value for words, reply in parts for key, value in zip(words[1:], reply, strict=True)}
    return [values[key] for key in request[1:]]
