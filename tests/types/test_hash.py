"""Native hashes against a dict, with limits and fault injection that reach every representation and every failure."""

import math
import random
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mpkv.types import allocator, table
from mpkv.types import hash as native
from mpkv.types.siphash import hash_of

DEFAULT_LIMITS = (512, 64)
LARGE = 1 << 20
TAG_SHIFT = 32


@pytest.fixture(autouse=True)
def defaults() -> Iterator[None]:
    yield
    native.set_limits(*DEFAULT_LIMITS)
    allocator.fail_after(None)
    table.keep_still(False)
    table.set_segment_limit(3480)


def filled(items: dict[bytes, bytes], limits: tuple[int, int] = DEFAULT_LIMITS) -> native.Hash:
    native.set_limits(*limits)
    handle = native.Hash.standalone()
    for field, value in items.items():
        assert handle.put(field, value)
    handle.validate()
    return handle


def numbered(count: int, value: bytes = b"v") -> dict[bytes, bytes]:
    return {b"field:%d" % number: value for number in range(count)}


def scan_all(handle: native.Hash, count: int = 10) -> list[tuple[bytes, bytes]]:
    cursor, found = handle.scan(0, count)
    while cursor:
        cursor, more = handle.scan(cursor, count)
        found += more
    return found


def chi_square(counts: Counter[bytes], categories: int) -> float:
    expected = counts.total() / categories
    return sum((seen - expected) ** 2 for seen in counts.values()) / expected + (categories - len(counts)) * expected


def is_fair(counts: Counter[bytes], categories: int) -> bool:
    """Within eight standard deviations of what chance gives: one false alarm in hundreds of millions of runs."""
    degrees = categories - 1
    return chi_square(counts, categories) < degrees + 8 * math.sqrt(2 * degrees)


# Against a dict

FIELDS = st.one_of(
    st.sampled_from([b"", b"\0", b"a", b"b", b"\0a", b"ab", b"a\0b", b"x" * 8, b"y" * 9]),
    st.integers(0, 40).map(lambda number: b"%d" % number),
    st.binary(max_size=12),
)
VALUES = st.one_of(
    st.sampled_from([b"", b"\0", b"v" * 8, b"v" * 9, b"v" * 127, b"v" * 128, b"v" * 500, b"v" * 600, b"v" * 5000]),
    st.binary(max_size=9),
)


class HashMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.handle = native.Hash.standalone()
        self.model: dict[bytes, bytes] = {}
        self.converted = False

    @initialize(entries=st.integers(0, 12), value=st.sampled_from([0, 8, 128]))
    def choose_limits(self, entries: int, value: int) -> None:
        self.entries, self.value = entries, value
        native.set_limits(entries, value)

    def note(self, field: bytes, value: bytes) -> None:
        self.model[field] = value
        self.converted |= len(self.model) > self.entries or max(len(field), len(value)) > self.value

    @rule(field=FIELDS, value=VALUES)
    def put(self, field: bytes, value: bytes) -> None:
        assert self.handle.put(field, value) == (field not in self.model)
        self.note(field, value)

    @rule(field=FIELDS, value=VALUES, allocations=st.integers(0, 4))
    def put_while_memory_ends(self, field: bytes, value: bytes, allocations: int) -> None:
        allocator.fail_after(allocations)
        try:
            self.handle.put(field, value)
        except MemoryError:
            self.converted = self.handle.encoding() == "hashtable"  # it may have changed before the last allocation
        else:
            self.note(field, value)
        finally:
            allocator.fail_after(None)

    @rule(first=st.integers(0, 1000), count=st.integers(1, 60), value=VALUES)
    def put_many(self, first: int, count: int, value: bytes) -> None:
        for number in range(first, first + count):
            self.put(b"%d" % number, value)

    @rule(field=FIELDS)
    def delete(self, field: bytes) -> None:
        assert self.handle.delete(field) == (self.model.pop(field, None) is not None)

    @rule(share=st.floats(0, 1), seed=st.integers(), frugal=st.booleans())
    def delete_many(self, share: float, seed: int, frugal: bool) -> None:
        if frugal:
            allocator.fail_after(0)  # deleting must not need memory
        for field in random.Random(seed).sample(sorted(self.model), int(share * len(self.model))):
            self.delete(field)
        allocator.fail_after(None)

    @rule(field=FIELDS)
    def get(self, field: bytes) -> None:
        assert self.handle.get(field) == self.model.get(field)

    @precondition(lambda self: self.model)
    @rule()
    def pick(self) -> None:
        field, value = self.handle.random()
        assert self.model[field] == value

    @rule(count=st.integers(0, 80))
    def sample(self, count: int) -> None:
        found = self.handle.sample(count)
        assert len(found) == len(dict(found)) == min(count, len(self.model))
        assert dict(found).items() <= self.model.items()

    @rule(count=st.integers(1, 30))
    def scan(self, count: int) -> None:
        found = scan_all(self.handle, count)
        assert len(found) == len(self.model) and dict(found) == self.model

    @rule(cursor=st.integers(-(2**65), 2**65), count=st.integers(0, 2**70))
    def scan_from_anywhere(self, cursor: int, count: int) -> None:
        following, found = self.handle.scan(cursor, count)
        assert 0 <= following < 2**63
        assert dict(found).items() <= self.model.items()

    @invariant()
    def it_is_what_the_model_is(self) -> None:
        self.handle.validate()
        items = self.handle.items()
        assert len(items) == len(self.handle) == len(self.model)
        assert dict(items) == self.model
        assert [field for field, _ in items] == self.handle.fields()
        assert [value for _, value in items] == self.handle.values()

    @invariant()
    def its_encoding_is_that_of_redis(self) -> None:
        assert self.handle.encoding() == ("hashtable" if self.converted else "listpack")


HashMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
test_any_sequence_of_operations_agrees_with_a_dict = HashMachine.TestCase


def test_a_table_under_a_long_random_load_keeps_its_invariants() -> None:
    generator = random.Random(7)
    handle = filled({}, (0, 0))
    model: dict[bytes, bytes] = {}
    sizes = [0, 5, 16, 40, 90, 300, 511, 700]
    for step in range(60_000):
        growing = step // 10_000 % 2 == 0
        field = b"%d" % generator.randrange(8000)
        if generator.random() < (0.8 if growing else 0.1):
            value = bytes(generator.choice(sizes) if step % 3 else sizes[step // 10_000])
            assert handle.put(field, value) == (field not in model)
            model[field] = value
        else:
            assert handle.delete(field) == (model.pop(field, None) is not None)
        if step % 1000 == 0:
            handle.validate()
            assert dict(handle.items()) == model
    handle.validate()
    assert dict(handle.items()) == model


# Representation


def test_the_513th_field_makes_a_hashtable() -> None:
    handle = filled(numbered(512))
    assert handle.encoding() == "listpack"
    handle.put(b"field:0", b"again")
    assert handle.encoding() == "listpack"
    handle.put(b"one more", b"v")
    assert handle.encoding() == "hashtable"
    handle.validate()


@pytest.mark.parametrize(("field", "value"), [(b"f" * 65, b"v"), (b"f", b"v" * 65)])
def test_a_field_or_value_of_65_bytes_makes_a_hashtable_for_good(field: bytes, value: bytes) -> None:
    handle = filled({b"f" * 64: b"v" * 64})
    assert handle.encoding() == "listpack"
    handle.put(field, value)
    assert handle.encoding() == "hashtable"
    handle.delete(field)
    assert handle.encoding() == "hashtable"
    assert handle.items() == [(b"f" * 64, b"v" * 64)]


def test_a_replaced_value_that_is_too_long_makes_a_hashtable() -> None:
    handle = filled({b"a": b"1", b"b": b"2"})
    assert not handle.put(b"a", b"v" * 65)
    assert handle.encoding() == "hashtable"
    assert dict(handle.items()) == {b"a": b"v" * 65, b"b": b"2"}


def test_large_fields_and_values_come_back_whole() -> None:
    items = {bytes([number]) * LARGE: bytes([255 - number]) * (LARGE + number) for number in range(4)}
    handle = filled(items)
    assert dict(handle.items()) == items
    assert handle.memory() > 8 * LARGE
    assert not handle.put(b"\0" * LARGE, b"short")
    handle.validate()
    for field in items:
        assert handle.delete(field)
    handle.validate()
    assert handle.memory() < LARGE


def test_a_value_that_grows_byte_by_byte_past_every_size_of_memory_stays_whole() -> None:
    handle = filled({b"f": b"", b"neighbour": b"n" * 700}, (0, 0))
    for size in range(1, 700):
        handle.put(b"f", b"v" * size)
        handle.validate()
        assert handle.get(b"f") == b"v" * size
    assert handle.get(b"neighbour") == b"n" * 700


def test_ten_small_fields_take_little_more_than_their_bytes() -> None:
    handle = filled({b"field%02d" % number: b"v" * 16 for number in range(10)})
    assert handle.memory() <= 304  # 230 bytes of data, 20 sizes, two mallocs


def test_a_million_fields_take_at_most_57_bytes_each_and_give_them_back() -> None:
    fields = [b"f%06d" % number for number in range(1_000_000)]
    handle = native.Hash.standalone()
    for field in fields:
        handle.put(field, b"sixteen bytes ..")
    assert handle.memory() / len(fields) <= 57
    for field in fields[1000:]:
        handle.delete(field)
    handle.validate()
    assert handle.memory() < 200_000


def test_a_new_size_of_all_values_does_not_leave_the_old_places_behind() -> None:
    handle = filled(numbered(50_000, b"v" * 16))
    for round_ in range(6):
        for field in numbered(50_000):
            handle.put(field, b"w" * (24 + 8 * round_))
    handle.validate()
    assert handle.memory() < 50_000 * (88 + 22) * 1.6


def test_nothing_is_moved_while_it_must_keep_still() -> None:
    handle = filled(numbered(20_000))
    before = handle.memory()
    table.keep_still(True)
    for number in range(19_900):
        handle.delete(b"field:%d" % number)
    assert handle.memory() > 20_000 * 8  # the elements have gone, the words of the table are where they were
    handle.validate()
    table.keep_still(False)
    for number in range(19_900, 19_990):
        handle.delete(b"field:%d" % number)
    assert handle.memory() < before / 50
    handle.validate()


# Crafted fields


def test_fields_whose_homes_are_the_last_ones_go_into_the_tail() -> None:
    last = [field for field in (b"%d" % number for number in range(60_000)) if hash_of(field) >> 56 == 0xFF]
    assert len(last) > 150
    handle = filled(dict.fromkeys(last, b"v"), (0, 0))
    assert sorted(scan_all(handle)) == sorted(handle.items())
    for field in last:
        assert handle.get(field) == b"v"
        assert handle.delete(field)
        handle.validate()
    assert len(handle) == 0


def test_fields_with_the_same_tag_are_different_fields_and_one_step_of_scan() -> None:
    by_tag: dict[int, bytes] = {}
    twins = []
    for number in range(700_000):
        field = b"%d" % number
        other = by_tag.setdefault(hash_of(field) >> TAG_SHIFT, field)
        if other is not field:
            twins.append((other, field))
    assert twins, "chance should give some fifty"
    handle = filled({field: field for pair in twins for field in pair}, (0, 0))
    assert all(handle.get(field) == field for pair in twins for field in pair)
    cursor, found = handle.scan(0, 1)
    while True:
        assert sum(pair[0] in dict(found) for pair in twins) == sum(pair[1] in dict(found) for pair in twins)
        if not cursor:
            break
        cursor, found = handle.scan(cursor, 1)
    first, second = twins[0]
    assert handle.delete(first)
    assert handle.get(first) is None and handle.get(second) == second
    handle.validate()


# Scan


@pytest.mark.parametrize("count", [1, 7, 100])
@pytest.mark.parametrize("seed", range(4))
def test_scan_returns_what_stays_however_the_table_grows_and_shrinks(count: int, seed: int) -> None:
    generator = random.Random(seed)
    staying = {b"stay:%d" % number for number in range(300)}
    handle = filled(dict.fromkeys(staying, b""), (0, 0))
    passing = [b"pass:%d" % number for number in range(4000)]
    seen: Counter[bytes] = Counter()
    cursor, sizes = 0, set()
    while True:
        cursor, found = handle.scan(cursor, count)
        seen.update(field for field, _ in found)
        if not cursor:
            break
        if generator.random() < 0.3:
            growing = generator.random() < 0.5
            for field in passing:
                handle.put(field, b"") if growing else handle.delete(field)
            handle.validate()
        sizes.add(handle.memory() >> 14)
    assert staying <= seen.keys()
    assert all(seen[field] == 1 for field in staying)
    assert count == 100 or len(sizes) > 1, "the table should have changed its size on the way"


def test_scan_of_a_listpack_is_one_step_whatever_the_cursor() -> None:
    handle = filled(numbered(100))
    for cursor in (0, 1, 17, 2**64):
        assert handle.scan(cursor, 1) == (0, handle.items())


def test_a_step_of_scan_returns_about_as_many_as_asked() -> None:
    handle = filled(numbered(5000))
    cursor, found = handle.scan(0, 10)
    assert cursor and 1 <= len(found) <= 12


def test_a_step_of_scan_over_an_emptied_table_is_bounded() -> None:
    table.set_segment_limit(64)
    handle = filled(numbered(5000))
    table.keep_still(True)
    for number in range(4999):
        handle.delete(b"field:%d" % number)
    steps, cursor = 1, handle.scan(0, 10)[0]
    while cursor:
        cursor, steps = handle.scan(cursor, 10)[0], steps + 1
    assert steps > 1


# Fair picks


@pytest.mark.parametrize("limits", [DEFAULT_LIMITS, (0, 0)], ids=["listpack", "hashtable"])
def test_every_field_is_picked_with_the_same_probability(limits: tuple[int, int]) -> None:
    handle = filled(numbered(60), limits)
    assert is_fair(Counter(handle.random()[0] for _ in range(30_000)), 60)


@pytest.mark.parametrize("count", [3, 19, 21, 55])
@pytest.mark.parametrize("limits", [DEFAULT_LIMITS, (0, 0)], ids=["listpack", "hashtable"])
def test_every_field_is_sampled_with_the_same_probability(limits: tuple[int, int], count: int) -> None:
    handle = filled(numbered(60), limits)
    assert is_fair(Counter(field for _ in range(30_000 // count) for field, _ in handle.sample(count)), 60)


def test_the_check_of_fairness_sees_a_pick_of_the_next_field_after_a_random_slot() -> None:
    generator = random.Random(1)
    places = sorted(generator.sample(range(128), 60))
    slots = (generator.randrange(128) for _ in range(30_000))
    picks = (next((place for place in places if place >= slot), places[0]) for slot in slots)
    assert not is_fair(Counter(b"%d" % place for place in picks), 60)
