"""What a service manager hears of this server: that it is ready, what it is doing, that it lives, that it needs time.

`Reporter.look` is called with every turn of the supervisor's loop. It reads the stats board and sends what has changed:
``READY=1`` once all shards have been loaded and answer; ``STATUS=`` with progress while loading and saving;
``WATCHDOG=1`` only while every process lives; ``EXTEND_TIMEOUT_USEC=`` during a start and a stop, likewise only while
every process lives, so that neither may take too long for what there is to do, and a hang does not take for ever.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from mpkv.config import Config
from mpkv.sdnotify import ServiceManager
from mpkv.shm.board import Board
from mpkv.shm.layout import State

#: A start or a stop that goes on gets so much more time, told so often.
EXTEND_S: Final = 60
EXTEND_EVERY_S: Final = 5.0
#: Who has been silent for so long gets no more time.
SILENT_S: Final = 10.0
STATUS_EVERY_S: Final = 1.0


class Reporter:
    """Tells the service manager, if there is one."""

    def __init__(self, manager: ServiceManager, board: Board, config: Config) -> None:
        self.manager = manager
        self._board = board
        self._config = config
        self.is_ready = False
        self._stopping = False
        self._remark = ""  #: what the status ends with
        self._status = ""
        self._status_at = self._extend_at = self._watchdog_at = 0.0

    @property
    def patience_s(self) -> float:
        """How long the next look may be put off."""
        watchdog_s = self.manager.watchdog_s
        return STATUS_EVERY_S if watchdog_s is None else min(STATUS_EVERY_S, watchdog_s / 4)

    def look(self, now: float, *, whole: bool, stopping: bool, silence_s: float) -> None:
        """:param now: monotonic seconds
        :param whole: all shards answer
        :param silence_s: how long the one process has been silent that has been for longest
        """
        if not self.manager.is_there:
            return
        self._feed(now, silence_s)
        if whole and not self.is_ready:
            self.is_ready = True
            self._status = self._text()
            self.manager.tell("READY=1", f"STATUS={self._status}")
        if stopping and not self._stopping:
            self.manager.tell("STOPPING=1")
            self._extend_at = self._status_at = now
            self._remark = ""
        self._stopping = stopping
        if (stopping or not self.is_ready) and now >= self._extend_at and silence_s < SILENT_S:
            self._extend_at = now + EXTEND_EVERY_S
            self.manager.tell(f"EXTEND_TIMEOUT_USEC={EXTEND_S * 1_000_000}")
        if now >= self._status_at:
            self._status_at = now + STATUS_EVERY_S
            self._tell_status()

    def _feed(self, now: float, silence_s: float) -> None:
        """Half the time may pass in silence, so that one missed look is no death sentence."""
        watchdog_s = self.manager.watchdog_s
        if watchdog_s is not None and now >= self._watchdog_at and silence_s < watchdog_s / 2:
            self._watchdog_at = now + watchdog_s / 4
            self.manager.tell("WATCHDOG=1")

    def _tell_status(self) -> None:
        text = self._text()
        if text != self._status:
            self._status = text
            self.manager.tell(f"STATUS={text}")

    def reloading(self) -> None:
        """What a reload does begins; `reloaded` ends it."""
        self.manager.tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def reloaded(self) -> None:
        if self.is_ready:
            self.manager.tell("READY=1", f"STATUS={self._status}")

    def stays(self, reason: str) -> None:
        """A stop was refused."""
        self._remark = f"; not shut down: {reason}"

    # -- the line that `systemctl status` shows ------------------------------------------------------------------------

    def _text(self) -> str:
        saving = self._saving()
        if self._stopping:
            return f"Shutting down{f': {saving}' if saving else ''}"
        doing = [self._loading(), saving, self._down()]
        head = "Ready to accept connections" if self.is_ready else "Starting"
        return "; ".join([head, *filter(None, doing)]) + self._remark

    def _loading(self) -> str:
        """Every shard reads the whole file, so that the slowest is how far all are."""
        blocks = [block for block in self._board.workers if block.state is State.LOADING]
        total_bytes = sum(block.counter("load_total_bytes") for block in blocks)
        if not total_bytes:
            return ""
        slowest = min(block.counter("load_loaded_bytes") / (block.counter("load_total_bytes") or 1) for block in blocks)
        return f"loading {self._config.dbfilename}: {slowest:.0%}, {len(blocks)} of {len(self._board.workers)} shards"

    def _saving(self) -> str:
        if not self._board.frontend.counter("snapshot_started_ms"):
            return ""
        written_bytes = 0
        for part in Path(self._config.dir).glob("temp-*.part"):
            try:
                written_bytes += part.stat().st_size
            except FileNotFoundError:
                continue  # it has been joined
        return f"saving {self._config.dbfilename}: {written_bytes / 1e6:.0f} MB written"

    def _down(self) -> str:
        down = [str(shard) for shard, block in enumerate(self._board.workers) if block.state is State.DOWN]
        if not self.is_ready or not down:
            return ""
        return f"shard{'s' if len(down) > 1 else ''} {', '.join(down)} down"
