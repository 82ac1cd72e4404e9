"""What the load tests measure with: the histogram, the popularity of keys, the pace, the plan, the server's metrics."""

import math
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from traffic import contents
from traffic.histogram import Histogram, bucket_of, upper_edge_us
from traffic.pacing import Pace
from traffic.plan import PROFILES, Plan, shortest_run_s
from traffic.resp_connection import Address
from traffic.run import Run, seconds_of
from traffic.samples import INTERRUPTED, Reader, Recorder, Sample, Series, added_up, total_of
from traffic.scrape import SHOWN, NoMetrics, course_of, parse, total
from traffic.zipf import Zipf

# -- histogram ---------------------------------------------------------------------------------------------------------


def test_buckets_are_contiguous_and_never_wider_than_a_percent() -> None:
    for bucket in range(5000):
        last = upper_edge_us(bucket)
        first = upper_edge_us(bucket - 1) + 1 if bucket else 0
        assert bucket_of(first) == bucket_of(last) == bucket
        assert last - first <= first / 100


def test_percentiles_are_those_of_the_sorted_values() -> None:
    chance = random.Random(3)
    values = sorted(int(chance.lognormvariate(7, 1.5)) for _ in range(20_000))
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    for percent in (1, 50, 90, 99, 99.9):
        exact = values[math.ceil(len(values) * percent / 100) - 1]
        assert exact <= histogram.percentile_us(percent) <= exact * 1.01
    assert histogram.percentile_us(100) == histogram.max_us == values[-1]
    assert histogram.mean_us == pytest.approx(sum(values) / len(values))


def test_a_histogram_tells_less_than_a_millisecond_apart() -> None:
    histogram = Histogram()
    for value in (310, 310, 310, 900):
        histogram.record(value)
    assert histogram.percentile_us(50) in range(310, 313)
    assert histogram.percentile_us(99) == 900


def test_an_empty_histogram_has_no_percentiles() -> None:
    assert math.isnan(Histogram().percentile_us(50))


def test_what_a_client_records_arrives_whole_and_once(tmp_path: Path) -> None:
    recorder, reader = Recorder(tmp_path), Reader(tmp_path)
    recorder.answered("GET", 300, 10)
    recorder.write()
    first = list(reader.news())
    recorder.answered("GET", 500, 20)
    recorder.failed("GET", INTERRUPTED, "LOADING")
    recorder.write()
    with next(tmp_path.glob("client-*")).open("a") as file:
        file.write('{"pid": ')  # the process is in the middle of a line
    second = list(reader.news())
    assert [len(first), len(second), len(list(reader.news()))] == [1, 1, 0]
    total_series = total_of(added_up(first + second))
    assert total_series.latency.total == 2
    assert total_series.latency.sum_us == 800
    assert total_series.received_bytes == 30
    assert total_series.failed(INTERRUPTED) == 1
    assert total_series.requests == 3


# -- keys --------------------------------------------------------------------------------------------------------------


def test_keys_are_as_popular_as_zipf_says() -> None:
    count, draws = 1000, 200_000
    chance = random.Random(5)
    zipf = Zipf(count)
    drawn = Counter(zipf.choose(chance) for _ in range(draws))
    weights = [1 / rank**0.99 for rank in range(1, count + 1)]
    for first, last in ((0, 1), (1, 2), (2, 5), (5, 20), (20, 100), (100, 1000)):
        expected = sum(weights[first:last]) / sum(weights)
        found = sum(drawn[rank] for rank in range(first, last)) / draws
        assert found == pytest.approx(expected, rel=0.03), f"ranks {first} to {last}"
    assert min(drawn) >= 0
    assert max(drawn) < count


def test_a_key_always_holds_the_same_and_says_whose_it_is() -> None:
    for at in range(200):
        key = contents.cache_key(at)
        value = contents.cache_value(key)
        assert value == contents.cache_value(key)
        assert value.startswith(key + b"=")
        assert contents.CACHE_SIZES[0] <= len(value) <= contents.CACHE_SIZES[1]
    sizes = [len(contents.large_value(contents.large_key(at))) for at in range(contents.LARGE_KEYS)]
    assert min(sizes) >= contents.LARGE_SIZES[0]
    assert max(sizes) <= contents.LARGE_SIZES[1]


# -- pace --------------------------------------------------------------------------------------------------------------


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def latencies(rate: float, stall_at: int) -> list[float]:
    """What 100 requests at 10 a second (or as fast as they are answered) measure; one answer takes 2 s."""
    clock = Clock()
    pace = Pace(rate, clock=clock)
    found = []
    for number in range(100):
        clock.now_s += pace.wait_s()
        due_s = pace.begin()
        clock.now_s += 2.0 if number == stall_at else 0.001
        found.append(clock.now_s - due_s)
    return found


def test_what_comes_due_while_the_server_stands_still_counts_as_late() -> None:
    late = [latency for latency in latencies(10, 50) if latency > 0.05]
    assert len(late) == 20  # all that were due within the two seconds
    assert late[:3] == pytest.approx([2.0, 1.901, 1.802])


def test_without_a_schedule_only_one_request_sees_a_standstill() -> None:
    assert len([latency for latency in latencies(0, 50) if latency > 0.05]) == 1


def test_a_schedule_keeps_its_rate_after_a_standstill() -> None:
    clock = Clock()
    pace = Pace(10, phase=0.5, clock=clock)
    waits = [pace.wait_s() for _ in range(3)]
    assert waits == pytest.approx([0.05, 0.15, 0.25])
    clock.now_s += 100
    assert pace.wait_s() == 0
    assert clock.now_s - pace.begin() == pytest.approx(100 - 0.35)
    assert math.isnan(pace.overslept_s)  # late by the server's fault


def test_what_the_client_oversleeps_is_known() -> None:
    clock = Clock()
    pace = Pace(10, phase=1, clock=clock)
    clock.now_s += pace.wait_s() + 0.02
    pace.begin()
    assert pace.overslept_s == pytest.approx(0.02)


def test_what_is_due_at_the_end_and_was_not_sent_is_known() -> None:
    clock = Clock()
    pace = Pace(10, clock=clock)
    pace.wait_s()
    pace.begin()
    assert pace.unsent() == []
    clock.now_s += 0.35
    assert pace.unsent() == pytest.approx([0.25, 0.15, 0.05])


# -- plan --------------------------------------------------------------------------------------------------------------


def plan(profile: str, **changes: object) -> Plan:
    return Plan(profile, "127.0.0.1:1", 48, 1000, 80, 100, "", "t").changed(**changes)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_users_that_send_make_the_whole_rate(profile: str) -> None:
    mine = plan(profile)
    waiting = sum(weight for name, weight in mine.mix.items() if name in ("ConsumerUser", "SubscriberUser"))
    senders = mine.users * (1 - waiting / sum(mine.mix.values()))
    assert mine.rate_per_user * senders == pytest.approx(mine.rate)
    assert sum(stage.seconds for stage in mine.stages) == pytest.approx(mine.seconds)
    assert any(stage.judged for stage in mine.stages)
    assert mine.users_at(mine.seconds - 1) is not None
    assert mine.users_at(mine.seconds + 1) is None


def test_the_steps_climb_to_all_users_and_a_spike_is_five_times_as_many() -> None:
    assert [plan("step").users_at(at * 10 + 5) for at in range(8)] == [6, 12, 18, 24, 30, 36, 42, 48]
    assert [plan("spike").users_at(at) for at in (5, 30, 70)] == [48, 240, 48]


def second(at_s: float, pid: int = 1) -> Sample:
    return Sample(pid, at_s, 5, 0.0, {"GET": Series()})


def test_what_was_recorded_goes_to_its_stage() -> None:
    """Samples come at the end of each second, a little late; the first two seconds are not looked at."""
    run = Run(plan("spike", seconds=20), [second(1000.02 + at, pid) for at in range(1, 22) for pid in (1, 2)])
    assert [(stage.name, seconds_of(samples)) for stage, samples in run.of_stages()] == [
        ("before", 4), ("spike", 4), ("coming down", 2), ("after", 9),
    ]  # fmt: skip


def test_a_run_must_be_long_enough_for_its_stages() -> None:
    assert [shortest_run_s(profile) for profile in ("mixed", "step", "spike")] == [5, 40, 50]


def test_a_plan_is_the_same_after_its_file(tmp_path: Path) -> None:
    plan("mixed").save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan("mixed")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("db", Address("db", 6379)),
        ("db:7000", Address("db", 7000)),
        ("[::1]:7000", Address("::1", 7000)),
        ("redis://:p%40ss@db/3", Address("db", 6379, "", "p@ss", 3)),
        ("rediss://ann:x@db:1", Address("db", 1, "ann", "x", 0, True)),
    ],
)
def test_an_address_is_read(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert "p@ss" not in address.shown


@pytest.mark.parametrize("text", ["http://db", "redis://", "db:x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Address.parse(text)


# -- the server's metrics ----------------------------------------------------------------------------------------------

EXPOSITION = """# HELP redis_commands_processed_total x
# TYPE redis_commands_processed_total counter
redis_commands_processed_total {count}
redis_db_keys{{db="db0"}} 3
redis_db_keys{{db="db1"}} 4.0
"""


def test_metrics_are_read_and_added_up_over_labels() -> None:
    metrics = parse(EXPOSITION.format(count=10))
    assert total(metrics, "redis_db_keys") == 7
    assert total(metrics, "redis_db") is None
    with pytest.raises(NoMetrics):
        parse("<html>not found</html>")


def test_a_counter_is_shown_by_its_rate_and_a_restart_is_left_out() -> None:
    shown = next(shown for shown in SHOWN if shown.name == "redis_commands_processed_total")
    counts = ((0.0, 10), (2.0, 30), (3.0, 5), (4.0, 6))
    samples = [(at, parse(EXPOSITION.format(count=count))) for at, count in counts]
    assert course_of(shown, samples) == [(2.0, 10.0), (4.0, 1.0)]


def test_the_clock_of_latencies_is_the_one_of_the_pace() -> None:
    """A pace made without a clock is in the time in which locust's users take the end of a request."""
    pace = Pace(0)
    pace.wait_s()
    assert abs(time.perf_counter() - pace.begin()) < 1
