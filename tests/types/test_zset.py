"""Native sorted sets against a dict: packed and large, with nodes and segments small enough to split all the time."""

import math
import random
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mpkv.types import allocator, table, zset, zset_tree


def default_limits() -> None:
    zset.set_limits(128, 64)
    zset_tree.set_node_limits(64, 32)
    table.set_segment_limit(3480)
    allocator.fail_after(None)


@pytest.fixture(autouse=True)
def limits_back_to_default() -> Iterator[None]:
    yield
    default_limits()


@pytest.fixture
def tiny_nodes() -> None:
    zset.set_limits(0, 0)
    zset_tree.set_node_limits(4, 4)
    table.set_segment_limit(16)


def filled(pairs: list[tuple[bytes, float]]) -> zset.ZSet:
    handle = zset.ZSet.standalone()
    for member, score in pairs:
        handle.put(member, score)
    return handle


def in_order(model: dict[bytes, float]) -> list[tuple[bytes, float]]:
    return sorted(model.items(), key=lambda pair: (pair[1], pair[0]))


def contents(handle: zset.ZSet, reverse: bool = False) -> list[tuple[bytes, float]]:
    return handle.by_rank(0, len(handle) - 1, reverse)


def scan_all(handle: zset.ZSet, count: int = 10) -> list[tuple[bytes, float]]:
    cursor, pairs = handle.scan(0, count)
    while cursor:
        cursor, more = handle.scan(cursor, count)
        pairs += more
    return pairs


MEMBER = st.binary(max_size=2) | st.integers(0, 60).map(lambda number: b"member:%d" % number) | st.just(b"m" * 200)
SCORE = (
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 127.0, 128.0, -129.0, 32768.0, 2.0**31, -(2.0**31), 0.5, 1e300])
    | st.sampled_from([math.inf, -math.inf])
    | st.integers(-5, 5).map(float)
    | st.floats(allow_nan=False)
)


class ZSetMachine(RuleBasedStateMachine):
    """Does everything to a native sorted set and a dict, and compares them after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.handle = zset.ZSet.standalone()
        self.model: dict[bytes, float] = {}

    @initialize(
        entries=st.sampled_from([0, 3, 10, 128]),
        leaf=st.sampled_from([2, 3, 8]),
        branch=st.sampled_from([4, 8]),
        segment=st.sampled_from([1, 2, 8]),
    )
    def choose_limits(self, entries: int, leaf: int, branch: int, segment: int) -> None:
        zset.set_limits(entries, 64)
        zset_tree.set_node_limits(leaf, branch)
        table.set_segment_limit(segment)

    @rule(pairs=st.lists(st.tuples(MEMBER, SCORE), min_size=1, max_size=15))
    def put(self, pairs: list[tuple[bytes, float]]) -> None:
        for member, score in pairs:
            assert self.handle.put(member, score) == (member not in self.model)
            self.model[member] = score

    @rule(member=MEMBER)
    def remove_maybe_absent(self, member: bytes) -> None:
        assert self.handle.remove(member) == (self.model.pop(member, None) is not None)

    @precondition(lambda self: self.model)
    @rule(times=st.integers(1, 10), highest=st.booleans())
    def pop(self, times: int, highest: bool) -> None:
        for _ in range(min(times, len(self.model))):
            pair = in_order(self.model)[-1 if highest else 0]
            assert self.handle.by_rank(0, 0, highest) == [pair]
            assert self.handle.remove(pair[0])
            del self.model[pair[0]]

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove_range(self, data: st.DataObject) -> None:
        start = data.draw(st.integers(0, len(self.model) - 1))
        stop = data.draw(st.integers(start, len(self.model) - 1))
        pairs = self.handle.by_rank(start, stop)
        assert pairs == in_order(self.model)[start : stop + 1]
        for member, _ in pairs:
            assert self.handle.remove(member)
            del self.model[member]

    @precondition(lambda self: self.model)
    @rule(data=st.data(), reverse=st.booleans())
    def walk(self, data: st.DataObject, reverse: bool) -> None:
        start = data.draw(st.integers(0, len(self.model) - 1))
        stop = data.draw(st.integers(0, len(self.model) - 1))
        ordered = in_order(self.model)[:: -1 if reverse else 1]
        assert self.handle.by_rank(start, stop, reverse) == ordered[start : stop + 1]

    @rule(member=MEMBER)
    def look_up(self, member: bytes) -> None:
        assert self.handle.score(member) == self.model.get(member)
        ordered = [other for other, _ in in_order(self.model)]
        assert self.handle.rank(member) == (ordered.index(member) if member in self.model else None)

    @rule(score=SCORE)
    def ranks_by_score(self, score: float) -> None:
        scores = sorted(self.model.values())
        assert self.handle.first_rank_by_score(score, False) == bisect_left(scores, score)
        assert self.handle.first_rank_by_score(score, True) == bisect_right(scores, score)
        assert self.handle.last_rank_by_score(score, False) == bisect_right(scores, score) - 1
        assert self.handle.last_rank_by_score(score, True) == bisect_left(scores, score) - 1

    @invariant()
    def same(self) -> None:
        self.handle.validate()
        assert len(self.handle) == len(self.model)
        assert contents(self.handle) == in_order(self.model)
        assert contents(self.handle, reverse=True) == in_order(self.model)[::-1]
        assert dict(scan_all(self.handle, 3)) == self.model

    def teardown(self) -> None:
        default_limits()


TestZSetMachine = ZSetMachine.TestCase
TestZSetMachine.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("entries", [0, 128])
def test_negative_zero_equals_zero_and_keeps_its_sign_while_large_as_in_redis(entries: int) -> None:
    zset.set_limits(entries, 64)
    handle = filled([(b"b", -0.0), (b"a", 0.0), (b"c", 0.0)])
    assert [member for member, _ in contents(handle)] == [b"a", b"b", b"c"]
    assert math.copysign(1, handle.score(b"b")) == (1 if entries else -1)
    assert math.copysign(1, handle.score(b"a")) == 1
    assert handle.put(b"a", -0.0) is False
    assert math.copysign(1, handle.score(b"a")) == 1  # an equal score is no change, as in Redis
    assert handle.first_rank_by_score(-0.0, False) == 0
    assert handle.last_rank_by_score(0.0, True) == -1


@pytest.mark.parametrize("entries", [0, 128])
def test_members_of_equal_score_are_ordered_by_bytes_with_the_shorter_first(entries: int) -> None:
    zset.set_limits(entries, 1 << 30)
    members = [b"", b"\x00", b"\x00\x00", b"a", b"a\x00", b"ab", b"b", b"\x80", b"\xff", b"\xff\x00", b"\xff" * 300]
    shuffled = members[:]
    random.Random(3).shuffle(shuffled)
    handle = filled([(member, 1.0) for member in shuffled])
    handle.validate()
    assert [member for member, _ in contents(handle)] == members
    for place, member in enumerate(members):
        assert handle.first_rank_by_lex(member, False) == place
        assert handle.first_rank_by_lex(member, True) == place + 1
        assert handle.last_rank_by_lex(member, False) == place
        assert handle.last_rank_by_lex(member, True) == place - 1
    assert handle.first_rank_by_lex(None, False) == 0
    assert handle.last_rank_by_lex(None, False) == len(members) - 1


def test_lex_ranks_in_a_tall_tree_match_bisection(tiny_nodes: None) -> None:
    generator = random.Random(4)
    members = sorted({generator.randbytes(generator.randrange(4)) for _ in range(800)})
    handle = filled([(member, 7.0) for member in generator.sample(members, len(members))])
    for probe in [*members, *(generator.randbytes(3) for _ in range(200))]:
        assert handle.first_rank_by_lex(probe, False) == bisect_left(members, probe)
        assert handle.last_rank_by_lex(probe, False) == bisect_right(members, probe) - 1


@pytest.mark.parametrize(
    "score",
    [0.0, 1.0, -128.0, 128.0, 32767.0, -32769.0, 2.0**31 - 1, 2.0**31, -(2.0**31), 0.1, 1e308, 5e-324, math.inf],
)
def test_every_form_of_a_packed_score_gives_back_the_same_number(score: float) -> None:
    handle = filled([(b"member", score)])
    assert handle.encoding() == "listpack"
    assert handle.score(b"member") == score
    handle.validate()


def test_the_entry_and_value_limits_are_redis() -> None:
    handle = filled([(b"%d" % number, 1.0) for number in range(128)])
    assert handle.encoding() == "listpack"
    handle.put(b"5", 2.0)
    assert handle.encoding() == "listpack"
    handle.put(b"128", 1.0)
    assert handle.encoding() == "skiplist"
    assert filled([(b"m" * 64, 1.0)]).encoding() == "listpack"
    assert filled([(b"m" * 65, 1.0)]).encoding() == "skiplist"


def test_a_large_set_stays_large() -> None:
    handle = filled([(b"m" * 65, 1.0), (b"a", 2.0)])
    assert handle.remove(b"m" * 65)
    assert handle.encoding() == "skiplist"
    handle.validate()


def test_lowering_the_limits_leaves_a_packed_set_consistent() -> None:
    handle = filled([(b"m" * 60, 1.0), (b"a", 2.0)])
    zset.set_limits(1, 8)
    assert not handle.put(b"m" * 60, 3.0)
    assert handle.encoding() == "listpack"
    assert handle.put(b"b", 0.0)
    assert handle.encoding() == "skiplist"
    handle.validate()
    assert contents(handle) == [(b"b", 0.0), (b"a", 2.0), (b"m" * 60, 3.0)]


def test_members_of_a_megabyte_are_kept() -> None:
    large = b"L" * (1 << 20)
    handle = filled([(b"a", 1.0), (large, 1.0), (large + b"x", 0.5)])
    handle.validate()
    assert contents(handle) == [(large + b"x", 0.5), (large, 1.0), (b"a", 1.0)]
    assert handle.memory() > 2 << 20
    assert handle.remove(large)
    assert handle.remove(large + b"x")
    assert handle.memory() < 8 << 10


def test_an_empty_set_has_nothing_to_give() -> None:
    handle = zset.ZSet.standalone()
    assert handle.score(b"a") is None
    assert handle.rank(b"a") is None
    assert not handle.remove(b"a")
    assert handle.last_rank_by_score(math.inf, False) == -1
    assert handle.scan(0, 10) == (0, [])
    assert handle.sample(3) == []
    handle.validate()


ORDERS: dict[str, Callable[[int], float]] = {
    "ascending": float,
    "descending": lambda number: -float(number),
    "equal": lambda number: 0.0,
    "scattered": lambda number: float(number * 7919 % 2003),
}


@pytest.mark.parametrize("score_of", ORDERS.values(), ids=ORDERS)
def test_thousands_come_and_go_in_every_order(score_of: Callable[[int], float], tiny_nodes: None) -> None:
    model = {b"%d" % number: score_of(number) for number in range(2000)}
    handle = filled(list(model.items()))
    handle.validate()
    assert contents(handle) == in_order(model)
    for number in range(0, 2000, 3):
        model[b"%d" % number] = score_of(number + 1000) + 0.5
        handle.put(b"%d" % number, score_of(number + 1000) + 0.5)
    handle.validate()
    assert contents(handle) == in_order(model)
    for number, (member, _) in enumerate(random.Random(5).sample(in_order(model), len(model))):
        assert handle.remove(member)
        if number % 100 == 0:
            handle.validate()
    handle.validate()
    assert contents(handle) == []


def test_small_changes_of_a_score_keep_the_order_exact(tiny_nodes: None) -> None:
    generator = random.Random(6)
    model = {b"%d" % number: float(number) for number in range(300)}
    handle = filled(list(model.items()))
    for _ in range(3000):
        member = b"%d" % generator.randrange(300)
        model[member] += generator.choice([-1.0, -0.25, 0.25, 1.0])
        handle.put(member, model[member])
    handle.validate()
    assert contents(handle) == in_order(model)
    for rank, (member, _) in enumerate(in_order(model)):
        assert handle.rank(member) == rank


def test_a_scan_returns_what_is_there_all_the_time_while_the_set_grows_and_shrinks(tiny_nodes: None) -> None:
    generator = random.Random(7)
    for _ in range(30):
        staying = {b"stays:%d" % number for number in range(generator.randrange(1, 200))}
        passing = [b"passes:%d" % number for number in range(generator.randrange(1, 1500))]
        handle = filled([(member, 0.0) for member in staying])
        if generator.random() < 0.5:
            for member in passing:
                handle.put(member, 1.0)
        seen, cursor, first = set(), 0, True
        while cursor or first:
            first = False
            cursor, pairs = handle.scan(cursor, generator.randrange(1, 20))
            seen |= {member for member, _ in pairs}
            for member in generator.sample(passing, len(passing) // 3):
                handle.put(member, 1.0) if generator.random() < 0.5 else handle.remove(member)
        assert staying <= seen
        handle.validate()


def test_any_scan_cursor_is_safe() -> None:
    handle = filled([(b"%d" % number, 0.0) for number in range(1000)])
    for cursor in [1, 2**48 - 1, 2**48, 2**63, 2**64 - 1, 2**64, 12345678901234]:
        following, pairs = handle.scan(cursor, 10)
        assert 0 <= following < 2**48
        assert all(handle.score(member) == score for member, score in pairs)


def test_a_scan_without_changes_returns_each_member_once_in_steps_of_about_the_count() -> None:
    handle = filled([(b"%d" % number, 0.0) for number in range(5000)])
    _, pairs = handle.scan(0, 10)
    assert 10 <= len(pairs) < 30
    assert Counter(member for member, _ in scan_all(handle)) == Counter(b"%d" % number for number in range(5000))


def test_samples_are_different_members_and_fair() -> None:
    handle = filled([(b"%d" % number, 0.0) for number in range(200)])
    picks: Counter[bytes] = Counter()
    for _ in range(2000):
        sample = handle.sample(10)
        assert len({member for member, _ in sample}) == 10
        picks.update(member for member, _ in sample)
        picks[handle.random()[0]] += 1
    expected = 22_000 / 200
    assert all(expected / 2 < picks[b"%d" % number] < expected * 2 for number in range(200))
    assert sorted(handle.sample(1000)) == sorted(contents(handle))


@pytest.mark.parametrize("members", [127, 128, 129, 4000])
@pytest.mark.parametrize(("member", "score"), [(b"new", 1.5), (b"n" * 100, 5e3), (b"%d" % 64, 7e9)])
def test_without_memory_a_change_is_refused_and_nothing_is_different(members: int, member: bytes, score: float) -> None:
    pairs = [(b"%d" % number, float(number)) for number in range(members)]
    refused = 0
    for allocations in range(500):
        handle = filled(pairs)
        before = contents(handle), handle.encoding()
        allocator.fail_after(allocations)
        try:
            handle.put(member, score)
        except MemoryError:
            refused += 1
            assert (contents(handle), handle.encoding()) == before
            allocator.fail_after(None)
            handle.validate()
            continue
        finally:
            allocator.fail_after(None)
        handle.validate()
        assert handle.score(member) == score
        break
    # there may be room already: in the block, or in a segment of the table and a leaf of the tree
    assert refused or len(member) < 100
    assert allocations < 499


def test_removal_needs_no_memory(tiny_nodes: None) -> None:
    members = [b"%d" % number for number in range(3000)]
    handle = filled([(member, float(len(member))) for member in members])
    allocator.fail_after(0)
    random.Random(8).shuffle(members)
    for member in members:
        assert handle.remove(member)
    allocator.fail_after(None)
    handle.validate()


def test_a_set_of_twenty_takes_at_most_395_bytes() -> None:
    assert filled([(b"member:%03d" % number, float(number * 50)) for number in range(20)]).memory() <= 395


def test_a_large_set_takes_at_most_88_bytes_per_member() -> None:
    count = 40_000
    generator = random.Random(9)
    for score_of in (lambda number: generator.random(), float):
        handle = filled([(b"m:%08d" % number, score_of(number)) for number in range(count)])
        assert handle.memory() / count <= 88


def test_a_set_that_empties_gives_its_memory_back() -> None:
    handle = filled([(b"m:%08d" % number, float(number)) for number in range(20_000)])
    for number in range(19_990):
        handle.remove(b"m:%08d" % number)
    handle.validate()
    assert handle.memory() < 20_000
