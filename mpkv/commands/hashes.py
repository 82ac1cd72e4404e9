"""Step 9, hashes: a key that holds fields with values."""

from __future__ import annotations

from typing import Any

from mpkv import errors
from mpkv.commands import args, sampling, scanning
from mpkv.commands.faces import Db
from mpkv.commands.spec import DENYOOM, FAST, FIRST_KEY, READONLY, WRITE, command
from mpkv.resp.replies import OK, Pairs, Status


@command(
    "HSET", arity=-4, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST, since="2.0.0",
    complexity="O(1) for each field/value pair added, so O(N) to add N field/value pairs when the command is "
    "called with "
    "multiple field/value pairs.",
)  # fmt: skip
def hset(db: Db, key: bytes, *pairs: bytes) -> int:
    """HSET key field value [field value ...] -- set fields; reply with how many are new."""
    return _put_all(db, "hset", key, pairs)


@command(
    "HMSET", arity=-4, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST, since="2.0.0",
    complexity="O(N) where N is the number of fields being set.",
)  # fmt: skip
def hmset(db: Db, key: bytes, *pairs: bytes) -> Status:
    """HMSET key field value [field value ...] -- set fields; the older form of HSET."""
    _put_all(db, "hmset", key, pairs)
    return OK


def _put_all(db: Db, name: str, key: bytes, pairs: tuple[bytes, ...]) -> int:
    if len(pairs) % 2:
        raise errors.wrong_arity(name)
    value = db.hash_to_fill(key)
    with db.all_or_nothing(pairs):
        added = sum(value.put(pairs[at], pairs[at + 1]) for at in range(0, len(pairs), 2))
    db.changed(key, len(pairs) // 2)
    return added


@command("HSETNX", arity=4, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST, since="2.0.0")
def hsetnx(db: Db, key: bytes, field: bytes, text: bytes) -> int:
    """HSETNX key field value -- set a field that does not exist yet; reply 1 if it was set."""
    value = db.hash_to_fill(key)
    if value.get(field) is not None:
        return 0
    value.put(field, text)
    db.changed(key)
    return 1


@command("HGET", arity=3, keys=FIRST_KEY, flags=READONLY | FAST, since="2.0.0")
def hget(db: Db, key: bytes, field: bytes) -> bytes | None:
    """HGET key field -- the value of a field."""
    value = db.hash_for_read(key)
    return None if value is None else value.get(field)


@command(
    "HMGET", arity=-3, keys=FIRST_KEY, flags=READONLY | FAST, since="2.0.0",
    complexity="O(N) where N is the number of fields being requested.",
)  # fmt: skip
def hmget(db: Db, key: bytes, *fields: bytes) -> list[bytes | None]:
    """HMGET key field [field ...] -- the values of the given fields, nil for those that do not exist."""
    value = db.hash_for_read(key)
    return [None if value is None else value.get(field) for field in fields]


@command(
    "HGETALL",
    arity=2,
    keys=FIRST_KEY,
    flags=READONLY,
    since="2.0.0",
    complexity="O(N) where N is the size of the hash.",
)
def hgetall(db: Db, key: bytes) -> dict[bytes, bytes]:
    """HGETALL key -- every field with its value."""
    value = db.hash_for_read(key)
    return {} if value is None else dict(value.items())


@command(
    "HKEYS", arity=2, keys=FIRST_KEY, flags=READONLY, since="2.0.0", complexity="O(N) where N is the size of the hash."
)
def hkeys(db: Db, key: bytes) -> list[bytes]:
    """HKEYS key -- every field."""
    value = db.hash_for_read(key)
    return [] if value is None else value.fields()


@command(
    "HVALS", arity=2, keys=FIRST_KEY, flags=READONLY, since="2.0.0", complexity="O(N) where N is the size of the hash."
)
def hvals(db: Db, key: bytes) -> list[bytes]:
    """HVALS key -- every value."""
    value = db.hash_for_read(key)
    return [] if value is None else value.values()


@command("HLEN", arity=2, keys=FIRST_KEY, flags=READONLY | FAST, since="2.0.0")
def hlen(db: Db, key: bytes) -> int:
    """HLEN key -- the number of fields."""
    value = db.hash_for_read(key)
    return 0 if value is None else len(value)


@command("HEXISTS", arity=3, keys=FIRST_KEY, flags=READONLY | FAST, since="2.0.0")
def hexists(db: Db, key: bytes, field: bytes) -> int:
    """HEXISTS key field -- 1 if the field exists."""
    value = db.hash_for_read(key)
    return int(value is not None and value.get(field) is not None)


@command("HSTRLEN", arity=3, keys=FIRST_KEY, flags=READONLY | FAST, since="3.2.0")
def hstrlen(db: Db, key: bytes, field: bytes) -> int:
    """HSTRLEN key field -- the length of a field's value in bytes, 0 if there is none."""
    value = db.hash_for_read(key)
    text = None if value is None else value.get(field)
    return 0 if text is None else len(text)


@command(
    "HDEL", arity=-3, keys=FIRST_KEY, flags=WRITE | FAST, since="2.0.0",
    complexity="O(N) where N is the number of fields to be removed.",
)  # fmt: skip
def hdel(db: Db, key: bytes, *fields: bytes) -> int:
    """HDEL key field [field ...] -- delete fields, and the key with its last one; reply with how many were there."""
    value = db.hash_for_write(key)
    deleted = 0 if value is None else sum(value.delete(field) for field in fields)
    if deleted:
        db.changed(key, deleted)
    return deleted


@command("HINCRBY", arity=4, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST, since="2.0.0")
def hincrby(db: Db, key: bytes, field: bytes, increment_text: bytes) -> int:
    """HINCRBY key field increment -- add to the integer in a field (0 if there is none); reply with the sum."""
    increment = args.integer(increment_text)
    present = db.hash_for_write(key)
    old = None if present is None else present.get(field)
    total = increment + (0 if old is None else args.integer(old, errors.HASH_VALUE_NOT_AN_INTEGER))
    if not args.INT64_MIN <= total <= args.INT64_MAX:
        raise errors.OVERFLOW
    db.hash_to_fill(key).put(field, b"%d" % total)
    db.changed(key)
    return total


@command("HINCRBYFLOAT", arity=4, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST, since="2.6.0", effect="own")
def hincrbyfloat(db: Db, key: bytes, field: bytes, increment_text: bytes) -> bytes:
    """HINCRBYFLOAT key field increment=double -- add to the number in a field (0 if there is none); reply with the
    sum."""
    increment = args.long_double(increment_text)
    if not increment.is_finite:
        raise errors.NAN_OR_INFINITY
    present = db.hash_for_write(key)
    old = None if present is None else present.get(field)
    number = args.long_double(b"0" if old is None else old, errors.HASH_VALUE_NOT_A_FLOAT)
    total = args.sum_text(number, increment)
    db.hash_to_fill(key).put(field, total)
    db.changed(key)
    db.effect(b"HSET", key, field, total)
    return total


@command(
    "HRANDFIELD", arity=-2, keys=FIRST_KEY, flags=READONLY, since="6.2.0",
    complexity="O(N) where N is the number of fields returned",
)  # fmt: skip
def hrandfield(db: Db, key: bytes, *options: bytes) -> bytes | list[bytes] | Pairs | None:
    """HRANDFIELD key [count [WITHVALUES]] -- random fields; a negative count allows repeats."""
    if not options:
        value = db.hash_for_read(key)
        return None if value is None else value.random()[0]
    wanted = sampling.count(options[0])
    with_values = sampling.pair_option(options, b"withvalues", wanted)
    value = db.hash_for_read(key)
    picks = [] if value is None else sampling.picks(value, wanted)
    return Pairs(picks) if with_values else [field for field, _ in picks]


@command("HSCAN", arity=-3, keys=FIRST_KEY, flags=READONLY, since="2.8.0", complexity=scanning.COMPLEXITY)
def hscan(db: Db, key: bytes, cursor: bytes, *options: bytes) -> Any:
    """HSCAN key cursor [MATCH pattern] [COUNT count] -- one step over the fields and values."""
    position = scanning.cursor(cursor)
    value = db.hash_for_read(key)
    if value is None:
        return scanning.NOTHING
    wanted = scanning.Options.parse(options)
    following, found = value.scan(position, wanted.count)
    return scanning.reply(following, [word for item in found if wanted.wants(item[0]) for word in item])
