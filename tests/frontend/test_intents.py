"""The intent ring: what is open is found again whole and in order, whatever was closed before, wherever it wraps."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
        found = IntentRing(area, folder).unfinished()
        assert [(number, parts) for _, number, parts in found] == [
            (number, parts) for number, (_, parts) in sorted(open_writes.items())
        ]
    for handle, _ in open_writes.values():
        ring.close(handle)
    assert ring.open_bytes == 0
    assert ring.open_count == 0
    assert not list(folder.iterdir()), "a payload's file outlived its write"


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
