"""INFO: the catalog as text, section by section."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from mpkv.metrics.catalog import FIELDS
from mpkv.metrics.source import BoardSource, Reading, percentile_us
from mpkv.shm.layout import ERROR_PREFIXES


def _listeners(reading: Reading) -> Iterator[str]:
    """``listener0:name=tcp,bind=*,bind=-::*,port=6379``."""
    config = reading.config
    number = 0
    for name, port in (("tcp", config.port), ("tls", config.tls_port)):
        if port:
            bind = "".join(f",bind={address}" for address in config.bind)
            yield f"listener{number}:name={name}{bind},port={port}"
            number += 1
    if config.unixsocket:
        yield f"listener{number}:name=unix,bind={config.unixsocket}"


def _command_stats(reading: Reading) -> Iterator[str]:
    for name, (calls, nanoseconds, rejected, failed, _) in reading.commands.items():
        usec = nanoseconds // 1000
        yield (
            f"cmdstat_{name}:calls={calls},usec={usec},usec_per_call={nanoseconds / 1000 / calls if calls else 0:.2f},"
            f"rejected_calls={rejected},failed_calls={failed}"
        )


def _error_stats(reading: Reading) -> Iterator[str]:
    for prefix in sorted(ERROR_PREFIXES):
        count = reading.count(f"errors_{prefix.lower()}")
        if count:
            yield f"errorstat_{prefix}:count={count}"


def _latency_stats(reading: Reading) -> Iterator[str]:
    if not reading.config.latency_tracking:
        return
    percentiles = reading.config.latency_tracking_info_percentiles
    for name, (calls, _, _, _, buckets) in reading.commands.items():
        if calls:
            values = ",".join(
                f"p{percentile:.6g}={percentile_us(buckets, percentile):.3f}" for percentile in percentiles
            )
            yield f"latency_percentiles_usec_{name}:{values}"


def _keyspace(reading: Reading) -> Iterator[str]:
    for index, (keys, expires, avg_ttl_ms) in reading.databases.items():
        yield f"db{index}:keys={keys},expires={expires},avg_ttl={avg_ttl_ms}"


#: Lines that are not one field each, behind the fields of their section.
_LINES: Final[dict[str, Callable[[Reading], Iterable[str]]]] = {
    "Server": _listeners,
    "Commandstats": _command_stats,
    "Errorstats": _error_stats,
    "Latencystats": _latency_stats,
    "Keyspace": _keyspace,
}

#: All sections in Redis' order -> whether INFO without arguments has them.
SECTIONS: Final = {
    "Server": True, "Clients": True, "Memory": True, "Persistence": True, "Stats": True, "Replication": True,
    "CPU": True,
    "Modules": True, "Commandstats": False, "Errorstats": True, "Latencystats": False, "Cluster": True,
    "Keyspace": True,
}  # fmt: skip

_FIELDS_BY_SECTION: Final = {section: [field for field in FIELDS if field.section == section] for section in SECTIONS}


def chosen_sections(asked: Iterable[str]) -> list[str]:
    """Which sections the arguments of INFO mean, in order.

    Unknown ones mean nothing; none at all means the default ones.
    """
    names = {name.lower() for name in asked} or {"default"}
    if names & {"all", "everything"}:
        return list(SECTIONS)
    return [
        section
        for section, in_default in SECTIONS.items()
        if section.lower() in names or (in_default and "default" in names)
    ]


def render(source: BoardSource, sections: Iterable[str] = ()) -> str:
    """The text of ``INFO [section ...]``."""
    reading = Reading(source, since_reset=True)
    return "\r\n".join(_section(section, reading) for section in chosen_sections(sections))


def _section(section: str, reading: Reading) -> str:
    lines = [f"# {section}"]
    lines += [
        f"{field.name}:{field.read(reading)}"
        for field in _FIELDS_BY_SECTION[section]
        if field.shown is None or field.shown(reading)
    ]
    if section in _LINES:
        lines += _LINES[section](reading)
    return "\r\n".join(lines) + "\r\n"
