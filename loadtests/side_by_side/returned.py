"""What deleting gives back to the system: memory when full, when nine keys of ten are deleted, and when all are."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from side_by_side.lines import key_name, send_all
from side_by_side.report import Section, Table, decimal
from side_by_side.servers import Server, Session
from side_by_side.settings import Settings

Command = tuple[bytes | str | int, ...]

#: After each step, until what a server does afterwards (freeing in slices, giving pages back) is done.
_SETTLE_S: Final = 4.0
_DELETED: Final = 0.9
_KEYS_PER_DEL: Final = 100


@dataclass(frozen=True)
class _Mix:
    """`number` keys of about 300 MB in all, each made by ``command(chance, key)``."""

    name: str
    number: int
    command: Callable[[random.Random, bytes], Command]


def _small_string(chance: random.Random, key: bytes) -> Command:
    return (b"SET", key, b"v" * chance.randrange(16, 513))


def _string_of_any_magnitude(chance: random.Random, key: bytes) -> Command:
    return (b"SET", key, b"v" * int(2 ** chance.uniform(5, 16)))


def _small_collection(chance: random.Random, key: bytes) -> Command:
    name = chance.choice((b"HSET", b"RPUSH", b"SADD", b"ZADD"))
    words: list[bytes | int] = []
    for at in range(chance.randrange(2, 61)):
        word = b"%x" % chance.getrandbits(chance.randrange(8, 100))
        words += {b"HSET": (b"field:%d" % at, word), b"ZADD": (at, word)}.get(name, (word,))
    return (name, key, *words)


_MIXES: Final = (
    _Mix("strings of 16 to 512 bytes", 950_000, _small_string),
    _Mix("strings of 32 bytes to 64 KiB", 33_000, _string_of_any_magnitude),
    _Mix("hashes, lists, sets and sorted sets of 2 to 60", 500_000, _small_collection),
)


def measure(settings: Settings) -> Section:
    """One mix after another on the same servers, mpkv with two workers unless told otherwise."""
    share = 10 if settings.quick else 1
    table = Table(["data", "server", "full", "90 % deleted", "purged", "all deleted", "purged"])
    settings.progress.section("returned", 2 * len(_MIXES))
    with ExitStack() as stack:
        found = settings.start_both(stack, workers=2)
        time.sleep(_SETTLE_S)
        empty = {server.name: server.pss_bytes() for server in found}
        for mix in _MIXES:
            for server in reversed(found):
                settings.progress.step(f"{mix.name}: {server.name}")
                sizes = _come_and_go(server, mix, mix.number // share)
                grown = (decimal((size - empty[server.name]) / 1e6, 0) for size in sizes)
                table.rows.append([mix.name, server.name, *grown])
    return Section("Memory given back", [
        "Proportional set size in MB above that of the empty server: one mix of sizes after another on one server, "
        f"2 workers; first 90 % of the keys are deleted, drawn at random, then the rest; {_SETTLE_S:.0f} s after each "
        "step. Debian's redis-server has a jemalloc that cannot defragment actively.",
        table,
    ])  # fmt: skip


def _come_and_go(server: Server, mix: _Mix, number: int) -> list[int]:
    """Bytes after each step."""
    chance = random.Random(mix.name)
    order = list(range(number))
    chance.shuffle(order)
    first = int(number * _DELETED)
    sizes = []
    with Session(server.port) as session:

        def after(commands: Iterable[Command]) -> None:
            send_all(session, commands, batch=1000)
            time.sleep(_SETTLE_S)
            sizes.append(server.pss_bytes())

        after(mix.command(chance, key_name(at)) for at in range(number))
        after(_deletions(order[:first]))
        after([(b"MEMORY", b"PURGE")])
        after(_deletions(order[first:]))
        after([(b"MEMORY", b"PURGE")])
    return sizes


def _deletions(numbers: list[int]) -> Iterator[Command]:
    for first in range(0, len(numbers), _KEYS_PER_DEL):
        yield (b"DEL", *(key_name(at) for at in numbers[first : first + _KEYS_PER_DEL]))
