"""INFO: the catalog as text, section by section."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mpkv.metrics.catalog import FIELDS
from mpkv.metrics.families import FAMILIES
from mpkv.metrics.source import BoardSource, Reading

#: All sections in Redis' order -> whether INFO without arguments has them.
SECTIONS: Final = {
    "Server": True, "Clients": True, "Memory": True, "Persistence": True, "Stats": True, "Replication": True,
    "CPU": True,
    "Modules": True, "Commandstats": False, "Errorstats": True, "Latencystats": False, "Cluster": True,
    "Keyspace": True,
}  # fmt: skip

_FIELDS_BY_SECTION: Final = {section: [field for field in FIELDS if field.section == section] for section in SECTIONS}

#: Lines that are not one field each, behind the fields of their section.
_FAMILIES_BY_SECTION: Final = {
    section: [family for family in FAMILIES if family.section == section] for section in SECTIONS
}


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
    for family in _FAMILIES_BY_SECTION[section]:
        lines += family.lines(reading)
    return "\r\n".join(lines) + "\r\n"
