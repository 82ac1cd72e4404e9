"""SLOWLOG: the commands that took too long, and where their time went."""

from __future__ import annotations

from typing import Any, Final

from mpkv import errors
from mpkv.commands import help_texts
from mpkv.commands.args import integer
from mpkv.commands.spec import ADMIN, LOADING, SETTLED, STALE, command
from mpkv.errors import CommandError
from mpkv.resp.replies import OK, Status

#: What is asked sees what was sent before it, as in Redis.
_FLAGS: Final = ADMIN | LOADING | STALE | SETTLED
DEFAULT_COUNT: Final = 10
COUNT_INVALID: Final = CommandError("ERR count should be greater than or equal to -1")


def _entries(conn: Any, count: tuple[bytes, ...]) -> Any:
    """The newest entries, as many as were asked for."""
    if len(count) > 1:
        raise errors.MISUSED
    wanted = integer(count[0], COUNT_INVALID) if count else DEFAULT_COUNT
    if wanted < -1:
        raise COUNT_INVALID
    return conn.server.slow.log.first(wanted)


@command(
    "SLOWLOG GET", arity=-2, flags=_FLAGS, since="2.2.12",
    complexity="O(N) where N is the number of entries returned",
)  # fmt: skip
def slowlog_get(conn: Any, *count: bytes) -> list[Any]:
    """SLOWLOG GET [count] -- Returns entries of the slow log."""
    return [
        [entry.id, entry.time_s, entry.times.execute_us, list(entry.words), entry.address, entry.client_name]
        for entry in _entries(conn, count)
    ]


@command(
    "SLOWLOG DETAILS", arity=-2, flags=_FLAGS, since="7.2.0",
    complexity="O(N) where N is the number of entries returned",
)  # fmt: skip
def slowlog_details(conn: Any, *count: bytes) -> list[dict[bytes, Any]]:
    """SLOWLOG DETAILS [count] -- Returns entries of the slow log by name, with where each command's time went.

    A sub-command of our own: clients that read the entries of SLOWLOG GET element by element would lose their place
    over a seventh one.
    """
    return [
        {
            b"id": entry.id, b"time": entry.time_s, b"duration-us": entry.times.execute_us,
            b"command": list(entry.words), b"client-address": entry.address, b"client-name": entry.client_name,
            b"client-id": entry.client_id, b"database": entry.database,
            b"shard": b"frontend" if entry.shard is None else entry.shard, b"queue-us": entry.times.queue_us,
            b"execute-us": entry.times.execute_us, b"reply-us": entry.times.reply_us,
        }
        for entry in _entries(conn, count)
    ]  # fmt: skip


@command("SLOWLOG LEN", arity=2, flags=_FLAGS, since="2.2.12")
def slowlog_len(conn: Any) -> int:
    """SLOWLOG LEN -- Returns the number of entries in the slow log."""
    return len(conn.server.slow.log)


@command(
    "SLOWLOG RESET", arity=2, flags=_FLAGS, since="2.2.12",
    complexity="O(N) where N is the number of entries in the slowlog",
)  # fmt: skip
def slowlog_reset(conn: Any) -> Status:
    """SLOWLOG RESET -- Empties the slow log."""
    conn.server.slow.reset_log()
    return OK


@command("SLOWLOG HELP", arity=2, flags=LOADING | STALE, since="6.2.0")
def slowlog_help(conn: Any) -> list[Status]:
    """SLOWLOG HELP -- Returns helpful text about the different subcommands."""
    return help_texts.lines_of("slowlog")
