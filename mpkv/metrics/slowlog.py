"""The slow log: the last commands whose execution took longer than `slowlog-log-slower-than`.

An entry is what Redis says of such a command, and where its time went: in the queue (from being taken up by the
frontend until its shard began it), in execution (which is the duration that Redis means, the making of the reply
included) and on the way back (until the frontend had the whole reply). Of a command over several shards it is the
slowest of them that counts. The time that a client spends waiting for a key is none of the three.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from mpkv.config import Config

#: Longer than anything takes.
NEVER_NS: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Times:
    """Where a command's time went, in µs."""

    queue_us: int
    execute_us: int
    reply_us: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One slow command."""

    id: int
    time_s: int  #: when it was done, in s since 1970
    times: Times
    words: tuple[bytes, ...]  #: as they are shown: cut, and without secrets
    address: bytes
    client_name: bytes
    client_id: int
    database: int
    shard: int | None  #: None: it ran in the frontend


def noted_from_ns(config: Config) -> int:
    """How long an execution takes at least that the slow log or the latency monitor wants to hear of."""
    thresholds = [NEVER_NS]
    if config.slowlog_log_slower_than >= 0 and config.slowlog_max_len:
        thresholds.append(config.slowlog_log_slower_than * 1000)
    if config.latency_monitor_threshold:
        thresholds.append(config.latency_monitor_threshold * 1_000_000)
    return min(thresholds)


class SlowLog:
    """The newest entries first; numbers are never given twice."""

    def __init__(self, length: int) -> None:
        self._entries: deque[Entry] = deque(maxlen=length)
        self._next_id = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def newest(self) -> Entry | None:
        return self._entries[0] if self._entries else None

    def next_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def add(self, entry: Entry) -> None:
        """Take an entry; the oldest goes if there are too many."""
        self._entries.appendleft(entry)

    def first(self, count: int) -> list[Entry]:
        """The newest `count` entries, or all of them if it is -1."""
        return list(self._entries)[: None if count == -1 else count]

    def resize(self, length: int) -> None:
        """From now on so many entries; the oldest of too many go."""
        self._entries = deque(self.first(length), length)

    def clear(self) -> None:
        self._entries.clear()
