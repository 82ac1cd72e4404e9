"""Prometheus' text format, version 0.0.4: how a metric and its samples are written.

Written here and not by prometheus_client, because that puts ``_total`` behind the name of every counter, and some of
redis_exporter's counters have none; and because a scrape of many shards has thousands of samples. What does not change
from scrape to scrape, all of a line but its number, is therefore made once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Final, NamedTuple

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

#: Lines and histograms that are remembered: more than there are commands times shards on a large machine.
_REMEMBERED: Final = 1 << 16

_LABEL_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})
_HELP_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n"})


class Metric(NamedTuple):
    name: str
    kind: str  #: counter, gauge, summary or histogram
    help: str
    samples: Sequence[str]  #: whole lines; a histogram's are one text


def series(name: str, labels: Mapping[str, str], value: float) -> str:
    """One line: ``name{label="value"} 1``."""
    return _beginning(name, tuple(labels.items())) + number(value)


def histogram_text(
    name: str, labels: tuple[tuple[str, str], ...], bounds: tuple[float, ...], buckets: Sequence[int], total: float
) -> str:
    """The lines of one histogram.

    :param buckets: the count between two bounds each, and behind the last one
    :param total: the sum of all values
    """
    counts = tuple(accumulate(buckets))
    # The count is that of the buckets: they must agree, even when they are read while one is being written.
    return _histogram_form(name, labels, bounds) % (*counts, counts[-1], number(total))


@lru_cache(maxsize=_REMEMBERED)
def _beginning(name: str, labels: tuple[tuple[str, str], ...]) -> str:
    """A line up to its number."""
    return f"{name}{_braces(labels)} "


@lru_cache(maxsize=_REMEMBERED)
def _histogram_form(name: str, labels: tuple[tuple[str, str], ...], bounds: tuple[float, ...]) -> str:
    """The lines of one histogram with places for their numbers: buckets, count, sum."""
    limits = (*map(number, bounds), "+Inf")
    beginnings = [f"{name}_bucket{_braces((*labels, ('le', limit)))} " for limit in limits]
    beginnings.append(f"{name}_count{_braces(labels)} ")
    lines = [f"{beginning.replace('%', '%%')}%d" for beginning in beginnings]
    lines.append(f"{name}_sum{_braces(labels)} ".replace("%", "%%") + "%s")
    return "\n".join(lines)


def _braces(labels: Iterable[tuple[str, str]]) -> str:
    inside = ",".join(f'{key}="{value.translate(_LABEL_ESCAPES)}"' for key, value in labels)
    return f"{{{inside}}}" if inside else ""


def number(value: float) -> str:
    if type(value) is int:
        return str(value)
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))


def exposition(metrics: Iterable[Metric]) -> bytes:
    """The whole text; a metric without samples is not announced."""
    lines: list[str] = []
    for metric in metrics:
        if metric.samples:
            lines.append(f"# HELP {metric.name} {metric.help.translate(_HELP_ESCAPES)}")
            lines.append(f"# TYPE {metric.name} {metric.kind}")
            lines += metric.samples
    lines.append("")
    return "\n".join(lines).encode()
