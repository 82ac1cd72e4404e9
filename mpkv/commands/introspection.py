"""COMMAND and its sub-commands: the table, as clients and redis-cli ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mpkv import errors
from mpkv.commands import spec as commands
from mpkv.commands.spec import FLAG_NAMES, LOADING, STALE, Command, Flag, command
from mpkv.errors import CommandError
from mpkv.glob import matches
from mpkv.resp.replies import SetReply, Status

_COMMAND = LOADING | STALE


def categories(spec: Command) -> list[str]:
    """The ACL categories, derived from group and flags."""
    groups = {
        "sorted-set": "@sortedset", "generic": "@keyspace", "transactions": "@transaction", "string": "@string",
        "hash": "@hash", "list": "@list", "set": "@set", "pubsub": "@pubsub", "connection": "@connection",
        "server": None,
    }  # fmt: skip
    found = []
    if spec.flags & Flag.WRITE:
        found.append("@write")
    if spec.flags & Flag.READONLY:
        found.append("@read")
    group = groups.get(spec.group)
    if group:
        found.append(group)
    if spec.flags & Flag.ADMIN:
        found.append("@admin")
    if spec.flags & (Flag.ADMIN | Flag.DANGEROUS):
        found.append("@dangerous")
    found.append("@fast" if spec.flags & Flag.FAST else "@slow")
    if spec.flags & Flag.BLOCKING:
        found.append("@blocking")
    return found


def _key_specs(spec: Command) -> list[Any]:
    """Where the keys are, in the form of Redis 7."""
    keys = spec.keys
    access = b"RW" if spec.flags & Flag.WRITE else b"RO"
    kind = b"update" if spec.flags & Flag.WRITE else b"access"
    found: list[Any] = []
    if keys.first:
        last = keys.last if keys.last < 0 else keys.last - keys.first
        search = {b"type": b"range", b"spec": {b"lastkey": last, b"keystep": keys.step, b"limit": 0}}
        found.append(
            {
                b"flags": SetReply([Status(access), Status(kind)]),
                b"begin_search": {b"type": b"index", b"spec": {b"index": keys.first}},
                b"find_keys": search,
            }
        )
    if keys.count_at:
        search = {b"type": b"keynum", b"spec": {b"keynumidx": 0, b"firstkey": 1, b"keystep": 1}}
        found.append(
            {
                b"flags": SetReply([Status(access), Status(kind)]),
                b"begin_search": {b"type": b"index", b"spec": {b"index": keys.count_at}},
                b"find_keys": search,
            }
        )
    return found


def _info(spec: Command) -> list[Any]:
    flags = [Status(name.encode()) for flag, name in FLAG_NAMES.items() if spec.flags & flag]
    if spec.keys.count_at:
        flags.append(Status(b"movablekeys"))
    return [
        spec.name.encode(), spec.arity, SetReply(flags),
        spec.keys.first, spec.keys.last, spec.keys.step if spec.keys.first else 0,
        SetReply(Status(name.encode()) for name in categories(spec)), [], _key_specs(spec),
        [_info(member) for member in spec.subcommands.values()],
    ]  # fmt: skip


def _docs(spec: Command) -> dict[bytes, Any]:
    docs: dict[bytes, Any] = {
        b"summary": spec.summary.encode(), b"since": spec.since.encode(), b"group": spec.group.encode(),
        b"complexity": spec.complexity.encode(),
    }  # fmt: skip
    if spec.subcommands:
        docs[b"subcommands"] = {member.name.encode(): _docs(member) for member in spec.subcommands.values()}
    return docs


def _top_level() -> dict[str, Command]:
    return {name: spec for name, spec in commands.load().items() if "|" not in name and not spec.flags & Flag.INTERNAL}


def _named(name: bytes) -> Command | None:
    spec = commands.load().get(name.decode("latin-1").lower())
    return None if spec is None or spec.flags & Flag.INTERNAL else spec


@command(
    "COMMAND", arity=-1, flags=_COMMAND, since="2.8.13", complexity="O(N) where N is the total number of Redis commands"
)
def command_(conn: Any) -> list[Any]:
    """COMMAND -- Returns detailed information about all commands."""
    return [_info(spec) for spec in _top_level().values()]


@command("COMMAND COUNT", arity=2, flags=_COMMAND, since="2.8.13")
def command_count(conn: Any) -> int:
    """COMMAND COUNT -- Returns a count of commands."""
    return len(_top_level())


@command(
    "COMMAND INFO",
    arity=-2,
    flags=_COMMAND,
    since="2.8.13",
    complexity="O(N) where N is the number of commands to look up",
)
def command_info(conn: Any, *names: bytes) -> list[Any]:
    """COMMAND INFO [command-name [command-name ...]] -- Returns information about one, multiple or all commands."""
    if not names:
        return command_(conn)  # type: ignore[no-any-return]
    return [None if (spec := _named(name)) is None else _info(spec) for name in names]


@command(
    "COMMAND DOCS",
    arity=-2,
    flags=_COMMAND,
    since="7.0.0",
    complexity="O(N) where N is the number of commands to look up",
)
def command_docs(conn: Any, *names: bytes) -> dict[bytes, Any]:
    """COMMAND DOCS [command-name [command-name ...]] -- Returns documentary information about one, multiple or all
    commands."""
    specs = [spec for name in names if (spec := _named(name)) is not None] if names else list(_top_level().values())
    return {spec.name.encode(): _docs(spec) for spec in specs}


@command(
    "COMMAND LIST",
    arity=-2,
    flags=_COMMAND,
    since="7.0.0",
    complexity="O(N) where N is the total number of Redis commands",
)
def command_list(conn: Any, *words: bytes) -> list[bytes]:
    """COMMAND LIST [FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>] -- Returns a list of command
    names."""
    table = _top_level()
    if not words:
        return [name.encode() for name in table]
    if len(words) != 3 or words[0].lower() != b"filterby":
        raise errors.SYNTAX
    kind, value = words[1].lower(), words[2]
    everything = {name: spec for name, spec in commands.load().items() if not spec.flags & Flag.INTERNAL}
    if kind == b"module":
        return []
    if kind == b"aclcat":
        return [
            name.encode()
            for name, spec in everything.items()
            if f"@{value.decode('latin-1').lower()}" in categories(spec)
        ]
    if kind == b"pattern":
        return [name.encode() for name in everything if matches(value, name.encode(), True)]
    raise errors.SYNTAX


def _found(words: Sequence[bytes]) -> tuple[Command, list[int]]:
    """The command that a request names and the indexes of its keys."""
    spec = _named(words[0])
    if spec is not None and spec.subcommands and len(words) > 1:
        spec = spec.subcommands.get(words[1].lower(), spec)
    if spec is None:
        raise CommandError("ERR Invalid command specified")
    if not spec.keys.first and not spec.keys.count_at:
        raise CommandError("ERR The command has no key arguments")
    if not spec.accepts(len(words)):
        raise CommandError("ERR Invalid number of arguments specified for command")
    keys = spec.keys.find(words)
    if not keys:
        raise CommandError("ERR Invalid arguments specified for command")
    return spec, keys


@command(
    "COMMAND GETKEYS",
    arity=-3,
    flags=_COMMAND,
    since="2.8.13",
    complexity="O(N) where N is the number of arguments to the command",
)
def command_getkeys(conn: Any, *words: bytes) -> list[bytes]:
    """COMMAND GETKEYS command [arg [arg ...]] -- Extracts the key names from an arbitrary command."""
    return [words[at] for at in _found(words)[1]]


@command(
    "COMMAND GETKEYSANDFLAGS",
    arity=-3,
    flags=_COMMAND,
    since="7.0.0",
    complexity="O(N) where N is the number of arguments to the command",
)
def command_getkeysandflags(conn: Any, *words: bytes) -> list[Any]:
    """COMMAND GETKEYSANDFLAGS command [arg [arg ...]] -- Extracts the key names and access flags for an arbitrary
    command."""
    spec, keys = _found(words)
    write = bool(spec.flags & Flag.WRITE)
    flags = SetReply([Status(b"RW"), Status(b"update")] if write else [Status(b"RO"), Status(b"access")])
    return [[words[at], flags] for at in keys]


@command("COMMAND HELP", arity=2, flags=LOADING | STALE, since="5.0.0")
def command_help(conn: Any) -> Any:
    """COMMAND HELP -- Returns helpful text about the different subcommands."""
    return conn.server.help_of("command")
