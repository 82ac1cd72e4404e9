"""Who listens to how long things take: the slow log and the latency monitor, fed from here with what ran in this
process and what workers report.

A worker has the time of every execution at hand; it compares it with one number, and only what is above that comes with
a note (`mpkv.wire`), so that neither costs anything while nothing is slow.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from mpkv.commands.spec import Command, Flag
from mpkv.config import Config
from mpkv.metrics.latency import LatencyMonitor
from mpkv.metrics.slowlog import NEVER_NS, Entry, SlowLog, Times, noted_from_ns
from mpkv.shm.board import Block
from mpkv.shm.layout import LATENCY_EVENTS
from mpkv.wire import SHOWN_BYTES, SHOWN_WORDS, unclip

#: The first bytes of a word and its whole size.
Clipped = tuple[bytes, int]

#: PING has a compiled way on which nobody looks at the clock; from this threshold on it would be missed.
SHORT_PING_NS: Final = 1000


class SlowCommands:
    """:param block: this process's, which shows the figures"""

    def __init__(self, config: Config, block: Block, router: Any) -> None:
        self.log = SlowLog(config.slowlog_max_len)
        self.monitor = LatencyMonitor()
        self._config = config
        self._block = block
        self._router = router
        self._noted_from_ns = 0
        self.apply_settings()

    def apply_settings(self) -> None:
        """The thresholds have changed, or the log's length."""
        config = self._config
        self.log.resize(config.slowlog_max_len)
        self.monitor.threshold_ms = config.latency_monitor_threshold
        self._noted_from_ns = noted_from_ns(config)
        self._router.notes_wanted = self._noted_from_ns < NEVER_NS
        self._router.use_short_ping(self._noted_from_ns > SHORT_PING_NS)
        self._block.tracking = int(config.latency_tracking)
        self._publish_log()

    def note_here(self, conn: Any, spec: Command, words: Sequence[bytes], execute_ns: int) -> None:
        """A command ran in this process."""
        if execute_ns >= self._noted_from_ns and spec.number >= 0:
            times = Times(0, execute_ns // 1000, 0)
            self._note(conn, spec, clip(words[spec.words :]), times, database=conn.database, shard=None)

    def note_on_shard(  # noqa: PLR0917 -- called from compiled code
        self, conn: Any, number: int, arguments: bytes | Sequence[bytes], execute_ns: int, queue_us: int, ended_ns: int,
        shard: int, database: int,
    ) -> None:  # fmt: skip
        """A command ran on a shard; its reply is about to be delivered."""
        words = unclip(arguments) if isinstance(arguments, bytes) else clip(arguments)
        reply_us = max(0, time.monotonic_ns() - ended_ns) // 1000
        times = Times(queue_us, execute_ns // 1000, reply_us)
        self._note(conn, self._router.specs[number], words, times, database=database, shard=shard)

    def note_event(self, event: str, ms: int) -> None:
        """Something else than a command took so long."""
        if self.monitor.note(event, ms):
            self._publish_events()

    def reset_log(self) -> None:
        self.log.clear()
        self._publish_log()

    def reset_events(self, events: Sequence[str]) -> int:
        count = self.monitor.reset(events)
        self._publish_events()
        return count

    def _note(
        self, conn: Any, spec: Command, words: tuple[list[Clipped], int], times: Times, *, database: int,
        shard: int | None,
    ) -> None:  # fmt: skip
        self.note_event("fast-command" if spec.flags & Flag.FAST else "command", times.execute_us // 1000)
        slower_than_us = self._config.slowlog_log_slower_than
        if 0 <= slower_than_us <= times.execute_us and not spec.flags & Flag.SKIP_SLOWLOG:
            entry = Entry(
                self.log.next_id(), int(time.time()), times, shown(spec, *words), conn.peer.encode(), conn.name or b"",
                conn.id, database, shard,
            )  # fmt: skip
            self.log.add(entry)
            self._publish_log()

    # What `/metrics` shows, which asks nobody but the board

    def _publish_log(self) -> None:
        block, newest = self._block, self.log.newest
        block.put("slowlog_length", len(self.log))
        block.put("slowlog_last_id", newest.id if newest else 0)
        block.put("slowlog_last_microseconds", newest.times.execute_us if newest else 0)

    def _publish_events(self) -> None:
        latest = {event: facts for event, *facts in self.monitor.latest()}
        for event in LATENCY_EVENTS:
            self._block.put_latency_event(event, *latest.get(event, (0, 0, 0)))


def clip(words: Sequence[bytes]) -> tuple[list[Clipped], int]:
    """What may be shown of words, and how many there are."""
    return [(word[:SHOWN_BYTES], len(word)) for word in words[:SHOWN_WORDS]], len(words)


def shown(spec: Command, arguments: Sequence[Clipped], count: int) -> tuple[bytes, ...]:
    """A request as an entry shows it: as Redis cuts it, without secrets, its name in capitals.

    :param arguments: of the words behind the name at least those that can be shown
    :param count: how many words stand behind the name
    """
    words = [(word, len(word)) for word in spec.name.upper().encode().split(b"|")]
    total = len(words) + count
    texts = spec.redacted([_cut(*word) for word in [*words, *arguments][:SHOWN_WORDS]])
    if total > SHOWN_WORDS:
        texts[-1] = b"... (%d more arguments)" % (total - SHOWN_WORDS + 1)
    return tuple(texts)


def _cut(word: bytes, size: int) -> bytes:
    return word if size <= SHOWN_BYTES else b"%b... (%d more bytes)" % (word, size - SHOWN_BYTES)
