"""Snapshots keep how long ago and how often keys were used, as far as the policy goes by it: as Redis does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mpkv.snapshot.reader import load
from mpkv.workers.keyspace import Keyspace

NOW_MS = 1_750_000_000_000
#: key -> seconds since its last use
IDLE = {b"now": 0, b"a minute": 60, b"a day": 86_400, b"100 days": 8_640_000}
#: key -> how often it is used
COUNTS = {b"never": 0, b"new": 5, b"often": 100, b"always": 255}
#: 24 bits of seconds are all that an entry has.
MOST_IDLE_S = (1 << 24) - 1

LRU = {"frequency": False, "age": True}
LFU = {"frequency": True}
NEITHER = {"frequency": False}


def keyspace_of(policy: dict[str, Any], now_ms: int = NOW_MS) -> Keyspace:
    keyspace = Keyspace(16)
    keyspace.now_ms = now_ms
    keyspace.set_recency(**policy, decay_minutes=0)
    return keyspace


def told(length: int) -> bytes:
    """An opcode with a length that takes four bytes."""
    return b"\xf8\x80" + length.to_bytes(4, "big")


def file_with(snapshots: Any, path: Path, *opcodes: bytes) -> Path:
    """One string for each opcode, named by its place."""
    keys = [
        opcode + b"\x00" + snapshots.plain(b"%d" % place) + snapshots.plain(b"value")
        for place, opcode in enumerate(opcodes)
    ]
    return snapshots.rdb_file(path, *keys, version=9)  # type: ignore[no-any-return]


def loaded(path: Path, policy: dict[str, Any], now_ms: int = NOW_MS) -> Any:
    keyspace = keyspace_of(policy, now_ms)
    load(path, keyspace, 0, 1, now_ms)
    return keyspace.database(0)


def test_how_long_a_key_has_not_been_used_is_kept_under_an_lru_policy(snapshots: Any, tmp_path: Path) -> None:
    keyspace = keyspace_of(LRU)
    for key, idle_s in IDLE.items():
        keyspace.now_ms = NOW_MS - 1000 * idle_s
        keyspace.database(0).set_string(key, key)
        keyspace.database(1).list_to_fill(key).push_tail(key)
        keyspace.database(1).changed(key)
    keyspace.now_ms = NOW_MS
    snapshots.save(tmp_path / "dump.rdb", keyspace)
    later = keyspace_of(LRU, NOW_MS + 5000)
    load(tmp_path / "dump.rdb", later, 0, 1, NOW_MS + 5000)
    for index in (0, 1):
        assert {key: later.database(index).idle_seconds(key) for key in IDLE} == IDLE
        assert {key: later.database(index).expire_at(key) for key in IDLE} == dict.fromkeys(IDLE, -1)


def test_how_often_a_key_is_used_is_kept_under_an_lfu_policy(snapshots: Any, tmp_path: Path) -> None:
    file_with(snapshots, tmp_path / "made.rdb", *(b"\xf9" + bytes([count]) for count in COUNTS.values()))
    source = keyspace_of(LFU)
    load(tmp_path / "made.rdb", source, 0, 1, NOW_MS)
    snapshots.save(tmp_path / "dump.rdb", source)
    db = loaded(tmp_path / "dump.rdb", LFU)
    assert [db.frequency_of(b"%d" % place) for place in range(len(COUNTS))] == list(COUNTS.values())


def test_without_such_a_policy_the_file_says_nothing_of_it(snapshots: Any, tmp_path: Path) -> None:
    sizes = {}
    for name, policy in (("lru", LRU), ("lfu", LFU), ("neither", NEITHER)):
        keyspace = keyspace_of(policy)
        for number in range(10):
            keyspace.database(0).set_string(b"key:%d" % number, b"value")
        sizes[name] = snapshots.save(tmp_path / name, keyspace).size_bytes
    assert sizes["lru"] == sizes["lfu"] == sizes["neither"] + 10 * 2


@pytest.mark.parametrize("policy", [LRU, NEITHER], ids=["lru", "neither"])
def test_what_does_not_fit_the_policy_is_passed_over(snapshots: Any, tmp_path: Path, policy: dict[str, Any]) -> None:
    path = file_with(snapshots, tmp_path / "dump.rdb", told(1000), b"\xf9\x64", told(1 << 31), b"")
    db = loaded(path, policy)
    assert [db.idle_seconds(b"%d" % place) for place in range(4)] == [1000, 0, MOST_IDLE_S, 0]
    db = loaded(path, LFU)
    assert [db.frequency_of(b"%d" % place) for place in range(4)] == [5, 100, 5, 5]


def test_it_belongs_to_one_key_alone(snapshots: Any, tmp_path: Path) -> None:
    expiry = b"\xfc" + snapshots.far_future_ms.to_bytes(8, "little")
    path = file_with(snapshots, tmp_path / "dump.rdb", expiry + told(77), b"", told(7) + expiry)
    db = loaded(path, LRU)
    assert [db.idle_seconds(b"%d" % place) for place in range(3)] == [77, 0, 7]
    assert [db.expire_at(b"%d" % place) for place in range(3)] == [snapshots.far_future_ms, -1, snapshots.far_future_ms]


# -- beside redis-server: its clock is the real one


def test_redis_reads_what_is_written_here(
    snapshots: Any, tmp_path: Path, running_redis: Any, check_with_redis: Any
) -> None:
    for policy, name, command, values in (
        (LRU, "allkeys-lru", "IDLETIME", IDLE), (LFU, "volatile-lfu", "FREQ", COUNTS),
    ):  # fmt: skip
        opcodes = [told(value) if policy is LRU else b"\xf9" + bytes([value]) for value in values.values()]
        file_with(snapshots, tmp_path / "made.rdb", *opcodes)
        keyspace = keyspace_of(policy)
        load(tmp_path / "made.rdb", keyspace, 0, 1, NOW_MS)
        snapshots.save(tmp_path / "dump.rdb", keyspace)
        check_with_redis(tmp_path / "dump.rdb")
        with running_redis(tmp_path, "--maxmemory-policy", name, "--lfu-decay-time", "0") as client:
            for place, value in enumerate(values.values()):
                assert value <= client.execute_command("OBJECT", command, str(place)) <= value + 5


def test_what_redis_wrote_is_read_here(snapshots: Any, tmp_path: Path, running_redis: Any) -> None:
    for policy, name, values in ((LRU, "volatile-lru", IDLE), (LFU, "allkeys-lfu", COUNTS)):
        opcodes = [told(value) if policy is LRU else b"\xf9" + bytes([value]) for value in values.values()]
        file_with(snapshots, tmp_path / "dump.rdb", *opcodes)
        with running_redis(tmp_path, "--maxmemory-policy", name, "--lfu-decay-time", "0") as client:
            client.save()
        db = loaded(tmp_path / "dump.rdb", policy)
        look = db.idle_seconds if policy is LRU else db.frequency_of
        for place, value in enumerate(values.values()):
            assert value <= look(b"%d" % place) <= value + 5
