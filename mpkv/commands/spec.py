"""Step 3: which commands exist: each is declared once, beside its handler, and everything else derives from the
declaration.

    @command("LPUSH", arity=-3, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST)
    def lpush(db, key, *elements):
        '''LPUSH key element [element ...] -- push at the head; reply with the new length.'''

The first parameter's name says where a handler runs: `db` on the shard that owns the keys, `conn` in the frontend.
Handlers get their arguments as bytes (without the command's name), return a value (see `mpkv.resp.replies`) or raise
`CommandError`.

A sub-command is declared under both its words (``"OBJECT ENCODING"``); its container comes into being by that. In the
table, in metrics and in ACL rules it is called ``object|encoding``.

Numbers: a command's number is its place in the sorted table. Frontend and workers run the same code, so they agree.
"""

from __future__ import annotations

import enum
import importlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

FAMILIES: Final = (
    "strings", "hashes", "lists", "sets", "sorted_sets", "sorted_set_pops",
    "sorted_set_ranges", "sorted_set_algebra", "generic", "keyspace",
    "connection", "client", "server", "introspection", "configuration",
    "persistence", "slowlog", "latency", "memory", "pubsub", "transactions", "debug",
)  # fmt: skip

#: Module of a family -> the group that COMMAND DOCS and the ACL categories call it by.
GROUPS: Final = {
    "strings": "string", "hashes": "hash", "lists": "list", "sets": "set", "sorted_sets": "sorted-set",
    "sorted_set_pops": "sorted-set", "sorted_set_ranges": "sorted-set", "sorted_set_algebra": "sorted-set",
    "generic": "generic", "keyspace": "generic", "connection": "connection", "client": "connection",
    "server": "server", "introspection": "server", "configuration": "server", "persistence": "server",
    "slowlog": "server", "latency": "server", "memory": "server", "pubsub": "pubsub",
    "transactions": "transactions", "debug": "server",
}  # fmt: skip


class Flag(enum.IntFlag):
    """What COMMAND INFO reports, and what the gate asks."""

    WRITE = 1
    READONLY = 1 << 1
    DENYOOM = 1 << 2
    ADMIN = 1 << 3
    PUBSUB = 1 << 4
    NOSCRIPT = 1 << 5
    BLOCKING = 1 << 6
    LOADING = 1 << 7
    STALE = 1 << 8
    FAST = 1 << 9
    NO_AUTH = 1 << 10
    NO_MULTI = 1 << 11
    MOVABLEKEYS = 1 << 12
    SKIP_MONITOR = 1 << 13
    SKIP_SLOWLOG = 1 << 14
    MAY_REPLICATE = 1 << 15
    NO_ASYNC_LOADING = 1 << 16
    ALLOW_BUSY = 1 << 17
    NO_MANDATORY_KEYS = 1 << 18
    PROTECTED = 1 << 19
    # Ours, never shown to a client:
    DANGEROUS = 1 << 24  #: ACL category only
    INTERNAL = 1 << 25  #: parts that only the frontend sends; a client that names one gets «unknown command»
    WHILE_SUBSCRIBED = 1 << 28  #: a RESP2 client may call it while it is subscribed
    SETTLED = 1 << 27  #: (frontend) runs only when all earlier replies of its connection are there
    ACROSS_DATABASES = 1 << 26  #: touches other databases than the selected one


WRITE, READONLY, DENYOOM, ADMIN = Flag.WRITE, Flag.READONLY, Flag.DENYOOM, Flag.ADMIN
PUBSUB, NOSCRIPT, BLOCKING, LOADING, STALE = Flag.PUBSUB, Flag.NOSCRIPT, Flag.BLOCKING, Flag.LOADING, Flag.STALE
FAST, NO_AUTH, NO_MULTI, MOVABLEKEYS = Flag.FAST, Flag.NO_AUTH, Flag.NO_MULTI, Flag.MOVABLEKEYS
SKIP_MONITOR, SKIP_SLOWLOG, MAY_REPLICATE = Flag.SKIP_MONITOR, Flag.SKIP_SLOWLOG, Flag.MAY_REPLICATE
NO_ASYNC_LOADING, ALLOW_BUSY, NO_MANDATORY_KEYS = Flag.NO_ASYNC_LOADING, Flag.ALLOW_BUSY, Flag.NO_MANDATORY_KEYS
PROTECTED, DANGEROUS, INTERNAL, ACROSS_DATABASES = Flag.PROTECTED, Flag.DANGEROUS, Flag.INTERNAL, Flag.ACROSS_DATABASES
SETTLED, WHILE_SUBSCRIBED = Flag.SETTLED, Flag.WHILE_SUBSCRIBED

#: The flags that COMMAND INFO names, with the names it uses.
FLAG_NAMES: Final = {
    flag: flag.name.lower()  # type: ignore[union-attr]
    for flag in Flag
    if flag < Flag.PROTECTED and flag is not Flag.MAY_REPLICATE
}


@dataclass(frozen=True, slots=True)
class Keys:
    """Where the keys stand among all words of a request (the command's name is word 0, of a sub-command words 0 and 1).

    :param first: the first key's word; 0 = the command has no keys at fixed places
    :param last: the last key's word; negative counts from the end
    :param step: from one key to the next (MSET: 2)
    :param count_at: the word that says how many keys follow it (ZUNION: 1); the keys begin right after it. `first`, if
        not 0, is then one more key (ZUNIONSTORE: 1 and count_at=2)
    """

    first: int = 0
    last: int = 0
    step: int = 1
    count_at: int = 0

    def find(self, argv: Sequence[bytes]) -> list[int]:
        """The indexes of the keys in a whole request; a count that is no number, or too large, finds none."""
        found = []
        if self.first and self.first < len(argv):
            last = self.last if self.last >= 0 else len(argv) + self.last
            found = list(range(self.first, min(last, len(argv) - 1) + 1, self.step))
        if self.count_at:
            try:
                count = int(argv[self.count_at])
            except (ValueError, IndexError):
                return []
            if count < 1 or self.count_at + count >= len(argv):
                return []
            found += range(self.count_at + 1, self.count_at + 1 + count)
        return found


NO_KEYS: Final = Keys()
FIRST_KEY: Final = Keys(1, 1)
FIRST_TWO_KEYS: Final = Keys(1, 2)
ALL_KEYS: Final = Keys(1, -1)
ALL_BUT_LAST: Final = Keys(1, -2)
SECOND_KEY: Final = Keys(2, 2)
EVERY_SECOND_KEY: Final = Keys(1, -1, 2)


@dataclass(frozen=True, slots=True)
class Across:
    """How several shards answer one command together (class S).

    :param merge: makes one reply of the parts' decoded replies. It gets ``(request, parts)``: the words of the whole
        request and a list of ``(words of the part, decoded reply)`` in order of shards, and returns a value or a
        `CommandError`. It concatenates and counts; it does not compute. Errors never reach it: the first part's error
        is the reply.
    :param everywhere: sent to all shards, whatever its keys (DBSIZE, FLUSHALL); otherwise the words are dealt out by
        key
    :param part: the words of one shard's part: ``(request, key indexes of that shard, holds the first key) -> words``;
        by default the request with the keys (and, with a step, what belongs to them) of the shard alone, the count word
        corrected
    """

    merge: Callable[[Sequence[bytes], list[tuple[Sequence[bytes], Any]]], Any]
    everywhere: bool = False
    part: Callable[[Sequence[bytes], list[int], bool], list[bytes]] | None = None
    #: a compiled merge that does the same as `merge`: "ok" (all say OK), "sum" (integers), "places" (arrays in key
    #: order)
    native: str = ""


#: What stands for a secret.
REDACTED: Final = b"(redacted)"


@dataclass(slots=True)
class Command:
    """One row of the table."""

    name: str  #: lower case, sub-commands as ``config|get``
    handler: Callable[..., Any]
    arity: int  #: words of a whole request, the name included; negative = at least
    keys: Keys
    flags: Flag
    group: str
    across: Across | None
    since: str
    complexity: str
    effect: str  #: "" = the command itself, "own" = its handler declares it
    #: which words of a request (the whole of it) hold secrets: never shown in the slow log or anywhere else
    secrets: Callable[[Sequence[bytes]], Iterable[int]] | None = None
    number: int = -1
    subcommands: dict[bytes, Command] = field(default_factory=dict)
    summary: str = ""
    syntax: str = ""

    @property
    def on_shard(self) -> bool:
        """Runs on a shard (`db` is its first parameter) rather than in the frontend."""
        return _place(self.handler) == "db"

    @property
    def words(self) -> int:
        """How many words name it: 1, or 2 for a sub-command."""
        return 2 if "|" in self.name else 1

    def accepts(self, words: int) -> bool:
        """Whether a request of so many words fits the arity."""
        return words == self.arity if self.arity >= 0 else words >= -self.arity

    def redacted(self, words: Sequence[bytes]) -> list[bytes]:
        """A request, or what there is of it, as it may be shown to others than its client."""
        secrets = set() if self.secrets is None else set(self.secrets(words))
        return [REDACTED if place in secrets else word for place, word in enumerate(words)]


@cache
def _place(handler: Callable[..., Any]) -> str:
    return next(iter(inspect.signature(handler).parameters), "")


#: By lower-case name; containers too. Filled by importing the families: use `load()`.
_declared: dict[str, Command] = {}


def command(
    name: str,
    *,
    arity: int,
    keys: Keys = NO_KEYS,
    flags: Flag = Flag(0),  # noqa: B008
    across: Across | None = None,
    since: str = "1.0.0",
    complexity: str = "O(1)",
    effect: str = "",
    secrets: Callable[[Sequence[bytes]], Iterable[int]] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a command; `name` is one word, or two for a sub-command.

    The docstring's first paragraph gives the syntax and, after `` -- ``, the summary.
    """

    def declare(handler: Callable[..., Any]) -> Callable[..., Any]:
        lower = name.lower().replace(" ", "|")
        assert lower not in _declared, f"{name} is declared twice"
        family = handler.__module__.rpartition(".")[2]
        paragraph = (inspect.getdoc(handler) or name).partition("\n\n")[0]
        syntax, _, summary = " ".join(paragraph.split()).partition(" -- ")
        _declared[lower] = Command(
            lower, handler, arity, keys, flags, GROUPS.get(family, "generic"), across, since, complexity, effect,
            secrets, summary=summary, syntax=syntax,
        )  # fmt: skip
        return handler

    return declare


def container_handler(conn: Any, *args: bytes) -> Any:
    """A container called without a known sub-command never runs: the gate refuses it."""
    raise AssertionError("a container has no handler")


def _age(name: str) -> tuple[list[int], str]:
    """Oldest first: a container came with its first sub-command."""
    return [int(part) for part in _declared[name].since.split(".")], name


@cache
def load() -> dict[str, Command]:
    """Import every family and return the table: lower-case name -> command, in order of numbers."""
    for family in FAMILIES:
        importlib.import_module(f"mpkv.commands.{family}")
    for name in sorted((name for name in _declared if "|" in name), key=_age):
        container, _, word = name.partition("|")
        member = _declared[name]
        if container not in _declared:
            _declared[container] = Command(
                container, container_handler, -2, NO_KEYS, Flag(0), member.group, None, member.since,
                "Depends on subcommand.", "",
                summary=f"A container for {container} commands.", syntax=container.upper(),
            )  # fmt: skip
        _declared[container].subcommands[word.encode()] = member
    table = dict(sorted(_declared.items()))
    for number, spec in enumerate(table.values()):
        spec.number = number
    return table
