"""The doors through which the same requests are tested: handlers called as functions, and any server that speaks RESP.

A door has ``call(words) -> raw reply bytes``, and `call_all` for several. `tests.helpers.reference.Connection` is one;
`HandlerDoor` is the other: it does what gate and execution do around a handler (arity, errors, effects), on whatever
keyspace it is given, in the test's own process.

A case is a list of requests, each one text that is split at blanks, or a list of words where they hold blanks or bytes.
"""

from __future__ import annotations

import importlib
import io
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mpkv import errors
from mpkv.commands import spec
from mpkv.errors import CommandError
from mpkv.resp import replies
from mpkv.resp.encoder import encode_bytes
from tests.helpers.reference import AGGREGATES, read_reply

Request = str | Sequence[str | bytes]

#: Where the commands are declared that take a `db`.
FAMILIES_ON_SHARDS = (
    "strings", "lists", "hashes", "sets", "sorted_sets", "sorted_set_pops", "sorted_set_ranges", "sorted_set_algebra",
    "generic", "keyspace", "memory",
)  # fmt: skip

#: Commands whose replies are collections in no order -> how many elements belong together.
UNORDERED = {
    b"KEYS": 1, b"SMEMBERS": 1, b"SINTER": 1, b"SUNION": 1, b"SDIFF": 1, b"SPOP": 1, b"HKEYS": 1, b"HVALS": 1,
    b"HGETALL": 2,
}  # fmt: skip
#: The same of what follows the cursor in the replies of scans.
UNORDERED_AFTER_CURSOR = {b"SCAN": 1, b"SSCAN": 1, b"HSCAN": 2, b"ZSCAN": 2}

DATABASES = 16

#: The reference is asked so many requests at once: it takes longer to wake for each than to answer all of them. No
#: more, as the time at which the tested door runs them lies so far behind.
_AT_ONCE = 32


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


def words_of(request: Request) -> list[bytes]:
    words = request.split() if isinstance(request, str) else request
    return [word.encode() if isinstance(word, str) else word for word in words]


def declared_commands() -> dict[str, spec.Command]:
    for family in FAMILIES_ON_SHARDS:
        importlib.import_module(f"mpkv.commands.{family}")
    return spec._declared


class Door(Protocol):
    def call(self, words: Sequence[bytes]) -> bytes: ...

    def call_all(self, requests: Sequence[Sequence[bytes]]) -> list[bytes]: ...


class HandlerDoor:
    """Calls handlers directly.

    :param keyspace: has ``database(index)``, ``now_ms``, ``dirty`` and ``effects``: a `FakeKeyspace` or the real one
    :param clock: the time of each request, in ms since 1970
    """

    def __init__(self, keyspace: Any, *, clock: Callable[[], int] = wall_clock_ms, protocol: int = 2) -> None:
        self.keyspace = keyspace
        self._clock = clock
        self.log: list[tuple[int, list[bytes]]] = []  #: (database, words): what would be told to the log
        self._databases = [keyspace.database(index) for index in range(DATABASES)]
        self._protocol = protocol
        self._selected = 0
        self._table = declared_commands()

    def call(self, words: Sequence[bytes]) -> bytes:
        self.keyspace.now_ms = self._clock()
        try:
            value = self._run(words)
        except CommandError as error:
            value = error
        if isinstance(value, replies.Blocked):
            value = value.on_timeout
        return encode_bytes(value, self._protocol)

    def call_all(self, requests: Sequence[Sequence[bytes]]) -> list[bytes]:
        return [self.call(words) for words in requests]

    def _run(self, words: Sequence[bytes]) -> Any:
        if words[0].lower() == b"select":
            self._selected = int(words[1])
            return replies.OK
        names = [word.lower().decode(errors="replace") for word in words[:2]]
        command = self._table.get("|".join(names)) or self._table[names[0]]
        if not command.accepts(len(words)):
            raise errors.wrong_arity(command.name)
        dirty = self.keyspace.dirty
        value = command.handler(self._databases[self._selected] if command.on_shard else None, *words[command.words :])
        self._note_effects(command, words, self.keyspace.dirty != dirty)
        return value

    def _note_effects(self, command: spec.Command, words: Sequence[bytes], wrote: bool) -> None:
        declared = [(database, list(effect)) for database, effect in self.keyspace.effects]
        self.keyspace.effects.clear()
        assert wrote or not declared, f"{command.name} declares an effect and changed nothing"
        if wrote and not declared:
            assert command.effect != "own", f"{command.name} declares its own effects and gave none"
            declared = [(self._selected, list(words))]
        self.log += declared


def comparable(words: Sequence[bytes], reply: bytes) -> object:
    """A raw reply with its order taken out where there is none."""
    name = words[0].upper()
    if reply[:1] not in AGGREGATES:
        return reply
    if name in UNORDERED:
        return reply[:1], _groups(_elements(reply), UNORDERED[name])
    if name in UNORDERED_AFTER_CURSOR:
        cursor, found = _elements(reply)
        return cursor, _groups(_elements(found), UNORDERED_AFTER_CURSOR[name])
    return reply


def _groups(elements: list[bytes], size: int) -> list[tuple[bytes, ...]]:
    return sorted(zip(*[iter(elements)] * size, strict=True))


def _elements(reply: bytes) -> list[bytes]:
    stream = io.BytesIO(reply)
    mark, size = reply[:1], int(stream.readline()[1:])
    return [read_reply(stream) for _ in range(size * AGGREGATES[mark])]


def assert_same_replies(
    requests: Sequence[Request], tested: Door, reference: Door, validate: Callable[[], None] | None = None
) -> None:
    """Replay a case through two doors, both empty; `validate` runs after each request."""
    for begin in range(0, len(requests), _AT_ONCE):
        some = [words_of(request) for request in requests[begin : begin + _AT_ONCE]]
        for step, (words, expected) in enumerate(zip(some, reference.call_all(some), strict=True), begin):
            reply = tested.call(words)
            assert comparable(words, reply) == comparable(words, expected), (
                f"request {step}: {b' '.join(words)[:200]!r}"
            )
            if validate is not None:
                validate()
