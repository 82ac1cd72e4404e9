"""What is written is what is read, whatever the number of shards then and now."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpkv.snapshot.inspect import check
from mpkv.workers.keyspace import Keyspace

FAR_FUTURE_MS = 4_102_444_800_000

texts = st.one_of(
    st.binary(max_size=30),
    st.integers(-(2**63), 2**63).map(lambda number: b"%d" % number),
    st.sampled_from([b"x" * 63, b"x" * 64, b"y" * 16383, b"z" * 16384, b"z" * 70000]),
)
scores = st.floats(allow_nan=False)
values = st.one_of(
    st.tuples(st.just("string"), texts),
    st.tuples(st.just("list"), st.lists(texts, min_size=1, max_size=20)),
    st.tuples(st.just("set"), st.sets(texts, min_size=1, max_size=20)),
    st.tuples(st.just("hash"), st.dictionaries(texts, texts, min_size=1, max_size=20)),
    st.tuples(st.just("zset"), st.dictionaries(texts, scores, min_size=1, max_size=20)),
)
expiries = st.one_of(st.just(-1), st.integers(FAR_FUTURE_MS, 2**62))
keyspaces = st.dictionaries(
    st.tuples(st.integers(0, 15), st.binary(max_size=20)),
    st.tuples(values, expiries).map(lambda both: (*both[0], both[1])),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(keyspaces, st.integers(1, 4), st.integers(1, 4))
def test_every_key_comes_back_whatever_the_numbers_of_shards(
    snapshots: Any, contents: dict[Any, Any], shards_then: int, shards_now: int
) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "dump.rdb"
        joined = snapshots.save(path, *snapshots.sharded(contents, shards_then))
        loaded, results = snapshots.load_shards(path, shards_now)
    assert snapshots.contents_of(*loaded) == contents
    assert joined.keys == len(contents)
    assert sum(result.keys_loaded for result in results) == len(contents)
    assert all(result.keys_loaded + result.keys_skipped == len(contents) for result in results)
    assert all(result.checksum_verified for result in results)


@pytest.mark.parametrize("kind", ["list", "set", "hash", "zset"])
def test_large_aggregates_come_back(snapshots: Any, tmp_path: Path, kind: str) -> None:
    members = [b"member:%d:%s" % (number, b"x" * (number % 100)) for number in range(20000)]
    value: Any = {
        "list": lambda: members,
        "set": lambda: set(members),
        "hash": lambda: {member: member[::-1] for member in members},
        "zset": lambda: {member: number / 7 for number, member in enumerate(members)},
    }[kind]()
    contents = {(0, b"key"): (kind, value, -1)}
    snapshots.save(tmp_path / "dump.rdb", snapshots.fill(Keyspace(16), contents))
    loaded, _ = snapshots.load_shards(tmp_path / "dump.rdb")
    assert snapshots.contents_of(*loaded) == contents


def test_a_string_far_larger_than_the_window_comes_back_between_small_ones(snapshots: Any, tmp_path: Path) -> None:
    contents = {(0, b"key:%d" % number): ("string", b"%d" % number * 3, -1) for number in range(1000)}
    contents[0, b"large"] = ("string", bytes(range(256)) * 40_000, -1)
    snapshots.save(tmp_path / "dump.rdb", snapshots.fill(Keyspace(16), contents))
    loaded, _ = snapshots.load_shards(tmp_path / "dump.rdb", 2)
    assert snapshots.contents_of(*loaded) == contents


def test_an_empty_keyspace_makes_a_sound_file(snapshots: Any, tmp_path: Path) -> None:
    snapshots.save(tmp_path / "dump.rdb", Keyspace(16))
    report = check(tmp_path / "dump.rdb")
    assert report.content is not None
    assert (report.content.keys_loaded, report.content.version) == (0, 10)
    assert report.content.aux[b"redis-bits"] == b"64"


def test_keys_that_have_expired_are_dropped_unless_the_log_decides(snapshots: Any, tmp_path: Path) -> None:
    contents = {
        (0, b"past"): ("string", b"old", FAR_FUTURE_MS),
        (0, b"past list"): ("list", [b"old"], FAR_FUTURE_MS),
        (0, b"future"): ("string", b"new", FAR_FUTURE_MS + 2),
        (0, b"for ever"): ("string", b"new", -1),
    }
    path = tmp_path / "dump.rdb"
    snapshots.save(path, snapshots.fill(Keyspace(16), contents))
    loaded, (result,) = snapshots.load_shards(path, now_ms=FAR_FUTURE_MS + 1)
    assert {key for _, key in snapshots.contents_of(*loaded)} == {b"future", b"for ever"}
    assert (result.keys_loaded, result.keys_expired, result.keys_with_expiry) == (2, 2, 1)
    loaded, (result,) = snapshots.load_shards(path, now_ms=FAR_FUTURE_MS + 1, keep_expired=True)
    assert snapshots.contents_of(*loaded) == contents


def test_progress_is_reported_up_to_the_end_and_may_give_up(snapshots: Any, tmp_path: Path) -> None:
    contents = {(0, b"key:%d" % number): ("string", b"x" * 100_000, -1) for number in range(60)}
    path = tmp_path / "dump.rdb"
    size_bytes = snapshots.save(path, snapshots.fill(Keyspace(16), contents)).size_bytes
    seen: list[tuple[int, int]] = []
    snapshots.load_shards(path, progress=lambda read, whole: seen.append((read, whole)))
    assert len(seen) >= 3
    assert [read for read, _ in seen] == sorted(read for read, _ in seen)
    assert seen[-1] == (size_bytes, size_bytes)

    def give_up(read: int, whole: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        snapshots.load_shards(path, progress=give_up)


def test_a_database_beyond_the_configured_ones_is_refused(snapshots: Any, tmp_path: Path) -> None:
    path = tmp_path / "dump.rdb"
    snapshots.save(path, snapshots.fill(Keyspace(20), {(17, b"key"): ("string", b"value", -1)}))
    with pytest.raises(Exception, match="database 17, but only 16 are configured"):
        snapshots.load_shards(path)
