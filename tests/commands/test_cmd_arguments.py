"""Arguments as they are read from a syntax: every form of the notation, and every command that is declared."""

from __future__ import annotations

import pytest

from mpkv.commands import spec
from mpkv.commands.arguments import Argument, arguments_of
from mpkv.commands.spec import Command, Flag

NX = Argument("nx", "pure-token", token="NX")
XX = Argument("xx", "pure-token", token="XX")
FIELD = Argument("field", "string", shown="field")
VALUE = Argument("value", "string", shown="value")


@pytest.mark.parametrize(
    ("syntax", "expected"),
    [
        ("C", ()),
        ("C field", (FIELD,)),
        ("C key", (Argument("key", "key", shown="key"),)),
        ("C field=double", (Argument("field", "double", shown="field"),)),
        ("C [field]", (Argument("field", "string", shown="field", optional=True),)),
        ("C field [field ...]", (Argument("field", "string", shown="field", multiple=True),)),
        ("C [field [field ...]]", (Argument("field", "string", shown="field", optional=True, multiple=True),)),
        ("C AT field", (Argument("field", "string", shown="field", token="AT"),)),
        ("C [other: AT field]", (Argument("other", "string", shown="field", token="AT", optional=True),)),
        ("C [NX | XX]", (Argument("condition", "oneof", optional=True, members=[NX, XX]),)),
        ("C <mine: NX | XX> ...", (Argument("mine", "oneof", multiple=True, members=[NX, XX]),)),
        ("C [AT <NX | XX>]", (Argument("at", "oneof", token="AT", optional=True, members=[NX, XX]),)),
        ("C [AT field value]", (Argument("at", "block", token="AT", optional=True, members=[FIELD, VALUE]),)),
        ("C field value [field value ...]", (Argument("data", "block", multiple=True, members=[FIELD, VALUE]),)),
        ("C [field value]", (Argument("options", "block", optional=True, members=[FIELD, VALUE]),)),
        ("C [both: field value]", (Argument("both", "block", optional=True, members=[FIELD, VALUE]),)),
    ],
)
def test_a_syntax_gives_its_arguments(syntax: str, expected: tuple[Argument, ...]) -> None:
    assert arguments_of(syntax, 1) == expected


def test_a_bracket_too_many_is_noticed() -> None:
    with pytest.raises(AssertionError):
        arguments_of("C field]", 1)


DECLARED = [
    command
    for command in spec.load().values()
    if not command.flags & (Flag.INTERNAL | Flag.PROTECTED) and command.handler is not spec.container_handler
]


def leaves(arguments: tuple[Argument, ...] | list[Argument]) -> list[Argument]:
    return [leaf for one in arguments for leaf in (leaves(one.members) if one.members else [one])]


def least_words(arguments: tuple[Argument, ...] | list[Argument]) -> int:
    """How many words the shortest request has for these arguments."""
    return sum(_least(argument) for argument in arguments if not argument.optional)


def _least(argument: Argument) -> int:
    token = int(argument.token is not None)
    if argument.kind == "oneof":
        return token + min(map(_least, argument.members))
    if argument.kind == "block":
        return token + least_words(argument.members)
    return token + int(argument.kind != "pure-token")


def is_open_ended(arguments: tuple[Argument, ...] | list[Argument]) -> bool:
    return any(one.optional or one.multiple or is_open_ended(one.members) for one in arguments)


#: They take words that mean nothing, or that follow another path: not in their syntax.
IGNORING_WORDS = {"command", "quit"}


@pytest.mark.parametrize("command", DECLARED, ids=lambda command: command.name)
def test_the_arguments_of_a_command_fit_its_arity(command: Command) -> None:
    arguments = arguments_of(command.syntax, command.words)
    least = command.words + least_words(arguments)
    assert least == abs(command.arity)
    assert is_open_ended(arguments) == (command.arity < 0) or command.name in IGNORING_WORDS


@pytest.mark.parametrize("command", DECLARED, ids=lambda command: command.name)
def test_a_command_has_a_key_among_its_arguments_if_it_has_keys(command: Command) -> None:
    keys = [leaf for leaf in leaves(arguments_of(command.syntax, command.words)) if leaf.kind == "key"]
    assert bool(keys) == (command.keys != spec.NO_KEYS and command.group != "pubsub")
