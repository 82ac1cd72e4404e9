"""Sums of the 80-bit long double, against what a real redis-server computes in hardware."""

import random

import pytest

from mpkv.commands import args
from mpkv.errors import CommandError
from tests.helpers.reference import Connection

SUMS = 3000


def random_number(chance: random.Random) -> bytes:
    """A decimal of a random kind: money, many digits, an exponent, a power of two, near a rounding tie."""
    sign = chance.choice(["", "-"])
    kinds = (
        lambda: f"{chance.randrange(10**6)}.{chance.randrange(100):02d}",
        lambda: f"{chance.randrange(10**20)}.{chance.randrange(10**20)}",
        lambda: f"{chance.random()!r}",
        lambda: f"{chance.random():.17g}e{chance.randrange(-40, 40)}",
        lambda: str(2 ** chance.randrange(80)),
        lambda: f"{2**64 - chance.randrange(4)}.{chance.choice(['5', '25', '500000001', '499999999'])}",
        lambda: float.hex(chance.random() * 10 ** chance.randrange(-5, 20)),
    )
    return (sign + chance.choice(kinds)()).encode()


def test_random_sums_print_the_digits_that_redis_prints(reference: Connection) -> None:
    chance = random.Random(20)
    sums = [(random_number(chance), random_number(chance)) for _ in range(SUMS)]
    requests = [
        request for value, increment in sums for request in ([b"SET", b"f", value], [b"INCRBYFLOAT", b"f", increment])
    ]
    expected = [reply.split(b"\r\n")[1] for reply in reference.call_all(requests)[1::2]]
    computed = [
        args.sum_text(args.long_double(value), args.long_double(increment))
        for value, increment in sums
    ]
    assert [case for case in zip(sums, computed, expected, strict=True) if case[1] != case[2]] == []


@pytest.mark.parametrize(
    "text", [b"1e999999999", b"-1e999999999", b"1e-999999999", b"0x1p999999999", b"0x1p-999999999"]
)
def test_an_absurd_exponent_is_refused_without_computing_its_digits(text: bytes) -> None:
    with pytest.raises(CommandError):
        args.long_double(text)


@pytest.mark.parametrize("text", [b"", b" 1", b"1 ", b"1x", b"nan", b"1\0", b"1\x002", b"1" * 5120])
def test_what_is_no_number_is_refused(text: bytes) -> None:
    with pytest.raises(CommandError):
        args.long_double(text)


def test_the_largest_number_has_all_its_digits() -> None:
    text = args.sum_text(args.long_double(b"1.18e4932"), args.long_double(b"0"))
    assert len(text) == 4933 and text.isdigit()


def test_infinity_can_be_read_but_nothing_can_be_added_to_it() -> None:
    assert not args.long_double(b"-Infinity").is_finite
    with pytest.raises(CommandError, match="increment would produce NaN or Infinity"):
        args.sum_text(args.long_double(b"1"), args.long_double(b"inf"))
