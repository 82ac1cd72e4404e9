"""The error for a snapshot file that cannot be trusted or understood."""

from __future__ import annotations

from pathlib import Path


class SnapshotDamaged(Exception):
    """A file that is refused: damaged, of a newer version, or with a value that this server has no type for.

    `offset` is where in the file reading came to a halt; `key` the key whose value it was, where that is known.
    """

    def __init__(self, path: str | Path, offset: int, reason: str, key: bytes | None = None) -> None:
        self.path = Path(path)
        self.offset = offset
        self.reason = reason
        self.key = key
        at_key = f", at key {key!r}" if key is not None else ""
        super().__init__(f"{self.path}: {reason} (offset {offset}{at_key})")
