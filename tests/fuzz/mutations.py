"""Mutates valid input: what a fuzzer can do that does not see coverage. From a seed, so that a finding comes back."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence

#: How long each target is fuzzed; `make fuzz` says minutes.
SECONDS = float(os.environ.get("FUZZ_SECONDS", "2"))
#: Where to begin: another one is another walk.
SEED = int(os.environ.get("FUZZ_SEED", "1"))

#: What parsers stumble over: borders of lengths, signs and widths.
EDGES = [bytes([byte]) for byte in (0, 1, 0x3F, 0x40, 0x7F, 0x80, 0x81, 0xBF, 0xC0, 0xC3, 0xFE, 0xFF)] + [
    number.to_bytes(width, order, signed=False)
    for width in (2, 4, 8)
    for number in (0, 1, 2 ** (8 * width - 1) - 1, 2 ** (8 * width - 1), 2 ** (8 * width) - 1)
    for order in ("little", "big")
] + [
    b"-1", b"0", b"2147483647", b"2147483648", b"9223372036854775807", b"-9223372036854775808", b"\r\n", b"$", b"*",
]  # fmt: skip


def _set_byte(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] = chance.randrange(256)


def _flip_bit(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _add_to_byte(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    data[at] = (data[at] + chance.choice([-2, -1, 1, 2])) % 256


def _put_edge(data: bytearray, chance: random.Random) -> None:
    edge = chance.choice(EDGES)
    at = chance.randrange(len(data))
    data[at : at + (len(edge) if chance.random() < 0.7 else 0)] = edge


def _cut(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    del data[at : at + chance.choice([1, 2, 4, 8, len(data)])]


def _repeat(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    piece = data[at : at + chance.randrange(1, 40)]
    data[at:at] = piece * chance.choice([1, 1, 2, 30])


MUTATIONS = (_set_byte, _flip_bit, _add_to_byte, _put_edge, _put_edge, _cut, _repeat)


def mutated(seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """One of the inputs, or the beginning of one and the end of another, with some changes."""
    data = bytearray(chance.choice(seeds))
    if chance.random() < 0.2:
        other = chance.choice(seeds)
        data[chance.randrange(len(data) + 1) :] = other[chance.randrange(len(other) + 1) :]
    for _ in range(chance.choice([1, 1, 2, 3, 8])):
        if data:
            chance.choice(MUTATIONS)(data, chance)
    return bytes(data)


def inputs(
    seeds: Sequence[bytes], least: int, seconds: float = SECONDS, seed: int = SEED
) -> Iterator[tuple[random.Random, bytes]]:
    """Mutated inputs until the time is over, but so many on the slowest machine; each with a source of chance for
    whatever else must be decided."""
    end = time.monotonic() + seconds
    number = 0
    while number < least or time.monotonic() < end:
        chance = random.Random(f"{seed}/{number}")
        yield chance, mutated(seeds, chance)
        number += 1


def fuzz(seeds: Sequence[bytes], target: Callable[[bytes, random.Random], None], least: int = 100) -> None:
    """Feed a target until the time is over, with so many inputs at least. What it raises carries its input."""
    for count, (chance, data) in enumerate(inputs(seeds, least)):
        try:
            target(data, chance)
        except BaseException as error:
            error.add_note(f"input {count} of seed {SEED}: {data!r}")
            raise
