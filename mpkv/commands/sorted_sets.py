"""Step 9, sorted sets, member by member: add, remove, ask for score and rank, scan.

Ranges are in `sorted_set_ranges`, pops in `sorted_set_pops`, unions and the like in `sorted_set_algebra`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from typing import Any, Final

from mpkv import errors
from mpkv.commands import args, sampling, scanning
from mpkv.commands.faces import Db
from mpkv.commands.spec import DENYOOM, FAST, FIRST_KEY, READONLY, WRITE, command
from mpkv.errors import CommandError
from mpkv.resp.replies import NULL_ARRAY, Pairs


class AddOption(enum.Flag):
    """What ZADD may be told before the first score."""

    NX = enum.auto()  #: only add
    XX = enum.auto()  #: only update
    GT = enum.auto()  #: update only to a greater score
    LT = enum.auto()  #: update only to a lesser score
    CH = enum.auto()  #: count the changed, not only the new
    INCR = enum.auto()  #: add to the score, and reply with the sum


NX, XX, GT, LT, CH, INCR = AddOption
NO_OPTION: Final = AddOption(0)
OPTIONS: Final = {option.name.lower().encode(): option for option in AddOption if option.name}

#: Options that exclude each other, in the order in which they are looked for.
CONFLICTS: Final = (
    (NX | XX, CommandError("ERR XX and NX options at the same time are not compatible")),
    (GT | NX, CommandError("ERR GT, LT, and/or NX options at the same time are not compatible")),
    (LT | NX, CommandError("ERR GT, LT, and/or NX options at the same time are not compatible")),
    (GT | LT, CommandError("ERR GT, LT, and/or NX options at the same time are not compatible")),
)
ONE_PAIR_ONLY: Final = CommandError("ERR INCR option supports a single increment-element pair")


@command(
    "ZADD", arity=-4, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST, since="1.2.0",
    complexity="O(log(N)) for each item added, where N is the number of elements in the sorted set.",
)  # fmt: skip
def zadd(db: Db, key: bytes, *words: bytes) -> int | float | None:
    """ZADD key [NX | XX] [GT | LT] [change: CH] [increment: INCR] score member [score member ...] -- add members or
    change scores."""
    options, pairs = _add_options(words)
    scores = [args.floating(text) for text in pairs[::2]]
    if options & INCR:
        return _increment(db, key, scores[0], pairs[1], options)
    if options & XX and db.zset_for_write(key) is None:
        return 0
    value = db.zset_to_fill(key)
    added = updated = 0
    with db.all_or_nothing(pairs):
        for member, score in zip(pairs[1::2], scores, strict=True):
            old = value.score(member)
            if not _allowed(old, score, options):
                continue
            value.put(member, score)
            added += old is None
            updated += old is not None and old != score
    if added or updated:
        db.changed(key, added + updated)
    return added + updated if options & CH else added


def _add_options(words: Sequence[bytes]) -> tuple[AddOption, Sequence[bytes]]:
    """The options, and the pairs of scores and members that follow them."""
    options = NO_OPTION
    at = 0
    while at < len(words) and (option := OPTIONS.get(words[at].lower())):
        options |= option
        at += 1
    pairs = words[at:]
    if not pairs or len(pairs) % 2:
        raise errors.SYNTAX
    for both, error in CONFLICTS:
        if options & both == both:
            raise error
    if options & INCR and len(pairs) > 2:
        raise ONE_PAIR_ONLY
    return options, pairs


def _allowed(old: float | None, score: float, options: AddOption) -> bool:
    """Whether a member with score `old` (None: not a member) may get `score`."""
    if old is None:
        return not options & XX
    if options & NX:
        return False
    return not (options & GT and score <= old) and not (options & LT and score >= old)


def _increment(db: Db, key: bytes, increment: float, member: bytes, options: AddOption) -> float | None:
    """The new score; None if the options forbid it."""
    value = db.zset_for_write(key)
    old = None if value is None else value.score(member)
    score = increment if old is None else old + increment
    if math.isnan(score) and not (old is not None and options & NX):
        raise errors.SCORE_NOT_A_NUMBER
    if not _allowed(old, score, options):
        return None
    if old is None or old != score:
        db.zset_to_fill(key).put(member, score)
        db.changed(key)
        db.effect(b"ZADD", key, args.float_text(score), member)
    return score


@command(
    "ZINCRBY", arity=4, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST, since="1.2.0", effect="own",
    complexity="O(log(N)) where N is the number of elements in the sorted set.",
)  # fmt: skip
def zincrby(db: Db, key: bytes, increment: bytes, member: bytes) -> float | None:
    """ZINCRBY key increment member -- add to a member's score (0 if it is new); reply with the sum."""
    _add_options((increment, member))  # options are none of its own, but where ZADD takes one it has no pair left
    return _increment(db, key, args.floating(increment), member, NO_OPTION)


@command(
    "ZREM", arity=-3, keys=FIRST_KEY, flags=WRITE | FAST, since="1.2.0",
    complexity="O(M*log(N)) with N being the number of elements in the sorted set and M the number of elements "
    "to be removed.",
)  # fmt: skip
def zrem(db: Db, key: bytes, *members: bytes) -> int:
    """ZREM key member [member ...] -- remove members, and the key with its last one; reply with how many were there."""
    value = db.zset_for_write(key)
    removed = 0 if value is None else sum(value.remove(member) for member in members)
    if removed:
        db.changed(key, removed)
    return removed


@command("ZCARD", arity=2, keys=FIRST_KEY, flags=READONLY | FAST, since="1.2.0")
def zcard(db: Db, key: bytes) -> int:
    """ZCARD key -- the number of members."""
    value = db.zset_for_read(key)
    return 0 if value is None else len(value)


@command("ZSCORE", arity=3, keys=FIRST_KEY, flags=READONLY | FAST, since="1.2.0")
def zscore(db: Db, key: bytes, member: bytes) -> float | None:
    """ZSCORE key member -- a member's score."""
    value = db.zset_for_read(key)
    return None if value is None else value.score(member)


@command(
    "ZMSCORE", arity=-3, keys=FIRST_KEY, flags=READONLY | FAST, since="6.2.0",
    complexity="O(N) where N is the number of members being requested.",
)  # fmt: skip
def zmscore(db: Db, key: bytes, *members: bytes) -> list[float | None]:
    """ZMSCORE key member [member ...] -- the score of each, nil for those that are not members."""
    value = db.zset_for_read(key)
    return [None if value is None else value.score(member) for member in members]


@command("ZRANK", arity=-3, keys=FIRST_KEY, flags=READONLY | FAST, since="2.0.0", complexity="O(log(N))")
def zrank(db: Db, key: bytes, member: bytes, *options: bytes) -> Any:
    """ZRANK key member [WITHSCORE] -- a member's place from the lowest score, beginning with 0."""
    return _rank(db, key, member, options, reverse=False)


@command("ZREVRANK", arity=-3, keys=FIRST_KEY, flags=READONLY | FAST, since="2.0.0", complexity="O(log(N))")
def zrevrank(db: Db, key: bytes, member: bytes, *options: bytes) -> Any:
    """ZREVRANK key member [WITHSCORE] -- a member's place from the highest score, beginning with 0."""
    return _rank(db, key, member, options, reverse=True)


def _rank(db: Db, key: bytes, member: bytes, options: Sequence[bytes], *, reverse: bool) -> Any:
    if len(options) > 1:
        raise errors.wrong_arity("zrevrank" if reverse else "zrank")
    if options and options[0].lower() != b"withscore":
        raise errors.SYNTAX
    value = db.zset_for_read(key)
    rank = None if value is None else value.rank(member)
    if value is None or rank is None:
        return NULL_ARRAY if options else None
    if reverse:
        rank = len(value) - 1 - rank
    return [rank, value.score(member)] if options else rank


@command(
    "ZRANDMEMBER", arity=-2, keys=FIRST_KEY, flags=READONLY, since="6.2.0",
    complexity="O(N) where N is the number of elements returned",
)  # fmt: skip
def zrandmember(db: Db, key: bytes, *options: bytes) -> bytes | list[bytes] | Pairs | None:
    """ZRANDMEMBER key [count [WITHSCORES]] -- random members; a negative count allows repeats."""
    if not options:
        value = db.zset_for_read(key)
        return None if value is None else value.random()[0]
    wanted = sampling.count(options[0])
    with_scores = sampling.pair_option(options, b"withscores", wanted)
    value = db.zset_for_read(key)
    picks = [] if value is None else sampling.picks(value, wanted)
    return Pairs(picks) if with_scores else [member for member, _ in picks]


@command("ZSCAN", arity=-3, keys=FIRST_KEY, flags=READONLY, since="2.8.0", complexity=scanning.COMPLEXITY)
def zscan(db: Db, key: bytes, cursor: bytes, *options: bytes) -> Any:
    """ZSCAN key cursor [MATCH pattern] [COUNT count] -- one step over the members and their scores."""
    position = scanning.cursor(cursor)
    value = db.zset_for_read(key)
    if value is None:
        return scanning.NOTHING
    wanted = scanning.Options.parse(options)
    following, found = value.scan(position, wanted.count)
    pairs = ((member, args.float_text(score)) for member, score in found if wanted.wants(member))
    return scanning.reply(following, [word for pair in pairs for word in pair])
