"""What of the machine's settings would hurt this server: looked at before it starts, said once, as Redis does.

Each check is a function of its own that reads the kernel's files below `root` and returns a sentence, or None if all is
well. A sentence says what is wrong, what it leads to, and the command that mends it. ``ignore-warnings`` names checks
that are to be kept quiet; ``mpkv-server --check-system`` runs all of them.
"""

from __future__ import annotations

import contextlib
import logging
import platform
import re
import resource
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from mpkv.config import Config

logger = logging.getLogger(__name__)

_ROOT: Final = Path("/")
#: Descriptors beside those of the clients: of the event loop, the links, the listeners, a snapshot's files.
OWN_DESCRIPTORS: Final = 32
#: Steps in which maxclients is lowered until the kernel agrees.
_DESCRIPTOR_STEP: Final = 16
#: Since this version of the kernel, or an older one with the fix, an ARM64 page that was written to stays so on fork.
_FIXED_ARM64_KERNEL: Final = (5, 12)


class TooFewDescriptors(Exception):
    """The limit of open files leaves no room for even one client."""


def check_overcommit(config: Config, root: Path = _ROOT) -> str | None:
    """With vm.overcommit_memory other than 1 the kernel may refuse a fork, as if a snapshot needed all memory twice."""
    mode = _read(root / "proc/sys/vm/overcommit_memory").strip()
    if mode in ("", "1"):
        return None
    return (
        f"Memory overcommit must be enabled! vm.overcommit_memory is {mode}: a background save may be refused the "
        "memory for its fork though it needs next to none. Run 'sysctl vm.overcommit_memory=1', and put "
        "'vm.overcommit_memory = 1' into /etc/sysctl.conf to keep it"
    )


def check_huge_pages(config: Config, root: Path = _ROOT) -> str | None:
    """With transparent huge pages every small write during a snapshot copies 2 MB; with disable-thp the workers have
    themselves excepted."""
    if config.disable_thp or "[always]" not in _read(root / "sys/kernel/mm/transparent_hugepage/enabled"):
        return None
    return (
        "You have Transparent Huge Pages (THP) support enabled in your kernel, and disable-thp is no: snapshots cost "
        "latency and memory. Set 'disable-thp yes', or run "
        "'echo madvise > /sys/kernel/mm/transparent_hugepage/enabled' as root at every boot"
    )


def check_backlog(config: Config, root: Path = _ROOT) -> str | None:
    """The kernel cuts tcp-backlog to net.core.somaxconn without a word."""
    text = _read(root / "proc/sys/net/core/somaxconn").strip()
    if not text.isdigit() or int(text) >= config.tcp_backlog or not config.port:
        return None
    return (
        f"The TCP backlog setting of {config.tcp_backlog} cannot be enforced because "
        f"/proc/sys/net/core/somaxconn is set to the lower value of {text}. "
        f"Run 'sysctl net.core.somaxconn={config.tcp_backlog}', or lower tcp-backlog"
    )


def check_open_files(config: Config, root: Path = _ROOT) -> str | None:
    """Whether the limit of open files can be raised to what maxclients needs. Changes nothing."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = config.maxclients + OWN_DESCRIPTORS
    if hard == resource.RLIM_INFINITY or hard >= needed:
        return None
    return (
        f"maxclients {config.maxclients} needs {needed} open files and the limit is {hard}: maxclients would be "
        f"lowered to {hard - OWN_DESCRIPTORS}. Raise it with 'ulimit -n {needed}' before the start, or with "
        f"LimitNOFILE={needed} in the unit"
    )


def check_arm64_copy_on_write(config: Config, root: Path = _ROOT) -> str | None:
    """Kernels before 5.12 could lose writes to pages shared by a fork on ARM64; distributors have mended older ones."""
    if platform.machine() != "aarch64":
        return None
    release = _read(root / "proc/sys/kernel/osrelease").strip()
    version = re.match(r"(\d+)\.(\d+)", release)
    if version is None or (int(version[1]), int(version[2])) >= _FIXED_ARM64_KERNEL:
        return None
    return (
        f"Kernels for ARM64 before 5.12 may corrupt data during a background save, and this is {release}. If your "
        "distributor has mended it, set 'ignore-warnings ARM64-COW-BUG'"
    )


#: By the name that `ignore-warnings` and `--check-system` use.
CHECKS: Final[dict[str, Callable[[Config, Path], str | None]]] = {
    "overcommit": check_overcommit,
    "huge-pages": check_huge_pages,
    "backlog": check_backlog,
    "open-files": check_open_files,
    "ARM64-COW-BUG": check_arm64_copy_on_write,
}


def run_checks(config: Config, root: Path = _ROOT) -> Iterator[tuple[str, str | None]]:
    """Name and sentence of every check that is not ignored."""
    ignored = {name.lower() for name in config.ignore_warnings.split()}
    for name, check in CHECKS.items():
        if name.lower() not in ignored:
            yield name, check(config, root)


def warn(config: Config, descriptors: Iterable[tuple[int, str]] = (), root: Path = _ROOT) -> None:
    """Log what was found, and of the open files, where something is done about it, what `provide_descriptors` says."""
    for level, text in descriptors:
        logger.log(level, "%s", text)
    for name, sentence in run_checks(config, root):
        if sentence is not None and name != "open-files":
            logger.warning("WARNING %s", sentence)


def provide_descriptors(config: Config) -> list[tuple[int, str]]:
    """Raise the limit of open files to what maxclients needs, for this process and those it will start; where the
    kernel does not allow that, lower maxclients. What the log should say of it, with levels.

    :raises TooFewDescriptors: not one client would fit
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = config.maxclients + OWN_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return []
    granted, reason = _raise_limit(soft, hard, wanted)
    if granted >= wanted:
        text = f"Increased maximum number of open files to {granted} (it was originally set to {soft})."
        return [(logging.INFO, text)]
    if granted <= OWN_DESCRIPTORS:
        raise TooFewDescriptors(
            f"the limit of open files ('ulimit -n') is {granted}, and the server needs more than {OWN_DESCRIPTORS}"
        )
    asked, lowered = config.maxclients, granted - OWN_DESCRIPTORS
    config.set([("maxclients", str(lowered))], local=True)
    if "open-files" in config.ignore_warnings.lower().split():
        return []
    texts = (
        f"You requested maxclients of {asked} requiring at least {wanted} max file descriptors.",
        f"Server can't set maximum open files to {wanted} because of OS error: {reason}.",
        f"Current maximum open files is {granted}. maxclients has been reduced to {lowered} to compensate for low "
        "ulimit. If you need higher maxclients increase 'ulimit -n'.",
    )
    return [(logging.WARNING, text) for text in texts]


def _raise_limit(soft: int, hard: int, wanted: int) -> tuple[int, str]:
    """The limit that could be had, at most `wanted`, and why it was no more."""
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
        return wanted, ""
    except (OSError, ValueError) as error:
        reason = str(error)
    for limit in range(wanted - _DESCRIPTOR_STEP, soft, -_DESCRIPTOR_STEP):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            return limit, reason
    return soft, reason


def _read(path: Path) -> str:
    """Empty if it cannot be read: no warning without evidence."""
    try:
        return path.read_text()
    except OSError:
        return ""
