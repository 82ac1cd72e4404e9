"""Where mpkv answers otherwise than redis-server 7.0, the reference: mostly because it implements 7.2.

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
    shards: int = 1  #: seen from so many shards on


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
    Difference(
        "since 7.2 the keys of a command without arguments may be asked for",
        b"COMMAND GETKEYS", rb"-ERR wrong number of arguments for 'command\|getkeys' command\r\n",
        rb"-ERR (The command has no key arguments|Invalid command specified|Invalid number of arguments .*)\r\n",
        ("COMMAND GETKEYS PING",),
    ),
    Difference(
        "7.2 refuses the one rank that has no opposite",
        b"LPOS", rb"(-ERR [^\r]*|-WRONGTYPE .*|\$-1|_|\*0|:\d+)\r\n",
        rb"-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807\r\n",
        ("LPOS missing element RANK -9223372036854775808",),
    ),
    Difference(
        "7.2 gives the score with the rank",
        b"ZRANK", rb"-ERR wrong number of arguments for 'zrank' command\r\n", rb"(-ERR|-WRONGTYPE|\*|_|\$-1)(.|\s)*",
        ("ZADD k 1 member", "ZRANK k member WITHSCORE"),
    ),
    Difference(
        "7.2 gives the score with the rank",
        b"ZREVRANK", rb"-ERR wrong number of arguments for 'zrevrank' command\r\n",
        rb"(-ERR|-WRONGTYPE|\*|_|\$-1)(.|\s)*", ("ZADD k 1 member", "ZREVRANK k member WITHSCORE"),
    ),
    Difference(
        "infinity times the weight 0 counts as 0 on each shard; Redis passes over it but in the smallest set",
        b"ZINTER", rb"\*3\r\n\$1\r\nz\r\n\$1\r\nx\r\n\$1\r\ny\r\n", rb"\*3\r\n\$1\r\nx\r\n\$1\r\ny\r\n\$1\r\nz\r\n",
        ("ZADD a 1 x 2 y 3.5 z", "ZADD c -inf x inf y 0 z", "ZINTER 2 a c WEIGHTS 1 0 AGGREGATE MIN"), shards=4,
    ),
)  # fmt: skip


def known_difference(words: Sequence[bytes], reference: bytes, ours: bytes, shards: int) -> Difference | None:
    """The line that explains two replies to a request."""
    for line in DIFFERENCES:
        if shards < line.shards:
            continue
        named = [word.upper() for word in words[: len(line.command.split())]] == line.command.split()
        if named and re.fullmatch(line.reference, reference) and re.fullmatch(line.ours, ours):
            return line
    return None
