"""Random sequences of string, list and key commands: replies as Redis', and a log that brings the same data back."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpkv.workers.keyspace import Keyspace
from tests.helpers.doors import HandlerDoor, assert_same_replies
from tests.helpers.fake_db import FakeKeyspace
from tests.helpers.reference import Connection

START_MS = 1_700_000_000_000

#: Placeholder -> the words that may stand in its place: few, so that commands meet on the same keys.
WORDS = {
    "KEY": ("a", "b", "{b}c"),
    "VALUE": ("x", "y", "10", "-3", "2.5", "long" * 20),
    "NUMBER": ("0", "1", "-1", "2", "-2", "5", "100", "x"),
    "FLOAT": ("0.1", "-2.5e-3", "3", "1e20", "x"),
    "END": ("LEFT", "RIGHT"),
    "SIDE": ("BEFORE", "AFTER"),
    "UNIT": ("EX", "PX"),
    "POINT": ("EXAT 33177117420", "PXAT 33177117421000", "EXAT 1", "PERSIST", ""),
    "CONDITION": ("", "NX", "XX", "GET", "NX GET", "KEEPTTL"),
    "WHEN": ("33177117420", "33177117500", "33177117400", "1"),
    "LIMIT": ("", "NX", "XX", "GT", "LT"),
    "REPLACE": ("", "REPLACE", "DB 1", "DB 1 REPLACE"),
}

#: Without DBSIZE: Redis counts a key that was set with a time in the past until it meets it; mpkv never stores it.
TEMPLATES = (
    "SET KEY VALUE", "SET KEY VALUE CONDITION", "SET KEY VALUE UNIT 100000", "SET KEY VALUE GET EXAT 1",
    "SETNX KEY VALUE", "SETEX KEY 1000 VALUE", "GET KEY", "GETSET KEY VALUE",
    "GETDEL KEY", "GETEX KEY POINT", "MSET KEY VALUE KEY VALUE", "MSETNX KEY VALUE KEY VALUE", "MGET KEY KEY",
    "APPEND KEY VALUE", "SETRANGE KEY NUMBER VALUE", "GETRANGE KEY NUMBER NUMBER", "STRLEN KEY",
    "INCR KEY", "DECRBY KEY NUMBER", "INCRBYFLOAT KEY FLOAT", "LCS KEY KEY", "LCS KEY KEY IDX WITHMATCHLEN",
    "LPUSH KEY VALUE VALUE", "RPUSH KEY VALUE VALUE VALUE", "LPUSH KEY VALUE", "RPUSH KEY VALUE", "LPUSHX KEY VALUE",
    "LPOP KEY", "RPOP KEY", "LPOP KEY NUMBER", "RPOP KEY NUMBER", "LRANGE KEY 0 -1", "LRANGE KEY NUMBER NUMBER",
    "LTRIM KEY NUMBER NUMBER", "LINDEX KEY NUMBER", "LSET KEY NUMBER VALUE", "LREM KEY NUMBER VALUE",
    "LINSERT KEY SIDE VALUE VALUE",
    "LPOS KEY VALUE RANK NUMBER COUNT 0", "LPOS KEY VALUE MAXLEN NUMBER", "LLEN KEY", "LMOVE KEY KEY END END",
    "RPOPLPUSH KEY KEY", "LMPOP 2 KEY KEY END COUNT 2", "BLPOP KEY KEY 0.001", "BRPOP KEY 0.001",
    "BLMOVE KEY KEY END END 0.001",
    "BLMPOP 0.001 1 KEY END", "DEL KEY", "EXISTS KEY KEY", "TYPE KEY", "EXPIREAT KEY WHEN LIMIT",
    "EXPIRE KEY 1000 LIMIT", "PERSIST KEY", "RENAME KEY KEY", "RENAMENX KEY KEY", "COPY KEY KEY REPLACE", "MOVE KEY 1",
    "KEYS *",
)  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> str:
    template = draw(st.sampled_from(TEMPLATES))
    return " ".join(draw(st.sampled_from(WORDS[word])) if word in WORDS else word for word in template.split())


sequences = st.lists(requests(), min_size=1, max_size=40)
#: The reference is emptied by hand for each example.
in_many_examples = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@in_many_examples
@given(sequence=sequences)
def test_random_sequences_reply_as_redis_does(sequence: list[str], reference: Connection) -> None:
    reference.call([b"FLUSHALL"])
    keyspace = Keyspace()
    assert_same_replies(sequence, HandlerDoor(keyspace), reference, keyspace.validate)


@in_many_examples
@given(sequence=sequences)
def test_random_sequences_mean_the_same_to_the_plain_and_the_native_keyspace(sequence: list[str]) -> None:
    plain, native = FakeKeyspace(), Keyspace()
    doors = [HandlerDoor(keyspace, clock=lambda: START_MS) for keyspace in (native, plain)]
    assert_same_replies(sequence, *doors, plain.validate)
    assert contents(native) == contents(plain)


@in_many_examples
@given(sequence=sequences)
def test_the_log_of_a_random_sequence_brings_the_same_data_back_at_any_later_time(sequence: list[str]) -> None:
    original, copy = FakeKeyspace(), Keyspace()
    door = HandlerDoor(original, clock=lambda: original.now_ms + 7)
    for request in sequence:
        door.call(request.encode().split())
    replay = HandlerDoor(copy, clock=lambda: original.now_ms + 500)
    for database, words in door.log:
        replay.call([b"SELECT", b"%d" % database])
        reply = replay.call(words)
        assert not reply.startswith(b"-"), f"the log holds {words!r}, which fails: {reply!r}"
    assert contents(copy) == contents(original)


def contents(keyspace: Any) -> dict[tuple[int, bytes], Any]:
    """(database, key) -> what is there and when it expires."""
    databases = [keyspace.database(index) for index in range(2)]
    return {
        (db.index, key): (
            db.expire_at(key),
            db.string_for_read(key) if db.type_of(key) == "string" else elements(db, key),
        )
        for db in databases
        for key in list(db.keys())
    }


def elements(db: Any, key: bytes) -> list[bytes]:
    values = db.list_for_read(key)
    return values.range(0, len(values) - 1)
