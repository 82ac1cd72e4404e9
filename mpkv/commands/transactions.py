"""MULTI, EXEC, DISCARD, WATCH, UNWATCH: state of the connection; what they mean says `mpkv.frontend.transactions`."""

from __future__ import annotations

from typing import Any

from mpkv.commands.spec import ALL_KEYS, ALLOW_BUSY, FAST, LOADING, NOSCRIPT, SKIP_SLOWLOG, STALE, command
from mpkv.errors import CommandError
from mpkv.resp.replies import OK

_ANYTIME = NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY


@command("MULTI", arity=1, flags=_ANYTIME, since="1.2.0")
def multi(conn: Any) -> Any:
    """MULTI -- Starts a transaction."""
    if conn.transaction is not None:
        raise CommandError("ERR MULTI calls can not be nested")
    conn.server.begin_transaction(conn)
    return OK


@command(
    "EXEC",
    arity=1,
    flags=NOSCRIPT | LOADING | STALE | SKIP_SLOWLOG,
    since="1.2.0",
    complexity="Depends on commands in the transaction",
)
def exec_(conn: Any) -> Any:
    """EXEC -- Executes all commands in a transaction."""
    if conn.transaction is None:
        raise CommandError("ERR EXEC without MULTI")
    return conn.server.execute_transaction(conn)


@command("DISCARD", arity=1, flags=_ANYTIME, since="2.0.0", complexity="O(N), when N is the number of queued commands")
def discard(conn: Any) -> Any:
    """DISCARD -- Discards a transaction."""
    if conn.transaction is None:
        raise CommandError("ERR DISCARD without MULTI")
    conn.server.discard_transaction(conn)
    return OK


@command("WATCH", arity=-2, keys=ALL_KEYS, flags=_ANYTIME, since="2.2.0", complexity="O(1) for every key.")
def watch(conn: Any, *keys: bytes) -> Any:
    """WATCH key [key ...] -- Monitors changes to keys to determine the execution of a transaction."""
    if conn.transaction is not None:
        raise CommandError("ERR WATCH inside MULTI is not allowed")
    return conn.server.watch(conn, keys)


@command("UNWATCH", arity=1, flags=_ANYTIME, since="2.2.0")
def unwatch(conn: Any) -> Any:
    """UNWATCH -- Forgets about watched keys of a transaction."""
    conn.server.unwatch(conn)
    return OK
