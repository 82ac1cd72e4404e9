"""Which processes hang: they are there, but neither their heart beats nor do they use the processor.

A heartbeat alone would not do. A process beats between commands, and one long command – KEYS over millions, a large
value that goes – is no reason to lose what a shard has not saved. So a process lives if its heartbeat has moved, or if
its main thread has used the processor, wants to (state R), waits for a disk (D: nothing could kill it anyway), or
stands in a debugger (t). What remains is stopped or asleep and not coming back.

Time counts while this process looks on: when the whole machine stood still, nobody has hung.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mpkv.shm.board import Board

#: How often a look is worth its while.
LOOK_EVERY_S: Final = 0.1
#: More than this between two looks is this process's own absence, and nobody's silence.
MOST_STEP_S: Final = 1.0

_LIVELY: Final = b"RDt"
#: Fields of /proc/<pid>/task/<pid>/stat behind the name: state, user and system time in ticks.
_STATE, _USER_TICKS, _SYSTEM_TICKS = 0, 11, 12


@dataclass(slots=True)
class _Sign:
    """What was last seen of a process."""

    pid: int
    heartbeat_ms: int = 0
    ticks: int = 0
    silent_s: float = 0.0


class Watchdog:
    """Looks at all processes of a board."""

    def __init__(self, board: Board, proc: Path = Path("/proc")) -> None:
        self._board = board
        self._proc = proc
        self._signs: dict[int, _Sign] = {}
        self._looked: float | None = None

    def look(self, pids: Mapping[int, int], now: float) -> None:
        """:param pids: number of the block -> process id, of those that are there
        :param now: monotonic seconds
        """
        if self._looked is not None and now - self._looked < LOOK_EVERY_S:
            return
        step_s = 0.0 if self._looked is None else min(now - self._looked, MOST_STEP_S)
        self._looked = now
        self._signs = {
            number: sign if (sign := self._signs.get(number)) is not None and sign.pid == pid else _Sign(pid)
            for number, pid in pids.items()
        }
        for number, sign in self._signs.items():
            sign.silent_s = 0.0 if self._shows_life(number, sign) else sign.silent_s + step_s

    def _shows_life(self, number: int, sign: _Sign) -> bool:
        heartbeat_ms = self._board.processes[number].field("heartbeat_ms")
        if heartbeat_ms != sign.heartbeat_ms:
            sign.heartbeat_ms = heartbeat_ms
            return True
        try:
            stat = (self._proc / f"{sign.pid}/task/{sign.pid}/stat").read_bytes()
        except OSError:
            return True  # it has ended: that is another's business
        fields = stat.rpartition(b")")[2].split()
        ticks = int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])
        has_worked = ticks != sign.ticks
        sign.ticks = ticks
        return has_worked or fields[_STATE] in _LIVELY

    def forget(self, number: int) -> None:
        """What was seen of a process does not count any more."""
        self._signs.pop(number, None)

    def silence_s(self, number: int) -> float:
        """For how long a process has not shown life."""
        sign = self._signs.get(number)
        return sign.silent_s if sign is not None else 0.0

    def longest_silence_s(self) -> float:
        return max((sign.silent_s for sign in self._signs.values()), default=0.0)
