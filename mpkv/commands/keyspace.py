"""Commands on the keyspace as a whole: counting, listing, walking and emptying it.

All shards take part in all of them but SCAN: its cursor carries the slot at which the walk goes on, so that each step
runs on the one shard that holds this slot, and the walk survives a change of the number of workers.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final

from mpkv import errors
from mpkv.commands import across, scanning
from mpkv.commands.args import Arguments
from mpkv.commands.faces import Db
from mpkv.commands.spec import ACROSS_DATABASES, DANGEROUS, FAST, INTERNAL, READONLY, WRITE, Across, command
from mpkv.glob import matches
from mpkv.resp import replies


@command("DBSIZE", arity=1, flags=READONLY | FAST, across=Across(across.total, everywhere=True))
def dbsize(db: Db) -> int:
    """DBSIZE -- the number of keys in the selected database."""
    return db.size()


@command(
    "KEYS", arity=2, flags=READONLY | DANGEROUS, across=Across(across.joined, everywhere=True),
    complexity="O(N) with N being the number of keys in the database, under the assumption that the key names in the"
    " database and the given pattern have limited length.",
)  # fmt: skip
def keys(db: Db, pattern: bytes) -> list[bytes]:
    """KEYS pattern -- all keys that match a pattern."""
    present = db.keys()
    return [key for key in present if pattern == b"*" or matches(pattern, key)]


@command("SCAN", arity=-2, flags=READONLY, since="2.8.0", complexity=scanning.COMPLEXITY)
def scan(db: Db, cursor: bytes, *words: bytes) -> list[Any]:
    """SCAN cursor [MATCH pattern] [COUNT count] [TYPE type] -- one step of a walk over all keys."""
    position = scanning.cursor(cursor)
    pattern, count, wanted_type = b"*", scanning.DEFAULT_COUNT, b""
    args = Arguments(words)
    while args.left:
        if args.take(b"match", needs=1):
            pattern = args.word()
        elif args.take(b"count", needs=1):
            count = args.integer()
            if count < 1:
                raise errors.SYNTAX
        elif args.take(b"type", needs=1):
            wanted_type = args.word().lower()
        else:
            raise errors.SYNTAX
    following, found = db.scan(position, count)
    chosen = [
        key
        for key, kind in found
        if (not wanted_type or kind.encode() == wanted_type) and (pattern == b"*" or matches(pattern, key))
    ]
    return scanning.reply(following, chosen)


# ---- RANDOMKEY: a shard is drawn by its size, so every key of all shards is as likely as another

_DRAW: Final = b"_RANDOMKEY"


def _draw_part(request: Sequence[bytes], keys: Sequence[int], holds_first: bool) -> list[bytes]:
    return [_DRAW]


def _drawn(request: Sequence[bytes], parts: across.Parts) -> bytes | None:
    """One of the shards' keys, each as likely as its shard is large."""
    drawn = [reply for _, reply in parts if reply[1] is not None]
    if not drawn:
        return None
    ((_, key),) = random.choices(drawn, weights=[size for size, _ in drawn])
    return key  # type: ignore[no-any-return]


@command("RANDOMKEY", arity=1, flags=READONLY, across=Across(_drawn, everywhere=True, part=_draw_part))
def randomkey(db: Db) -> bytes | None:
    """RANDOMKEY -- any key of the selected database."""
    return db.random_key()


@command(_DRAW.decode(), arity=1, flags=READONLY | INTERNAL)
def draw_key(db: Db) -> tuple[int, bytes | None]:
    """_RANDOMKEY -- a shard's part of RANDOMKEY: its number of keys, and one of them."""
    return db.size(), db.random_key()


# ---- emptying

EMPTIED: Final = Across(across.all_done, everywhere=True)


@command(
    "FLUSHDB", arity=-1, flags=WRITE | DANGEROUS, across=EMPTIED,
    complexity="O(N) where N is the number of keys in the selected database",
)  # fmt: skip
def flushdb(db: Db, *mode: bytes) -> replies.Status:
    """FLUSHDB [ASYNC | SYNC] -- delete all keys of the selected database."""
    db.flush(lazily=_flushes_lazily(db, mode))
    return replies.OK


@command(
    "FLUSHALL", arity=-1, flags=WRITE | DANGEROUS | ACROSS_DATABASES, across=EMPTIED,
    complexity="O(N) where N is the total number of keys in all databases",
)  # fmt: skip
def flushall(db: Db, *mode: bytes) -> replies.Status:
    """FLUSHALL [ASYNC | SYNC] -- delete all keys of all databases."""
    db.flush(everywhere=True, lazily=_flushes_lazily(db, mode))
    return replies.OK


def _flushes_lazily(db: Db, words: Sequence[bytes]) -> bool:
    """Whether the memory is to be freed by and by."""
    if not words:
        return db.flushes_lazily
    if len(words) > 1 or words[0].lower() not in (b"async", b"sync"):
        raise errors.SYNTAX
    return words[0].lower() == b"async"
