"""The active expiry cycle: what it deletes, when it stops, and what it reports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mpkv.types import allocator
from mpkv.workers.expire import KEYS_PER_SAMPLE, ExpireCycle, budget_us
from mpkv.workers.keyspace import Keyspace

NOW_MS = 1_700_000_000_000


@pytest.fixture
def keyspace() -> Iterator[Keyspace]:
    keyspace = Keyspace(4, 0, 1)
    keyspace.now_ms = NOW_MS
    yield keyspace
    memory, full = keyspace.validate(), allocator.used()
    keyspace.flush()
    assert full - allocator.used() == memory


def fill(
    keyspace: Keyspace, *, stale: int, fresh: int = 0, lasting: int = 0, database: int = 0, tag: bytes = b""
) -> None:
    """So many keys that expire in a second, in an hour, and never."""
    db = keyspace.database(database)
    for name, count, after_ms in ((b"stale", stale, 1000), (b"fresh", fresh, 3_600_000), (b"lasting", lasting, None)):
        for number in range(count):
            db.set_string(tag + name + b"%d" % number, b"1")
            if after_ms:
                db.set_expire_at(tag + name + b"%d" % number, NOW_MS + after_ms)


class Clock:
    """Moves on by `step_ns` at every look."""

    def __init__(self, step_ns: int) -> None:
        self.now_ns = 0
        self.step_ns = step_ns

    def __call__(self) -> int:
        self.now_ns += self.step_ns
        return self.now_ns


def cycles_until_clean(keyspace: Keyspace, cycle: ExpireCycle, stale: int, limit: int) -> int:
    for number in range(limit):
        if keyspace.expired == stale:
            return number
        cycle.run()
    raise AssertionError(f"{stale - keyspace.expired} stale keys are left after {limit} cycles")


def test_nothing_is_deleted_before_its_time(keyspace: Keyspace) -> None:
    fill(keyspace, stale=100, fresh=100, lasting=100)
    keyspace.now_ms = NOW_MS + 1000
    cycle = ExpireCycle(keyspace, Clock(0))
    for _ in range(20):
        assert cycle.run() == 0
    assert keyspace.counts(0)[:2] == (300, 200)


def test_a_single_cycle_deletes_everything_when_most_is_stale(keyspace: Keyspace) -> None:
    fill(keyspace, stale=10_000, lasting=50)
    keyspace.now_ms = NOW_MS + 1001
    cycle = ExpireCycle(keyspace, Clock(0))
    assert cycle.run() == 10_000
    assert keyspace.counts(0)[:2] == (50, 0)
    assert cycle.expired_total == keyspace.expired == 10_000
    assert cycle.expired_time_cap_reached == 0


@pytest.mark.parametrize("tag", [b"", b"{tag}"])
def test_few_stale_keys_among_many_are_found_in_the_end(keyspace: Keyspace, tag: bytes) -> None:
    fill(keyspace, stale=20, fresh=2000, lasting=3000, tag=tag)
    keyspace.now_ms = NOW_MS + 1001
    cycle = ExpireCycle(keyspace, Clock(0))
    # Each cycle looks at 64 of the 2020 volatile keys, or at 4096 words: two rounds are below a hundred
    assert cycles_until_clean(keyspace, cycle, 20, limit=100) > 1
    assert keyspace.counts(0)[:2] == (5000, 2000)


def test_every_database_has_its_turn(keyspace: Keyspace) -> None:
    for database in range(4):
        fill(keyspace, stale=100, database=database)
    keyspace.now_ms = NOW_MS + 1001
    assert ExpireCycle(keyspace, Clock(0)).run() == 400


def test_a_cycle_stops_when_its_time_is_over_and_the_next_goes_on_there(keyspace: Keyspace) -> None:
    for database in range(4):
        fill(keyspace, stale=10 * KEYS_PER_SAMPLE, database=database)
    keyspace.now_ms = NOW_MS + 1001
    cycle = ExpireCycle(keyspace, Clock(step_ns=400_000))
    expired = cycle.run(budget_us=1000)
    assert 0 < expired <= 4 * KEYS_PER_SAMPLE
    assert cycle.expired_time_cap_reached == 1
    assert keyspace.counts(1)[0] == 10 * KEYS_PER_SAMPLE  # not reached
    runs = cycles_until_clean(keyspace, cycle, 40 * KEYS_PER_SAMPLE, limit=100)
    assert runs > 4


def test_the_cycle_leaves_everything_alone_when_it_is_off_or_nothing_may_expire(keyspace: Keyspace) -> None:
    fill(keyspace, stale=10)
    keyspace.now_ms = NOW_MS + 1001
    cycle = ExpireCycle(keyspace, Clock(0))
    cycle.enabled = False
    assert cycle.run() == 0
    cycle.enabled = True
    keyspace.may_expire = False
    assert cycle.run() == 0
    keyspace.may_expire = True
    assert cycle.run() == 10


def test_watchers_and_the_log_hear_of_actively_expired_keys(keyspace: Keyspace) -> None:
    fill(keyspace, stale=1)
    keyspace.watched = {(0, b"stale0"): {5}}
    keyspace.effects_wanted = True
    keyspace.now_ms = NOW_MS + 1001
    ExpireCycle(keyspace, Clock(0)).run()
    assert keyspace.dirty_clients == {5}
    assert keyspace.expired_effects == [(0, (b"UNLINK", b"stale0"))]


@pytest.mark.parametrize(("tag", "volatile"), [(b"{tag}", 1), (b"", 100)])
def test_one_call_is_bounded_where_few_keys_are_volatile(keyspace: Keyspace, tag: bytes, volatile: int) -> None:
    fill(keyspace, stale=0, fresh=volatile, lasting=20_000, tag=tag)
    calls = found = 0
    while found <= volatile:  # a whole round: 64 words or slots per call, of 25,000 words or half of the slots
        checked, _ = keyspace.expire_some(0, 1)
        assert checked <= 1
        found += checked
        calls += 1
        assert calls < 2000
    assert calls > volatile + 20


def test_the_average_time_to_live_follows_the_keys(keyspace: Keyspace) -> None:
    fill(keyspace, stale=0, fresh=100)
    ExpireCycle(keyspace, Clock(0)).run()
    assert keyspace.counts(0) == (100, 100, 3_600_000)
    keyspace.now_ms = NOW_MS + 1_800_000
    cycle = ExpireCycle(keyspace, Clock(0))
    for _ in range(500):
        cycle.run()
    assert keyspace.counts(0)[2] == pytest.approx(1_800_000, rel=0.01)


def test_the_stale_share_is_estimated_in_percent(keyspace: Keyspace) -> None:
    cycle = ExpireCycle(keyspace, Clock(0))
    fill(keyspace, stale=50)
    keyspace.now_ms = NOW_MS + 1001
    cycle.run()
    assert cycle.expired_stale_perc == pytest.approx(5.0)  # 5 % of 100 %
    cycle.run()
    assert cycle.expired_stale_perc == pytest.approx(4.75)


@pytest.mark.parametrize(("hz", "expected_us"), [(10, 1000), (100, 1000), (500, 500)])
def test_a_cycle_never_takes_more_than_a_quarter_of_a_tick(hz: int, expected_us: int) -> None:
    assert budget_us(hz) == expected_us


def test_a_cycle_that_was_cut_off_goes_on_when_it_took_no_more_than_its_share_of_the_time(keyspace: Keyspace) -> None:
    fill(keyspace, stale=20 * KEYS_PER_SAMPLE)
    keyspace.now_ms = NOW_MS + 1001
    clock = Clock(step_ns=0)
    cycle = ExpireCycle(keyspace, clock)
    assert not cycle.goes_on(), "there was none"
    clock.step_ns = 500_000
    cycle.run(budget_us=1000)
    took_ns, clock.step_ns = cycle.nanoseconds, 0
    assert cycle.has_more and not cycle.goes_on()
    clock.now_ns += 3 * took_ns - 1
    assert not cycle.goes_on()
    clock.now_ns += 1
    assert cycle.goes_on()
    cycle.run(budget_us=1000, share=0.5)  # its clock stands still: all go
    assert keyspace.counts(0)[0] == 0 and not cycle.has_more and not cycle.goes_on()
