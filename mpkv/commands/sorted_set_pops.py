"""Step 9, sorted sets that are emptied from an end: ZPOPMIN and its kin, blocking or not.

A blocking command is called again with the same arguments when one of its keys may serve it; what it then takes is
logged as the ZPOPMIN or ZPOPMAX that it comes down to.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, Final

from mpkv import errors
from mpkv.commands import args
from mpkv.commands.args import Arguments
from mpkv.commands.faces import Db, ZSet
from mpkv.commands.spec import ALL_BUT_LAST, BLOCKING, FAST, FIRST_KEY, MOVABLEKEYS, NOSCRIPT, WRITE, Keys, command
from mpkv.resp.replies import NULL_ARRAY, Blocked, Pairs

ONE_POP_COMPLEXITY: Final = "O(log(N)) with N being the number of elements in the sorted set."
POPS_COMPLEXITY: Final = (
    "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of elements popped."
)
FIRST_OF_KEYS_COMPLEXITY: Final = (
    "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in "
    "the sorted set, and M being "
    "the number of elements popped."
)


class End(enum.Enum):
    """An end of a sorted set; the value is the command that pops there."""

    MIN = b"ZPOPMIN"
    MAX = b"ZPOPMAX"


ENDS: Final = {b"min": End.MIN, b"max": End.MAX}


def _pop(db: Db, key: bytes, value: ZSet, end: End, count: int) -> list[tuple[bytes, float]]:
    """Remove up to `count` > 0 members, outermost first."""
    popped = value.by_rank(0, min(count, len(value)) - 1, end is End.MAX)
    for member, _ in popped:
        value.remove(member)
    db.changed(key, len(popped))
    return popped


def _first_to_serve(db: Db, keys: Sequence[bytes]) -> tuple[bytes, ZSet] | None:
    """The first key that is there; one of another type before it is an error."""
    for key in keys:
        value = db.zset_for_write(key)
        if value is not None:
            return key, value
    return None


@command("ZPOPMIN", arity=-2, keys=FIRST_KEY, flags=WRITE | FAST, since="5.0.0", complexity=POPS_COMPLEXITY)
def zpopmin(db: Db, key: bytes, *options: bytes) -> Any:
    """ZPOPMIN key [count] -- remove the members with the lowest scores and reply with them."""
    return _zpop(db, key, options, End.MIN)


@command("ZPOPMAX", arity=-2, keys=FIRST_KEY, flags=WRITE | FAST, since="5.0.0", complexity=POPS_COMPLEXITY)
def zpopmax(db: Db, key: bytes, *options: bytes) -> Any:
    """ZPOPMAX key [count] -- remove the members with the highest scores and reply with them."""
    return _zpop(db, key, options, End.MAX)


def _zpop(db: Db, key: bytes, options: Sequence[bytes], end: End) -> Any:
    if len(options) > 1:
        raise errors.SYNTAX
    count = args.integer_between(options[0], 0, args.INT64_MAX, errors.NOT_POSITIVE) if options else 1
    value = db.zset_for_write(key)
    popped = _pop(db, key, value, end, count) if value is not None and count else []
    if options:
        return Pairs(popped)
    return list(popped[0]) if popped else []


@command(
    "BZPOPMIN", arity=-3, keys=ALL_BUT_LAST, flags=WRITE | NOSCRIPT | BLOCKING | FAST, since="5.0.0", effect="own",
    complexity=ONE_POP_COMPLEXITY,
)  # fmt: skip
def bzpopmin(db: Db, *words: bytes) -> Any:
    """BZPOPMIN key [key ...] timeout -- ZPOPMIN of the first key that is there, or wait for one."""
    return _bzpop(db, words, End.MIN)


@command(
    "BZPOPMAX", arity=-3, keys=ALL_BUT_LAST, flags=WRITE | NOSCRIPT | BLOCKING | FAST, since="5.0.0", effect="own",
    complexity=ONE_POP_COMPLEXITY,
)  # fmt: skip
def bzpopmax(db: Db, *words: bytes) -> Any:
    """BZPOPMAX key [key ...] timeout -- ZPOPMAX of the first key that is there, or wait for one."""
    return _bzpop(db, words, End.MAX)


def _bzpop(db: Db, words: Sequence[bytes], end: End) -> Any:
    *keys, timeout = words
    timeout_ms = args.timeout_ms(timeout, db.now_ms)
    served = _first_to_serve(db, keys)
    if served is None:
        return Blocked(keys, "zset", timeout_ms)
    key, value = served
    [(member, score)] = _pop(db, key, value, end, 1)
    db.effect(end.value, key)
    return [key, member, score]


@command(
    "ZMPOP", arity=-4, keys=Keys(count_at=1), flags=WRITE | MOVABLEKEYS, since="7.0.0", effect="own",
    complexity=FIRST_OF_KEYS_COMPLEXITY,
)  # fmt: skip
def zmpop(db: Db, *words: bytes) -> Any:
    """ZMPOP numkeys key [key ...] <MIN | MAX> [COUNT count] -- pop from the first key that is there."""
    reply = _pop_first(db, *_multi_arguments(words))
    return NULL_ARRAY if reply is None else reply


@command(
    "BZMPOP", arity=-5, keys=Keys(count_at=2), flags=WRITE | BLOCKING | MOVABLEKEYS, since="7.0.0", effect="own",
    complexity=FIRST_OF_KEYS_COMPLEXITY,
)  # fmt: skip
def bzmpop(db: Db, timeout: bytes, *words: bytes) -> Any:
    """BZMPOP timeout numkeys key [key ...] <MIN | MAX> [COUNT count] -- ZMPOP, or wait for a key."""
    keys, end, count = _multi_arguments(words)
    timeout_ms = args.timeout_ms(timeout, db.now_ms)
    reply = _pop_first(db, keys, end, count)
    return Blocked(keys, "zset", timeout_ms) if reply is None else reply


def _multi_arguments(words: Sequence[bytes]) -> tuple[Sequence[bytes], End, int]:
    """``numkeys key [key ...] <MIN | MAX> [COUNT count]``"""
    key_count = args.integer_between(words[0], 1, args.INT64_MAX, errors.NUMKEYS_NOT_POSITIVE)
    options = Arguments(words[1 + key_count :])
    end = ENDS.get(options.word().lower())
    if end is None:
        raise errors.SYNTAX
    count = 1
    if options.take(b"count", needs=1):
        count = args.integer_between(options.word(), 1, args.INT64_MAX, errors.COUNT_NOT_POSITIVE)
    options.end()
    return words[1 : 1 + key_count], end, count


def _pop_first(db: Db, keys: Sequence[bytes], end: End, count: int) -> list[Any] | None:
    served = _first_to_serve(db, keys)
    if served is None:
        return None
    key, value = served
    popped = _pop(db, key, value, end, count)
    db.effect(end.value, key, b"%d" % len(popped))
    return [key, [list(pair) for pair in popped]]
