"""A database as handlers see it: types, encodings, expiry, names, and the handles that it gives out."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from mpkv import errors
from mpkv.errors import CommandError
from mpkv.types import allocator
from mpkv.workers.keyspace import Keyspace

NOW_MS = 1_700_000_000_000
TYPES = ("string", "hash", "list", "set", "zset")


@pytest.fixture
def keyspace() -> Keyspace:
    keyspace = Keyspace(2, 0, 1)
    keyspace.now_ms = NOW_MS
    yield keyspace
    memory, full = keyspace.validate(), allocator.used()
    keyspace.flush()
    assert full - allocator.used() == memory


@pytest.fixture
def db(keyspace: Keyspace) -> Any:
    return keyspace.database(0)


def put(db: Any, key: bytes, kind: str) -> None:
    """A small value of the type."""
    if kind == "string":
        db.set_string(key, b"value")
        return
    handle = getattr(db, f"{kind}_to_fill")(key)
    {
        "hash": lambda: handle.put(b"field", b"value"),
        "list": lambda: handle.push_tail(b"element"),
        "set": lambda: handle.add(b"member"),
        "zset": lambda: handle.put(b"member", 1.5),
    }[kind]()
    db.changed(key)


def value_of(keyspace: Keyspace, db: int, key: bytes) -> Any:
    return next((value for name, _, value, _ in keyspace.walk(db) if name == key), None)


# --- Types


@pytest.mark.parametrize("kind", TYPES)
def test_every_accessor_of_another_type_is_refused(db: Any, kind: str) -> None:
    put(db, b"key", kind)
    for other in TYPES:
        accessors = [f"{other}_for_read", f"{other}_for_write"] + ([f"{other}_to_fill"] if other != "string" else [])
        for accessor in accessors:
            if other == kind:
                assert getattr(db, accessor)(b"key") is not None
            else:
                with pytest.raises(CommandError) as caught:
                    getattr(db, accessor)(b"key")
                assert caught.value is errors.WRONGTYPE
    assert db.type_of(b"key") == kind


def test_a_refusal_does_not_keep_the_frames_of_earlier_ones(db: Any) -> None:
    db.set_string(b"key", b"1")
    for _ in range(5):
        with pytest.raises(CommandError):
            db.list_for_read(b"key")
    depth, trace = 0, errors.WRONGTYPE.__traceback__
    while trace is not None:
        depth, trace = depth + 1, trace.tb_next
    assert depth < 5


@pytest.mark.parametrize("kind", TYPES)
def test_an_absent_key_has_nothing(db: Any, kind: str) -> None:
    assert getattr(db, f"{kind}_for_read")(b"key") is None
    assert getattr(db, f"{kind}_for_write")(b"key") is None
    assert db.type_of(b"key") is None
    assert db.encoding_of(b"key") is None
    assert db.idle_seconds(b"key") is None
    assert db.memory_of(b"key") is None
    assert db.expire_at(b"key") is None
    assert not db.touch(b"key") and not db.exists(b"key") and not db.delete(b"key")
    assert db.size() == 0


@pytest.mark.parametrize("kind", TYPES)
def test_a_string_overwrites_any_type(db: Any, kind: str) -> None:
    put(db, b"key", kind)
    db.set_expire_at(b"key", NOW_MS + 5)
    db.set_string(b"key", b"12", keep_ttl=True)
    assert (db.string_for_read(b"key"), db.expire_at(b"key")) == (b"12", NOW_MS + 5)
    db.set_string(b"key", b"12")
    assert db.expire_at(b"key") == -1


@pytest.mark.parametrize("kind", TYPES[1:])
def test_an_aggregate_that_becomes_empty_is_deleted_when_the_change_is_declared(db: Any, kind: str) -> None:
    put(db, b"key", kind)
    handle = getattr(db, f"{kind}_for_write")(b"key")
    {
        "hash": lambda: handle.delete(b"field"),
        "list": lambda: handle.remove(b"element", 0),
        "set": lambda: handle.remove(b"member"),
        "zset": lambda: handle.remove(b"member"),
    }[kind]()
    assert db.exists(b"key")
    db.changed(b"key")
    assert not db.exists(b"key")


def test_to_fill_returns_what_is_there(db: Any) -> None:
    put(db, b"key", "hash")
    assert db.hash_to_fill(b"key").items() == [(b"field", b"value")]


# --- Strings


@pytest.mark.parametrize(
    ("value", "encoding"),
    [
        (b"0", "int"),
        (b"-1", "int"),
        (b"9223372036854775807", "int"),
        (b"-9223372036854775808", "int"),
        (b"9223372036854775808", "embstr"),
        (b"-9223372036854775809", "embstr"),
        (b"18446744073709551616", "embstr"),
        (b"99999999999999999999", "embstr"),
        (b"", "embstr"),
        (b"-", "embstr"),
        (b"-0", "embstr"),
        (b"+1", "embstr"),
        (b"01", "embstr"),
        (b" 1", "embstr"),
        (b"1 ", "embstr"),
        (b"1.0", "embstr"),
        (b"12a", "embstr"),
        (b"1/", "embstr"),
        (b"1:", "embstr"),
        (b"\xb1", "embstr"),
        (b"x" * 44, "embstr"),
        (b"x" * 45, "raw"),
        (b"x" * 1024, "raw"),
        (b"x" * 1025, "raw"),
        (b"\x00" * 1_000_000, "raw"),
    ],
)
def test_a_string_comes_back_as_it_was_and_has_the_encoding_of_redis(db: Any, value: bytes, encoding: str) -> None:
    db.set_string(b"key", value)
    assert db.string_for_read(b"key") == value
    assert db.encoding_of(b"key") == encoding


def test_a_string_changes_its_encoding_in_every_direction(keyspace: Keyspace, db: Any) -> None:
    values = [b"1", b"-77", b"", b"x", b"y" * 30, b"y" * 31, b"z" * 1024, b"Z" * 1025, b"Y" * 70_000]
    for before in values:
        for after in values:
            for expires in (False, True):
                db.set_string(b"key", before)
                if expires:
                    db.set_expire_at(b"key", NOW_MS + 9)
                db.set_string(b"key", after, keep_ttl=True)
                assert db.string_for_read(b"key") == after
                assert db.expire_at(b"key") == (NOW_MS + 9 if expires else -1)
                keyspace.validate()


def test_what_append_leaves_is_raw_however_short(db: Any) -> None:
    db.set_string(b"key", b"12", raw=True)
    assert (db.string_for_read(b"key"), db.encoding_of(b"key")) == (b"12", "raw")
    db.rename(b"key", b"new")
    assert db.encoding_of(b"new") == "raw"
    db.set_string(b"new", b"12")
    assert db.encoding_of(b"new") == "int"


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 1_000_000])
def test_keys_may_have_any_bytes_and_size(db: Any, size: int) -> None:
    key = bytes(index * 7 % 256 for index in range(size))
    db.set_string(key, b"1")
    db.set_expire_at(key, NOW_MS + 5)
    put(db, key + b"!", "list")
    assert db.string_for_read(key) == b"1"
    assert sorted(db.keys()) == sorted([key, key + b"!"])
    db.rename(key, b"short")
    assert not db.exists(key)
    db.rename(b"short", key)
    assert (db.string_for_read(key), db.expire_at(key)) == (b"1", NOW_MS + 5)


def test_memory_of_a_key_grows_with_its_value(db: Any) -> None:
    db.set_string(b"0123456789abcdef", b"v" * 32)
    assert db.memory_of(b"0123456789abcdef") == 56 + 8
    db.set_string(b"0123456789abcdef", b"v" * 1_000_000)
    assert 1_000_000 < db.memory_of(b"0123456789abcdef") < 1_000_200


def test_memory_follows_an_aggregate_up_and_down(keyspace: Keyspace, db: Any) -> None:
    db.set_string(b"key", b"1")
    before = keyspace.used_memory()
    handle = db.set_to_fill(b"set")
    for number in range(2000):
        handle.add(b"member %d" % number)
    db.changed(b"set")
    assert keyspace.used_memory() - before > 2000 * len(b"member 0")
    db.delete(b"set", False)
    assert keyspace.used_memory() == before


# --- Expiry


def test_a_key_lives_through_the_millisecond_of_its_expiry(keyspace: Keyspace, db: Any) -> None:
    db.set_string(b"key", b"1")
    db.set_expire_at(b"key", NOW_MS + 10)
    keyspace.now_ms = NOW_MS + 10
    assert db.exists(b"key")
    keyspace.now_ms = NOW_MS + 11
    assert db.size() == 1
    assert not db.exists(b"key")
    assert db.size() == 0
    assert keyspace.expired == 1


@pytest.mark.parametrize(
    "look",
    [
        lambda db: db.string_for_read(b"key"),
        lambda db: db.hash_for_write(b"key"),
        lambda db: db.type_of(b"key"),
        lambda db: db.expire_at(b"key"),
        lambda db: db.delete(b"key"),
        lambda db: db.touch(b"key"),
        lambda db: db.move(b"key", 1),
        lambda db: db.random_key(),
        lambda db: db.keys(),
        lambda db: db.scan(0, 10)[1],
    ],
)
def test_an_expired_key_is_absent_to_everyone(db: Any, look: Any) -> None:
    db.set_string(b"key", b"1")
    db.set_expire_at(b"key", NOW_MS - 1)
    assert not look(db)


def test_an_expired_aggregate_is_not_filled_further(db: Any) -> None:
    put(db, b"key", "list")
    db.set_expire_at(b"key", NOW_MS - 1)
    handle = db.list_to_fill(b"key")
    assert len(handle) == 0
    handle.push_head(b"new")
    db.changed(b"key")
    assert (db.list_for_read(b"key").range(0, 0), db.expire_at(b"key")) == ([b"new"], -1)


def test_nothing_expires_while_it_may_not(keyspace: Keyspace, db: Any) -> None:
    db.set_string(b"key", b"1")
    db.set_expire_at(b"key", NOW_MS - 1)
    keyspace.may_expire = False
    assert db.string_for_read(b"key") == b"1"
    assert db.keys() == [b"key"] and db.scan(0, 10) == (0, [(b"key", "string")]) and db.random_key() == b"key"
    keyspace.may_expire = True
    assert db.string_for_read(b"key") is None


def test_a_scan_deletes_what_it_finds_expired(keyspace: Keyspace, db: Any) -> None:
    for number in range(20):
        db.set_string(b"{t}%d" % number, b"1")
        db.set_expire_at(b"{t}%d" % number, NOW_MS - number % 2)
    cursor, page = db.scan(0, 100)
    assert cursor == 0 and {key for key, _ in page} == {b"{t}%d" % number for number in range(0, 20, 2)}
    assert db.size() == 10


def test_the_expiry_of_an_absent_key_cannot_be_set(db: Any) -> None:
    with pytest.raises(KeyError):
        db.set_expire_at(b"key", NOW_MS)


@pytest.mark.parametrize("kind", TYPES)
def test_an_expiry_comes_and_goes_without_touching_the_value(keyspace: Keyspace, db: Any, kind: str) -> None:
    put(db, b"key", kind)
    before = value_of(keyspace, 0, b"key")
    memory = keyspace.used_memory()
    for at_ms in (NOW_MS + 1, NOW_MS + 2, -1, -1, NOW_MS + 3):
        db.set_expire_at(b"key", at_ms)
        assert db.expire_at(b"key") == at_ms
        assert value_of(keyspace, 0, b"key") == before
        keyspace.validate()
    db.set_expire_at(b"key", -1)
    assert keyspace.used_memory() == memory


# --- The LRU clock


def test_a_read_or_write_ends_idleness_and_a_question_does_not(keyspace: Keyspace, db: Any) -> None:
    db.set_string(b"key", b"1")
    keyspace.now_ms = NOW_MS + 9_000
    db.exists(b"key")
    db.type_of(b"key")
    assert db.idle_seconds(b"key") == 9
    for end in (db.string_for_read, db.string_for_write, db.touch):
        end(b"key")
        assert db.idle_seconds(b"key") == 0
        keyspace.now_ms += 5_000
        assert db.idle_seconds(b"key") == 5


def test_the_clock_stands_still_while_a_snapshot_runs(keyspace: Keyspace, db: Any) -> None:
    db.set_string(b"key", b"1")
    keyspace.now_ms = NOW_MS + 9_000
    keyspace.snapshot_running = True
    db.string_for_read(b"key")
    assert db.idle_seconds(b"key") == 9


def test_idleness_survives_the_wrapping_of_the_24_bit_clock(keyspace: Keyspace, db: Any) -> None:
    keyspace.now_ms = (2**24 - 1) * 1000
    db.set_string(b"key", b"1")
    keyspace.now_ms += 3000
    assert db.idle_seconds(b"key") == 3


# --- Names


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("over", [None, "string", "zset"])
def test_rename_moves_value_and_expiry_over_anything(keyspace: Keyspace, db: Any, kind: str, over: str | None) -> None:
    put(db, b"source", kind)
    db.set_expire_at(b"source", NOW_MS + 5)
    before = value_of(keyspace, 0, b"source")
    if over:
        put(db, b"destination", over)
    db.rename(b"source", b"destination")
    assert db.keys() == [b"destination"]
    assert (value_of(keyspace, 0, b"destination"), db.expire_at(b"destination")) == (before, NOW_MS + 5)


def test_rename_within_one_slot(db: Any) -> None:
    for number in range(40):
        db.set_string(b"{t}%d" % number, b"%d" % number)
    for number in range(40):
        db.rename(b"{t}%d" % number, b"{t}new%d" % number)
    names = db.keys()
    assert {name: db.string_for_read(name) for name in names} == {b"{t}new%d" % n: b"%d" % n for n in range(40)}


def test_rename_to_itself_changes_nothing(keyspace: Keyspace, db: Any) -> None:
    db.set_string(b"key", b"1")
    dirty = keyspace.dirty
    db.rename(b"key", b"key")
    assert db.string_for_read(b"key") == b"1" and keyspace.dirty == dirty


def test_rename_and_copy_of_an_absent_key_are_refused(db: Any) -> None:
    for refused in (lambda: db.rename(b"key", b"new"), lambda: db.copy(b"key", b"new", 0)):
        with pytest.raises(CommandError) as caught:
            refused()
        assert caught.value is errors.NO_SUCH_KEY


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("database", [0, 1])
def test_a_copy_is_independent(keyspace: Keyspace, db: Any, kind: str, database: int) -> None:
    put(db, b"source", kind)
    db.set_expire_at(b"source", NOW_MS + 5)
    before = value_of(keyspace, 0, b"source")
    db.copy(b"source", b"copy", database)
    db.delete(b"source")
    other = keyspace.database(database)
    assert (value_of(keyspace, database, b"copy"), other.expire_at(b"copy")) == (before, NOW_MS + 5)


@pytest.mark.parametrize("size", [1000, 100_000])
def test_a_copy_of_a_large_aggregate_is_whole(keyspace: Keyspace, db: Any, size: int) -> None:
    for key, handle in ((b"list", db.list_to_fill(b"list")), (b"set", db.set_to_fill(b"set"))):
        for number in range(size):
            (handle.push_tail if key == b"list" else handle.add)(b"element %d" % number)
        db.changed(key)
    for key, handle in ((b"hash", db.hash_to_fill(b"hash")), (b"zset", db.zset_to_fill(b"zset"))):
        for number in range(size):
            handle.put(b"element %d" % number, b"%d" % number if key == b"hash" else number / 7)
        db.changed(key)
    for key in (b"list", b"set", b"hash", b"zset"):
        db.copy(key, key, 1)
    values = [{key: value for key, _, value, _ in keyspace.walk(database)} for database in (0, 1)]
    assert values[0] == values[1]
    assert all(len(value) == size for value in values[1].values())


@pytest.mark.parametrize("kind", TYPES)
def test_move_takes_value_and_expiry_to_the_other_database(keyspace: Keyspace, db: Any, kind: str) -> None:
    put(db, b"key", kind)
    db.set_expire_at(b"key", NOW_MS + 5)
    before = value_of(keyspace, 0, b"key")
    assert db.move(b"key", 1)
    assert not db.exists(b"key")
    assert (value_of(keyspace, 1, b"key"), keyspace.database(1).expire_at(b"key")) == (before, NOW_MS + 5)
    put(db, b"key", "string")
    assert not db.move(b"key", 1)
    assert not db.move(b"absent", 1)


# --- All keys


def test_flush_empties_one_database_or_all(keyspace: Keyspace, db: Any) -> None:
    before = keyspace.used_memory()
    for database in (0, 1):
        for kind in TYPES:
            put(keyspace.database(database), kind.encode(), kind)
    db.flush()
    assert (db.size(), keyspace.database(1).size()) == (0, 5)
    db.flush(everywhere=True)
    assert keyspace.database(1).size() == 0 and keyspace.used_memory() == before


def test_scan_tells_the_types(db: Any) -> None:
    for kind in TYPES:
        put(db, b"{t}" + kind.encode(), kind)
    assert db.scan(0, 100)[0] == 0
    assert {key.decode()[3:]: kind for key, kind in db.scan(0, 100)[1]} == {kind: kind for kind in TYPES}


def test_encodings_of_aggregates(db: Any) -> None:
    for kind in TYPES[1:]:
        put(db, kind.encode(), kind)
    assert [db.encoding_of(kind.encode()) for kind in TYPES[1:]] == ["listpack"] * 4
    db.set_to_fill(b"numbers").add(b"17")
    db.changed(b"numbers")
    assert db.encoding_of(b"numbers") == "intset"


def test_the_database_tells_its_place() -> None:
    keyspace = Keyspace(5, 1, 3)
    keyspace.now_ms = NOW_MS
    db = keyspace.database(4)
    assert (db.index, db.databases, db.now_ms, db.shard, db.shards) == (4, 5, NOW_MS, 1, 3)


# ---- strings that are changed in place


@pytest.mark.parametrize("seed", range(4))
def test_patched_strings_are_what_bytes_would_be(db: Any, seed: int) -> None:
    chance = random.Random(seed)
    model = b"start"
    db.set_string(b"k", model)
    db.set_expire_at(b"k", NOW_MS + 1000)
    for _ in range(300):
        offset = len(model) if chance.random() < 0.5 else chance.randrange(len(model) + 100)
        patch = chance.randbytes(chance.choice((0, 1, 40, 700)))
        if patch or offset <= len(model):
            db.patch_string(b"k", offset, patch)
            model = model[:offset].ljust(offset, b"\0") + patch + model[offset + len(patch) :]
        assert db.string_for_read(b"k") == model
        assert db.string_length_for_read(b"k") == len(model)
        start = chance.randrange(len(model) + 10)
        assert db.string_part(b"k", start, start + 50) == model[start : start + 50]
    assert len(model) > 10_000
    assert db.encoding_of(b"k") == "raw"
    assert db.expire_at(b"k") == NOW_MS + 1000


def test_appending_to_a_large_string_does_not_copy_it(db: Any) -> None:
    size = 20 << 20
    db.set_string(b"k", b"x" * size)
    db.patch_string(b"k", size, b"y")
    began = time.thread_time_ns()
    for at in range(1, 1001):
        db.patch_string(b"k", size + at, b"y")
    # Copied once each they would take some 5 s
    assert time.thread_time_ns() - began < 500_000_000
    assert db.string_part(b"k", size - 1, size + 2000) == b"x" + b"y" * 1001
    assert db.memory_of(b"k") < size + (2 << 20)


def test_a_string_stays_as_it_was_if_there_is_no_memory_for_its_patch(db: Any) -> None:
    for size in (10, 1020, 5000):
        value = b"v" * size
        db.set_string(b"k", value)
        allocator.fail_after(0)
        try:
            with pytest.raises(CommandError, match="OOM"):
                db.patch_string(b"k", size, b"more" * 5000)
        finally:
            allocator.fail_after(None)
        assert db.string_for_read(b"k") == value
