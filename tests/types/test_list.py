"""Native lists against a plain Python list, with blocks small enough to split and merge all the time."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mpkv.types import allocator
from mpkv.types import list as native

LISTPACK_FRAME_BYTES = 7


@pytest.fixture(autouse=True)
def default_limits() -> Iterator[None]:
    yield
    native.set_limits(-2)
    allocator.fail_after(None)


def filled(elements: list[bytes]) -> native.List:
    handle = native.List.standalone()
    for element in elements:
        handle.push_tail(element)
    return handle


def contents(handle: native.List) -> list[bytes]:
    return handle.range(0, len(handle) - 1)


def lpos(model: list[bytes], element: bytes, rank: int, count: int, limit: int) -> list[int]:
    places = range(len(model)) if rank > 0 else range(len(model) - 1, -1, -1)
    looked = list(places)[: limit or None]
    matches = [place for place in looked if model[place] == element][abs(rank) - 1 :]
    return matches[: count or None]


def lrem(model: list[bytes], element: bytes, count: int) -> list[bytes]:
    places = [place for place, other in enumerate(model) if other == element]
    gone = set(places[count:] if count < 0 else places[: count or None])
    return [other for place, other in enumerate(model) if place not in gone]


FEW = st.sampled_from([b"", b"a", b"7", b"-1", b"\x00\xff\r\n"])
SIZES = st.sampled_from([1, 63, 64, 127, 128, 700, 2000, 5000])
SIZED = st.builds(lambda size, fill: bytes([fill]) * size, SIZES, st.integers(0, 255))
ELEMENT = FEW | st.binary(max_size=20) | SIZED


class ListMachine(RuleBasedStateMachine):
    """Does everything to a native list and a Python list, and compares them after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.handle = native.List.standalone()
        self.model: list[bytes] = []

    @initialize(limit=st.sampled_from([1, 2, 3, 5, 16, -1, -2]))
    def choose_limit(self, limit: int) -> None:
        native.set_limits(limit)

    def index(self, data: st.DataObject) -> int:
        return data.draw(st.integers(0, len(self.model) - 1), label="index")

    @rule(elements=st.lists(ELEMENT, max_size=12), at_head=st.booleans())
    def push(self, elements: list[bytes], at_head: bool) -> None:
        for element in elements:
            if at_head:
                self.handle.push_head(element)
                self.model.insert(0, element)
            else:
                self.handle.push_tail(element)
                self.model.append(element)

    @rule(times=st.integers(1, 6), at_head=st.booleans())
    def pop(self, times: int, at_head: bool) -> None:
        for _ in range(times):
            expected = (self.model.pop(0) if at_head else self.model.pop()) if self.model else None
            assert (self.handle.pop_head() if at_head else self.handle.pop_tail()) == expected

    @precondition(lambda self: self.model)
    @rule(data=st.data(), element=ELEMENT)
    def put(self, data: st.DataObject, element: bytes) -> None:
        index = self.index(data)
        assert self.handle.put(index, element)
        self.model[index] = element

    @precondition(lambda self: self.model)
    @rule(data=st.data(), element=ELEMENT, after=st.booleans())
    def insert(self, data: st.DataObject, element: bytes, after: bool) -> None:
        pivot = self.model[self.index(data)]
        assert self.handle.insert(pivot, element, after=after)
        self.model.insert(self.model.index(pivot) + after, element)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), count=st.integers(-3, 3))
    def remove(self, data: st.DataObject, count: int) -> None:
        element = self.model[self.index(data)]
        expected = lrem(self.model, element, count)
        assert self.handle.remove(element, count) == len(self.model) - len(expected)
        self.model = expected

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def trim(self, data: st.DataObject) -> None:
        start, stop = self.index(data), self.index(data)
        self.handle.trim(start, stop)
        self.model = self.model[start : stop + 1]

    @precondition(lambda self: self.model)
    @rule(data=st.data(), rank=st.sampled_from([1, 2, 3, -1, -2]), count=st.integers(0, 3), limit=st.integers(0, 5))
    def find(self, data: st.DataObject, rank: int, count: int, limit: int) -> None:
        element = self.model[self.index(data)]
        expected = lpos(self.model, element, rank, count, limit)
        assert self.handle.find(element, rank=rank, count=count, limit=limit) == expected

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        start, stop = self.index(data), self.index(data)
        assert self.handle.range(start, stop) == self.model[start : stop + 1]
        assert self.handle.get(start) == self.model[start]
        assert self.handle.get(start - len(self.model)) == self.model[start]

    @invariant()
    def same(self) -> None:
        self.handle.validate()
        assert len(self.handle) == len(self.model)
        assert contents(self.handle) == self.model

    def teardown(self) -> None:
        native.set_limits(-2)


TestListMachine = ListMachine.TestCase
TestListMachine.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_positions_outside_are_none_or_false() -> None:
    handle = filled([b"a", b"b"])
    assert handle.get(2) is None
    assert handle.get(-3) is None
    assert not handle.put(2, b"x")
    assert not handle.put(-3, b"x")
    assert not handle.insert(b"absent", b"x", after=True)
    assert contents(handle) == [b"a", b"b"]


def test_an_empty_list_has_nothing_to_give() -> None:
    handle = native.List.standalone()
    assert handle.pop_head() is None
    assert handle.pop_tail() is None
    assert handle.find(b"") == []
    assert handle.remove(b"", 0) == 0
    handle.trim(0, -1)
    handle.validate()


def test_remove_takes_the_matches_nearest_to_the_named_end() -> None:
    for count, left in [(1, b"1x2x"), (-1, b"x1x2"), (2, b"12x"), (-2, b"x12"), (0, b"12"), (-9, b"12")]:
        handle = filled([b"x", b"1", b"x", b"2", b"x"])
        assert handle.remove(b"x", count) == 5 - len(left)
        assert b"".join(contents(handle)) == left


def test_elements_of_a_megabyte_live_beside_small_ones() -> None:
    large = b"L" * (1 << 20)
    handle = filled([b"a", large, b"b"])
    handle.push_head(large)
    handle.insert(b"b", large, after=False)
    handle.put(2, b"small again")
    handle.validate()
    assert contents(handle) == [large, b"a", b"small again", large, b"b"]
    assert handle.pop_head() == large
    assert handle.remove(large, -1) == 1
    handle.validate()
    assert contents(handle) == [b"a", b"small again", b"b"]


@pytest.mark.parametrize("size", [0, 1, 63, 64, 126, 127, 128, 129, 16383, 16384, 16385, 2097151, 2097152])
def test_sizes_around_a_length_prefix_of_one_more_byte_read_back_from_both_ends(size: int) -> None:
    element = b"e" * size
    handle = filled([b"first", element, b"last"])
    handle.validate()
    assert handle.range(0, 2) == [b"first", element, b"last"]
    assert handle.pop_tail() == b"last"
    assert handle.pop_tail() == element


@pytest.mark.parametrize(
    ("element", "entry_bytes"),
    [
        (b"0", 2), (b"127", 2), (b"128", 3), (b"-4096", 3), (b"4095", 3), (b"4096", 4), (b"32767", 4), (b"32768", 5),
        (b"8388607", 5), (b"8388608", 6), (b"2147483648", 10), (b"-9223372036854775808", 10),
        (b"9223372036854775807", 10), (b"9223372036854775808", 21),
        (b"007", 5), (b"-0", 4), (b"+1", 4), (b"-", 3), (b"", 2), (b"1.5", 5),
        (b"x" * 63, 65), (b"x" * 64, 67), (b"x" * 125, 128), (b"x" * 126, 130), (b"x" * 4095, 4099),
        (b"x" * 4096, 4103),
    ],
)  # fmt: skip
def test_a_list_becomes_a_quicklist_at_the_element_at_which_redis_converts(element: bytes, entry_bytes: int) -> None:
    # Redis asks with the plain size of the new element and then stores it in its listpack form.
    expected, size = 0, LISTPACK_FRAME_BYTES
    while size + len(element) <= 8192:
        size += entry_bytes
        expected += 1
    handle = native.List.standalone()
    while handle.encoding() == "listpack":
        handle.push_tail(element)
    assert len(handle) == expected + 1


def test_a_quicklist_of_one_block_goes_back_to_a_listpack_at_half_the_limit() -> None:
    handle = filled([b"x" * 98] * 90)  # 101 bytes each as a listpack entry
    assert handle.encoding() == "quicklist"
    while len(handle) > 41:
        handle.pop_tail()
        assert handle.encoding() == "quicklist"
    handle.pop_tail()  # 7 + 40 * 101 <= 4096
    assert handle.encoding() == "listpack"


def test_a_positive_limit_counts_elements() -> None:
    native.set_limits(4)
    handle = filled([b"x"] * 4)
    assert handle.encoding() == "listpack"
    handle.push_head(b"x")
    assert handle.encoding() == "quicklist"
    handle.trim(0, 1)
    assert handle.encoding() == "listpack"


@pytest.mark.parametrize("size", [0, -6, 1 << 31])
def test_a_limit_that_redis_refuses_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="list-max-listpack-size"):
        native.set_limits(size)


def test_a_list_of_one_short_element_takes_at_most_112_bytes() -> None:
    assert filled([b"0123456789"]).memory() <= 112


def test_a_queue_that_drains_gives_its_memory_back() -> None:
    handle = filled([b"0123456789"] * 10_000)
    assert handle.memory() < 10_000 * 13
    while len(handle) > 1:
        handle.pop_head()
    assert handle.memory() <= 256


def test_pushing_at_either_end_fills_the_blocks() -> None:
    for push in (native.List.push_head, native.List.push_tail):
        handle = native.List.standalone()
        for _ in range(20_000):
            push(handle, b"0123456789")
        handle.validate()
        assert handle.memory() < 20_000 * 12.5


def test_a_capped_list_stays_one_small_block() -> None:
    handle = native.List.standalone()
    for number in range(5_000):
        handle.push_head(b"%d" % number)
        handle.trim(0, 99)
        assert len(handle.blocks()) == 1
    handle.validate()
    assert contents(handle) == [b"%d" % number for number in range(4_999, 4_899, -1)]
    assert handle.memory() < 2_500


def test_scattered_removals_leave_no_trail_of_nearly_empty_blocks() -> None:
    elements = [b"%d" % (number % 50) for number in range(20_000)]
    handle = filled(elements)
    for number in range(49):
        handle.remove(b"%d" % number, 0)
    handle.validate()
    assert contents(handle) == [b"49"] * 400
    assert len(handle.blocks()) == 1


def test_no_block_of_several_elements_exceeds_the_budget() -> None:
    generator = random.Random(2)
    handle = filled([b"%0100d" % number for number in range(500)])
    for number in generator.sample(range(500), 450):
        handle.insert(b"%0100d" % number, b"x" * 100, after=generator.random() < 0.5)
        handle.remove(b"%0100d" % generator.randrange(500), 1)
        assert max(handle.blocks()) * 102 <= 8192
    handle.validate()


CHANGES = {
    "push_head": lambda handle: handle.push_head(b"n" * 3000),
    "push_tail": lambda handle: handle.push_tail(b"n" * 9000),
    "put": lambda handle: handle.put(40, b"n" * 3000),
    "put large": lambda handle: handle.put(40, b"n" * 9000),
    "insert": lambda handle: handle.insert(b"%060d" % 70, b"n" * 3000, after=True),
    "insert large": lambda handle: handle.insert(b"%060d" % 70, b"n" * 9000, after=False),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_without_memory_a_change_is_refused_and_nothing_is_different(change: object) -> None:
    elements = [b"%060d" % number for number in range(200)]
    refused = 0
    for allocations in range(4):
        handle = filled(elements)
        encoding, memory = handle.encoding(), handle.memory()
        allocator.fail_after(allocations)
        try:
            change(handle)
        except MemoryError:
            refused += 1
            assert (contents(handle), handle.encoding(), handle.memory()) == (elements, encoding, memory)
        finally:
            allocator.fail_after(None)
        handle.validate()
    assert refused


def test_removal_needs_no_memory() -> None:
    elements = [b"%d" % number for number in range(5_000)]
    handle = filled(elements)
    allocator.fail_after(0)
    random.Random(1).shuffle(elements)
    for element in elements:
        assert handle.remove(element, 1) == 1
    allocator.fail_after(None)
    handle.validate()
    assert len(handle) == 0
