"""Where the numbers of INFO and `/metrics` come from: the stats board, the configuration and the operating system.

Nothing here sends a message to another process. A `BoardSource` lives as long as its process; a `Reading` is one look
at it, which asks for each expensive thing once. INFO counts from the last CONFIG RESETSTAT, `/metrics` from the
beginning: that is the one difference between their readings.
"""

from __future__ import annotations

import hashlib
import platform
import sys
import time
from collections import deque
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from mpkv import __version__
from mpkv.config import Config
from mpkv.metrics.memory import Memory
from mpkv.shm.board import Block, Board
from mpkv.shm.layout import BUCKET_BOUNDS_NS, DatabaseRow, State
from mpkv.shm.segment import Segment

#: Redis measures rates over 16 samples of 100 ms.
_RATE_WINDOW_SECONDS: Final = 1.6
_RATE_SAMPLES: Final = 64

#: What the operating system knows of the processes is asked for at most this often.
_USAGE_AGE_SECONDS: Final = 0.5

#: A process whose heartbeat is older hangs, whatever it says that it does.
STALE_HEARTBEAT_MS: Final = 10_000
#: States in which a process does its work.
WORKING: Final = frozenset({State.READY, State.SAVING})

#: calls, nanoseconds, rejected, failed, count per latency bucket
CommandRow = tuple[int, int, int, int, list[int]]


@dataclass(frozen=True, slots=True)
class Usage:
    """What all processes together take from the machine."""

    resident_bytes: int = 0  #: pages that several have, of libraries and of the shared segment, count once
    user_seconds: float = 0.0
    system_seconds: float = 0.0
    children_user_seconds: float = 0.0
    children_system_seconds: float = 0.0
    main_user_seconds: float = 0.0  #: of the frontend alone, which is to clients what Redis' main thread is
    main_system_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Rates:
    """Per second, over the last moments."""

    commands: float = 0.0
    input_bytes: float = 0.0
    output_bytes: float = 0.0
    loops: float = 0.0
    loop_nanoseconds: float = 0.0


class BoardSource:
    """:param started_at: when the server started, in s since 1970; by default when the segment was created"""

    def __init__(self, segment: Segment, config: Config, started_at: float | None = None) -> None:
        self.segment = segment
        self.config = config
        self.board = Board(segment)
        self.started_at = segment.start_time_ms / 1000 if started_at is None else started_at
        self._samples: deque[tuple[float, tuple[int, ...]]] = deque(maxlen=_RATE_SAMPLES)
        self._usage = Usage()
        self._usage_until = 0.0

    def sample(self) -> None:
        """Note the counters that rates are made of. Called by the owner's tick, and by every reading."""
        now = time.monotonic()
        if not self._samples or now - self._samples[-1][0] >= _RATE_WINDOW_SECONDS / 16:
            self._samples.append((now, self._rate_counters()))

    def _rate_counters(self) -> tuple[int, ...]:
        total = self.board.total
        return (
            total("total_commands_processed"), total("total_net_input_bytes"), total("total_net_output_bytes"),
            total("eventloop_cycles"), total("eventloop_nanoseconds"),
        )  # fmt: skip

    def rates(self) -> Rates:
        self.sample()
        newest, last = self._samples[-1]
        # The oldest sample that is young enough; with rare samples, the one before the last.
        young = [sample for sample in self._samples if newest - sample[0] <= _RATE_WINDOW_SECONDS]
        oldest, first = young[0] if len(young) > 1 else self._samples[-2 if len(self._samples) > 1 else -1]
        seconds = newest - oldest
        return Rates(*((now - then) / seconds for now, then in zip(last, first, strict=True))) if seconds else Rates()

    def usage(self) -> Usage:
        now = time.monotonic()
        if now >= self._usage_until:
            self._usage = _not_less(_measure(self.board), self._usage)
            self._usage_until = now + _USAGE_AGE_SECONDS
        return self._usage


def _not_less(now: Usage, before: Usage) -> Usage:
    """Times never go back, though what a worker's children took is counted elsewhere once the worker is gone."""
    times = [max(pair) for pair in zip(astuple(now)[1:], astuple(before)[1:], strict=True)]
    return Usage(now.resident_bytes, *times)


def _measure(board: Board) -> Usage:
    private = shared = 0
    times = [0.0] * 4
    main = (0.0, 0.0)
    for block in board.processes:
        if not block.pid or block.state is State.DOWN:
            continue
        try:
            process = psutil.Process(block.pid)
            cpu = process.cpu_times()
            memory = process.memory_info()
        except psutil.Error:
            continue
        private += memory.rss - memory.shared
        shared = max(shared, memory.shared)
        spent = (cpu.user, cpu.system, cpu.children_user, cpu.children_system)
        if block.number == board.supervisor.number:
            # Its children are the workers: those that ended have their own place in the sum, not in that of snapshot
            # children.
            spent = (cpu.user + cpu.children_user, cpu.system + cpu.children_system, 0.0, 0.0)
        times = [so_far + new for so_far, new in zip(times, spent, strict=True)]
        if block.number == board.frontend.number:
            main = (cpu.user, cpu.system)
    return Usage(private + shared, times[0], times[1], times[2], times[3], *main)


class Reading:
    """One look at a source."""

    def __init__(self, source: BoardSource, *, since_reset: bool) -> None:
        self.source = source
        self.config = source.config
        self.board = source.board
        self.segment = source.segment
        self._since_reset = since_reset

    def count(self, name: str) -> int:
        """A number of the board over all processes."""
        return int(self.board.since_reset(name) if self._since_reset else self.board.total(name))

    @cached_property
    def commands(self) -> dict[str, CommandRow]:
        rows: dict[str, CommandRow] = self.board.commands_since_reset() if self._since_reset else self.board.commands()
        return dict(sorted(rows.items()))

    @cached_property
    def databases(self) -> dict[int, DatabaseRow]:
        """By index, of those that hold keys."""
        rows: dict[int, DatabaseRow] = self.board.databases()
        return rows

    @cached_property
    def usage(self) -> Usage:
        return self.source.usage()

    @cached_property
    def rates(self) -> Rates:
        return self.source.rates()

    @cached_property
    def now(self) -> float:
        return time.time()

    @cached_property
    def uptime_seconds(self) -> int:
        return max(0, int(self.now - self.source.started_at))

    @cached_property
    def system_memory_bytes(self) -> int:
        return int(psutil.virtual_memory().total)

    @property
    def workers(self) -> list[Block]:
        return list(self.board.workers)

    @property
    def serves(self) -> bool:
        """Whether clients are answered, as far as the board knows."""
        return self.board.frontend.state in WORKING and self.board.frontend.heartbeat_age_ms <= STALE_HEARTBEAT_MS

    @property
    def loading(self) -> bool:
        return any(block.state is State.LOADING for block in self.workers)

    @property
    def slowest_load(self) -> Block:
        """Of the shards that are being loaded, each from the same file, the one with the least behind it."""
        blocks = [block for block in self.workers if block.state is State.LOADING] or self.workers
        return min(blocks, key=lambda block: block.counter("load_loaded_bytes"))

    @property
    def saving(self) -> bool:
        return self.count("snapshot_started_ms") > 0 or any(block.state is State.SAVING for block in self.workers)

    @cached_property
    def memory(self) -> Memory:
        return Memory.of(self)

    @property
    def replication_id(self) -> str:
        """40 hexadecimal digits that change with every start, as the run id does, but are not the same."""
        return hashlib.sha1(b"replication " + self.segment.run_id.encode(), usedforsecurity=False).hexdigest()

    @property
    def supervised(self) -> str:
        return str(self.config.supervised)

    @property
    def executable(self) -> str:
        return str(Path(sys.argv[0]).absolute()) if sys.argv and sys.argv[0] else sys.executable

    @property
    def system(self) -> str:
        name = platform.uname()
        return f"{name.system} {name.release} {name.machine}"

    @property
    def build_id(self) -> str:
        return hashlib.sha1(__version__.encode(), usedforsecurity=False).hexdigest()[:16]


def percentile_us(buckets: list[int], percentile: float) -> float:
    """An estimate in µs from a histogram: within a bucket latencies are taken as evenly spread."""
    total = sum(buckets)
    wanted = total * percentile / 100
    below = 0
    for bucket, count in enumerate(buckets):
        if count and below + count >= wanted:
            low = BUCKET_BOUNDS_NS[bucket - 1] if bucket else 0
            high = BUCKET_BOUNDS_NS[bucket] if bucket < len(BUCKET_BOUNDS_NS) else low
            return (low + (high - low) * max(0.0, wanted - below) / count) / 1000
        below += count
    return 0.0
