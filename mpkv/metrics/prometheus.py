"""`/metrics`: the catalog and the board as Prometheus metrics.

``redis_*`` are the names of redis_exporter, so that its dashboards and alert rules work unchanged; ``mpkv_*`` show the
inside: one series per shard where a worker's number is meant. prometheus_client's multi-process mode is not used: a
number on the board costs a nanosecond to count there, instead of a microsecond, and no file is left behind by a process
that is gone.

The text is written here and not by prometheus_client, because that puts ``_total`` behind the name of every counter,
and some of redis_exporter's counters have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mpkv import REDIS_VERSION, __version__
from mpkv.metrics.catalog import FIELDS, instance_labels, metric_value
from mpkv.metrics.source import BoardSource, Reading
from mpkv.shm.board import Block
from mpkv.shm.layout import BUCKET_LABELS_US, COUNTERS, ERROR_PREFIXES, Counter, State

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

#: Ends of the board's names -> (end in Prometheus' base units, factor).
_UNITS: Final = {
    "_nanoseconds": ("_seconds", 1e-9), "_microseconds": ("_seconds", 1e-6), "_ms": ("_seconds", 1e-3),
    "_permyriad": ("_ratio", 1e-4), "used_memory": ("used_memory_bytes", 1.0),
}  # fmt: skip


def _metric(name: str, kind: str, help_text: str) -> Metric:
    # The class adds and removes suffixes by type: created without one, the name stays as it is.
    metric = Metric(name, help_text, "unknown")
    metric.type = kind
    return metric


def own_name(counter: Counter) -> tuple[str, float]:
    """The name of a board's number without its prefix, in base units, and the factor to them."""
    name, factor = counter.name.removeprefix("total_"), 1.0
    for end, (unit, scale) in _UNITS.items():
        if name.endswith(end):
            name, factor = name.removesuffix(end) + unit, scale
            break
    name = name.removesuffix("_total")
    return (f"{name}_total" if counter.kind == "counter" else name), factor


class BoardCollector(Collector):
    """Yields everything anew at every scrape."""

    def __init__(self, source: BoardSource) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        reading = Reading(self._source, since_reset=False)
        yield from _from_catalog(reading)
        yield _instance_info(reading)
        yield from _by_command(reading)
        yield _by_error(reading)
        yield from _by_database(reading)
        yield from _buffer_limits(reading)
        yield from _own(reading)


def _from_catalog(reading: Reading) -> Iterator[Metric]:
    for field in FIELDS:
        if field.metric:
            metric = _metric(f"redis_{field.metric}", field.kind, field.help)
            metric.add_sample(metric.name, {}, metric_value(field, reading))
            yield metric


def _instance_info(reading: Reading) -> Metric:
    metric = _metric("redis_instance_info", "gauge", "What this server is")
    metric.add_sample(metric.name, instance_labels(reading), 1)
    return metric


#: Place in a command's row -> metric, factor, help.
_COMMAND_METRICS: Final = (
    (0, "redis_commands_total", 1.0, "Calls"),
    (1, "redis_commands_duration_seconds_total", 1e-9, "Time spent executing"),
    (2, "redis_commands_rejected_calls_total", 1.0, "Calls refused before execution"),
    (3, "redis_commands_failed_calls_total", 1.0, "Calls that ended in an error"),
)


def _by_command(reading: Reading) -> Iterator[Metric]:
    for place, name, factor, help_text in _COMMAND_METRICS:
        metric = _metric(name, "counter", help_text)
        for command, row in reading.commands.items():
            value = row[place]
            assert isinstance(value, int)
            metric.add_sample(name, {"cmd": command}, value * factor)
        yield metric
    yield _latencies(reading)


def _latencies(reading: Reading) -> Metric:
    metric = _metric("redis_commands_latencies_usec", "histogram", "Time of one execution in microseconds")
    for command, (_, nanoseconds, _, _, buckets) in reading.commands.items():
        counts = list(accumulate(buckets))
        for bound, count in zip((*map(str, BUCKET_LABELS_US), "+Inf"), counts, strict=True):
            metric.add_sample(f"{metric.name}_bucket", {"cmd": command, "le": bound}, count)
        # Not the count of calls: bucket and count must agree, even when they are read while one is being written.
        metric.add_sample(f"{metric.name}_count", {"cmd": command}, counts[-1])
        metric.add_sample(f"{metric.name}_sum", {"cmd": command}, nanoseconds / 1000)
    return metric


def _by_error(reading: Reading) -> Metric:
    metric = _metric("redis_errors_total", "counter", "Error replies by their first word")
    for prefix in ERROR_PREFIXES:
        count = reading.count(f"errors_{prefix.lower()}")
        if count:
            metric.add_sample(metric.name, {"err": prefix}, count)
    return metric


def _by_database(reading: Reading) -> Iterator[Metric]:
    for place, name, factor, help_text in (
        (0, "redis_db_keys", 1.0, "Keys"),
        (1, "redis_db_keys_expiring", 1.0, "Keys with an expiry"),
        (2, "redis_db_avg_ttl_seconds", 1e-3, "Mean time to live of keys with an expiry"),
    ):
        metric = _metric(name, "gauge", help_text)
        for index in range(reading.config.databases):
            value = reading.databases.get(index, (0, 0, 0))[place]
            metric.add_sample(name, {"db": f"db{index}"}, value * factor)
        yield metric


def _buffer_limits(reading: Reading) -> Iterator[Metric]:
    sizes = _metric("redis_config_client_output_buffer_limit_bytes", "gauge", "Unsent output that disconnects a client")
    times = _metric(
        "redis_config_client_output_buffer_limit_overcome_seconds", "gauge", "How long the soft limit may be passed"
    )
    for name, (hard, soft, seconds) in reading.config.client_output_buffer_limit.items():
        label = "slave" if name == "replica" else name
        sizes.add_sample(sizes.name, {"class": label, "limit": "hard"}, hard)
        sizes.add_sample(sizes.name, {"class": label, "limit": "soft"}, soft)
        times.add_sample(times.name, {"class": label, "limit": "soft"}, seconds)
    yield from (sizes, times)


def _own(reading: Reading) -> Iterator[Metric]:
    info = _metric("mpkv_build_info", "gauge", "Which version runs")
    info.add_sample(info.name, {"version": __version__, "redis_version": REDIS_VERSION}, 1)
    yield info
    board = reading.board
    shards = [({"shard": str(shard)}, block) for shard, block in enumerate(reading.workers)]
    yield from _own_of("mpkv_", shards, {"worker", "both"})
    yield from _own_of("mpkv_frontend_", [({}, board.frontend)], {"frontend", "both"})
    yield from _own_of("mpkv_supervisor_", [({}, board.supervisor)], {"supervisor"})
    keys = _metric("mpkv_keys", "gauge", "Keys of one shard in one database")
    for labels, block in shards:
        for index in range(reading.segment.shape.databases):
            if block.database(index)[0]:
                keys.add_sample(keys.name, labels | {"db": f"db{index}"}, block.database(index)[0])
    yield keys


def _own_of(prefix: str, blocks: list[tuple[dict[str, str], Block]], whose: set[str]) -> Iterator[Metric]:
    for name, kind, help_text, read in (
        ("up", "gauge", "Whether it can do its work", lambda block: float(block.state in (State.READY, State.SAVING))),
        ("state", "gauge", "0 down 1 starting 2 loading 3 ready 4 saving 5 stopping", lambda block: int(block.state)),
        ("heartbeat_age_seconds", "gauge", "Since it was last alive", lambda block: block.heartbeat_age_ms / 1000),
        ("restarts_total", "counter", "How often it was started again", lambda block: max(0, block.incarnation - 1)),
    ):
        metric = _metric(prefix + name, kind, help_text)
        for labels, block in blocks:
            if block.pid:
                metric.add_sample(metric.name, labels, read(block))
        yield metric
    for counter in COUNTERS:
        if counter.of not in whose or counter.name.startswith("errors_"):
            continue
        name, factor = own_name(counter)
        metric = _metric(prefix + name, "counter" if counter.kind == "counter" else "gauge", counter.help)
        for labels, block in blocks:
            metric.add_sample(metric.name, labels, block.counter(counter.name) * factor)
        yield metric


def make_registry(source: BoardSource) -> CollectorRegistry:
    """The board's metrics, and Prometheus' standard ones of the process that serves them."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(BoardCollector(source))
    return registry


_LABEL_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})


def exposition(metrics: Iterable[Metric]) -> bytes:
    """The text format, version 0.0.4. A metric is announced under the name that its samples have."""
    lines = []
    for metric in metrics:
        if not metric.samples:
            continue
        name = metric.name
        if metric.type == "counter" and metric.samples[0].name == f"{name}_total":
            name = f"{name}_total"
        kind = {"unknown": "untyped", "info": "gauge"}.get(metric.type, metric.type)
        if metric.type == "info":
            name = metric.samples[0].name
        help_text = metric.documentation.replace("\\", "\\\\").replace("\n", "\\n")
        lines += [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
        for sample in metric.samples:
            labels = ",".join(f'{key}="{value.translate(_LABEL_ESCAPES)}"' for key, value in sample.labels.items())
            lines.append(
                f"{sample.name}{{{labels}}} {_number(sample.value)}"
                if labels
                else f"{sample.name} {_number(sample.value)}"
            )
    return ("\n".join(lines) + "\n").encode()


def _number(value: float) -> str:
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
