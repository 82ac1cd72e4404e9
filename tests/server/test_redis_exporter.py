"""The real redis_exporter scrapes mpkv without an error, and says what our own `/metrics` says.

The exporter's scrape is put between two of ours: a counter must lie between them, and whatever has not moved from one
to the other must be equal. What the exporter has and we have not is listed here, with the reason.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase as fnmatch
from pathlib import Path
from typing import Final, NamedTuple
from urllib.request import urlopen

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from mpkv.testing import Server
from tests.helpers.reference import free_port
from tests.helpers.running import leaving_nothing

EXPORTER: Final = shutil.which("prometheus-redis-exporter")
pytestmark = pytest.mark.skipif(EXPORTER is None, reason="prometheus-redis-exporter is not installed")

SOON_S = 60.0

#: Names of the exporter that mpkv does not have -> why.
NOT_OURS: Final = {
    "redis_exporter_": "the exporter tells of itself",
    "redis_target_scrape_request_errors_total": "the exporter tells of itself",
    "redis_last_key_groups_scrape_duration_milliseconds": "the exporter tells of itself",
    "redis_config_key_value": "an option of the exporter: a series per setting, with values that may be secrets",
    "redis_config_value": "the same for settings that are numbers",
    "redis_connected_clients_details": "an option of the exporter: a series per client; CLIENT LIST has it",
    "redis_connected_client_": "the same, one name per field",
    "redis_key_size": "an option of the exporter: a series per key, read from the data itself",
    "redis_key_value": "the same",
    "redis_keys_count": "the same, by pattern",
}

OF_LATER_RELEASES: Final = {"redis_config_value", "redis_connected_client_", "redis_key_value", "redis_keys_count"}

#: Gauges in this old release of the exporter, counters since.
COUNTERS_NOW: Final = {"redis_expired_time_cap_reached_total"}

#: Gauges that move by themselves -> how far apart two looks may be.
TOLERANCE: Final[dict[str, Callable[[float], float]]] = {
    # of the machine: resident memory is asked for at different times by the frontend and by the supervisor
    "redis_memory_used_rss_bytes": lambda value: value / 5,
    "redis_allocator_resident_bytes": lambda value: value / 5,
    "redis_allocator_rss_bytes": lambda value: value / 5,
    "redis_allocator_rss_ratio": lambda value: value / 5,
    "redis_mem_fragmentation_ratio": lambda value: value / 5,
    "redis_mem_fragmentation_bytes": lambda value: value / 5,
    # each process asks the system for the time spent by all of them twice a second at most
    "redis_cpu_": lambda value: 1.0,
    # of time
    "redis_uptime_in_seconds": lambda value: 2.0,
    "redis_start_time_seconds": lambda value: 2.0,
    "redis_db_avg_ttl_seconds": lambda value: 5.0,
    # the exporter is a client itself, and is there when INFO is asked for
    "redis_connected_clients": lambda value: 1.0,
    "redis_mem_clients_normal": lambda value: 1 << 20,
    "redis_client_recent_max_": lambda value: 1 << 20,
}

#: Percentiles of what was called between the two looks may go either way.
PERCENTILE: Final = "redis_latency_percentiles_usec"


class Scrape(NamedTuple):
    types: dict[str, str]
    values: dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(port: int) -> Scrape:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    types = dict(line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE"))
    values = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return Scrape(types, values)


def disagreements(before: Scrape, theirs: Scrape, after: Scrape) -> list[str]:
    """What the exporter says otherwise than we say before and after it."""
    found = []
    for name, kind in theirs.types.items():
        if not name.startswith("redis_") or name.startswith(tuple(NOT_OURS)):
            continue
        ours = after.types.get(name)
        if ours != kind and not (ours == "counter" and name in COUNTERS_NOW):
            found.append(f"{name} is a {kind} and ours is {ours}")
    for place, value in theirs.values.items():
        name, labels = place
        if not name.startswith("redis_") or name.startswith(tuple(NOT_OURS)):
            continue
        if name == "redis_instance_info":
            # later releases have more labels
            if not any(set(labels) <= set(have) for known, have in after.values if known == name):
                found.append(f"instance_info {labels}")
        elif place not in after.values:
            found.append(f"{place} is missing")
        elif not agrees(place, value, before, after):
            found.append(f"{place}: {before.values.get(place)} … {value} … {after.values[place]}")
    return found


def agrees(place: tuple[str, tuple[tuple[str, str], ...]], value: float, before: Scrape, after: Scrape) -> bool:
    name, labels = place
    first, last = before.values.get(place, 0.0), after.values[place]
    if name == PERCENTILE:
        calls = (f"{name}_count", tuple(pair for pair in labels if pair[0] == "cmd"))
        if before.values.get(calls) != after.values[calls]:
            return value > 0
    tolerance = next((far(last) for start, far in TOLERANCE.items() if name.startswith(start)), 1e-9 * abs(value))
    return min(first, last) - tolerance <= value <= max(first, last) + tolerance


class Watched(NamedTuple):
    server: Server
    metrics_port: int
    exporter_port: int
    log: Path


@pytest.fixture(scope="module", params=[1, 4], ids=["1 worker", "4 workers"])
def watched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A server with something to tell, and the exporter beside it."""
    assert EXPORTER is not None
    log = tmp_path_factory.mktemp("exporter") / "log"
    metrics_port, exporter_port = free_port(), free_port()
    settings = {"metrics_port": metrics_port, "latency_monitor_threshold": 5, "enable_debug_command": "yes"}
    with leaving_nothing(request.param, **settings) as server:
        use(server)
        with log.open("w") as stderr:
            exporter = subprocess.Popen(
                [EXPORTER, "-redis.addr", server.url, "-web.listen-address", f"127.0.0.1:{exporter_port}",
                 "-include-system-metrics", "-include-config-metrics", "-export-client-list",
                 "-check-single-keys", "db0=list,db0=k1"],
                stderr=stderr,
            )  # fmt: skip
        try:
            wait_for(exporter_port)
            scrape(exporter_port)  # what it asks for the first time only
            yield Watched(server, metrics_port, exporter_port, log)
        finally:
            exporter.terminate()
            exporter.wait(10)


def use(server: Server) -> None:
    with redis.Redis.from_url(server.url) as client:
        for index in range(300):
            client.set(f"k{index}", "x" * index, ex=1000 if index % 3 == 0 else None)
            client.get(f"k{index + 20}")
        client.mset({f"m{index}": index for index in range(50)})
        client.rpush("list", *range(100))
        for _ in range(3):
            with pytest.raises(redis.ResponseError):
                client.lpush("k1", "x")
        client.execute_command("DEBUG", "SLEEP", "0.05")  # slow, and a latency event
        # From here on the exporter's own commands are neither, however busy the machine is
        client.config_set("slowlog-log-slower-than", 10**9, "latency-monitor-threshold", 0)
        client.select(3)
        client.hset("hash", mapping={"a": 1, "b": 2})
        client.bgsave()
        end = time.monotonic() + SOON_S
        while client.info("persistence")["rdb_bgsave_in_progress"]:
            assert time.monotonic() < end
            time.sleep(0.02)


def wait_for(port: int) -> None:
    end = time.monotonic() + SOON_S
    while True:
        try:
            urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < end, "the exporter did not start"
            time.sleep(0.05)


def three_scrapes(watched: Watched) -> tuple[Scrape, Scrape, Scrape]:
    with redis.Redis.from_url(watched.server.url) as client:
        client.info("server")  # which brings the frontend's part of the board up to date, as every tick does
    return scrape(watched.metrics_port), scrape(watched.exporter_port), scrape(watched.metrics_port)


def test_the_exporter_s_samples_are_ours(watched: Watched) -> None:
    before, theirs, after = three_scrapes(watched)
    assert disagreements(before, theirs, after) == []
    compared = [name for name, _ in theirs.values if not name.startswith(tuple(NOT_OURS))]
    assert len(compared) > 200
    for name in ("commands_total", "db_keys", "errors_total", "latency_percentiles_usec", "instance_info",
                 "config_maxclients", "latency_spike_last"):  # fmt: skip
        assert any(place[0] == f"redis_{name}" for place in theirs.values), name
    assert theirs.values["redis_slowlog_length", ()] >= 1
    assert theirs.values["redis_last_slow_execution_duration_seconds", ()] > 0
    assert any(
        name == "redis_latency_spike_duration_seconds" and value >= 0.05 for (name, _), value in theirs.values.items()
    )


def test_the_exporter_meets_no_error(watched: Watched) -> None:
    theirs = scrape(watched.exporter_port)
    assert theirs.values["redis_up", ()] == 1
    errors = [value for (name, _), value in theirs.values.items() if name == "redis_exporter_last_scrape_error"]
    assert errors == [0]
    lines = [line for line in watched.log.read_text().splitlines() if re.search("level=(error|warning|fatal)", line)]
    assert lines == []


def test_every_reason_is_needed(watched: Watched) -> None:
    """What the exporter no longer gives, or we give now, must not stay in the list."""
    theirs = scrape(watched.exporter_port).types
    ours = scrape(watched.metrics_port).types
    unneeded = {start for start in NOT_OURS if not any(name.startswith(start) for name in theirs)}
    assert unneeded <= OF_LATER_RELEASES
    assert [name for name in ours if name.startswith(tuple(NOT_OURS))] == []


def names_of_the_guide() -> dict[str, str]:
    """What docs/operating.md says is not there, as patterns -> why."""
    text = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
    rows = text.partition("**Names of redis_exporter that are not there**")[2].partition("## ")[0]
    cells = re.findall(r"^\| (`[^|]+) \| ([^|]+) \|$", rows, re.MULTILINE)
    return {f"redis_{name}": why for names, why in cells for name in re.findall(r"`([^`]+)`", names)}


def test_the_guide_says_what_is_not_there(watched: Watched) -> None:
    patterns = names_of_the_guide()
    assert len(patterns) > 40
    theirs = scrape(watched.exporter_port).types
    ours = scrape(watched.metrics_port).types
    missing = [name for name in theirs if name.startswith("redis_") and name not in ours]
    assert len(missing) > 5
    unsaid = [name for name in missing if not any(fnmatch(name, pattern) for pattern in patterns)]
    assert unsaid == []
    assert [name for name in ours if any(fnmatch(name, pattern) for pattern in patterns)] == []


def test_a_disagreement_is_found(watched: Watched) -> None:
    before, theirs, after = three_scrapes(watched)
    for place in (("redis_expired_keys_total", ()), ("redis_commands_total", (("cmd", "set"),)),
                  ("redis_db_keys", (("db", "db3"),)), (PERCENTILE, (("cmd", "set"), ("quantile", "99")))):  # fmt: skip
        wrong = {**theirs.values, place: theirs.values[place] + 1}
        assert len(disagreements(before, Scrape(theirs.types, wrong), after)) == 1, place
    missing = {place: value for place, value in after.values.items() if place[0] != "redis_memory_used_bytes"}
    assert disagreements(before, theirs, Scrape(after.types, missing))
    assert disagreements(before, theirs, Scrape({**after.types, "redis_db_keys": "counter"}, after.values))
