"""The rules for Prometheus: each alert fires on series that call for it and keeps silent on ones that do not, as
Prometheus' own `promtool` says.

That all their selectors find something at a real server is held by `test_dashboards`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from mpkv.metrics.grafana.export import RULES

ROOT = Path(__file__).parent.parent.parent
OPERATING = ROOT / "docs" / "operating.md"

TARGET = 'job="mpkv", instance="cache:9121"'
INTERVAL_S = 30
SAMPLES = 80  #: 40 minutes
#: Long enough for every ``for``, and less than the series last.
END_MINUTES = 35
DAY_S = 86400

Series = dict[str, str]


def steady(value: float) -> str:
    return f"{value}+0x{SAMPLES}"


def growing(per_second: float) -> str:
    return f"0+{per_second * INTERVAL_S}x{SAMPLES}"


def jump(value: float, minute: int = 30) -> str:
    """0, and from a minute on this."""
    before = minute * 60 // INTERVAL_S
    return f"0+0x{before - 1} {value}+0x{SAMPLES - before}"


def brief(usual: float, unusual: float, minute: int, samples: int) -> str:
    """A value that was another one for a few samples."""
    before = minute * 60 // INTERVAL_S
    return f"{usual}+0x{before - 1} {unusual}+0x{samples - 1} {usual}+0x{SAMPLES - before - samples}"


@dataclass(frozen=True)
class Case:
    """One alert: series on which it fires, and the nearest ones on which it does not."""

    fires: Series
    silent: Series
    at_minutes: float = END_MINUTES


def histogram(name: str, labels: str, fast: float, slow: float, bounds: tuple[str, str]) -> Series:
    """Observations per second up to the first bound, and between it and the second."""
    first, second = bounds
    return {
        f'{name}_bucket{{{labels}, le="{first}"}}': growing(fast),
        f'{name}_bucket{{{labels}, le="{second}"}}': growing(fast + slow),
        f'{name}_bucket{{{labels}, le="+Inf"}}': growing(fast + slow),
    }


def latency(slow: float, calls: float = 100) -> Series:
    return {
        'redis_commands_total{cmd="get"}': growing(calls),
        **histogram("redis_commands_latencies_usec", 'cmd="get"', calls * (1 - slow), calls * slow, ("132", "33821")),
    }


def reads(hits: str, misses: str, commands: float) -> Series:
    return {
        "redis_keyspace_hits_total": hits,
        "redis_keyspace_misses_total": misses,
        "redis_commands_processed_total": growing(commands),
    }


#: Reads that find their key until minute 10, and then only one in ten does.
FEWER_HITS = f"0+3000x19 60000+300x{SAMPLES - 20}"
MORE_MISSES = f"0+0x19 0+2700x{SAMPLES - 20}"

# fmt: off
CASES = {
    "MpkvDown": Case({"up": steady(0)}, {"up": brief(1, 0, 34, 2)}),
    "MpkvNotScraped": Case({'up{job="node"}': steady(1)}, {"up": steady(0)}),
    "MpkvShardDown": Case(
        {'mpkv_up{shard="1"}': steady(0), 'mpkv_state{shard="1"}': steady(0)},
        {'mpkv_up{shard="1"}': steady(0), 'mpkv_state{shard="1"}': steady(2)}),
    "MpkvLoadingLong": Case({'mpkv_state{shard="1"}': steady(2)}, {'mpkv_state{shard="1"}': brief(3, 2, 26, 18)}),
    "MpkvFrontendDown": Case({"mpkv_frontend_up": steady(0)}, {"mpkv_frontend_up": brief(1, 0, 34, 1)}),
    "MpkvShardRestartsOften": Case(
        {'mpkv_restarts_total{shard="0"}': jump(4)}, {'mpkv_restarts_total{shard="0"}': jump(1)}),
    "MpkvFrontendRestarted": Case(
        {"mpkv_frontend_restarts_total": jump(1)}, {"mpkv_frontend_restarts_total": jump(1, minute=5)}),
    "MpkvHeartbeatStale": Case(
        {'mpkv_heartbeat_age_seconds{shard="0"}': steady(11)}, {'mpkv_heartbeat_age_seconds{shard="0"}': steady(9)}),
    "MpkvShardLostWrites": Case(
        {'mpkv_snapshot_fallbacks_total{shard="0"}': jump(1)}, {'mpkv_snapshot_fallbacks_total{shard="0"}': steady(3)}),
    "MpkvSnapshotFailed": Case(
        {"redis_rdb_last_bgsave_status": steady(0)}, {"redis_rdb_last_bgsave_status": steady(1)}),
    # Time begins at 0 here, so that a snapshot of a day before it is older than a day.
    "MpkvSnapshotTooOld": Case(
        {"redis_rdb_last_save_timestamp_seconds": steady(-DAY_S), "redis_rdb_changes_since_last_save": steady(1),
         "redis_rdb_saves_total": steady(0), "mpkv_config_save_points": steady(3)},
        {"redis_rdb_last_save_timestamp_seconds": steady(-DAY_S), "redis_rdb_changes_since_last_save": steady(1),
         "redis_rdb_saves_total": steady(0), "mpkv_config_save_points": steady(0)}),
    "MpkvForkSlow": Case({'mpkv_fork_seconds{shard="0"}': steady(0.6)}, {'mpkv_fork_seconds{shard="0"}': steady(0.4)}),
    "MpkvIntentsStuck": Case(
        {"mpkv_frontend_intents_oldest_seconds": steady(31)}, {"mpkv_frontend_intents_oldest_seconds": steady(29)}),
    "MpkvMemoryNearlyFull": Case(
        {"redis_memory_used_bytes": steady(95), "redis_memory_max_bytes": steady(100),
         "redis_total_system_memory_bytes": steady(1000)},
        {"redis_memory_used_bytes": steady(95), "redis_memory_max_bytes": steady(0),
         "redis_total_system_memory_bytes": steady(1000)}),
    "MpkvAboveMaxmemory": Case(
        {"redis_current_eviction_exceeded_time_ms": steady(11_000)},
        {"redis_current_eviction_exceeded_time_ms": brief(0, 11_000, 34, 1)}),
    "MpkvMachineMemoryNearlyFull": Case(
        {"redis_memory_used_rss_bytes": steady(95), "redis_total_system_memory_bytes": steady(100)},
        {"redis_memory_used_rss_bytes": steady(85), "redis_total_system_memory_bytes": steady(100)}),
    "MpkvEvicting": Case({"redis_evicted_keys_total": growing(11)}, {"redis_evicted_keys_total": growing(9)}),
    "MpkvHitRatioDropped": Case(
        reads(FEWER_HITS, MORE_MISSES, commands=100), reads(FEWER_HITS, MORE_MISSES, commands=9), at_minutes=34),
    "MpkvClientsNearlyMax": Case(
        {"redis_connected_clients": steady(9500), "redis_config_maxclients": steady(10_000)},
        {"redis_connected_clients": steady(8500), "redis_config_maxclients": steady(10_000)}),
    "MpkvConnectionsRejected": Case(
        {"redis_rejected_connections_total": jump(1, minute=33)}, {"redis_rejected_connections_total": steady(7)}),
    "MpkvClientsDisconnected": Case(
        {"redis_client_output_buffer_limit_disconnections_total": jump(1, minute=33)},
        {"redis_client_output_buffer_limit_disconnections_total": steady(7)}),
    "MpkvBackPressure": Case(
        {"mpkv_frontend_back_pressure_pauses_total": growing(11), "mpkv_frontend_paused_clients": steady(0)},
        {"mpkv_frontend_back_pressure_pauses_total": growing(9), "mpkv_frontend_paused_clients": brief(1, 0, 31, 2)}),
    "MpkvErrorReplies": Case(
        {"redis_total_error_replies": growing(6), "redis_commands_processed_total": growing(100)},
        {"redis_total_error_replies": growing(4), "redis_commands_processed_total": growing(100)}),
    "MpkvSlowCommands": Case({"redis_slowlog_last_id": growing(0.25)}, {"redis_slowlog_last_id": growing(0.1)}),
    "MpkvLatencyHigh": Case(latency(slow=0.05), latency(slow=0.05, calls=0.5)),
    "MpkvQueueWaitLong": Case(
        histogram("mpkv_queue_wait_seconds", 'shard="0"', 90, 10, ("0.033", "0.268")),
        histogram("mpkv_queue_wait_seconds", 'shard="0"', 1000, 1, ("0.033", "0.268"))),
    "MpkvLinkQueueDeep": Case(
        {'mpkv_queue_bytes{shard="0"}': steady(17 << 20)}, {'mpkv_queue_bytes{shard="0"}': steady(15 << 20)}),
    "MpkvProcessBusy": Case(
        {"redis_cpu_user_main_thread_seconds_total": growing(0.45),
         "redis_cpu_sys_main_thread_seconds_total": growing(0.47)},
        {"redis_cpu_user_main_thread_seconds_total": growing(0.4),
         "redis_cpu_sys_main_thread_seconds_total": growing(0.4),
         'mpkv_eventloop_seconds_total{shard="0"}': growing(0.8)}),
}
# fmt: on


def alerts() -> list[str]:
    return re.findall(r"^ *- alert: (\w+)$", RULES.read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def promtool() -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed: Debian has it in the package prometheus")
    return program


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def full_name(series: str) -> str:
    """With the labels of the target, where it does not name a job itself."""
    if "job=" in series:
        return series
    name, _, labels = series.partition("{")
    return f"{name}{{{TARGET}{', ' + labels if labels else '}'}"


def firing(promtool: str, folder: Path, alert: str, series: Series, *, at: float, expected: int) -> str:
    """What promtool has against ``expected`` of these alerts firing at a minute; "" = nothing."""
    query = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)'
    test = {
        "interval": f"{INTERVAL_S}s",
        "input_series": [{"series": full_name(name), "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": query,
                "eval_time": f"{int(at * 60)}s",
                "exp_samples": [{"labels": "{}", "value": expected}],
            }
        ],
    }
    # JSON is YAML too
    file = folder / "case.yml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": f"{INTERVAL_S}s", "tests": [test]}))
    done = run(promtool, "test", "rules", str(file))
    return "" if done.returncode == 0 else f"{done.stdout}\n{done.stderr}"


def test_prometheus_accepts_the_rules(promtool: str) -> None:
    done = run(promtool, "check", "rules", "--lint-fatal", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(alerts()) + RULES.read_text().count('- record: ')} rules found" in done.stdout


def test_every_alert_is_tried() -> None:
    assert len(alerts()) == len(set(alerts()))
    assert sorted(CASES) == sorted(alerts())


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires(promtool: str, tmp_path: Path, alert: str) -> None:
    case = CASES[alert]
    assert not firing(promtool, tmp_path, alert, case.fires, at=case.at_minutes, expected=1)


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_keeps_silent(promtool: str, tmp_path: Path, alert: str) -> None:
    case = CASES[alert]
    assert not firing(promtool, tmp_path, alert, case.silent, at=case.at_minutes, expected=0)


@pytest.mark.parametrize(
    ("policy", "limit", "fires"), [("noeviction", 100, 1), ("allkeys-lru", 100, 0), ("allkeys-lru", 0, 1)]
)
def test_only_of_a_cache_with_a_limit_a_full_memory_is_expected(
    promtool: str, tmp_path: Path, policy: str, limit: int, fires: int
) -> None:
    series = {
        "redis_memory_used_bytes": steady(95), "redis_memory_max_bytes": steady(limit),
        "redis_total_system_memory_bytes": steady(100),
        f'redis_instance_info{{maxmemory_policy="{policy}"}}': steady(1),
    }  # fmt: skip
    assert not firing(promtool, tmp_path, "MpkvMemoryNearlyFull", series, at=END_MINUTES, expected=fires)


def test_the_check_sees_an_alert_that_fires_where_none_should(promtool: str, tmp_path: Path) -> None:
    case = CASES["MpkvDown"]
    complaint = firing(promtool, tmp_path, "MpkvDown", case.fires, at=case.at_minutes, expected=0)
    assert "FAILED" in complaint


def test_every_alert_says_what_happened_what_to_do_and_where_to_read_on() -> None:
    for part in RULES.read_text().split("- alert: ")[1:]:
        alert = part.split()[0]
        assert re.search(r"^ *severity: (critical|warning|info)$", part, re.MULTILINE), alert
        for annotation in ("summary", "description"):
            assert re.search(rf'^ *{annotation}: ".{{20,}}"$', part, re.MULTILINE), f"{alert} has no {annotation}"
        assert f"runbook: docs/operating.md#{alert.lower()}\n" in part, alert


def test_every_alert_has_its_place_in_the_documentation() -> None:
    headings = re.findall(r"^#+ (\w+)$", OPERATING.read_text(), re.MULTILINE)
    assert not set(alerts()) - set(headings)
