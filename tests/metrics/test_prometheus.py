"""`/metrics`: names that dashboards ask for, types that a parser accepts, series per shard."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mpkv.metrics.prometheus import exposition, make_registry, own_name
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


@pytest.fixture
def scrape(source):
    registry = make_registry(source)

    def samples() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        text = exposition(registry.collect()).decode()
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
    text = exposition(make_registry(source).collect()).decode()
    announced = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(announced) == len(set(announced))
    series = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(series) == len(set(series))
    assert "# TYPE redis_total_error_replies counter\nredis_total_error_replies 0\n" in text
    assert "# TYPE redis_keyspace_hits_total counter\nredis_keyspace_hits_total 0\n" in text


def test_every_sample_belongs_to_the_metric_announced_before_it(source):
    source.board.workers[0].count_command(1, 1000)
    current = ""
    for line in exposition(make_registry(source).collect()).decode().splitlines():
        if line.startswith("#"):
            current = line.split()[2]
        else:
            name = line.partition("{")[0].partition(" ")[0]
            assert name == current or (
                current == "redis_commands_latencies_usec"
                and name.removeprefix(current) in ("_bucket", "_count", "_sum")
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
    text = exposition(make_registry(source).collect()).decode()
    family = next(family for family in text_string_to_metric_families(text) if family.name == "redis_instance_info")
    assert family.samples[0].labels["maxmemory_policy"] == 'a"b\\c\nd'


def test_names_of_the_board_become_names_in_base_units():
    expected = {
        "expire_cycle_nanoseconds": ("expire_cycle_seconds_total", 1e-9),
        "used_memory": ("used_memory_bytes", 1.0),
        "total_net_input_bytes": ("net_input_bytes_total", 1.0),
        "intents_total": ("intents_total", 1.0),
        "expired_stale_permyriad": ("expired_stale_ratio", 1e-4),
    }
    for name, own in expected.items():
        assert own_name(COUNTERS[COUNTER_INDEX[name]]) == own
    names = [own_name(counter)[0] for counter in COUNTERS]
    assert len(names) == len(set(names))
