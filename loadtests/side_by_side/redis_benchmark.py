"""One run of redis-benchmark: so many requests of one line, at one pipeline depth, and what they cost the server."""

from __future__ import annotations

import csv
import subprocess
from dataclasses import dataclass
from typing import Final

from side_by_side.servers import HOST, Server

_TIMEOUT_S: Final = 120.0
_CONNECTIONS: Final = 50


class RunFailed(Exception):
    """redis-benchmark gave no result; the text is what it said."""


@dataclass(frozen=True)
class Run:
    """A result: requests per second, latencies as the clients saw them, CPU time per request by role."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: dict[str, float]

    @property
    def total_cpu_us(self) -> float:
        return sum(self.cpu_us.values())


def command_line(
    server: Server,
    arguments: tuple[str, ...],
    *,
    requests: int,
    pipeline: int,
    keyspace: int,
    connections: int = _CONNECTIONS,
) -> list[str]:
    numbers = {"-p": server.port, "-n": requests, "-P": pipeline, "-r": keyspace, "-c": connections}
    options = [word for name, number in numbers.items() for word in (name, str(number))]
    return ["redis-benchmark", "-h", HOST, *options, "--csv", *arguments]


def run(
    server: Server,
    arguments: tuple[str, ...],
    *,
    requests: int,
    pipeline: int,
    keyspace: int,
    connections: int = _CONNECTIONS,
) -> Run:
    """Run it to its end. Raises RunFailed."""
    command = command_line(
        server, arguments, requests=requests, pipeline=pipeline, keyspace=keyspace, connections=connections
    )
    before = server.cpu_ns()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"{server.name}: no result within {_TIMEOUT_S:.0f} s") from None
    after = server.cpu_ns()
    rows = list(csv.DictReader(done.stdout.splitlines()))
    if done.returncode or len(rows) != 1:
        raise RunFailed(f"{server.name}: {(done.stderr or done.stdout).strip()[-300:]}")
    row = rows[0]
    return Run(
        float(row["rps"]), float(row["p50_latency_ms"]), float(row["p99_latency_ms"]),
        {role: (after[role] - before[role]) / requests / 1000 for role in after},
    )  # fmt: skip
