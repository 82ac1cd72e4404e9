"""How long a worker may be kept by what the store does by itself: growing, shrinking, and freeing what is large.

A turn is one change of a key or element, or one slice of the freeing between commands. What is shown is the longest, in
CPU time of the thread, of millions; the store is used directly, since through a server its turns drown in what sockets
and the scheduler do.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any, Final

from mpkv.types import allocator
from mpkv.workers.keyspace import Keyspace
from side_by_side.report import Requirement, Section, Table, count, decimal
from side_by_side.settings import Settings

_PROMISE_MS: Final = 2.0
_ROUNDS: Final = 3
#: A turn that takes less is not among the longest.
_NOTED_NS: Final = 20_000
_VALUE: Final = b"v" * 32

#: One of them, and what it takes.
Turn = Callable[[], Any]


class _Store:
    """One shard's keyspace, and the turns that are measured on it."""

    def __init__(self) -> None:
        self.keyspace = Keyspace(1, 0, 1)
        self.keyspace.now_ms = 1_700_000_000_000
        self.db = self.keyspace.database(0)

    def set_keys(self, name: bytes, number: int) -> Iterator[Turn]:
        for at in range(number):
            yield partial(self.db.set_string, b"%s:%012d" % (name, at), _VALUE)

    def delete_keys(self, name: bytes, number: int) -> Iterator[Turn]:
        for at in range(number):
            yield partial(self.db.delete, b"%s:%012d" % (name, at))

    def fill(self, filler: Callable[[Any], Callable[[int], Any]], number: int) -> Iterator[Turn]:
        put = filler(self.db)
        for at in range(number):
            yield partial(put, at)
        self.db.changed(b"large")

    def free(self) -> Iterator[Turn]:
        """Slices of the least length; then the pages go back."""
        self.db.delete(b"large", True)
        yield from self._tidy()

    def flush(self) -> Iterator[Turn]:
        yield partial(self.keyspace.flush, lazily=True)
        yield from self._tidy()

    def _tidy(self) -> Iterator[Turn]:
        while self.keyspace.lazy.pending:
            yield partial(self.keyspace.lazy.run, 0)
        while allocator.trim():
            yield allocator.trim


def _hash(db: Any) -> Callable[[int], Any]:
    put = db.hash_to_fill(b"large").put
    return lambda at: put(b"field:%d" % at, b"value:%d" % at)


def _set(db: Any) -> Callable[[int], Any]:
    add = db.set_to_fill(b"large").add
    return lambda at: add(b"member:%d" % at)


def _sorted_set(db: Any) -> Callable[[int], Any]:
    put = db.zset_to_fill(b"large").put
    return lambda at: put(b"member:%d" % at, at * 7919 % 1_000_003)


def _list(db: Any) -> Callable[[int], Any]:
    push = db.list_to_fill(b"large").push_tail
    return lambda at: push(b"element:%d" % at)


_FILLERS: Final = {"hash": _hash, "set": _set, "sorted set": _sorted_set, "list": _list}


@dataclass
class _Measured:
    """What the turns of one kind have taken."""

    turns: int = 0
    #: Of each round: which turns took long, and how many milliseconds.
    long_ones: list[dict[int, float]] = field(default_factory=list)

    def longest_ms(self) -> float:
        """The longest of what a turn takes in the middle one of its rounds.

        The turns of a round are those of the others, so what the store needs for one of them it needs every time; what
        a hypervisor or an interrupt took, which a thread's clock counts too, is on another turn each time.
        """
        numbers = {number for one_round in self.long_ones for number in one_round}
        return max(
            (median(one_round.get(number, 0.0) for one_round in self.long_ones) for number in numbers), default=0.0
        )

    def run(self, turns: Iterator[Turn]) -> None:
        clock = time.thread_time_ns
        long_ones: dict[int, float] = {}
        number = 0
        for turn in turns:
            began = clock()
            turn()
            taken_ns = clock() - began
            if taken_ns > _NOTED_NS:
                long_ones[number] = taken_ns / 1e6
            number += 1
        self.turns = number
        self.long_ones.append(long_ones)


def measure(settings: Settings) -> Section:
    """The longest turn of each kind."""
    share = 10 if settings.quick else 1
    keys, members = 5_000_000 // share, 1_000_000 // share
    found: defaultdict[str, _Measured] = defaultdict(_Measured)
    settings.progress.section("turns", _ROUNDS * (4 + 2 * len(_FILLERS)))
    for _ in range(_ROUNDS):
        for what, turns in _kinds(keys, members):
            settings.progress.step(what)
            found[what].run(turns)
    table = Table(["what", "turns", "longest ms"])
    for what, measured in found.items():
        table.rows.append([what, count(measured.turns), decimal(measured.longest_ms(), 3)])
    worst = max(measured.longest_ms() for measured in found.values())
    section = Section("The longest turn")
    section.parts.append(
        "CPU time of the thread for one command, or one slice of freeing, on the store itself: the longest, where each "
        f"turn counts with the middle one of {_ROUNDS} rounds, since a round's longest is what the hypervisor took."
    )
    section.parts.append(table)
    section.requirements = [
        Requirement(f"growing, shrinking and freeing: at most {_PROMISE_MS:.0f} ms of CPU per turn", f"{worst:.2f} ms",
                    worst <= _PROMISE_MS),
    ]  # fmt: skip
    return section


def _kinds(keys: int, members: int) -> Iterator[tuple[str, Iterator[Turn]]]:
    """What is measured, in an order in which each finds what it needs."""
    store = _Store()
    yield f"growing to {count(keys)} keys", store.set_keys(b"key", keys)
    yield f"deleting {count(keys)} keys", store.delete_keys(b"key", keys)
    yield f"growing to {count(members)} keys of one hash tag", store.set_keys(b"{tag}", members)
    yield f"FLUSHALL ASYNC of {count(members)} keys of one hash tag", store.flush()
    for name, filler in _FILLERS.items():
        yield f"a {name} growing to {count(members)}", store.fill(filler, members)
        yield f"UNLINK of a {name} of {count(members)}", store.free()
