"""Hash commands against a real redis-server, through the fake and the real keyspace; and what they tell the log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpkv.commands import hashes, sampling
from tests.commands.cases_hashes import CASES
from tests.commands.command_doors import KEYSPACES, random_requests, replies_agree
from tests.helpers.doors import HandlerDoor
from tests.helpers.fake_db import FakeKeyspace
from tests.helpers.reference import Connection

RANDOM = (
    "HSET {key} {name} {name}", "HSET {key} {name} {number} {name} {number}", "HSETNX {key} {name} {name}",
    "HGET {key} {name}",
    "HMGET {key} {name} {name}", "HGETALL {key}", "HKEYS {key}", "HVALS {key}", "HLEN {key}", "HEXISTS {key} {name}",
    "HSTRLEN {key} {name}",
    "HDEL {key} {name} {name}", "HINCRBY {key} {name} {number}", "HINCRBYFLOAT {key} {name} {number}", "HSCAN {key} 0",
    "DEL {key}",
    "SET {key} {number}",
)  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("keyspace", KEYSPACES)
@pytest.mark.parametrize("name", CASES)
def test_hash_commands_reply_as_redis_does(name: str, keyspace: str, protocol: int, reference: Connection) -> None:
    replies_agree(CASES[name], keyspace, protocol, reference)


@pytest.mark.parametrize("keyspace", KEYSPACES)
@pytest.mark.parametrize("seed", range(5))
def test_random_hash_commands_reply_as_redis_does(seed: int, keyspace: str, reference: Connection) -> None:
    replies_agree(random_requests(RANDOM, seed), keyspace, 3, reference)


def test_adding_floats_is_logged_as_its_result() -> None:
    door = HandlerDoor(FakeKeyspace())
    door.call([b"HINCRBYFLOAT", b"k", b"f", b"10.5"])
    door.call([b"HINCRBYFLOAT", b"k", b"f", b"0.1"])
    assert [words for _, words in door.log] == [[b"HSET", b"k", b"f", b"10.5"], [b"HSET", b"k", b"f", b"10.6"]]


@given(st.dictionaries(st.binary(max_size=9), st.binary(max_size=9), min_size=1, max_size=20), st.integers(-50, 50))
def test_random_fields_belong_to_the_hash(content: dict[bytes, bytes], count: int) -> None:
    keyspace = FakeKeyspace()
    door = HandlerDoor(keyspace)
    door.call([b"HSET", b"k", *(word for item in content.items() for word in item)])
    picks = sampling.picks(keyspace.database(0).hash_for_read(b"k"), count)
    assert set(picks) <= set(content.items())
    assert len(picks) == (-count if count < 0 else min(count, len(content)))
    assert count < 0 or len(set(picks)) == len(picks)


def test_more_repeats_than_a_shard_should_build_are_refused() -> None:
    door = HandlerDoor(FakeKeyspace())
    door.call([b"HSET", b"k", b"f", b"v"])
    assert door.call([b"HRANDFIELD", b"k", b"%d" % (-sampling.REPEATS_LIMIT - 1)]) == b"-ERR value is out of range\r\n"


@pytest.mark.parametrize("keyspace", KEYSPACES)
def test_a_scan_finds_every_field_once_it_is_complete(keyspace: str) -> None:
    db = KEYSPACES[keyspace]().database(0)
    fields = {b"field:%d" % n: b"%d" % n for n in range(1000)}
    hashes.hset(db, b"k", *(word for item in fields.items() for word in item))
    found: dict[bytes, bytes] = {}
    cursor = b"0"
    while True:
        cursor, words = hashes.hscan(db, b"k", cursor, b"COUNT", b"7")
        found.update(zip(words[::2], words[1::2], strict=True))
        if cursor == b"0":
            break
    assert found == fields
