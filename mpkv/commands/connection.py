"""What concerns one connection: PING ECHO AUTH HELLO SELECT RESET QUIT and CLIENT."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mpkv import REDIS_VERSION, errors
from mpkv.commands import help_texts
from mpkv.commands.args import Arguments, database_index, integer
from mpkv.commands.spec import (
    ADMIN,
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
from mpkv.resp.replies import OK, PONG, SetReply, Verbatim

_ANYTIME = NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY
_CLIENT = NOSCRIPT | LOADING | STALE


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


@command("HELLO", arity=-1, flags=_ANYTIME | NO_AUTH | SETTLED, since="6.0.0")
def hello(conn: Any, *words: bytes) -> Any:
    """HELLO [protover [AUTH username password] [SETNAME clientname]] -- Handshakes with the server."""
    protocol = conn.protocol
    args = Arguments(words)
    if args.left:
        protocol = args.integer(CommandError("ERR Protocol version is not an integer or out of range"))
        if protocol not in (2, 3):
            raise CommandError("NOPROTO unsupported protocol version")
    login = name = None
    while args.left:
        if args.take(b"auth", needs=2):
            login = args.word(), args.word()
        elif args.take(b"setname", needs=1):
            name = args.word()
            _check_name(name)
        else:
            raise CommandError(f"ERR Syntax error in HELLO option '{args.word().decode('latin-1')}'")
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


# -- CLIENT ------------------------------------------------------------------------------------------------------------


def _check_name(name: bytes) -> None:
    if any(not 33 <= byte <= 126 for byte in name):
        raise CommandError("ERR Client names cannot contain spaces, newlines or special characters.")


@command("CLIENT ID", arity=2, flags=_CLIENT, since="5.0.0")
def client_id(conn: Any) -> int:
    """CLIENT ID -- Returns the unique client ID of the connection."""
    return int(conn.id)


@command("CLIENT GETNAME", arity=2, flags=_CLIENT, since="2.6.9")
def client_getname(conn: Any) -> Any:
    """CLIENT GETNAME -- Returns the name of the connection."""
    return conn.name


@command("CLIENT SETNAME", arity=3, flags=_CLIENT, since="2.6.9")
def client_setname(conn: Any, name: bytes) -> Any:
    """CLIENT SETNAME connection-name -- Sets the connection name."""
    _check_name(name)
    conn.name = name or None
    return OK


@command("CLIENT SETINFO", arity=4, flags=_CLIENT, since="7.2.0")
def client_setinfo(conn: Any, attribute: bytes, value: bytes) -> Any:
    """CLIENT SETINFO <LIB-NAME libname | LIB-VER libver> -- Sets information specific to the client or connection."""
    names = {b"lib-name": "lib_name", b"lib-ver": "lib_version"}
    name = names.get(attribute.lower())
    if name is None:
        raise CommandError(f"ERR Unrecognized option '{errors.shown(attribute)}'")
    if any(not 33 <= byte <= 126 for byte in value):
        raise CommandError(f"ERR {errors.shown(attribute)} cannot contain spaces, newlines or special characters.")
    setattr(conn, name, value)
    return OK


@command("CLIENT INFO", arity=2, flags=_CLIENT | SETTLED, since="6.2.0")
def client_info(conn: Any) -> Any:
    """CLIENT INFO -- Returns information about the connection."""
    return Verbatim(client_line(conn) + "\n")


@command(
    "CLIENT LIST",
    arity=-2,
    flags=_CLIENT | ADMIN | SETTLED,
    since="2.4.0",
    complexity="O(N) where N is the number of client connections",
)
def client_list(conn: Any, *words: bytes) -> Any:
    """CLIENT LIST [TYPE <normal | master | replica | pubsub>] [ID client-id [client-id ...]] -- Lists open
    connections."""
    args = Arguments(words)
    clients = list(conn.server.clients.values())
    if args.take(b"type", needs=1):
        kind = _client_type(args.word())
        clients = [client for client in clients if type_of(client) == kind]
        args.end()
    elif args.take(b"id", needs=1):
        ids = [integer(word, CommandError("ERR Invalid client ID")) for word in args.rest()]
        clients = [conn.server.clients[number] for number in ids if number in conn.server.clients]
    args.end()
    return Verbatim("".join(client_line(client) + "\n" for client in clients))


def _client_type(word: bytes) -> str:
    kinds = {b"normal": "normal", b"pubsub": "pubsub", b"master": "master", b"replica": "replica", b"slave": "replica"}
    kind = kinds.get(word.lower())
    if kind is None:
        raise CommandError(f"ERR Unknown client type '{errors.shown(word)}'")
    return kind


def type_of(client: Any) -> str:
    return "pubsub" if client.subscriptions is not None else "normal"


def client_line(client: Any) -> str:
    """One line of CLIENT LIST, fields and order as of 7.2."""
    now = time.time()
    flags = ""
    if client.subscriptions is not None:
        flags += "P"
    if client.transaction is not None:
        flags += "x"
    if client.is_blocked:
        flags += "b"
    if client.peer.startswith("/"):
        flags += "U"
    if client.no_evict:
        flags += "e"
    if client.no_touch:
        flags += "T"
    subscriptions = client.subscriptions
    fields: list[tuple[str, object]] = [
        ("id", client.id), ("addr", client.peer), ("laddr", client.local), ("fd", client.descriptor),
        ("name", (client.name or b"").decode("latin-1")),
        ("age", int(now - client.created)), ("idle", max(0, int(now - client.last_active))),
        ("flags", flags or "N"), ("db", client.database),
        ("sub", len(subscriptions.channels) if subscriptions else 0),
        ("psub", len(subscriptions.patterns) if subscriptions else 0),
        ("ssub", len(subscriptions.shard_channels) if subscriptions else 0),
        ("multi", len(client.transaction.queue) if client.transaction is not None else -1),
        ("qbuf", client.input_bytes), ("qbuf-free", 0), ("argv-mem", 0),
        ("multi-mem", client.transaction.size_bytes if client.transaction is not None else 0), ("rbs", 0), ("rbp", 0),
        ("obl", client.output_bytes), ("oll", 0), ("omem", client.output_bytes),
        ("tot-mem", client.input_bytes + client.output_bytes), ("events", "r"), ("cmd", client.last_command or "NULL"),
        ("user", (client.user or b"(superuser)").decode("latin-1")),
        ("redir", -1), ("resp", client.protocol), ("lib-name", (client.lib_name or b"").decode("latin-1")),
        ("lib-ver", (client.lib_version or b"").decode("latin-1")),
    ]  # fmt: skip
    return " ".join(f"{name}={value}" for name, value in fields)


def _has(attribute: str, value: object) -> Callable[[Any], bool]:
    """A test of CLIENT KILL's filters."""
    return lambda client: getattr(client, attribute) == value


@command(
    "CLIENT KILL",
    arity=-3,
    flags=_CLIENT | ADMIN | SETTLED,
    since="2.4.0",
    complexity="O(N) where N is the number of client connections",
)
def client_kill(conn: Any, *words: bytes) -> Any:
    """CLIENT KILL <ip:port | ID id | TYPE type | USER user | ADDR ip:port | LADDR ip:port | SKIPME yes/no ...> --
    Terminates open connections."""
    clients = conn.server.clients
    if len(words) == 1:
        for client in list(clients.values()):
            if client.peer.encode() == words[0]:
                return conn.server.kill(conn, client, OK)
        raise CommandError("ERR No such client")
    args = Arguments(words)
    skip_me = True
    tests: list[Callable[[Any], bool]] = []
    while args.left:
        if args.take(b"id", needs=1):
            number = args.integer(CommandError("ERR client-id should be greater than 0"))
            if number < 1:
                raise CommandError("ERR client-id should be greater than 0")
            tests.append(_has("id", number))
        elif args.take(b"type", needs=1):
            kind = _client_type(args.word())
            tests.append(lambda client, kind=kind: type_of(client) == kind)  # type: ignore[misc]
        elif args.take(b"user", needs=1):
            user = args.word()
            if user != b"default":
                raise CommandError(f"ERR No such user '{errors.shown(user)}'")
            tests.append(_has("user", user))
        elif args.take(b"addr", needs=1):
            tests.append(_has("peer", args.word().decode("latin-1")))
        elif args.take(b"laddr", needs=1):
            tests.append(_has("local", args.word().decode("latin-1")))
        elif args.take(b"skipme", needs=1):
            choice = args.word().lower()
            if choice not in (b"yes", b"no"):
                raise errors.SYNTAX
            skip_me = choice == b"yes"
        else:
            raise errors.SYNTAX
    found = [
        client
        for client in clients.values()
        if all(test(client) for test in tests) and not (skip_me and client is conn)
    ]
    for client in found:
        if client is not conn:
            client.kill()
    return conn.server.kill(conn, conn, len(found)) if conn in found else len(found)


@command("CLIENT NO-EVICT", arity=3, flags=_CLIENT | ADMIN, since="7.0.0")
def client_no_evict(conn: Any, on: bytes) -> Any:
    """CLIENT NO-EVICT <ON | OFF> -- Sets the client eviction mode of the connection."""
    conn.no_evict = _on_or_off(on)
    return OK


@command("CLIENT NO-TOUCH", arity=3, flags=_CLIENT, since="7.2.0")
def client_no_touch(conn: Any, on: bytes) -> Any:
    """CLIENT NO-TOUCH <ON | OFF> -- Controls whether commands sent by the client affect the LRU/LFU of accessed
    keys."""
    conn.no_touch = _on_or_off(on)
    return OK


def _on_or_off(word: bytes) -> bool:
    if word.lower() not in (b"on", b"off"):
        raise errors.SYNTAX
    return word.lower() == b"on"


@command("CLIENT REPLY", arity=3, flags=_CLIENT | SETTLED, since="3.2.0")
def client_reply(conn: Any, mode: bytes) -> Any:
    """CLIENT REPLY <ON | OFF | SKIP> -- Instructs the server whether to reply to commands."""
    return conn.server.set_reply_mode(conn, mode.lower())


@command("CLIENT PAUSE", arity=-3, flags=_CLIENT | ADMIN, since="3.0.0")
def client_pause(conn: Any, timeout: bytes, *mode: bytes) -> Any:
    """CLIENT PAUSE timeout [WRITE | ALL] -- Suspends commands processing."""
    milliseconds = integer(timeout, CommandError("ERR timeout is not an integer or out of range"))
    if milliseconds < 0:
        raise CommandError("ERR timeout is negative")
    if len(mode) > 1:
        raise errors.subcommand_syntax("client", b"PAUSE")
    if mode and mode[0].lower() not in (b"write", b"all"):
        raise CommandError("ERR CLIENT PAUSE mode must be WRITE or ALL")
    conn.server.pause(milliseconds, everything=not mode or mode[0].lower() == b"all")
    return OK


@command(
    "CLIENT UNPAUSE",
    arity=2,
    flags=_CLIENT | ADMIN,
    since="6.2.0",
    complexity="O(N) Where N is the number of paused clients",
)
def client_unpause(conn: Any) -> Any:
    """CLIENT UNPAUSE -- Resumes processing commands from paused clients."""
    conn.server.unpause()
    return OK


@command(
    "CLIENT UNBLOCK",
    arity=-3,
    flags=_CLIENT | ADMIN,
    since="5.0.0",
    complexity="O(log N) where N is the number of client connections",
)
def client_unblock(conn: Any, client: bytes, *reason: bytes) -> int:
    """CLIENT UNBLOCK client-id [TIMEOUT | ERROR] -- Unblocks a client blocked by a blocking command from a different
    connection."""
    number = integer(client)
    if len(reason) > 1:
        raise errors.subcommand_syntax("client", b"UNBLOCK")
    if reason and reason[0].lower() not in (b"timeout", b"error"):
        raise CommandError("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    return int(conn.server.unblock_client(number, reason[0].lower() if reason else b"timeout"))


@command("CLIENT GETREDIR", arity=2, flags=_CLIENT, since="6.0.0")
def client_getredir(conn: Any) -> int:
    """CLIENT GETREDIR -- Returns the client ID to which the connection's tracking notifications are redirected."""
    return -1


@command("CLIENT TRACKINGINFO", arity=2, flags=_CLIENT, since="6.2.0")
def client_trackinginfo(conn: Any) -> dict[bytes, Any]:
    """CLIENT TRACKINGINFO -- Returns information about server-assisted client-side caching for the connection."""
    return {b"flags": SetReply([b"off"]), b"redirect": -1, b"prefixes": []}


@command("CLIENT HELP", arity=2, flags=LOADING | STALE, since="5.0.0")
def client_help(conn: Any) -> Any:
    """CLIENT HELP -- Returns helpful text about the different subcommands."""
    return help_texts.lines_of("client")
