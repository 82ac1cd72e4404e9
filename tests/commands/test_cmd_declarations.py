"""What string, list and key commands declare, against COMMAND INFO and COMMAND DOCS of a real redis-server."""

import io
from collections import Counter
from typing import Any

import pytest

from mpkv.commands import spec
from mpkv.commands.spec import FLAG_NAMES, Flag
from tests.helpers.doors import declared_commands
from tests.helpers.reference import Connection

TABLE = declared_commands()


def family_of(command: spec.Command) -> str:
    return command.handler.__module__.rpartition(".")[2]


OF_THIS_TEST = sorted(
    name
    for name, command in TABLE.items()
    if family_of(command) in ("strings", "lists", "generic", "keyspace") and not command.flags & Flag.INTERNAL
)
#: Redis documents these with the server; a group is a module here.
WITH_THE_KEYSPACE = {"dbsize", "flushall", "flushdb"}


def decode(reply: bytes) -> Any:
    return _decode(io.BytesIO(reply))


def _decode(stream: io.BytesIO) -> Any:
    line = stream.readline()
    if line[:1] == b"$":
        return stream.read(int(line[1:]) + 2)[:-2]
    if line[:1] == b"*":
        return [_decode(stream) for _ in range(int(line[1:]))]
    return int(line[1:]) if line[:1] == b":" else line[1:-2]


def pairs(flat: list[Any]) -> dict[Any, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def test_every_command_of_these_families_is_declared() -> None:
    families = Counter(family_of(TABLE[name]) for name in OF_THIS_TEST)
    assert families == {"strings": 22, "lists": 22, "generic": 23, "keyspace": 6}


@pytest.mark.parametrize("name", OF_THIS_TEST)
def test_a_declaration_says_what_command_info_says(name: str, reference: Connection) -> None:
    command = TABLE[name]
    ((_, arity, flags, first, last, step, *_),) = decode(reference.call([b"COMMAND", b"INFO", name.encode()]))
    assert command.arity == arity
    assert sorted(text.encode() for flag, text in FLAG_NAMES.items() if flag in command.flags) == sorted(flags)
    keys = command.keys
    assert (keys.first, keys.last, keys.step if keys.first else 0) == (first, last, step)


@pytest.mark.parametrize("name", OF_THIS_TEST)
def test_a_declaration_says_what_command_docs_says(name: str, reference: Connection) -> None:
    command = TABLE[name]
    documented = pairs(decode(reference.call([b"COMMAND", b"DOCS", name.encode()]))[1])
    assert command.since.encode() == documented[b"since"]
    if name not in WITH_THE_KEYSPACE:
        assert command.group.encode() == documented[b"group"]
    assert command.complexity.encode() == documented[b"complexity"]
    assert command.summary, "COMMAND DOCS and HELP show a summary"
    assert command.syntax.upper().startswith(name.replace("|", " ").upper())


def test_what_is_internal_cannot_be_taken_for_a_command_of_redis() -> None:
    internal = [name for name, command in TABLE.items() if command.flags & Flag.INTERNAL]
    assert "_randomkey" in internal
    assert all(name.startswith("_") for name in internal)
