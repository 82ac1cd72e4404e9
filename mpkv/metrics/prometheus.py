"""`/metrics`: the whole catalog for Prometheus.

``redis_*`` are the names of redis_exporter, so that its dashboards and alert rules work unchanged; ``mpkv_*`` show the
inside: one series per shard where a worker's number is meant. prometheus_client's multi-process mode is not used: a
number on the board costs a nanosecond to count there, instead of a microsecond, and no file is left behind by a process
that is gone. It only tells of the process that serves the metrics.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest

from mpkv.metrics.catalog import FIELDS, metric_value
from mpkv.metrics.exposition import Metric, exposition, series
from mpkv.metrics.families import FAMILIES
from mpkv.metrics.source import BoardSource, Reading


def _collect(reading: Reading) -> Iterator[Metric]:
    for field in FIELDS:
        if field.metric:
            name = f"redis_{field.metric}"
            yield Metric(name, field.kind, field.help, [series(name, {}, metric_value(field, reading))])
    for family in FAMILIES:
        yield from family.metrics(reading)


class Renderer:
    """The text of ``/metrics``, anew at every call."""

    def __init__(self, source: BoardSource) -> None:
        self._source = source
        self._process = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)

    def __call__(self) -> bytes:
        text: bytes = exposition(_collect(Reading(self._source, since_reset=False))) + generate_latest(self._process)
        return text
