"""String commands: a key that holds bytes, or the text of a number.

Strings are values, not handles: a handler reads the bytes, computes the new ones and stores them. Whatever changes a
string in place in Redis' eyes (APPEND, INCR, SETRANGE) keeps its expiry; whatever sets it anew (SET, GETSET, MSET)
drops it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mpkv import errors
from mpkv.commands import across
from mpkv.commands.args import INT64_MAX, INT64_MIN, Arguments, integer, long_double, sum_text
from mpkv.commands.faces import Db
from mpkv.commands.spec import (
    ALL_KEYS,
    DENYOOM,
    EVERY_SECOND_KEY,
    FAST,
    FIRST_KEY,
    FIRST_TWO_KEYS,
    READONLY,
    WRITE,
    Across,
    command,
)  # fmt: skip
from mpkv.errors import CommandError
from mpkv.resp import replies
from mpkv.types import lcs as longest_common

#: proto-max-bulk-len: no string can be sent, so none can be built, that is longer.
LONGEST_STRING_BYTES: Final = 512 * 1024 * 1024

NOT_STRINGS: Final = CommandError("ERR The specified keys must contain string values")
DECREMENT_OVERFLOW: Final = CommandError("ERR decrement would overflow")
OFFSET_OUT_OF_RANGE: Final = CommandError("ERR offset is out of range")
LENGTH_AND_INDEXES: Final = CommandError("ERR If you want both the length and indexes, please just use IDX.")
LCS_TOO_LARGE: Final = CommandError("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")

SUBSTRING_COMPLEXITY: Final = (
    "O(N) where N is the length of the returned string. The complexity is ultimately determined by the returned "
    "length, but because creating a substring from an existing string is very cheap, it can be considered O(1) for "
    "small strings."
)

# ---- options of SET and GETEX

#: Keyword -> milliseconds in its unit, and whether the time counts from now.
_TIME_UNITS: Final = {b"ex": (1000, True), b"px": (1, True), b"exat": (1000, False), b"pxat": (1, False)}
#: Keyword -> what it decides. Two keywords that decide the same exclude one another; one may be repeated, and its last
#: value holds.
_SET_OPTIONS: Final = {b"nx": "condition", b"xx": "condition", b"get": "get", b"keepttl": "expiry"} | dict.fromkeys(
    _TIME_UNITS, "expiry"
)
_GETEX_OPTIONS: Final = {b"persist": "expiry"} | dict.fromkeys(_TIME_UNITS, "expiry")

Options = dict[str, tuple[bytes, bytes]]


def _read_options(words: Sequence[bytes], allowed: dict[bytes, str]) -> Options:
    """What was decided -> (keyword, its value)."""
    chosen: Options = {}
    args = Arguments(words)
    while args.left:
        keyword = args.word().lower()
        decides = allowed.get(keyword)
        if decides is None or chosen.get(decides, (keyword,))[0] != keyword:
            raise errors.SYNTAX
        chosen[decides] = keyword, args.word() if keyword in _TIME_UNITS else b""
    return chosen


def _expire_at_ms(db: Db, name: str, keyword: bytes, text: bytes) -> int:
    """The time that an option like ``EX 10`` means. It must be positive and fit 64 bits."""
    unit_ms, relative = _TIME_UNITS[keyword]
    value = integer(text)
    if value <= 0 or value > INT64_MAX // unit_ms:
        raise errors.invalid_expire(name)
    at_ms = value * unit_ms + (db.now_ms if relative else 0)
    if at_ms > INT64_MAX:
        raise errors.invalid_expire(name)
    return at_ms


def _store_until(db: Db, key: bytes, value: bytes, at_ms: int) -> None:
    """Set a string that expires; one whose time is past is gone at once."""
    if at_ms <= db.now_ms:
        if db.delete(key):
            db.effect(b"DEL", key)
        return
    with db.all_or_nothing((key, value)):
        db.set_string(key, value)
        db.set_expire_at(key, at_ms)
    db.effect(b"SET", key, value, b"PXAT", b"%d" % at_ms)


# ---- setting


@command("SET", arity=-3, keys=FIRST_KEY, flags=WRITE | DENYOOM)
def set_(db: Db, key: bytes, value: bytes, *words: bytes) -> replies.Status | bytes | None:
    """SET key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT
    unix-time-milliseconds | KEEPTTL] -- store a string under a key, whatever was there before."""
    if not words:
        db.set_string(key, value)
        return replies.OK
    chosen = _read_options(words, _SET_OPTIONS)
    keyword, text = chosen.get("expiry", (b"", b""))
    at_ms = _expire_at_ms(db, "set", keyword, text) if keyword in _TIME_UNITS else -1
    old = db.string_for_read(key) if "get" in chosen else None
    condition, _ = chosen.get("condition", (b"", b""))
    if condition and db.exists(key) != (condition == b"xx"):
        return old
    if at_ms >= 0:
        _store_until(db, key, value, at_ms)
    else:
        db.set_string(key, value, keep_ttl=keyword == b"keepttl")
    return old if "get" in chosen else replies.OK


@command("SETNX", arity=3, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST)
def setnx(db: Db, key: bytes, value: bytes) -> int:
    """SETNX key value -- store a string under a key that does not exist yet."""
    if db.exists(key):
        return 0
    db.set_string(key, value)
    return 1


@command("SETEX", arity=4, keys=FIRST_KEY, flags=WRITE | DENYOOM, since="2.0.0", effect="own")
def setex(db: Db, key: bytes, seconds: bytes, value: bytes) -> replies.Status:
    """SETEX key seconds value -- store a string together with its time to live in seconds."""
    _store_until(db, key, value, _expire_at_ms(db, "setex", b"ex", seconds))
    return replies.OK


@command("PSETEX", arity=4, keys=FIRST_KEY, flags=WRITE | DENYOOM, since="2.6.0", effect="own")
def psetex(db: Db, key: bytes, milliseconds: bytes, value: bytes) -> replies.Status:
    """PSETEX key milliseconds value -- store a string together with its time to live in milliseconds."""
    _store_until(db, key, value, _expire_at_ms(db, "psetex", b"px", milliseconds))
    return replies.OK


@command("GETSET", arity=3, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST)
def getset(db: Db, key: bytes, value: bytes) -> bytes | None:
    """GETSET key value -- store a string and reply with the one that it replaces."""
    old = db.string_for_read(key)
    db.set_string(key, value)
    return old


def _pairs_part(request: Sequence[bytes], keys: Sequence[int], holds_first: bool) -> list[bytes]:
    """A shard's keys with their values. A key without a value refuses the request before any shard has a part of it."""
    if len(request) % 2 == 0:
        raise errors.wrong_arity(request[0].decode().lower())
    return [request[0], *(word for index in keys for word in request[index : index + 2])]


@command(
    "MSET", arity=-3, keys=EVERY_SECOND_KEY, flags=WRITE | DENYOOM, since="1.0.1", across=Across(
        across.all_done, part=_pairs_part, native="ok"
    ),
    complexity="O(N) where N is the number of keys to set.",
)  # fmt: skip
def mset(db: Db, *pairs: bytes) -> replies.Status:
    """MSET key value [key value ...] -- store several strings at once."""
    _set_pairs(db, "mset", pairs)
    return replies.OK


@command(
    "MSETNX", arity=-3, keys=EVERY_SECOND_KEY, flags=WRITE | DENYOOM, since="1.0.1",
    complexity="O(N) where N is the number of keys to set.",
)  # fmt: skip
def msetnx(db: Db, *pairs: bytes) -> int:
    """MSETNX key value [key value ...] -- store several strings if none of their keys exists."""
    return _set_pairs(db, "msetnx", pairs, only_if_none=True)


def _set_pairs(db: Db, name: str, pairs: Sequence[bytes], *, only_if_none: bool = False) -> int:
    if len(pairs) % 2:
        raise errors.wrong_arity(name)
    if only_if_none and any(db.exists(key) for key in pairs[::2]):
        return 0
    with db.all_or_nothing(pairs):
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            db.set_string(key, value)
    return 1


# ---- getting


@command("GET", arity=2, keys=FIRST_KEY, flags=READONLY | FAST)
def get(db: Db, key: bytes) -> bytes | None:
    """GET key -- the string at a key."""
    return db.string_for_read(key)


@command(
    "MGET", arity=-2, keys=ALL_KEYS, flags=READONLY | FAST, across=Across(across.by_key, native="places"),
    complexity="O(N) where N is the number of keys to retrieve.",
)  # fmt: skip
def mget(db: Db, *keys: bytes) -> list[bytes | None]:
    """MGET key [key ...] -- the strings at several keys, nil for each that holds none."""
    return [_string_or_none(db, key) for key in keys]


def _string_or_none(db: Db, key: bytes) -> bytes | None:
    """MGET does not mind other types."""
    try:
        return db.string_for_read(key)
    except CommandError:
        return None


@command("GETDEL", arity=2, keys=FIRST_KEY, flags=WRITE | FAST, since="6.2.0", effect="own")
def getdel(db: Db, key: bytes) -> bytes | None:
    """GETDEL key -- reply with a string and delete its key."""
    value = db.string_for_read(key)
    if value is not None:
        db.delete(key)
        db.effect(b"DEL", key)
    return value


@command("GETEX", arity=-2, keys=FIRST_KEY, flags=WRITE | FAST, since="6.2.0", effect="own")
def getex(db: Db, key: bytes, *words: bytes) -> bytes | None:
    """GETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] \
-- reply with a string and change when it expires."""
    chosen = _read_options(words, _GETEX_OPTIONS)
    value = db.string_for_read(key)
    if value is None or not chosen:
        return value
    keyword, text = chosen["expiry"]
    at_ms = -1 if keyword == b"persist" else _expire_at_ms(db, "getex", keyword, text)
    if at_ms < 0:
        if db.expire_at(key) != -1:
            db.set_expire_at(key, -1)
            db.effect(b"PERSIST", key)
    elif at_ms <= db.now_ms:
        db.delete(key)
        db.effect(b"DEL", key)
    else:
        db.set_expire_at(key, at_ms)
        db.effect(b"PEXPIREAT", key, b"%d" % at_ms)
    return value


@command("STRLEN", arity=2, keys=FIRST_KEY, flags=READONLY | FAST, since="2.2.0")
def strlen(db: Db, key: bytes) -> int:
    """STRLEN key -- the length of a string in bytes."""
    return db.string_length_for_read(key) or 0


@command("GETRANGE", arity=4, keys=FIRST_KEY, flags=READONLY, since="2.4.0", complexity=SUBSTRING_COMPLEXITY)
def getrange(db: Db, key: bytes, start: bytes, end: bytes) -> bytes:
    """GETRANGE key start end -- the part of a string between two offsets, both included, negative ones from its end."""
    return _part(db, key, start, end)


@command("SUBSTR", arity=4, keys=FIRST_KEY, flags=READONLY, complexity=SUBSTRING_COMPLEXITY)
def substr(db: Db, key: bytes, start: bytes, end: bytes) -> bytes:
    """SUBSTR key start end -- the old name of GETRANGE."""
    return _part(db, key, start, end)


def _part(db: Db, key: bytes, start: bytes, end: bytes) -> bytes:
    first, last = integer(start), integer(end)
    length = db.string_length_for_read(key) or 0
    if first < 0 and last < 0 and first > last:
        return b""
    first = max(first + length, 0) if first < 0 else min(first, length)
    last = max(last + length, 0) if last < 0 else min(last, length)
    return db.string_part(key, first, last + 1)


# ---- changing in place


@command(
    "APPEND", arity=3, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST, since="2.0.0",
    complexity="O(1). The amortized time complexity is O(1) assuming the appended value is small and the already "
    "present value is of any size, since the dynamic string library used by Redis will double the free "
    "space available on every reallocation.",
)  # fmt: skip
def append(db: Db, key: bytes, value: bytes) -> int:
    """APPEND key value -- lengthen a string; reply with its new length."""
    length = db.string_length_for_write(key)
    if length is None:
        db.set_string(key, value)
        return len(value)
    if length + len(value) > LONGEST_STRING_BYTES:
        raise errors.STRING_TOO_LONG
    db.patch_string(key, length, value)
    return length + len(value)


@command(
    "SETRANGE", arity=4, keys=FIRST_KEY, flags=WRITE | DENYOOM, since="2.2.0",
    complexity="O(1), not counting the time taken to copy the new string in place. Usually, this string is very "
    "small so the amortized complexity is O(1). Otherwise, complexity is O(M) with M being the length of "
    "the value argument.",
)  # fmt: skip
def setrange(db: Db, key: bytes, offset: bytes, value: bytes) -> int:
    """SETRANGE key offset value -- overwrite a string from an offset on; a gap before it is filled with zero bytes."""
    start = integer(offset)
    if start < 0:
        raise OFFSET_OUT_OF_RANGE
    length = db.string_length_for_write(key) or 0
    if not value:
        return length
    if start + len(value) > LONGEST_STRING_BYTES:
        raise errors.STRING_TOO_LONG
    db.patch_string(key, start, value)
    return max(length, start + len(value))


@command("INCR", arity=2, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST)
def incr(db: Db, key: bytes) -> int:
    """INCR key -- add one to the integer at a key; a missing one counts as 0."""
    return _add(db, key, 1)


@command("DECR", arity=2, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST)
def decr(db: Db, key: bytes) -> int:
    """DECR key -- subtract one from the integer at a key; a missing one counts as 0."""
    return _add(db, key, -1)


@command("INCRBY", arity=3, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST)
def incrby(db: Db, key: bytes, increment: bytes) -> int:
    """INCRBY key increment -- add to the integer at a key; a missing one counts as 0."""
    return _add(db, key, integer(increment))


@command("DECRBY", arity=3, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST)
def decrby(db: Db, key: bytes, decrement: bytes) -> int:
    """DECRBY key decrement -- subtract from the integer at a key; a missing one counts as 0."""
    amount = integer(decrement)
    if amount == INT64_MIN:  # has no opposite in 64 bits
        raise DECREMENT_OVERFLOW
    return _add(db, key, -amount)


def _add(db: Db, key: bytes, amount: int) -> int:
    text = db.string_for_write(key)
    total = (0 if text is None else integer(text)) + amount
    if not INT64_MIN <= total <= INT64_MAX:
        raise errors.OVERFLOW
    db.set_string(key, b"%d" % total, keep_ttl=True)
    return total


@command("INCRBYFLOAT", arity=3, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST, since="2.6.0", effect="own")
def incrbyfloat(db: Db, key: bytes, increment: bytes) -> bytes:
    """INCRBYFLOAT key increment=double -- add to the floating point number at a key; a missing one counts as 0."""
    old = db.string_for_write(key)
    total = sum_text(long_double(b"0" if old is None else old), long_double(increment))
    db.set_string(key, total, keep_ttl=True)
    db.effect(b"SET", key, total, b"KEEPTTL")
    return total


# ---- comparing


@command(
    "LCS", arity=-3, keys=FIRST_TWO_KEYS, flags=READONLY, since="7.0.0",
    complexity="O(N*M) where N and M are the lengths of s1 and s2, respectively",
)  # fmt: skip
def lcs(db: Db, key1: bytes, key2: bytes, *words: bytes) -> bytes | int | dict[bytes, object]:
    """LCS key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN] -- the common subsequence of two strings."""
    first, second = _lcs_operands(db, key1, key2)
    chosen: set[bytes] = set()
    shortest = 0
    args = Arguments(words)
    while args.left:
        keyword = args.word().lower()
        if keyword == b"minmatchlen":
            shortest = args.integer()
        elif keyword not in (b"idx", b"len", b"withmatchlen"):
            raise errors.SYNTAX
        chosen.add(keyword)
    if {b"idx", b"len"} <= chosen:
        raise LENGTH_AND_INDEXES
    if (len(first) + 1) * (len(second) + 1) * longest_common.CELL_BYTES > LONGEST_STRING_BYTES:
        raise LCS_TOO_LARGE
    if b"len" in chosen:
        return longest_common.length(first, second)
    runs = longest_common.runs(first, second)
    if b"idx" not in chosen:
        return b"".join(first[start : start + size] for start, _, size in reversed(runs))
    return {
        b"matches": [
            [[start1, start1 + size - 1], [start2, start2 + size - 1], *([size] if b"withmatchlen" in chosen else [])]
            for start1, start2, size in runs
            if size >= shortest
        ],
        b"len": sum(size for _, _, size in runs),
    }


def _lcs_operands(db: Db, key1: bytes, key2: bytes) -> tuple[bytes, bytes]:
    try:
        return db.string_for_read(key1) or b"", db.string_for_read(key2) or b""
    except CommandError:
        raise NOT_STRINGS from None
