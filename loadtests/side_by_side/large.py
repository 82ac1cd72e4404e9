"""What large values cost: SET and GET of 16 KiB, 64 KiB and 1 MB, with redis-benchmark, on servers that take turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Final

from side_by_side import redis_benchmark
from side_by_side.redis_benchmark import Run
from side_by_side.report import NONE, Requirement, Section, Table, count, decimal, ratio
from side_by_side.servers import Server, Session, pack
from side_by_side.settings import Settings

#: Name -> bytes of a value. The last is what is promised for.
_SIZES: Final = {"16 KiB": 16 << 10, "64 KiB": 64 << 10, "1 MB": 1_000_000}
_COMMANDS: Final = ("SET", "GET")
#: A few keys, so that they lie on all shards and the values of all of them fit into any memory.
_KEYS: Final = 16
_CONNECTIONS: Final = 50
#: Bytes of all values of the run that finds out how fast the servers are.
_TRIAL_BYTES: Final = 100_000_000
_SPEED_PROMISE: Final = 0.8
_CPU_PROMISE: Final = 1.5


@dataclass
class _Row:
    """The rounds of one command at one size: a run per server, in the order of the servers."""

    size: str
    command: str
    rounds: list[list[Run]]

    def median_of(self, server: int, number: Callable[[Run], float]) -> float | None:
        return median(number(runs[server]) for runs in self.rounds) if len(self.rounds[0]) > server else None

    def ratio_of(self, number: Callable[[Run], float]) -> float | None:
        """The first server's by the second's."""
        return median(number(runs[0]) / number(runs[1]) for runs in self.rounds) if len(self.rounds[0]) > 1 else None

    @property
    def speed_ratio(self) -> float | None:
        return self.ratio_of(lambda run: run.requests_per_s)

    @property
    def cpu_ratio(self) -> float | None:
        return self.ratio_of(lambda run: run.total_cpu_us)


def measure(settings: Settings) -> Section:
    """Large values on mpkv and redis-server."""
    rounds = settings.rounds if settings.quick else settings.rounds + 2
    settings.progress.section("large", len(_SIZES) * len(_COMMANDS) * (rounds + 1))
    with ExitStack() as stack:
        found = settings.start_both(stack)
        rows = [_measure(found, settings, size, command, rounds) for size in _SIZES for command in _COMMANDS]
    section = Section("Large values", [
        f"redis-benchmark, {_CONNECTIONS} connections, pipeline 1, {_KEYS} keys, {rounds} alternating rounds: medians; "
        "the ratios are medians of the rounds' ratios. CPU is that of all threads of all processes, the kernel's share "
        "included.",
        _table(rows),
    ])  # fmt: skip
    promised = [row for row in rows if row.size == list(_SIZES)[-1]]
    section.requirements = [
        _promise(f"1 MB SET and GET: at least {_SPEED_PROMISE:.2f} ×", promised, lambda row: row.speed_ratio, True),
        _promise(f"1 MB SET and GET: at most {_CPU_PROMISE:.2f} × the CPU", promised, lambda row: row.cpu_ratio, False),
    ]
    return section


def _measure(found: Sequence[Server], settings: Settings, size: str, command: str, rounds: int) -> _Row:
    settings.progress.step(f"{size} {command}, trial")
    trial = _TRIAL_BYTES // _SIZES[size]
    slowest = min(_run(server, size, command, trial).requests_per_s for server in found)
    requests = max(trial, int(slowest * settings.seconds))
    row = _Row(size, command, [])
    for number in range(rounds):
        settings.progress.step(f"{size} {command}, round {number + 1}")
        row.rounds.append([_run(server, size, command, requests) for server in found])
    return row


def _run(server: Server, size: str, command: str, requests: int) -> Run:
    with Session(server.port) as session:
        session.call("FLUSHALL")
        if command == "GET":
            value = b"x" * _SIZES[size]
            for number in range(_KEYS):
                session.pipe([pack((b"SET", b"key:%012d" % number, value))])
    arguments = ("-d", str(_SIZES[size]), "-t", command.lower())
    return redis_benchmark.run(
        server, arguments, requests=requests, pipeline=1, keyspace=_KEYS, connections=_CONNECTIONS
    )


def _table(rows: Sequence[_Row]) -> Table:
    table = Table([
        "value", "redis-server req/s", "mpkv req/s", "ratio", "redis-server CPU µs", "mpkv CPU µs", "ratio",
        "= frontend", "+ workers",
    ])  # fmt: skip
    for row in rows:
        cpu = [row.median_of(server, lambda run: run.total_cpu_us) for server in (1, 0)]
        roles = [
            row.median_of(0, lambda run, role=role: run.cpu_us.get(role, 0.0)) for role in ("frontend", "workers")
        ]
        table.rows.append([
            f"{row.size} {row.command}", count(row.median_of(1, lambda run: run.requests_per_s)),
            count(row.median_of(0, lambda run: run.requests_per_s)), ratio(row.speed_ratio),
            *(decimal(number, 0) for number in cpu), ratio(row.cpu_ratio), *(decimal(number, 0) for number in roles),
        ])  # fmt: skip
    return table



def _promise(text: str, rows: Sequence[_Row], number: Callable[[_Row], float | None], at_least: bool) -> Requirement:
    measured = [(number(row), row.command) for row in rows]
    values = [value for value, _ in measured if value is not None]
    if not values:
        return Requirement(text, NONE, None)
    holds = min(values) >= _SPEED_PROMISE if at_least else max(values) <= _CPU_PROMISE
    return Requirement(text, ", ".join(f"{name} {ratio(value)}" for value, name in measured), holds)
