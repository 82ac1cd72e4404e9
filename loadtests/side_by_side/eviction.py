"""How well memory is used when it is short: the share of reads that find their key on the same Zipf trace.

What is compared is the choice of what goes, so both servers get memory for the same number of keys: they are filled
with so many, and what they then use becomes maxmemory. Reads come at a fixed rate, since clocks of keys tick in
seconds; a key that is not found is written.
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from traffic.zipf import EXPONENT, Zipf

from side_by_side.report import NONE, Requirement, Section, Table, decimal
from side_by_side.servers import Server, Session, pack
from side_by_side.settings import Settings

_KEYS: Final = 50_000
_FIT: Final = 10_000
_VALUE: Final = b"v" * 100
_BATCH: Final = 100
_RATE: Final = 20_000
_POLICIES: Final = ("allkeys-lru", "allkeys-lfu")
_PROMISE_POINTS: Final = 1.0


def measure(settings: Settings) -> Section:
    """Both servers, the policies that learn from use, with one and with two workers."""
    seconds = 5.0 if settings.quick else 20.0
    table = Table(["policy", "workers", "redis-server hits %", "mpkv hits %", "points", "over maxmemory at most"])
    trace = _trace(int(seconds * _RATE))
    worst = 0.0
    settings.progress.section("eviction", 2 * 2 * len(_POLICIES))
    compared = False
    for workers in (1, 2):
        for policy in _POLICIES:
            with ExitStack() as stack:
                found = replace(settings, workers=None).start_both(stack, workers=workers)
                shares = []
                for server in found:
                    settings.progress.step(f"{policy}, {server.name}")
                    shares.append(_hits(server, policy, trace))
            points = None
            if len(shares) > 1:
                compared = True
                points = 100 * (shares[0][0] - shares[1][0])
                worst = min(worst, points)
            table.rows.append([
                policy, str(workers), NONE if points is None else decimal(100 * shares[1][0]),
                decimal(100 * shares[0][0]), decimal(points), f"{100 * shares[0][1]:.2f} %",
            ])  # fmt: skip
    section = Section("Hits when memory is short")
    section.parts.append(
        f"{len(trace):,} reads of {_KEYS:,} keys (Zipf, {EXPONENT}) at {_RATE:,} a second, memory for {_FIT:,} of "
        "them; what is not found is written."
    )
    section.parts.append(table)
    section.requirements = [
        Requirement(f"hits on a Zipf trace: at most {_PROMISE_POINTS:.0f} point less than redis-server",
                    f"worst: {worst:+.2f}", worst >= -_PROMISE_POINTS if compared else None),
    ]  # fmt: skip
    return section


def _trace(count: int) -> list[int]:
    """Which key is read, one after the other; the keys' ranks are dealt out at random."""
    chance, zipf, names = random.Random(1), Zipf(_KEYS), list(range(_KEYS))
    chance.shuffle(names)
    return [names[zipf.choose(chance)] for _ in range(count)]


def _key(number: int) -> bytes:
    return b"key:%012d" % number


def _used(session: Session) -> int:
    info = session.call("INFO", "memory").decode()
    return int(next(line for line in info.splitlines() if line.startswith("used_memory:")).partition(":")[2])


def _hits(server: Server, policy: str, trace: list[int]) -> tuple[float, float]:
    """(share of reads in the second half that found their key, by how much maxmemory was exceeded at most)."""
    with Session(server.port) as session:
        session.pipe([pack((b"SET", b"fill:%011d" % number, _VALUE)) for number in range(_FIT)])
        time.sleep(0.5)
        limit = _used(session)
        session.call("CONFIG", "SET", "maxmemory-policy", policy)
        session.call("CONFIG", "SET", "maxmemory", limit)
        session.call("FLUSHALL")
        hits = counted = 0
        over = 0.0
        began = time.perf_counter()
        for at in range(0, len(trace), _BATCH):
            wait_s = began + at / _RATE - time.perf_counter()
            if wait_s > 0:
                time.sleep(wait_s)
            numbers = trace[at : at + _BATCH]
            replies = session.ask([pack((b"GET", _key(number))) for number in numbers])
            missed = {number for number, reply in zip(numbers, replies, strict=True) if reply is None}
            if at >= len(trace) // 2:
                counted += len(numbers)
                hits += sum(reply is not None for reply in replies)
            if missed:
                session.pipe([pack((b"SET", _key(number), _VALUE)) for number in sorted(missed)])
            if at // _BATCH % 50 == 0:
                over = max(over, _used(session) / limit - 1)
    return hits / counted, over
