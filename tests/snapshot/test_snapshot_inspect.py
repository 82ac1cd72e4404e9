"""The check-rdb subcommand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mpkv.snapshot.inspect import main
from mpkv.workers.keyspace import Keyspace


@pytest.fixture
def sound_file(snapshots: Any, tmp_path: Path) -> Path:
    path: Path = tmp_path / "dump.rdb"
    snapshots.save(path, snapshots.fill(Keyspace(16), {(3, b"key"): ("list", [b"a"], 4_102_444_800_000)}))
    return path


def test_a_sound_file_is_described(sound_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sound_file)]) == 0
    text = capsys.readouterr().out
    assert "sound; RDB version 10" in text
    assert "keys: 1, 1 of them with an expiry" in text
    assert "database 3: 1 keys" in text
    assert "list: 1" in text


def test_a_damaged_file_is_named_with_its_offset(
    sound_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged.rdb"
    damaged.write_bytes(sound_file.read_bytes()[:-9])
    assert main([str(sound_file), str(damaged)]) == 1
    captured = capsys.readouterr()
    assert "damaged.rdb: cut short" in captured.err
    assert "offset" in captured.err
    assert "sound" in captured.out


def test_a_file_that_is_not_there_is_another_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere.rdb")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_text_from_the_file_cannot_steer_the_terminal(
    snapshots: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = snapshots.rdb_file(tmp_path / "dump.rdb", b"\xfa\x04evil\x04\x1b[2J")
    assert main([str(path)]) == 0
    assert r"evil = \x1b[2J" in capsys.readouterr().out
