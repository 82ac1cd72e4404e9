"""`/metrics`: names that dashboards ask for, types that a parser accepts, series per shard."""

import re
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mpkv.metrics.catalog import FIELDS, WORD_VALUES
from mpkv.metrics.exposition import series
from mpkv.metrics.families import FAMILIES, Lines, own_name
from mpkv.metrics.info import render as render_info
from mpkv.metrics.prometheus import Renderer
from mpkv.metrics.source import Reading
from mpkv.shm.layout import COUNTER_INDEX, COUNTERS

#: What Grafana's dashboard 763, redis-mixin and the usual alert rules query.
ASKED_FOR = {
    "redis_up", "redis_uptime_in_seconds", "redis_connected_clients", "redis_blocked_clients",
    "redis_memory_used_bytes",
    "redis_memory_max_bytes", "redis_commands_total", "redis_commands_duration_seconds_total",
    "redis_keyspace_hits_total",
    "redis_keyspace_misses_total", "redis_net_input_bytes_total", "redis_net_output_bytes_total", "redis_db_keys",
    "redis_db_keys_expiring", "redis_expired_keys_total", "redis_evicted_keys_total", "redis_memory_used_rss_bytes",
    "redis_connected_slaves", "redis_total_system_memory_bytes", "redis_instance_info",
    "redis_rdb_last_save_timestamp_seconds",
    "redis_rejected_connections_total", "redis_rdb_last_bgsave_status", "redis_latest_fork_seconds",
    "redis_start_time_seconds",
}  # fmt: skip


#: Fields whose value depends on the moment.
MOVING = re.compile("rss|cpu_(user|sys)|time|uptime|instantaneous|eventloop|fragmentation|resident|ratio|age|bgsave")


@pytest.fixture
def scrape(source):
    render = Renderer(source)

    def samples() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        text = render().decode()
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    return samples


def test_what_dashboards_and_alerts_ask_for_is_there(source, scrape):
    source.board.workers[0].count_command(1, 1000)
    assert ASKED_FOR - {name for name, _ in scrape()} == set()


def test_no_name_or_series_comes_twice_and_counters_keep_their_names(source):
    source.board.workers[0].count_command(1, 1000)
    text = Renderer(source)().decode()
    announced = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(announced) == len(set(announced))
    series = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(series) == len(set(series))
    assert "# TYPE redis_total_error_replies counter\nredis_total_error_replies 0\n" in text
    assert "# TYPE redis_keyspace_hits_total counter\nredis_keyspace_hits_total 0\n" in text


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_own_checker_finds_fault_with_names_of_redis_exporter_only(source):
    source.board.workers[0].count_command(1, 1000)
    source.board.workers[0].count_sizes(1, 10, 10)
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=Renderer(source)(), capture_output=True, timeout=30, check=False
    )
    complaints = checked.stderr.decode().splitlines()
    assert [line for line in complaints if not line.startswith("redis_")] == []
    assert any(line.startswith("redis_total_error_replies ") for line in complaints), "it does look"


def test_every_sample_belongs_to_the_metric_announced_before_it(source):
    source.board.workers[0].count_command(1, 1000)
    current = kind = ""
    for line in Renderer(source)().decode().splitlines():
        if line.startswith("#"):
            current, kind = line.split()[2:4]
        else:
            name = line.partition("{")[0].partition(" ")[0]
            assert name == current or (
                kind in ("histogram", "summary") and name.removeprefix(current) in ("_bucket", "_count", "_sum")
            )


def test_metrics_are_in_base_units(source, scrape):
    source.board.workers[1].put("fork_microseconds", 2500)
    source.board.workers[0].count_command(1, 3_000_000_000)
    found = scrape()
    assert found["redis_latest_fork_seconds", ()] == pytest.approx(0.0025)
    assert found["redis_commands_duration_seconds_total", (("cmd", "get"),)] == pytest.approx(3)
    assert found["mpkv_fork_seconds", (("shard", "1"),)] == pytest.approx(0.0025)


def test_latency_buckets_are_cumulative_and_agree_with_their_count(source, scrape):
    for nanoseconds in (500, 3000, 10**15):
        source.board.workers[0].count_command(1, nanoseconds)
    found = scrape()

    def bucket(bound: str) -> float:
        return found["redis_commands_latencies_usec_bucket", (("cmd", "get"), ("le", bound))]

    assert [bucket(bound) for bound in ("1", "2", "4", "33", "+Inf")] == [1, 1, 2, 2, 3]
    assert found["redis_commands_latencies_usec_count", (("cmd", "get"),)] == 3


def test_every_shard_has_its_series(source, scrape):
    source.board.workers[0].put_database(0, 5, 0, 0)
    source.board.workers[1].count("keyspace_hits", 7)
    source.board.workers[1].begin()
    found = scrape()
    assert found["mpkv_keyspace_hits_total", (("shard", "1"),)] == 7
    assert found["mpkv_keys", (("db", "db0"), ("shard", "0"))] == 5
    assert [found["mpkv_restarts_total", (("shard", shard),)] for shard in "01"] == [0, 1]
    assert [found["mpkv_up", (("shard", shard),)] for shard in "01"] == [1, 0]
    assert found["redis_db_keys", (("db", "db15"),)] == 0


def test_a_reset_of_info_does_not_move_counters_back(source, scrape):
    source.board.workers[0].count("keyspace_hits", 7)
    source.board.frontend.count_error(b"ERR x")
    source.board.reset()
    found = scrape()
    assert found["redis_keyspace_hits_total", ()] == 7
    assert found["redis_errors_total", (("err", "ERR"),)] == 1


def test_label_values_are_escaped(source):
    source.config.maxmemory_policy = 'a"b\\c\nd'
    text = Renderer(source)().decode()
    family = next(family for family in text_string_to_metric_families(text) if family.name == "redis_instance_info")
    assert family.samples[0].labels["maxmemory_policy"] == 'a"b\\c\nd'


def test_names_of_the_board_become_names_in_base_units():
    expected = {
        "expire_cycle_nanoseconds": ("expire_cycle_seconds_total", 1e9),
        "used_memory": ("used_memory_bytes", 1.0),
        "total_net_input_bytes": ("net_input_bytes_total", 1.0),
        "intents_total": ("intents_total", 1.0),
        "expired_stale_permyriad": ("expired_stale_ratio", 1e4),
    }
    for name, own in expected.items():
        assert own_name(COUNTERS[COUNTER_INDEX[name]]) == own
    names = [own_name(counter)[0] for counter in COUNTERS]
    assert len(names) == len(set(names))


def test_sizes_are_counted_by_command_and_shard(source, scrape):
    source.board.workers[1].count_command(1, 10)
    for request, reply in ((0, 5), (16, 5), (17, 70_000)):
        source.board.workers[1].count_sizes(1, request, reply)
    found = scrape()

    def bucket(name: str, bound: str) -> float:
        return found[f"mpkv_command_{name}_bytes_bucket", (("cmd", "get"), ("le", bound), ("shard", "1"))]

    assert [bucket("request", bound) for bound in ("16", "64", "+Inf")] == [2, 3, 3]
    assert [bucket("reply", bound) for bound in ("16", "65536", "262144", "+Inf")] == [2, 2, 3, 3]
    labels = (("cmd", "get"), ("shard", "1"))
    assert found["mpkv_command_request_bytes_sum", labels] == 33
    assert found["mpkv_command_reply_bytes_sum", labels] == 70_010
    assert found["mpkv_commands_total", labels] == 1
    assert not [name for name, labels in found if name.startswith("mpkv_command") and ("shard", "0") in labels]


def test_waiting_times_and_batches_are_histograms_by_shard(source, scrape):
    source.board.workers[0].observe_value("batch_commands", 3)
    source.board.workers[0].observe_value("batch_commands", 1 << 20)
    source.board.workers[0].observe_value("queue_wait_nanoseconds", 1_000_000, 3)
    source.board.frontend.observe_value("reply_wait_nanoseconds", 500)
    found = scrape()
    shard = ("shard", "0")
    assert found["mpkv_batch_commands_bucket", (("le", "2"), shard)] == 0
    assert found["mpkv_batch_commands_bucket", (("le", "4"), shard)] == 1
    assert found["mpkv_batch_commands_bucket", (("le", "+Inf"), shard)] == 2
    assert found["mpkv_queue_wait_seconds_sum", (shard,)] == pytest.approx(0.003)
    assert found["mpkv_queue_wait_seconds_count", (shard,)] == 3
    assert found["mpkv_frontend_reply_wait_seconds_bucket", (("le", "1.024e-06"),)] == 1


def test_queues_are_those_that_the_frontend_sees(source, scrape):
    source.board.frontend.put_link(1, True, 7, 900)
    found = scrape()
    assert [found["mpkv_linked", (("shard", shard),)] for shard in "01"] == [0, 1]
    assert found["mpkv_queue_commands", (("shard", "1"),)] == 7
    assert found["mpkv_queue_bytes", (("shard", "1"),)] == 900


def test_latency_events_and_percentiles_have_the_exporter_s_names(source, scrape):
    source.board.frontend.put_latency_event("fork", 1_700_000_000, 25, 40)
    source.board.workers[0].count_command(1, 3000)
    found = scrape()
    assert found["redis_latency_spike_last", (("event_name", "fork"),)] == 1_700_000_000
    assert found["redis_latency_spike_duration_seconds", (("event_name", "fork"),)] == 0.025
    assert ("redis_latency_spike_last", (("event_name", "command"),)) not in found
    assert 2.048 < found["redis_latency_percentiles_usec", (("cmd", "get"), ("quantile", "99"))] <= 4.096
    assert found["redis_latency_percentiles_usec_count", (("cmd", "get"),)] == 1
    source.config.set([("latency-tracking", "no")])
    assert not [name for name, _ in scrape() if name.startswith("redis_latency_percentiles")]


def test_a_server_without_a_frontend_is_not_up(source, scrape):
    assert scrape()["redis_up", ()] == 1
    source.board.frontend.mark_down()
    assert scrape()["redis_up", ()] == 0


def test_info_and_metrics_are_of_one_catalog(source):
    """Every number on a line of INFO that has a metric is the metric's value, after scaling; whoever adds a number adds
    one row, and has it in both."""
    for number, block in enumerate(source.board.processes):
        for index, counter in enumerate(COUNTERS):
            block.put(counter.name, 1000 * index + number)
        block.count_command(1, 7_000)
    source.board.workers[0].put_database(3, 5, 2, 100)
    reading = Reading(source, since_reset=True)  # nothing was reset: the same numbers as since the start
    exported = dict(line.rsplit(" ", 1) for line in Renderer(source)().decode().splitlines() if line[0] != "#")
    shown = dict(line.split(":", 1) for line in render_info(source, ["everything"]).split("\r\n") if ":" in line)
    compared = 0
    for field in FIELDS:
        if field.metric and field.section and not MOVING.search(field.name):
            value = WORD_VALUES.get(shown[field.name], shown[field.name])
            assert float(exported[f"redis_{field.metric}"]) == pytest.approx(float(value) * field.scale), field.name
            compared += 1
    assert compared > 100
    for family in FAMILIES:
        lines = dict(line.split(":", 1) for line in family.lines(reading))
        if isinstance(family, Lines) and family.section:
            assert lines, family.section
        for key, line in lines.items() if isinstance(family, Lines) else ():
            values = dict(pair.split("=") for pair in line.split(","))
            for column in family.columns:
                if column.metric:
                    name = series(f"redis_{column.metric}", {family.label: key.removeprefix(family.key)}, 0)[:-2]
                    assert float(exported[name]) == pytest.approx(float(values[column.name]) / column.per_unit), name
