"""What comes in many: a line of INFO, and a series of `/metrics`, for each command, error, database, event or shard.

The second half of the catalog (`mpkv.metrics.catalog` has what is there once). A family reads its rows once and shows
them as lines, as series, or as both; the names with ``redis_`` are those of redis_exporter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from mpkv import REDIS_VERSION, __version__
from mpkv.metrics.catalog import Value, instance_labels
from mpkv.metrics.exposition import Metric, histogram_text, series
from mpkv.metrics.source import WORKING, Reading, percentile_us
from mpkv.shm.board import Block
from mpkv.shm.layout import (
    BUCKET_BOUNDS_NS,
    BUCKET_LABELS_US,
    COUNTERS,
    ERROR_PREFIXES,
    HISTOGRAMS,
    MEMORY_BY_TYPE,
    SIZE_BOUNDS_BYTES,
    Counter,
    Histogram,
)

Row = tuple[str, Sequence[Value]]


class Column(NamedTuple):
    """One number of every row."""

    name: str  #: in the line of INFO; "" = not there
    metric: str = ""  #: without ``redis_``; "" = not exported
    kind: str = "gauge"
    help: str = ""
    per_unit: float = 1  #: how many of the field's units are one of the metric's


@dataclass(frozen=True, slots=True)
class Lines:
    """Rows of plain numbers: ``cmdstat_get:calls=1,usec=2,…``."""

    section: str  #: of INFO; "" = not there
    key: str  #: of the line, before the row's name
    label: str  #: of the series
    columns: Sequence[Column]
    rows: Callable[[Reading], Iterable[Row]]
    exported: Callable[[Reading], Iterable[Row]] | None = None  #: where the series are more rows than the lines

    def lines(self, reading: Reading) -> Iterator[str]:
        for name, values in self.rows(reading):
            pairs = zip(self.columns, values, strict=True)
            yield f"{self.key}{name}:" + ",".join(f"{column.name}={value}" for column, value in pairs if column.name)

    def metrics(self, reading: Reading) -> Iterator[Metric]:
        rows = list((self.exported or self.rows)(reading))
        for place, column in enumerate(self.columns):
            if column.metric:
                name = f"redis_{column.metric}"
                samples = [
                    series(name, {self.label: row}, float(values[place]) / column.per_unit) for row, values in rows
                ]
                yield Metric(name, column.kind, column.help, samples)


def _commands(reading: Reading) -> Iterator[Row]:
    for name, (calls, nanoseconds, rejected, failed, _) in reading.commands.items():
        each = f"{nanoseconds / 1000 / calls if calls else 0:.2f}"
        yield name, (calls, nanoseconds // 1000, each, rejected, failed)


def _errors(reading: Reading) -> Iterator[Row]:
    for prefix in sorted(ERROR_PREFIXES):
        count = reading.count(f"errors_{prefix.lower()}")
        if count:
            yield prefix, (count,)


def _databases(reading: Reading) -> Iterator[Row]:
    for index, row in reading.databases.items():
        yield f"db{index}", (row.keys, row.expires, row.avg_ttl_ms)


def _all_databases(reading: Reading) -> Iterator[Row]:
    """redis_exporter reports those without keys as 0."""
    rows = dict(_databases(reading))
    for index in range(reading.config.databases):
        yield f"db{index}", rows.get(f"db{index}", (0, 0, 0))


def _latency_events(reading: Reading) -> Iterator[Row]:
    for name, event in reading.board.frontend.latency_events().items():
        yield name, (event.time_seconds, event.last_ms)


@dataclass(frozen=True, slots=True)
class Percentiles:
    """``latency_percentiles_usec_get:p50=…,p99=…``, and the summary of the same numbers."""

    section: str = "Latencystats"

    @staticmethod
    def _rows(reading: Reading) -> Iterator[tuple[str, list[tuple[str, str]], int, int]]:
        if not reading.config.latency_tracking:
            return
        percentiles = reading.config.latency_tracking_info_percentiles
        for name, (calls, nanoseconds, _, _, buckets) in reading.commands.items():
            if any(buckets):  # not if latencies were not tracked when it was called
                values = [(f"{wanted:.6g}", f"{percentile_us(buckets, wanted):.3f}") for wanted in percentiles]
                yield name, values, calls, nanoseconds // 1000

    def lines(self, reading: Reading) -> Iterator[str]:
        for name, values, _, _ in self._rows(reading):
            yield f"latency_percentiles_usec_{name}:" + ",".join(f"p{wanted}={value}" for wanted, value in values)

    def metrics(self, reading: Reading) -> Iterator[Metric]:
        name = "redis_latency_percentiles_usec"
        samples = []
        for command, values, calls, usec in self._rows(reading):
            samples += [series(name, {"cmd": command, "quantile": wanted}, float(value)) for wanted, value in values]
            samples.append(series(f"{name}_sum", {"cmd": command}, usec))
            samples.append(series(f"{name}_count", {"cmd": command}, calls))
        yield Metric(name, "summary", "Percentiles of the time of one execution in microseconds", samples)


@dataclass(frozen=True, slots=True)
class Listeners:
    """``listener0:name=tcp,bind=*,bind=-::*,port=6379``: words only, nothing to export."""

    section: str = "Server"

    def lines(self, reading: Reading) -> Iterator[str]:
        config = reading.config
        number = 0
        for name, port in (("tcp", config.port), ("tls", config.tls_port)):
            if port:
                bind = "".join(f",bind={address}" for address in config.bind)
                yield f"listener{number}:name={name}{bind},port={port}"
                number += 1
        if config.unixsocket:
            yield f"listener{number}:name=unix,bind={config.unixsocket}"

    def metrics(self, reading: Reading) -> Iterator[Metric]:
        return iter(())


@dataclass(frozen=True, slots=True)
class SeriesOnly:
    """Series without a line in INFO."""

    read: Callable[[Reading], Iterable[Metric]]
    section: str = ""

    def lines(self, reading: Reading) -> Iterator[str]:
        return iter(())

    def metrics(self, reading: Reading) -> Iterator[Metric]:
        yield from self.read(reading)


def _instance_info(reading: Reading) -> Iterator[Metric]:
    name = "redis_instance_info"
    yield Metric(name, "gauge", "What this server is", [series(name, instance_labels(reading), 1)])


def _latencies(reading: Reading) -> Iterator[Metric]:
    """As the exporter makes them of LATENCY HISTOGRAM; the sum is that of the command's time, in whole µs."""
    name = "redis_commands_latencies_usec"
    samples: list[str] = []
    for command, (_, nanoseconds, _, _, buckets) in reading.commands.items():
        samples.append(histogram_text(name, (("cmd", command),), BUCKET_LABELS_US, buckets, nanoseconds // 1000))
    yield Metric(name, "histogram", "Time of one execution in microseconds", samples)


def _buffer_limits(reading: Reading) -> Iterator[Metric]:
    sizes, times = (
        "redis_config_client_output_buffer_limit_bytes",
        "redis_config_client_output_buffer_limit_overcome_seconds",
    )
    size_samples, time_samples = [], []
    for name, (hard, soft, seconds) in reading.config.client_output_buffer_limit.items():
        label = "slave" if name == "replica" else name
        size_samples.append(series(sizes, {"class": label, "limit": "hard"}, hard))
        size_samples.append(series(sizes, {"class": label, "limit": "soft"}, soft))
        time_samples.append(series(times, {"class": label, "limit": "soft"}, seconds))
    yield Metric(sizes, "gauge", "Unsent output that disconnects a client", size_samples)
    yield Metric(times, "gauge", "How long the soft limit may be passed", time_samples)


# -- the inside: mpkv_…, one series per shard where a worker's number is meant -----------------------------------------

Owner = tuple[dict[str, str], Block]

#: Ends of the board's names -> (end in Prometheus' base units, how many of ours are one of them).
_UNITS: Final = {
    "_nanoseconds": ("_seconds", 1e9), "_microseconds": ("_seconds", 1e6), "_ms": ("_seconds", 1e3),
    "_permyriad": ("_ratio", 1e4), "used_memory": ("used_memory_bytes", 1.0),
}  # fmt: skip


def _in_base_units(name: str) -> tuple[str, float]:
    for end, (unit, per_unit) in _UNITS.items():
        if name.endswith(end):
            return name.removesuffix(end) + unit, per_unit
    return name, 1.0


def own_name(counter: Counter) -> tuple[str, float]:
    """The name of a board's number without its prefix, in base units, and how many of its units are one of these."""
    name, per_unit = _in_base_units(counter.name.removeprefix("total_"))
    name = name.removesuffix("_total")
    return (f"{name}_total" if counter.kind == "counter" else name), per_unit


def _shards(reading: Reading) -> list[Owner]:
    return [({"shard": str(shard)}, block) for shard, block in enumerate(reading.workers)]


def _build_info(reading: Reading) -> Iterator[Metric]:
    name = "mpkv_build_info"
    labels = {"version": __version__, "redis_version": REDIS_VERSION}
    yield Metric(name, "gauge", "Which version runs", [series(name, labels, 1)])
    name = "mpkv_config_save_points"
    yield Metric(name, "gauge", "Save points configured", [series(name, {}, len(reading.config.save))])


def _processes(reading: Reading) -> Iterator[Metric]:
    """The numbers of every process, under its own prefix."""
    board = reading.board
    yield from _board_numbers("mpkv_", _shards(reading), {"worker", "both"})
    yield from _board_numbers("mpkv_frontend_", [({}, board.frontend)], {"frontend", "both"})
    yield from _board_numbers("mpkv_supervisor_", [({}, board.supervisor)], {"supervisor"})


#: Numbers of the board that one series shows with a label: see `_memory_by_type`.
_BY_LABEL: Final = {*MEMORY_BY_TYPE.values(), "used_memory_overhead", "allocator_active", "allocator_resident"}

_OF_EVERY_PROCESS: Final[tuple[tuple[str, str, str, Callable[[Block], float]], ...]] = (
    ("up", "gauge", "Whether it can do its work", lambda block: float(block.state in WORKING)),
    ("state", "gauge", "0 down 1 starting 2 loading 3 ready 4 saving 5 stopping", lambda block: int(block.state)),
    ("heartbeat_age_seconds", "gauge", "Since it was last alive", lambda block: block.heartbeat_age_ms / 1000),
    ("restarts_total", "counter", "How often it was started again", lambda block: max(0, block.incarnation - 1)),
)


def _board_numbers(prefix: str, owners: list[Owner], whose: set[str]) -> Iterator[Metric]:
    for name, kind, help_text, read in _OF_EVERY_PROCESS:
        samples = [series(prefix + name, labels, read(block)) for labels, block in owners if block.pid]
        yield Metric(prefix + name, kind, help_text, samples)
    for counter in COUNTERS:
        if counter.of not in whose or counter.name.startswith("errors_") or counter.name in _BY_LABEL:
            continue
        name, per_unit = own_name(counter)
        samples = [series(prefix + name, labels, block.counter(counter.name) / per_unit) for labels, block in owners]
        yield Metric(prefix + name, "counter" if counter.kind == "counter" else "gauge", counter.help, samples)


def _histograms(reading: Reading) -> Iterator[Metric]:
    for histogram in HISTOGRAMS:
        if histogram.of == "worker":
            yield _histogram("mpkv_", histogram, _shards(reading))
        else:
            yield _histogram("mpkv_frontend_", histogram, [({}, reading.board.frontend)])


def _histogram(prefix: str, histogram: Histogram, owners: list[Owner]) -> Metric:
    name, per_unit = _in_base_units(histogram.name)
    bounds = tuple(bound / per_unit for bound in histogram.bounds[: histogram.shown])
    samples: list[str] = []
    for labels, block in owners:
        total, buckets = block.histogram(histogram.name)
        shown = [*buckets[: histogram.shown], sum(buckets[histogram.shown :])]
        samples.append(histogram_text(prefix + name, tuple(labels.items()), bounds, shown, total / per_unit))
    return Metric(prefix + name, "histogram", histogram.help, samples)


_LATENCY_BOUNDS_SECONDS: Final = tuple(bound / 1e9 for bound in BUCKET_BOUNDS_NS)


def _commands_by_shard(reading: Reading) -> Iterator[Metric]:
    calls, latency = "mpkv_commands_total", "mpkv_command_latency_seconds"
    call_samples: list[str] = []
    latency_samples: list[str] = []
    for shard, block in enumerate(reading.workers):
        for command, (count, nanoseconds, _, _, buckets) in block.commands().items():
            labels = (("cmd", command), ("shard", str(shard)))
            call_samples.append(series(calls, dict(labels), count))
            latency_samples.append(histogram_text(latency, labels, _LATENCY_BOUNDS_SECONDS, buckets, nanoseconds / 1e9))
    yield Metric(calls, "counter", "Calls executed by one shard; of several parts the first counts", call_samples)
    yield Metric(latency, "histogram", "Time of one call on one shard; of several parts the first", latency_samples)
    name = "mpkv_frontend_commands_total"
    own = [series(name, {"cmd": command}, row[0]) for command, row in reading.board.frontend.commands().items()]
    yield Metric(name, "counter", "Calls executed by the frontend itself", own)


def _sizes_by_shard(reading: Reading) -> Iterator[Metric]:
    names = ("mpkv_command_request_bytes", "mpkv_command_reply_bytes")
    samples: tuple[list[str], list[str]] = ([], [])
    for shard, block in enumerate(reading.workers):
        for command, row in block.command_sizes().items():
            labels = (("cmd", command), ("shard", str(shard)))
            for into, name, total, buckets in zip(samples, names, row[::2], row[1::2], strict=True):
                into.append(histogram_text(name, labels, SIZE_BOUNDS_BYTES, buckets, total))
    yield Metric(names[0], "histogram", "Size of the arguments of one request, or of its part for a shard", samples[0])
    yield Metric(names[1], "histogram", "Size of the reply to one request, or of its part from a shard", samples[1])


def _queues(reading: Reading) -> Iterator[Metric]:
    rows = [(str(shard), reading.board.frontend.link(shard)) for shard in range(len(reading.workers))]
    for name, place, help_text in (
        ("mpkv_linked", 0, "Whether the frontend is linked to the shard"),
        ("mpkv_queue_commands", 1, "Requests given to the shard and not answered"),
        ("mpkv_queue_bytes", 2, "Size of these"),
    ):
        samples = [series(name, {"shard": shard}, row[place]) for shard, row in rows]
        yield Metric(name, "gauge", help_text, samples)


def _keys(reading: Reading) -> Iterator[Metric]:
    name = "mpkv_keys"
    samples = [
        series(name, {"shard": str(shard), "db": f"db{index}"}, block.database(index)[0])
        for shard, block in enumerate(reading.workers)
        for index in range(reading.segment.shape.databases)
        if block.database(index)[0]
    ]
    yield Metric(name, "gauge", "Keys of one shard in one database", samples)


def _memory_by_type(reading: Reading) -> Iterator[Metric]:
    """All that the allocator of a shard has, by whose it is: the sum is what it holds of the machine's memory."""
    name = "mpkv_memory_bytes"
    samples = [
        series(name, {"shard": str(shard), "type": kind}, size)
        for shard, block in enumerate(reading.workers)
        for kind, size in _memory_of(block).items()
    ]
    yield Metric(name, "gauge", "Memory of one shard, by the type of the values or what else it is for", samples)


def _memory_of(block: Block) -> dict[str, int]:
    active = block.counter("allocator_active")
    return {kind: block.counter(name) for kind, name in MEMORY_BY_TYPE.items()} | {
        "tables": block.counter("used_memory_overhead"),
        "between": active - block.counter("used_memory"),
        "kept": block.counter("allocator_resident") - active,
    }


Family = Lines | Percentiles | Listeners | SeriesOnly

#: In the order of INFO; behind it what only `/metrics` has.
FAMILIES: Final[tuple[Family, ...]] = (
    Listeners(),
    Lines("Commandstats", "cmdstat_", "cmd", (
        Column("calls", "commands_total", "counter", "Calls"),
        Column("usec", "commands_duration_seconds_total", "counter", "Time spent executing", 1e6),
        Column("usec_per_call"),
        Column("rejected_calls", "commands_rejected_calls_total", "counter", "Calls refused before execution"),
        Column("failed_calls", "commands_failed_calls_total", "counter", "Calls that ended in an error"),
    ), _commands),
    Lines("Errorstats", "errorstat_", "err", (
        Column("count", "errors_total", "counter", "Error replies by their first word"),
    ), _errors),
    Percentiles(),
    Lines("Keyspace", "", "db", (
        Column("keys", "db_keys", "gauge", "Keys"),
        Column("expires", "db_keys_expiring", "gauge", "Keys with an expiry"),
        Column("avg_ttl", "db_avg_ttl_seconds", "gauge", "Mean time to live of keys with an expiry", 1e3),
    ), _databases, _all_databases),
    Lines("", "", "event_name", (
        Column("", "latency_spike_last", "gauge", "When the newest latency spike of this kind was"),
        Column("", "latency_spike_duration_seconds", "gauge", "How long it was", 1e3),
    ), _latency_events),
    *map(SeriesOnly, (
        _instance_info, _latencies, _buffer_limits, _build_info, _processes, _histograms, _commands_by_shard,
        _sizes_by_shard, _queues, _keys, _memory_by_type,
    )),
)  # fmt: skip
