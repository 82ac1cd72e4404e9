"""What COMMAND DOCS says of a command's arguments, read from the syntax that its handler declares.

A syntax is what a manual prints, so everything can be derived from it but names and types:

- ``WORD`` is a token; before a word, ``EX seconds``, it introduces that argument;
- ``[…]`` is optional, ``<a | b>`` or ``[a | b]`` one of several, ``key [key ...]`` or ``<a | b> ...`` repeated;
- ``name: …`` in front names a choice, a group or an argument where Redis' name for it is not the usual one;
- ``name=type`` gives a type that the name alone does not tell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import accumulate
from typing import Any, Final

from mpkv.commands.descriptions import key_specs
from mpkv.commands.spec import Command
from mpkv.resp.replies import Status

#: Type -> names that stand for it; any other name stands for a string.
_NAMES_OF_TYPE: Final = {
    "key": "key key1 key2 newkey source destination src dst",
    "integer": "client-id count cursor db decrement destination-db end increment index limit milliseconds "
    "min-match-len num-matches numkeys offset protover rank len seconds start stop weight",
    "double": "score timeout",
    "pattern": "pattern",
    "unix-time": "unix-time-seconds unix-time-milliseconds",
}
_TYPE_OF_NAME: Final = {name: kind for kind, names in _NAMES_OF_TYPE.items() for name in names.split()}

#: A token among the alternatives -> what Redis calls the choice.
_CHOICES: Final = {
    "NX": "condition", "GT": "comparison", "LEFT": "where", "MIN": "where", "BEFORE": "where", "BYSCORE": "sortby",
    "EX": "expiration", "ASYNC": "flush-type", "ON": "enabled",
}  # fmt: skip

#: Several arguments that are repeated together, and several that may be left out together.
_REPEATED_GROUP: Final = "data"
_OPTIONAL_GROUP: Final = "options"

_PIECE = re.compile(r"[\[\]<>|]|[^\s\[\]<>|]+")
_TOKEN = re.compile(r"[A-Z][A-Z0-9-]*")
_CLOSING: Final = {"[": "]", "<": ">"}


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument as COMMAND DOCS shows it."""

    name: str
    kind: str
    shown: str = ""  #: how a manual prints it; tokens, choices and groups have none
    token: str | None = None
    optional: bool = False
    multiple: bool = False
    members: list[Argument] = field(default_factory=list)


@cache
def arguments_of(syntax: str, words: int) -> tuple[Argument, ...]:
    """The arguments of a command that `words` words name."""
    reader = _Reader(_PIECE.findall(syntax)[words:])
    found = reader.sequence()
    assert not reader.left, f"{syntax}: nothing is understood from {reader.left[0]!r} on"
    return tuple(found)


class _Reader:
    """Reads a syntax from left to right."""

    def __init__(self, pieces: list[str]) -> None:
        self.left = pieces

    def sequence(self) -> list[Argument]:
        """Arguments up to the end of what they stand in."""
        found: list[Argument] = []
        while self.left and self.left[0] not in "]>|":
            if self._starts_repetition():
                self._repeat(found)
            else:
                found.append(self._argument())
        return found

    def _starts_repetition(self) -> bool:
        if self.left[0] != "[":
            return self.left[0] == "..."
        inside = self.left[1 : self.left.index("]")]
        return inside[-1] == "..." and "[" not in inside

    def _repeat(self, found: list[Argument]) -> None:
        """``[key value ...]`` or ``...`` alone, behind what is repeated."""
        repeated = self._inside()[:-1] if self.left[0] == "[" else self.left.pop(0)
        if repeated == "..." or len(_Reader(list(repeated)).sequence()) == 1:
            found[-1] = replace(found[-1], multiple=True)
            return
        first = len(found) - len(repeated)
        found[first:] = [Argument(_REPEATED_GROUP, "block", multiple=True, members=found[first:])]

    def _argument(self) -> Argument:
        label = self.left.pop(0)[:-1] if self.left[0].endswith(":") else ""
        piece = self.left[0]
        if piece in _CLOSING:
            return self._group(self._inside(), label, optional=piece == "[")
        del self.left[0]
        return self._introduced(piece, label) if _TOKEN.fullmatch(piece) else _plain(piece, label)

    def _inside(self) -> list[str]:
        """Take a bracket and what it encloses; the latter."""
        opening = self.left[0]
        depths = accumulate((piece == opening) - (piece == _CLOSING[opening]) for piece in self.left)
        end = list(depths).index(0)
        inside, self.left = self.left[1:end], self.left[end + 1 :]
        return inside

    def _introduced(self, token: str, label: str) -> Argument:
        """A token and what belongs to it: nothing, a choice, an argument, or several."""
        members: list[Argument] = []
        if self.left and self.left[0] == "<":
            choice = self._group(self._inside(), label or token.lower(), optional=False)
            return replace(choice, token=token)
        while self.left and self.left[0] not in "[]<>|" and not _TOKEN.fullmatch(self.left[0]):
            members.append(self._argument())
        if not members:
            return Argument(label or token.lower(), "pure-token", token=token)
        if len(members) == 1:
            return replace(members[0], name=label or members[0].name, token=token)
        return Argument(label or token.lower(), "block", token=token, members=members)

    def _group(self, inside: list[str], label: str, *, optional: bool) -> Argument:
        """What stands in brackets: a choice, one argument, or several."""
        reader = _Reader(inside)
        if inside[0].endswith(":"):
            label = reader.left.pop(0)[:-1]
        alternatives = [_as_one(reader.sequence())]
        while reader.left:
            del reader.left[0]
            alternatives.append(_as_one(reader.sequence()))
        if len(alternatives) == 1:
            return replace(alternatives[0], name=label or alternatives[0].name, optional=optional)
        name = label or _CHOICES[alternatives[0].token or ""]
        return Argument(name, "oneof", optional=optional, members=alternatives)


def _as_one(sequence: list[Argument]) -> Argument:
    return sequence[0] if len(sequence) == 1 else Argument(_OPTIONAL_GROUP, "block", members=sequence)


def _plain(piece: str, label: str) -> Argument:
    shown, _, kind = piece.partition("=")
    return Argument(label or shown, kind or _TYPE_OF_NAME.get(shown, "string"), shown=shown)


def documented(spec: Command) -> list[dict[bytes, Any]]:
    """The arguments in the form of the reply."""
    key_parts = iter(range(len(key_specs(spec))))
    last = -1

    def document(argument: Argument) -> dict[bytes, Any]:
        nonlocal last
        row: dict[bytes, Any] = {b"name": argument.name.encode(), b"type": argument.kind.encode()}
        if argument.kind not in ("oneof", "block"):
            row[b"display_text"] = (argument.shown or argument.name).encode()
        if argument.kind == "key":
            last = next(key_parts, last)
            row[b"key_spec_index"] = last
        if argument.token is not None:
            row[b"token"] = argument.token.encode()
        flags = [Status(name) for name in (b"optional", b"multiple") if getattr(argument, name.decode())]
        if flags:
            row[b"flags"] = flags
        if argument.members:
            row[b"arguments"] = [document(member) for member in argument.members]
        return row

    return [document(argument) for argument in arguments_of(spec.syntax, spec.words)]
