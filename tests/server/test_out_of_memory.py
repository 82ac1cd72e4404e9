"""Without memory a write is refused before it has changed anything, or its shard is loaded again; never half is done.

Every write is tried again and again, each time with one allocation more that succeeds, until it goes through. That a
change of several steps is never refused between two of them is promised beforehand (`mpkv.types.allocator`): switched
off, this finds the halves.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from mpkv.sharding import shard_of
from mpkv.testing import Server
from tests.helpers.differential import Words
from tests.helpers.doors import words_of
from tests.helpers.reference import Connection
from tests.helpers.running import leaving_nothing
from tests.helpers.sanitizers import not_sanitized

OK = b"+OK\r\n"
REFUSED = b"-OOM command not allowed: out of memory\r\n"
#: No command allocates more often.
MOST_ALLOCATIONS = 300


class Case(NamedTuple):
    """A write, and what is there before it."""

    request: str
    before: tuple[str, ...] = ()
    needs_memory: bool = True


LONG = "x" * 3000
MANY = " ".join(f"field:{number} {'v' * 80}" for number in range(40))
NAMES = " ".join(f"name:{number}{'n' * 60}" for number in range(150))
SCORED = " ".join(f"{number} member:{number}" for number in range(150))
FEW_NAMES = " ".join(f"name:{number}" for number in range(12))
FEW_SCORED = " ".join(f"{number} member:{number}" for number in range(12))

CASES = {
    "set": Case("SET {t}k v"),
    "set long": Case(f"SET {{t}}k {LONG}", ("SET {t}k v",)),
    "set over a list": Case(f"SET {{t}}k {LONG}", ("RPUSH {t}k a b",)),
    "set with expiry": Case("SET {t}k value EX 100000", ("SET {t}k v",)),
    "set with expiry, new": Case(f"SETEX {{t}}k 100000 {LONG}"),
    "getset": Case(f"GETSET {{t}}k {LONG}", ("SET {t}k v",)),
    "mset": Case(f"MSET {{t}}a 1 {{t}}b {LONG} {{t}}c 3 {{t}}d {LONG}", ("SET {t}b old", "SET {t}z 1")),
    "msetnx": Case(f"MSETNX {{t}}a 1 {{t}}b {LONG} {{t}}c 3", ("SET {t}z 1",)),
    "append": Case(f"APPEND {{t}}k {LONG}", ("SET {t}k v",)),
    "setrange": Case("SETRANGE {t}k 5000 x", ("SET {t}k v",)),
    "incr": Case("INCR {t}k", ("SET {t}z v",)),
    "incrbyfloat": Case("INCRBYFLOAT {t}k 1.5", ("SET {t}k 12",)),
    "getex": Case("GETEX {t}k EX 100000", ("SET {t}k v",)),
    "expire": Case("EXPIRE {t}k 100000", ("SET {t}k v",)),
    "persist": Case("PERSIST {t}k", ("SET {t}k v EX 100000",)),
    "rename": Case("RENAME {t}k {t}other", ("HSET {t}k f v", f"SET {{t}}other {LONG}")),
    "copy": Case("COPY {t}k {t}other", ("RPUSH {t}k a b c",)),
    "move": Case("MOVE {t}k 1", ("SADD {t}k a b",)),
    "hset one": Case("HSET {t}k f v"),
    "hset": Case(f"HSET {{t}}k {MANY}", ("HSET {t}k field:3 old field:9 older",)),
    "hset new": Case(f"HSET {{t}}k {MANY}"),
    "hmset": Case("HMSET {t}k a 1 b 2 c 3"),
    "hsetnx": Case(f"HSETNX {{t}}k f {LONG}", ("HSET {t}k g v",)),
    "hincrby": Case("HINCRBY {t}k f 5"),
    "hincrbyfloat": Case("HINCRBYFLOAT {t}k f 1.5"),
    "lpush": Case(f"LPUSH {{t}}k a {LONG} b {LONG} c {LONG} d", ("RPUSH {t}k z",)),
    "rpush new": Case(f"RPUSH {{t}}k a {LONG} b {LONG} c {LONG} d"),
    "lpushx": Case(f"LPUSHX {{t}}k a {LONG} b", ("RPUSH {t}k z",)),
    "linsert": Case(f"LINSERT {{t}}k BEFORE b {LONG}", ("RPUSH {t}k a b c",)),
    "lset": Case(f"LSET {{t}}k 1 {LONG}", ("RPUSH {t}k a b c",)),
    "lmove": Case("LMOVE {t}k {t}other LEFT RIGHT", (f"RPUSH {{t}}k {LONG} b",)),
    "blmove": Case("BLMOVE {t}k {t}other LEFT RIGHT 1", ("RPUSH {t}k a",)),
    "sadd": Case(f"SADD {{t}}k {NAMES}", ("SADD {t}k 1 2 3",)),
    "sadd integers": Case("SADD {t}k 1 70000 5000000000 x", ("SADD {t}k 2",)),
    "smove": Case("SMOVE {t}k {t}other a", ("SADD {t}k a b", "SADD {t}other 1 2")),
    "smove new": Case("SMOVE {t}k {t}other a", ("SADD {t}k a b",)),
    "sunionstore": Case("SUNIONSTORE {t}k {t}a {t}b", (f"SADD {{t}}a {FEW_NAMES}", "SADD {t}b 1", "SADD {t}k old")),
    "sinterstore": Case("SINTERSTORE {t}k {t}k {t}a", (f"SADD {{t}}a {FEW_NAMES}", f"SADD {{t}}k old {FEW_NAMES}")),
    "zadd one": Case("ZADD {t}k 1 a"),
    "zadd": Case(f"ZADD {{t}}k {SCORED}", ("ZADD {t}k 7 member:3 9 z",)),
    "zadd options": Case("ZADD {t}k GT CH 5 a 6 b 7 c", ("ZADD {t}k 1 a",)),
    "zincrby": Case("ZINCRBY {t}k 5 b", (f"ZADD {{t}}k {SCORED}",)),
    "zunionstore": Case("ZUNIONSTORE {t}k 2 {t}k {t}a", (f"ZADD {{t}}a {FEW_SCORED}", "ZADD {t}k 5 old")),
    "zrangestore": Case("ZRANGESTORE {t}k {t}a 0 -1", (f"ZADD {{t}}a {FEW_SCORED}", "RPUSH {t}k old")),
    "del": Case("DEL {t}k {t}a", (f"HSET {{t}}k {MANY}", "SET {t}a 1"), needs_memory=False),
    "hdel": Case("HDEL {t}k field:1 field:2", (f"HSET {{t}}k {MANY}",), needs_memory=False),
    "lpop": Case("LPOP {t}k 2", ("RPUSH {t}k a b c",), needs_memory=False),
    "lrem": Case("LREM {t}k 0 a", ("RPUSH {t}k a b a c",), needs_memory=False),
    "ltrim": Case("LTRIM {t}k 1 1", ("RPUSH {t}k a b c",), needs_memory=False),
    "spop": Case("SPOP {t}k 500", (f"SADD {{t}}k {NAMES}",), needs_memory=False),
    "srem": Case("SREM {t}k a", ("SADD {t}k a b",), needs_memory=False),
    "zrem": Case("ZREM {t}k member:1 member:7", (f"ZADD {{t}}k {SCORED}",), needs_memory=False),
    "zremrangebyrank": Case("ZREMRANGEBYRANK {t}k 5 90", (f"ZADD {{t}}k {SCORED}",), needs_memory=False),
    "zpopmin": Case("ZPOPMIN {t}k 50", (f"ZADD {{t}}k {SCORED}",), needs_memory=False),
    "flushdb": Case("FLUSHDB", ("SET {t}k v",), needs_memory=False),
}  # fmt: skip

#: Changes of several steps that count at their end. Where each step counts the worker ends, promised or not.
OF_STEPS = ("hset", "hset new", "lpush", "sadd")


@pytest.fixture
def client(one_worker: Server) -> Iterator[Connection]:
    connection = Connection(one_worker.port)
    yield connection
    for words in ("DEBUG FAIL-ALLOCATIONS OFF", "DEBUG SHORTCUTS 1", "FLUSHALL"):
        assert connection.call(words_of(words)) == OK
    connection.close()


def fail_allocations(client: Connection, *words: str) -> None:
    assert client.call(words_of(" ".join(("DEBUG FAIL-ALLOCATIONS", *words)))) == OK


def filled(client: Connection, case: Case) -> list[bytes]:
    """What the data is before the write."""
    assert client.call([b"FLUSHALL"]) == OK
    for request in case.before:
        assert not client.call(words_of(request)).startswith(b"-")
    return state_of(client)


def state_of(client: Connection) -> list[bytes]:
    """Digest and number of keys; what is kept is in order."""
    assert client.call([b"DEBUG", b"VALIDATE"]) == OK
    return [client.call([b"DEBUG", b"DIGEST"]), client.call([b"DBSIZE"])]


def tried(client: Connection, case: Case, *options: str) -> Iterator[tuple[bytes, bool]]:
    """The reply to the write, with one allocation more each time until it is not refused, and whether the data is as it
    was before."""
    for allocations in range(MOST_ALLOCATIONS):
        before = filled(client, case)
        fail_allocations(client, str(allocations), *options)
        reply = client.call(words_of(case.request))
        fail_allocations(client, "OFF")
        yield reply, state_of(client) == before
        if reply != REFUSED:
            return
    pytest.fail(f"{case.request[:80]} needs more than {MOST_ALLOCATIONS} allocations")


@pytest.mark.parametrize("shortcuts", [b"1", b"0"], ids=["shortcuts", "handlers"])
@pytest.mark.parametrize("name", CASES)
def test_a_write_is_refused_before_it_has_changed_anything(client: Connection, name: str, shortcuts: bytes) -> None:
    case = CASES[name]
    assert client.call([b"DEBUG", b"SHORTCUTS", shortcuts]) == OK
    filled(client, case)
    expected = client.call(words_of(case.request))
    after = state_of(client)
    assert not expected.startswith(b"-")
    *refusals, (reply, _) = tried(client, case)
    assert all(is_unchanged for _, is_unchanged in refusals)
    assert bool(refusals) == case.needs_memory
    assert sorted(reply.split()) == sorted(expected.split())
    assert state_of(client) == after


@pytest.mark.parametrize("name", OF_STEPS)
def test_without_promises_there_are_halves(client: Connection, name: str) -> None:
    *refusals, _ = tried(client, CASES[name], "UNPROMISED")
    assert not all(is_unchanged for _, is_unchanged in refusals)


def test_what_needs_no_memory_goes_on_and_writes_do_when_there_is_some(client: Connection) -> None:
    assert client.call(words_of("HSET {t}k a 1 b 2")) == b":2\r\n"
    fail_allocations(client, "0")
    for _ in range(3):
        assert client.call(words_of("HSET {t}k c 3 d 4")) == REFUSED
        assert client.call(words_of("HGET {t}k a")) == b"$1\r\n1\r\n"
    assert client.call(words_of("HDEL {t}k a")) == b":1\r\n"
    fail_allocations(client, "OFF")
    assert client.call(words_of("HSET {t}k c 3 d 4")) == b":2\r\n"


def test_a_transaction_goes_on_behind_a_write_that_is_refused(client: Connection) -> None:
    fail_allocations(client, "0")
    requests = ["MULTI", "HSET {t}k a 1 b 2", "GET {t}k", "EXEC"]
    replies = client.call_all([words_of(request) for request in requests])
    assert replies[-1] == b"*2\r\n" + REFUSED + b"$-1\r\n"


# Over several shards


def keys_of(shard: int, count: int) -> list[bytes]:
    names = (b"key:%d" % number for number in range(10_000))
    return [name for name in names if shard_of(name, 2) == shard][:count]


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_part_without_memory_ends_its_worker_which_loads_its_shard_again(in_transaction: bool) -> None:
    with leaving_nothing(2) as server:
        client, other = Connection(server.port), Connection(server.port)
        mine, others = keys_of(0, 5), keys_of(1, 5)
        assert client.call([b"MSET", *[word for key in mine + others for word in (key, b"old")]]) == OK
        assert client.call([b"SAVE"]) == OK
        worker = server.processes()["worker 1"]
        fail_allocations(client, "0", "SHARD 1")
        write: Words = [b"MSET", *[word for key in mine + others for word in (key, bytes(2000))]]
        requests = [[b"MULTI"], write, [b"EXEC"]] if in_transaction else [write]
        with pytest.raises((EOFError, ConnectionError)):    # nobody knows what became of it
            for reply in client.call_all(requests):
                assert not reply.startswith(b"+OK") or in_transaction
        server.wait_until_ready()
        assert server.processes()["worker 1"] != worker
        assert other.call([b"DEBUG", b"VALIDATE"]) == OK
        assert other.call([b"MGET", *others]) == b"*5\r\n" + b"$3\r\nold\r\n" * 5
        assert other.call([b"MGET", *mine]) == b"*5\r\n" + (b"$2000\r\n" + bytes(2000) + b"\r\n") * 5
        assert other.call(write) == OK
        assert "out of memory for a part" in server.log()


# A limit of the system's own

#: Hashes of fifty fields in a process that may have no more addresses than it has, and some: each is whole or absent.
UNDER_A_LIMIT = """
import resource, sys
from mpkv.types import allocator
from mpkv.workers.keyspace import Keyspace
from tests.helpers.doors import HandlerDoor

keyspace = Keyspace(16)
door = HandlerDoor(keyspace)
value = bytes(15_000)
words = [word for field in range(50) for word in (b"field:%d" % field, value)]
assert door.call([b"HSET", b"first", *words]) == b":50\\r\\n"
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20), resource.RLIM_INFINITY))
refused = 0
for number in range(2000):
    try:
        reply = door.call([b"HSET", b"hash:%d" % number, *words])
    except MemoryError:
        reply = b"-OOM"
    if reply.startswith(b"-OOM"):
        keyspace.drop_created()
        refused += 1
    else:
        assert reply == b":50\\r\\n", reply
    if refused == 20:
        break
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert refused == 20
keyspace.validate()
database = keyspace.database(0)
assert {len(database.hash_for_read(key)) for key in database.keys()} == {50}
assert len(database.keys()) == number - refused + 2
print("whole:", len(database.keys()))
"""


@not_sanitized
def test_under_a_limit_of_the_system_every_write_is_whole_or_absent() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", UNDER_A_LIMIT], capture_output=True, text=True, check=False, timeout=100
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout.split()[1]) > 100
