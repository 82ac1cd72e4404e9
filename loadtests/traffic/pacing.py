"""When requests are due: by the clock, whether or not the server keeps up.

A client that sends the next request when the last is answered asks nothing of a server that stands still, and so its
percentiles do not see the standstill (coordinated omission). Here a request's latency counts from when it was due; what
came due while the server stood still is sent as soon as it goes on, each with its own delay.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Pace:
    """One client's schedule: so many requests a second at equal distances, the first after `phase` of a distance.

    A rate of 0 is no schedule: the next request is due when the last is answered.
    """

    def __init__(self, rate: float, phase: float = 0.0, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._distance_s = 1 / rate if rate else 0.0
        self._next_s = clock() + phase * self._distance_s
        self.due_s = self._next_s  #: when the request that is now made was due, by the clock given
        #: How much later than asked the client came back from waiting for it; NaN if it was late and did not wait.
        self.overslept_s = math.nan
        self._waits = False

    def wait_s(self) -> float:
        """Take the next request from the schedule: how long to wait until it is due."""
        if not self._distance_s:
            self.due_s = self._clock()
            return 0.0
        self.due_s = self._next_s
        self._next_s += self._distance_s
        left_s = self.due_s - self._clock()
        self._waits = left_s > 0
        return max(0.0, left_s)

    def begin(self) -> float:
        """The request is about to be sent: when was it due? Notes what the client itself has added."""
        self.overslept_s = self._clock() - self.due_s if self._waits else math.nan
        self._waits = False
        return self.due_s

    def unsent(self) -> list[float]:
        """How late the requests are, in seconds, that have come due and were not begun: what the end of a run cuts."""
        if not self._distance_s:
            return []
        now_s = self._clock()
        waiting = int((now_s - self._next_s) / self._distance_s) + 1 if now_s > self._next_s else 0
        return [now_s - self._next_s - number * self._distance_s for number in range(waiting)]
