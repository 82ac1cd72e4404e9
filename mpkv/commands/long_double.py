"""Arithmetic of the x87 long double, in which INCRBYFLOAT and HINCRBYFLOAT add and blocking commands read their
timeouts.

Redis computes these in C's ``long double``: 64 bits of mantissa, 15 of exponent (IEEE 754 «extended precision»).
Python's floats have 53 bits, so ``0.1`` + ``0.2`` would print other digits. A value is therefore held as an exact
`Fraction` that is rounded to 64 bits where the hardware would round: once when it is read, once after the addition.
Infinity is the one value that is a float.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final

from mpkv import errors
from mpkv.errors import CommandError

MANTISSA_BITS: Final = 64
SMALLEST_EXPONENT: Final = -16445  #: of the last bit of a subnormal
LARGEST: Final = (2**MANTISSA_BITS - 1) * 2 ** (16384 - MANTISSA_BITS)

#: Beyond these powers of ten a number overflows or is zero: known before an exact value of so many digits is built.
LARGEST_POWER_OF_TEN: Final = 4932
SMALLEST_POWER_OF_TEN: Final = -4951
#: The buffer of Redis into which the text must fit.
LONGEST_TEXT_BYTES: Final = 5 * 1024 - 1
PRINTED_DECIMALS: Final = 17

_DECIMAL: Final = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,9})?", re.IGNORECASE)
_HEXADECIMAL: Final = re.compile(
    rb"([+-]?)0x(?=[0-9a-f.]*[0-9a-f])([0-9a-f]*)\.?([0-9a-f]*)(?:p([+-]?\d{1,9}))?", re.IGNORECASE
)
_INFINITY: Final = re.compile(rb"([+-]?)inf(inity)?", re.IGNORECASE)

LongDouble = Fraction | float


def parse(text: bytes, error: CommandError = errors.NOT_A_FLOAT) -> LongDouble:
    """What ``strtold`` reads if it uses the whole text; NaN, overflow and underflow to zero raise `error`."""
    if len(text) > LONGEST_TEXT_BYTES:
        raise error
    if _DECIMAL.fullmatch(text):
        exact = _decimal(text)
    elif match := _HEXADECIMAL.fullmatch(text):
        exact = _hexadecimal(*match.groups())
    elif match := _INFINITY.fullmatch(text):
        return float("-inf") if match[1] == b"-" else float("inf")
    else:
        raise error
    if exact is None:
        raise error
    value = _rounded(exact)
    if isinstance(value, float) or (exact and not value):
        raise error
    return value


def _decimal(text: bytes) -> Fraction | None:
    """The exact value; None if its size alone says that it cannot be represented."""
    number = Decimal(text.decode())
    if number and not SMALLEST_POWER_OF_TEN <= number.adjusted() <= LARGEST_POWER_OF_TEN:
        return None
    return Fraction(number) if number else Fraction(0)


def _hexadecimal(sign: bytes, whole: bytes, part: bytes, power: bytes | None) -> Fraction | None:
    mantissa = int(whole + part, 16)
    exponent = int(power or 0) - 4 * len(part)
    if mantissa and not SMALLEST_EXPONENT - 1 <= mantissa.bit_length() + exponent <= 16385:
        return None
    value = Fraction(mantissa) * Fraction(2) ** (exponent if mantissa else 0)
    return -value if sign == b"-" else value


def _rounded(exact: Fraction) -> LongDouble:
    """The nearest long double, ties to the even one."""
    if not exact:
        return exact
    size_bits = abs(exact.numerator).bit_length() - exact.denominator.bit_length()
    if abs(exact) < Fraction(2) ** size_bits:
        size_bits -= 1  # now 2**size_bits <= |exact| < 2**(size_bits + 1)
    unit = Fraction(2) ** max(size_bits - MANTISSA_BITS + 1, SMALLEST_EXPONENT)
    value = round(exact / unit) * unit
    if abs(value) > LARGEST:
        return float("inf") if value > 0 else float("-inf")
    return value


def add(value: LongDouble, increment: LongDouble) -> Fraction:
    """The sum; an error if it is infinite or not a number."""
    if isinstance(value, Fraction) and isinstance(increment, Fraction):
        total = _rounded(value + increment)
        if isinstance(total, Fraction):
            return total
    raise errors.INCREMENT_NOT_FINITE


def to_text(value: Fraction) -> bytes:
    """``%.17Lf`` without the zeroes at its end: how Redis stores the sum."""
    scaled = round(value * 10**PRINTED_DECIMALS)
    whole, part = divmod(abs(scaled), 10**PRINTED_DECIMALS)
    # Decimal prints integers of any length; str(int) stops at 4300 digits, and there may be 4933.
    text = f"{Decimal(whole)}.{part:0{PRINTED_DECIMALS}d}".rstrip("0").rstrip(".")
    return (f"-{text}" if scaled < 0 else text).encode()
