"""How long answers take: at the same fixed rates, and beside a client that floods the server."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import mean, median
from typing import Final

from side_by_side import open_loop, redis_benchmark
from side_by_side.lines import fill_keyspace
from side_by_side.open_loop import Latencies
from side_by_side.report import NONE, Requirement, Section, Table, count, decimal, ratio
from side_by_side.servers import Server, Session
from side_by_side.settings import Settings

#: Loads, as shares of what the slower server carries without a pipeline; a quick run measures the last.
_LOADS: Final = (0.2, 0.4, 0.6)
_LATENCY_PROMISE: Final = 2.0
#: A guest's CPU is taken away for milliseconds at a time, by the hypervisor and by threads of its own kernel, which is
#: what a p99 shows then: near a hundredth of the time it is chance which server has the stall within its p99. A round
#: is so short that most of them have none, and there are so many that the median does not depend on the rest. What the
#: rounds with a stall were like is in the p99 of all requests, beside it.
_ROUNDS_EACH: Final = 15
_ROUND_S: Final = 0.25
#: A server carries a load if of the answers that were to come in a second so many do, in the median of the rounds.
_CARRIED: Final = 0.97

_FLOOD_PIPELINE: Final = 1000
_OTHERS: Final = 49
_FAIRNESS_PROMISE: Final = 3.0


# -- at equal load ----------------------------------------------------------------------------------------------------


def measure(settings: Settings) -> Section:
    """p50 and p99 of both servers at the same fixed rates."""
    loads = _LOADS[-1:] if settings.quick else _LOADS
    settings.progress.section("latency", 1 + len(loads) * settings.rounds)
    with ExitStack() as stack:
        found = settings.start_both(stack)
        settings.progress.step("how much the servers carry")
        for server in found:
            with Session(server.port) as session:
                fill_keyspace(session, settings.keyspace)
        carried = min(_speed(server, settings) for server in found)
        by_load = {load: _rounds(found, settings, carried * load, f"{load:.0%}") for load in loads}
    section = Section("Latency at equal load")
    section.parts.append(
        f"Half SET, half GET over {settings.keyspace:,} keys on 50 connections, sent at a fixed rate (an open loop; "
        f"a late answer counts from when the request was due); {settings.rounds * _ROUNDS_EACH} alternating rounds of "
        f"{_ROUND_S} s, medians, and the ratio of the medians; the last three columns are of all rounds' requests "
        f"together. Load is a share of what the slower server carries without a pipeline, {carried:,.0f} requests/s. "
        f"Stolen is the CPU time that the hypervisor gave to others meanwhile."
    )
    section.parts.append(_latency_table(found, by_load))
    section.requirements = [_latency_requirement(load, rounds) for load, rounds in by_load.items()]
    return section


def _speed(server: Server, settings: Settings) -> float:
    requests = 30_000 if settings.quick else 100_000
    return redis_benchmark.run(
        server, ("-t", "get"), requests=requests, pipeline=1, keyspace=settings.keyspace
    ).requests_per_s


def _rounds(found: Sequence[Server], settings: Settings, rate: float, name: str) -> list[list[Latencies]]:
    """In each round what each of the servers shows, in their order."""
    rounds = []
    for number in range(settings.rounds):
        settings.progress.step(f"load {name}, round {number + 1}")
        for seed in range(_ROUNDS_EACH):
            rounds.append([
                open_loop.run(server, rate, _ROUND_S, keyspace=settings.keyspace, seed=number * _ROUNDS_EACH + seed)
                for server in found
            ])
    return rounds


def _is_carried(rounds: Sequence[Latencies]) -> bool:
    return median(latencies.carried for latencies in rounds) >= _CARRIED


def _p99_times(rounds: list[list[Latencies]]) -> float | None:
    """mpkv's p99 by redis-server's; None if there is no telling."""
    if len(rounds[0]) < 2 or not all(_is_carried([row[at] for row in rounds]) for at in (0, 1)):
        return None
    ours, theirs = (median(row[at].p99_ms for row in rounds) for at in (0, 1))
    return ours / theirs


def _latency_requirement(load: float, rounds: list[list[Latencies]]) -> Requirement:
    text = f"p99 at {load:.0%} load: at most {_LATENCY_PROMISE:.0f} × redis-server's"
    times = _p99_times(rounds)
    if times is None:
        return Requirement(text, NONE if len(rounds[0]) < 2 else "the load was not carried", None)
    return Requirement(text, f"{times:.2f} ×", times <= _LATENCY_PROMISE)


def _latency_table(found: Sequence[Server], by_load: dict[float, list[list[Latencies]]]) -> Table:
    table = Table(["load", "server", "requests/s", "p50 ms", "p99 ms", "p99 ratio", "p99 of all", "p99.9", "stolen"])
    for load, rounds in by_load.items():
        for at, server in reversed(list(enumerate(found))):
            mine = [row[at] for row in rounds]
            together = sorted(taken_s for latencies in mine for taken_s in latencies.taken_s)
            table.rows.append([
                f"{load:.0%}", server.name, count(median(latencies.rate for latencies in mine)),
                decimal(median(latencies.p50_ms for latencies in mine), 3),
                decimal(median(latencies.p99_ms for latencies in mine), 3),
                ratio(_p99_times(rounds) if at == 0 else None) if _is_carried(mine) else "not carried",
                decimal(open_loop.percentile_ms(together, 0.99), 3),
                decimal(open_loop.percentile_ms(together, 0.999), 3),
                f"{mean(latencies.stolen for latencies in mine):.1%}",
            ])  # fmt: skip
    return table


# -- beside a flood ---------------------------------------------------------------------------------------------------


def measure_fairness(settings: Settings) -> Section:
    """What one client with a deep pipeline leaves the others."""
    settings.progress.section("fairness", settings.rounds)
    rounds: list[list[tuple[redis_benchmark.Run, float]]] = []
    with ExitStack() as stack:
        found = settings.start_both(stack)
        for server in found:
            with Session(server.port) as session:
                fill_keyspace(session, settings.keyspace)
        for number in range(settings.rounds):
            settings.progress.step(f"round {number + 1}")
            rounds.append([_beside_a_flood(server, settings) for server in found])
    table = Table(["server", "the others: req/s", "p50 ms", "p99 ms", "p99 ratio", "the flood: req/s"])
    times = median(row[0][0].p99_ms / row[1][0].p99_ms for row in rounds) if len(found) > 1 else None
    for at, server in reversed(list(enumerate(found))):
        runs = [row[at][0] for row in rounds]
        table.rows.append([
            server.name, count(median(run.requests_per_s for run in runs)),
            decimal(median(run.p50_ms for run in runs), 3), decimal(median(run.p99_ms for run in runs), 3),
            ratio(times if at == 0 else None), count(median(row[at][1] for row in rounds)),
        ])  # fmt: skip
    section = Section("Fairness")
    section.parts.append(
        f"{_OTHERS} clients send GET without a pipeline while another sends SET at pipeline {_FLOOD_PIPELINE:,}; "
        f"{settings.rounds} alternating rounds, medians."
    )
    section.parts.append(table)
    text = f"p99 beside a client at pipeline {_FLOOD_PIPELINE:,}: at most {_FAIRNESS_PROMISE:.0f} × redis-server's"
    holds = None if times is None else times <= _FAIRNESS_PROMISE
    section.requirements = [Requirement(text, ratio(times), holds)]
    return section


def _beside_a_flood(server: Server, settings: Settings) -> tuple[redis_benchmark.Run, float]:
    """The others' run, and the flood's requests per second meanwhile."""
    requests = 20_000 if settings.quick else 100_000
    with Session(server.port) as session, _flood(server, settings.keyspace):
        before, started = _commands_processed(session), time.perf_counter()
        run = redis_benchmark.run(
            server, ("-t", "get"), requests=requests, pipeline=1, keyspace=settings.keyspace, connections=_OTHERS
        )
        elapsed_s = time.perf_counter() - started
        return run, (_commands_processed(session) - before - requests) / elapsed_s


def _commands_processed(session: Session) -> int:
    lines = session.call("INFO", "stats").decode().splitlines()
    return next(int(line.partition(":")[2]) for line in lines if line.startswith("total_commands_processed:"))


@contextmanager
def _flood(server: Server, keyspace: int) -> Iterator[None]:
    """One client that sends a thousand commands at a time for as long as the block lasts."""
    command = redis_benchmark.command_line(
        server, ("-t", "set"), requests=2_000_000_000, pipeline=_FLOOD_PIPELINE, keyspace=keyspace, connections=1
    )
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as flood:
        try:
            time.sleep(0.3)
            if flood.poll() is not None:
                raise redis_benchmark.RunFailed("the flooding client ended")
            yield
        finally:
            flood.kill()
