"""How much memory data takes: for each kind of data the growth of used_memory and of the proportional set size.

Every kind has fresh servers, so that nothing is measured that an earlier one has left behind. What is measured first is
what a server allocates once, for its first client and its first value of the kind; that is not the data's.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import Final

from side_by_side.lines import key_name, send_all
from side_by_side.report import NONE, Requirement, Section, Table, decimal, ratio
from side_by_side.servers import Server, Session
from side_by_side.settings import Settings

Command = tuple[bytes | str | int, ...]

#: After a load, until what a server does afterwards (rehashing, giving memory back) is done.
_SETTLE_S: Final = 2.0
#: Of mpkv: what the kernel counts by what is accounted.
_PSS_PROMISE: Final = 1.15
#: One in so many values is there before the measurement begins: what a server takes for its first traffic is no data.
_FIRST: Final = 10


@dataclass(frozen=True)
class Data:
    """`number` units (keys, or members of one key), made by ``commands(first, end)``; at most `most` times what
    redis-server takes for one."""

    name: str
    number: int
    most: float
    commands: Callable[[int, int], Iterable[Command]]


def _value(number: int) -> bytes:
    return b"%032x" % random.Random(number).getrandbits(128)


def _strings(first: int, end: int) -> Iterator[Command]:
    return ((b"SET", key_name(number), _value(number)) for number in range(first, end))


def _volatile(first: int, end: int) -> Iterator[Command]:
    return ((b"SET", key_name(number), _value(number), b"EX", 100_000 + number) for number in range(first, end))


def _hashes(first: int, end: int) -> Iterator[Command]:
    for number in range(first, end):
        pairs = [word for field in range(10) for word in (b"field:%d" % field, b"%016d" % (number * 10 + field))]
        yield (b"HSET", key_name(number), *pairs)


def _lists(first: int, end: int) -> Iterator[Command]:
    for number in range(first, end):
        yield (b"RPUSH", key_name(number), *(b"element:%08d" % (number * 20 + at) for at in range(20)))


def _integers(first: int, end: int) -> Iterator[Command]:
    for number in range(first, end):
        yield (b"SADD", key_name(number), *(1_000_000 + number * 20 + at for at in range(20)))


def _small_sorted_sets(first: int, end: int) -> Iterator[Command]:
    for number in range(first, end):
        pairs = [word for at in range(20) for word in (1000 + at * 37, b"member:%03d" % at)]
        yield (b"ZADD", key_name(number), *pairs)


def _in_one(name: bytes, make: Callable[[int], Command]) -> Callable[[int, int], Iterator[Command]]:
    """One key, by commands of a hundred members."""

    def commands(first: int, end: int) -> Iterator[Command]:
        members = (word for number in range(first, end) for word in make(number))
        words = 100 * len(make(0))
        while some := tuple(islice(members, words)):
            yield (name, b"large", *some)

    return commands


DATA: Final = (
    Data("2 million strings, keys of 16, values of 32 bytes", 2_000_000, 0.70, _strings),
    Data("the same with a TTL each", 2_000_000, 0.65, _volatile),
    Data("200,000 hashes of 10 fields (7 + 16 bytes)", 200_000, 0.95, _hashes),
    Data("1 hash of 1 million fields", 1_000_000, 0.8, _in_one(b"HSET", lambda n: (b"field:%07d" % n, b"%012d" % n))),
    Data("1 set of 1 million members", 1_000_000, 0.8, _in_one(b"SADD", lambda n: (b"member:%07d" % n,))),
    Data("1 sorted set of 1 million members", 1_000_000, 0.8,
         _in_one(b"ZADD", lambda n: (n * 7919 % 1_000_003, b"member:%07d" % n))),
    Data("200,000 lists of 20 (16 bytes)", 200_000, 1.0, _lists),
    Data("200,000 sets of 20 integers", 200_000, 1.0, _integers),
    Data("200,000 sorted sets of 20", 200_000, 1.0, _small_sorted_sets),
)  # fmt: skip


@dataclass(frozen=True)
class _Growth:
    used: float  #: bytes of used_memory for one unit
    pss: float  #: bytes of the proportional set size for one unit


def measure(settings: Settings) -> Section:
    """Each kind of data on mpkv, with two workers unless told otherwise, and on redis-server."""
    share = 10 if settings.quick else 1
    settings.progress.section("memory", 2 * len(DATA))
    section = Section("Memory")
    table = Table([
        "data", "redis-server used", "mpkv used", "ratio", "at most", "redis-server PSS", "mpkv PSS", "ratio",
        "mpkv PSS by used",
    ])  # fmt: skip
    failed, most_pss = [], 0.0
    for data in DATA:
        with ExitStack() as stack:
            found = settings.start_both(stack, workers=2)
            grown = [_grow(settings, server, data, data.number // share) for server in found]
        mine, reference = grown[0], grown[1] if len(grown) > 1 else None
        times = None if reference is None else mine.used / reference.used
        if times is not None and times > data.most:
            failed.append(f"{data.name}: {ratio(times)}")
        most_pss = max(most_pss, mine.pss / mine.used)
        table.rows.append([
            data.name, NONE if reference is None else decimal(reference.used, 1), decimal(mine.used, 1), ratio(times),
            ratio(data.most), NONE if reference is None else decimal(reference.pss, 1), decimal(mine.pss, 1),
            NONE if reference is None else ratio(mine.pss / reference.pss), ratio(mine.pss / mine.used),
        ])  # fmt: skip
    section.parts.append(
        f"Bytes for one key, or for one member of a single large value: the growth of used_memory, and of the "
        f"proportional set size of all processes. 2 workers{'; a tenth of the numbers named' if share > 1 else ''}."
    )
    section.parts.append(table)
    section.requirements = [
        Requirement("memory of each kind of data: at most the share of redis-server's in the table",
                    ", ".join(failed) or "all below", None if len(grown) < 2 else not failed),
        Requirement(f"growth of the proportional set size: at most {_PSS_PROMISE} × what is accounted",
                    f"most: {most_pss:.2f} ×", most_pss <= _PSS_PROMISE),
    ]  # fmt: skip
    return section


def _grow(settings: Settings, server: Server, data: Data, number: int) -> _Growth:
    settings.progress.step(f"{data.name}: {server.name}")
    first = number // _FIRST
    before = _load(server, data, 0, first)
    after = _load(server, data, first, number)
    return _Growth(*((new - old) / (number - first) for old, new in zip(before, after, strict=True)))


def _load(server: Server, data: Data, first: int, end: int) -> tuple[int, int]:
    """Put in units; (used_memory, proportional set size) afterwards."""
    with Session(server.port) as session:
        send_all(session, data.commands(first, end), batch=1000)
        time.sleep(_SETTLE_S)
        info = session.call("INFO", "memory").decode()
    used = next(line for line in info.splitlines() if line.startswith("used_memory:"))
    return int(used.partition(":")[2]), server.pss_bytes()
