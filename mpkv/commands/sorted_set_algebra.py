"""Step 9, the algebra of sorted sets: union, intersection and difference, to read, to count, to store.

Plain sets may take part, with 1 as every score.

Over shards (class S) each shard combines its own keys, weights applied, by the internal command `_ZPART`, and the
results are combined again with weight 1. A difference takes from the shard that holds the first key its difference,
from the others their unions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, Protocol

from mpkv import errors
from mpkv.commands import args
from mpkv.commands.across import Parts
from mpkv.commands.args import Arguments
from mpkv.commands.faces import Db, Set, ZSet
from mpkv.commands.sorted_set_ranges import store
from mpkv.commands.spec import DENYOOM, INTERNAL, MOVABLEKEYS, READONLY, WRITE, Across, Keys, command
from mpkv.errors import CommandError
from mpkv.resp.replies import Pairs

WEIGHT_NOT_A_FLOAT: Final = CommandError("ERR weight value is not a float")

UNION_COMPLEXITY: Final = (
    "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted sets, and M being the "
    "number of elements in the "
    "resulting sorted set."
)
INTERSECTION_COMPLEXITY: Final = (
    "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being the number "
    "of input sorted sets and M "
    "being the number of elements in the resulting sorted set."
)
DIFFERENCE_COMPLEXITY: Final = (
    "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the sets, N is "
    "the size of the first set, and K "
    "is the size of the result set."
)

Pair = tuple[bytes, float]

# What takes part


class Operand(Protocol):
    """One of the sets."""

    def __len__(self) -> int: ...
    def pairs(self) -> Iterable[Pair]: ...
    def score(self, member: bytes) -> float | None: ...


class _Sorted:
    __slots__ = ("_value", "score")

    def __init__(self, value: ZSet) -> None:
        self._value = value
        self.score = value.score

    def __len__(self) -> int:
        return len(self._value)

    def pairs(self) -> Iterable[Pair]:
        return self._value.by_rank(0, len(self._value) - 1)


class _Plain:
    """A set as if it were sorted, every score being 1."""

    __slots__ = ("_value",)

    def __init__(self, value: Set) -> None:
        self._value = value

    def __len__(self) -> int:
        return len(self._value)

    def pairs(self) -> Iterable[Pair]:
        return ((member, 1.0) for member in self._value.members())

    def score(self, member: bytes) -> float | None:
        return 1.0 if self._value.contains(member) else None


class _Replied(dict[bytes, float]):
    """A shard's reply to `_ZPART`."""

    pairs = dict.items
    score = dict.get


def _operand(db: Db, key: bytes) -> Operand | None:
    if db.type_of(key) == "set":
        members = db.set_for_read(key)
        return None if members is None else _Plain(members)
    value = db.zset_for_read(key)
    return None if value is None else _Sorted(value)


# The operations: of sets (None: no such key) with their weights


def _sum(left: float, right: float) -> float:
    total = left + right
    return 0.0 if math.isnan(total) else total  # inf - inf


def _min(left: float, right: float) -> float:
    return right if right < left else left


def _max(left: float, right: float) -> float:
    return right if right > left else left


Aggregate = Callable[[float, float], float]
AGGREGATES: Final[dict[bytes, Aggregate]] = {b"sum": _sum, b"min": _min, b"max": _max}

Operands = Sequence[Operand | None]
Operation = Callable[[Operands, Sequence[float], Aggregate], Iterable[Pair]]


def _weighted(score: float, weight: float) -> float:
    product = score * weight
    return 0.0 if math.isnan(product) else product  # 0 * inf


def union(operands: Operands, weights: Sequence[float], aggregate: Aggregate) -> Iterable[Pair]:
    scores: dict[bytes, float] = {}
    for operand, weight in _smallest_first(operands, weights):
        for member, score in operand.pairs():
            weighted = _weighted(score, weight)
            scores[member] = aggregate(scores[member], weighted) if member in scores else weighted
    return scores.items()


def intersection(operands: Operands, weights: Sequence[float], aggregate: Aggregate) -> Iterable[Pair]:
    """Walks the smallest one and asks the others."""
    if any(operand is None for operand in operands):
        return
    (smallest, first_weight), *others = _smallest_first(operands, weights)
    for member, first_score in smallest.pairs():
        total = _weighted(first_score, first_weight)
        for operand, weight in others:
            score = operand.score(member)
            if score is None:
                break
            total = aggregate(total, score * weight)
        else:
            yield member, total


def difference(operands: Operands, weights: Sequence[float], aggregate: Aggregate) -> Iterable[Pair]:
    """Walks the first one and asks the others; neither weights nor aggregates matter."""
    first, *rest = operands
    others = [operand for operand in rest if operand is not None]
    for member, score in first.pairs() if first is not None else ():
        if all(operand.score(member) is None for operand in others):
            yield member, score


def _smallest_first(operands: Operands, weights: Sequence[float]) -> list[tuple[Operand, float]]:
    """Those that are there. The order is Redis', and shows in the last digit of sums."""
    there = [(operand, weight) for operand, weight in zip(operands, weights, strict=True) if operand is not None]
    return sorted(there, key=lambda pair: len(pair[0]))


def _in_order(pairs: Iterable[Pair]) -> list[Pair]:
    return sorted(pairs, key=lambda pair: (pair[1], pair[0]))


# Requests


@dataclass(slots=True)
class Request:
    """``numkeys key [key ...]``, and what may follow."""

    keys: Sequence[bytes]
    weights: list[float] = field(default_factory=list)
    aggregate: Aggregate = _sum
    aggregate_name: bytes = b"sum"
    with_scores: bool = False
    limit: int = 0  #: 0 = none

    def read_options(self, words: Sequence[bytes], allowed: frozenset[bytes]) -> None:
        self.weights = [1.0] * len(self.keys)
        left = Arguments(words)
        while left.left:
            if b"weights" in allowed and left.take(b"weights", needs=len(self.keys)):
                self.weights = [left.floating(WEIGHT_NOT_A_FLOAT) for _ in self.keys]
            elif b"aggregate" in allowed and left.take(b"aggregate", needs=1):
                self.aggregate_name = left.word().lower()
                if self.aggregate_name not in AGGREGATES:
                    raise errors.SYNTAX
                self.aggregate = AGGREGATES[self.aggregate_name]
            elif b"withscores" in allowed and left.take(b"withscores"):
                self.with_scores = True
            elif b"limit" in allowed and left.take(b"limit", needs=1):
                self.limit = args.integer_between(left.word(), 0, args.INT64_MAX, errors.LIMIT_NEGATIVE)
            else:
                raise errors.SYNTAX


READ: Final = frozenset((b"weights", b"aggregate", b"withscores"))
READ_DIFFERENCE: Final = frozenset((b"withscores",))
COUNT: Final = frozenset((b"limit",))
STORE: Final = frozenset((b"weights", b"aggregate"))
STORE_DIFFERENCE: Final = frozenset[bytes]()


def _keys_of(name: str, words: Sequence[bytes]) -> Sequence[bytes]:
    """The keys of ``numkeys key [key ...] …``."""
    key_count = args.integer(words[0])
    if key_count < 1:
        raise CommandError(f"ERR at least 1 input key is needed for '{name}' command")
    if key_count >= len(words):
        raise errors.SYNTAX
    return words[1 : 1 + key_count]


def _combine(
    db: Db, name: str, operation: Operation, words: Sequence[bytes], allowed: frozenset[bytes]
) -> tuple[Request, Iterable[Pair]]:
    """The request and its result. Types are checked before options, as Redis does."""
    request = Request(_keys_of(name, words))
    operands = [_operand(db, key) for key in request.keys]
    request.read_options(words[1 + len(request.keys) :], allowed)
    return request, operation(operands, request.weights, request.aggregate)


def _reply(request: Request, pairs: Iterable[Pair]) -> list[bytes] | Pairs:
    ordered = _in_order(pairs)
    return Pairs(ordered) if request.with_scores else [member for member, _ in ordered]


# Over shards

#: The word that `_ZPART` knows an operation by.
UNION, INTERSECTION, DIFFERENCE = b"union", b"inter", b"diff"
OPERATIONS: Final[dict[bytes, Operation]] = {UNION: union, INTERSECTION: intersection, DIFFERENCE: difference}
STARTING_KEY_WORD: Final = 2  #: of a request that may go to several shards


@command("_ZPART", arity=-4, keys=Keys(count_at=2), flags=READONLY | MOVABLEKEYS | INTERNAL)
def zpart(db: Db, operation: bytes, *words: bytes) -> list[list[Any]]:
    """_ZPART operation numkeys key [key ...] [option ...] -- what one shard adds to a reply, in no order."""
    _, pairs = _combine(db, "_zpart", OPERATIONS[operation], words, READ | COUNT)
    return [list(pair) for pair in pairs]


def _part_of(operation: bytes, allowed: frozenset[bytes]) -> Callable[[Sequence[bytes], list[int], bool], list[bytes]]:
    """How a request is dealt out: to each shard its keys with their weights."""

    def part(words: Sequence[bytes], key_words: list[int], holds_first: bool) -> list[bytes]:
        request = Request(_keys_of("", words[1:]))
        try:
            request.read_options(words[STARTING_KEY_WORD + len(request.keys) :], allowed)
        except CommandError:
            return list(words)  # the shard finds the same fault, with the keys of other shards missing
        weights = [args.float_text(request.weights[at - STARTING_KEY_WORD]) for at in key_words]
        own = UNION if operation == DIFFERENCE and not holds_first else operation
        keys = [words[at] for at in key_words]
        return [b"_ZPART", own, b"%d" % len(keys), *keys, b"WEIGHTS", *weights, b"AGGREGATE", request.aggregate_name]

    return part


def _joined(
    operation: bytes, allowed: frozenset[bytes], words: Sequence[bytes], parts: Parts
) -> tuple[Request, Iterable[Pair]]:
    request = Request(_keys_of("", words[1:]))
    request.read_options(words[STARTING_KEY_WORD + len(request.keys) :], allowed)
    # The shard of a difference's first key is the one that was asked for a difference: it goes first.
    parts = sorted(parts, key=lambda part: part[0][1] != operation)
    operands = [_Replied((member, float(score)) for member, score in reply) for _, reply in parts]
    return request, OPERATIONS[operation](operands, [1.0] * len(operands), request.aggregate)


def _across(operation: bytes, allowed: frozenset[bytes] = READ) -> Across:
    def merge(words: Sequence[bytes], parts: Parts) -> list[bytes] | Pairs:
        return _reply(*_joined(operation, allowed, words, parts))

    return Across(merge, part=_part_of(operation, allowed))


def _merge_counts(words: Sequence[bytes], parts: Parts) -> int:
    return _counted(*_joined(INTERSECTION, COUNT, words, parts))


def _counted(request: Request, pairs: Iterable[Pair]) -> int:
    """How many; counting stops at the limit."""
    return sum(1 for _ in islice(pairs, request.limit or None))


# Read

NUMBERED_KEYS: Final = Keys(count_at=1)
DESTINATION_AND_KEYS: Final = Keys(1, 1, count_at=2)


@command(
    "ZUNION", arity=-3, keys=NUMBERED_KEYS, flags=READONLY | MOVABLEKEYS, across=_across(UNION), since="6.2.0",
    complexity=UNION_COMPLEXITY,
)  # fmt: skip
def zunion(db: Db, *words: bytes) -> list[bytes] | Pairs:
    """ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES] --
    unite."""
    return _reply(*_combine(db, "zunion", union, words, READ))


@command(
    "ZINTER", arity=-3, keys=NUMBERED_KEYS, flags=READONLY | MOVABLEKEYS, across=_across(INTERSECTION), since="6.2.0",
    complexity=INTERSECTION_COMPLEXITY,
)  # fmt: skip
def zinter(db: Db, *words: bytes) -> list[bytes] | Pairs:
    """ZINTER numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES] --
    intersect."""
    return _reply(*_combine(db, "zinter", intersection, words, READ))


@command(
    "ZDIFF", arity=-3, keys=NUMBERED_KEYS, flags=READONLY | MOVABLEKEYS, across=_across(DIFFERENCE, READ_DIFFERENCE),
    since="6.2.0", complexity=DIFFERENCE_COMPLEXITY,
)  # fmt: skip
def zdiff(db: Db, *words: bytes) -> list[bytes] | Pairs:
    """ZDIFF numkeys key [key ...] [WITHSCORES] -- what only the first set has."""
    return _reply(*_combine(db, "zdiff", difference, words, READ_DIFFERENCE))


@command(
    "ZINTERCARD", arity=-3, keys=NUMBERED_KEYS, flags=READONLY | MOVABLEKEYS, since="7.0.0",
    across=Across(_merge_counts, part=_part_of(INTERSECTION, COUNT)),
    complexity="O(N*K) worst case with N being the smallest input sorted set, K being the number of input "
    "sorted sets.",
)  # fmt: skip
def zintercard(db: Db, *words: bytes) -> int:
    """ZINTERCARD numkeys key [key ...] [LIMIT limit] -- how many members all sets have; counting stops at the limit."""
    return _counted(*_combine(db, "zintercard", intersection, words, COUNT))


# Store


@command(
    "ZUNIONSTORE", arity=-4, keys=DESTINATION_AND_KEYS, flags=WRITE | DENYOOM | MOVABLEKEYS, since="2.0.0",
    complexity="O(N)+O(M log(M)) with N being the sum of the sizes of the input sorted sets, and M being the "
    "number of elements "
    "in the resulting sorted set.",
)  # fmt: skip
def zunionstore(db: Db, destination: bytes, *words: bytes) -> int:
    """ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] --
    store a union."""
    return _store(db, "zunionstore", union, destination, words, allowed=STORE)


@command(
    "ZINTERSTORE", arity=-4, keys=DESTINATION_AND_KEYS, flags=WRITE | DENYOOM | MOVABLEKEYS, since="2.0.0",
    complexity=INTERSECTION_COMPLEXITY,
)  # fmt: skip
def zinterstore(db: Db, destination: bytes, *words: bytes) -> int:
    """ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] --
    store an intersection."""
    return _store(db, "zinterstore", intersection, destination, words, allowed=STORE)


@command(
    "ZDIFFSTORE", arity=-4, keys=DESTINATION_AND_KEYS, flags=WRITE | DENYOOM | MOVABLEKEYS, since="6.2.0",
    complexity=DIFFERENCE_COMPLEXITY,
)  # fmt: skip
def zdiffstore(db: Db, destination: bytes, *words: bytes) -> int:
    """ZDIFFSTORE destination numkeys key [key ...] -- store a difference; reply with its size."""
    return _store(db, "zdiffstore", difference, destination, words, allowed=STORE_DIFFERENCE)


def _store(
    db: Db, name: str, operation: Operation, destination: bytes, words: Sequence[bytes], *, allowed: frozenset[bytes]
) -> int:
    _, pairs = _combine(db, name, operation, words, allowed)
    return store(db, destination, list(pairs))  # complete before the destination, which may be a source, is deleted
