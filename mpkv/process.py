"""What every child process does first: die with its parent, take a title, know its family.

A child is started by exec with passed descriptors, so it shares nothing with the supervisor but what it was handed. If
the supervisor dies the kernel sends the child SIGTERM, on which it stops in order.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from typing import Final

import setproctitle

from mpkv.config import Config

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_THP_DISABLE: Final = 41
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def follow_parent(parent: int) -> None:
    """Have the kernel send SIGTERM to this process when `parent` dies; exit if that has happened already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        raise SystemExit(1)


def is_alive(pid: int) -> bool:
    """Whether there is such a process; one that is dead and only waits for its parent's notice is not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def give_memory_back() -> None:
    """Have malloc map blocks of 1 MiB and more on their own, so that they go back to the system when they are freed.

    Left to itself glibc raises that size with every large block that is freed, and a few large values keep a heap of
    hundreds of megabytes.
    """
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_THRESHOLD, 1 << 20)
    libc.mallopt(_M_TRIM_THRESHOLD, 4 << 20)


def trim_heap() -> None:
    """Give what malloc keeps of freed memory to the system."""
    ctypes.CDLL(None).malloc_trim(0)


def run_in_batches() -> None:
    """Do not take the processor away from who wakes this process: wait for its next pause.

    A worker that is woken on the core of the frontend would else run at once, after the first few requests of a turn,
    and the frontend's next requests would find it asleep again: many small batches, and two process switches for each.
    Where cores are free nothing changes, as a process that is woken goes to one of these.
    """
    with contextlib.suppress(OSError):      # not allowed here: then it runs as any process does
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def disable_huge_pages() -> None:
    """A snapshot's copy-on-write would copy 2 MB for every small change."""
    ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)


def set_title(title: str, config: Config) -> None:
    """What `ps` shows: ``mpkv: worker 0``, unless set-proc-title is off."""
    if config.set_proc_title:
        setproctitle.setproctitle(f"mpkv: {title}")
