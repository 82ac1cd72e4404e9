"""Arguments are read by a cursor; conversions raise Redis' errors.

Numbers follow Redis' own rules (`string2ll`, `getDoubleFromObject`): no leading blanks, zeroes or plus sign in
integers, 64 bits signed; floats in any notation of `strtod` that uses the whole text, `inf` included, NaN not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from mpkv import errors
from mpkv.errors import CommandError
from mpkv.resp.encoder import float_text as float_text  # noqa: PLC0414 -- for the families, who write scores
from mpkv.types.long_double import LongDouble
from mpkv.types.long_double import parse as parse_long_double

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
INT32_MIN: Final = -(2**31)
INT32_MAX: Final = 2**31 - 1


def integer(text: bytes, error: CommandError = errors.NOT_AN_INTEGER) -> int:
    """A 64-bit signed integer in its one canonical notation."""
    if len(text) > 20 or not text.removeprefix(b"-").isdigit():
        raise error
    value = int(text)
    if b"%d" % value != text or not INT64_MIN <= value <= INT64_MAX:
        raise error
    return value


def floating(text: bytes, error: CommandError = errors.NOT_A_FLOAT) -> float:
    """A double; infinities allowed, NaN and surrounding blanks not."""
    value = strtod(text, error)
    if _lost_its_digits(text.lower(), value):
        raise error
    return value


def strtod(text: bytes, error: CommandError = errors.NOT_A_FLOAT) -> float:
    """The same, but what is too large for a double is infinite and what is too small is 0."""
    try:
        if not text or text != text.strip() or b"_" in text:
            raise ValueError
        value = float.fromhex(text.decode()) if text.lstrip(b"+-")[:2].lower() == b"0x" else float(text)
    except OverflowError:  # only hexadecimal texts
        value = float("-inf") if text.startswith(b"-") else float("inf")
    except (ValueError, UnicodeDecodeError):
        raise error from None
    if math.isnan(value):
        raise error
    return value


def _lost_its_digits(text: bytes, value: float) -> bool:
    """Digits too large or too small for a double: `strtod` reports what `float` silently turns into infinity or
    zero."""
    if value in (float("inf"), float("-inf")):
        return b"i" not in text
    digits = text.partition(b"p" if b"x" in text else b"e")[0]
    return value == 0 and digits.strip(b"+-0.x") != b""


def integer_between(text: bytes, low: int, high: int, error: CommandError) -> int:
    """An integer from `low` to `high`; anything else raises `error`."""
    value = integer(text, error)
    if not low <= value <= high:
        raise error
    return value


def database_index(text: bytes, databases: int) -> int:
    """The number of a database on a server that has so many."""
    value = integer(text)
    if not INT32_MIN <= value <= INT32_MAX:
        raise CommandError(f"ERR value is out of range, value must between {INT32_MIN} and {INT32_MAX}")
    if not 0 <= value < databases:
        raise errors.DB_INDEX_OUT_OF_RANGE
    return value


def long_double(text: bytes, error: CommandError = errors.NOT_A_FLOAT) -> LongDouble:
    """A number of C's widest type."""
    value = parse_long_double(text)
    if value is None:
        raise error
    return value


def sum_text(value: LongDouble, increment: LongDouble) -> bytes:
    """The sum of two numbers as it is stored and replied."""
    total = value.plus(increment)
    if total is None:
        raise errors.INCREMENT_NOT_FINITE
    return total.to_text()


def timeout_ms(text: bytes, now_ms: int) -> int:
    """The seconds that a blocking command may wait, a fraction allowed, as milliseconds; 0 = for ever."""
    seconds = long_double(text, errors.TIMEOUT_NOT_A_FLOAT)
    wait_ms = seconds.thousands()
    if wait_ms is None:
        raise errors.TIMEOUT_NEGATIVE if text.startswith(b"-") else errors.TIMEOUT_OUT_OF_RANGE
    if wait_ms < 0:
        raise errors.TIMEOUT_NEGATIVE
    if wait_ms > INT64_MAX - now_ms:
        raise errors.TIMEOUT_OUT_OF_RANGE
    return wait_ms


class Arguments:
    """A cursor over the optional words of a command.

    >>> args = Arguments([b"COUNT", b"10"])
    >>> args.take(b"match"), args.take(b"count"), args.integer(), args.left
    (False, True, 10, 0)
    """

    __slots__ = ("_at", "_words")

    def __init__(self, words: Sequence[bytes]) -> None:
        self._words = words
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._words) - self._at

    def word(self) -> bytes:
        """The next word; a syntax error if there is none."""
        if self._at >= len(self._words):
            raise errors.SYNTAX
        self._at += 1
        return self._words[self._at - 1]

    def take(self, keyword: bytes, needs: int = 0) -> bool:
        """Step over `keyword` (given in lower case) if it is next and at least `needs` words follow it."""
        if self.left > needs and self._words[self._at].lower() == keyword:
            self._at += 1
            return True
        return False

    def integer(self, error: CommandError = errors.NOT_AN_INTEGER) -> int:
        return integer(self.word(), error)

    def floating(self, error: CommandError = errors.NOT_A_FLOAT) -> float:
        return floating(self.word(), error)

    def rest(self) -> Sequence[bytes]:
        words = self._words[self._at :]
        self._at = len(self._words)
        return words

    def end(self) -> None:
        """Nothing may be left."""
        if self.left:
            raise errors.SYNTAX
