"""Checksum and strings of the RDB format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpkv.snapshot.format import checksum, crc64_combine, packed_string


def bitwise_checksum(data: bytes) -> int:
    """CRC-64/REDIS as its definition says, a bit at a time."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x95AC9329AC4BC9B5 if crc & 1 else 0)
    return crc


def test_the_checksum_has_the_check_value_of_crc_64_redis() -> None:
    assert checksum(b"123456789") == 0xE9C6D914C4B8D9CA


@given(st.binary(max_size=100))
def test_the_checksum_by_tables_equals_the_one_by_bits(data: bytes) -> None:
    assert checksum(data) == bitwise_checksum(data)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_a_checksum_goes_on_from_an_earlier_one(a: bytes, b: bytes) -> None:
    assert checksum(b, checksum(a)) == checksum(a + b)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_combined_checksums_equal_the_checksum_of_the_whole(a: bytes, b: bytes) -> None:
    assert crc64_combine(checksum(a), checksum(b), len(b)) == checksum(a + b)


def test_checksums_combine_over_lengths_beyond_32_bits() -> None:
    zeroes = 5 << 30
    whole = checksum(b"head")
    chunk = bytes(1 << 10)
    by_steps = whole
    for _ in range(1000):
        by_steps = checksum(chunk, by_steps)
    assert crc64_combine(whole, 0, 1000 << 10) == by_steps
    halves = crc64_combine(crc64_combine(whole, 0, zeroes // 2), 0, zeroes // 2)
    assert crc64_combine(whole, 0, zeroes) == halves


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (b"", b"\x00"),
        (b"text", b"\x04text"),
        (b"x" * 64, b"\x40\x40" + b"x" * 64),
        (b"0", b"\xc0\x00"),
        (b"-128", b"\xc0\x80"),
        (b"128", b"\xc1\x80\x00"),
        (b"-32768", b"\xc1\x00\x80"),
        (b"32768", b"\xc2\x00\x80\x00\x00"),
        (b"-2147483648", b"\xc2\x00\x00\x00\x80"),
        (b"2147483648", b"\x0a2147483648"),
        (b"-0", b"\x02-0"),
        (b"007", b"\x03007"),
        (b"+1", b"\x02+1"),
        (b"-", b"\x01-"),
    ],
)
def test_only_the_exact_text_of_a_32_bit_integer_is_written_as_one(text: bytes, form: bytes) -> None:
    assert packed_string(text) == form
