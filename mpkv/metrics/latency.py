"""The latency monitor: when the server was held up, by what, and for how long.

An *event* is a kind of work that can hold the server up: a command, a fork, a cycle that deletes expired keys. What
takes at least `latency-monitor-threshold` milliseconds leaves a sample; the last `SAMPLES` of each event are kept, and
of one second only the longest. Off while the threshold is 0.

The events' names are those of Redis, as far as the thing exists here. Every shard reports to the frontend, which has
one series for all of them: while one shard is held up, the others are not.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mpkv.shm.layout import LATENCY_EVENTS

SAMPLES: Final = 160
#: Columns of a graph before it goes on below, and characters that a column is high.
GRAPH_COLUMNS: Final = 80
GRAPH_ROWS: Final = 4
#: How far a value reaches into its topmost character: a third, two thirds, all of it.
_LEVELS: Final = "_o#"
_FULL: Final = "|"
#: Label of a sample's age: below so many seconds, in units of so many.
_AGES: Final = ((60, 1, "s"), (3600, 60, "m"), (86400, 3600, "h"), (None, 86400, "d"))


class Sample(NamedTuple):
    """The longest of one second."""

    time_s: int
    ms: int


class Latest(NamedTuple):
    """One row of LATENCY LATEST."""

    event: str
    time_s: int
    last_ms: int
    max_ms: int


@dataclass(slots=True)
class Series:
    """The samples of one event, the oldest first."""

    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    max_ms: int = 0

    def add(self, time_s: int, ms: int) -> None:
        self.max_ms = max(self.max_ms, ms)
        if self.samples and self.samples[-1].time_s == time_s:
            self.samples[-1] = Sample(time_s, max(ms, self.samples[-1].ms))
        else:
            self.samples.append(Sample(time_s, ms))


class LatencyMonitor:
    """All events.

    :param now_s: the time, in s since 1970
    """

    def __init__(self, now_s: Callable[[], float] = time.time) -> None:
        self.threshold_ms = 0
        self._now_s = now_s
        self._series: dict[str, Series] = {}

    def note(self, event: str, ms: int) -> bool:
        """Something took so long; whether that was too long and left a sample."""
        assert event in LATENCY_EVENTS, event
        too_long = 0 < self.threshold_ms <= ms
        if too_long:
            self._series.setdefault(event, Series()).add(int(self._now_s()), ms)
        return too_long

    def latest(self) -> list[Latest]:
        """Of every event its last sample and its longest."""
        return [Latest(event, *series.samples[-1], series.max_ms) for event, series in self._series.items()]

    def history(self, event: str) -> list[Sample]:
        series = self._series.get(event)
        return [] if series is None else list(series.samples)

    def reset(self, events: Sequence[str] = ()) -> int:
        """Forget these events, or all; how many there were."""
        found = [event for event in events or tuple(self._series) if self._series.pop(event, None) is not None]
        return len(found)

    def graph(self, event: str) -> str | None:
        """A picture of the samples, the newest to the right, each with its age below; None if there are none."""
        series = self._series.get(event)
        if series is None:
            return None
        samples = list(series.samples)
        lowest = min(sample.ms for sample in samples)
        highest = max(sample.ms for sample in samples)
        ages = [_age(int(self._now_s()) - sample.time_s) for sample in samples]
        head = f"{event} - high {highest} ms, low {lowest} ms (all time high {series.max_ms} ms)"
        return "\n".join([
            head, "-" * GRAPH_COLUMNS, *_draw([sample.ms - lowest for sample in samples], ages, highest - lowest or 1),
        ]) + "\n"  # fmt: skip

    def report(self) -> str:
        """What LATENCY DOCTOR says."""
        if not self.threshold_ms and not self._series:
            return (
                "The latency monitor is off, so there is nothing to tell. It notes whatever takes at least so many "
                'milliseconds after "CONFIG SET latency-monitor-threshold <milliseconds>".\n'
            )
        if not self._series:
            return "Nothing has held this server up since it was started or reset.\n"
        lines = ["What has held this server up:", ""]
        lines += [
            f"{number}. {_findings(event, series)}" for number, (event, series) in enumerate(self._series.items(), 1)
        ]
        lines += ["", "What may help:", ""]
        lines += [f"- {advice}" for events, advice in _ADVICE if events & self._series.keys()]
        return "\n".join(lines) + "\n"


def _age(seconds: int) -> str:
    _, unit, letter = next(row for row in _AGES if row[0] is None or seconds < row[0])
    return f"{seconds // unit}{letter}"


def _draw(heights: Sequence[int], labels: Sequence[str], highest: int) -> list[str]:
    """Columns side by side from the top down, one empty line, and the labels written downwards; as many blocks as the
    width needs."""
    lines = []
    steps = len(_LEVELS) * GRAPH_ROWS
    for begin in range(0, len(heights), GRAPH_COLUMNS):
        columns = [min(height * steps // highest, steps - 1) for height in heights[begin : begin + GRAPH_COLUMNS]]
        texts = labels[begin : begin + GRAPH_COLUMNS]
        for row in reversed(range(GRAPH_ROWS)):
            lines.append("".join(_cell(step - row * len(_LEVELS)) for step in columns))
        lines.append(" " * len(columns))
        for place in range(max(map(len, texts))):
            lines.append("".join(text[place] if place < len(text) else " " for text in texts))
    return lines


def _cell(step: int) -> str:
    """One character of a column that ends `step` thirds above the bottom of that character."""
    if step < 0:
        return " "
    return _LEVELS[step] if step < len(_LEVELS) else _FULL


def _findings(event: str, series: Series) -> str:
    values = [sample.ms for sample in series.samples]
    average = sum(values) // len(values)
    deviation = sum(abs(value - average) for value in values) // len(values)
    seconds = max(1, series.samples[-1].time_s - series.samples[0].time_s)
    return (
        f"{event}: {len(values)} latency spikes (average {average}ms, mean deviation {deviation}ms, "
        f"period {seconds / len(values):.2f} sec). Worst all time event {series.max_ms}ms."
    )


#: Which events an advice is about.
_ADVICE: Final = (
    (
        {"command", "fast-command"},
        "SLOWLOG GET names the commands, SLOWLOG DETAILS says where their time went: in the queue of a shard, in "
        "execution, or on the way back. A long time in the queue is the fault of what ran before.",
    ),
    (
        {"command", "fast-command", "expire-cycle"},
        "Freeing a large value takes time, whether it is deleted or expires: several smaller ones are freed "
        "one by one, and UNLINK says that nobody waits for it.",
    ),
    (
        {"fast-command"},
        "Commands that touch one element are fast by nature. If they are not, look at the machine: too few cores for "
        "the workers and the frontend, memory that is swapped out, a noisy neighbour.",
    ),
    (
        {"fork"},
        "A fork takes the longer the more memory a worker has: more workers with less data each fork sooner. Huge "
        "pages and some kinds of virtual machines make it slow.",
    ),
    (
        {"expire-cycle"},
        "Many keys expire at the same time: spread their times to live, or lower active-expire-effort.",
    ),
)
