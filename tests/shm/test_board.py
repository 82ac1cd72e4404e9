"""The stats board: numbers in their places, one writer each, and totals that survive restarts and resets."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpkv.shm import board, layout
from mpkv.shm.board import Block, Board
from mpkv.shm.segment import Segment

COMMANDS = ["get", "mget", "set"]


@pytest.fixture
def segment():
    made = Segment.create(2, COMMANDS, intents_bytes=4096)
    yield made
    made.close()


def test_compiled_constants_are_those_of_the_layout():
    for index, counter in enumerate(layout.COUNTERS):
        assert getattr(board, counter.name.upper()) == index, counter.name
    for index, histogram in enumerate(layout.HISTOGRAMS):
        assert getattr(board, histogram.name.upper()) == index, histogram.name
        assert histogram.first & (histogram.first - 1) == 0
    for state in layout.State:
        assert getattr(board, f"STATE_{state.name}") == state


def test_names_are_used_once_and_kinds_are_known():
    assert len(layout.COUNTER_INDEX) == len(layout.COUNTERS)
    assert {counter.kind for counter in layout.COUNTERS} == {"counter", "gauge", "mark"}
    assert {counter.over for counter in layout.COUNTERS} == {"sum", "max"}
    assert {counter.of for counter in layout.COUNTERS} == {"frontend", "worker", "both", "supervisor"}


def test_no_two_numbers_share_a_place(segment):
    """Every number of every block is set to a value of its own; then all are read."""
    blocks = [Block(segment, number) for number in range(segment.shape.blocks)]
    for block in blocks:
        for command in range(len(COMMANDS)):
            for _ in range(block.number + command + 1):
                block.count_command(command, 2000)
                block.count_sizes(command, command, 100)
        for index, counter in enumerate(layout.COUNTERS):  # after the commands, which are counted there too
            block.put(counter.name, block.number * 1000 + index)
        for index, histogram in enumerate(layout.HISTOGRAMS):
            block.observe_value(histogram.name, 1, block.number * 10 + index + 1)
        for index, name in enumerate(layout.LATENCY_EVENTS):
            block.put_latency_event(name, block.number + index + 1, 8, 9)
        for shard in range(2):
            block.put_link(shard, True, block.number * 10 + shard, 3)
        for index in range(16):
            block.put_database(index, block.number * 100 + index, 1, 2, 3)
    for block in blocks:
        for index, counter in enumerate(layout.COUNTERS):
            assert block.counter(counter.name) == block.number * 1000 + index
        for index, histogram in enumerate(layout.HISTOGRAMS):
            times = block.number * 10 + index + 1
            assert block.histogram(histogram.name) == (times, [times] + [0] * (layout.BUCKETS - 1))
        for index, name in enumerate(layout.LATENCY_EVENTS):
            assert block.latency_events()[name] == (block.number + index + 1, 8, 9)
        for shard in range(2):
            assert block.link(shard) == (1, block.number * 10 + shard, 3)
        for index in range(16):
            assert block.database(index) == (block.number * 100 + index, 1, 2, 3)
        for command, name in enumerate(COMMANDS):
            calls = block.number + command + 1
            assert block.commands()[name][:2] == (calls, calls * 2000)
            sizes = [[calls, *[0] * 14], [0, 0, calls, *[0] * 12]]
            assert block.command_sizes()[name] == (calls * command, sizes[0], calls * 100, sizes[1])
        assert block.pid == 0


@given(st.integers(0, 1 << 50))
def test_a_latency_falls_into_the_bucket_of_its_bound(nanoseconds):
    segment = Segment.create(1, ["get"], intents_bytes=4096)
    block = Block(segment, 0)
    block.count_command(0, nanoseconds)
    bucket = block.commands()["get"][4].index(1)
    bounds = layout.BUCKET_BOUNDS_NS
    assert bucket == len(bounds) or nanoseconds <= bounds[bucket]
    assert bucket == 0 or nanoseconds > bounds[bucket - 1]
    segment.close()


@given(st.integers(0, 1 << 50))
def test_a_size_falls_into_the_bucket_of_its_bound(size_bytes):
    segment = Segment.create(1, ["get"], intents_bytes=4096)
    block = Block(segment, 0)
    block.count_sizes(0, size_bytes, 0)
    bucket = block.command_sizes()["get"][1].index(1)
    bounds = layout.SIZE_BOUNDS_BYTES
    assert bucket == len(bounds) or size_bytes <= bounds[bucket]
    assert bucket == 0 or size_bytes > bounds[bucket - 1]
    segment.close()


@given(st.sampled_from(layout.HISTOGRAMS), st.integers(0, 1 << 50))
def test_a_value_falls_into_the_bucket_of_its_bound(histogram, value):
    segment = Segment.create(1, ["get"], intents_bytes=4096)
    block = Block(segment, 0)
    block.observe_value(histogram.name, value)
    bucket = block.histogram(histogram.name)[1].index(1)
    assert bucket == len(histogram.bounds) or value <= histogram.bounds[bucket]
    assert bucket == 0 or value > histogram.bounds[bucket - 1]
    segment.close()


def test_histogram_bounds_are_named_as_redis_does():
    assert layout.BUCKET_LABELS_US[:12] == (1, 2, 4, 8, 16, 33, 66, 132, 264, 528, 1056, 2113)


def test_a_restarted_process_goes_on_counting_and_forgets_its_gauges(segment):
    block = Block(segment, 2)
    assert block.begin() == 1
    block.count("keyspace_hits", 5)
    block.put("used_memory", 100)
    block.put("snapshot_last_save_seconds", 77)
    block.put_database(3, 10, 5, 1, 400)
    block.count_command(0, 10)
    block.finish_command(41)
    block.start_command(42, 1)
    again = Block(Segment.attach(segment.fd), 2)
    assert again.executing == (42, 1)
    assert again.begin() == 2
    assert (again.counter("keyspace_hits"), again.counter("used_memory"), again.database(3)) == (5, 0, (0, 0, 0, 0))
    assert again.counter("snapshot_last_save_seconds") == 77
    assert again.commands()["get"][0] == 1
    assert (again.last_number, again.executing) == (41, None)
    assert (again.pid, again.state) == (os.getpid(), layout.State.STARTING)


def test_states_and_heartbeats_are_seen_by_others(segment):
    block = Block(segment, 1)
    block.begin()
    other = Board(Segment.attach(segment.fd)).frontend
    block.enter(layout.State.READY)
    block.heartbeat()
    assert other.state is layout.State.READY
    assert 0 <= other.heartbeat_age_ms < 5000
    other.mark_down()
    assert block.state is layout.State.DOWN


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (b"ERR no", "errors_err"),
        (b"-ERR no", "errors_err"),
        (b"-OOM\r\n", "errors_oom"),
        (b"WRONGTYPE x", "errors_wrongtype"),
        (b"ASK 1 x", "errors_ask"),
        (b"CLUSTERDOWN x", "errors_clusterdown"),
        (b"ER", "errors_other"),
        (b"ERRR x", "errors_other"),
        (b"", "errors_other"),
    ],
)
def test_errors_are_counted_by_their_first_word(segment, text, name):
    block = Block(segment, 1)
    block.count_error(text)
    counted = {counter.name for counter in layout.COUNTERS if block.counter(counter.name)}
    assert counted == {name, "total_error_replies"}


def test_totals_are_sums_or_the_largest(segment):
    totals = Board(segment)
    for shard, block in enumerate(totals.workers):
        block.count("keyspace_hits", shard + 1)
        block.put("fork_microseconds", (shard + 1) * 10)
        block.count_command(1, 1000 * (shard + 1), failed=shard == 1)
        block.count_rejected(2)
    assert totals.total("keyspace_hits") == 3
    assert totals.total("fork_microseconds") == 20
    assert totals.commands()["mget"][:4] == (2, 3000, 0, 1)
    assert totals.commands()["set"][:4] == (0, 0, 2, 0)
    assert "get" not in totals.commands()
    assert totals.total("total_commands_processed") == 2


def test_databases_add_up_and_their_times_to_live_are_weighted(segment):
    totals = Board(segment)
    totals.workers[0].put_database(0, 10, 1, 1000, 300)
    totals.workers[1].put_database(0, 5, 3, 2000, 200)
    totals.workers[1].put_database(2, 1, 0, 0)
    assert totals.databases() == {0: (15, 4, 1750, 500), 2: (1, 0, 0, 0)}


def test_a_reset_shows_in_differences_only(segment):
    totals = Board(segment)
    worker = totals.workers[0]
    worker.count("keyspace_hits", 5)
    worker.put("used_memory", 100)
    worker.count_command(0, 5000)
    totals.reset()
    assert totals.commands_since_reset() == {}
    assert [totals.since_reset(name) for name in ("keyspace_hits", "total_commands_processed")] == [0, 0]
    assert totals.since_reset("used_memory") == 100
    worker.count("keyspace_hits", 2)
    worker.count_command(0, 100, failed=True)
    assert totals.since_reset("keyspace_hits") == 2
    assert totals.commands_since_reset() == {"get": (1, 100, 0, 1, [1, *[0] * (layout.BUCKETS - 1)])}
    assert totals.total("keyspace_hits") == 7
    assert totals.total("total_commands_processed") == 2
    # A new frontend sees the same baseline.
    assert Board(Segment.attach(segment.fd)).since_reset("keyspace_hits") == 2


def test_numbers_outside_are_refused(segment):
    block = Block(segment, 0)
    for call in (
        lambda: Block(segment, 5),
        lambda: Block(segment, -1),
        lambda: block.put_database(16, 1, 1, 1),
        lambda: block.database(-1),
        lambda: block.count_command(3, 1),
        lambda: block.count_rejected(-1),
    ):
        with pytest.raises(IndexError):
            call()
    with pytest.raises(KeyError):
        block.count("nothing")
