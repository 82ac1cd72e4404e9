"""The intent ring: what is open is found again whole and in order, whatever was closed before, wherever it wraps."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpkv.errors import CommandError
from mpkv.frontend.intents import IntentRing

AREA_BYTES = 1 << 14
#: (bytes of each part, whether the oldest open write is closed afterwards – else the youngest)
steps = st.lists(st.tuples(st.lists(st.integers(0, 1200), min_size=1, max_size=4), st.booleans()), max_size=80)


def parts_of(number: int, sizes: list[int]) -> list[tuple[int, bytes]]:
    return [(shard, bytes([number % 251]) * size) for shard, size in enumerate(sizes)]


@given(steps=steps)
@settings(max_examples=80, deadline=None)
def test_what_is_open_is_found_by_a_successor_whole_and_in_order(
    steps: list[tuple[list[int], bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("intents")
    area = memoryview(bytearray(AREA_BYTES))
    ring = IntentRing(area, folder)
    open_writes: dict[int, tuple[int, list[tuple[int, bytes]]]] = {}
    for number, (sizes, oldest) in enumerate(steps, start=1):
        parts = parts_of(number, sizes)
        if ring.has_room(sum(sizes), len(sizes)):
            open_writes[number] = ring.open(number, parts), parts
        elif open_writes:
            closed = min(open_writes) if oldest else max(open_writes)
            ring.close(open_writes.pop(closed)[0])
        assert open_writes or ring.open_bytes == 0
        found = IntentRing(area, folder).unfinished()
        assert [(number, parts) for _, number, parts in found] == [
            (number, parts) for number, (_, parts) in sorted(open_writes.items())
        ]
    for handle, _ in open_writes.values():
        ring.close(handle)
    assert ring.open_bytes == 0
    assert ring.open_count == 0
    assert not list(folder.iterdir()), "a payload's file outlived its write"


#: Open a write with parts of these sizes, close the open write at this place, or relieve the ring of the older ones
moving_steps = st.lists(
    st.one_of(
        st.lists(st.integers(0, 3000), min_size=1, max_size=3),
        st.integers(0, 20),
        st.sampled_from(["relieve", "die", "die before the head moves"]),
    ),
    max_size=60,
)


@given(steps=moving_steps)
@settings(max_examples=150, deadline=None)
def test_what_is_moved_out_of_the_ring_is_found_and_closed_like_what_is_in_it(
    steps: list[list[int] | int | str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("intents")
    area = memoryview(bytearray(AREA_BYTES))
    ring = IntentRing(area, folder)
    open_writes: dict[int, tuple[int, list[tuple[int, bytes]]]] = {}
    for number, step in enumerate(steps, start=1):
        if isinstance(step, list):
            if ring.has_room(sum(step), len(step)):
                parts = parts_of(number, step)
                ring.prepare(sum(step), len(step))
                open_writes[number] = ring.open(number, parts), parts
        elif isinstance(step, int):
            if open_writes:
                ring.close(open_writes.pop(sorted(open_writes)[step % len(open_writes)])[0])
        else:
            head = bytes(area[:8])
            moved = ring.relieve(number - 1)
            if step == "die before the head moves" and moved:
                area[:8] = head
            if step != "relieve":
                ring = IntentRing(area, folder)
                found = ring.unfinished()
                # A closed one may be found again: it is harmless, since all its parts were executed
                again = {number: (handle, parts) for handle, number, parts in found}
                assert [number for _, number, _ in found] == sorted(again)
                assert {number: parts for number, (_, parts) in again.items()} | {
                    number: parts for number, (_, parts) in open_writes.items()
                } == {number: parts for number, (_, parts) in again.items()}
                for extra in again.keys() - open_writes.keys():
                    ring.close(again.pop(extra)[0])
                open_writes = again
        assert ring.open_count == len(open_writes)
        assert ring.oldest_number <= min(open_writes, default=0) or not open_writes
    for handle, _ in open_writes.values():
        ring.close(handle)
    assert ring.open_bytes == 0
    assert ring.open_count == 0
    assert not list(folder.iterdir()), "a file outlived its writes"


def test_a_write_that_waits_for_ever_does_not_keep_the_others_from_going_round_the_ring(tmp_path: Path) -> None:
    ring = IntentRing(memoryview(bytearray(AREA_BYTES)), tmp_path)
    stuck = ring.open(1, parts_of(1, [10, 10]))
    for number in range(2, 2000):
        ring.relieve(number - 1)
        assert ring.has_room(1000, 2), f"no room for number {number}"
        ring.close(ring.open(number, parts_of(number, [500, 500])))
    ring.close(stuck)
    assert ring.open_bytes == 0


def test_an_empty_ring_is_empty_wherever_its_last_write_stood(tmp_path: Path) -> None:
    ring = IntentRing(memoryview(bytearray(AREA_BYTES)), tmp_path)
    for number in range(1, 2000):
        ring.close(ring.open(number, parts_of(number, [number % 700, 10])))
        assert ring.open_bytes == 0, f"after number {number}"


@pytest.mark.parametrize("size", range(900, 1100, 8))
def test_a_relieved_ring_is_empty_when_all_is_closed(size: int, tmp_path: Path) -> None:
    ring = IntentRing(memoryview(bytearray(AREA_BYTES)), tmp_path)
    for first in range(1, 1000, 10):
        handles = [ring.open(number, parts_of(number, [size])) for number in range(first, first + 10)]
        assert ring.relieve(first + 10)
        for handle in handles:
            ring.close(handle)
        assert ring.open_bytes == 0


def test_what_stands_for_moved_writes_is_passed_whichever_is_closed_first(tmp_path: Path) -> None:
    ring = IntentRing(memoryview(bytearray(AREA_BYTES)), tmp_path)
    handles = [ring.open(number, parts_of(number, [1000])) for number in range(1, 11)]
    assert ring.relieve(6) == 5
    for handle in handles:
        ring.close(handle)
    assert ring.open_bytes == 0


def test_a_few_writes_under_way_go_round_in_a_quarter_of_the_area(tmp_path: Path) -> None:
    area = memoryview(bytearray(1 << 16))
    ring = IntentRing(area, tmp_path)
    under_way: list[int] = []
    for number in range(1, 1000):
        under_way.append(ring.open(number, parts_of(number, [300, 400])))
        if len(under_way) > 8:
            ring.close(under_way.pop(0))
    assert not any(area[(1 << 14) + 2000 :])
    assert [number for _, number, _ in IntentRing(area, tmp_path).unfinished()] == list(range(992, 1000))


def test_a_write_that_stays_leaves_all_of_the_area_to_the_others(tmp_path: Path) -> None:
    area = memoryview(bytearray(1 << 16))
    ring = IntentRing(area, tmp_path)
    ring.open(1, parts_of(1, [300, 400]))
    taken = 0
    while ring.has_room(1000, 2):
        taken += 1000
        ring.close(ring.open(1 + taken, parts_of(1 + taken, [500, 500])))
    assert taken > 50_000


def test_relieving_a_ring_that_has_room_does_nothing(tmp_path: Path) -> None:
    area = memoryview(bytearray(AREA_BYTES))
    ring = IntentRing(area, tmp_path)
    ring.open(1, parts_of(1, [10, 10]))
    before = bytes(area)
    assert ring.relieve(2) == 0
    assert bytes(area) == before


def test_a_ring_that_cannot_be_relieved_stays_as_it_was(tmp_path: Path) -> None:
    area = memoryview(bytearray(AREA_BYTES))
    folder = tmp_path / "gone"
    ring = IntentRing(area, folder)
    number = 0
    while ring.has_room(1000, 2):
        number += 1
        ring.open(number, parts_of(number, [500, 500]))
    before = bytes(area)
    with pytest.raises(FileNotFoundError):
        ring.relieve(number)
    assert bytes(area) == before


def test_a_payload_that_fits_nowhere_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    ring = IntentRing(memoryview(bytearray(AREA_BYTES)), tmp_path / "gone")
    ring.prepare(100, 2)  # fits into the ring
    with pytest.raises(CommandError, match="MISCONF Errors writing to the runtime folder: No such file or directory"):
        ring.prepare(AREA_BYTES, 2)


def test_the_room_that_was_taken_is_what_the_payload_goes_into(tmp_path: Path) -> None:
    ring = IntentRing(memoryview(bytearray(AREA_BYTES)), tmp_path)
    ring.prepare(3 * AREA_BYTES, 2)
    (reserved,) = tmp_path.iterdir()
    assert reserved.stat().st_blocks * 512 >= 3 * AREA_BYTES
    inode = reserved.stat().st_ino
    ring.open(1, [(0, b"a" * AREA_BYTES), (1, b"b" * AREA_BYTES)])
    (payload,) = tmp_path.iterdir()
    assert (payload.name, payload.stat().st_ino) == ("intent-1", inode)
    assert payload.stat().st_size < 3 * AREA_BYTES


def test_a_payload_too_large_for_the_ring_goes_into_a_private_file_that_goes_with_the_write(tmp_path: Path) -> None:
    area = memoryview(bytearray(AREA_BYTES))
    ring = IntentRing(area, tmp_path)
    large = [(0, b"a" * AREA_BYTES), (1, b"b" * 3)]
    handle = ring.open(7, large)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert ring.open_bytes < 100
    assert [parts for _, _, parts in IntentRing(area, tmp_path).unfinished()] == [large]
    ring.close(handle)
    assert not list(tmp_path.iterdir())


def test_opening_without_room_is_refused_and_leaves_the_ring_as_it_was(tmp_path: Path) -> None:
    area = memoryview(bytearray(AREA_BYTES))
    ring = IntentRing(area, tmp_path)
    number = 0
    while ring.has_room(1000, 2):
        number += 1
        ring.open(number, parts_of(number, [500, 500]))
    before = bytes(area)
    with pytest.raises(RuntimeError, match="full"):
        for later in range(number + 1, number + 20):
            ring.open(later, parts_of(later, [500, 500]))
            before = bytes(area)
    assert bytes(area) == before


def test_a_ring_that_is_switched_off_keeps_nothing(tmp_path: Path) -> None:
    area = memoryview(bytearray(AREA_BYTES))
    ring = IntentRing(area, tmp_path, enabled=False)
    assert ring.open(1, parts_of(1, [10, 10])) == 0
    ring.close(0)
    assert IntentRing(area, tmp_path).unfinished() == []
