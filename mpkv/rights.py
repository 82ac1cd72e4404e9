"""Whether this user may do at its folders and files what the server will do there; asked once, before anything starts.

A server that finds out when it saves has lost something. And the user of a service is seldom the one who wrote the
configuration, so what is said names all that is needed to put it right: which directive, which path, which right, for
whom, whose it is.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from mpkv.config import Config

#: sysexits.h, EX_NOPERM: the exit status of a server that lacks a right. A restart would not help.
EXIT_STATUS: Final = 77

_VERBS: Final = ((os.R_OK, "read"), (os.W_OK, "write"), (os.X_OK, "enter"))


class Need(NamedTuple):
    """`what` the configuration calls it, and the rights wanted there, as os.access takes them."""

    what: str
    path: Path
    rights: int


def first_missing(config: Config) -> str | None:
    """The first right that is missing, as one line; None: all are there."""
    return next((line for need in _needs(config) if (line := explain(*need)) is not None), None)


def _needs(config: Config) -> Iterator[Need]:
    writes = bool(config.save or config.appendonly)
    folder = Path(config.dir)
    yield Need("dir", folder, os.R_OK | os.X_OK | (os.W_OK if writes else 0))
    snapshot = folder / config.dbfilename
    if os.path.exists(snapshot):
        yield Need("dbfilename", snapshot, os.R_OK)
    if config.logfile:
        yield _file_to_write("logfile", Path(config.logfile))
    if config.runtime_dir:
        runtime = Path(config.runtime_dir)
        change = os.W_OK | os.X_OK
        yield Need(
            "runtime-dir", *((runtime, os.R_OK | change) if os.path.exists(runtime) else (runtime.parent, change))
        )


def _file_to_write(what: str, path: Path) -> Need:
    return Need(what, path, os.W_OK) if os.path.exists(path) else Need(what, path.parent, os.W_OK | os.X_OK)


def explain(what: str, path: Path, rights: int) -> str | None:
    """Why these rights are not there, as one line; None if they are, or if there is no such path at all."""
    for folder in reversed(path.absolute().parents):
        if folder.exists() and not os.access(folder, os.X_OK):
            return _line(what, folder, "enter")
    if not path.exists() or os.access(path, rights):
        return None
    verbs = [verb for right, verb in _VERBS if rights & right and not os.access(path, right)]
    return _line(what, path, " and ".join(verbs))


def _line(what: str, path: Path, verbs: str) -> str:
    status = path.stat()
    if "write" in verbs and os.statvfs(path).f_flag & os.ST_RDONLY:
        why = "the file system is read-only here (in a systemd unit: ReadWritePaths=)"
    else:
        owner = f"{_user(status.st_uid)}:{_group(status.st_gid)}"
        why = f"it belongs to {owner}, mode {stat.S_IMODE(status.st_mode):04o}"
    return f"{what}: user {_user(os.geteuid())} has no right to {verbs} {path}: {why}"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
