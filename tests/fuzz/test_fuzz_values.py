"""Values against their models with words at the edges of every length and integer that a packed form knows.

The models are those of the long sequences, whose words are mostly short; here each word is one that stands beside a
border, every block is validated after every operation, and where a value stops to be packed is a border itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from mpkv.types import hash as hashes
from mpkv.types import list as lists
from mpkv.types import set as sets
from mpkv.types import zset
from tests.fuzz.mutations import SEED, inputs
from tests.types import test_long_models as models

pytestmark = pytest.mark.timeout(7200)

OPERATIONS = 40

SIZES = [
    edge + beside
    for edge in (0, 63, 64, 127, 128, 255, 256, 4095, 4096, 16_383, 16_384, 65_535, 65_536)
    for beside in (0, 1)
]  # fmt: skip
INTEGERS = [
    b"%d" % (sign * 2**bits + beside)
    for bits in (0, 6, 7, 8, 12, 13, 15, 16, 23, 24, 31, 32, 63, 64)
    for beside in (-1, 0, 1)
    for sign in (1, -1)
]
#: Nearly integers: as text they are others.
TEXTS = [b"00", b"01", b"-0", b"+1", b" 1", b"1 ", b"1.0", b"0x1", b"-", b"\0", b"9" * 20, b"-" + b"9" * 20]
#: Up to where a value may be packed, in bytes of a word.
PACKED_BYTES = [0, 63, 64, 127, 128, 4095, 4096, 65_535, 1 << 20]

LIMITS: dict[str, Callable[[int, int], None]] = {
    "hashes": hashes.set_limits,
    "sets": lambda entries, size: sets.set_limits(entries, entries, size),
    "sorted sets": zset.set_limits,
    "lists": lambda entries, _: lists.set_limits(entries or -1),
}


def a_word(chance: random.Random, few: int = 1 << 30) -> bytes:
    """One of so few, or any."""
    number = chance.randrange(few)
    choices = number % 3
    if choices == 0:
        return INTEGERS[number // 3 % len(INTEGERS)]
    if choices == 1:
        return TEXTS[number // 3 % len(TEXTS)]
    size = SIZES[number // 3 % len(SIZES)]
    return b"%c" % (97 + number % 5) * size


@pytest.fixture(autouse=True)
def edges(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(models, "a_name", a_word)
    monkeypatch.setattr(models, "a_value", a_word)
    with models.default_limits():
        yield


@pytest.mark.parametrize("kind", models.MODELS)
def test_a_value_of_words_at_the_edges_is_what_its_model_is_after_every_operation(kind: str) -> None:
    for number, (chance, _) in enumerate(inputs([b"x"], least=4)):
        model = models.MODELS[kind](chance)
        if kind in LIMITS:
            LIMITS[kind](chance.choice([0, 1, 3, 30, 512]), chance.choice(PACKED_BYTES))
        try:
            for _ in range(OPERATIONS):
                model.step(chance)
                model.compare()
        except BaseException as error:
            error.add_note(f"round {number} of seed {SEED}")
            raise
