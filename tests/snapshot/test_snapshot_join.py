"""Parts become one file, or the old file stays."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpkv.snapshot import join
from mpkv.snapshot.child import write_inline
from mpkv.snapshot.format import checksum
from mpkv.snapshot.inspect import check
from mpkv.snapshot.join import Part, join_parts
from mpkv.workers.keyspace import Keyspace

DESCRIPTION: Any = {"server_version": "7.2.0", "created_at_s": 1_700_000_000, "used_memory_bytes": 12345}
CONTENTS: Any = {(0, b"key:%d" % number): ("string", b"x" * 1000, -1) for number in range(300)}


@pytest.fixture
def parts(snapshots: Any, tmp_path: Path) -> list[Part]:
    keyspaces = snapshots.sharded(CONTENTS, 3)
    return [write_inline(keyspace, tmp_path / f"part-{keyspace.shard}").part for keyspace in keyspaces]


def test_the_combined_checksum_is_that_of_the_file(parts: list[Part], tmp_path: Path) -> None:
    joined = join_parts(parts, tmp_path / "dump.rdb", **DESCRIPTION, aof_base=True)
    data = (tmp_path / "dump.rdb").read_bytes()
    assert joined.crc64 == checksum(data[:-8]) == int.from_bytes(data[-8:], "little")
    assert (joined.keys, joined.size_bytes) == (300, len(data))
    report = check(tmp_path / "dump.rdb")
    assert report.content is not None
    assert report.content.aux == {
        b"redis-ver": b"7.2.0",
        b"redis-bits": b"64",
        b"ctime": b"1700000000",
        b"used-mem": b"12345",
        b"aof-base": b"1",
    }


def test_only_the_new_file_is_left_readable_as_the_umask_says(parts: list[Part], tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        join_parts(parts, tmp_path / "dump.rdb", **DESCRIPTION)
    finally:
        os.umask(before)
    assert os.listdir(tmp_path) == ["dump.rdb"]
    assert stat.S_IMODE((tmp_path / "dump.rdb").stat().st_mode) == 0o640


def test_a_temporary_file_of_an_earlier_process_is_in_nobodys_way(parts: list[Part], tmp_path: Path) -> None:
    (tmp_path / f"temp-{os.getpid()}.rdb").write_bytes(b"left behind" * 100_000)
    join_parts(parts, tmp_path / "dump.rdb", **DESCRIPTION)
    assert check(tmp_path / "dump.rdb").is_sound


def _refuse(*_: object) -> None:
    raise OSError(errno.EIO, "refused")


@pytest.mark.parametrize("step", ["fsync", "rename", "write"])
def test_the_old_file_stays_whatever_fails(
    parts: list[Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    (tmp_path / "dump.rdb").write_bytes(b"old")
    monkeypatch.setattr(join.os, step, _refuse)
    with pytest.raises(OSError, match="refused"):
        join_parts(parts, tmp_path / "dump.rdb", **DESCRIPTION)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["dump.rdb"]
    assert (tmp_path / "dump.rdb").read_bytes() == b"old"


def test_the_old_file_stays_when_there_is_no_room_for_the_new_one(parts: list[Part], tmp_path: Path) -> None:
    (tmp_path / "dump.rdb").write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(OSError) as refusal:
            join_parts(parts, tmp_path / "dump.rdb", **DESCRIPTION)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refusal.value.errno == errno.EFBIG
    assert os.listdir(tmp_path) == ["dump.rdb"]
    assert (tmp_path / "dump.rdb").read_bytes() == b"old"


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data + b"x"])
def test_a_part_of_another_size_is_not_joined(
    parts: list[Part], tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    parts[1].path.write_bytes(damage(parts[1].path.read_bytes()))
    with pytest.raises(OSError, match="another size"):
        join_parts(parts, tmp_path / "dump.rdb", **DESCRIPTION)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("reason", [errno.EXDEV, errno.EINVAL, errno.ENOSYS])
def test_parts_are_copied_through_memory_where_the_kernel_does_not(
    parts: list[Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    def not_here(*_: object) -> int:
        raise OSError(reason, "not here")

    monkeypatch.setattr(join.os, "copy_file_range", not_here)
    join_parts(parts, tmp_path / "dump.rdb", **DESCRIPTION)
    assert check(tmp_path / "dump.rdb").is_sound


def test_no_parts_at_all_make_an_empty_file(tmp_path: Path) -> None:
    join_parts([], tmp_path / "dump.rdb", **DESCRIPTION)
    assert check(tmp_path / "dump.rdb").is_sound


def test_saving_while_nothing_is_in_the_shard_writes_an_empty_part(tmp_path: Path) -> None:
    outcome = write_inline(Keyspace(16), tmp_path / "part")
    assert (outcome.error, outcome.part.keys, outcome.part.size_bytes, outcome.part.crc64) == (0, 0, 0, 0)
