"""Every type against a plain Python model over as many operations as are asked for: a million in `make properties`.

The machines of hypothesis beside this search for a short sequence that goes wrong, and make it shorter. Here are long
ones, by chance and nothing else: values that grow and shrink through every form that they can have, under limits so
tiny that each round goes through all of them, with allocations that fail in between. Each round begins with an empty
value and other limits, is validated and compared as a whole every so often, and can be repeated by its number.
"""

from __future__ import annotations

import os
import random
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import pytest

from mpkv.types import allocator, table, zset, zset_tree
from mpkv.types import hash as hashes
from mpkv.types import list as lists
from mpkv.types import set as sets
from mpkv.workers.keyspace import Keyspace
from tests.helpers.doors import HandlerDoor

OPERATIONS = int(os.environ.get("MODEL_OPERATIONS", "20000"))
ROUND = 2000
#: Operations between two comparisons of everything.
COMPARED = 200

INFINITY = float("inf")
#: Scores beside which a shorter or longer form begins, and the extremes of a double.
EDGES = [sign * (2.0**bits + beside) for bits in (7, 15, 31, 53, 63) for beside in (-1, 0, 1) for sign in (1, -1)]
EDGES += [-0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.1]
NOW_MS = 1_700_000_000_000


@contextmanager
def default_limits() -> Iterator[None]:
    """Puts all limits back; no value may be left."""
    before = allocator.used()
    yield
    allocator.fail_after(None)
    hashes.set_limits(512, 64)
    lists.set_limits(-2)
    sets.set_limits(512, 128, 64)
    zset.set_limits(128, 64)
    zset_tree.set_node_limits(64, 32)
    table.set_segment_limit(3480)
    allocator.validate()
    assert allocator.used() <= before, "a value has left memory behind"


@pytest.fixture(autouse=True)
def defaults() -> Iterator[None]:
    with default_limits():
        yield


class Model(Protocol):
    """A value and what it should be."""

    def step(self, chance: random.Random) -> None:
        """One operation on both."""

    def compare(self) -> None: ...


def is_refused(chance: random.Random, change: Callable[[], Any]) -> bool:
    """Try a change while memory ends at one of the next allocations."""
    allocator.fail_after(chance.randrange(4))
    try:
        change()
    except MemoryError:
        return True
    finally:
        allocator.fail_after(None)
    return False


def a_name(chance: random.Random, span: int) -> bytes:
    """One of few names in many forms: integers of all widths, short and long texts."""
    number = chance.randrange(span)
    match number % 7:
        case 0 | 1:
            return b"%d" % (number - span // 2)
        case 2:
            return b"%d" % (number << (number % 56))
        case 3:
            return b"name:%d" % number
        case 4:
            return b"\0%d\r\n" % number
        case 5:
            return b"%d" % number * (number % 40)
        case _:
            return b"n" * (number % 600)


def a_value(chance: random.Random) -> bytes:
    return bytes([chance.randrange(256)]) * int(chance.paretovariate(0.9) % 3000)


class HashModel:
    def __init__(self, chance: random.Random) -> None:
        hashes.set_limits(chance.choice([0, 3, 20, 512]), chance.choice([0, 8, 64, 1000]))
        table.set_segment_limit(chance.choice([8, 50, 3480]))
        self.span = chance.choice([10, 100, 2000])
        self.handle = hashes.Hash.standalone()
        self.model: dict[bytes, bytes] = {}

    def step(self, chance: random.Random) -> None:
        handle, model, field = self.handle, self.model, a_name(chance, self.span)
        match chance.randrange(10):
            case 0 | 1 | 2 | 3:
                value = a_value(chance)
                assert handle.put(field, value) == (field not in model)
                model[field] = value
            case 4 | 5 | 6:
                assert handle.delete(field) == (model.pop(field, None) is not None)
            case 7:
                value = a_value(chance)
                if not is_refused(chance, lambda: handle.put(field, value)):
                    model[field] = value
            case 8:
                assert handle.get(field) == model.get(field)
            case _:
                assert len(handle) == len(model)
                assert not model or model[handle.random()[0]] is not None

    def compare(self) -> None:
        self.handle.validate()
        assert dict(self.handle.items()) == self.model
        assert dict(scan_all(self.handle)) == self.model


class SetModel:
    def __init__(self, chance: random.Random) -> None:
        sets.set_limits(chance.choice([0, 5, 100]), chance.choice([0, 5, 100]), chance.choice([0, 8, 1000]))
        table.set_segment_limit(chance.choice([8, 50, 3480]))
        self.span = chance.choice([10, 100, 2000])
        self.only_integers = chance.random() < 0.3
        self.handle = sets.Set.standalone()
        self.model: set[bytes] = set()

    def step(self, chance: random.Random) -> None:
        handle, model, member = self.handle, self.model, a_name(chance, self.span)
        if self.only_integers:
            member = b"%d" % (chance.randrange(self.span) << chance.choice([0, 0, 10, 30, 52]))
        match chance.randrange(10):
            case 0 | 1 | 2 | 3:
                assert handle.add(member) == (member not in model)
                model.add(member)
            case 4 | 5:
                assert handle.remove(member) == (member in model)
                model.discard(member)
            case 6:
                if model:
                    model.remove(handle.pop())
            case 7:
                if not is_refused(chance, lambda: handle.add(member)):
                    model.add(member)
            case 8:
                assert handle.contains(member) == (member in model)
            case _:
                assert len(handle) == len(model)

    def compare(self) -> None:
        self.handle.validate()
        assert set(self.handle.members()) == set(scan_all(self.handle)) == self.model


class ListModel:
    def __init__(self, chance: random.Random) -> None:
        lists.set_limits(chance.choice([-1, -2, 1, 2, 7, 100]))
        self.growing = chance.random()
        self.handle = lists.List.standalone()
        self.model: list[bytes] = []

    def step(self, chance: random.Random) -> None:
        handle, model = self.handle, self.model
        element = b"%d" % chance.randrange(30) if chance.random() < 0.7 else a_value(chance)
        at = chance.randrange(-len(model), len(model)) if model else 0
        if chance.random() < 0.4 + 0.3 * self.growing:
            if chance.random() < 0.1:
                if is_refused(chance, lambda: handle.push_head(element)):
                    return
            else:
                handle.push_head(element)
            model.insert(0, element)
            return
        match chance.randrange(9):
            case 0:
                handle.push_tail(element)
                model.append(element)
            case 1:
                assert handle.pop_head() == (model.pop(0) if model else None)
            case 2 | 3:
                assert handle.pop_tail() == (model.pop() if model else None)
            case 4:
                assert handle.get(at) == (model[at] if model else None)
                assert handle.put(at, element) == bool(model)
                if model:
                    model[at] = element
            case 5:
                pivot = model[at] if model and chance.random() < 0.9 else b"none"
                after = chance.random() < 0.5
                assert handle.insert(pivot, element, after=after) == (pivot in model)
                if pivot in model:
                    model.insert(model.index(pivot) + after, element)
            case 6:
                count = chance.randrange(-3, 4)
                places = [place for place, other in enumerate(model) if other == element]
                gone = set(places[count:] if count < 0 else places[: count or None])
                assert handle.remove(element, count) == len(gone)
                self.model = [other for place, other in enumerate(model) if place not in gone]
            case 7:
                first = chance.randrange(len(model) + 1)
                assert handle.range(first, first + 20) == model[first : first + 21]
            case _:
                if chance.random() < 0.1:
                    first, last = sorted(chance.randrange(len(model) + 1) for _ in range(2))
                    handle.trim(first, last)
                    self.model = model[first : last + 1]

    def compare(self) -> None:
        self.handle.validate()
        assert self.handle.range(0, len(self.handle) - 1) == self.model
        assert len(self.handle) == len(self.model)


class ZSetModel:
    def __init__(self, chance: random.Random) -> None:
        zset.set_limits(chance.choice([0, 3, 20, 128]), chance.choice([0, 8, 1000]))
        zset_tree.set_node_limits(chance.choice([2, 3, 8, 64]), chance.choice([4, 8, 32]))
        table.set_segment_limit(chance.choice([8, 50, 3480]))
        self.span = chance.choice([10, 100, 2000])
        self.handle = zset.ZSet.standalone()
        self.scores: dict[bytes, float] = {}
        self.order: list[tuple[float, bytes]] = []

    def step(self, chance: random.Random) -> None:
        handle, member = self.handle, a_name(chance, self.span)
        score = chance.choice([
            0.0, 1.0, -1.5, INFINITY, -INFINITY, chance.random(), float(chance.getrandbits(40)), chance.choice(EDGES),
        ])  # fmt: skip
        match chance.randrange(10):
            case 0 | 1 | 2 | 3:
                assert handle.put(member, score) == (member not in self.scores)
                self.note(member, score)
            case 4 | 5:
                assert handle.remove(member) == (member in self.scores)
                self.note(member, None)
            case 6:
                if self.order:
                    at = chance.randrange(len(self.order))
                    found_score, found = self.order[at]
                    assert handle.by_rank(at, at) == [(found, found_score)]
                    assert handle.rank(found) == at
            case 7:
                if not is_refused(chance, lambda: handle.put(member, score)):
                    self.note(member, score)
            case 8:
                assert handle.score(member) == self.scores.get(member)
            case _:
                assert len(handle) == len(self.order)
                below = bisect_left(self.order, (score, b""))
                assert handle.first_rank_by_score(score, False) == below

    def note(self, member: bytes, score: float | None) -> None:
        old = self.scores.pop(member, None)
        if old is not None:
            del self.order[bisect_left(self.order, (old, member))]
        if score is not None:
            self.scores[member] = score
            insort(self.order, (score, member))

    def compare(self) -> None:
        self.handle.validate()
        assert self.handle.by_rank(0, len(self.handle) - 1) == [(member, score) for score, member in self.order]
        assert dict(scan_all(self.handle)) == self.scores


class StringModel:
    """Through the handlers: there a string is made of another one."""

    def __init__(self, chance: random.Random) -> None:
        self.keyspace = Keyspace(16)
        self.door = HandlerDoor(self.keyspace, clock=lambda: NOW_MS)
        self.keys = [b"key", b"k" * chance.choice([1, 100, 70_000]), b""]
        self.model: dict[bytes, bytes] = {}

    def step(self, chance: random.Random) -> None:
        key = chance.choice(self.keys)
        old, value = self.model.get(key, b""), a_value(chance)
        match chance.randrange(8):
            case 0:
                self.call(b"+OK", b"SET", key, value)
                self.model[key] = value
            case 1:
                number = b"%d" % chance.randrange(-(2**63), 2**63)
                self.call(b"+OK", b"SET", key, number)
                self.model[key] = number
            case 2:
                if len(old) < 20_000:
                    self.call(b":%d" % len(old + value), b"APPEND", key, value)
                    self.model[key] = old + value
            case 3:
                at = chance.randrange(3000)
                new = old[:at].ljust(at, b"\0") + value + old[at + len(value) :] if value else old
                self.call(b":%d" % len(new), b"SETRANGE", key, b"%d" % at, value)
                if value:
                    self.model[key] = new
            case 4:
                first, last = sorted(chance.randrange(3000) for _ in range(2))
                part = old[first : last + 1]
                self.call(b"$%d\r\n%b" % (len(part), part), b"GETRANGE", key, b"%d" % first, b"%d" % last)
            case 5:
                self.call(b":%d" % (key in self.model), b"DEL", key)
                self.model.pop(key, None)
            case 6:
                digits = old.removeprefix(b"-")
                is_integer = digits.isdigit() and len(old) < 19 and b"%d" % int(old) == old
                if is_integer or key not in self.model:
                    self.model[key] = b"%d" % (int(old or b"0") + 1)
                    self.call(b":" + self.model[key], b"INCR", key)
            case _:
                self.call(b":%d" % len(old), b"STRLEN", key)

    def call(self, expected: bytes, *words: bytes) -> None:
        assert self.door.call(words) == expected + b"\r\n"

    def compare(self) -> None:
        self.keyspace.validate()
        assert {key: value for key, _, value, _ in self.keyspace.walk(0)} == self.model


class KeyspaceModel:
    """Keys that come, expire, are renamed, copied and scanned; few in many slots, or many in one."""

    def __init__(self, chance: random.Random) -> None:
        table.set_segment_limit(chance.choice([8, 50, 3480]))
        self.keyspace = Keyspace(2)
        self.db = self.keyspace.database(0)
        self.span = chance.choice([10, 300])
        self.tag = chance.choice([b"", b"{tag}"])
        self.now_ms = self.keyspace.now_ms = NOW_MS
        self.model: dict[bytes, tuple[bytes, int]] = {}

    def key(self, chance: random.Random) -> bytes:
        return b"%bkey:%d" % (self.tag, chance.randrange(self.span))

    def live(self, key: bytes) -> tuple[bytes, int] | None:
        found = self.model.get(key)
        if found is not None and -1 != found[1] < self.now_ms:
            del self.model[key]
            return None
        return found

    def step(self, chance: random.Random) -> None:
        db, key, other = self.db, self.key(chance), self.key(chance)
        now = self.live(key)
        match chance.randrange(10):
            case 0 | 1 | 2:
                keep = chance.random() < 0.5
                value = a_value(chance)
                db.set_string(key, value, keep_ttl=keep)
                self.model[key] = (value, now[1] if now and keep else -1)
            case 3:
                assert db.delete(key) == (self.model.pop(key, None) is not None)
            case 4:
                if now:
                    at_ms = self.now_ms + chance.randrange(100) if chance.random() < 0.8 else -1
                    db.set_expire_at(key, at_ms)
                    self.model[key] = (now[0], at_ms)
                else:
                    assert db.expire_at(key) is None
            case 5:
                self.now_ms += chance.randrange(3)
                self.keyspace.now_ms = self.now_ms
            case 6:
                if now:
                    self.live(other)
                    db.rename(key, other)
                    self.model[other] = self.model.pop(key)
            case 7:
                if now:
                    self.live(other)
                    db.copy(key, other, 0)
                    self.model[other] = now
            case 8:
                self.keyspace.expire_some(0, 3)
            case _:
                assert db.string_for_read(key) == (now[0] if now else None)

    def compare(self) -> None:
        self.keyspace.validate()
        expected = {key for key in list(self.model) if self.live(key)}
        found, cursor = [], 0
        while True:
            cursor, page = self.db.scan(cursor, 7)
            found += [key for key, _ in page]
            if not cursor:
                break
        assert len(found) == len(expected) and set(found) == expected
        assert {key: (value, at_ms) for key, _, value, at_ms in self.keyspace.walk(0)} == self.model


MODELS: dict[str, Callable[[random.Random], Model]] = {
    "strings": StringModel, "lists": ListModel, "hashes": HashModel, "sets": SetModel, "sorted sets": ZSetModel,
    "keyspace": KeyspaceModel,
}  # fmt: skip


def scan_all(handle: Any) -> list[Any]:
    cursor, found = handle.scan(0, 10)
    while cursor:
        cursor, more = handle.scan(cursor, 10)
        found += more
    return found


def play(make: Callable[[random.Random], Model], seed: int, operations: int) -> None:
    chance = random.Random(seed)
    model = make(chance)
    for number in range(1, operations + 1):
        model.step(chance)
        if number % COMPARED == 0:
            model.compare()
    model.compare()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", MODELS)
def test_a_value_is_what_its_model_is_over_many_random_operations(kind: str) -> None:
    for seed in range(max(1, OPERATIONS // ROUND)):
        try:
            play(MODELS[kind], seed, ROUND)
        except BaseException as error:
            error.add_note(f"to repeat it: play(MODELS[{kind!r}], seed={seed}, operations={ROUND})")
            raise
