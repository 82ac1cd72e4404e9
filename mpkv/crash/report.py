"""What is known of a process that crashed: the file for its report, and what to say when it could leave none.

The supervisor makes the file before it starts the process and reads it when it has reaped it. It lies in memory, has
its full size from the start and cannot grow, so that writing into it neither waits nor fails for want of anything.
"""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from mpkv import REDIS_VERSION, __version__
from mpkv.config import Config
from mpkv.crash import handler
from mpkv.shm.board import Block
from mpkv.wire import CONTROLS

logger = logging.getLogger(__name__)

REPORT_BYTES: Final = 64 * 1024
#: The last frames of a traceback: a recursion without end is some thousand.
_MOST_FRAMES: Final = 60
_CONTROL_GROUPS: Final = Path("/sys/fs/cgroup")
_MEMBERSHIP: Final = Path("/proc/self/cgroup")


def create() -> int:
    """An empty file for one process's report; its descriptor, which a child may inherit."""
    fd = os.memfd_create("crash-report", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.posix_fallocate(fd, 0, REPORT_BYTES)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return fd


def take(fd: int) -> list[str]:
    """The report that a dead process left, line by line; empty if it left none. The file is empty again."""
    size = os.lseek(fd, 0, os.SEEK_CUR)  # the place where it wrote: the descriptors share it
    os.lseek(fd, 0, os.SEEK_SET)
    return os.pread(fd, min(size, REPORT_BYTES), 0).decode("utf-8", "backslashreplace").splitlines()


def log(report: Sequence[str], role: str, pid: int) -> None:
    """Write a report to this process's log, in the name of the one that died."""
    for line in report:
        logger.critical("%s", line, extra={"role": role, "pid": pid})


def facts(role: str, started: float) -> bytes:
    """Lines about this process that are known before anything happens."""
    libc = " ".join(platform.libc_ver())
    since = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(started))
    return (
        f"Process: {role}, pid {os.getpid()}, started {since}\n"
        f"Versions: mpkv {__version__} (Redis {REDIS_VERSION}), Python {platform.python_version()}, {libc}, "
        f"{platform.system()} {platform.release()} {platform.machine()}\n"
    ).encode()


def prepare(fd: int, block: Block, role: str, config: Config) -> None:
    """Have this process leave a report in `fd` if it crashes, by a signal or by an exception that nobody catches."""
    handler.prepare(fd, block, facts(role, time.time()))
    apply_settings(config)
    sys.excepthook = _report_exception
    threading.excepthook = _report_exception_of_thread


def apply_settings(config: Config) -> None:
    """Whether there are reports, and what may be in them."""
    handler.follow(enabled=config.crash_log_enabled, shows_words=not config.hide_user_data_from_log)


def _report_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    lines = traceback.format_exception(kind, error, trace, limit=-_MOST_FRAMES)
    if not handler.report_exception("".join(lines).encode("utf-8", "backslashreplace")):
        sys.__excepthook__(kind, error, trace)


def log_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """For a process that nobody watches over: straight to its log."""
    logger.critical("an exception that nobody caught", exc_info=(kind, error, trace))


def _report_exception_of_thread(arguments: threading.ExceptHookArgs) -> None:
    """The process lives on; what the thread had to do is not done."""
    if arguments.exc_value is not None:
        name = arguments.thread.name if arguments.thread is not None else "?"
        logger.critical("thread %s has ended", name, exc_info=arguments.exc_value)


# -- when it could leave none ------------------------------------------------------------------------------------------


def post_mortem(block: Block, names: Sequence[str], status: int, oom_kills: int) -> list[str]:
    """What the board says of a process that left no report: it was killed, or ended by itself.

    :param names: the commands' names by number
    :param status: its exit status, minus the signal that killed it
    :param oom_kills: processes that the kernel killed for want of memory since this one was started
    """
    executing = block.executing
    lines = [
        "=== CRASH REPORT BEGINS: written by the supervisor, the process could leave none ===",
        f"Ended by: {_cause(status, oom_kills)}",
        f"Executing: {f'{name_of(executing[1], names)}, number {executing[0]}' if executing else 'no command'}",
        f"Last number executed: {block.last_number}; last heartbeat {block.heartbeat_age_ms} ms before this was "
        f"written; incarnation {block.incarnation}; state {block.state.name.lower()}",
    ]
    return [*lines, "=== CRASH REPORT ENDS ==="]


def _cause(status: int, oom_kills: int) -> str:
    if status >= 0:
        return f"its own exit with status {status}"
    name = signal.Signals(-status).name
    if status != -signal.SIGKILL:
        return name
    if oom_kills > 0:
        return f"{name}, and the kernel has killed {oom_kills} for want of memory in this control group since it began"
    return f"{name}: by somebody, or perhaps by the kernel for want of memory (see the kernel's log)"


def name_of(command: int, names: Sequence[str]) -> str:
    """A command's name, or that of a message of the frontend's own, which stands on the board as a negative number."""
    if command < 0:
        return f"the frontend's message {CONTROLS.get(-command, -command)}"
    return names[command] if command < len(names) else f"no command: {command}"  # a process died of just that


def count_oom_kills(groups: Path = _CONTROL_GROUPS, membership: Path = _MEMBERSHIP) -> int:
    """Processes of this control group that the kernel has killed for want of memory; 0 if that cannot be read."""
    try:
        for line in membership.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                return _oom_kills_in(groups / path.lstrip("/") / "memory.events")
            if "memory" in controllers.split(","):
                return _oom_kills_in(groups / "memory" / path.lstrip("/") / "memory.oom_control")
    except (OSError, ValueError):
        return 0
    return 0


def _oom_kills_in(events: Path) -> int:
    for line in events.read_text().splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill":
            return int(count)
    return 0
