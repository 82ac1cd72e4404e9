"""Pages for large values: runs that never overlap, room that comes back, owners and readers that change, and bounds."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpkv.shm.blobs import Pool
from mpkv.shm.layout import PAGE
from mpkv.shm.segment import Segment

PAGES = 150  # not a multiple of the words of the bitmap


@pytest.fixture
def segment() -> Iterator[Segment]:
    segment = Segment.create(2, ["get"], pool_bytes=PAGES * PAGE)
    yield segment
    segment.close()


def owned(segment: Segment, number: int = 0, generation: int = 7) -> Pool:
    pool = Pool(segment, number)
    pool.own()
    pool.reset(generation)
    pool.listen(generation)
    return pool


def resident_bytes(segment: Segment) -> int:
    """Memory that the segment takes, as the kernel counts it."""
    return os.fstat(segment.fd).st_blocks * 512


steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 40 * PAGE)),
        st.tuples(st.just("hold"), st.integers(0, 1000)),
        st.tuples(st.just("drop"), st.integers(0, 1000)),
        st.tuples(st.just("give back"), st.just(0)),
    ),
    max_size=150,
)


@given(steps=steps)
@settings(max_examples=150, deadline=None)
def test_a_run_is_its_holders_alone_until_the_last_has_dropped_it(steps: list[tuple[str, int]]) -> None:
    segment = Segment.create(1, ["get"], pool_bytes=PAGES * PAGE)
    pool = owned(segment)
    holders: dict[int, int] = {}
    contents: dict[int, bytes] = {}
    for step, number in steps:
        if step == "take":
            run = pool.take_run(number)
            if run:
                assert run not in holders
                holders[run], contents[run] = 1, os.urandom(16) * (number // 16 + 1)
                pool.view_of(run)[:number] = contents[run][:number]
                contents[run] = contents[run][:number]
            else:
                assert _longest_gap(contents) < -(-number // PAGE), "there was room"
        elif step == "give back":
            pool.give_back()
        elif holders:
            run = sorted(holders)[number % len(holders)]
            if step == "hold":
                pool.hold_run(run)
                holders[run] += 1
            else:
                pool.drop_run(run)
                holders[run] -= 1
                if not holders[run]:
                    del holders[run], contents[run]
        for held, content in contents.items():
            assert pool.view_of(held)[: len(content)] == content
        used = sum(-(-len(content) // PAGE) for content in contents.values())
        assert pool.used_bytes == used * PAGE
        assert pool.free_pages == PAGES - used
    segment.close()


def _longest_gap(contents: dict[int, bytes]) -> int:
    used = {page for run, content in contents.items() for page in range(run - 1, run - 1 - (-len(content) // PAGE))}
    longest = gap = 0
    for page in range(PAGES):
        gap = 0 if page in used else gap + 1
        longest = max(longest, gap)
    return longest


@pytest.mark.parametrize("pages", [1, 2, 63, 64, 65, 128, PAGES])
def test_all_pages_can_be_taken_and_taken_again(segment: Segment, pages: int) -> None:
    pool = owned(segment)
    for _ in range(3):
        runs = []
        while run := pool.take_run(pages * PAGE):
            runs.append(run)
        assert len(runs) == PAGES // pages
        assert pool.refused
        for run in runs:
            pool.drop_run(run)
        assert pool.free_pages == PAGES


def test_what_is_larger_than_the_pool_or_nothing_is_refused(segment: Segment) -> None:
    pool = owned(segment)
    assert pool.take_run(PAGES * PAGE + 1) == 0
    assert pool.take_run(1 << 62) == 0
    assert pool.take_run(0) == 0
    assert pool.take_run(PAGES * PAGE) == 1


def test_replies_come_back_in_the_order_in_which_they_were_lent(segment: Segment) -> None:
    owner, reader = owned(segment, 1), Pool(segment, 1)
    runs = [owner.take_run(10 * PAGE) for _ in range(15)]
    assert owner.take_run(1) == 0
    for run in runs:
        owner.lend_run(run)
    reader.read_one()
    reader.read_one()
    assert owner.take_run(11 * PAGE) == runs[0], "the first two are free, and side by side"
    for _ in range(13):
        reader.read_one()
    assert owner.used_bytes == 11 * PAGE


def test_a_reader_that_counts_too_far_frees_nothing_that_was_not_lent(segment: Segment) -> None:
    owner, reader = owned(segment, 1), Pool(segment, 1)
    kept, lent = owner.take_run(PAGE), owner.take_run(PAGE)
    owner.lend_run(lent)
    for _ in range(10):
        reader.read_one()
    assert owner.used_bytes == PAGE
    assert owner.take_run(PAGE) == lent != kept


def test_an_owner_finds_no_room_before_its_reader_has_opened_the_link(segment: Segment) -> None:
    """A successor must not write over what its predecessor's reader still reads."""
    old = owned(segment, 2, generation=1)
    run = old.take_run(3 * PAGE)
    old.view_of(run)[:5] = b"reply"
    old.lend_run(run)
    new, reader = Pool(segment, 2), Pool(segment, 2)
    new.own()
    assert new.take_run(1) == 0, "it has not been told of any link"
    new.listen(2)
    assert new.take_run(1) == 0
    assert old.view_of(run)[:5] == b"reply"
    reader.reset(2)
    assert new.free_pages == PAGES, "what the dead owner had lent is free"
    assert new.take_run(PAGES * PAGE) == 1
    assert bytes(new.view_of(1)[:5]) == bytes(5), "the memory of a predecessor goes back"


def test_a_new_link_frees_what_the_old_one_had_lent(segment: Segment) -> None:
    owner, reader = owned(segment, 1), Pool(segment, 1)
    for _ in range(3):
        owner.lend_run(owner.take_run(20 * PAGE))
    owner.listen(8)
    assert owner.take_run(1) == owner.used_bytes == 0
    reader.reset(8)
    assert owner.take_run(PAGES * PAGE) == 1
    owner.lend_run(1)
    reader.read_one()
    assert owner.used_bytes == 0


def test_references_are_bound_to_the_pool(segment: Segment) -> None:
    pool = Pool(segment, 0)
    room = PAGES * PAGE
    for offset, size in ((0, room), (room, 0), (room - 1, 1), (0, 0)):
        assert pool.resolves(offset, size)
    for offset, size in ((0, room + 1), (room + 1, 0), (room - 1, 2), (1 << 63, 1), (8, (1 << 64) - 8)):
        assert not pool.resolves(offset, size)


def test_pools_do_not_share_a_byte(segment: Segment) -> None:
    pools = [owned(segment, number) for number in range(3)]
    for number, pool in enumerate(pools):
        pool.view_of(pool.take_run(PAGES * PAGE))[:] = bytes([number + 1]) * PAGES * PAGE
    for number, pool in enumerate(pools):
        assert bytes(pool.view_of(1)) == bytes([number + 1]) * PAGES * PAGE


def test_pages_take_memory_when_they_are_used_and_give_it_back_after_a_burst() -> None:
    segment = Segment.create(1, ["get"], pool_bytes=32 << 20)
    try:
        before = resident_bytes(segment)
        assert before < 1 << 20, "untouched pages cost nothing"
        pool = owned(segment)
        runs = [pool.take_run(1 << 20) for _ in range(32)]
        for run in runs:
            pool.view_of(run)[:] = b"x" * (1 << 20)
        assert resident_bytes(segment) >= before + (32 << 20)
        for run in runs[1:]:
            pool.drop_run(run)
        pool.give_back()  # they were used since the last time
        assert resident_bytes(segment) >= before + (32 << 20)
        pool.give_back()
        assert resident_bytes(segment) <= before + (1 << 20) + PAGE
        assert pool.view_of(runs[0])[:] == b"x" * (1 << 20), "what is in use stays"
    finally:
        segment.close()


def test_without_pages_nothing_is_taken() -> None:
    segment = Segment.create(1, ["get"], pool_bytes=0)
    try:
        pool = owned(segment)
        assert pool.take_run(1) == 0
        pool.give_back()
    finally:
        segment.close()
