"""The active expiry cycle: deletes keys whose time is over although nobody asks for them.

Without it a key that is never read again would stay for ever. A cycle must not cost more than it brings, so it goes
by samples, as Redis' does: of each database the next few volatile keys are looked at, in the order of slots, round
and round; where at least a tenth of a sample had expired, the next sample follows at once, otherwise the little that
is left there may wait for a later cycle and the next database has its turn. A cycle that uses up its time stops where
it is and the next one goes on from there, so that many databases, or a huge one, are all reached in the end.

Redis lets a cycle take a quarter of the time between two ticks at once: 25 ms. Here it takes a millisecond, so that
nobody waits for longer, and goes on between the next batches as long as all of them together take no more than that
quarter (`goes_on`): a million keys that expire together go as fast.

The inner loop is compiled (`Keyspace.expire_some`); here is only the policy. The worker's loop calls `run` on every
tick, after the tick's time stamp has become the keyspace's `now_ms`, and whenever a cycle that was cut off may go on.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Final, Protocol

#: Volatile keys per sample: enough that the call and the look at the clock do not show, some 10 µs if all of them go.
KEYS_PER_SAMPLE: Final = 64

#: A sample without a larger share of stale keys ends the work on a database (as Redis' ACCEPTABLE_STALE).
ACCEPTABLE_STALE: Final = 0.10

#: Redis' running estimate of the stale share: how much one cycle weighs.
STALE_WEIGHT: Final = 0.05

DEFAULT_BUDGET_US: Final = 1000

#: Of the time, at most: commands come first.
MAX_SHARE: Final = 0.25
#: What each step of active-expire-effort beyond the first adds to that.
SHARE_PER_EFFORT: Final = 0.02


class Expirable(Protocol):
    """What the cycle needs of a keyspace."""

    may_expire: bool

    def volatile_databases(self) -> list[int]: ...

    def expire_some(self, db: int, max_checked: int) -> tuple[int, int]: ...


def share_of_time(effort: int = 1) -> float:
    """What all cycles together may take; `effort` is 1 … 10."""
    return MAX_SHARE + SHARE_PER_EFFORT * (effort - 1)


def budget_us(hz: int, effort: int = 1) -> int:
    """Time that one cycle may take when there are `hz` ticks a second."""
    return min(DEFAULT_BUDGET_US * effort, int(1_000_000 * share_of_time(effort) / hz))


class ExpireCycle:
    """One per shard.

    :param keyspace: whose keys expire
    :param clock_ns: a monotonic clock, for the budget only; a key has expired when the keyspace's `now_ms` says so
    """

    def __init__(self, keyspace: Expirable, clock_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._keyspace = keyspace
        self._clock_ns = clock_ns
        self._next_database = 0
        self.enabled = True  #: DEBUG SET-ACTIVE-EXPIRE
        self.expired_total = 0  #: keys that cycles deleted (reads delete some too)
        self.expired_stale_perc = 0.0  #: INFO: estimated share of volatile keys that are stale, in percent
        self.expired_time_cap_reached = 0  #: INFO expired_time_cap_reached_count: cycles that used up their time
        self.has_more = False  #: whether the last cycle was cut off: there are keys whose time is over
        self._next_ns = 0  # when it may go on
        self.nanoseconds = 0  #: INFO expire_cycle_cpu_milliseconds, in ns: time spent in cycles

    def goes_on(self) -> bool:
        """Whether it is time for the rest of a cycle that was cut off."""
        return self.has_more and self._clock_ns() >= self._next_ns

    def run(self, budget_us: int = DEFAULT_BUDGET_US, share: float = MAX_SHARE) -> int:
        """One cycle of at most `budget_us` (and one sample); how many keys it deleted.

        :param share: of the time that cycles which follow one another may take
        """
        self.has_more = False
        if not self.enabled or not self._keyspace.may_expire:
            return 0
        now_ns = began_ns = self._clock_ns()
        deadline_ns = began_ns + budget_us * 1000
        checked = expired = 0
        for db in self._databases_in_turn():
            self._next_database = db
            sample = self._run_database(db, deadline_ns)
            checked += sample[0]
            expired += sample[1]
            now_ns = self._clock_ns()
            if now_ns >= deadline_ns:
                self.expired_time_cap_reached += 1
                self.has_more = True
                break
            self._next_database = db + 1
        self.nanoseconds += now_ns - began_ns
        self._next_ns = now_ns + int((now_ns - began_ns) * (1 / share - 1))
        self._estimate_stale(checked, expired)
        self.expired_total += expired
        return expired

    def _databases_in_turn(self) -> list[int]:
        """Those with volatile keys, from where the last cycle stopped."""
        databases = self._keyspace.volatile_databases()
        begin = bisect_left(databases, self._next_database)
        return databases[begin:] + databases[:begin]

    def _run_database(self, db: int, deadline_ns: int) -> tuple[int, int]:
        """Samples of one database until few of its keys are stale or the time is over: (looked at, deleted)."""
        all_checked = all_expired = 0
        while True:
            checked, expired = self._keyspace.expire_some(db, KEYS_PER_SAMPLE)
            all_checked += checked
            all_expired += expired
            if expired <= checked * ACCEPTABLE_STALE or self._clock_ns() >= deadline_ns:
                return all_checked, all_expired

    def _estimate_stale(self, checked: int, expired: int) -> None:
        share = 100 * expired / checked if checked else 0.0
        self.expired_stale_perc += (share - self.expired_stale_perc) * STALE_WEIGHT
