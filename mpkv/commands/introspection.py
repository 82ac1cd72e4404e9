"""COMMAND and its sub-commands: the table, as clients and redis-cli ask for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mpkv import errors
from mpkv.commands import help_texts
from mpkv.commands import spec as commands
from mpkv.commands.arguments import documented
from mpkv.commands.descriptions import (
    NOT_A_KEY,
    categories,
    deprecation,
    group_of,
    key_specs,
    note_on_key,
    tips_of,
)  # fmt: skip
from mpkv.commands.spec import FLAG_NAMES, LOADING, STALE, Command, Flag, Keys, command
from mpkv.errors import CommandError
from mpkv.glob import matches
from mpkv.resp.replies import SetReply, Status

_COMMAND = LOADING | STALE


def _key_spec(flags: list[str], keys: Keys, note: str) -> dict[bytes, Any]:
    """Where keys are, in the form of Redis 7."""
    described: dict[bytes, Any] = {b"notes": note.encode()} if note else {}
    begin, find = keys.count_at, {b"type": b"keynum", b"spec": {b"keynumidx": 0, b"firstkey": 1, b"keystep": 1}}
    if keys.first:
        last = keys.last if keys.last < 0 else keys.last - keys.first
        begin, find = keys.first, {b"type": b"range", b"spec": {b"lastkey": last, b"keystep": keys.step, b"limit": 0}}
    return described | {
        b"flags": _names(flags),
        b"begin_search": {b"type": b"index", b"spec": {b"index": begin}},
        b"find_keys": find,
    }


def _names(names: Iterable[str]) -> SetReply:
    return SetReply(Status(name.encode()) for name in names)


def _subcommands(spec: Command) -> list[Command]:
    """Those of DEBUG are no commands of their own in Redis."""
    return [] if spec.flags & Flag.PROTECTED else list(spec.subcommands.values())


def _info(spec: Command) -> list[Any]:
    flags = [name for flag, name in FLAG_NAMES.items() if spec.flags & flag]
    keys = spec.keys
    return [
        spec.name.encode(), spec.arity, _names(flags), keys.first, keys.last, keys.step if keys.first else 0,
        _names(categories(spec)), SetReply(tip.encode() for tip in tips_of(spec)),
        SetReply(_key_spec(flags, place, note_on_key(spec)) for flags, place in key_specs(spec)),
        [_info(member) for member in _subcommands(spec)] or SetReply(),
    ]  # fmt: skip


def _docs(spec: Command) -> dict[bytes, Any]:
    docs: dict[bytes, Any] = {
        b"summary": spec.summary.encode(), b"since": spec.since.encode(), b"group": group_of(spec).encode(),
        b"complexity": spec.complexity.encode(),
    }  # fmt: skip
    since, replacement = deprecation(spec)
    if since:
        docs |= {b"doc_flags": _names(["deprecated"]), b"deprecated_since": since.encode()}
        docs[b"replaced_by"] = replacement.encode()
    arguments = [] if _subcommands(spec) or spec.flags & Flag.PROTECTED else documented(spec)
    if arguments:
        docs[b"arguments"] = arguments
    if _subcommands(spec):
        docs[b"subcommands"] = {member.name.encode(): _docs(member) for member in _subcommands(spec)}
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
        spec = spec.subcommands.get(words[1].lower())
    if spec is None:
        raise CommandError("ERR Invalid command specified")
    if all(flags == [NOT_A_KEY] for flags, _ in key_specs(spec)):
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
    spec, _ = _found(words)
    return [
        [words[at], _names(_flags_in(words, flags))] for flags, place in key_specs(spec) for at in place.find(words)
    ]


def _flags_in(words: Sequence[bytes], flags: list[str]) -> list[str]:
    """SET reads what it overwrites only if asked to."""
    if "variable_flags" not in flags:
        return flags
    return ["RW", "access", "update"] if b"get" in [word.lower() for word in words[3:]] else ["OW", "update"]


@command("COMMAND HELP", arity=2, flags=LOADING | STALE, since="5.0.0")
def command_help(conn: Any) -> Any:
    """COMMAND HELP -- Returns helpful text about the different subcommands."""
    return help_texts.lines_of("command")
