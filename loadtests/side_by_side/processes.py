"""What processes cost: CPU time and memory as the kernel counts them, in /proc.

CPU time is the scheduler's own count in nanoseconds, summed over threads (ZeroMQ's work is done in threads of its own);
the count in `stat` has a resolution of 10 ms, too coarse for short runs. Memory is the proportional set size: pages
that processes share, such as the interpreter's, are divided among those that share them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import psutil  # type: ignore[import-untyped]

_PROC: Final = Path("/proc")


class MachineTicks(NamedTuple):
    """CPU time of the machine since it started, in the kernel's ticks: all, and what a hypervisor gave to others."""

    total: int
    stolen: int


def machine_ticks() -> MachineTicks:
    """How the CPUs have spent their time (proc(5), the first line of `stat`)."""
    ticks = [int(word) for word in (_PROC / "stat").read_text().partition("\n")[0].split()[1:9]]
    return MachineTicks(sum(ticks), ticks[7])


def cpu_ns(pid: int) -> int:
    """CPU time that a process has used, all its threads together, in nanoseconds."""
    total = 0
    for task in (_PROC / str(pid) / "task").iterdir():
        # a thread may end while it is looked at
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += int((task / "schedstat").read_text().split()[0])
    return total


def pss_bytes(pids: Iterable[int]) -> int:
    """Proportional set size of several processes together."""
    return sum(_pss_bytes(pid) for pid in pids)


def _pss_bytes(pid: int) -> int:
    return _memory_bytes(pid, "Pss:")


def private_dirty_bytes(pid: int) -> int:
    """Pages that a process alone has, and has written to; 0 once it has ended."""
    try:
        return _memory_bytes(pid, "Private_Dirty:")
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _memory_bytes(pid: int, name: str) -> int:
    for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/{pid}/smaps_rollup has no line {name}")


def children(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have started."""
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def parent(pid: int) -> int:
    """The process that started one; 0 once it has ended."""
    try:
        return psutil.Process(pid).ppid()
    except psutil.NoSuchProcess:
        return 0


def title(pid: int) -> str:
    """What `ps` shows of a process."""
    return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


def describe_machine() -> str:
    """Processor, cores and kernel, in a line."""
    lines = (_PROC / "cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    system = os.uname()
    model = models[0] if models else system.machine
    return f"{len(os.sched_getaffinity(0))} cores of {model}, {system.sysname} {system.release}"
