"""What concerns one connection: PING ECHO AUTH HELLO SELECT RESET QUIT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mpkv import REDIS_VERSION, errors
from mpkv.commands.args import Arguments, database_index
from mpkv.commands.client import check_name
from mpkv.commands.spec import (
    ALLOW_BUSY,
    FAST,
    LOADING,
    NO_AUTH,
    NOSCRIPT,
    SETTLED,
    STALE,
    WHILE_SUBSCRIBED,
    command,
)  # fmt: skip
from mpkv.errors import CommandError
from mpkv.resp.replies import OK, PONG

_ANYTIME = NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY


@command("PING", arity=-1, flags=FAST | WHILE_SUBSCRIBED)
def ping(conn: Any, *message: bytes) -> Any:
    """PING [message] -- Returns the server's liveliness response."""
    if len(message) > 1:
        raise errors.wrong_arity("ping")
    if conn.subscriptions is not None and conn.protocol == 2:
        return [b"pong", message[0] if message else b""]
    return message[0] if message else PONG


@command("ECHO", arity=2, flags=LOADING | STALE | FAST)
def echo(conn: Any, message: bytes) -> bytes:
    """ECHO message -- Returns the given string."""
    return message


@command("SELECT", arity=2, flags=LOADING | STALE | FAST)
def select(conn: Any, index: bytes) -> Any:
    """SELECT index -- Changes the selected database."""
    conn.database = database_index(index, conn.server.config.databases)
    return OK


@command(
    "AUTH",
    arity=-2,
    flags=_ANYTIME | NO_AUTH,
    complexity="O(N) where N is the number of passwords defined for the user",
    secrets=lambda words: range(1, len(words)),
)
def auth(conn: Any, *words: bytes) -> Any:
    """AUTH [username] password -- Authenticates the connection."""
    if len(words) > 2:
        raise errors.SYNTAX
    if len(words) == 1 and not conn.server.config.requirepass:
        raise CommandError(
            "ERR AUTH <password> called without any password configured for the default user. "
            "Are you sure your configuration is correct?"
        )
    conn.server.authenticate(conn, words[0] if len(words) == 2 else b"default", words[-1])
    return OK


def read_hello(words: Sequence[bytes], protocol: int) -> tuple[int, tuple[bytes, bytes] | None, bytes | None]:
    """What HELLO asks for: the protocol (else the present one), user and password, a name."""
    login = name = None
    args = Arguments(words)
    if args.left:
        protocol = args.integer(CommandError("ERR Protocol version is not an integer or out of range"))
        if protocol not in (2, 3):
            raise CommandError("NOPROTO unsupported protocol version")
    while args.left:
        if args.take(b"auth", needs=2):
            login = args.word(), args.word()
        elif args.take(b"setname", needs=1):
            name = args.word()
            check_name(name)
        else:
            raise CommandError(f"ERR Syntax error in HELLO option '{args.word().decode('latin-1')}'")
    return protocol, login, name


def _hello_secrets(words: Sequence[bytes]) -> Iterator[int]:
    """User and password behind each AUTH."""
    at = 2
    while at < len(words):
        if words[at].lower() == b"auth":
            yield from (place for place in (at + 1, at + 2) if place < len(words))
        at += {b"auth": 3, b"setname": 2}.get(words[at].lower(), 1)


@command("HELLO", arity=-1, flags=_ANYTIME | NO_AUTH | SETTLED, since="6.0.0", secrets=_hello_secrets)
def hello(conn: Any, *words: bytes) -> Any:
    """HELLO [arguments: protover [AUTH username password] [SETNAME clientname]] -- Handshakes with the server."""
    protocol, login, name = read_hello(words, conn.protocol)
    if login is not None:
        conn.server.authenticate(conn, *login)
    if not conn.authenticated:
        raise CommandError(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH "
            "<user> <pass> option can be used to authenticate the client and select the RESP protocol version at the "
            "same time"
        )
    if name is not None:
        conn.name = name or None
    conn.protocol = protocol
    conn.server.update_plain(conn)
    return {
        b"server": b"redis", b"version": REDIS_VERSION, b"proto": protocol, b"id": conn.id, b"mode": b"standalone",
        b"role": b"master", b"modules": [],
    }  # fmt: skip


@command("RESET", arity=1, flags=_ANYTIME | NO_AUTH | SETTLED | WHILE_SUBSCRIBED, since="6.2.0")
def reset(conn: Any) -> Any:
    """RESET -- Resets the connection."""
    return conn.server.reset(conn)


@command("QUIT", arity=-1, flags=_ANYTIME | NO_AUTH | WHILE_SUBSCRIBED)
def quit_(conn: Any, *ignored: bytes) -> Any:
    """QUIT -- Closes the connection."""
    return conn.server.quit(conn)
