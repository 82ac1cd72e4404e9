"""CLIENT: what a connection is called, who else is connected, and how they are killed, paused and unblocked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from mpkv import errors
from mpkv.commands import help_texts
from mpkv.commands.args import Arguments, integer
from mpkv.commands.spec import ADMIN, LOADING, NOSCRIPT, SETTLED, STALE, command
from mpkv.errors import CommandError
from mpkv.resp.replies import OK, SetReply, Verbatim

_CLIENT = NOSCRIPT | LOADING | STALE


def check_name(name: bytes) -> None:
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
    check_name(name)
    conn.name = name or None
    return OK


@command("CLIENT SETINFO", arity=4, flags=_CLIENT, since="7.2.0")
def client_setinfo(conn: Any, attribute: bytes, value: bytes) -> Any:
    """CLIENT SETINFO <attr: LIB-NAME libname | LIB-VER libver> -- Sets information specific to the client or
    connection."""
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
    """CLIENT LIST [TYPE <client-type: NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]] -- Lists open
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


def _flags_of(client: Any) -> str:
    """The letters that CLIENT LIST shows, in Redis' order."""
    states = {
        "P": client.subscriptions is not None, "x": client.transaction is not None, "b": client.is_blocked,
        "U": client.peer.startswith("/"), "e": client.no_evict, "T": client.no_touch,
    }  # fmt: skip
    return "".join(letter for letter, holds in states.items() if holds) or "N"


def client_line(client: Any) -> str:
    """One line of CLIENT LIST, fields and order as of 7.2."""
    fields = _who(client) | _state(client) | _buffers(client) | _library(client)
    return " ".join(f"{name}={value}" for name, value in fields.items())


def _who(client: Any) -> dict[str, object]:
    now = time.time()
    return {
        "id": client.id, "addr": client.peer, "laddr": client.local, "fd": client.descriptor,
        "name": _text(client.name), "age": int(now - client.created), "idle": max(0, int(now - client.last_active)),
    }  # fmt: skip


def _state(client: Any) -> dict[str, object]:
    subscriptions, transaction = client.subscriptions, client.transaction
    return {
        "flags": _flags_of(client), "db": client.database,
        "sub": len(subscriptions.channels) if subscriptions else 0,
        "psub": len(subscriptions.patterns) if subscriptions else 0,
        "ssub": len(subscriptions.shard_channels) if subscriptions else 0,
        "multi": len(transaction.queue) if transaction is not None else -1,
    }  # fmt: skip


def _buffers(client: Any) -> dict[str, object]:
    transaction = client.transaction
    return {
        "qbuf": client.input_bytes, "qbuf-free": 0, "argv-mem": 0,
        "multi-mem": transaction.size_bytes if transaction is not None else 0, "rbs": 0, "rbp": 0,
        "obl": client.output_bytes, "oll": 0, "omem": client.output_bytes,
        "tot-mem": client.input_bytes + client.output_bytes,
    }  # fmt: skip


def _library(client: Any) -> dict[str, object]:
    return {
        "events": "r", "cmd": client.last_command or "NULL", "user": _text(client.user or b"(superuser)"), "redir": -1,
        "resp": client.protocol, "lib-name": _text(client.lib_name), "lib-ver": _text(client.lib_version),
    }  # fmt: skip


def _text(value: bytes | None) -> str:
    return (value or b"").decode("latin-1")


Test = Callable[[Any], bool]


def _has(attribute: str, value: object) -> Test:
    return lambda client: getattr(client, attribute) == value


def _has_id(args: Arguments) -> Test:
    refusal = CommandError("ERR client-id should be greater than 0")
    number = args.integer(refusal)
    if number < 1:
        raise refusal
    return _has("id", number)


def _has_type(args: Arguments) -> Test:
    kind = _client_type(args.word())
    return lambda client: type_of(client) == kind


def _has_user(args: Arguments) -> Test:
    user = args.word()
    if user != b"default":
        raise CommandError(f"ERR No such user '{errors.shown(user)}'")
    return _has("user", user)


#: Filter of CLIENT KILL -> what makes a test of the words behind it.
_FILTERS: Final[dict[bytes, Callable[[Arguments], Test]]] = {
    b"id": _has_id,
    b"type": _has_type,
    b"user": _has_user,
    b"addr": lambda args: _has("peer", args.word().decode("latin-1")),
    b"laddr": lambda args: _has("local", args.word().decode("latin-1")),
}


@command(
    "CLIENT KILL",
    arity=-3,
    flags=_CLIENT | ADMIN | SETTLED,
    since="2.4.0",
    complexity="O(N) where N is the number of client connections",
)
def client_kill(conn: Any, *words: bytes) -> Any:
    """CLIENT KILL <filter: old-format: ip:port | <new-format: [ID client-id] | [TYPE <client-type: NORMAL | MASTER |
    SLAVE | REPLICA | PUBSUB>] | [USER username] | [addr: ADDR ip:port] | [laddr: LADDR ip:port] | [skipme: SKIPME
    yes/no]> ...> -- Terminates open connections."""
    if len(words) == 1:
        return _kill_address(conn, words[0])
    tests, skip_me = _read_filters(Arguments(words))
    found = [
        client
        for client in conn.server.clients.values()
        if all(test(client) for test in tests) and not (skip_me and client is conn)
    ]
    for client in found:
        if client is not conn:
            client.kill()
    return conn.server.kill(conn, conn, len(found)) if conn in found else len(found)


def _kill_address(conn: Any, address: bytes) -> Any:
    """The form of old, with an address alone."""
    for client in conn.server.clients.values():
        if client.peer.encode() == address:
            return conn.server.kill(conn, client, OK)
    raise CommandError("ERR No such client")


def _read_filters(args: Arguments) -> tuple[list[Test], bool]:
    """The tests that a client must pass to be killed, and whether the caller is spared."""
    tests: list[Test] = []
    skip_me = True
    while args.left:
        found = next((name for name in _FILTERS if args.take(name, needs=1)), None)
        if found is not None:
            tests.append(_FILTERS[found](args))
        elif args.take(b"skipme", needs=1):
            skip_me = _yes_or_no(args.word())
        else:
            raise errors.SYNTAX
    return tests, skip_me


def _yes_or_no(word: bytes) -> bool:
    if word.lower() not in (b"yes", b"no"):
        raise errors.SYNTAX
    return word.lower() == b"yes"


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
    """CLIENT REPLY <on-off-skip: ON | OFF | SKIP> -- Instructs the server whether to reply to commands."""
    return conn.server.set_reply_mode(conn, mode.lower())


@command("CLIENT PAUSE", arity=-3, flags=_CLIENT | ADMIN, since="3.0.0")
def client_pause(conn: Any, timeout: bytes, *mode: bytes) -> Any:
    """CLIENT PAUSE timeout=integer [mode: WRITE | ALL] -- Suspends commands processing."""
    milliseconds = integer(timeout, CommandError("ERR timeout is not an integer or out of range"))
    if milliseconds < 0:
        raise CommandError("ERR timeout is negative")
    if len(mode) > 1:
        raise errors.MISUSED
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
    """CLIENT UNBLOCK client-id [unblock-type: TIMEOUT | ERROR] -- Unblocks a client blocked by a blocking command
    from a different connection."""
    if len(reason) > 1:
        raise errors.MISUSED
    if reason and reason[0].lower() not in (b"timeout", b"error"):
        raise CommandError("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    return int(conn.server.unblock_client(integer(client), reason[0].lower() if reason else b"timeout"))


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
