"""INFO: Redis' fields in Redis' order, sections as asked for, numbers from the board."""

import re

import pytest

from mpkv.metrics import info
from mpkv.metrics.source import percentile_us
from mpkv.shm.layout import BUCKETS, State
from tests.helpers.reference import Connection, reference_server

#: Fields that 7.2 has and 7.0 has not.
NEW_FIELDS = {
    "total_blocking_keys", "total_blocking_keys_on_nokey", "listener0", "eventloop_cycles", "eventloop_duration_sum",
    "eventloop_duration_cmd_sum", "instantaneous_eventloop_cycles_per_sec", "instantaneous_eventloop_duration_usec",
    "acl_access_denied_auth", "acl_access_denied_cmd", "acl_access_denied_key", "acl_access_denied_channel",
    "mpkv_version",
}  # fmt: skip


def names(text: str) -> list[str]:
    """Section titles and field names in order, without lines per command, error or database."""
    return [
        line.split(":")[0]
        for line in text.split("\r\n")
        if line and not re.match(r"cmdstat_|errorstat_|latency_percentiles|db\d", line)
    ]


def fields(text: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


def titles(text: str) -> list[str]:
    return [line.removeprefix("# ") for line in text.split("\r\n") if line.startswith("# ")]


@pytest.fixture(scope="module")
def redis_text():
    def ask(*sections: str) -> str:
        reply = connection.call([b"INFO", *(section.encode() for section in sections)])
        return reply.split(b"\r\n", 1)[1].decode().removesuffix("\r\n")

    with reference_server() as port:
        connection = Connection(port)
        yield ask
        connection.close()


@pytest.mark.parametrize("section", [*info.SECTIONS, "everything", "all", "default"])
def test_fields_are_those_of_redis_in_its_order(source, redis_text, section):
    ours = [name for name in names(info.render(source, [section])) if name not in NEW_FIELDS]
    assert ours == names(redis_text(section))


@pytest.mark.parametrize(
    "asked", [(), ("nothing",), ("CPU", "server"), ("default", "commandstats"), ("keyspace", "nothing")]
)
def test_sections_are_chosen_as_redis_does(source, redis_text, asked):
    assert titles(info.render(source, asked)) == titles(redis_text(*asked))


def test_every_line_ends_and_sections_are_apart(source):
    text = info.render(source, ["clients", "cluster"])
    assert text.endswith("cluster_enabled:0\r\n")
    assert "\r\n\r\n# Cluster\r\n" in text
    assert "\n" not in text.replace("\r\n", "")


def test_numbers_come_from_all_processes(source):
    first, second = source.board.workers
    first.count("keyspace_hits", 2)
    second.count("keyspace_hits", 3)
    first.put("used_memory", 1536 * 1024)
    second.put_database(4, 7, 2, 900)
    source.board.frontend.put("connected_clients", 9)
    found = fields(info.render(source))
    assert found["keyspace_hits"] == "5"
    assert (found["used_memory"], found["used_memory_human"]) == (str(1536 * 1024), "1.50M")
    assert found["connected_clients"] == "9"
    assert found["db4"] == "keys=7,expires=2,avg_ttl=900"
    assert "db0" not in found
    assert found["redis_version"].startswith("7.2")
    assert found["run_id"] == source.segment.run_id


def test_command_lines_have_the_shape_that_exporters_read(source):
    worker = source.board.workers[0]
    for _ in range(4):
        worker.count_command(1, 1500)
    worker.count_command(0, 2_000_000, failed=True)
    source.board.frontend.count_rejected(2)
    found = fields(info.render(source, ["commandstats", "latencystats"]))
    assert found["cmdstat_get"] == "calls=4,usec=6,usec_per_call=1.50,rejected_calls=0,failed_calls=0"
    assert found["cmdstat_config|get"] == "calls=1,usec=2000,usec_per_call=2000.00,rejected_calls=0,failed_calls=1"
    assert found["cmdstat_set"] == "calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0"
    assert re.fullmatch(r"p50=\d+\.\d{3},p99=\d+\.\d{3},p99\.9=\d+\.\d{3}", found["latency_percentiles_usec_get"])
    assert "latency_percentiles_usec_set" not in found


def test_latencies_are_not_shown_when_they_are_not_tracked(source):
    source.board.workers[0].count_command(1, 1500)
    source.config.set([("latency-tracking", "no")])
    assert fields(info.render(source, ["latencystats"])) == {}


def test_errors_are_shown_by_prefix_once_there_are_any(source):
    source.board.frontend.count_error(b"-WRONGTYPE x")
    source.board.frontend.count_error(b"-WRONGTYPE y")
    assert fields(info.render(source, ["errorstats"])) == {"errorstat_WRONGTYPE": "count=2"}


def test_a_reset_empties_counters_and_keeps_gauges(source):
    worker = source.board.workers[0]
    worker.count("keyspace_hits", 2)
    worker.put("used_memory", 100)
    worker.count_command(1, 10)
    source.board.frontend.count_error(b"ERR x")
    source.board.reset()
    found = fields(info.render(source, ["everything"]))
    assert (found["keyspace_hits"], found["total_commands_processed"], found["used_memory"]) == ("0", "0", "100")
    assert not [name for name in found if name.startswith(("cmdstat_", "errorstat_"))]


def test_a_loading_shard_makes_the_server_loading(source):
    worker = source.board.workers[1]
    worker.put("load_total_bytes", 200)
    worker.put("load_loaded_bytes", 50)
    assert "loading_loaded_perc" not in fields(info.render(source, ["persistence"]))
    worker.enter(State.LOADING)
    found = fields(info.render(source, ["persistence"]))
    assert (found["loading"], found["loading_loaded_perc"]) == ("1", "25.00")


def test_a_failed_snapshot_shows(source):
    frontend = source.board.frontend
    assert fields(info.render(source, ["persistence"]))["rdb_last_bgsave_time_sec"] == "-1"
    frontend.count("snapshot_failures")
    frontend.put("snapshot_last_failed", 1)
    frontend.put("snapshot_last_duration_ms", 2500)
    found = fields(info.render(source, ["persistence"]))
    assert (found["rdb_last_bgsave_status"], found["rdb_last_bgsave_time_sec"]) == ("err", "2")


def test_rates_are_measured_between_samples(source, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("mpkv.metrics.source.time.monotonic", lambda: clock[0])
    source.sample()
    clock[0] += 0.5
    for _ in range(100):
        source.board.workers[0].count_command(1, 10)
    source.board.frontend.count("total_net_input_bytes", 512 * 100)
    found = fields(info.render(source, ["stats"]))
    assert (found["instantaneous_ops_per_sec"], found["instantaneous_input_kbps"]) == ("200", "100.00")
    clock[0] += 60
    assert fields(info.render(source, ["stats"]))["instantaneous_ops_per_sec"] == "0"


def test_listeners_are_listed(source):
    source.config.set([("bind", "127.0.0.1 -::1")])
    source.config.unixsocket = "/run/x.sock"
    found = fields(info.render(source, ["server"]))
    assert found["listener0"] == "name=tcp,bind=127.0.0.1,bind=-::1,port=6379"
    assert found["listener1"] == "name=unix,bind=/run/x.sock"


@pytest.mark.parametrize(
    ("counts", "percentile", "expected"), [({0: 1}, 50, 0.512), ({0: 50, 3: 50}, 99, 8.11008), ({}, 50, 0)]
)
def test_percentiles_are_estimated_within_their_bucket(counts, percentile, expected):
    buckets = [counts.get(bucket, 0) for bucket in range(BUCKETS)]
    assert percentile_us(buckets, percentile) == pytest.approx(expected)
