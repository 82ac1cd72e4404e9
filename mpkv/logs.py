"""The log: Redis' line format, levels and file, written by every process for itself.

``1234:F 22 Nov 2026 18:38:01.123 * Ready to accept connections`` – process id, role (S supervisor, F frontend, W0 …
worker, C child), time, a sign for the level (``.`` debug, ``-`` verbose, ``*`` notice, ``#`` warning), text. All
processes append to one file; `reopen` follows a rotation.
"""

from __future__ import annotations

import logging
import os
import sys
import syslog
import time
from typing import Final, TextIO

from mpkv.config import Config

VERBOSE: Final = 15
NOTICE: Final = 25

LEVELS: Final = {
    "debug": logging.DEBUG,
    "verbose": VERBOSE,
    "notice": logging.INFO,
    "warning": logging.WARNING,
    "nothing": logging.CRITICAL + 1,
}

_URGENCIES: Final = (
    (logging.WARNING, syslog.LOG_WARNING),
    (logging.INFO, syslog.LOG_NOTICE),
    (VERBOSE, syslog.LOG_INFO),
)


class _RedisFormatter(logging.Formatter):
    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        sign = (
            "#"
            if record.levelno >= logging.WARNING
            else "*"
            if record.levelno >= logging.INFO
            else "-"
            if record.levelno >= VERBOSE
            else "."
        )
        moment = time.strftime("%d %b %Y %H:%M:%S", time.localtime(record.created))
        text = f"{os.getpid()}:{self._role} {moment}.{int(record.msecs):03d} {sign} {record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


class _LogFile(logging.StreamHandler[TextIO]):
    """Appends to a file, or to standard output when the path is empty."""

    def __init__(self, path: str) -> None:
        self._path = path
        super().__init__(self._open())

    def _open(self) -> TextIO:
        if not self._path:
            return sys.stdout
        return open(self._path, "a", encoding="utf-8", errors="backslashreplace", buffering=1)

    def reopen(self) -> None:
        if self._path:
            old = self.setStream(self._open())
            if old is not None:
                old.close()


class _SystemLog(logging.Handler):
    """Sends a copy to the system's logger."""

    def __init__(self, ident: str, facility: str) -> None:
        super().__init__()
        syslog.openlog(ident, syslog.LOG_PID | syslog.LOG_NDELAY, getattr(syslog, f"LOG_{facility.upper()}"))

    def emit(self, record: logging.LogRecord) -> None:
        urgency = next((urgency for level, urgency in _URGENCIES if record.levelno >= level), syslog.LOG_DEBUG)
        syslog.syslog(urgency, record.getMessage())


_handler: _LogFile | None = None


def set_up(role: str, config: Config) -> None:
    """Send this process's log to `logfile` (empty: standard output), and to the system's logger if so configured.

    Raises OSError if the file cannot be written.
    """
    global _handler
    root = logging.getLogger()
    if _handler is not None:
        root.removeHandler(_handler)
    _handler = _LogFile(config.logfile)
    _handler.setFormatter(_RedisFormatter(role))
    root.addHandler(_handler)
    if config.syslog_enabled:
        root.addHandler(_SystemLog(config.syslog_ident, config.syslog_facility))
    set_level(config.loglevel)


def set_level(level: str) -> None:
    logging.getLogger().setLevel(LEVELS[level])


def reopen() -> None:
    """The file was rotated: go on in a new one of the same name."""
    if _handler is not None:
        _handler.reopen()
