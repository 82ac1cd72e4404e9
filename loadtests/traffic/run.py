"""One run: clients and server watched from the outside, from the first request to the last.

`watch` is the loop that `load.py` and `soak.py` share: every second it takes what the clients have recorded and what
the server says of itself, writes a progress line, and calls whoever else wants to act at that moment.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from traffic.clients import Clients
from traffic.plan import Plan, Stage
from traffic.samples import OVERSLEPT, PERIOD_S, Sample, added_up, total_of
from traffic.scrape import Metrics, NoMetrics, scrape

_TURN_S: Final = 1.0
#: Where the output is not a terminal, a progress line is printed no more often than this.
_PLAIN_S: Final = 10.0
#: The first seconds are not judged: connections are made, caches are cold.
_WARM_UP_S: Final = 2.0
_MOST_WARM_UP: Final = 0.1


@dataclass
class Run:
    """What is known at the end."""

    plan: Plan
    samples: list[Sample] = field(default_factory=list)
    metrics: list[tuple[float, Metrics]] = field(default_factory=list)  #: Unix time, what the server said
    metrics_missing: str = ""  #: why there are none

    @property
    def began_s(self) -> float:
        """When the first second began in which something was recorded, Unix time."""
        return min((sample.at_s for sample in self.samples if sample.series), default=0.0) - PERIOD_S

    def between(self, begin_s: float, end_s: float) -> list[Sample]:
        """What was recorded in this part of the run, in seconds from its beginning: a sample is where its middle is."""
        middle_s = self.began_s + PERIOD_S / 2
        return [sample for sample in self.samples if begin_s <= sample.at_s - middle_s < end_s]

    def of_stages(self) -> list[tuple[Stage, list[Sample]]]:
        """Each stage, and what was recorded in it; without the first seconds of the run."""
        found = []
        begin_s = 0.0
        warm_s = min(_WARM_UP_S, self.plan.seconds * _MOST_WARM_UP)
        for stage in self.plan.stages:
            # What is answered after the end was asked before
            end_s = begin_s + stage.seconds if stage != self.plan.stages[-1] else float("inf")
            found.append((stage, self.between(max(begin_s, warm_s), end_s)))
            begin_s = end_s
        return found


def seconds_of(samples: Iterable[Sample]) -> float:
    """How long a time was recorded: by that process which has recorded longest, in seconds with users."""
    counts = Counter(sample.pid for sample in samples if sample.users)
    return max(counts.values(), default=0) * PERIOD_S


def watch(
    clients: Clients, plan: Plan, metrics_url: str | None, each_second: Callable[[float], str] = lambda elapsed_s: ""
) -> Run:
    """Wait for the end of the run. `each_second` gets the seconds since its beginning, and may add to the line."""
    run = Run(plan, clients.samples)
    began_s = time.monotonic()
    progress = _Progress()
    over = False
    while not over:
        over = clients.over
        if metrics_url is not None:
            _take_metrics(run, metrics_url)
        news = clients.news()
        elapsed_s = time.monotonic() - began_s
        progress.show(_line(news, elapsed_s, plan.seconds, each_second(elapsed_s)))
        if not over:
            time.sleep(_TURN_S - (time.monotonic() - began_s) % _TURN_S)
    progress.clear()
    if metrics_url is None:
        run.metrics_missing = "none were asked for"
    return run


def _take_metrics(run: Run, url: str) -> None:
    """A scrape that fails is a gap: the server may be on its way up."""
    try:
        run.metrics.append((time.time(), scrape(url)))
    except NoMetrics as error:
        run.metrics_missing = str(error)


def _line(news: list[Sample], elapsed_s: float, seconds: float, more: str) -> str:
    series = added_up(news)
    total = total_of(series)
    span_s = max(1.0, len({round(sample.at_s) for sample in news}))
    latency = total.latency
    rate = latency.total / span_s
    failed = sum(total.failures.values())
    users = sum({sample.pid: sample.users for sample in news}.values())
    times = (
        f"p50 {latency.percentile_us(50):,.0f} µs, p99 {latency.percentile_us(99):,.0f} µs" if latency.total else "–"
    )
    return f"{elapsed_s:4.0f}/{seconds:.0f} s: {users} users, {rate:,.0f} requests/s, {times}, {failed} failed{more}"


class _Progress:
    """One line on standard error, rewritten; on anything but a terminal a line now and then."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._printed_s = -_PLAIN_S

    def show(self, line: str) -> None:
        now_s = time.monotonic()
        if self._terminal:
            print(f"\r\x1b[K{line[:150]}", end="", file=sys.stderr, flush=True)
        elif now_s - self._printed_s >= _PLAIN_S:
            self._printed_s = now_s
            print(line, file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def overslept_p99_us(samples: list[Sample]) -> float:
    """How late the clients were by their own fault."""
    noted = added_up(samples).get(OVERSLEPT)
    return noted.latency.percentile_us(99) if noted else 0.0
