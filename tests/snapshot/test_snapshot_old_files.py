"""Files that servers of many years wrote: the encodings of their time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mpkv.snapshot.damage import SnapshotDamaged

#: name -> keys and DEBUG DIGEST after redis-server 7.0.15 had loaded it
SOUND_FILES = {
    "encodings.rdb": (13, "b7324c5e2d3a7618126155c2bf9e40c794649565"),
    "hash-ziplist.rdb": (1, "3ca39ed0cb3b979b5b125ae0d1e54f2c40b7c5e6"),
    "hash-zipmap.rdb": (1, "3ca39ed0cb3b979b5b125ae0d1e54f2c40b7c5e6"),
    "list-quicklist.rdb": (2, "3d77c75a5b6cc5319b4ecf6e95101ed07ddd139e"),
    "zset-ziplist.rdb": (1, "fa1ca919dcef4dea3e3e609298a9e329d3bb7c61"),
}


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("name", SOUND_FILES)
def test_an_old_file_has_the_digest_that_redis_gives_it(
    snapshots: Any, old_files: Path, name: str, shards: int
) -> None:
    loaded, results = snapshots.load_shards(old_files / name, shards)
    total = sum(result.keys_loaded for result in results)
    assert (total, snapshots.digest(snapshots.contents_of(*loaded))) == SOUND_FILES[name]


def test_a_file_that_names_a_script_is_loaded_without_it(snapshots: Any, old_files: Path) -> None:
    _, (result,) = snapshots.load_shards(old_files / "scriptbackup.rdb")
    assert (result.keys_loaded, result.checksum_verified) == (0, True)


def test_keys_without_a_value_are_left_out(snapshots: Any, old_files: Path) -> None:
    loaded, (result,) = snapshots.load_shards(old_files / "corrupt_empty_keys.rdb")
    assert (result.keys_loaded, result.keys_empty) == (0, 9)
    assert snapshots.contents_of(*loaded) == {}


def test_a_damaged_ziplist_is_refused_with_key_and_offset(snapshots: Any, old_files: Path) -> None:
    with pytest.raises(SnapshotDamaged, match="ziplist") as refusal:
        snapshots.load_shards(old_files / "corrupt_ziplist.rdb")
    assert refusal.value.key is not None
    assert 0 < refusal.value.offset < (old_files / "corrupt_ziplist.rdb").stat().st_size


def test_a_preamble_ends_where_the_log_begins(snapshots: Any, old_files: Path) -> None:
    path = old_files / "rdb-preamble.aof"
    _, (result,) = snapshots.load_shards(path, preamble=True)
    assert result.checksum_verified
    assert path.read_bytes()[result.size_bytes :].startswith(b"*")
    with pytest.raises(SnapshotDamaged, match="bytes follow the end"):
        snapshots.load_shards(path)
