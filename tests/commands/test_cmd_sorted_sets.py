"""Sorted set commands against a real redis-server, on both keyspaces; over shards; waiting; what they tell the log."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpkv.commands import sorted_set_pops, sorted_sets
from mpkv.resp.replies import NULL_ARRAY, Blocked
from tests.commands.cases_sorted_sets import CASES
from tests.commands.command_doors import KEYSPACES, answer_across, random_requests, replies_agree
from tests.helpers.doors import HandlerDoor
from tests.helpers.fake_db import FakeDb, FakeKeyspace
from tests.helpers.reference import Connection

RANDOM = (
    "ZADD {key} {number} {name}", "ZADD {key} {number} {name} {number} {name}", "ZADD {key} NX {number} {name}",
    "ZADD {key} XX CH {number} {name}",
    "ZADD {key} GT CH {number} {name}", "ZADD {key} LT {number} {name}", "ZADD {key} INCR {number} {name}",
    "ZADD {key} XX INCR {number} {name}",
    "ZINCRBY {key} {number} {name}", "ZREM {key} {name} {name}", "ZCARD {key}", "ZSCORE {key} {name}",
    "ZMSCORE {key} {name} {name}",
    "ZRANK {key} {name}", "ZREVRANK {key} {name}", "ZRANGE {key} 0 -1 WITHSCORES", "ZRANGE {key} -2 3 REV",
    "ZCOUNT {key} {number} {number}",
    "ZRANGE {key} {number} {number} BYSCORE WITHSCORES LIMIT 1 2", "ZREVRANGEBYSCORE {key} {number} {number}",
    "ZPOPMIN {key}", "ZPOPMAX {key} 2",
    "ZMPOP 2 {key} {key} MAX COUNT 2", "ZREMRANGEBYRANK {key} 1 2", "ZREMRANGEBYSCORE {key} {number} {number}",
    "ZUNION 2 {key} {key} WITHSCORES",
    "ZUNION 2 {key} {key} WEIGHTS {number} {number} WITHSCORES", "ZINTER 2 {key} {key} AGGREGATE MAX WITHSCORES",
    "ZDIFF 2 {key} {key} WITHSCORES",
    "ZINTERCARD 2 {key} {key} LIMIT 2", "ZUNIONSTORE {key} 2 {key} {key}",
    "ZINTERSTORE {key} 2 {key} {key} WEIGHTS 2 {number}",
    "ZDIFFSTORE {key} 2 {key} {key}", "ZRANGESTORE {key} {key} 1 3", "ZSCAN {key} 0", "DEL {key}", "SADD {key} {name}",
    "BZPOPMIN {key} {key} 0.001",
)  # fmt: skip

#: Without 0, whose sign would depend on the order of the sets.
SCORES = st.sampled_from([-2.0, -0.5, 1.0, 1.5, 3.0])
CONTENT = st.dictionaries(st.sampled_from([b"%d" % n for n in range(8)]), SCORES)


@pytest.fixture(params=KEYSPACES)
def db(request: pytest.FixtureRequest) -> FakeDb:
    return KEYSPACES[request.param]().database(0)  # type: ignore[no-any-return]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("keyspace", KEYSPACES)
@pytest.mark.parametrize("name", CASES)
def test_sorted_set_commands_reply_as_redis_does(
    name: str, keyspace: str, protocol: int, reference: Connection
) -> None:
    replies_agree(CASES[name], keyspace, protocol, reference)


@pytest.mark.parametrize("keyspace", KEYSPACES)
@pytest.mark.parametrize("seed", range(8))
def test_random_sorted_set_commands_reply_as_redis_does(seed: int, keyspace: str, reference: Connection) -> None:
    replies_agree(random_requests(RANDOM, seed), keyspace, 3, reference)


def test_a_rank_comes_with_its_score_if_asked() -> None:
    """Redis has this since 7.2, so an older reference cannot be asked."""
    door = HandlerDoor(FakeKeyspace())
    door.call([b"ZADD", b"k", b"1", b"a", b"2.5", b"b"])
    assert door.call([b"ZRANK", b"k", b"b", b"withscore"]) == b"*2\r\n:1\r\n$3\r\n2.5\r\n"
    assert door.call([b"ZREVRANK", b"k", b"b", b"WITHSCORE"]) == b"*2\r\n:0\r\n$3\r\n2.5\r\n"
    assert door.call([b"ZRANK", b"k", b"none", b"WITHSCORE"]) == b"*-1\r\n"
    assert door.call([b"ZRANK", b"none", b"b", b"WITHSCORE"]) == b"*-1\r\n"
    assert door.call([b"ZRANK", b"k", b"b", b"FOO"]) == b"-ERR syntax error\r\n"
    assert door.call([b"ZREVRANK", b"k", b"b", b"WITHSCORE", b"FOO"]) == (
        b"-ERR wrong number of arguments for 'zrevrank' command\r\n"
    )


def test_timeouts_out_of_range_are_refused() -> None:
    """In the words of Redis 7.2; 7.0 calls them negative."""
    door = HandlerDoor(FakeKeyspace())
    for text in (b"inf", b"1e400", b"9223372036854775807", b"1e18"):
        assert door.call([b"BZPOPMIN", b"k", text]).startswith(b"-ERR timeout is "), text


def test_floats_and_pops_are_logged_as_what_they_did() -> None:
    door = HandlerDoor(FakeKeyspace())
    for text in (
        "ZADD k 1 a 2 b 3 c 4 d 5 e 6 f", "ZINCRBY k 0.1 a", "ZADD k GT INCR 0.5 b", "ZADD k GT INCR -1 b",
        "ZINCRBY k 0 b", "ZADD k GT 9 f",
        "BZPOPMIN k 0", "BZPOPMAX none k 0", "ZMPOP 1 k MIN COUNT 2", "BZMPOP 0 1 k MAX COUNT 9", "ZPOPMIN k",
    ):  # fmt: skip
        door.call(text.encode().split())
    assert [b" ".join(words).decode() for _, words in door.log] == [
        "ZADD k 1 a 2 b 3 c 4 d 5 e 6 f", "ZADD k 1.1 a", "ZADD k 2.5 b", "ZADD k GT 9 f",
        "ZPOPMIN k", "ZPOPMAX k", "ZPOPMIN k 2", "ZPOPMAX k 2",
    ]  # fmt: skip


def test_replaying_the_log_makes_the_same_sorted_sets() -> None:
    first, second = HandlerDoor(FakeKeyspace()), HandlerDoor(FakeKeyspace())
    for request in random_requests(RANDOM, seed=99, count=1500):
        first.call([word.encode() for word in request])
    for _, words in first.log:
        assert not second.call(words).startswith(b"-"), words
    for key in (b"k1", b"k2", b"k3"):
        request = [b"ZUNION", b"1", key, b"WITHSCORES"]
        assert second.call(request) == first.call(request)


def test_a_pop_with_nothing_to_pop_waits_for_all_its_keys(db: FakeDb) -> None:
    waiting = sorted_set_pops.bzpopmin(db, b"k", b"l", b"1.5")
    assert isinstance(waiting, Blocked)
    assert (waiting.keys, waiting.kind, waiting.timeout_ms, waiting.on_timeout) == (
        (b"k", b"l"),
        "zset",
        1500,
        NULL_ARRAY,
    )
    waiting = sorted_set_pops.bzmpop(db, b"0", b"2", b"k", b"l", b"MIN")
    assert isinstance(waiting, Blocked)
    assert (waiting.keys, waiting.timeout_ms) == ((b"k", b"l"), 0)


def test_a_waiting_pop_that_is_called_again_is_served(db: FakeDb) -> None:
    assert isinstance(sorted_set_pops.bzpopmax(db, b"k", b"l", b"0"), Blocked)
    sorted_sets.zadd(db, b"l", b"1.5", b"a", b"2.5", b"b")
    assert sorted_set_pops.bzpopmax(db, b"k", b"l", b"0") == [b"l", b"b", 2.5]
    assert sorted_set_pops.bzmpop(db, b"0", b"2", b"k", b"l", b"MIN", b"COUNT", b"7") == [b"l", [[b"a", 1.5]]]
    assert not db.exists(b"l")


@given(st.lists(CONTENT, min_size=1, max_size=4), st.integers(1, 3), st.data(), st.randoms(use_true_random=False))
def test_shards_together_answer_as_one(
    contents: list[dict[bytes, float]], shards: int, data: st.DataObject, chance: random.Random
) -> None:
    keys = [b"k%d" % n for n in range(len(contents))]
    numbered = [b"%d" % len(keys), *keys]
    fill = [
        [b"ZADD", key, *(word for member, score in content.items() for word in (b"%r" % score, member))]
        for key, content in zip(keys, contents, strict=True)
        if content
    ]
    weights = [b"WEIGHTS", *(b"%r" % data.draw(SCORES) for _ in keys)]
    aggregate = [b"AGGREGATE", data.draw(st.sampled_from([b"SUM", b"min", b"MAX"]))]
    for request in (
        [b"ZUNION", *numbered], [b"ZUNION", *numbered, *weights, *aggregate, b"WITHSCORES"], [b"ZINTER", *numbered,
        b"withscores"],
        [b"zinter", *numbered, *aggregate, *weights, b"WITHSCORES"], [b"ZDIFF", *numbered, b"WITHSCORES"], [b"ZDIFF",
        *numbered],
        [b"ZINTERCARD", *numbered, b"LIMIT", b"2"], [b"ZINTERCARD", *numbered],
    ):  # fmt: skip
        whole, joined = answer_across(request, fill, shards, chance)
        assert joined == whole, request


@pytest.mark.parametrize("options", ["WEIGHTS 1", "WEIGHTS 1 x", "AGGREGATE FOO", "FOO", "LIMIT 1"])
@pytest.mark.parametrize("name", ["ZUNION", "ZINTER", "ZDIFF"])
def test_a_fault_in_a_request_over_shards_is_the_reply(name: str, options: str) -> None:
    whole, joined = answer_across([name.encode(), b"2", b"a", b"b", *options.encode().split()], [], 2, random.Random(1))
    assert joined == whole
    assert whole.startswith(b"-ERR ")


def test_a_scan_finds_every_member_once_it_is_complete(db: FakeDb) -> None:
    members = {b"member:%d" % n: float(n) for n in range(1000)}
    sorted_sets.zadd(db, b"k", *(word for member, score in members.items() for word in (b"%r" % score, member)))
    found: dict[bytes, float] = {}
    cursor = b"0"
    while True:
        cursor, words = sorted_sets.zscan(db, b"k", cursor, b"COUNT", b"7")
        found.update(zip(words[::2], map(float, words[1::2]), strict=True))
        if cursor == b"0":
            break
    assert found == members
