"""SAVE, BGSAVE, LASTSAVE, SHUTDOWN."""

from __future__ import annotations

from typing import Any

from mpkv import errors
from mpkv.commands.args import Arguments
from mpkv.commands.spec import (
    ADMIN,
    ALLOW_BUSY,
    DANGEROUS,
    FAST,
    LOADING,
    NO_ASYNC_LOADING,
    NO_MULTI,
    NOSCRIPT,
    SETTLED,
    STALE,
    command,
)  # fmt: skip
from mpkv.errors import CommandError
from mpkv.resp.replies import OK, Status


@command(
    "SAVE",
    arity=1,
    flags=ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI | SETTLED,
    complexity="O(N) where N is the total number of keys in all databases",
)
async def save(conn: Any) -> Any:
    """SAVE -- Synchronously saves the database(s) to disk."""
    if not await conn.server.save():
        raise CommandError("ERR the snapshot failed: the server's log says why")
    return OK


@command("BGSAVE", arity=-1, flags=ADMIN | NOSCRIPT | NO_ASYNC_LOADING | SETTLED)
def bgsave(conn: Any, *options: bytes) -> Any:
    """BGSAVE [SCHEDULE] -- Asynchronously saves the database(s) to disk."""
    args = Arguments(options)
    schedule = args.take(b"schedule")
    args.end()
    saver = conn.server.saver
    if saver.running and schedule:
        saver.scheduled = True
        return Status(b"Background saving scheduled")
    saver.start()
    return Status(b"Background saving started")


@command("LASTSAVE", arity=1, flags=LOADING | STALE | FAST | DANGEROUS)
def lastsave(conn: Any) -> int:
    """LASTSAVE -- Returns the Unix timestamp of the last successful save to disk."""
    return int(conn.server.saver.last_save_s)


@command(
    "SHUTDOWN",
    arity=-1,
    flags=ADMIN | NOSCRIPT | LOADING | STALE | NO_MULTI | ALLOW_BUSY | SETTLED,
    complexity="O(N) when saving, where N is the total number of keys in all databases when saving data, "
    "otherwise O(1)",
)
def shutdown(conn: Any, *options: bytes) -> Any:
    """SHUTDOWN [save-selector: NOSAVE | SAVE] [NOW] [FORCE] [ABORT] -- Synchronously saves the database(s) to disk
    and shuts down the server."""
    words = {option.lower() for option in options}
    if words - {b"save", b"nosave", b"now", b"force", b"abort"} or {b"save", b"nosave"} <= words:
        raise errors.SYNTAX
    if b"abort" in words:
        if len(words) > 1:
            raise errors.SYNTAX
        raise CommandError("ERR No shutdown in progress.")
    save = True if b"save" in words else False if b"nosave" in words else None
    return conn.server.shut_down(conn, save=save, force=b"force" in words)
