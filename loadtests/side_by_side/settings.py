"""What a run of `make bench` was asked for."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from side_by_side import servers
from side_by_side.lines import LINES, Line
from side_by_side.progress import Progress
from side_by_side.servers import Server


@dataclass(frozen=True)
class Settings:
    """`quick` gives up precision for time, in every section; `workers` None is mpkv's default."""

    quick: bool
    workers: int | None
    only: tuple[str, ...]
    pipelines: tuple[int, ...]
    rounds: int
    seconds: float  #: what one measurement takes, about
    keyspace: int
    progress: Progress

    @property
    def lines(self) -> list[Line]:
        """The lines to measure: those named, all if none is. LRANGE names four, PING two."""
        if not self.only:
            return list(LINES)
        return [line for line in LINES if line.name in self.only or line.name.partition("_")[0] in self.only]

    def start_both(self, stack: ExitStack, workers: int | None = None) -> list[Server]:
        """mpkv, with so many workers unless it was asked for others, and redis-server where it is installed."""
        wanted = [servers.mpkv(self.workers or workers), servers.redis_server()]
        return [stack.enter_context(server) for server in wanted if server is not None]
