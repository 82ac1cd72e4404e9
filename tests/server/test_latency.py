"""LATENCY of running servers: events and their samples, and histograms that agree with INFO."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import redis

from mpkv.testing import Server
from tests.helpers.reference import Connection, reference_server
from tests.helpers.running import leaving_nothing

THRESHOLD_MS = 20
SLEEP_S = 0.03
SOON_S = 60.0


@pytest.fixture(scope="module")
def reference_watching() -> Iterator[int]:
    with reference_server("--latency-monitor-threshold", str(THRESHOLD_MS), "--enable-debug-command", "yes") as port:
        yield port


@pytest.fixture(scope="module")
def watching() -> Iterator[Server]:
    with leaving_nothing(
        2, latency_monitor_threshold=THRESHOLD_MS, enable_debug_command="yes", slowlog_log_slower_than=-1
    ) as server:
        yield server


@pytest.fixture
def client(watching: Server) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(watching.url, single_connection_client=True, decode_responses=True, protocol=3) as made:
        made.response_callbacks.clear()
        made.execute_command("LATENCY RESET")
        made.execute_command("CONFIG RESETSTAT")
        yield made


def sleep(client: redis.Redis, seconds: float = SLEEP_S) -> None:
    client.execute_command("DEBUG", "SLEEP", str(seconds))


def test_an_event_is_what_took_longer_than_the_threshold(client: redis.Redis) -> None:
    client.execute_command("SET", "k", "v")
    assert client.execute_command("LATENCY LATEST") == []
    sleep(client)
    ((event, when, last_ms, max_ms),) = client.execute_command("LATENCY LATEST")
    assert event == "command"
    assert abs(when - time.time()) < 5
    assert SLEEP_S * 1000 <= last_ms == max_ms < 1000
    assert client.execute_command("LATENCY HISTORY command") == [[when, last_ms]]
    assert client.execute_command("LATENCY RESET command nosuch") == 1
    assert client.execute_command("LATENCY LATEST") == []


def test_a_slow_command_of_a_shard_is_an_event(client: redis.Redis) -> None:
    before = client.config_get("latency-monitor-threshold")
    # A millisecond: the shard takes some 20 for these keys, on a fast machine too
    client.execute_command("CONFIG SET latency-monitor-threshold 1")
    try:
        client.execute_command("DEBUG POPULATE 200000")
        client.execute_command("LATENCY RESET")
        client.execute_command("KEYS *")
        assert [row[0] for row in client.execute_command("LATENCY LATEST")] == ["command"]
    finally:
        client.config_set("latency-monitor-threshold", before["latency-monitor-threshold"])
        client.execute_command("FLUSHALL")


def test_a_threshold_of_zero_is_off_even_while_the_slow_log_is_on(client: redis.Redis) -> None:
    client.execute_command("CONFIG SET latency-monitor-threshold 0 slowlog-log-slower-than 0")
    try:
        sleep(client)
        assert client.execute_command("LATENCY LATEST") == []
        assert "latency-monitor-threshold" in client.execute_command("LATENCY DOCTOR")
        assert client.execute_command("SLOWLOG LEN") > 0
    finally:
        client.execute_command(
            "CONFIG", "SET", "latency-monitor-threshold", THRESHOLD_MS, "slowlog-log-slower-than", -1
        )


def test_a_fork_is_an_event(client: redis.Redis) -> None:
    """With a threshold that any fork of a worker with so many keys reaches."""
    client.execute_command("DEBUG POPULATE 300000")
    client.execute_command("CONFIG SET latency-monitor-threshold 1")
    try:
        client.execute_command("BGSAVE")
        end = time.monotonic() + SOON_S
        while "rdb_bgsave_in_progress:1" in client.execute_command("INFO persistence"):
            assert time.monotonic() < end
            time.sleep(0.02)
        fork_us = int(re.search(r"latest_fork_usec:(\d+)", client.execute_command("INFO stats")).group(1))  # type: ignore[union-attr]
        rows = {row[0]: row[3] for row in client.execute_command("LATENCY LATEST")}
        assert rows.get("fork", 0) == fork_us // 1000
    finally:
        client.execute_command("CONFIG", "SET", "latency-monitor-threshold", THRESHOLD_MS)
        client.execute_command("FLUSHALL")


@pytest.mark.parametrize("protocol", [2, 3])
def test_graph_and_rows_look_as_those_of_redis(protocol: int, watching: Server, reference_watching: int) -> None:
    ours, reference = (_shown(port, protocol) for port in (watching.port, reference_watching))
    assert ours == reference


def _shown(port: int, protocol: int) -> list[bytes]:
    with closing(Connection(port)) as connection:
        connection.call([b"HELLO", b"%d" % protocol])
        connection.call([b"LATENCY", b"RESET"])
        connection.call([b"DEBUG", b"SLEEP", b"0.03"])
        replies = [
            connection.call([b"LATENCY", *words])
            for words in ([b"LATEST"], [b"HISTORY", b"command"], [b"GRAPH", b"command"], [b"GRAPH", b"nosuch"])
        ]
    return [re.sub(rb"\d+", b"#", reply) for reply in replies]


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_doctor_names_the_event_in_a_text_for_people(protocol: int, watching: Server) -> None:
    with closing(Connection(watching.port)) as connection:
        connection.call([b"HELLO", b"%d" % protocol])
        connection.call([b"LATENCY", b"RESET"])
        quiet = connection.call([b"LATENCY", b"DOCTOR"])
        connection.call([b"DEBUG", b"SLEEP", b"0.03"])
        report = connection.call([b"LATENCY", b"DOCTOR"])
    assert quiet[:1] == report[:1] == (b"$" if protocol == 2 else b"=")
    assert b"1. command: 1 latency spikes" not in quiet
    assert b"1. command: 1 latency spikes" in report


@pytest.mark.parametrize("protocol", [2, 3])
def test_histograms_have_the_shape_of_those_of_redis(protocol: int, watching: Server, reference_watching: int) -> None:
    shapes = []
    for port in (watching.port, reference_watching):
        with closing(Connection(port)) as connection:
            connection.call([b"HELLO", b"%d" % protocol])
            connection.call([b"CONFIG", b"RESETSTAT"])
            connection.call([b"ECHO", b"x"])
            reply = connection.call([b"LATENCY", b"HISTOGRAM", b"echo", b"nosuch", b"get", b"config"])
        shapes.append(re.sub(rb":\d+", b":#", reply))
    ours, reference = shapes
    assert ours == reference
    assert b"echo" in ours
    assert b"get" not in ours


def histograms(client: redis.Redis, *names: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = client.execute_command("LATENCY", "HISTOGRAM", *names)
    return found


def calls_in_info(client: redis.Redis) -> dict[str, int]:
    text = client.execute_command("INFO commandstats")
    return {name: int(calls) for name, calls in re.findall(r"cmdstat_([^:]+):calls=(\d+)", text)}


def percentiles_in_info(client: redis.Redis) -> set[str]:
    return set(re.findall(r"latency_percentiles_usec_([^:]+):", client.execute_command("INFO latencystats")))


def test_histograms_are_those_of_all_shards_and_agree_with_info(client: redis.Redis) -> None:
    for number in range(100):
        client.execute_command("SET", f"key-{number}", "v")
    client.execute_command("MGET", *(f"key-{number}" for number in range(100)))
    shown, calls = histograms(client), calls_in_info(client)
    assert shown["set"]["calls"] == calls["set"] == 100
    assert shown["mget"]["calls"] == calls["mget"] == 1
    assert shown.keys() <= percentiles_in_info(client)
    for row in shown.values():
        bounds, counts = list(row["histogram_usec"]), list(row["histogram_usec"].values())
        assert bounds == sorted(bounds)
        assert counts == sorted(set(counts)), "counts grow from bound to bound"
        assert counts[-1] == row["calls"]


def test_the_time_of_calls_over_several_shards_is_within_their_histogram(client: redis.Redis) -> None:
    keys = [f"key-{number}" for number in range(64)]
    for _ in range(50):
        client.execute_command("MSET", *(word for key in keys for word in (key, "v")))
        client.execute_command("UNLINK", *keys)
    usec = dict(re.findall(r"cmdstat_([^:]+):calls=50,usec=(\d+)", client.execute_command("INFO commandstats")))
    for name in ("mset", "unlink"):
        row = histograms(client, name)[name]
        most = below = 0
        for bound, count in row["histogram_usec"].items():
            most, below = most + int(bound) * (count - below), count
        assert int(usec[name]) <= most + row["calls"], "whole microseconds on both sides"


def test_a_container_means_its_subcommands(client: redis.Redis) -> None:
    client.execute_command("CONFIG GET maxmemory")
    assert histograms(client, "config").keys() == {"config|get", "config|resetstat"}
    assert histograms(client, "CONFIG|GET").keys() == {"config|get"}


def test_resetstat_empties_the_histograms(client: redis.Redis) -> None:
    client.execute_command("GET", "k")
    client.execute_command("CONFIG RESETSTAT")
    assert histograms(client).keys() == {"config|resetstat"}


def test_nothing_is_added_to_histograms_while_tracking_is_off(client: redis.Redis) -> None:
    client.execute_command("GET", "k")
    client.execute_command("CONFIG SET latency-tracking no")
    try:
        for _ in range(10):
            client.execute_command("GET", "k")
            client.execute_command("STRLEN", "k")
            client.execute_command("ECHO", "x")
        assert histograms(client, "get", "strlen", "echo") == {"get": histograms(client, "get")["get"]}
        assert histograms(client, "get")["get"]["calls"] == 1
        assert calls_in_info(client)["get"] == 11
        assert percentiles_in_info(client) == set()
    finally:
        client.execute_command("CONFIG SET latency-tracking yes")
    client.execute_command("STRLEN", "k")
    assert histograms(client, "strlen")["strlen"]["calls"] == 1
    assert {"get", "strlen"} <= percentiles_in_info(client)
    assert "echo" not in percentiles_in_info(client)


def test_redis_py_reads_latest_and_history(watching: Server) -> None:
    with redis.Redis.from_url(watching.url) as client:
        client.execute_command("DEBUG", "SLEEP", str(SLEEP_S))
        (event, _, last_ms, _), *_ = client.latency_latest()
        assert event == b"command"
        assert client.latency_history("command")[-1][1] >= last_ms >= THRESHOLD_MS
        assert client.latency_reset() == 1
