"""Tables and requirements: what was measured, and whether it is what the project promises."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

#: Between these lines of a document the tables stand; what surrounds them stays.
BEGIN: Final = "<!-- tables of make bench: begin -->"
END: Final = "<!-- tables of make bench: end -->"
#: What stands in a cell that was not measured.
NONE: Final = "–"


@dataclass
class Table:
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)

    def __str__(self) -> str:
        widths = [max(len(row[at]) for row in [self.columns, *self.rows]) for at in range(len(self.columns))]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        return "\n".join(_line(row, widths) for row in [self.columns, rule, *self.rows])


def _line(row: list[str], widths: list[int]) -> str:
    first, *others = zip(row, widths, strict=True)
    return f"| {' | '.join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])} |"


@dataclass
class Requirement:
    """A promise, what was measured, and whether it holds; `holds` is None if it could not be measured."""

    text: str
    measured: str
    holds: bool | None

    @property
    def verdict(self) -> str:
        return {True: "yes", False: "NO", None: "not measured"}[self.holds]


@dataclass
class Section:
    """What one question has to say: text and tables in order, and the requirements that they decide."""

    title: str
    parts: list[str | Table] = field(default_factory=list)
    requirements: list[Requirement] = field(default_factory=list)
    failed: bool = False

    def __str__(self) -> str:
        return "\n\n".join([f"## {self.title}", *map(str, self.parts)])


def requirements_table(sections: Iterable[Section]) -> Section:
    """The verdicts of all sections."""
    found = [requirement for section in sections for requirement in section.requirements]
    rows = [[requirement.text, requirement.measured, requirement.verdict] for requirement in found]
    table = Table(["requirement", "measured", "holds"], rows)
    return Section("Requirements", [table if rows else "These sections decide none."])


def save(path: Path, text: str) -> None:
    """Write the tables to a document: between its marks if it has them, else as the whole of it."""
    block = f"{BEGIN}\n\n{text}\n\n{END}\n"
    try:
        before, _, rest = path.read_text().partition(BEGIN)
    except FileNotFoundError:
        before, rest = "", ""
    if END in rest:
        block = before + block + rest.partition(END)[2].removeprefix("\n")
    path.write_text(block)


def count(number: float | None) -> str:
    return NONE if number is None else f"{number:,.0f}"


def ratio(number: float | None) -> str:
    return NONE if number is None else f"{number:.2f} ×"


def decimal(number: float | None, digits: int = 2) -> str:
    return NONE if number is None else f"{number:.{digits}f}"
