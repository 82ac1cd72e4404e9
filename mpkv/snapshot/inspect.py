"""Looking into an RDB file without a server: the `check-rdb` subcommand."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mpkv.snapshot import reader
from mpkv.snapshot.damage import SnapshotDamaged
from mpkv.snapshot.reader import LoadResult

EXIT_SOUND = 0
EXIT_DAMAGED = 1
EXIT_UNREADABLE = 2


@dataclass(frozen=True, slots=True)
class Report:
    """What a file holds, or what is wrong with it."""

    path: Path
    content: LoadResult | None  #: None if it is damaged
    damage: SnapshotDamaged | None

    @property
    def is_sound(self) -> bool:
        return self.damage is None


def check(path: str | os.PathLike[str], *, preamble: bool = False) -> Report:
    """Read every value of an RDB file (`preamble`: of an append-only file that begins with one). Raises OSError."""
    try:
        return Report(Path(path), reader.check(path, preamble=preamble), None)
    except SnapshotDamaged as damage:
        return Report(Path(path), None, damage)


def main(argv: Sequence[str] | None = None) -> int:
    """``check-rdb FILE …``: 0 if all are sound, 1 if one is damaged, 2 if one cannot be read."""
    parser = argparse.ArgumentParser(prog="mpkv check-rdb", description="Check RDB files: structure, values, checksum.")
    parser.add_argument("files", nargs="+", metavar="FILE")
    arguments = parser.parse_args(argv)
    return max(_check_and_print(path) for path in arguments.files)


def _check_and_print(path: str) -> int:
    try:
        report = check(path)
    except OSError as error:
        print(f"{path}: {error.strerror}", file=sys.stderr)
        return EXIT_UNREADABLE
    if report.content is None:
        print(report.damage, file=sys.stderr)
        return EXIT_DAMAGED
    for line in _describe(report.path, report.content):
        print(line)
    return EXIT_SOUND


def _describe(path: Path, content: LoadResult) -> Iterator[str]:
    checksum = "checksum verified" if content.checksum_verified else "no checksum"
    yield f"{path}: sound; RDB version {content.version}, {content.size_bytes} bytes, {checksum}"
    yield f"  keys: {content.keys_loaded}, {content.keys_with_expiry} of them with an expiry"
    for index, keys in sorted(content.databases.items()):
        yield f"  database {index}: {keys} keys"
    for name, values in sorted(content.types.items()):
        yield f"  {name}: {values}"
    for field, text in content.aux.items():
        yield f"  {_printable(field)} = {_printable(text)}"
    if content.keys_empty:
        yield f"  warning: {content.keys_empty} keys without a value"
    for warning in content.warnings:
        yield f"  warning: {warning}"


def _printable(text: bytes) -> str:
    """Text from a file on its way to a terminal: nothing in it may steer the terminal."""
    return text.decode("latin-1").encode("unicode_escape").decode()
