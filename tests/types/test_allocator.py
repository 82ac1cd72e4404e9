"""The allocator: pieces never overlap, all that was taken comes back, and what is counted is what is there."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpkv.types import allocator
from tests.helpers.sanitizers import needs_own_memory, not_sanitized

pytestmark = needs_own_memory


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    gc.collect()
    before = allocator.used()
    yield
    allocator.fail_after(None)
    allocator.validate()
    assert allocator.used() == before


def resident_bytes() -> int:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no resident set size")


def test_sizes_up_to_512_go_by_steps_of_8() -> None:
    pieces = allocator.Pieces(1)
    for size, takes in ((0, 8), (1, 8), (8, 8), (9, 16), (56, 56), (57, 64), (505, 512), (512, 512), (513, 528)):
        pieces.take(0, size)
        assert pieces.footprint(0, size) == takes
        pieces.give(0, size)


@pytest.mark.parametrize("seed", range(5))
def test_random_pieces_keep_what_was_written_into_them(seed: int) -> None:
    chance = random.Random(seed)
    pieces, sizes = allocator.Pieces(600), [0] * 600
    before = allocator.used()
    limit = (64, 600, 9000, 200_000, 1_500_000)[seed]
    for _ in range((30_000, 30_000, 6_000, 2_000, 700)[seed]):
        at = chance.randrange(600 if seed < 4 else 30)
        if not sizes[at]:
            sizes[at] = chance.randrange(1, limit)
            assert pieces.take(at, sizes[at]) % 8 == 0
        elif chance.random() < 0.3:
            size = chance.randrange(1, limit)
            assert pieces.resize(at, sizes[at], size)
            sizes[at] = size
        else:
            assert pieces.holds(at, sizes[at])
            pieces.give(at, sizes[at])
            sizes[at] = 0
    allocator.validate()
    assert allocator.used() - before == sum(pieces.footprint(at, size) for at, size in enumerate(sizes) if size)
    for at, size in enumerate(sizes):
        if size:
            assert pieces.holds(at, size)
            pieces.give(at, size)


@pytest.mark.parametrize("seed", range(5))
def test_random_blocks_keep_what_was_written_into_them(seed: int) -> None:
    chance = random.Random(seed)
    pieces = allocator.Pieces(600)
    before = allocator.used()
    limit = (64, 600, 9000, 200_000, 1_500_000)[seed]
    for step in range((30_000, 30_000, 6_000, 2_000, 700)[seed]):
        at = chance.randrange(600 if seed < 4 else 30)
        if chance.random() < 0.7:
            size = chance.randrange(1, limit)
            assert pieces.resize_block(at, size)
            assert pieces.room(at) >= size
        else:
            pieces.release_block(at)
        assert pieces.holds(at, pieces.room(at))
        if step % 100 == 0:
            allocator.validate()
        if step % 977 == 0:
            allocator.decay()
    assert allocator.used() - before == sum(map(pieces.block_footprint, range(600)))
    for at in range(600):
        assert pieces.holds(at, pieces.room(at))
        pieces.release_block(at)


def test_a_block_grows_where_it_stands_if_there_is_room_behind_it() -> None:
    pieces = allocator.Pieces(1)
    for size in range(100, 50_000, 100):
        pieces.resize_block(0, size)
    assert pieces.room(0) < 50_000
    assert pieces.holds(0, pieces.room(0))
    pieces.release_block(0)


def test_blocks_that_grow_at_random_times_leave_little_behind() -> None:
    chance, count = random.Random(1), 20_000
    pieces, sizes = allocator.Pieces(count), [0] * count
    for _ in range(10 * count):
        at = chance.randrange(count)
        sizes[at] += 26
        pieces.resize_block(at, sizes[at])
    allocator.give_back()
    used, _, resident = allocator.totals()
    assert resident < used * 1.15
    for at in range(count):
        pieces.release_block(at)


def test_every_size_can_be_taken_and_given_back() -> None:
    pieces = allocator.Pieces(1)
    for size in [*range(2000), *range(2000, 70_000, 61), 1 << 16, (1 << 16) + 1, 1 << 20, (1 << 20) + 1, 5_000_000]:
        assert pieces.take(0, size)
        assert pieces.holds(0, size)
        pieces.give(0, size)


def test_accounts_are_kept_apart() -> None:
    pieces = allocator.Pieces(2)
    before = [allocator.used(account) for account in range(6)]
    pieces.take(0, 100, 1)
    pieces.take(1, 100_000, 4)
    grown = [allocator.used(account) - old for account, old in enumerate(before)]
    assert grown == [0, 104, 0, 0, 100_008, 0]
    pieces.resize(0, 100, 200, 1)
    assert allocator.used(1) - before[1] == 200
    pieces.give(0, 200, 1)
    pieces.give(1, 100_000, 4)


@not_sanitized
def test_memory_goes_back_to_the_system_when_most_pieces_have_gone() -> None:
    count, size = 400_000, 96
    pieces = allocator.Pieces(count)
    order = list(range(count))
    random.Random(1).shuffle(order)
    allocator.give_back()
    empty = resident_bytes()
    for at in range(count):
        pieces.take(at, size)
    full = resident_bytes()
    assert full - empty > count * size * 0.95
    for at in order[: count * 9 // 10]:
        pieces.give(at, size)
    for at in order[count * 9 // 10 :]:
        pieces.give(at, size)
    _, _, resident = allocator.totals()
    assert resident_bytes() > (full + empty) // 2, "nothing is given back where it becomes empty: that would take long"
    while allocator.trim():
        _, _, left = allocator.totals()
        assert 0 < resident - left <= 64 << 16, "in one go"
        resident = left
    used, _, resident = allocator.totals()
    assert resident - used < 8 << 20, "some empty spans are kept, and no more"
    assert resident_bytes() - empty < (full - empty) // 4
    allocator.give_back()
    assert resident_bytes() - empty < 2 << 20


def test_a_lone_piece_that_comes_and_goes_moves_no_span() -> None:
    pieces = allocator.Pieces(1)
    pieces.take(0, 40)
    place = allocator.totals()
    for _ in range(100):
        pieces.give(0, 40)
        pieces.take(0, 40)
        assert allocator.totals()[1:] == place[1:]
    pieces.give(0, 40)


def test_an_allocation_that_fails_changes_nothing() -> None:
    pieces = allocator.Pieces(2)
    pieces.take(0, 100)
    before = allocator.used()
    allocator.fail_after(0)
    assert pieces.take(1, 8) == 0
    assert pieces.take(1, 1 << 20) == 0
    assert not pieces.resize(0, 100, 300)
    assert pieces.holds(0, 100)
    assert allocator.used() == before
    allocator.fail_after(None)
    pieces.give(0, 100)


@pytest.mark.parametrize(("size", "smaller"), [(3_000_000, 2_000_000), (3_000_000, 100), (3000, 40)])
def test_a_block_always_becomes_smaller(size: int, smaller: int) -> None:
    pieces = allocator.Pieces(1)
    pieces.resize_block(0, size)
    allocator.fail_after(0)
    assert pieces.resize_block(0, smaller)
    assert not pieces.resize_block(0, size + 100)
    allocator.fail_after(None)
    assert pieces.holds(0, smaller)
    pieces.release_block(0)
