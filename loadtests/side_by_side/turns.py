"""How long a worker may be kept by what the store does by itself: growing, shrinking, and freeing what is large.

A turn is one change of a key or element, or one slice of the freeing between commands. What is shown is the longest, in
CPU time of the thread, of millions; the store is used directly, since through a server its turns drown in what sockets
and the scheduler do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any, Final

from mpkv.types import allocator
from mpkv.workers.keyspace import Keyspace
from side_by_side.report import Requirement, Section, Table, count, decimal
from side_by_side.settings import Settings

_PROMISE_MS: Final = 2.0
_ROUNDS: Final = 3
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


def _longest(turns: Iterator[Turn]) -> tuple[int, float]:
    """(how many, milliseconds of the longest)."""
    clock = time.thread_time_ns
    number = longest = 0
    for turn in turns:
        began = clock()
        turn()
        longest = max(longest, clock() - began)
        number += 1
    return number, longest / 1e6


def measure(settings: Settings) -> Section:
    """The longest turn of each kind: the median of the rounds, since what a machine does besides is counted too."""
    share = 10 if settings.quick else 1
    keys, members = 5_000_000 // share, 1_000_000 // share
    rounds = 1 if settings.quick else _ROUNDS
    found: dict[str, list[tuple[int, float]]] = {}
    settings.progress.section("turns", rounds * (4 + 2 * len(_FILLERS)))
    for _ in range(rounds):
        for what, turns in _kinds(keys, members):
            settings.progress.step(what)
            found.setdefault(what, []).append(_longest(turns))
    table = Table(["what", "turns", "longest ms"])
    for what, measured in found.items():
        table.rows.append([what, count(measured[0][0]), decimal(median(longest for _, longest in measured), 3)])
    worst = max(median(longest for _, longest in measured) for measured in found.values())
    section = Section("The longest turn")
    section.parts.append(
        "CPU time of the thread for one command, or one slice of freeing, on the store itself; "
        f"{'median of' if rounds > 1 else ''} {rounds} round{'s' if rounds > 1 else ''}."
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
