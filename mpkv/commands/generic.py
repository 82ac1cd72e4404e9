"""Commands on keys of any type: existence, expiry, renaming, copying, and a look at how a value is stored.

A time to live never goes into the log: what counts from now is said there as the moment that it means (PEXPIREAT).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from mpkv import errors
from mpkv.commands import across
from mpkv.commands.args import INT64_MAX, INT64_MIN, Arguments, database_index, integer
from mpkv.commands.faces import Db
from mpkv.commands.spec import (
    ACROSS_DATABASES,
    ALL_KEYS,
    DENYOOM,
    FAST,
    FIRST_KEY,
    FIRST_TWO_KEYS,
    LOADING,
    READONLY,
    SECOND_KEY,
    STALE,
    WRITE,
    Across,
    command,
)  # fmt: skip
from mpkv.errors import CommandError
from mpkv.resp import replies

NO_LFU: Final = CommandError(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching "
    "between policies at runtime LRU and LFU data will take some time to adjust."
)
NO_LRU: Final = CommandError(
    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies "
    "at runtime LRU and LFU data will take some time to adjust."
)
NX_WITH_OTHERS: Final = CommandError("ERR NX and XX, GT or LT options at the same time are not compatible")
GT_WITH_LT: Final = CommandError("ERR GT and LT options at the same time are not compatible")

SUMMED: Final = Across(across.total, native="sum")

# ---- existence


@command(
    "DEL", arity=-2, keys=ALL_KEYS, flags=WRITE, across=SUMMED,
    complexity="O(N) where N is the number of keys that will be removed. When a key to remove holds a value other "
    "than a string, the individual complexity for this key is O(M) where M is the number of elements in "
    "the list, set, sorted set or hash. Removing a single key that holds a string value is O(1).",
)  # fmt: skip
def del_(db: Db, *keys: bytes) -> int:
    """DEL key [key ...] -- delete keys; reply with how many there were."""
    return sum(db.delete(key, db.deletes_lazily) for key in keys)


@command(
    "UNLINK", arity=-2, keys=ALL_KEYS, flags=WRITE | FAST, across=SUMMED, since="4.0.0",
    complexity="O(1) for each key removed regardless of its size. Then the command does O(N) work in a different "
    "thread in order to reclaim memory, where N is the number of allocations the deleted objects where "
    "composed of.",
)  # fmt: skip
def unlink(db: Db, *keys: bytes) -> int:
    """UNLINK key [key ...] -- delete keys as DEL does, and free the memory of large values by and by."""
    return sum(db.delete(key, True) for key in keys)


@command(
    "EXISTS", arity=-2, keys=ALL_KEYS, flags=READONLY | FAST, across=SUMMED,
    complexity="O(N) where N is the number of keys to check.",
)  # fmt: skip
def exists(db: Db, *keys: bytes) -> int:
    """EXISTS key [key ...] -- how many of the keys exist, one that is named twice counted twice."""
    return sum(db.seen(key) for key in keys)


@command(
    "TOUCH", arity=-2, keys=ALL_KEYS, flags=READONLY | FAST, across=SUMMED, since="3.2.1",
    complexity="O(N) where N is the number of keys that will be touched.",
)  # fmt: skip
def touch(db: Db, *keys: bytes) -> int:
    """TOUCH key [key ...] -- mark keys as used just now; reply with how many exist."""
    return sum(db.touch(key) for key in keys)


@command("TYPE", arity=2, keys=FIRST_KEY, flags=READONLY | FAST)
def type_(db: Db, key: bytes) -> replies.Status:
    """TYPE key -- the type of the value at a key, or none."""
    kind = db.type_of(key) if db.seen(key) else None
    return replies.Status((kind or "none").encode())


# ---- expiry

_EXPIRE_OPTIONS: Final = frozenset((b"nx", b"xx", b"gt", b"lt"))


@command("EXPIRE", arity=-3, keys=FIRST_KEY, flags=WRITE | FAST, effect="own")
def expire(db: Db, key: bytes, seconds: bytes, *options: bytes) -> int:
    """EXPIRE key seconds [NX | XX | GT | LT] -- let a key expire after some seconds."""
    return _expire(db, "expire", key, seconds, options, unit_ms=1000, base_ms=db.now_ms)


@command("EXPIREAT", arity=-3, keys=FIRST_KEY, flags=WRITE | FAST, since="1.2.0", effect="own")
def expireat(db: Db, key: bytes, unix_seconds: bytes, *options: bytes) -> int:
    """EXPIREAT key unix-time-seconds [NX | XX | GT | LT] -- let a key expire at a time in seconds."""
    return _expire(db, "expireat", key, unix_seconds, options, unit_ms=1000, base_ms=0)


@command("PEXPIRE", arity=-3, keys=FIRST_KEY, flags=WRITE | FAST, since="2.6.0", effect="own")
def pexpire(db: Db, key: bytes, milliseconds: bytes, *options: bytes) -> int:
    """PEXPIRE key milliseconds [NX | XX | GT | LT] -- let a key expire after some milliseconds."""
    return _expire(db, "pexpire", key, milliseconds, options, unit_ms=1, base_ms=db.now_ms)


@command("PEXPIREAT", arity=-3, keys=FIRST_KEY, flags=WRITE | FAST, since="2.6.0", effect="own")
def pexpireat(db: Db, key: bytes, unix_milliseconds: bytes, *options: bytes) -> int:
    """PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT] -- let a key expire at a time in milliseconds."""
    return _expire(db, "pexpireat", key, unix_milliseconds, options, unit_ms=1, base_ms=0)


def _expire(db: Db, name: str, key: bytes, text: bytes, options: Sequence[bytes], *, unit_ms: int, base_ms: int) -> int:
    chosen = _read_expire_options(options)
    value = integer(text)
    at_ms = value * unit_ms + base_ms
    if value * unit_ms < INT64_MIN or at_ms > INT64_MAX:
        raise errors.invalid_expire(name)
    current_ms = db.expire_at(key)
    if current_ms is None or not _may_replace(chosen, current_ms, at_ms):
        return 0
    if at_ms <= db.now_ms:
        db.delete(key)
        db.effect(b"DEL", key)
    else:
        db.set_expire_at(key, at_ms)
        db.effect(b"PEXPIREAT", key, b"%d" % at_ms)
    return 1


def _read_expire_options(options: Sequence[bytes]) -> frozenset[bytes]:
    for option in options:
        if option.lower() not in _EXPIRE_OPTIONS:
            raise CommandError(f"ERR Unsupported option {option.decode(errors='surrogateescape')}")
    chosen = frozenset(option.lower() for option in options)
    if b"nx" in chosen and len(chosen) > 1:
        raise NX_WITH_OTHERS
    if {b"gt", b"lt"} <= chosen:
        raise GT_WITH_LT
    return chosen


def _may_replace(chosen: frozenset[bytes], current_ms: int, at_ms: int) -> bool:
    """Whether NX, XX, GT and LT let `at_ms` replace the expiry `current_ms`; never (-1) is later than any time."""
    if current_ms < 0:
        return not chosen & {b"xx", b"gt"}
    return not (
        b"nx" in chosen or (b"gt" in chosen and at_ms <= current_ms) or (b"lt" in chosen and at_ms >= current_ms)
    )


@command("PERSIST", arity=2, keys=FIRST_KEY, flags=WRITE | FAST, since="2.2.0")
def persist(db: Db, key: bytes) -> int:
    """PERSIST key -- let a key expire no more."""
    if db.expire_at(key) in (None, -1):
        return 0
    db.set_expire_at(key, -1)
    return 1


@command("TTL", arity=2, keys=FIRST_KEY, flags=READONLY | FAST)
def ttl(db: Db, key: bytes) -> int:
    """TTL key -- the seconds until a key expires; -1 if it never does, -2 if it is not there."""
    return _expiry(db, key, unit_ms=1000, base_ms=db.now_ms)


@command("PTTL", arity=2, keys=FIRST_KEY, flags=READONLY | FAST, since="2.6.0")
def pttl(db: Db, key: bytes) -> int:
    """PTTL key -- the milliseconds until a key expires; -1 if it never does, -2 if it is not there."""
    return _expiry(db, key, unit_ms=1, base_ms=db.now_ms)


@command("EXPIRETIME", arity=2, keys=FIRST_KEY, flags=READONLY | FAST, since="7.0.0")
def expiretime(db: Db, key: bytes) -> int:
    """EXPIRETIME key -- when a key expires, in seconds since 1970; -1 never, -2 if it is not there."""
    return _expiry(db, key, unit_ms=1000, base_ms=0)


@command("PEXPIRETIME", arity=2, keys=FIRST_KEY, flags=READONLY | FAST, since="7.0.0")
def pexpiretime(db: Db, key: bytes) -> int:
    """PEXPIRETIME key -- when a key expires, in milliseconds since 1970; -1 never, -2 if it is not there."""
    return _expiry(db, key, unit_ms=1, base_ms=0)


def _expiry(db: Db, key: bytes, *, unit_ms: int, base_ms: int) -> int:
    at_ms = db.expire_at(key) if db.seen(key) else None
    if at_ms is None:
        return -2
    return -1 if at_ms < 0 else (max(at_ms - base_ms, 0) + unit_ms // 2) // unit_ms


# ---- names


@command("RENAME", arity=3, keys=FIRST_TWO_KEYS, flags=WRITE)
def rename(db: Db, key: bytes, newkey: bytes) -> replies.Status:
    """RENAME key newkey -- give a key another name, over whatever has that name."""
    _rename(db, key, newkey, only_if_free=False)
    return replies.OK


@command("RENAMENX", arity=3, keys=FIRST_TWO_KEYS, flags=WRITE | FAST)
def renamenx(db: Db, key: bytes, newkey: bytes) -> int:
    """RENAMENX key newkey -- give a key another name if nothing has that name."""
    return int(_rename(db, key, newkey, only_if_free=True))


def _rename(db: Db, key: bytes, newkey: bytes, *, only_if_free: bool) -> bool:
    if not db.exists(key):
        raise errors.NO_SUCH_KEY
    if only_if_free and db.exists(newkey):
        return False
    if key != newkey:
        db.rename(key, newkey)
    return True


@command(
    "COPY", arity=-3, keys=FIRST_TWO_KEYS, flags=WRITE | DENYOOM | ACROSS_DATABASES, since="6.2.0",
    complexity="O(N) worst case for collections, where N is the number of nested items. O(1) for string values.",
)  # fmt: skip
def copy(db: Db, source: bytes, destination: bytes, *words: bytes) -> int:
    """COPY source destination [DB destination-db] [REPLACE] -- copy a value and its expiry to another key."""
    database, replace = db.index, False
    args = Arguments(words)
    while args.left:
        if args.take(b"replace"):
            replace = True
        elif args.take(b"db", needs=1):
            database = database_index(args.word(), db.databases)
        else:
            raise errors.SYNTAX
    if database == db.index and source == destination:
        raise errors.SAME_OBJECT
    if not db.seen(source) or (not replace and db.keyspace.database(database).exists(destination)):
        return 0
    db.copy(source, destination, database)
    return 1


@command("MOVE", arity=3, keys=FIRST_KEY, flags=WRITE | FAST | ACROSS_DATABASES)
def move(db: Db, key: bytes, database: bytes) -> int:
    """MOVE key db -- move a key to another database if its name is free there."""
    index = database_index(database, db.databases)
    if index == db.index:
        raise errors.SAME_OBJECT
    return int(db.move(key, index))


# ---- how a value is stored

OBJECT_HELP: Final = (
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Prints this help.",
)


@command("OBJECT ENCODING", arity=3, keys=SECOND_KEY, flags=READONLY, since="2.2.3")
def object_encoding(db: Db, key: bytes) -> str | None:
    """OBJECT ENCODING key -- how a value is represented in memory."""
    return db.encoding_of(key) if db.seen(key) else None


@command("OBJECT FREQ", arity=3, keys=SECOND_KEY, flags=READONLY, since="4.0.0")
def object_freq(db: Db, key: bytes) -> int | None:
    """OBJECT FREQ key -- how often a key is used, on a logarithmic scale; under an LFU policy only."""
    if not db.seen(key):
        return None
    if not db.counts_frequency:
        raise NO_LFU
    return db.frequency_of(key)


@command("OBJECT IDLETIME", arity=3, keys=SECOND_KEY, flags=READONLY, since="2.2.3")
def object_idletime(db: Db, key: bytes) -> int | None:
    """OBJECT IDLETIME key -- the seconds since a key was last used; not under an LFU policy."""
    if not db.seen(key):
        return None
    if db.counts_frequency:
        raise NO_LRU
    return db.idle_seconds(key)


@command("OBJECT REFCOUNT", arity=3, keys=SECOND_KEY, flags=READONLY, since="2.2.3")
def object_refcount(db: Db, key: bytes) -> int | None:
    """OBJECT REFCOUNT key -- how many references a value has: one, since values are not shared."""
    return 1 if db.seen(key) else None


@command("OBJECT HELP", arity=2, flags=LOADING | STALE, since="6.2.0")
def object_help(conn: Any) -> list[replies.Status]:
    """OBJECT HELP -- the sub-commands of OBJECT."""
    return [replies.Status(line.encode()) for line in OBJECT_HELP]
