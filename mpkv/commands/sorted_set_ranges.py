"""Step 9, ranges of sorted sets: by rank, by score, by member; to read, to count, to store, to remove.

Every range comes down to a *span*: the first and the last rank in ascending order, empty when the last is below the
first. So each kind of bound knows how to find its span, and what is done with one needs to know nothing of bounds.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from mpkv import errors
from mpkv.commands import args
from mpkv.commands.args import Arguments
from mpkv.commands.faces import Db, ZSet
from mpkv.commands.spec import DENYOOM, FAST, FIRST_KEY, FIRST_TWO_KEYS, READONLY, WRITE, command
from mpkv.errors import CommandError
from mpkv.resp.replies import Pairs

LIMIT_NEEDS_BOUNDS: Final = CommandError(
    "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX"
)
NO_SCORES_BY_LEX: Final = CommandError("ERR syntax error, WITHSCORES not supported in combination with BYLEX")

RANGE_COMPLEXITY: Final = (
    "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements returned."
)
LIMITED_RANGE_COMPLEXITY: Final = (
    "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements "
    "being returned. If M is "
    "constant (e.g. always asking for the first 10 elements with LIMIT), you can consider it O(log(N))."
)
REMOVE_COMPLEXITY: Final = (
    "O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements removed "
    "by the operation."
)
COUNT_COMPLEXITY: Final = "O(log(N)) with N being the number of elements in the sorted set."

Span = tuple[int, int]
EMPTY_SPAN: Final = (0, -1)


class Range(Protocol):
    """Two bounds."""

    def span(self, value: ZSet) -> Span: ...


# Bounds


@dataclass(frozen=True, slots=True)
class RankRange:
    """From rank `start` to `stop`, both included, negative ones from the end.

    In a reverse range they count from the highest score.
    """

    start: int
    stop: int
    reverse: bool = False

    @classmethod
    def parse(cls, start: bytes, stop: bytes) -> RankRange:
        return cls(args.integer(start), args.integer(stop))

    def span(self, value: ZSet) -> Span:
        size = len(value)
        first = max(self.start + size if self.start < 0 else self.start, 0)
        last = min(self.stop + size if self.stop < 0 else self.stop, size - 1)
        return (size - 1 - last, size - 1 - first) if self.reverse else (first, last)


class ScoreBound(NamedTuple):
    score: float
    exclusive: bool

    @classmethod
    def parse(cls, text: bytes) -> ScoreBound:
        """A float, after ``(`` exclusive.

        As `strtod` reads it: blanks may lead, nothing is 0, a NUL ends it, ``1e400`` is infinite.
        """
        exclusive = text.startswith(b"(")
        digits = text[exclusive:].partition(b"\0")[0]
        if not digits:
            return cls(0.0, exclusive)
        return cls(args.strtod(digits.lstrip(), errors.SCORE_BOUND_NOT_A_FLOAT), exclusive)


@dataclass(frozen=True, slots=True)
class ScoreRange:
    low: ScoreBound
    high: ScoreBound

    @classmethod
    def parse(cls, low: bytes, high: bytes) -> ScoreRange:
        return cls(ScoreBound.parse(low), ScoreBound.parse(high))

    def span(self, value: ZSet) -> Span:
        return value.first_rank_by_score(*self.low), value.last_rank_by_score(*self.high)


class LexBound(NamedTuple):
    member: bytes
    exclusive: bool

    @classmethod
    def parse(cls, text: bytes) -> LexBound:
        """``[member``, ``(member``, ``-`` (below all) or ``+`` (above all)."""
        if text in OPEN_BOUNDS:
            return OPEN_BOUNDS[text]
        if text[:1] not in (b"(", b"["):
            raise errors.LEX_BOUND_INVALID
        return cls(text[1:], text.startswith(b"("))


#: These two are told from bounds with a member by identity.
BELOW_ALL: Final = LexBound(b"", False)
ABOVE_ALL: Final = LexBound(b"", True)
OPEN_BOUNDS: Final = {b"-": BELOW_ALL, b"+": ABOVE_ALL}


@dataclass(frozen=True, slots=True)
class LexRange:
    """By member, for sets whose scores are all equal."""

    low: LexBound
    high: LexBound

    @classmethod
    def parse(cls, low: bytes, high: bytes) -> LexRange:
        return cls(LexBound.parse(low), LexBound.parse(high))

    def span(self, value: ZSet) -> Span:
        if self.low is ABOVE_ALL or self.high is BELOW_ALL:
            return EMPTY_SPAN
        first = 0 if self.low is BELOW_ALL else value.first_rank_by_lex(*self.low)
        last = len(value) - 1 if self.high is ABOVE_ALL else value.last_rank_by_lex(*self.high)
        return first, last


class By(enum.Enum):
    """What the bounds of a range are; the value reads them."""

    RANK = RankRange
    SCORE = ScoreRange
    LEX = LexRange

    def parse(self, low: bytes, high: bytes) -> Range:
        parse: Callable[[bytes, bytes], Range] = self.value.parse
        return parse(low, high)


# Requests


@dataclass(slots=True)
class Options:
    """The words after the two bounds. `by` and `reverse` are None as long as the request may still choose."""

    by: By | None = None
    reverse: bool | None = None
    with_scores: bool = False
    offset: int = 0
    limit: int = -1  #: negative: no limit

    def read(self, words: Sequence[bytes], *, scores_allowed: bool = True) -> None:
        left = Arguments(words)
        while left.left:
            if scores_allowed and left.take(b"withscores"):
                self.with_scores = True
            elif left.take(b"limit", needs=2):
                self.offset, self.limit = left.integer(), left.integer()
            elif self.reverse is None and left.take(b"rev"):
                self.reverse = True
            elif self.by is None and left.take(b"bylex"):
                self.by = By.LEX
            elif self.by is None and left.take(b"byscore"):
                self.by = By.SCORE
            else:
                raise errors.SYNTAX
        self.by = self.by or By.RANK
        if self.limit != -1 and self.by is By.RANK:
            raise LIMIT_NEEDS_BOUNDS
        if self.with_scores and self.by is By.LEX:
            raise NO_SCORES_BY_LEX

    def range_of(self, start: bytes, stop: bytes) -> Range:
        """The bounds; a reverse request by score or member names the higher one first."""
        assert self.by is not None, "read() comes first"
        if self.by is By.RANK:
            bounds = RankRange.parse(start, stop)
            return RankRange(bounds.start, bounds.stop, bool(self.reverse))
        return self.by.parse(stop, start) if self.reverse else self.by.parse(start, stop)

    def limited(self, span: Span) -> Span:
        """What LIMIT leaves of a span; the offset counts from the end at which the range begins."""
        first, last = span
        if self.by is By.RANK:  # LIMIT with -1 is let through, and means nothing
            return span
        if self.offset < 0:
            return EMPTY_SPAN
        if self.reverse:
            last -= self.offset
            return (first if self.limit < 0 else max(first, last - self.limit + 1)), last
        first += self.offset
        return first, (last if self.limit < 0 else min(last, first + self.limit - 1))


def _members(value: ZSet, span: Span, *, reverse: bool = False) -> list[tuple[bytes, float]]:
    first, last = span
    if last < first:
        return []
    if reverse:
        highest = len(value) - 1
        return value.by_rank(highest - last, highest - first, True)
    return value.by_rank(first, last)


def _range(
    db: Db, key: bytes, start: bytes, stop: bytes, words: Sequence[bytes], *, options: Options
) -> list[bytes] | Pairs:
    options.read(words)
    bounds = options.range_of(start, stop)
    value = db.zset_for_read(key)
    found = []
    if value is not None:
        found = _members(value, options.limited(bounds.span(value)), reverse=bool(options.reverse))
    return Pairs(found) if options.with_scores else [member for member, _ in found]


# Read


@command("ZRANGE", arity=-4, keys=FIRST_KEY, flags=READONLY, since="1.2.0", complexity=RANGE_COMPLEXITY)
def zrange(db: Db, key: bytes, start: bytes, stop: bytes, *words: bytes) -> list[bytes] | Pairs:
    """ZRANGE key start=string stop=string [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES] -- the members
    in a range."""
    return _range(db, key, start, stop, words, options=Options())


@command("ZREVRANGE", arity=-4, keys=FIRST_KEY, flags=READONLY, since="1.2.0", complexity=RANGE_COMPLEXITY)
def zrevrange(db: Db, key: bytes, start: bytes, stop: bytes, *words: bytes) -> list[bytes] | Pairs:
    """ZREVRANGE key start stop [WITHSCORES] -- the members in a range of ranks, highest score first."""
    return _range(db, key, start, stop, words, options=Options(By.RANK, reverse=True))


@command("ZRANGEBYSCORE", arity=-4, keys=FIRST_KEY, flags=READONLY, since="1.0.5", complexity=LIMITED_RANGE_COMPLEXITY)
def zrangebyscore(db: Db, key: bytes, low: bytes, high: bytes, *words: bytes) -> list[bytes] | Pairs:
    """ZRANGEBYSCORE key min=double max=double [WITHSCORES] [LIMIT offset count] -- the members with scores in a
    range."""
    return _range(db, key, low, high, words, options=Options(By.SCORE, reverse=False))


@command(
    "ZREVRANGEBYSCORE", arity=-4, keys=FIRST_KEY, flags=READONLY, since="2.2.0", complexity=LIMITED_RANGE_COMPLEXITY
)
def zrevrangebyscore(db: Db, key: bytes, high: bytes, low: bytes, *words: bytes) -> list[bytes] | Pairs:
    """ZREVRANGEBYSCORE key max=double min=double [WITHSCORES] [LIMIT offset count] -- by score, from the highest."""
    return _range(db, key, high, low, words, options=Options(By.SCORE, reverse=True))


@command("ZRANGEBYLEX", arity=-4, keys=FIRST_KEY, flags=READONLY, since="2.8.9", complexity=LIMITED_RANGE_COMPLEXITY)
def zrangebylex(db: Db, key: bytes, low: bytes, high: bytes, *words: bytes) -> list[bytes] | Pairs:
    """ZRANGEBYLEX key min max [LIMIT offset count] -- the members between two strings, where all scores are equal."""
    return _range(db, key, low, high, words, options=Options(By.LEX, reverse=False))


@command("ZREVRANGEBYLEX", arity=-4, keys=FIRST_KEY, flags=READONLY, since="2.8.9", complexity=LIMITED_RANGE_COMPLEXITY)
def zrevrangebylex(db: Db, key: bytes, high: bytes, low: bytes, *words: bytes) -> list[bytes] | Pairs:
    """ZREVRANGEBYLEX key max min [LIMIT offset count] -- the members between two strings, last first."""
    return _range(db, key, high, low, words, options=Options(By.LEX, reverse=True))


# Count


@command("ZCOUNT", arity=4, keys=FIRST_KEY, flags=READONLY | FAST, since="2.0.0", complexity=COUNT_COMPLEXITY)
def zcount(db: Db, key: bytes, low: bytes, high: bytes) -> int:
    """ZCOUNT key min=double max=double -- how many members have scores in a range."""
    return _count(db, key, ScoreRange.parse(low, high))


@command("ZLEXCOUNT", arity=4, keys=FIRST_KEY, flags=READONLY | FAST, since="2.8.9", complexity=COUNT_COMPLEXITY)
def zlexcount(db: Db, key: bytes, low: bytes, high: bytes) -> int:
    """ZLEXCOUNT key min max -- how many members are between two strings, where all scores are equal."""
    return _count(db, key, LexRange.parse(low, high))


def _count(db: Db, key: bytes, bounds: Range) -> int:
    value = db.zset_for_read(key)
    first, last = EMPTY_SPAN if value is None else bounds.span(value)
    return max(last - first + 1, 0)


# Store


@command(
    "ZRANGESTORE", arity=-5, keys=FIRST_TWO_KEYS, flags=WRITE | DENYOOM, since="6.2.0",
    complexity="O(log(N)+M) with N being the number of elements in the sorted set and M the number of elements "
    "stored into the "
    "destination key.",
)  # fmt: skip
def zrangestore(db: Db, destination: bytes, source: bytes, start: bytes, stop: bytes, *words: bytes) -> int:
    """ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count] -- store a range."""
    options = Options()
    options.read(words, scores_allowed=False)
    bounds = options.range_of(start, stop)
    value = db.zset_for_read(source)
    found = [] if value is None else _members(value, options.limited(bounds.span(value)))
    return store(db, destination, found)


def store(db: Db, destination_key: bytes, pairs: Sequence[tuple[bytes, float]]) -> int:
    """Overwrite whatever is at the destination by a sorted set of `pairs`; if there are none, by nothing."""
    if not pairs:
        db.delete(destination_key)
        return 0
    result = db.new_zset()
    for member, score in pairs:
        result.put(member, score)
    db.overwrite(destination_key, result)
    return len(pairs)


# Remove


@command("ZREMRANGEBYRANK", arity=4, keys=FIRST_KEY, flags=WRITE, since="2.0.0", complexity=REMOVE_COMPLEXITY)
def zremrangebyrank(db: Db, key: bytes, start: bytes, stop: bytes) -> int:
    """ZREMRANGEBYRANK key start stop -- remove the members in a range of ranks; reply with how many."""
    return _remove(db, key, RankRange.parse(start, stop))


@command("ZREMRANGEBYSCORE", arity=4, keys=FIRST_KEY, flags=WRITE, since="1.2.0", complexity=REMOVE_COMPLEXITY)
def zremrangebyscore(db: Db, key: bytes, low: bytes, high: bytes) -> int:
    """ZREMRANGEBYSCORE key min=double max=double -- remove the members with scores in a range; reply with how many."""
    return _remove(db, key, ScoreRange.parse(low, high))


@command("ZREMRANGEBYLEX", arity=4, keys=FIRST_KEY, flags=WRITE, since="2.8.9", complexity=REMOVE_COMPLEXITY)
def zremrangebylex(db: Db, key: bytes, low: bytes, high: bytes) -> int:
    """ZREMRANGEBYLEX key min max -- remove the members between two strings; reply with how many."""
    return _remove(db, key, LexRange.parse(low, high))


def _remove(db: Db, key: bytes, bounds: Range) -> int:
    value = db.zset_for_write(key)
    doomed = [] if value is None else _members(value, bounds.span(value))
    if value is not None and doomed:
        for member, _ in doomed:
            value.remove(member)
        db.changed(key, len(doomed))
    return len(doomed)
