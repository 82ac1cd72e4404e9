"""How many requests a second, and what each costs: redis-benchmark's list on servers that take turns.

A machine's speed drifts, so the servers alternate within a line, and the ratio is the median of the rounds' own ratios.
A line's number of requests is the same for all, such that the slowest takes about the wanted time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Final

from side_by_side import redis_benchmark, servers
from side_by_side.lines import MOST_POPS, Line
from side_by_side.redis_benchmark import Run, RunFailed
from side_by_side.report import NONE, Requirement, Section, Table, count, decimal, ratio
from side_by_side.servers import Server, Session
from side_by_side.settings import Settings

#: Requests of the run that finds out how fast a line is.
_TRIAL_REQUESTS: Final = 6000

_HEADLINE: Final = ("SET", "GET", "INCR")
#: What the store itself must be fast at.
_STORE: Final = ("LPUSH", "SADD", "HSET", "ZADD", "LRANGE_100", "ZRANGE_100", "HGETALL_10")
#: (pipeline depth, lines, what they must reach); None: all lines that are not named for that depth.
_PROMISES: Final[tuple[tuple[int, tuple[str, ...] | None, float], ...]] = (
    (1, _HEADLINE, 0.60), (16, _HEADLINE, 0.85), (16, _STORE, 0.85), (16, None, 0.60),
)  # fmt: skip
_WORKERS_PROMISE: Final = 0.8


@dataclass
class Measured:
    """The rounds of one line at one depth: a run per server and round, in the order of the servers."""

    line: Line
    pipeline: int
    rounds: list[list[Run]] = field(default_factory=list)
    failure: str = ""

    def median_of(self, server: int, number: Callable[[Run], float]) -> float | None:
        return median(number(runs[server]) for runs in self.rounds) if self.rounds else None

    def speed(self, server: int) -> float | None:
        return self.median_of(server, lambda run: run.requests_per_s)

    def speed_ratio(self) -> float | None:
        """The first server's speed by the second's."""
        if not self.rounds or len(self.rounds[0]) < 2:
            return None
        return median(runs[0].requests_per_s / runs[1].requests_per_s for runs in self.rounds)

    def milliseconds(self, server: int) -> str:
        p50 = self.median_of(server, lambda run: run.p50_ms)
        p99 = self.median_of(server, lambda run: run.p99_ms)
        return f"{decimal(p50)} / {decimal(p99)}"

    def cpu_us(self, server: int, role: str) -> str:
        return decimal(self.median_of(server, lambda run: run.cpu_us.get(role, 0.0)))

    def total_cpu_us(self, server: int) -> float | None:
        return self.median_of(server, lambda run: run.total_cpu_us)


class _Bench:
    """Runs one line after the other on the same servers."""

    def __init__(self, found: Sequence[Server], settings: Settings) -> None:
        self.servers = found
        self.settings = settings

    def measure(self, line: Line, pipeline: int, rounds: int) -> Measured:
        measured = Measured(line, pipeline)
        try:
            requests = self._choose_requests(line, pipeline)
            for number in range(rounds):
                self._announce(line, pipeline, f"round {number + 1}")
                measured.rounds.append([self._run(server, line, pipeline, requests) for server in self.servers])
        except RunFailed as error:
            measured.failure = f"{line.name} at pipeline {pipeline} failed: {error}"
        return measured

    def _announce(self, line: Line, pipeline: int, what: str) -> None:
        self.settings.progress.step(f"pipeline {pipeline}, {line.name}, {what}")

    def _choose_requests(self, line: Line, pipeline: int) -> int:
        """As many as the slowest server answers in the wanted time."""
        self._announce(line, pipeline, "trial")
        trial = _TRIAL_REQUESTS + 100 * pipeline
        slowest = min(self._run(server, line, pipeline, trial).requests_per_s for server in self.servers)
        requests = max(trial, int(slowest * self.settings.seconds))
        return min(requests, MOST_POPS) if line.pops else requests

    def _run(self, server: Server, line: Line, pipeline: int, requests: int) -> Run:
        keyspace = self.settings.keyspace
        with Session(server.port) as session:
            session.call("FLUSHALL")
            if line.prepare is not None:
                line.prepare(session, keyspace, requests)
        return redis_benchmark.run(server, line.arguments, requests=requests, pipeline=pipeline, keyspace=keyspace)


def _steps(settings: Settings, pipelines: Sequence[int], rounds: int) -> int:
    return len(settings.lines) * len(pipelines) * (rounds + 1)


# -- mpkv beside redis-server -----------------------------------------------------------------------------------------


def measure(settings: Settings) -> Section:
    """The list on mpkv and redis-server."""
    settings.progress.section("throughput", _steps(settings, settings.pipelines, settings.rounds))
    with ExitStack() as stack:
        bench = _Bench(settings.start_both(stack), settings)
        results = [
            bench.measure(line, pipeline, settings.rounds) for pipeline in settings.pipelines for line in settings.lines
        ]
        beside = len(bench.servers) > 1
    section = Section("Throughput, and CPU time of the servers per request")
    section.parts.append(
        f"redis-benchmark, 50 connections, values of 3 bytes, keys out of {settings.keyspace:,} (`-r`), "
        f"{settings.rounds} alternating rounds: medians; the ratio is the median of the rounds' ratios. p50 and p99 "
        "are those of clients that send as fast as they are answered, so a faster server is under more load (for equal "
        "load see the section on latency). CPU is that of all threads of a process, the kernel's share included."
    )
    for pipeline in settings.pipelines:
        mine = [measured for measured in results if measured.pipeline == pipeline]
        section.parts += [f"### Pipeline {pipeline}", _side_by_side(mine, beside), *_failures(mine)]
    section.requirements = _promises_of(results)
    return section


def _side_by_side(results: Iterable[Measured], beside: bool) -> Table:
    columns = [
        "line", "redis-server req/s", "mpkv req/s", "ratio", "redis-server p50 / p99 ms", "mpkv p50 / p99 ms",
        "redis-server CPU µs", "mpkv CPU µs", "= frontend", "+ workers",
    ]  # fmt: skip
    table = Table(columns)
    for measured in results:
        reference = (NONE, NONE, NONE)
        if beside:
            reference = (count(measured.speed(1)), measured.milliseconds(1), decimal(measured.total_cpu_us(1)))
        table.rows.append([
            measured.line.name, reference[0], count(measured.speed(0)), ratio(measured.speed_ratio()), reference[1],
            measured.milliseconds(0), reference[2], decimal(measured.total_cpu_us(0)), measured.cpu_us(0, "frontend"),
            measured.cpu_us(0, "workers"),
        ])  # fmt: skip
    return table


def _failures(results: Iterable[Measured]) -> list[str]:
    return [f"- {measured.failure}" for measured in results if measured.failure]


def _promises_of(results: Sequence[Measured]) -> list[Requirement]:
    found = []
    for pipeline, names, limit in _PROMISES:
        named = {name for depth, lines, _ in _PROMISES if depth == pipeline and lines for name in lines}
        chosen = [
            measured
            for measured in results
            if measured.pipeline == pipeline
            and (measured.line.name in names if names else measured.line.name not in named)
        ]
        text = ", ".join(names) if names else "every other line"
        found.append(_at_least(f"{text} at pipeline {pipeline}", limit, chosen))
    return found


def _at_least(text: str, limit: float, results: Sequence[Measured]) -> Requirement:
    """All of them reach the limit; the worst is shown, and all that do not."""
    text = f"{text}: at least {limit:.2f} ×"
    failed = [f"{measured.line.name} failed" for measured in results if measured.failure]
    found = [(measured.speed_ratio(), f"{measured.line.name} (P{measured.pipeline})") for measured in results]
    reached = sorted((times, name) for times, name in found if times is not None)
    if not reached and not failed:
        return Requirement(text, NONE, None)
    below = [entry for entry in reached if entry[0] < limit]
    shown = [f"{name} {ratio(times)}" for times, name in below or reached[:1]]
    if below or failed:
        return Requirement(text, ", ".join(failed + shown), False)
    return Requirement(text, f"least: {shown[0]}", True)


# -- two workers beside one -------------------------------------------------------------------------------------------


def measure_workers(settings: Settings) -> Section:
    """The list on mpkv with two workers and with one: what the second costs where it has no core of its own."""
    pipelines = tuple(pipeline for pipeline in settings.pipelines if pipeline <= 16) or settings.pipelines
    pipelines = pipelines[-1:] if settings.quick else pipelines
    # More rounds, and shorter: on two cores it is mostly chance which process shares one with which in a single run
    settings = replace(settings, rounds=2 * settings.rounds + 1, seconds=settings.seconds / 2)
    settings.progress.section("workers", _steps(settings, pipelines, settings.rounds))
    with ExitStack() as stack:
        bench = _Bench([stack.enter_context(servers.mpkv(2)), stack.enter_context(servers.mpkv(1))], settings)
        results = [bench.measure(line, pipeline, settings.rounds) for pipeline in pipelines for line in settings.lines]
    kinds = ("1 worker req/s", "2 workers req/s", "ratio")
    table = Table(["line", *(f"P{pipeline}: {kind}" for pipeline in pipelines for kind in kinds)])
    for line in settings.lines:
        row = [line.name]
        for measured in results:
            if measured.line is line:
                row += [count(measured.speed(1)), count(measured.speed(0)), ratio(measured.speed_ratio())]
        table.rows.append(row)
    section = Section("Two workers against one", [table, *_failures(results)])
    section.requirements = [_at_least("two workers by one, every line", _WORKERS_PROMISE, results)]
    return section
