"""What a client is to the server: logged in, in a transaction, subscribed, silenced, gone."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from mpkv import errors, logs
from mpkv.errors import CommandError
from mpkv.frontend import transactions
from mpkv.frontend.connection import Connection
from mpkv.resp.replies import NO_REPLY, OK, Status

if TYPE_CHECKING:
    from mpkv.frontend.main import Frontend

logger = logging.getLogger(__name__)

#: `Connection.reply_mode` after CLIENT REPLY SKIP.
SKIP_NEXT: Final = 3


class Sessions:
    """Changes the state that a connection keeps between commands."""

    def __init__(self, server: Frontend) -> None:
        self._server = server
        self._config = server.config
        self._block = server.block
        self._pubsub = server.pubsub

    def closed(self, conn: Connection) -> None:
        """A connection is gone: so are its waits, watches and subscriptions."""
        self._server.clients.pop(conn.id, None)
        self._server.limits.backed_up.discard(conn)
        if conn.blocked_on is not None:
            self._server.waiting.unblock(conn, b"gone")
        if conn.watched is not None:
            transactions.forget_watched(conn)
        if conn.subscriptions is not None:
            self._pubsub.drop(conn)
        conn.transaction = None

    def is_local(self, conn: Connection) -> bool:
        """From the loopback interface or a unix socket."""
        host = conn.peer.rpartition(":")[0]
        return host.startswith("127.") or host in ("[::1]", self._config.unixsocket)

    def update_plain(self, conn: Connection) -> None:
        """Whether a connection's commands may take the short way."""
        conn.plain = (
            conn.authenticated and conn.transaction is None and (conn.subscriptions is None or conn.protocol == 3)
        )

    def admit_all(self) -> None:
        """There is no password any more: nobody has to give it."""
        for conn in self._server.clients.values():
            if not conn.authenticated:
                conn.authenticated = True
                self.update_plain(conn)

    def protocol_error(self, conn: Connection, text: str) -> None:
        """Answer and close; nothing after the bad byte is executed."""
        logger.log(logs.VERBOSE, "Protocol error (%s) from client: %s", text, describe(conn))
        error = CommandError(f"ERR Protocol error: {text}")
        self._block.count_error(error.prefix)
        conn.reply(error)
        conn.close_after_replies()

    def outcome_unknown(self, conn: Connection) -> None:
        """A worker died with a command of this client: nobody knows whether it was executed, so its connection ends."""
        logger.warning("Closing client whose command's outcome is unknown: %s", describe(conn))
        conn.kill()

    def knows(self, user: bytes, password: bytes) -> bool:
        """Whether this user may log in with this password."""
        expected = self._config.requirepass.encode("utf-8", "surrogateescape")
        same = hmac.compare_digest(hashlib.sha256(password).digest(), hashlib.sha256(expected).digest())
        return user == b"default" and (not expected or same)

    def authenticate(self, conn: Connection, user: bytes, password: bytes) -> None:
        """Log a connection in; raises WRONGPASS."""
        if not self.knows(user, password):
            self._block.count("acl_access_denied_auth")
            raise CommandError("WRONGPASS invalid username-password pair or user is disabled.")
        conn.authenticated = True
        conn.user = user
        self.update_plain(conn)

    def reset(self, conn: Connection) -> Any:
        """RESET: the connection is as new."""
        conn.transaction = None
        transactions.forget_watched(conn)
        if conn.subscriptions is not None:
            self._pubsub.drop(conn)
        conn.database = 0
        conn.protocol = 2
        conn.name = None
        conn.reply_mode = 0
        conn.no_evict = conn.no_touch = False
        conn.authenticated = not self._config.requirepass
        self.update_plain(conn)
        return Status(b"RESET")

    def quit(self, conn: Connection) -> Any:
        return self.kill(conn, conn, OK)

    def kill(self, conn: Connection, victim: Connection, reply: Any) -> Any:
        """End a connection; one's own after its reply."""
        if victim is not conn:
            victim.kill()
            return reply
        if self._server.in_transaction is not None:
            self._server.in_transaction.end_after_this()
            return reply
        conn.reply(reply)
        conn.close_after_replies()
        return NO_REPLY

    def set_reply_mode(self, conn: Connection, mode: bytes) -> Any:
        if mode not in (b"on", b"off", b"skip"):
            raise errors.SYNTAX
        if mode == b"on":
            conn.reply_mode = 0
            return OK
        if mode == b"off":
            conn.reply_mode = 1
        elif conn.reply_mode == 0:
            conn.reply_mode = SKIP_NEXT
        return NO_REPLY

    def no_reply_came(self, conn: Connection) -> None:
        """A command has sent messages and no reply: after CLIENT REPLY SKIP it was the one to be silent."""
        if conn.reply_mode == SKIP_NEXT:
            conn.reply_mode = 0

    def subscriptions_changed(self, conn: Connection) -> None:
        """After SUBSCRIBE and its like."""
        if conn.subscriptions is not None and conn.subscriptions.empty:
            conn.subscriptions = None
        self.update_plain(conn)

    def begin_transaction(self, conn: Connection) -> None:
        conn.transaction = transactions.Transaction()
        self.update_plain(conn)

    def execute_transaction(self, conn: Connection) -> Any:
        transactions.execute(conn)
        return NO_REPLY

    def discard_transaction(self, conn: Connection) -> None:
        transactions.end(conn)
        transactions.forget_watched(conn)

    def watch(self, conn: Connection, keys: Sequence[bytes]) -> Any:
        transactions.watch(conn, keys)
        return NO_REPLY

    def unwatch(self, conn: Connection) -> None:
        transactions.forget_watched(conn)


def describe(conn: Connection) -> str:
    """A client in the log."""
    return f"id={conn.id} addr={conn.peer} name={(conn.name or b'').decode('latin-1')}"
