"""The log: Redis' line format or JSON, levels, file, journal and system logger, written by every process for itself.

``1234:F 22 Nov 2026 18:38:01.123 * Ready to accept connections`` – process id, role (S supervisor, F frontend, W0 …
worker), time, a sign for the level (``.`` debug, ``-`` verbose, ``*`` notice, ``#`` warning), text. With `log-format
json` the same as one object a line, for collectors. All processes append to one file, each line with one write, so
lines do not mix; `reopen` follows a rotation.

What clients sent may be part of a message. It never ends a line and never reaches a terminal raw: whatever is no
printable character is written as an escape, so nobody can forge a line or a colour.

A full disk or a reader that is gone must not stop a server: what cannot be written is dropped, counted, and the count
is the next line that can be written.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import syslog
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mpkv.config import Config

VERBOSE: Final = 15

LEVELS: Final = {
    "debug": logging.DEBUG,
    "verbose": VERBOSE,
    "notice": logging.INFO,
    "warning": logging.WARNING,
    "nothing": logging.CRITICAL + 1,
}

#: From the top: the least level of a row, Redis' sign and name for it, its priority in the system's log and journal.
_ROWS: Final = (
    (logging.CRITICAL, "#", "warning", syslog.LOG_CRIT),
    (logging.ERROR, "#", "warning", syslog.LOG_ERR),
    (logging.WARNING, "#", "warning", syslog.LOG_WARNING),
    (logging.INFO, "*", "notice", syslog.LOG_NOTICE),
    (VERBOSE, "-", "verbose", syslog.LOG_INFO),
    (logging.NOTSET, ".", "debug", syslog.LOG_DEBUG),
)

_ROLES: Final = {"S": "supervisor", "F": "frontend", "W": "worker"}

STANDARD_OUTPUT: Final = 1
STANDARD_ERROR: Final = 2


def _escapes() -> dict[int, str]:
    """Everything that could end a line, move a cursor or is no character at all."""
    table = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
    table |= {code: f"\\u{code:04x}" for code in (0x2028, 0x2029, *range(0xD800, 0xE000))}
    table |= {0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)}  # a byte that was no UTF-8
    # What turns the direction of writing around makes a line say something else than it holds
    table |= {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
    return table | {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}


_ESCAPES: Final = _escapes()
_SURROGATES: Final = {code: text for code, text in _ESCAPES.items() if 0xD800 <= code < 0xE000}


def printable(text: str) -> str:
    """One line that a terminal may see."""
    return text.translate(_ESCAPES)


def _row(record: logging.LogRecord) -> tuple[str, str, int]:
    """Sign, name and priority of a record's level."""
    return next((sign, name, priority) for least, sign, name, priority in _ROWS if record.levelno >= least)


class _LineFormatter(logging.Formatter):
    """Redis' lines. A traceback follows as lines of the same form."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        sign, _, _ = _row(record)
        moment = time.strftime("%d %b %Y %H:%M:%S", time.localtime(record.created))
        pid, role = getattr(record, "pid", os.getpid()), getattr(record, "role", self._role)
        head = f"{pid}:{role} {moment}.{int(record.msecs):03d} {sign} "
        return "\n".join(head + printable(line) for line in (record.getMessage(), *_traceback_lines(record)))


class _JsonFormatter(logging.Formatter):
    """One object: time (RFC 3339), level, role, pid, shard (of a worker), message, logger; then the record's own
    fields, and error and traceback if there is an exception."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        _, level, _ = _row(record)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        role = getattr(record, "role", self._role)
        entry: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z", "level": level, "role": _ROLES.get(role[:1], role),
            "pid": getattr(record, "pid", os.getpid()),
        }  # fmt: skip
        if role[1:]:
            entry["shard"] = int(role[1:])
        entry |= {"message": record.getMessage(), "logger": record.name}
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        entry |= {name: value for name, value in fields.items() if name not in entry}
        if record.exc_info and record.exc_info[0] is not None:
            entry["error"] = record.exc_info[0].__name__
            entry["traceback"] = "\n".join(_traceback_lines(record))
        return json.dumps(_encodable(entry), separators=(",", ":"), default=str)


def _encodable(value: Any) -> Any:
    """JSON has no lone surrogates: a byte that was no UTF-8 stands there as its escape."""
    if isinstance(value, str):
        return value.translate(_SURROGATES)
    if isinstance(value, dict):
        return {_encodable(name): _encodable(content) for name, content in value.items()}
    return value


def _traceback_lines(record: logging.LogRecord) -> Iterator[str]:
    """A frame's lines are ours; the exception's own text may hold anything and is one line."""
    if not record.exc_info or record.exc_info[1] is None:
        return
    for chunk in traceback.TracebackException.from_exception(record.exc_info[1]).format():
        text = chunk.rstrip("\n")
        yield from text.split("\n") if chunk.startswith("  File ") else [text]


class _Descriptor(logging.Handler):
    """Writes lines to a descriptor, one write each.

    :param path: a file to append to; without it the descriptor is used as it is
    :param journal: begin lines with their priority, as systemd's journal reads them
    """

    def __init__(self, path: str = "", descriptor: int = STANDARD_OUTPUT, *, journal: bool = False) -> None:
        super().__init__()
        self._path = path
        self._descriptor = _open(path) if path else descriptor
        self._journal = journal
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        prefix = f"<{_row(record)[2]}>" if self._journal else ""
        if self._dropped:
            note = logging.makeLogRecord({
                "levelno": logging.WARNING, "name": __name__, "msg": "%d messages of this log could not be written",
                "args": (self._dropped,), "created": record.created, "msecs": record.msecs,
            })  # fmt: skip
            if not self._write(self.format(note), prefix):
                self._dropped += 1
                return
            self._dropped = 0
        if not self._write(self.format(record), prefix):
            self._dropped += 1

    def _write(self, text: str, prefix: str) -> bool:
        lines = "".join(f"{prefix}{line}\n" for line in text.split("\n"))
        data = lines.encode("utf-8", "backslashreplace")
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            return False
        return True

    def reopen(self) -> None:
        """Go on in a file of the same name; in the old one if that cannot be had. The descriptor's number stays."""
        if not self._path:
            return
        try:
            new = _open(self._path)
        except OSError as error:
            logging.getLogger(__name__).warning("logfile %s cannot be opened anew: %s", self._path, error.strerror)
            return
        os.dup2(new, self._descriptor, inheritable=False)
        os.close(new)

    def close(self) -> None:
        if self._path and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        super().close()


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)


class _SystemLog(logging.Handler):
    """Sends a copy to the system's logger."""

    def __init__(self, ident: str, facility: str) -> None:
        super().__init__()
        syslog.openlog(ident, syslog.LOG_PID | syslog.LOG_NDELAY, getattr(syslog, f"LOG_{facility.upper()}"))

    def emit(self, record: logging.LogRecord) -> None:
        priority = _row(record)[2]
        for line in (record.getMessage(), *_traceback_lines(record)):
            syslog.syslog(priority, printable(line))


def journal_descriptor(environ: Mapping[str, str]) -> int | None:
    """Standard error or standard output, if systemd's journal reads it: JOURNAL_STREAM names its device and inode."""
    for descriptor in (STANDARD_ERROR, STANDARD_OUTPUT):
        try:
            status = os.fstat(descriptor)
        except OSError:
            continue
        if environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":
            return descriptor
    return None


_handlers: list[logging.Handler] = []


def set_up(role: str, config: Config) -> None:
    """Send this process's log to `logfile` (empty: the journal if it listens, else standard output), and to the
    system's logger if so configured.

    Raises OSError if the file cannot be written.
    """
    root = logging.getLogger()
    handlers: list[logging.Handler] = [_destination(config)]
    handlers[0].setFormatter(_JsonFormatter(role) if config.log_format == "json" else _LineFormatter(role))
    if config.syslog_enabled:
        handlers.append(_SystemLog(config.syslog_ident, config.syslog_facility))
    for old in _handlers:
        root.removeHandler(old)
        old.close()
    _handlers[:] = handlers
    for handler in handlers:
        root.addHandler(handler)
    set_level(config.loglevel)


def _destination(config: Config) -> _Descriptor:
    if config.logfile:
        return _Descriptor(config.logfile)
    journal = journal_descriptor(os.environ)
    if journal is not None:
        return _Descriptor(descriptor=journal, journal=True)
    sys.stdout.flush()
    return _Descriptor()


def set_level(level: str) -> None:
    logging.getLogger().setLevel(LEVELS[level])


def reopen() -> None:
    """The file was rotated: go on in a new one of the same name."""
    for handler in _handlers:
        if isinstance(handler, _Descriptor):
            handler.reopen()
