"""Names that were made to collide cost no more than others: keys, fields, members of sets and of sorted sets.

What is known before the server has started can be computed against: a hash function without a secret, or one whose
collisions no seed prevents. Here are such names by the twenty thousand for the functions that stores have used, and for
the CRC16 that decides a key's slot, where everybody may look for collisions. The tables go by SipHash with a secret of
the server's own, so these names are to them like any others.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, product

import pytest

from mpkv.sharding import slot_of
from mpkv.types import hash as hashes
from mpkv.types import set as sets
from mpkv.types import zset
from mpkv.types.siphash import hash_of
from mpkv.workers.keyspace import Keyspace

COUNT = 20_000
#: What chance and a busy machine may add. A single chain of all names would cost hundreds of times as much.
BOUND = 3.0
WORD = 2**64
MURMUR = 0xC6A4A7935BD1E995
MURMUR_INVERSE = pow(MURMUR, -1, WORD)


def times_33(name: bytes) -> int:
    """The hash of early stores, by D. J. Bernstein."""
    value = 5381
    for byte in name:
        value = (value * 33 + byte) % WORD
    return value


def murmur_64a(name: bytes, seed: int) -> int:
    """MurmurHash64A of a name of whole words."""
    value = seed ^ len(name) * MURMUR % WORD
    for at in range(0, len(name), 8):
        value = (value ^ mixed(int.from_bytes(name[at : at + 8], "little"))) * MURMUR % WORD
    value ^= value >> 47
    value = value * MURMUR % WORD
    return value ^ value >> 47


def mixed(word: int) -> int:
    """What MurmurHash64A makes of a word before it meets the others."""
    word = word * MURMUR % WORD
    return (word ^ word >> 47) * MURMUR % WORD


def unmixed(word: int) -> int:
    word = word * MURMUR_INVERSE % WORD
    return (word ^ word >> 47) * MURMUR_INVERSE % WORD


def equal_by_times_33() -> Iterator[bytes]:
    """ "Ez" and "FY" are the same to it, and so is any row of these."""
    return map(b"".join, product((b"Ez", b"FY"), repeat=15))


def equal_by_murmur() -> Iterator[bytes]:
    """A difference in the highest bit goes through a multiplication as it is, and the next word takes it away again:
    for every seed (J.-P. Aumasson, D. J. Bernstein, M. Bosslet, "Hash-flooding DoS reloaded", 2012)."""

    def pair(top: int) -> bytes:
        return b"".join(unmixed(half ^ top).to_bytes(8, "little") for half in (0x0123456789, 0x9876543210))

    return map(b"".join, product((pair(0), pair(1 << 63)), repeat=15))


def in_one_slot() -> Iterator[bytes]:
    """CRC16 is linear: the last two bytes bring any name into any slot."""
    ends = {slot_of(b"key:000000:" + end.to_bytes(2, "big")): end.to_bytes(2, "big") for end in range(2**16)}
    base = slot_of(b"key:000000:\0\0")
    for number in range(COUNT):
        name = b"key:%06d:" % number
        wanted = base ^ slot_of(name + b"\0\0")  # to be undone by the end
        yield name + ends[base ^ wanted ^ 1]


CRAFTED: dict[str, Callable[[], Iterator[bytes]]] = {
    "times 33": equal_by_times_33, "MurmurHash": equal_by_murmur, "one slot": in_one_slot,
}  # fmt: skip


def crafted(kind: str) -> list[bytes]:
    names = list(islice(CRAFTED[kind](), COUNT))
    assert len(set(names)) == COUNT
    return names


def use_keys(names: Iterable[bytes]) -> None:
    keyspace = Keyspace(1)
    database = keyspace.database(0)
    for name in names:
        database.set_string(name, b"value")
    assert all(map(database.exists, names))


def use_fields(names: Iterable[bytes]) -> None:
    value = hashes.Hash.standalone()
    for name in names:
        value.put(name, b"value")
    assert all(map(value.get, names))


def use_members(names: Iterable[bytes]) -> None:
    value = sets.Set.standalone()
    for name in names:
        value.add(name)
    assert all(map(value.contains, names))


def use_scored_members(names: Iterable[bytes]) -> None:
    value = zset.ZSet.standalone()
    for name in names:
        value.put(name, 1.0)
    assert all(map(value.score, names))


USES = {"keys": use_keys, "fields": use_fields, "members": use_members, "scored members": use_scored_members}


def cost_s(use: Callable[[list[bytes]], None], names: list[bytes]) -> float:
    """CPU time, the least of several runs."""

    def run() -> float:
        begun = time.process_time()
        use(names)
        return time.process_time() - begun

    return min(run() for _ in range(4))


@pytest.mark.parametrize("kind", CRAFTED)
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_crafted_names_cost_no_more_than_random_ones(kind: str, use: Callable[[list[bytes]], None]) -> None:
    names = crafted(kind)
    chance = random.Random(1)
    others = [chance.randbytes(len(name)) for name in names]
    assert cost_s(use, names) < BOUND * cost_s(use, others)


def test_they_collide_where_they_should_and_nowhere_else() -> None:
    assert len({times_33(name) for name in crafted("times 33")}) == 1
    for seed in (0, 1, 2**63 + 12345):
        assert len({murmur_64a(name, seed) for name in crafted("MurmurHash")[:2000]}) == 1
    assert len({slot_of(name) for name in crafted("one slot")}) == 1
    for kind in CRAFTED:
        assert len({hash_of(name) for name in crafted(kind)}) == COUNT


def test_the_measure_sees_a_search_through_all_names() -> None:
    """A small hash is searched from its beginning: with a limit that is none, this is what a single chain would be."""
    names = crafted("times 33")[:4000]
    hashes.set_limits(COUNT, 64)
    try:
        chained = cost_s(use_fields, names)
    finally:
        hashes.set_limits(512, 64)
    assert chained > BOUND * cost_s(use_fields, names)
