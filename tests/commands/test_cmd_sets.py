"""Set commands against a real redis-server, on the fake and the real keyspace; over shards; what they tell the log."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpkv.commands import sets
from tests.commands.cases_sets import CASES
from tests.commands.command_doors import KEYSPACES, answer_across, random_requests, replies_agree
from tests.helpers.doors import HandlerDoor
from tests.helpers.fake_db import FakeKeyspace
from tests.helpers.reference import Connection

RANDOM = (
    "SADD {key} {name}", "SADD {key} {name} {number} {name}", "SREM {key} {name} {number}", "SMOVE {key} {key} {name}",
    "SCARD {key}",
    "SISMEMBER {key} {name}", "SMISMEMBER {key} {name} {number}", "SMEMBERS {key}", "SINTER {key} {key}",
    "SUNION {key} {key}",
    "SDIFF {key} {key}", "SDIFF {key} {key} {key}", "SINTERCARD 2 {key} {key}", "SINTERSTORE {key} {key} {key}",
    "SUNIONSTORE {key} {key} {key}",
    "SDIFFSTORE {key} {key} {key}", "SSCAN {key} 0", "DEL {key}", "SET {key} {number}",
)  # fmt: skip

MEMBERS = st.sets(st.sampled_from([b"%d" % n for n in range(12)]))


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("keyspace", KEYSPACES)
@pytest.mark.parametrize("name", CASES)
def test_set_commands_reply_as_redis_does(name: str, keyspace: str, protocol: int, reference: Connection) -> None:
    replies_agree(CASES[name], keyspace, protocol, reference)


@pytest.mark.parametrize("keyspace", KEYSPACES)
@pytest.mark.parametrize("seed", range(5))
def test_random_set_commands_reply_as_redis_does(seed: int, keyspace: str, reference: Connection) -> None:
    replies_agree(random_requests(RANDOM, seed), keyspace, 3, reference)


@pytest.mark.parametrize("keyspace", KEYSPACES)
def test_pops_are_logged_as_removals_of_what_they_took(keyspace: str) -> None:
    door = HandlerDoor(KEYSPACES[keyspace]())
    members = {b"a", b"b", b"c", b"d"}
    door.call([b"SADD", b"k", *members])
    door.call([b"SPOP", b"k"])
    door.call([b"SPOP", b"k", b"2"])
    door.call([b"SPOP", b"k", b"0"])
    door.call([b"SPOP", b"k", b"9"])
    _, one, two, rest = (words for _, words in door.log)
    assert (one[:2], len(one)) == ([b"SREM", b"k"], 3)
    assert (two[:2], len(two)) == ([b"SREM", b"k"], 4)
    assert rest == [b"DEL", b"k"]
    assert {*one[2:], *two[2:]} < members and len({*one[2:], *two[2:]}) == 3


@pytest.mark.parametrize("keyspace", KEYSPACES)
def test_every_member_is_popped_exactly_once(keyspace: str) -> None:
    db = KEYSPACES[keyspace]().database(0)
    members = [b"member:%d" % n for n in range(1000)]
    sets.sadd(db, b"k", *members)
    popped = [*sets.spop(db, b"k", b"300"), *(sets.spop(db, b"k") for _ in range(100)), *sets.spop(db, b"k", b"600")]
    assert sorted(popped) == sorted(members)
    assert not db.exists(b"k")


@given(
    st.lists(MEMBERS, min_size=1, max_size=5), st.integers(1, 4), st.integers(0, 5), st.randoms(use_true_random=False)
)
def test_shards_together_answer_as_one(
    contents: list[set[bytes]], shards: int, limit: int, chance: random.Random
) -> None:
    keys = [b"k%d" % n for n in range(len(contents))]
    fill = [[b"SADD", key, *content] for key, content in zip(keys, contents, strict=True) if content]
    for request in (
        [b"SINTER", *keys], [b"SUNION", *keys], [b"sdiff", *keys], [b"SINTERCARD", b"%d" % len(keys), *keys, b"LIMIT",
        b"%d" % limit],
    ):  # fmt: skip
        whole, joined = answer_across(request, fill, shards, chance)
        assert joined == whole


def test_a_fault_in_a_request_over_shards_is_the_reply() -> None:
    whole, joined = answer_across([b"SINTERCARD", b"2", b"a", b"b", b"FOO", b"1"], [], 2, random.Random(1))
    assert joined == whole == b"-ERR syntax error\r\n"


def test_an_intersection_only_walks_the_smallest_set() -> None:
    db = FakeKeyspace().database(0)
    sets.sadd(db, b"large", *(b"%d" % n for n in range(1000)))
    sets.sadd(db, b"small", b"5", b"x")
    large = db.set_for_read(b"large")
    large.members = lambda: pytest.fail("the large set was walked")
    assert sets.sinter(db, b"large", b"small") == [b"5"]
    assert sets.sdiff(db, b"small", b"large") == [b"x"]
