"""What the clients have seen: written by each client process once a second, read and added up by who started them.

A file per process, a line per second, each with what was new in that second. So nothing is lost when a client is
killed, a progress line can be shown meanwhile, and a run can be cut into its stages afterwards.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from traffic.histogram import Histogram

PERIOD_S: Final = 1.0
#: Under this name stands how late the client was by its own fault: it is no request.
OVERSLEPT: Final = "client: woken late"
#: Requests that were due when the run ended, by how long they had waited: so a standstill at the end is seen too.
UNSENT: Final = "due, not sent by the end"

#: Kinds of failures. Interrupted: the server said that it is not there for the moment, or was not.
INTERRUPTED: Final = "interrupted"
REFUSED: Final = "refused"
WRONG: Final = "wrong"


@dataclass
class Series:
    """What is known of the requests of one name. A failure is counted under `kind: text`; its latency is not."""

    latency: Histogram = field(default_factory=Histogram)
    failures: Counter[str] = field(default_factory=Counter)
    received_bytes: int = 0

    def add(self, other: Series) -> None:
        self.latency.add(other.latency)
        self.failures.update(other.failures)
        self.received_bytes += other.received_bytes

    @property
    def requests(self) -> int:
        """Answered and failed."""
        return self.latency.total + sum(self.failures.values())

    def failed(self, *kinds: str) -> int:
        """How many requests failed in one of these ways."""
        return sum(count for text, count in self.failures.items() if text.partition(":")[0] in kinds)

    def as_json(self) -> dict[str, Any]:
        latency = self.latency
        return {
            "counts": latency.counts, "sum_us": latency.sum_us, "max_us": latency.max_us,
            "failures": self.failures, "received_bytes": self.received_bytes,
        }  # fmt: skip

    @classmethod
    def from_json(cls, read: dict[str, Any]) -> Series:
        counts = {int(bucket): count for bucket, count in read["counts"].items()}
        latency = Histogram(counts, read["sum_us"], read["max_us"])
        return cls(latency, Counter(read["failures"]), read["received_bytes"])


@dataclass
class Sample:
    """One process in one second."""

    pid: int
    at_s: float  #: end of the second, Unix time
    users: int
    cpu_s: float  #: used by the process since it began
    series: dict[str, Series]


class Recorder:
    """A client process' side: counts, and writes what is new."""

    def __init__(self, folder: Path) -> None:
        self.users = 0
        self._path = folder / f"client-{os.getpid()}.jsonl"
        self._series: dict[str, Series] = {}

    def answered(self, name: str, us: int, received_bytes: int = 0) -> None:
        series = self._of(name)
        series.latency.record(us)
        series.received_bytes += received_bytes

    def failed(self, name: str, kind: str, text: str) -> None:
        self._of(name).failures[f"{kind}: {text}"] += 1

    def overslept(self, us: int) -> None:
        self._of(OVERSLEPT).latency.record(us)

    def _of(self, name: str) -> Series:
        if name not in self._series:
            self._series[name] = Series()
        return self._series[name]

    def write(self) -> None:
        """Append a line with what is new since the last."""
        series, self._series = self._series, {}
        line = {
            "pid": os.getpid(), "at_s": time.time(), "users": self.users, "cpu_s": time.process_time(),
            "series": {name: one.as_json() for name, one in series.items()},
        }  # fmt: skip
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")


class Reader:
    """The other side: gives every line once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offsets: Counter[Path] = Counter()

    def news(self) -> Iterator[Sample]:
        """What was written since the last call. A line that is not finished waits for the next."""
        for path in sorted(self._folder.glob("client-*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._offsets[path])
                whole, _, _ = file.read().rpartition(b"\n")
            if whole:
                self._offsets[path] += len(whole) + 1
                yield from map(_sample, whole.split(b"\n"))


def _sample(line: bytes) -> Sample:
    read = json.loads(line)
    read["series"] = {name: Series.from_json(one) for name, one in read["series"].items()}
    return Sample(**read)


def added_up(samples: Iterable[Sample]) -> dict[str, Series]:
    """Name -> all that was recorded under it."""
    found: dict[str, Series] = {}
    for sample in samples:
        for name, series in sample.series.items():
            found.setdefault(name, Series()).add(series)
    return dict(sorted(found.items()))


def requests_only(series: dict[str, Series]) -> dict[str, Series]:
    """Without what the client notes about itself."""
    return {name: one for name, one in series.items() if name != OVERSLEPT}


def total_of(series: dict[str, Series]) -> Series:
    """All requests together."""
    total = Series()
    for one in requests_only(series).values():
        total.add(one)
    return total
