"""What the server says of itself: its `/metrics` before, during and after a run."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

_TIMEOUT_S: Final = 2.0
_LINE: Final = re.compile(r"([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)")

#: Name -> value, labels being part of the name.
Metrics = dict[str, float]


class NoMetrics(Exception):
    """The server was asked, and gave nothing that can be read."""


def parse(text: str) -> Metrics:
    """Prometheus' text format; raises `NoMetrics` for something else."""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            match = _LINE.match(line)
            if match is None:
                raise NoMetrics(f"not a line of metrics: {line[:60]!r}")
            found[match[1] + (match[2] or "")] = float(match[3])
    return found


def scrape(url: str) -> Metrics:
    """What it says now. Raises `NoMetrics`."""
    try:
        # a proxy of the environment knows nothing of a machine's own servers
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=_TIMEOUT_S) as answer:
            return parse(answer.read().decode())
    except (OSError, ValueError) as error:
        raise NoMetrics(f"{url}: {error}") from error


def total(metrics: Metrics, name: str) -> float | None:
    """The sum over all labels; None if there is no such metric."""
    found = [value for full, value in metrics.items() if full.partition("{")[0] == name]
    return sum(found) if found else None


@dataclass(frozen=True)
class Shown:
    """A line of the report. `per_second`: how fast it grew; otherwise its value and what it was before."""

    title: str
    name: str
    unit: str = ""
    per_second: bool = False


#: What a load test is read beside.
SHOWN: Final = (
    Shown("commands", "redis_commands_processed_total", "/s", True),
    Shown("CPU, user", "redis_cpu_user_seconds_total", " cores", True),
    Shown("CPU, system", "redis_cpu_sys_seconds_total", " cores", True),
    Shown("received", "redis_net_input_bytes_total", " B/s", True),
    Shown("sent", "redis_net_output_bytes_total", " B/s", True),
    Shown("keyspace hits", "redis_keyspace_hits_total", "/s", True),
    Shown("keyspace misses", "redis_keyspace_misses_total", "/s", True),
    Shown("expired keys", "redis_expired_keys_total", "/s", True),
    Shown("evicted keys", "redis_evicted_keys_total", "/s", True),
    Shown("connections", "redis_connections_received_total", "/s", True),
    Shown("connected clients", "redis_connected_clients"),
    Shown("blocked clients", "redis_blocked_clients"),
    Shown("keys", "redis_db_keys"),
    Shown("memory used", "redis_memory_used_bytes", " B"),
    Shown("memory resident", "redis_memory_used_rss_bytes", " B"),
)


def course_of(shown: Shown, samples: list[tuple[float, Metrics]]) -> list[tuple[float, float]]:
    """The line at each of the samples; those in which it is missing are left out."""
    values = [(at, value) for at, metrics in samples if (value := total(metrics, shown.name)) is not None]
    if not shown.per_second:
        return values
    # a counter that went back was another process'
    return [
        (at, (value - before) / (at - before_at))
        for (before_at, before), (at, value) in pairwise(values)
        if at > before_at and value >= before
    ]
