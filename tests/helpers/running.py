"""Running servers for tests, and the proof that they leave nothing behind.

`leaving_nothing` runs a server and fails if, after it has stopped, a process of its family, a mapping of its shared
segment or a file in its runtime folder is left. `without_leaks` compares what each process of a running server holds
before and after a block: descriptors and mappings of shared memory.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from mpkv.testing import Server

#: Connections that a test has closed are noticed by the server, and ticks pass, within this.
SETTLE_S = 10.0
_POLL_S = 0.02
_SEGMENT = "memfd:mpkv"


class Holdings(NamedTuple):
    """What a process holds."""

    descriptors: Counter[str]  #: by kind: ``socket``, ``anon_inode``, or the path
    segments: int  #: mappings of the shared segment


def holdings(pid: int) -> Holdings:
    """What a process holds now."""
    descriptors: Counter[str] = Counter()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            descriptors[os.readlink(entry.path).partition(":")[0]] += 1
        except FileNotFoundError:
            continue
    return Holdings(descriptors, Path(f"/proc/{pid}/maps").read_text().count(_SEGMENT))


def segments_of(pid: int) -> set[str]:
    """The inodes of the shared segments that a process maps."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split()[4] for line in lines if _SEGMENT in line}


def holdings_of(server: Server) -> dict[str, tuple[int, Holdings]]:
    """Role -> process id and what it holds."""
    return {role: (pid, holdings(pid)) for role, pid in server.processes().items()}


@contextmanager
def without_leaks(server: Server) -> Iterator[None]:
    """Fail if a process of the server holds more after the block than before it, or is another one."""
    before = holdings_of(server)
    yield
    end = time.monotonic() + SETTLE_S
    while leaks := _leaks(before, holdings_of(server)):
        if time.monotonic() > end:
            pytest.fail("the server leaks: " + "; ".join(leaks))
        time.sleep(_POLL_S)


def _leaks(before: dict[str, tuple[int, Holdings]], after: dict[str, tuple[int, Holdings]]) -> list[str]:
    if before.keys() != after.keys():
        return [f"{sorted(before)} became {sorted(after)}"]
    found = []
    for role, (pid, old) in before.items():
        new_pid, new = after[role]
        if new_pid != pid:
            found.append(f"{role} was process {pid} and is {new_pid}")
        if more := new.descriptors - old.descriptors:
            found.append(f"{role} holds more descriptors: {dict(more)}")
        if new.segments > old.segments:
            found.append(f"{role} maps the segment {new.segments} times instead of {old.segments}")
    return found


@contextmanager
def leaving_nothing(workers: int = 1, **directives: object) -> Iterator[Server]:
    """A server that runs within the block; fail if it leaves anything behind."""
    server = Server(workers, **directives)  # type: ignore[arg-type]
    with server:
        segments = segments_of(server.pid)
        yield server
        server.stop()
        assert_nothing_left(server)
    assert not segments & segments_of(os.getpid()), "the test's own process maps the server's segment"


def assert_nothing_left(server: Server) -> None:
    """After a stop, or when all processes were killed and have been waited for."""
    left = server.family()
    assert not left, f"processes {left} of the server are left"
    if server.runtime_dir.exists():
        files = sorted(path.name for path in server.runtime_dir.iterdir() if path.name != "lock")
        assert not files, f"the runtime folder still holds {files}"
