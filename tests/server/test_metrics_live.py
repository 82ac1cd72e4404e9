"""`/metrics` of a running server: parsed as Prometheus parses it, true while processes die, and closed to everybody who
is not asked."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
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

SOON_S = 60.0

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


def page(port: int, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def falling(before: Samples, after: Samples) -> list[object]:
    """Counters and histograms of the server's that have gone back, or are gone."""
    ends = ("_total", "_bucket", "_count", "_sum")
    return [
        (place, number, after.get(place))
        for place, number in before.items()
        if place[0].endswith(ends) and place[0].startswith(("redis_", "mpkv_")) and not after.get(place, -1) >= number
    ]


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
    assert page(metrics_port, "/healthz") == page(metrics_port, "/readyz") == (200, "ok\n")
    dead, alive = (("shard", "0"),), (("shard", "1"),)
    # stopped it is as dead as can be without being replaced: /metrics asks nobody
    running.kill(signal.SIGSTOP, role="worker 0")
    until(lambda: value(metrics_port, "mpkv_heartbeat_age_seconds", shard="0") > 1)
    assert value(metrics_port, "mpkv_heartbeat_age_seconds", shard="1") < 1
    running.kill(role="worker 0")
    unready: set[str] = set()
    took_s: list[float] = []
    end = time.monotonic() + SOON_S
    status = 503
    while status != 200 or value(metrics_port, "mpkv_restarts_total", shard="0") == before["mpkv_restarts_total", dead]:
        assert time.monotonic() < end
        status, reasons = page(metrics_port, "/readyz")
        unready |= set(reasons.splitlines())
        begin = time.monotonic()
        seen = samples(metrics_port)
        took_s.append(time.monotonic() - begin)
        assert falling(before, seen) == [], "while the worker is dead or loads"
    assert max(took_s) < 1, "a scrape is answered at once, whoever is dead"
    assert unready & {"worker 0 is down", "worker 0 is starting", "shard 0 is not linked"}
    until(lambda: value(metrics_port, "mpkv_up", shard="0") == 1)
    running.wait_until_ready()
    after = samples(metrics_port)
    assert after["mpkv_snapshot_fallbacks_total", dead] == before["mpkv_snapshot_fallbacks_total", dead] + 1
    assert after["mpkv_snapshot_fallbacks_total", alive] == before["mpkv_snapshot_fallbacks_total", alive]
    assert after["mpkv_supervisor_worker_restarts_total", ()] == before["mpkv_supervisor_worker_restarts_total", ()] + 1
    assert after["mpkv_load_keys_loaded", dead] > 0
    assert falling(before, after) == []


def test_a_dead_frontend_is_seen(running: Server, metrics_port: int) -> None:
    before = samples(metrics_port)
    running.kill(role="frontend")
    until(lambda: value(metrics_port, "mpkv_frontend_restarts_total") == before["mpkv_frontend_restarts_total", ()] + 1)
    running.wait_until_ready()
    after = samples(metrics_port)
    assert after["mpkv_frontend_up", ()] == 1
    assert falling(before, after) == []


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


def test_queues_batches_and_sizes_are_counted_where_they_are(client: redis.Redis, metrics_port: int) -> None:
    client.set("k", "x" * 1000)
    before = samples(metrics_port)
    for _ in range(50):
        client.get("k")
    with client.pipeline(transaction=False) as pipe:
        for _ in range(200):
            pipe.get("k")
        pipe.execute()
    after = samples(metrics_port)

    def grown(name: str, **labels: str) -> float:
        """Over both shards."""
        return sum(
            number - before.get(place, 0)
            for place, number in after.items()
            if place[0] == name and set(labels.items()) <= set(place[1])
        )

    assert grown("mpkv_commands_total", cmd="get") == 250
    assert grown("mpkv_command_latency_seconds_count", cmd="get") == 250
    assert grown("mpkv_command_request_bytes_sum", cmd="get") == 250
    assert grown("mpkv_command_reply_bytes_sum", cmd="get") == 250 * len("$1000\r\n\r\n" + "x" * 1000)
    assert grown("mpkv_command_reply_bytes_bucket", cmd="get", le="1024") == 250
    assert grown("mpkv_command_reply_bytes_bucket", cmd="get", le="256") == 0
    assert grown("mpkv_batch_commands_sum") == grown("mpkv_queue_wait_seconds_count") == 250
    assert 50 < grown("mpkv_batch_commands_count") == grown("mpkv_batch_execute_seconds_count") < 250
    assert grown("mpkv_frontend_reply_wait_seconds_count") == 250
    for name in ("queue_wait", "batch_execute", "frontend_reply_wait"):
        assert 0 < grown(f"mpkv_{name}_seconds_sum") < 10, name
    until(lambda: all(value(metrics_port, "mpkv_queue_commands", shard=shard) == 0 for shard in "01"))


def test_latencies_are_those_of_the_histogram_command(running: Server, metrics_port: int) -> None:
    """Which later releases of redis_exporter ask for, and export under this name. Of a command that no other test uses:
    a reset moves the reply back, and not the metrics."""
    name = "redis_commands_latencies_usec"
    with redis.Redis.from_url(running.url, protocol=2, decode_responses=True) as client:
        for index in range(200):
            client.append(f"k{index % 20}", "x" * index * 100)
        command, details = client.execute_command("LATENCY", "HISTOGRAM", "append")
        found = samples(metrics_port)
        assert command == "append"
        assert found[f"{name}_count", (("cmd", "append"),)] == details[1] == 200
        assert found[f"{name}_sum", (("cmd", "append"),)] == client.info("commandstats")["cmdstat_append"]["usec"]
    bounds, counts = details[3][::2], details[3][1::2]
    assert len(bounds) >= 1
    for bound, count in zip(bounds, counts, strict=True):
        assert found[f"{name}_bucket", (("cmd", "append"), ("le", str(bound)))] == count


def test_what_waits_for_a_shard_is_seen(running: Server, client: redis.Redis, metrics_port: int) -> None:
    client.set("k", 1)
    with redis.Redis.from_url(running.url, single_connection_client=True) as other:
        running.kill(signal.SIGSTOP, role="worker 0")
        running.kill(signal.SIGSTOP, role="worker 1")
        try:
            connection = other.connection
            connection.send_command("GET", "k")
            connection.send_command("MSET", *(word for index in range(20) for word in (f"k{index}", index)))
            until(lambda: sum(value(metrics_port, "mpkv_queue_commands", shard=number) for number in "01") >= 3)
            until(lambda: value(metrics_port, "mpkv_frontend_intents_oldest_seconds") > 0.2)
            assert sum(value(metrics_port, "mpkv_queue_bytes", shard=number) for number in "01") > 100
        finally:
            running.kill(signal.SIGCONT, role="worker 0")
            running.kill(signal.SIGCONT, role="worker 1")
    until(lambda: value(metrics_port, "mpkv_frontend_intents_oldest_seconds") == 0)


#: Connects to a port a thousand times at once, without waiting for an answer anywhere; prints what came of it.
FLOOD = """
import asyncio, json, sys, time
async def ask(port):
    begin = time.monotonic()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\\r\\n\\r\\n")
        answer = await reader.read()
        writer.close()
    except OSError:
        answer = b""
    return (answer[9:12].decode() if answer.endswith(b"\\n") else "refused"), time.monotonic() - begin
async def main():
    results = await asyncio.gather(*(ask(int(sys.argv[1])) for _ in range(1000)))
    codes = [code for code, _ in results]
    print(json.dumps([{code: codes.count(code) for code in set(codes)}, max(seconds for _, seconds in results)]))
asyncio.run(main())
"""


def test_a_thousand_scrapes_at_once_do_not_disturb_a_client(
    client: redis.Redis, metrics_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    client.set("k", 1)

    def latencies_ms(going_on: Callable[[int], bool]) -> list[float]:
        found: list[float] = []
        while going_on(len(found)):
            begin = time.monotonic()
            client.get("k")
            found.append(1000 * (time.monotonic() - begin))
        return sorted(found)

    quiet = latencies_ms(lambda count: count < 1000)
    with subprocess.Popen([sys.executable, "-c", FLOOD, str(metrics_port)], stdout=subprocess.PIPE, text=True) as flood:
        busy = latencies_ms(lambda count: count < 500 or flood.poll() is None)
        assert flood.stdout is not None
        codes, slowest_s = json.loads(flood.stdout.read())
    with capsys.disabled():
        print(
            f"\n1000 scrapes at once: {codes}, the slowest {slowest_s:.2f} s; a client's median latency "
            f"{quiet[len(quiet) // 2]:.2f} -> {busy[len(busy) // 2]:.2f} ms, its longest {busy[-1]:.1f} ms"
        )
    assert codes["200"] >= 16
    assert codes["200"] + codes.get("refused", 0) == 1000
    assert slowest_s < 10
    # the flood itself takes a core of the machine's
    assert busy[len(busy) // 2] < 5 * quiet[len(quiet) // 2] + 2
    assert busy[-1] < 1000
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
