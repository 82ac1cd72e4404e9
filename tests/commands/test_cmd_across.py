"""Commands in which several shards answer as one: dealing out the words, and merging the replies."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from mpkv.commands import generic, keyspace, strings
from mpkv.commands.spec import EVERY_SECOND_KEY
from mpkv.errors import CommandError
from mpkv.resp import replies
from mpkv.workers.keyspace import Keyspace
from tests.helpers.fake_db import SLOT_MASK, slot_of

SHARDS = 4


def shard_of(key: bytes) -> int:
    return slot_of(key) * SHARDS // (SLOT_MASK + 1)


@pytest.fixture
def shards() -> list[Any]:
    """Four shards with a thousand keys, each key on its own shard."""
    databases = [Keyspace(shard=shard, shards=SHARDS).database(0) for shard in range(SHARDS)]
    for number in range(1000):
        key = b"key:%d" % number
        databases[shard_of(key)].set_string(key, b"%d" % number)
    return databases


def parts_of(words: Sequence[bytes], *replies_: Any) -> list[tuple[Sequence[bytes], Any]]:
    return [(words, reply) for reply in replies_]


def test_mget_puts_the_values_in_the_order_of_its_keys() -> None:
    request = [b"MGET", b"a", b"b", b"a", b"c"]
    parts = [([b"MGET", b"a", b"a"], [b"1", b"1"]), ([b"MGET", b"b", b"c"], [b"2", None])]
    assert strings.across.by_key(request, parts) == [b"1", b"2", b"1", None]


def test_mset_deals_out_each_key_with_its_value() -> None:
    request = [b"MSET", b"a", b"1", b"b", b"2", b"a", b"3"]
    assert EVERY_SECOND_KEY.find(request) == [1, 3, 5]
    assert strings._pairs_part(request, [1, 5], True) == [b"MSET", b"a", b"1", b"a", b"3"]


def test_mset_with_a_key_that_has_no_value_is_refused_before_any_shard_gets_a_part() -> None:
    with pytest.raises(CommandError, match="wrong number of arguments for 'mset' command"):
        strings._pairs_part([b"MSET", b"a", b"1", b"b"], [1], True)


def test_counts_are_summed_and_lists_joined() -> None:
    assert generic.across.total([], parts_of([], 1, 0, 2)) == 3
    assert generic.across.joined([], parts_of([], [b"a"], [], [b"b"])) == [b"a", b"b"]
    assert generic.across.all_done([], parts_of([], replies.OK, replies.OK)) is replies.OK


def test_randomkey_draws_every_shard_by_its_size(shards: list[Any]) -> None:
    for database in shards[1:]:
        for key in list(database.keys())[1:]:
            database.delete(key)
    parts = [([b"_RANDOMKEY"], keyspace.draw_key(database)) for database in shards]
    drawn = Counter(shard_of(keyspace._drawn([b"RANDOMKEY"], parts)) for _ in range(2000))
    share = shards[0].size() / sum(database.size() for database in shards)
    assert abs(drawn[0] / 2000 - share) < 0.05


def test_randomkey_of_empty_shards_is_nil_and_an_empty_shard_is_never_drawn() -> None:
    empty = keyspace.draw_key(Keyspace().database(0))
    assert keyspace._drawn([], parts_of([], empty, empty)) is None
    assert {keyspace._drawn([], parts_of([], empty, (1, b"k"))) for _ in range(50)} == {b"k"}


def test_scan_goes_through_all_shards_by_the_slot_in_its_cursor(shards: list[Any]) -> None:
    cursor, seen, steps = b"0", [], 0
    while steps == 0 or cursor != b"0":
        shard = (int(cursor) & SLOT_MASK) * SHARDS // (SLOT_MASK + 1)
        cursor, keys = keyspace.scan(shards[shard], cursor, b"COUNT", b"20", b"TYPE", b"string")
        seen += keys
        steps += 1
        assert steps < 500
    assert sorted(seen) == sorted(b"key:%d" % number for number in range(1000))
    assert steps > 20
