"""Native sets against Python's, with limits and fault injection that reach every representation and every failure."""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mpkv.types import allocator, table
from mpkv.types import set as native

DEFAULT_LIMITS = (512, 128, 64)
LARGE = 1 << 20
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
EDGES = [
    edge + step
    for edge in (-(2**63), -(2**31), -(2**15), 0, 2**15, 2**31, 2**63)
    for step in (-1, 0, 1)
]  # fmt: skip


@pytest.fixture(autouse=True)
def defaults() -> Iterator[None]:
    yield
    native.set_limits(*DEFAULT_LIMITS)
    allocator.fail_after(None)
    table.keep_still(False)


def filled(members: Iterable[bytes], limits: tuple[int, int, int] = DEFAULT_LIMITS) -> native.Set:
    native.set_limits(*limits)
    handle = native.Set.standalone()
    for member in members:
        assert handle.add(member)
    handle.validate()
    return handle


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def words(count: int) -> list[bytes]:
    return [b"member:%d" % number for number in range(count)]


def scan_all(handle: native.Set, count: int = 10) -> list[bytes]:
    cursor, found = handle.scan(0, count)
    while cursor:
        cursor, more = handle.scan(cursor, count)
        found += more
    return found


def is_integer(text: bytes) -> bool:
    """Whether an intset can hold it: the canonical text of 64 bits signed."""
    if not text.removeprefix(b"-").isdigit():
        return False
    return b"%d" % int(text) == text and INT64_MIN <= int(text) <= INT64_MAX


def is_fair(counts: Counter[bytes], categories: int) -> bool:
    """Chi-square within eight standard deviations of what chance gives."""
    expected = counts.total() / categories
    square = sum((seen - expected) ** 2 for seen in counts.values()) / expected + (categories - len(counts)) * expected
    return square < categories - 1 + 8 * math.sqrt(2 * (categories - 1))


# Against a set

INTEGERS = st.one_of(st.integers(-20, 60), st.sampled_from(EDGES), st.integers(INT64_MIN, INT64_MAX))
MEMBERS = st.one_of(
    INTEGERS.map(lambda number: b"%d" % number),
    st.sampled_from(
        [b"", b"\0", b"-", b"-0", b"00", b"01", b"+1", b" 1", b"1 ", b"1.0", b"x" * 8, b"y" * 9, b"z" * 600]
    ),
    st.binary(max_size=10),
)


class SetMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.handle = native.Set.standalone()
        self.model: set[bytes] = set()
        self.encoding = "intset"

    @initialize(intset=st.integers(0, 12), listpack=st.integers(0, 12), value=st.sampled_from([0, 3, 8, 1000]))
    def choose_limits(self, intset: int, listpack: int, value: int) -> None:
        self.intset, self.listpack, self.value = intset, listpack, value
        native.set_limits(intset, listpack, value)

    def note(self, member: bytes) -> None:
        """Redis 7.2's rules, said once more."""
        if member in self.model:
            return
        longest = max(len(text) for text in self.model | {member})
        fits_listpack = len(self.model) < self.listpack and longest <= self.value
        if self.encoding == "intset":
            if is_integer(member) and len(self.model) >= self.intset and self.model:
                self.encoding = "hashtable"
            elif not is_integer(member) or len(self.model) >= self.intset:
                self.encoding = "listpack" if fits_listpack else "hashtable"
        elif self.encoding == "listpack" and not fits_listpack:
            self.encoding = "hashtable"
        self.model.add(member)

    @rule(member=MEMBERS)
    def add(self, member: bytes) -> None:
        assert self.handle.add(member) == (member not in self.model)
        self.note(member)

    @rule(number=INTEGERS)
    def add_integer(self, number: int) -> None:
        self.add(b"%d" % number)

    @rule(member=MEMBERS, allocations=st.integers(0, 5))
    def add_while_memory_ends(self, member: bytes, allocations: int) -> None:
        allocator.fail_after(allocations)
        try:
            self.handle.add(member)
        except MemoryError:
            self.encoding = self.handle.encoding()  # it may have changed before the last allocation
        else:
            self.note(member)
        finally:
            allocator.fail_after(None)

    @rule(first=st.integers(-100, 1000), count=st.integers(1, 60))
    def add_many(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            self.add(b"%d" % number)

    @rule(member=MEMBERS)
    def remove(self, member: bytes) -> None:
        assert self.handle.remove(member) == (member in self.model)
        self.model.discard(member)

    @rule(share=st.floats(0, 1), seed=st.integers())
    def remove_many_without_memory(self, share: float, seed: int) -> None:
        allocator.fail_after(0)
        for member in random.Random(seed).sample(sorted(self.model), int(share * len(self.model))):
            self.remove(member)
        allocator.fail_after(None)

    @rule(member=MEMBERS)
    def contains(self, member: bytes) -> None:
        assert self.handle.contains(member) == (member in self.model)

    @rule()
    def pop(self) -> None:
        # No precondition: which member goes is chance, and what may come next must not hang on it
        if self.model:
            self.model.remove(self.handle.pop())

    @rule(count=st.integers(0, 80))
    def sample(self, count: int) -> None:
        found = self.handle.sample(count)
        assert len(found) == len(set(found)) == min(count, len(self.model))
        assert set(found) <= self.model

    @rule(count=st.integers(1, 30))
    def scan(self, count: int) -> None:
        found = scan_all(self.handle, count)
        assert len(found) == len(self.model) and set(found) == self.model

    @rule(cursor=st.integers(-(2**65), 2**65), count=st.integers(0, 2**70))
    def scan_from_anywhere(self, cursor: int, count: int) -> None:
        following, found = self.handle.scan(cursor, count)
        assert 0 <= following < 2**63
        assert set(found) <= self.model

    @invariant()
    def it_is_what_the_model_is(self) -> None:
        self.handle.validate()
        members = self.handle.members()
        assert len(members) == len(self.handle) == len(self.model)
        assert set(members) == self.model

    @invariant()
    def its_encoding_is_that_of_redis(self) -> None:
        assert self.handle.encoding() == self.encoding


SetMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
test_any_sequence_of_operations_agrees_with_a_set = SetMachine.TestCase


# Encodings


def test_an_empty_set_is_an_intset_until_something_else_comes() -> None:
    handle = filled([])
    assert handle.encoding() == "intset"
    handle.add(b"text")
    assert handle.encoding() == "listpack"


@pytest.mark.parametrize(
    ("members", "encoding"),
    [
        (numbers(512), "intset"),
        (numbers(513), "hashtable"),
        ([*numbers(127), b"text"], "listpack"),
        ([*numbers(128), b"text"], "hashtable"),
        ([*numbers(3), b"x" * 64], "listpack"),
        ([*numbers(3), b"x" * 65], "hashtable"),
        (words(128), "listpack"),
        (words(129), "hashtable"),
        ([b"text", *numbers(127)], "listpack"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} members",
)
def test_the_encoding_follows_the_limits(members: list[bytes], encoding: str) -> None:
    handle = filled(members)
    assert handle.encoding() == encoding
    assert set(handle.members()) == set(members)


def test_integers_beyond_the_limit_make_a_hashtable_even_if_a_listpack_could_hold_them() -> None:
    assert filled(numbers(4), (3, 128, 64)).encoding() == "hashtable"


@pytest.mark.parametrize("number", [b"1000", b"-100"])
def test_an_intset_with_a_number_too_long_for_a_listpack_becomes_a_hashtable(number: bytes) -> None:
    assert filled([b"1", number, b"x"], (10, 10, 3)).encoding() == "hashtable"
    assert filled([b"1", number, b"x"], (10, 10, 4)).encoding() == "listpack"


def test_a_full_intset_stays_one_when_a_member_comes_again() -> None:
    handle = filled(numbers(512))
    assert not handle.add(b"7")
    assert handle.encoding() == "intset"


def test_no_encoding_goes_back() -> None:
    handle = filled([*numbers(20), b"text"])
    handle.remove(b"text")
    assert handle.encoding() == "listpack"
    handle = filled(words(200))
    for member in words(199):
        handle.remove(member)
    assert handle.encoding() == "hashtable"
    assert handle.members() == [b"member:199"]


# Integers


@given(st.one_of(st.integers(-(2**70), 2**70), st.sampled_from(EDGES)))
def test_exactly_the_integers_of_64_bits_stay_in_an_intset(number: int) -> None:
    handle = native.Set.standalone()
    text = b"%d" % number
    handle.add(text)
    assert (handle.encoding() == "intset") == (INT64_MIN <= number <= INT64_MAX)
    assert handle.members() == [text]


@given(st.text("0123456789-+ ", max_size=22).map(str.encode))
def test_only_the_canonical_text_of_an_integer_is_one(text: bytes) -> None:
    handle = native.Set.standalone()
    handle.add(text)
    assert (handle.encoding() == "intset") == is_integer(text)
    assert handle.members() == [text] and handle.contains(text)


def test_an_intset_is_walked_in_ascending_order() -> None:
    handle = filled([b"%d" % number for number in (5, -3, 2**40, 70000, -(2**63), 0)])
    assert handle.members() == [b"%d" % number for number in (-(2**63), -3, 0, 5, 70000, 2**40)]


@pytest.mark.parametrize(("largest", "width"), [(2**15 - 1, 2), (2**31 - 1, 4), (2**63 - 1, 8)])
def test_an_intset_takes_as_many_bytes_per_number_as_its_widest_needs(largest: int, width: int) -> None:
    handle = filled(b"%d" % (largest - number) for number in range(500))
    assert handle.encoding() == "intset"
    assert 500 * width < handle.memory() < 500 * width * 1.08 + 80


# Bytes and memory


def test_members_are_any_bytes() -> None:
    members = [b"", b"\0", b"\0\0", b"a\0", b"a\0b", bytes(range(256)), b"\xff" * 127, b"\xff" * 128, b"x" * LARGE]
    for limits in (DEFAULT_LIMITS, (0, 100, 2 * LARGE), (0, 0, 0)):
        handle = filled(members, limits)
        assert sorted(handle.members()) == sorted(members)
        assert all(handle.contains(member) for member in members)
        assert not handle.contains(b"\0\0\0")


def test_a_million_members_take_at_most_30_bytes_each_their_own_included() -> None:
    handle = native.Set.standalone()
    for number in range(1_000_000):
        handle.add(b"m%06d" % number)
    assert handle.memory() / 1_000_000 <= 30
    while len(handle) > 100:
        handle.pop()
    handle.validate()
    assert handle.memory() < 50_000


# Scan


@pytest.mark.parametrize("count", [1, 7, 100])
def test_scan_returns_what_stays_however_the_set_grows_and_shrinks(count: int) -> None:
    generator = random.Random(count)
    staying, passing = words(300), numbers(4000)
    handle = filled(staying)
    seen: Counter[bytes] = Counter()
    cursor, found = handle.scan(0, count)
    while True:
        seen.update(found)
        if not cursor:
            break
        if generator.random() < 0.3:
            change = generator.choice([handle.add, handle.remove])
            for member in passing:
                change(member)
            handle.validate()
        cursor, found = handle.scan(cursor, count)
    assert all(seen[member] == 1 for member in staying)


@pytest.mark.parametrize("members", [numbers(100), words(100)], ids=["intset", "listpack"])
def test_scan_of_what_is_small_is_one_step_whatever_the_cursor(members: list[bytes]) -> None:
    handle = filled(members)
    for cursor in (0, 1, 17, 2**64):
        assert handle.scan(cursor, 1) == (0, handle.members())


# Fair picks

SHAPES = pytest.mark.parametrize(
    ("members", "limits"),
    [(numbers(60), DEFAULT_LIMITS), (words(60), DEFAULT_LIMITS), (words(60), (0, 0, 0))],
    ids=["intset", "listpack", "hashtable"],
)


@SHAPES
def test_every_member_is_picked_with_the_same_probability(members: list[bytes], limits: tuple[int, int, int]) -> None:
    handle = filled(members, limits)
    assert is_fair(Counter(handle.random() for _ in range(30_000)), 60)


@SHAPES
@pytest.mark.parametrize("count", [3, 19, 21, 55])
def test_every_member_is_sampled_with_the_same_probability(
    members: list[bytes], limits: tuple[int, int, int], count: int
) -> None:
    handle = filled(members, limits)
    assert is_fair(Counter(member for _ in range(30_000 // count) for member in handle.sample(count)), 60)


@SHAPES
def test_every_member_is_popped_with_the_same_probability(members: list[bytes], limits: tuple[int, int, int]) -> None:
    handle = filled(members, limits)

    def pop_and_put_back() -> bytes:
        member = handle.pop()
        assert not handle.contains(member)
        handle.add(member)
        return member

    assert is_fair(Counter(pop_and_put_back() for _ in range(30_000)), 60)


@pytest.mark.parametrize("pick", [lambda items: items[0], lambda items: min(random.sample(items, 2))])
def test_the_check_of_fairness_sees_an_unfair_pick(pick: Callable[[list[bytes]], bytes]) -> None:
    assert not is_fair(Counter(pick(words(60)) for _ in range(30_000)), 60)
