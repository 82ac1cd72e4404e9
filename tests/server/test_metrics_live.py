"""`/metrics` of a running server: parsed as Prometheus parses it, true while processes die, and closed to everybody who
is not asked."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from mpkv.testing import Server
from tests.helpers.reference import free_port
from tests.helpers.running import leaving_nothing

SOON_S = 15.0

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def running(metrics_port: int) -> Iterator[Server]:
    with leaving_nothing(2, metrics_port=metrics_port) as server:
        yield server


@pytest.fixture
def client(running: Server) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(running.url, single_connection_client=True) as made:
        made.flushall()
        yield made


def scrape(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text: str = answer.read().decode()
        return text


def samples(port: int) -> Samples:
    """(name, labels) -> value; fails on what Prometheus' own parser does not accept, and on a sample that comes
    twice."""
    found: Samples = {}
    for family in text_string_to_metric_families(scrape(port)):
        for sample in family.samples:
            place = (sample.name, tuple(sorted(sample.labels.items())))
            assert place not in found, place
            found[place] = sample.value
    return found


def value(port: int, name: str, **labels: str) -> float:
    return samples(port)[name, tuple(sorted(labels.items()))]


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


def test_the_numbers_are_those_of_info(client: redis.Redis, metrics_port: int) -> None:
    client.info()  # which brings the frontend's part of the board up to date, as every tick does
    before = samples(metrics_port)
    for index in range(100):
        client.set(f"k{index}", index)
        client.get(f"k{index}")
    client.get("no"), client.mset({f"m{index}": index for index in range(10)})
    with pytest.raises(redis.ResponseError):
        client.lpush("k1", "x")
    client.set("volatile", 1, ex=100)
    info = client.info()
    after = samples(metrics_port)

    def grown(name: str, **labels: str) -> float:
        place = (name, tuple(sorted(labels.items())))
        return after[place] - before.get(place, 0)

    assert grown("redis_commands_total", cmd="set") == 101
    assert grown("redis_commands_total", cmd="get") == 101
    assert grown("redis_commands_total", cmd="mset") == 1
    assert grown("redis_commands_failed_calls_total", cmd="lpush") == 1
    assert grown("redis_commands_processed_total") == 205, "with the second INFO"
    assert grown("redis_keyspace_hits_total") == 100
    assert grown("redis_keyspace_misses_total") == 1
    assert grown("redis_errors_total", err="WRONGTYPE") == 1
    assert grown("redis_commands_latencies_usec_count", cmd="set") == 101
    assert grown("redis_commands_latencies_usec_bucket", cmd="set", le="+Inf") == 101
    assert grown("mpkv_frontend_scattered_commands_total") == 1
    assert grown("mpkv_frontend_intents_total") == 1
    assert after["mpkv_frontend_intents_open", ()] == 0
    assert after["redis_db_keys", (("db", "db0"),)] == 111
    assert after["redis_db_keys_expiring", (("db", "db0"),)] == 1
    assert sum(number for (name, _), number in after.items() if name == "mpkv_keys") == 111
    assert after["redis_connected_clients", ()] == 1
    assert after["redis_memory_used_bytes", ()] == info["used_memory"]
    assert 0 <= after["redis_uptime_in_seconds", ()] - info["uptime_in_seconds"] <= 1
    # what one end of a link sends the other receives
    for one, other in (("out", "in"), ("in", "out")):
        shards = sum(number for (name, _), number in after.items() if name == f"mpkv_link_{other}_batches_total")
        assert shards == pytest.approx(after[f"mpkv_frontend_link_{one}_batches_total", ()], abs=4)


def test_resetstat_does_not_let_counters_go_back(client: redis.Redis, metrics_port: int) -> None:
    client.set("k", 1)
    client.get("k")
    before = samples(metrics_port)
    client.config_resetstat()
    after = samples(metrics_port)
    assert client.info("stats")["keyspace_hits"] == 0
    for name in ("redis_keyspace_hits_total", "redis_commands_processed_total", "redis_connections_received_total"):
        assert after[name, ()] >= before[name, ()] > 0, name


def test_a_snapshot_is_seen(client: redis.Redis, metrics_port: int) -> None:
    client.set("k", "x" * 1000)
    before = samples(metrics_port)
    client.bgsave()
    until(lambda: value(metrics_port, "redis_rdb_saves_total") == before["redis_rdb_saves_total", ()] + 1)
    after = samples(metrics_port)
    assert after["redis_rdb_last_bgsave_status", ()] == 1
    assert after["redis_latest_fork_seconds", ()] > 0
    for shard in ("0", "1"):
        place = (("shard", shard),)
        assert after["mpkv_forks_total", place] == before["mpkv_forks_total", place] + 1
        assert 0 < after["mpkv_fork_seconds", place] < 1
        assert after["mpkv_cow_last_bytes", place] > 0
        assert after["mpkv_up", place] == 1


def test_back_pressure_is_counted(running: Server, client: redis.Redis, metrics_port: int) -> None:
    before = value(metrics_port, "mpkv_frontend_back_pressure_pauses_total")
    with socket.create_connection((running.host, running.port), timeout=10) as paused:
        # a client that must wait goes on sending: what it sends waits too, up to a bound
        client.client_pause(3000)
        paused.sendall(b"*2\r\n$3\r\nGET\r\n$6\r\nabsent\r\n" * 100_000)
        until(lambda: value(metrics_port, "mpkv_frontend_back_pressure_pauses_total") > before)
        until(lambda: value(metrics_port, "mpkv_frontend_paused_clients") == 1)
        until(lambda: value(metrics_port, "mpkv_frontend_paused_clients") == 0)
    until(lambda: client.info("clients")["connected_clients"] == 1)


def test_a_dead_worker_is_seen_and_the_rest_goes_on(client: redis.Redis, running: Server, metrics_port: int) -> None:
    client.mset({f"k{index}": index for index in range(100)})
    client.get("k1")
    client.save()
    before = samples(metrics_port)
    dead, alive = (("shard", "0"),), (("shard", "1"),)
    # stopped it is as dead as can be without being replaced: /metrics asks nobody
    running.kill(signal.SIGSTOP, role="worker 0")
    until(lambda: value(metrics_port, "mpkv_heartbeat_age_seconds", shard="0") > 1)
    assert value(metrics_port, "mpkv_heartbeat_age_seconds", shard="1") < 1
    running.kill(role="worker 0")
    until(lambda: value(metrics_port, "mpkv_restarts_total", shard="0") == before["mpkv_restarts_total", dead] + 1)
    until(lambda: value(metrics_port, "mpkv_up", shard="0") == 1)
    running.wait_until_ready()
    after = samples(metrics_port)
    assert after["mpkv_snapshot_fallbacks_total", dead] == before["mpkv_snapshot_fallbacks_total", dead] + 1
    assert after["mpkv_snapshot_fallbacks_total", alive] == before["mpkv_snapshot_fallbacks_total", alive]
    assert after["mpkv_supervisor_worker_restarts_total", ()] == before["mpkv_supervisor_worker_restarts_total", ()] + 1
    assert after["mpkv_load_keys_loaded", dead] > 0
    for name in ("redis_keyspace_hits_total", "redis_commands_processed_total"):
        assert after[name, ()] >= before[name, ()], name


def test_a_dead_frontend_is_seen(running: Server, metrics_port: int) -> None:
    before = samples(metrics_port)
    running.kill(role="frontend")
    until(lambda: value(metrics_port, "mpkv_frontend_restarts_total") == before["mpkv_frontend_restarts_total", ()] + 1)
    running.wait_until_ready()
    after = samples(metrics_port)
    assert after["mpkv_frontend_up", ()] == 1
    for place, number in before.items():
        if place[0].endswith("_total") and place[0].startswith(("mpkv_frontend_", "redis_")) and "cpu" not in place[0]:
            assert after[place] >= number, place


def test_nonsense_closes_its_own_connection_only(metrics_port: int, client: redis.Redis) -> None:
    with socket.create_connection(("127.0.0.1", metrics_port), timeout=5) as connection:
        connection.sendall(b"*1\r\n$4\r\nPING\r\n\r\n")
        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            pass  # closed while bytes of ours were under way
    with pytest.raises(HTTPError, match="404"):
        urlopen(f"http://127.0.0.1:{metrics_port}/nothing", timeout=5)
    assert ("redis_up", ()) in samples(metrics_port)
    assert client.ping()


def test_only_the_loopback_interface_is_served(metrics_port: int, running: Server) -> None:
    line = subprocess.run(
        ["ss", "-ltnH", f"sport = :{metrics_port}"], capture_output=True, text=True, check=True
    ).stdout
    assert [row.split()[3] for row in line.splitlines()] == [f"127.0.0.1:{metrics_port}"]


def test_a_port_that_is_taken_costs_the_metrics_and_not_the_data() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with leaving_nothing(1, metrics_port=port) as server, redis.Redis.from_url(server.url) as client:
            assert client.set("k", 1)
            lines = [line for line in server.log().splitlines() if "metrics" in line]
            assert len(lines) == 1
            assert f"port {port}: Address already in use" in lines[0]
