"""Step 4: may it run? A column of checks in Redis' order; each asks flags and states, never the names of commands.

A check returns the refusal or None. The first refusal is the reply; inside MULTI it also dooms the transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from mpkv.commands.spec import Command, Flag
from mpkv.errors import CommandError

NOAUTH: Final = CommandError("NOAUTH Authentication required.")
MISCONF: Final = CommandError(
    "MISCONF mpkv is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may "
    "modify the data set are disabled, because this instance is configured to report errors during writes if RDB "
    "snapshotting fails (stop-writes-on-bgsave-error option). Please check the logs for details about the RDB error."
)
OOM: Final = CommandError("OOM command not allowed when used memory > 'maxmemory'.")
NOT_IN_MULTI: Final = CommandError("ERR Command not allowed inside a transaction")
DEBUG_REFUSED: Final = CommandError(
    'ERR DEBUG command not allowed. If the enable-debug-command option is set to "local", you can run it from a local '
    "connection, otherwise you need to set this option in the configuration file, and then restart the server."
)

Check = Callable[[Any, Command, Sequence[bytes]], CommandError | None]


def protected(conn: Any, spec: Command, words: Sequence[bytes]) -> CommandError | None:
    """DEBUG is off unless it was allowed."""
    if spec.flags & Flag.PROTECTED:
        allowed = conn.server.config.enable_debug_command
        if allowed == "no" or (allowed == "local" and not conn.server.is_local(conn)):
            return DEBUG_REFUSED
    return None


def authenticated(conn: Any, spec: Command, words: Sequence[bytes]) -> CommandError | None:
    return None if conn.authenticated or spec.flags & Flag.NO_AUTH else NOAUTH


def allowed_in_transaction(conn: Any, spec: Command, words: Sequence[bytes]) -> CommandError | None:
    return NOT_IN_MULTI if conn.transaction is not None and spec.flags & Flag.NO_MULTI else None


def flags_in_effect(conn: Any, spec: Command) -> Flag:
    """EXEC does what the commands do that are queued."""
    is_exec = spec.name == "exec" and conn.transaction is not None
    return spec.flags | conn.transaction.flags if is_exec else spec.flags


def has_memory(conn: Any, spec: Command, words: Sequence[bytes]) -> CommandError | None:
    """No writes that need memory while there is none, neither here nor by evicting."""
    if not conn.server.router.memory.is_full or not flags_in_effect(conn, spec) & Flag.DENYOOM:
        return None
    # What an answered DEL has freed may have come to be known since
    return OOM if conn.server.router.is_still_full() else None


def can_persist(conn: Any, spec: Command, words: Sequence[bytes]) -> CommandError | None:
    """No writes while snapshots fail, if so configured."""
    refuses = conn.server.saver.refuses_writes and flags_in_effect(conn, spec) & Flag.WRITE
    return MISCONF if refuses else None


def fits_subscription(conn: Any, spec: Command, words: Sequence[bytes]) -> CommandError | None:
    """A RESP2 client that is subscribed can only change its subscriptions, ping and leave."""
    if (
        conn.subscriptions is None
        or conn.protocol == 3
        or spec.flags & Flag.PUBSUB
        or spec.flags & Flag.WHILE_SUBSCRIBED
    ):
        return None
    return CommandError(
        f"ERR Can't execute '{spec.name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in "
        "this context"
    )


CHECKS: Final[tuple[Check, ...]] = (
    protected, authenticated, allowed_in_transaction, has_memory, can_persist, fits_subscription,
)  # fmt: skip


def admit(conn: Any, spec: Command, words: Sequence[bytes]) -> CommandError | None:
    """The first refusal, or None."""
    for check in CHECKS:
        refusal = check(conn, spec, words)
        if refusal is not None:
            return refusal
    return None
