"""A client that sends at a fixed rate, whether or not the server keeps up, and says how long each answer took.

redis-benchmark sends the next request when the last is answered: a faster server is given more work, and a server that
stops for a moment is asked nothing in that moment. To compare latencies both servers must carry the same load, and
a late answer must count for all that came due meanwhile. So requests come due by the clock (a Poisson process of fixed
seed, in ticks of `TICK_S`), and latency is counted from when a request was due.
"""

from __future__ import annotations

import random
import socket
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyximport  # type: ignore[import-untyped]

from side_by_side import processes
from side_by_side.lines import key_name
from side_by_side.servers import HOST, ROOT, Server, pack

# The loop is compiled when it is first needed, beside what setup.py leaves
pyximport.install(build_dir=str(ROOT / "build" / "loadtests"))

from side_by_side import pacer  # noqa: E402

#: Requests come due in ticks: a timer of the kernel for each would cost more than the request.
TICK_S: Final = 0.0001
#: The first part of the answers is not counted: caches, and both ends' buffers, are cold.
_WARM_UP: Final = 0.1
#: Answers that are so late mean that the server does not carry the load.
_PATIENCE_S: Final = 3.0
_DIFFERENT_REQUESTS: Final = 20_000

_OK: Final = b"+OK\r\n"
_VALUE_REPLY: Final = b"$3\r\nxxx\r\n"

_FAILURES: Final[dict[int, str]] = {
    pacer.Ended.CLOSED: "the server closed a connection",
    pacer.Ended.REFUSED: "the server answered with an error",
}


@dataclass(frozen=True)
class Latencies:
    """What each answer took, in ascending order; `rate` is how many came in a second, `carried` its share of how many
    were to come, 0 if the server was given up, and `stolen` the share of CPU time that the hypervisor took.

    If a load is not carried the times are those of a growing queue, and say nothing of the server's.
    """

    taken_s: Sequence[float]
    rate: float
    stolen: float
    carried: float

    @property
    def p50_ms(self) -> float:
        return percentile_ms(self.taken_s, 0.5)

    @property
    def p99_ms(self) -> float:
        return percentile_ms(self.taken_s, 0.99)


def percentile_ms(taken_s: Sequence[float], share: float) -> float:
    """:param taken_s: in ascending order; nothing is found in none: NaN"""
    if not taken_s:
        return float("nan")
    return taken_s[min(len(taken_s) - 1, int(len(taken_s) * share))] * 1000


def run(
    server: Server, rate: float, seconds: float, *, keyspace: int, connections: int = 50, seed: int = 7
) -> Latencies:
    """Half SET, half GET, on random keys of a keyspace that is filled with values of 3 bytes."""
    chance = random.Random(seed)
    requests = [_request(chance, keyspace) for _ in range(_DIFFERENT_REQUESTS)]
    schedule = _schedule(chance, rate, seconds)
    taken = array("d", bytes(8 * sum(schedule)))
    sockets = [socket.create_connection((HOST, server.port)) for _ in range(connections)]
    try:
        for connection in sockets:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = pacer.Pacer([connection.fileno() for connection in sockets], requests)
        before = processes.machine_ticks()
        ended, answers, elapsed_s = client.drive(array("I", schedule), TICK_S, _PATIENCE_S, taken)
        after = processes.machine_ticks()
    finally:
        for connection in sockets:
            connection.close()
    if ended in _FAILURES:
        raise RuntimeError(f"{server.name}: {_FAILURES[ended]}")
    rate = answers / elapsed_s
    stolen = (after.stolen - before.stolen) / max(1, after.total - before.total)
    carried = rate * seconds / len(taken) if ended == pacer.Ended.ANSWERED else 0.0
    return Latencies(sorted(taken[int(len(taken) * _WARM_UP) : answers]), rate, stolen, carried)


def _request(chance: random.Random, keyspace: int) -> tuple[bytes, int]:
    """A request and the size of its answer."""
    key = key_name(chance.randrange(keyspace))
    if chance.random() < 0.5:
        return pack((b"SET", key, b"xxx")), len(_OK)
    return pack((b"GET", key)), len(_VALUE_REPLY)


def _schedule(chance: random.Random, rate: float, seconds: float) -> list[int]:
    """How many requests come due in each tick."""
    counts = [0] * int(seconds / TICK_S)
    at = chance.expovariate(rate)
    while (tick := int(at / TICK_S)) < len(counts):
        counts[tick] += 1
        at += chance.expovariate(rate)
    return counts
