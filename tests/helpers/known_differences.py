"""Where redis-server 7.0, the reference, is right to answer otherwise than mpkv, which implements 7.2.

Each line has its reason and an example, which a test replays: a line whose example no longer differs is out of date.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple


class Difference(NamedTuple):
    """A request that the two answer differently."""

    reason: str
    command: bytes  #: the first word, or two of a sub-command
    reference: bytes  #: pattern of the whole reply of 7.0
    ours: bytes  #: pattern of ours
    example: tuple[str, ...]  #: requests of which the last shows it


DIFFERENCES: Final = (
    Difference(
        "7.2 keeps small sets that are not of integers packed",
        b"OBJECT ENCODING", rb"\$9\r\nhashtable\r\n", rb"\$8\r\nlistpack\r\n",
        ("SADD k member", "OBJECT ENCODING k"),
    ),
    Difference(
        "7.2 prints a score with as few digits as it takes to read it back",
        b"ZSCORE", rb"\$19\r\n0\.10000000000000001\r\n", rb"\$3\r\n0\.1\r\n",
        ("ZADD k 0.1 member", "ZSCORE k member"),
    ),
)  # fmt: skip


def known_difference(words: Sequence[bytes], reference: bytes, ours: bytes) -> Difference | None:
    """The line that explains two replies to a request."""
    for line in DIFFERENCES:
        named = [word.upper() for word in words[: len(line.command.split())]] == line.command.split()
        if named and re.fullmatch(line.reference, reference) and re.fullmatch(line.ours, ours):
            return line
    return None
