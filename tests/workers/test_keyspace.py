"""The keyspace against a plain dictionary, and what must hold of its tables, its memory and its hooks."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mpkv.sharding import slot_of, slot_range
from mpkv.types import allocator
from mpkv.workers.keyspace import Keyspace

NOW_MS = 1_700_000_000_000


@pytest.fixture
def keyspace() -> Keyspace:
    keyspace = Keyspace(4, 0, 1)
    keyspace.now_ms = NOW_MS
    yield keyspace
    memory, full = keyspace.validate(), allocator.used()
    keyspace.flush()
    assert full - allocator.used() == memory


def scan_all(db: Any, count: int = 10, between: Any = lambda: None) -> list[bytes]:
    """The keys of a whole SCAN, in order, `between` called before each step."""
    cursor, keys = 0, []
    while True:
        between()
        cursor, page = db.scan(cursor, count)
        keys += [key for key, _ in page]
        if cursor == 0:
            return keys


#: Few keys, so that operations meet; some share a slot, one is longer than the short form of a key's size.
KEYS = [b"", b"a", b"\x00\xff\r\n", b"{t}1", b"{t}2", b"k" * 70_000, *(b"{tag}%d" % number for number in range(40))]
VALUES = [b"", b"0", b"-1", b"007", b"%d" % (2**63 - 1), b"%d" % 2**63, b"x" * 44, b"x" * 45, b"y" * 1024, b"z" * 1025]

keys = st.sampled_from(KEYS)
databases = st.integers(0, 2)
values = st.one_of(st.sampled_from(VALUES), st.binary(max_size=80))
fields = st.binary(max_size=20)


class KeyspaceModel(RuleBasedStateMachine):
    """A dictionary per database: key -> [type, value, expiry]; time moves by a rule."""

    @initialize()
    def start(self) -> None:
        self.keyspace = Keyspace(3, 0, 1)
        self.keyspace.now_ms = self.now_ms = NOW_MS
        self.dbs = [self.keyspace.database(index) for index in range(3)]
        self.model: list[dict[bytes, list[Any]]] = [{}, {}, {}]

    def live(self, db: int) -> dict[bytes, list[Any]]:
        """What has not expired; the rest is forgotten."""
        gone = [key for key, (_, _, at_ms) in self.model[db].items() if at_ms != -1 and self.now_ms > at_ms]
        for key in gone:
            del self.model[db][key]
        return self.model[db]

    @rule(db=databases, key=keys, value=values, keep=st.booleans(), raw=st.booleans())
    def set_string(self, db: int, key: bytes, value: bytes, keep: bool, raw: bool) -> None:
        old = self.live(db).get(key)
        self.dbs[db].set_string(key, value, keep_ttl=keep, raw=raw)
        self.model[db][key] = ["string", value, old[2] if old and keep else -1]

    @rule(db=databases, key=keys, pairs=st.dictionaries(fields, values, min_size=1, max_size=5))
    def fill_hash(self, db: int, key: bytes, pairs: dict[bytes, bytes]) -> None:
        old = self.live(db).get(key)
        if old and old[0] != "hash":
            return
        handle = self.dbs[db].hash_to_fill(key)
        for field, value in pairs.items():
            handle.put(field, value)
        self.dbs[db].changed(key)
        self.model[db][key] = ["hash", {**old[1], **pairs} if old else pairs, old[2] if old else -1]

    @rule(db=databases, key=keys, elements=st.lists(st.binary(max_size=20), min_size=1, max_size=5))
    def fill_list(self, db: int, key: bytes, elements: list[bytes]) -> None:
        old = self.live(db).get(key)
        if old and old[0] != "list":
            return
        handle = self.dbs[db].list_to_fill(key)
        for element in elements:
            handle.push_tail(element)
        self.dbs[db].changed(key)
        self.model[db][key] = ["list", (old[1] if old else []) + elements, old[2] if old else -1]

    @rule(db=databases, key=keys, members=st.sets(st.binary(max_size=20), min_size=1, max_size=5))
    def fill_set(self, db: int, key: bytes, members: set[bytes]) -> None:
        old = self.live(db).get(key)
        if old and old[0] != "set":
            return
        handle = self.dbs[db].set_to_fill(key)
        for member in members:
            handle.add(member)
        self.dbs[db].changed(key)
        self.model[db][key] = ["set", members | old[1] if old else members, old[2] if old else -1]

    @rule(db=databases, key=keys, scores=st.dictionaries(fields, st.integers(-9, 9), min_size=1, max_size=5))
    def fill_zset(self, db: int, key: bytes, scores: dict[bytes, int]) -> None:
        old = self.live(db).get(key)
        if old and old[0] != "zset":
            return
        handle = self.dbs[db].zset_to_fill(key)
        for member, score in scores.items():
            handle.put(member, float(score))
        self.dbs[db].changed(key)
        merged = {**dict(old[1]), **scores} if old else scores
        ordered = sorted(merged.items(), key=lambda pair: (pair[1], pair[0]))
        self.model[db][key] = ["zset", ordered, old[2] if old else -1]

    @rule(db=databases, key=keys)
    def take_from_list(self, db: int, key: bytes) -> None:
        old = self.live(db).get(key)
        if not old or old[0] != "list":
            return
        assert self.dbs[db].list_for_write(key).pop_head() == old[1][0]
        self.dbs[db].changed(key)
        old[1] = old[1][1:]
        if not old[1]:
            del self.model[db][key]

    @rule(db=databases, key=keys)
    def delete(self, db: int, key: bytes) -> None:
        assert self.dbs[db].delete(key) == (self.live(db).pop(key, None) is not None)

    @rule(db=databases, key=keys, after_ms=st.integers(-5, 50))
    def set_expire_at(self, db: int, key: bytes, after_ms: int) -> None:
        if key in self.live(db):
            at_ms = self.now_ms + after_ms if after_ms >= 0 else -1
            self.dbs[db].set_expire_at(key, at_ms)
            self.model[db][key][2] = at_ms

    @rule(db=databases, source=keys, destination=keys)
    def rename(self, db: int, source: bytes, destination: bytes) -> None:
        if source in self.live(db):
            self.dbs[db].rename(source, destination)
            self.model[db][destination] = self.model[db].pop(source)

    @rule(db=databases, source=keys, other=databases, destination=keys)
    def copy(self, db: int, source: bytes, other: int, destination: bytes) -> None:
        if source in self.live(db):
            self.dbs[db].copy(source, destination, other)
            self.model[other][destination] = list(self.model[db][source])

    @rule(db=databases, key=keys, other=databases)
    def move(self, db: int, key: bytes, other: int) -> None:
        possible = db != other and key in self.live(db) and key not in self.live(other)
        assert self.dbs[db].move(key, other) == possible
        if possible:
            self.model[other][key] = self.model[db].pop(key)

    @rule(by_ms=st.integers(0, 30))
    def pass_time(self, by_ms: int) -> None:
        self.now_ms += by_ms
        self.keyspace.now_ms = self.now_ms

    @rule(db=databases)
    def expire_some(self, db: int) -> None:
        checked, expired = self.keyspace.expire_some(db, 5)
        assert expired <= checked <= 5

    @rule(db=databases, count=st.integers(1, 7))
    def scan(self, db: int, count: int) -> None:
        found = scan_all(self.dbs[db], count)
        assert len(found) == len(set(found))
        assert set(found) == set(self.live(db))

    @rule(first=databases, second=databases)
    def swap(self, first: int, second: int) -> None:
        self.keyspace.swap(first, second)
        self.model[first], self.model[second] = self.model[second], self.model[first]

    @rule(running=st.booleans())
    def snapshot(self, running: bool) -> None:
        self.keyspace.snapshot_running = running

    @rule(db=databases, allocations=st.integers(0, 6), key=keys, value=st.sampled_from(VALUES))
    def run_out_of_memory(self, db: int, allocations: int, key: bytes, value: bytes) -> None:
        self.live(db)
        allocator.fail_after(allocations)
        try:
            self.dbs[db].set_string(key, value)
        except Exception as error:
            assert str(error).startswith("OOM")
        else:
            self.model[db][key] = ["string", value, -1]
        finally:
            allocator.fail_after(None)

    @precondition(lambda self: sum(map(len, self.model)) > 60)
    @rule(db=databases)
    def flush(self, db: int) -> None:
        self.dbs[db].flush()
        self.model[db].clear()

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        self.keyspace.validate()
        for index, db in enumerate(self.dbs):
            now = {key: [kind, value, at_ms] for key, kind, value, at_ms in self.keyspace.walk(index)}
            live = self.live(index)
            assert {key: now[key] for key in now if key in live} == live
            assert set(db.keys()) == set(live)
            assert db.random_key() in live if live else db.random_key() is None


TestKeyspaceModel = KeyspaceModel.TestCase
TestKeyspaceModel.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


# --- Tables


def test_a_table_grows_and_shrinks_through_every_size(keyspace: Keyspace) -> None:
    db = keyspace.database(0)
    names = [b"{tag}%d" % number for number in range(3000)]
    random.Random(1).shuffle(names)
    for number, name in enumerate(names):
        db.set_string(name, b"%d" % number)
        if number < 200 or number % 97 == 0:
            keyspace.validate()
    assert keyspace.slot_size(0, slot_of(b"tag")) == 3000
    assert all(db.string_for_read(name) == b"%d" % number for number, name in enumerate(names))
    full = keyspace.used_memory()
    for number, name in enumerate(names[:-1]):
        assert db.delete(name)
        if number > 2800 or number % 97 == 0:
            keyspace.validate()
    assert db.keys() == [names[-1]]
    left = keyspace.used_memory()
    keyspace.flush()
    db.set_string(names[-1], b"1")
    assert left <= keyspace.used_memory() + 64 < full


def test_one_hash_tag_with_200_000_keys(keyspace: Keyspace) -> None:
    db = keyspace.database(0)
    names = [b"{tag}%d" % number for number in range(200_000)]
    for name in names:
        db.set_string(name, b"")
    assert all(db.exists(name) for name in names)
    assert not db.exists(b"{tag}200000")
    assert sorted(scan_all(db, 1000)) == sorted(names)
    keyspace.validate()
    for name in names[10:]:
        db.delete(name)
    assert sorted(db.keys()) == sorted(names[:10])


def test_an_empty_database_costs_nothing_before_and_after(keyspace: Keyspace) -> None:
    before = keyspace.used_memory()
    for index in range(4):
        assert keyspace.database(index).string_for_read(b"key") is None
    assert keyspace.used_memory() == before
    for index in range(4):
        keyspace.database(index).set_string(b"key", b"v" * 2000)
    keyspace.flush()
    assert keyspace.used_memory() == before


def test_a_million_short_strings_would_take_less_than_80_bytes_each(keyspace: Keyspace) -> None:
    db, before = keyspace.database(0), keyspace.used_memory()
    for number in range(100_000):  # spread like a million: over a tenth of the slots would be the same
        db.set_string(b"key:%012d" % number, b"v" * 32)
    assert (keyspace.used_memory() - before) / 100_000 < 80


def test_memory_is_refused_at_every_allocation_without_half_a_change(keyspace: Keyspace) -> None:
    db = keyspace.database(0)
    db.hash_to_fill(b"{t}hash").put(b"field", b"value")
    db.changed(b"{t}hash")
    db.set_string(b"{t}large", b"x" * 5000)
    changes = [
        lambda: db.set_string(b"new", b"y" * 2000),
        lambda: db.set_string(b"{t}large", b"y" * 2000),
        lambda: db.set_expire_at(b"{t}large", NOW_MS + 5),
        lambda: db.set_expire_at(b"{t}large", -1),
        lambda: db.copy(b"{t}hash", b"{t}copy", 1),
        lambda: db.copy(b"{t}large", b"{t}copy", 2),
        lambda: db.rename(b"{t}hash", b"{t}renamed"),
        lambda: db.move(b"{t}renamed", 3),
    ]
    for change in changes:
        for allocations in range(50):
            before = [list(keyspace.walk(index)) for index in range(4)]
            allocator.fail_after(allocations)
            try:
                change()
                break
            except Exception as error:
                assert str(error).startswith("OOM")
            finally:
                allocator.fail_after(None)
            keyspace.validate()
            assert [list(keyspace.walk(index)) for index in range(4)] == before
        assert allocations < 49
        keyspace.validate()


# --- SCAN


def test_scan_returns_every_key_that_stays_exactly_once_while_others_come_and_go(keyspace: Keyspace) -> None:
    db = keyspace.database(0)
    dice = random.Random(5)
    stay = {b"{tag}stay%d" % number for number in range(300)} | {b"stay%d" % number for number in range(300)}
    for key in stay:
        db.set_string(key, b"1")
    others: list[bytes] = []

    def disturb() -> None:
        if dice.random() < 0.5:  # grow by a lot, then shrink by a lot: the table is rebuilt under the cursor
            for _ in range(200):
                others.append(b"{tag}%d" % dice.randrange(10**9))
                db.set_string(others[-1], b"2")
        else:
            while len(others) > 10:
                db.delete(others.pop())

    found = [key for key in scan_all(db, 7, disturb) if key in stay]
    assert sorted(found) == sorted(stay)


def test_scan_does_a_bounded_amount_of_work(keyspace: Keyspace) -> None:
    db = keyspace.database(0)
    for number in range(5000):
        db.set_string(b"{tag}%d" % number, b"1")
    cursor = 0
    while True:
        cursor, page = db.scan(cursor, 10)
        assert len(page) <= 13  # ten, and the rest of a group of keys with one tag
        if not cursor:
            break


@pytest.mark.parametrize("shards", [1, 2, 3, 4, 5, 6, 7, 12, 31, 64])
def test_a_shard_owns_the_slots_whose_keys_are_routed_to_it(shards: int) -> None:
    routed = [[slot for slot in range(16384) if slot * shards // 16384 == shard] for shard in range(shards)]
    assert [list(slot_range(shard, shards)) for shard in range(shards)] == routed


def test_a_cursor_carries_the_slot_and_passes_from_shard_to_shard() -> None:
    keyspaces = [Keyspace(1, shard, 3) for shard in range(3)]
    names = {b"key%d" % number for number in range(2000)}
    for name in names:
        shard = next(shard for shard in range(3) if slot_of(name) in slot_range(shard, 3))
        keyspaces[shard].database(0).set_string(name, b"1")
    cursor, found, shards = 0, [], []
    while True:
        shard = next(shard for shard in range(3) if cursor % 16384 in slot_range(shard, 3))
        shards.append(shard)
        cursor, page = keyspaces[shard].database(0).scan(cursor, 50)
        found += [key for key, _ in page]
        assert 0 <= cursor < 2**33
        if cursor == 0:
            break
    assert sorted(found) == sorted(names)
    assert shards == sorted(shards) and set(shards) == {0, 1, 2}


def test_a_scan_of_an_empty_shard_names_the_next_shard() -> None:
    assert Keyspace(1, 0, 2).database(0).scan(0, 10) == (8192, [])
    assert Keyspace(1, 1, 2).database(0).scan(8192, 10) == (0, [])


def test_a_made_up_cursor_does_no_harm(keyspace: Keyspace) -> None:
    db = keyspace.database(0)
    db.set_string(b"key", b"1")
    for cursor in (1, 16383, 2**33 - 1, 2**64 - 1):
        after, page = db.scan(cursor, 10)
        assert after == 0 and len(page) <= 1


# --- Random keys


def test_random_key_is_fair_even_when_one_slot_has_most_keys(keyspace: Keyspace) -> None:
    db = keyspace.database(0)
    names = [b"{tag}%d" % number for number in range(30)] + [b"key%d" % number for number in range(10)]
    for name in names:
        db.set_string(name, b"1")
    picks = [db.random_key() for _ in range(20_000)]
    # 500 are expected of each; six standard deviations are 132
    assert all(abs(picks.count(name) - 500) < 132 for name in names)


def test_random_key_does_not_return_what_has_expired(keyspace: Keyspace) -> None:
    db = keyspace.database(0)
    for number in range(20):
        db.set_string(b"old%d" % number, b"1")
        db.set_expire_at(b"old%d" % number, NOW_MS - 1)
    db.set_string(b"new", b"1")
    assert db.random_key() == b"new"
    db.delete(b"new")
    assert db.random_key() is None


# --- Watchers, waiters, effects


def test_each_kind_of_change_marks_the_watchers_of_its_key(keyspace: Keyspace) -> None:
    db = keyspace.database(0)

    def marked_by(change: Any, key: bytes = b"key") -> set[int]:
        db.set_string(b"key", b"1")
        db.set_string(b"other", b"1")
        keyspace.watched = {(0, key): {7, 8}, (1, key): {9}}
        keyspace.dirty_clients = set()
        change()
        keyspace.watched = {}
        return keyspace.dirty_clients

    assert marked_by(lambda: db.set_string(b"key", b"2")) == {7, 8}
    assert marked_by(lambda: db.delete(b"key")) == {7, 8}
    assert marked_by(lambda: db.set_expire_at(b"key", NOW_MS + 5)) == {7, 8}
    assert marked_by(lambda: db.rename(b"key", b"new")) == {7, 8}
    assert marked_by(lambda: db.rename(b"other", b"key")) == {7, 8}
    assert marked_by(lambda: db.copy(b"other", b"key", 0)) == {7, 8}
    assert marked_by(lambda: db.move(b"key", 1)) == {7, 8, 9}
    assert marked_by(db.flush) == {7, 8}
    assert marked_by(lambda: keyspace.swap(0, 2)) == {7, 8}
    assert marked_by(lambda: db.string_for_read(b"key")) == set()
    assert marked_by(lambda: db.delete(b"absent"), b"absent") == set()
    assert marked_by(db.flush, b"absent") == set()


def test_expiry_marks_the_watchers(keyspace: Keyspace) -> None:
    db = keyspace.database(0)
    db.set_string(b"key", b"1")
    db.set_expire_at(b"key", NOW_MS)
    keyspace.watched = {(0, b"key"): {1}}
    keyspace.now_ms = NOW_MS + 1
    assert not db.exists(b"key")
    assert keyspace.dirty_clients == {1}


def test_a_key_that_is_waited_for_becomes_ready_when_it_is_there(keyspace: Keyspace) -> None:
    db = keyspace.database(2)
    keyspace.waiting = {(2, b"list"): "a client"}
    for key in (b"list", b"other"):
        db.list_to_fill(key).push_tail(b"element")
        db.changed(key)
    assert keyspace.ready == [(2, b"list")]
    keyspace.ready.clear()
    db.list_for_write(b"list").pop_head()
    db.changed(b"list")
    assert keyspace.ready == []
    db.rename(b"other", b"list")
    assert keyspace.ready == [(2, b"list")]
    keyspace.ready.clear()
    db.delete(b"list")
    assert keyspace.ready == []


def test_swapping_databases_wakes_who_waits_for_a_key_of_the_other(keyspace: Keyspace) -> None:
    keyspace.database(1).list_to_fill(b"list").push_tail(b"element")
    keyspace.database(1).changed(b"list")
    keyspace.waiting = {(0, b"list"): "a client", (3, b"list"): "another"}
    keyspace.swap(0, 1)
    assert keyspace.ready == [(0, b"list")]


def test_effects_carry_their_database(keyspace: Keyspace) -> None:
    keyspace.database(3).effect(b"SREM", b"key", b"member")
    keyspace.database(0).effect(b"DEL", b"key")
    assert keyspace.effects == [(3, (b"SREM", b"key", b"member")), (0, (b"DEL", b"key"))]


def test_an_expired_key_leaves_an_effect_if_one_is_wanted(keyspace: Keyspace) -> None:
    db = keyspace.database(1)
    for wanted, expected in ((False, []), (True, [(1, (b"UNLINK", b"key"))])):
        keyspace.effects_wanted = wanted
        db.set_string(b"key", b"1")
        db.set_expire_at(b"key", NOW_MS - 1)
        assert not db.exists(b"key")
        assert keyspace.expired_effects == expected


# --- Counters


def test_changes_are_counted_and_reads_are_not(keyspace: Keyspace) -> None:
    db = keyspace.database(0)
    db.set_string(b"key", b"1")
    db.delete(b"key")
    db.delete(b"key")
    assert keyspace.dirty == 2
    db.set_to_fill(b"set").add(b"a")
    db.changed(b"set", 3)
    assert keyspace.dirty == 5
    db.exists(b"set")
    db.set_for_read(b"set")
    db.set_string(b"old", b"1")
    db.set_expire_at(b"old", NOW_MS - 1)
    dirty = keyspace.dirty
    assert db.string_for_read(b"old") is None
    assert keyspace.dirty == dirty and keyspace.expired == 1
    db.flush()
    assert keyspace.dirty == dirty + 1


def test_reads_are_hits_or_misses(keyspace: Keyspace) -> None:
    db = keyspace.database(0)
    db.set_string(b"key", b"1")
    db.string_for_read(b"key")
    db.string_for_read(b"absent")
    db.string_for_write(b"key")
    db.type_of(b"absent")
    assert (keyspace.hits, keyspace.misses) == (1, 1)


def test_counts_tell_keys_and_volatile_keys(keyspace: Keyspace) -> None:
    db = keyspace.database(1)
    for number in range(10):
        db.set_string(b"key%d" % number, b"1")
    db.set_expire_at(b"key1", NOW_MS + 1000)
    db.set_expire_at(b"key2", NOW_MS + 1000)
    db.set_expire_at(b"key2", -1)
    assert keyspace.counts(1)[:2] == (10, 1)
    db.set_string(b"key1", b"2")
    assert keyspace.counts(1)[:2] == (10, 0)
    assert keyspace.counts(0) == (0, 0, 0)


@pytest.mark.parametrize("database", [-1, 4])
def test_a_database_that_does_not_exist_is_refused(keyspace: Keyspace, database: int) -> None:
    db = keyspace.database(0)
    db.set_string(b"key", b"1")
    for call in (
        lambda: keyspace.database(database),
        lambda: keyspace.counts(database),
        lambda: keyspace.swap(0, database),
        lambda: db.move(b"key", database),
        lambda: db.copy(b"key", b"copy", database),
    ):
        with pytest.raises(IndexError):
            call()
