"""The latency monitor by itself: which samples it keeps, and how it shows them."""

from __future__ import annotations

import pytest

from mpkv.metrics.latency import SAMPLES, LatencyMonitor
from mpkv.shm.layout import LATENCY_EVENTS


class Clock:
    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def monitor(clock: Clock) -> LatencyMonitor:
    made = LatencyMonitor(clock)
    made.threshold_ms = 10
    return made


def fill(monitor: LatencyMonitor, clock: Clock, values: list[int], event: str = "command") -> None:
    """A sample a second."""
    for ms in values:
        clock.now_s += 1
        monitor.note(event, ms)


def test_what_stays_below_the_threshold_leaves_nothing(monitor: LatencyMonitor) -> None:
    assert not monitor.note("command", 9)
    assert monitor.note("command", 10)
    monitor.threshold_ms = 0
    assert not monitor.note("command", 1000)
    assert monitor.history("command") == [(1_000_000, 10)]


def test_of_one_second_the_longest_stays(monitor: LatencyMonitor, clock: Clock) -> None:
    for ms in (20, 50, 30):
        monitor.note("command", ms)
        clock.now_s += 0.2
    fill(monitor, clock, [15])
    assert monitor.history("command") == [(1_000_000, 50), (1_000_001, 15)]
    assert monitor.latest() == [("command", 1_000_001, 15, 50)]


def test_the_last_160_samples_are_kept_and_the_longest_of_all(monitor: LatencyMonitor, clock: Clock) -> None:
    fill(monitor, clock, [500, *range(10, 10 + SAMPLES)])
    assert [ms for _, ms in monitor.history("command")] == list(range(10, 10 + SAMPLES))
    assert monitor.latest()[0].max_ms == 500


def test_reset_forgets_some_events_or_all(monitor: LatencyMonitor) -> None:
    for event in ("command", "fork", "expire-cycle"):
        monitor.note(event, 20)
    assert monitor.reset(["fork", "nosuch", "fork"]) == 1
    assert [row.event for row in monitor.latest()] == ["command", "expire-cycle"]
    assert monitor.reset() == 2
    assert monitor.latest() == []


def test_a_graph_draws_each_sample_as_a_column_with_its_age(monitor: LatencyMonitor, clock: Clock) -> None:
    fill(monitor, clock, [10, 22, 58, 130])
    clock.now_s += 58
    assert monitor.graph("nosuch") is None
    assert monitor.graph("command") == (
        "command - high 130 ms, low 10 ms (all time high 130 ms)\n" + "-" * 80 + "\n"
        "   #\n"
        "   |\n"
        "  o|\n"
        "_o||\n"
        "    \n"
        "1155\n"
        "mm98\n"
        "  ss\n"
    )


def test_a_graph_of_more_than_80_samples_goes_on_below(monitor: LatencyMonitor, clock: Clock) -> None:
    fill(monitor, clock, [20] * 81)
    graph = monitor.graph("command")
    assert graph is not None
    rows = graph.splitlines()[2:]
    assert [row for row in rows if set(row) == {"_"}] == ["_" * 80, "_"]


@pytest.mark.parametrize(("age_s", "label"), [(0, "0s"), (59, "59s"), (60, "1m"), (3600, "1h"), (86400 * 3, "3d")])
def test_an_age_is_shown_in_its_unit(monitor: LatencyMonitor, clock: Clock, age_s: int, label: str) -> None:
    fill(monitor, clock, [20])
    clock.now_s += age_s
    graph = monitor.graph("command")
    assert graph is not None
    assert "".join(graph.splitlines()[-len(label) :]) == label


def test_the_doctor_reports_every_event_with_its_advice(monitor: LatencyMonitor, clock: Clock) -> None:
    assert "Nothing" in monitor.report()
    fill(monitor, clock, [10, 30])
    monitor.note("fork", 40)
    report = monitor.report()
    assert "1. command: 2 latency spikes (average 20ms, mean deviation 10ms, period 0.50 sec)" in report
    assert "2. fork: 1 latency spikes (average 40ms, mean deviation 0ms, period 1.00 sec)" in report
    assert "SLOWLOG" in report
    assert "fork takes" in report
    assert "expire" not in report.partition("What may help")[0]
    monitor.threshold_ms = 0
    monitor.reset()
    assert "latency-monitor-threshold" in monitor.report()


def test_only_events_of_the_board_are_noted(monitor: LatencyMonitor) -> None:
    for event in LATENCY_EVENTS:
        monitor.note(event, 10)
    assert len(monitor.latest()) == len(LATENCY_EVENTS)
    with pytest.raises(AssertionError):
        monitor.note("nosuch", 10)
