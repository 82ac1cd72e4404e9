"""The kinds of value a directive can have: how words become a value, and a value becomes words again.

Each kind turns the words after a directive's name into a Python value (`parse`), prints it for CONFIG GET (`text`) and
for a config file (`lines`). A refusal is a `ValueError` whose text is the reason as Redis gives it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, Final

INT_MAX: Final = 2**31 - 1
INT_MIN: Final = -(2**31)
UINT_MAX: Final = 2**32 - 1
INT64_MAX: Final = 2**63 - 1

#: Suffixes of memory sizes, as Redis reads them: `k` is not `kb`.
MEMORY_UNITS: Final = {
    "": 1, "b": 1, "k": 1000, "kb": 1 << 10, "m": 1000**2, "mb": 1 << 20, "g": 1000**3, "gb": 1 << 30,
}  # fmt: skip


def memory_size(text: str) -> int:
    """``100mb`` in bytes."""
    match = re.fullmatch(r"([0-9]+)([a-zA-Z]*)", text, re.ASCII)
    if match is None or match[2].lower() not in MEMORY_UNITS:
        raise ValueError("argument must be a memory value")
    return int(match[1]) * MEMORY_UNITS[match[2].lower()]


def memory_text(size_bytes: int) -> str:
    """The shortest exact notation in a config file: 104857600 is ``100mb``."""
    for unit in ("gb", "mb", "kb"):
        if size_bytes and size_bytes % MEMORY_UNITS[unit] == 0:
            return f"{size_bytes // MEMORY_UNITS[unit]}{unit}"
    return str(size_bytes)


def whole_number(text: str) -> int:
    """A 64-bit signed number in its one canonical notation: no plus sign, no leading zeroes, no blanks."""
    if not re.fullmatch(r"0|-?[1-9][0-9]{0,18}", text, re.ASCII):
        raise ValueError("argument couldn't be parsed into an integer")
    return int(text)


class Kind:
    """One word, taken as it is. The base of all kinds."""

    #: Takes any number of words; otherwise exactly one.
    several = False
    #: A further line adds to what is there, instead of replacing it.
    adds = False
    #: The first line of every source (file, environment, command line) replaces all the same.
    starts_anew = False
    #: Words are quoted in a rewritten file.
    quoted = False

    def parse(self, words: list[str], current: Any) -> Any:
        return self.read(words[0])

    def read(self, word: str) -> Any:
        return word

    def text(self, value: Any) -> str:
        """What CONFIG GET shows."""
        return str(value)

    def lines(self, value: Any) -> list[list[str]]:
        """The value as lines of words that `parse` reads back."""
        return [[self.text(value)]]


class Text(Kind):
    """A string; `check` returns the reason against one, or ``""``."""

    quoted = True

    def __init__(self, check: Callable[[str], str] | None = None) -> None:
        self._check = check

    def read(self, word: str) -> str:
        reason = self._check(word) if self._check else ""
        if reason:
            raise ValueError(reason)
        return word


class Directory(Kind):
    """A directory that exists; kept as an absolute path."""

    quoted = True

    def read(self, word: str) -> str:
        try:
            if not os.path.isdir(word):
                os.listdir(word)  # the system's own words for why it is none
        except OSError as error:
            raise ValueError(error.strerror or str(error)) from None
        return os.path.abspath(word)


class YesNo(Kind):
    def read(self, word: str) -> bool:
        if word.lower() not in ("yes", "no"):
            raise ValueError("argument must be 'yes' or 'no'")
        return word.lower() == "yes"

    def text(self, value: bool) -> str:
        return "yes" if value else "no"


class Choice(Kind):
    """One of a few words, in lower case."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices

    def read(self, word: str) -> str:
        if word.lower() not in self.choices:
            raise ValueError("argument(s) must be one of the following: " + ", ".join(self.choices))
        return word.lower()


class Number(Kind):
    """A whole number within bounds; `floor` and `ceiling` move a value that is allowed but not useful."""

    def __init__(
        self,
        low: int = 0,
        high: int = INT_MAX,
        *,
        floor: int | None = None,
        ceiling: int | None = None,
        octal: bool = False,
    ) -> None:
        self.low, self.high, self._floor, self._ceiling, self._octal = low, high, floor, ceiling, octal

    def read(self, word: str) -> int:
        value = self._number(word)
        if not self.low <= value <= self.high:
            raise ValueError(self._range())
        if self._floor is not None:
            value = max(value, self._floor)
        if self._ceiling is not None:
            value = min(value, self._ceiling)
        return value

    def _number(self, word: str) -> int:
        if not self._octal:
            return whole_number(word)
        if not re.fullmatch(r"[0-7]{1,8}", word, re.ASCII):
            raise ValueError("argument couldn't be parsed as an octal number")
        return int(word, 8)

    def _range(self) -> str:
        form = "o" if self._octal else "d"
        return f"argument must be between {self.low:{form}} and {self.high:{form}} inclusive"

    def text(self, value: int) -> str:
        return f"{value:o}" if self._octal else str(value)


class Memory(Number):
    """A size in bytes, with units."""

    def __init__(self, low: int = 0, high: int = INT64_MAX, *, floor: int | None = None) -> None:
        super().__init__(low, high, floor=floor)

    def _number(self, word: str) -> int:
        return memory_size(word)

    def lines(self, value: int) -> list[list[str]]:
        return [[memory_text(value)]]


class MemoryOrPercent(Memory):
    """Bytes, or a percentage of maxmemory, kept as a negative number: ``5%`` is -5."""

    def read(self, word: str) -> int:
        if not word.endswith("%"):
            return super().read(word)
        try:
            percent = whole_number(word[:-1])
        except ValueError:
            raise ValueError("argument must be a memory or percent value") from None
        if percent > 100:
            raise ValueError("percentage argument must be less or equal to 100")
        if percent < 0:
            raise ValueError("argument must be a memory or percent value")
        return -percent

    def text(self, value: int) -> str:
        return f"{-value}%" if value < 0 else str(value)

    def lines(self, value: int) -> list[list[str]]:
        return [[self.text(value) if value < 0 else memory_text(value)]]


class Words(Kind):
    """Any number of words, up to `limit`; ``""`` is none."""

    several = True

    def __init__(self, limit: int = INT_MAX, too_many: str = "wrong number of arguments") -> None:
        self._limit, self._too_many = limit, too_many

    def parse(self, words: list[str], current: Any) -> list[str]:
        if len(words) > self._limit:
            raise ValueError(self._too_many)
        return [] if words == [""] else list(words)

    def text(self, value: list[str]) -> str:
        return " ".join(value)

    def lines(self, value: list[str]) -> list[list[str]]:
        return [value or [""]]


class ShutdownWords(Words):
    """``default``, or any of save nosave now force; the empty list is the default."""

    _CHOICES: Final = ("default", "save", "nosave", "now", "force")

    def parse(self, words: list[str], current: Any) -> list[str]:
        lower = [word.lower() for word in words]
        if any(word not in self._CHOICES for word in lower):
            raise ValueError("argument(s) must be one of the following: " + ", ".join(self._CHOICES))
        if "save" in lower and "nosave" in lower:
            raise ValueError("shutdown options SAVE and NOSAVE can't be used simultaneously")
        return [word for word in self._CHOICES[1:] if word in lower]

    def text(self, value: list[str]) -> str:
        return " ".join(value) or "default"

    def lines(self, value: list[str]) -> list[list[str]]:
        return [value or ["default"]]


class SavePoints(Kind):
    """``3600 1 300 100``: pairs (seconds, changes); ``""`` is none."""

    several = True
    adds = True
    starts_anew = True

    def parse(self, words: list[str], current: list[tuple[int, int]]) -> list[tuple[int, int]]:
        if words == [""]:
            return []
        try:
            numbers = [whole_number(word) for word in words]
        except ValueError:
            numbers = []
        if not numbers or len(numbers) % 2:
            raise ValueError("Invalid save parameters")
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
        if any(seconds < 1 or changes < 0 for seconds, changes in points):
            raise ValueError("Invalid save parameters")
        return current + points

    def text(self, value: list[tuple[int, int]]) -> str:
        return " ".join(f"{seconds} {changes}" for seconds, changes in value)

    def lines(self, value: list[tuple[int, int]]) -> list[list[str]]:
        return [[str(seconds), str(changes)] for seconds, changes in value] or [[""]]


class BufferLimits(Kind):
    """``normal 1gb 512mb 60``: class -> (hard bytes, soft bytes, seconds above soft).

    What a line does not name stays.
    """

    several = True
    adds = True

    _CLASSES: Final = {"normal": "normal", "slave": "replica", "replica": "replica", "pubsub": "pubsub"}

    def parse(self, words: list[str], current: dict[str, tuple[int, int, int]]) -> dict[str, tuple[int, int, int]]:
        if len(words) % 4:
            raise ValueError("Wrong number of arguments in buffer limit configuration.")
        limits = dict(current)
        for name, *sizes in zip(*[iter(words)] * 4, strict=True):
            if name.lower() not in self._CLASSES:
                raise ValueError("Invalid client class specified in buffer limit configuration.")
            limits[self._CLASSES[name.lower()]] = self._limit(*sizes)
        return limits

    def _limit(self, hard: str, soft: str, seconds: str) -> tuple[int, int, int]:
        try:
            limit = memory_size(hard), memory_size(soft), whole_number(seconds)
        except ValueError:
            limit = (0, 0, -1)
        if limit[2] < 0:
            raise ValueError("Error in hard, soft or soft_seconds setting in buffer limit configuration.")
        return limit

    def text(self, value: dict[str, tuple[int, int, int]]) -> str:
        return " ".join(
            f"{'slave' if name == 'replica' else name} {hard} {soft} {seconds}"
            for name, (hard, soft, seconds) in value.items()
        )

    def lines(self, value: dict[str, tuple[int, int, int]]) -> list[list[str]]:
        return [
            [name, memory_text(hard), memory_text(soft), str(seconds)] for name, (hard, soft, seconds) in value.items()
        ]


class OomScores(Kind):
    """Three numbers -2000 .. 2000: for primary, replica, child."""

    several = True

    def parse(self, words: list[str], current: Any) -> list[int]:
        if len(words) != 3:
            raise ValueError("wrong number of arguments")
        try:
            scores = [whole_number(word) for word in words]
        except ValueError:
            scores = [INT_MAX]
        if not all(-2000 <= score <= 2000 for score in scores):
            raise ValueError("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")
        return scores

    def text(self, value: list[int]) -> str:
        return " ".join(map(str, value))

    def lines(self, value: list[int]) -> list[list[str]]:
        return [[str(score) for score in value]]


class Percentiles(Kind):
    """Numbers 0 .. 100; ``""`` is none."""

    several = True

    def parse(self, words: list[str], current: Any) -> list[float]:
        if words == [""]:
            return []
        try:
            percentiles = [float(word) for word in words]
        except ValueError:
            raise ValueError("Invalid latency-tracking-info-percentiles parameters") from None
        if not all(0 <= percentile <= 100 for percentile in percentiles):
            raise ValueError("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]")
        return percentiles

    def text(self, value: list[float]) -> str:
        return " ".join(
            f"{percentile:.17g}" if percentile == int(percentile) else repr(percentile) for percentile in value
        )

    def lines(self, value: list[float]) -> list[list[str]]:
        return [self.text(value).split() or [""]]


class EventClasses(Kind):
    """The letters of notify-keyspace-events: kept in Redis' order without ``A``, shown with ``A`` folded."""

    quoted = True

    ALL: Final = "g$lshzxetd"

    def read(self, word: str) -> str:
        if any(letter not in "AKEmn" + self.ALL for letter in word):
            raise ValueError("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
        wanted = word.replace("A", self.ALL)
        return "".join(letter for letter in self.ALL + "nKEm" if letter in wanted)

    def text(self, value: str) -> str:
        # Redis prints key-miss last, and «new key» only outside of A.
        return value.replace(self.ALL, "A")


class ReplicaOf(Kind):
    """``host port`` of the primary; ``no one`` is None."""

    several = True

    def parse(self, words: list[str], current: Any) -> tuple[str, int] | None:
        if words == [""] or [word.lower() for word in words] == ["no", "one"]:
            return None
        if len(words) != 2:
            raise ValueError("wrong number of arguments")
        try:
            port = whole_number(words[1])
        except ValueError:
            port = -1
        if not 0 <= port <= 65535:
            raise ValueError("Invalid master port")
        return words[0], port

    def text(self, value: tuple[str, int] | None) -> str:
        return f"{value[0]} {value[1]}" if value else ""

    def lines(self, value: tuple[str, int] | None) -> list[list[str]]:
        return [[value[0], str(value[1])] if value else ["no", "one"]]


class Lines(Kind):
    """A directive given any number of times, each with `least` words or more: its lines, in order."""

    several = True
    adds = True

    def __init__(self, least: int = 1, most: int = INT_MAX) -> None:
        self._least, self._most = least, most

    def parse(self, words: list[str], current: list[list[str]]) -> list[list[str]]:
        if not self._least <= len(words) <= self._most:
            raise ValueError("wrong number of arguments")
        return [*current, list(words)]

    def text(self, value: list[list[str]]) -> str:
        return " ".join(" ".join(line) for line in value)

    def lines(self, value: list[list[str]]) -> list[list[str]]:
        return value
