"""The progress line: what is being measured, how far it is, and how long it may take."""

from __future__ import annotations

import sys
import time
from typing import Final

#: Where the output is not a terminal, a line is printed no more often than this.
_PLAIN_S: Final = 10.0


class Progress:
    """One line on standard error, rewritten; on anything but a terminal a line now and then."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._begin("", 1)
        self._printed = 0.0

    def _begin(self, section: str, steps: int) -> None:
        self._section, self._steps, self._done, self._started = section, steps, 0, time.monotonic()

    def section(self, name: str, steps: int) -> None:
        """A section begins that has so many steps."""
        self._begin(name, max(1, steps))
        self._printed = 0.0

    def step(self, what: str) -> None:
        """The next step of the section begins."""
        now = time.monotonic()
        left = f", {(now - self._started) / self._done * (self._steps - self._done):.0f} s left" if self._done else ""
        self._done += 1
        text = f"{self._section} {self._done}/{self._steps}: {what}{left}"
        if self._terminal:
            print(f"\r\x1b[K{text[:150]}", end="", file=sys.stderr, flush=True)
        elif now - self._printed >= _PLAIN_S:
            self._printed = now
            print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Make room for a table."""
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
