"""Joining the parts that all shards wrote into one RDB file, in place of the old one.

Header, the parts one after another, end and checksum. The kernel copies the parts (`copy_file_range`, which on some
file systems shares the blocks instead), and the checksum is combined from those of the parts, so nothing is read
twice. The old file stays until the new one is complete and on the disk: write a temporary file, fsync it, rename it,
fsync the directory. Whatever fails, the temporary file and the parts go and the old file stays.
"""

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mpkv import process
from mpkv.snapshot.format import checksum, crc64_combine, packed_string

MAGIC = b"REDIS0010"
OP_AUX = b"\xfa"
OP_EOF = b"\xff"
#: What is being written: parts (`mpkv.frontend.saving` names them) and the joined file, with their writer's number.
_TEMPORARY = re.compile(r"temp-(\d+)(?:-\d+\.part|\.rdb)")
COPY_CHUNK_BYTES = 1 << 20  #: of the copy through memory, where the kernel cannot copy between the two files


@dataclass(frozen=True, slots=True)
class Part:
    """One shard's part: a file and what its writer said about it."""

    path: Path
    keys: int
    size_bytes: int
    crc64: int


@dataclass(frozen=True, slots=True)
class PartResult:
    """How the writing of a part ended. Unless `error` is 0 there is no file."""

    part: Part
    error: int  #: an errno; ECHILD if the child died before it could say
    signal: int  #: the signal that ended the child, or 0
    private_dirty_bytes: int  #: memory that copy-on-write had to copy; 0 when no child was forked


@dataclass(frozen=True, slots=True)
class Joined:
    path: Path
    keys: int
    size_bytes: int
    crc64: int


def join_parts(
    parts: Sequence[Part],
    path: Path,
    *,
    server_version: str,
    created_at_s: int,
    used_memory_bytes: int,
    aof_base: bool = False,
    with_checksum: bool = True,
) -> Joined:
    """Make one RDB file at `path` of all parts, which are removed in any case.

    Raises OSError; then `path` is as it was. A checksum of zero says that there is none.
    """
    temporary = path.with_name(f"temp-{os.getpid()}.rdb")
    try:
        header = _header(server_version, created_at_s, used_memory_bytes, aof_base)
        crc = _combined_checksum(header, parts) if with_checksum else 0
        with suppress(FileNotFoundError):  # of an earlier process that had the same number
            temporary.unlink()
        _write_file(temporary, header, parts, OP_EOF + struct.pack("<Q", crc))
        os.rename(temporary, path)
        _sync_directory(path.parent)
    except BaseException:
        _remove(temporary)
        raise
    finally:
        for part in parts:
            _remove(part.path)
    return Joined(path, sum(part.keys for part in parts), path.stat().st_size, crc)


def remove_abandoned(directory: Path) -> None:
    """Remove the parts and unfinished files of processes that died over them."""
    for path in directory.glob("temp-*"):
        match = _TEMPORARY.fullmatch(path.name)
        if match is not None and not process.is_alive(int(match[1])):
            _remove(path)


def _header(server_version: str, created_at_s: int, used_memory_bytes: int, aof_base: bool) -> bytes:
    fields = {
        b"redis-ver": server_version.encode(),
        b"redis-bits": b"64",
        b"ctime": b"%d" % created_at_s,
        b"used-mem": b"%d" % used_memory_bytes,
        b"aof-base": b"%d" % aof_base,
    }
    return MAGIC + b"".join(OP_AUX + packed_string(name) + packed_string(text) for name, text in fields.items())


def _combined_checksum(header: bytes, parts: Sequence[Part]) -> int:
    """Of everything before the checksum itself: the end mark belongs to it."""
    crc = checksum(header)
    for part in parts:
        crc = crc64_combine(crc, part.crc64, part.size_bytes)
    return checksum(OP_EOF, crc)


def _write_file(path: Path, header: bytes, parts: Sequence[Part], end: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        _write_all(fd, header)
        for part in parts:
            _append_part(fd, part)
        _write_all(fd, end)
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _append_part(fd: int, part: Part) -> None:
    source = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(source).st_size != part.size_bytes:
            raise OSError(errno.EBADMSG, "a part of the snapshot has another size than its writer said", str(part.path))
        left = part.size_bytes
        while left:
            copied = _copy_some(source, fd, left)
            if copied == 0:
                raise OSError(errno.EBADMSG, "a part of the snapshot became shorter", str(part.path))
            left -= copied
    finally:
        os.close(source)


def _copy_some(source: int, fd: int, size_bytes: int) -> int:
    """Copy on from where both descriptors stand; how much."""
    try:
        return os.copy_file_range(source, fd, size_bytes)
    except OSError as error:
        # Not between these file systems, or not at all: through memory then. Anything else is a real failure.
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            raise
    data = os.read(source, min(size_bytes, COPY_CHUNK_BYTES))
    _write_all(fd, data)
    return len(data)


def _sync_directory(directory: Path) -> None:
    """Put the rename itself on the disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
