"""Random picks as HRANDFIELD, SRANDMEMBER and ZRANDMEMBER give them.

A positive count asks for different ones, as many as there are at most; a negative one for exactly so many, repeats
allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

from mpkv import errors
from mpkv.commands.args import INT64_MAX, integer
from mpkv.errors import CommandError

#: With repeats a reply has no natural bound. Redis builds whatever is asked for; a shard must not starve others.
REPEATS_LIMIT: Final = 1 << 24

COUNT_OUT_OF_RANGE: Final = CommandError(f"ERR value is out of range, value must between {-INT64_MAX} and {INT64_MAX}")

Element = TypeVar("Element")


class Samplable(Protocol[Element]):
    """A hash, set or sorted set that is not empty."""

    def random(self) -> Element: ...
    def sample(self, count: int) -> list[Element]: ...


def count(text: bytes) -> int:
    """How many are asked for; it can be negated."""
    value = integer(text)
    if value < -INT64_MAX:
        raise COUNT_OUT_OF_RANGE
    return value


def pair_option(options: Sequence[bytes], keyword: bytes, wanted: int) -> bool:
    """Whether `keyword` (WITHVALUES, WITHSCORES) follows the count; each pick is then two elements of the reply."""
    if len(options) == 1:
        return False
    if len(options) > 2 or options[1].lower() != keyword:
        raise errors.SYNTAX
    if abs(wanted) > INT64_MAX // 2:
        raise errors.VALUE_OUT_OF_RANGE
    return True


def picks(value: Samplable[Element], wanted: int) -> list[Element]:
    """As many as `wanted` says, in no order."""
    if wanted >= 0:
        return value.sample(wanted)
    if -wanted > REPEATS_LIMIT:
        raise errors.VALUE_OUT_OF_RANGE
    return [value.random() for _ in range(-wanted)]
