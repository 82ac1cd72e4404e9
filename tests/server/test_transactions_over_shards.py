"""MULTI, EXEC and WATCH with keys of several shards, on a server with four."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from mpkv.sharding import shard_of
from mpkv.testing import Server
from tests.helpers.doors import words_of
from tests.helpers.reference import Connection

WATCH_ACROSS = b"-CROSSSLOT Watched keys and the transaction must be on one shard\r\n"
#: One key of each shard.
A, B, C, D = (next(key for key in map(str, range(100)) if shard_of(key.encode(), 4) == shard) for shard in range(4))


@pytest.fixture
def client(four_workers: Server) -> Iterator[Connection]:
    with closing(Connection(four_workers.port)) as connection:
        connection.call([b"FLUSHALL"])
        yield connection


def ask(client: Connection, *requests: str) -> list[bytes]:
    return client.call_all([words_of(request) for request in requests])


def test_a_transaction_over_all_shards_answers_in_the_order_of_its_commands(client: Connection) -> None:
    requests = [f"SET {key} {value}" for value, key in enumerate((D, B, A, C))]
    *queued, reply = ask(
        client, "MULTI", *requests, f"MGET {A} {B} {C} {D}", f"DEL {A} {D} none", f"EXISTS {A} {B}", "EXEC"
    )
    assert queued == [b"+OK\r\n", *[b"+QUEUED\r\n"] * 7]
    assert reply == b"*7\r\n" + b"+OK\r\n" * 4 + b"*4\r\n$1\r\n2\r\n$1\r\n1\r\n$1\r\n3\r\n$1\r\n0\r\n" + b":2\r\n:1\r\n"


def test_watching_keys_of_two_shards_is_refused_and_watches_neither(client: Connection) -> None:
    assert ask(client, f"WATCH {A} {B}") == [WATCH_ACROSS]
    assert ask(client, f"SET {A} 1", "MULTI", f"GET {A}", "EXEC")[-1] == b"*1\r\n$1\r\n1\r\n"


def test_a_second_watch_on_another_shard_is_refused_and_the_first_stays(client: Connection) -> None:
    assert ask(client, f"WATCH {A}", f"WATCH {B}") == [b"+OK\r\n", WATCH_ACROSS]
    assert ask(client, f"SET {A} 1", "MULTI", f"GET {A}", "EXEC")[-1] == b"*-1\r\n"


def test_a_transaction_elsewhere_than_its_watched_keys_is_refused_and_changes_nothing(client: Connection) -> None:
    assert ask(client, f"WATCH {A}", "MULTI", f"SET {A} 1", f"SET {B} 1", "EXEC")[-1] == WATCH_ACROSS
    assert ask(client, f"EXISTS {A} {B}", "EXEC") == [b":0\r\n", b"-ERR EXEC without MULTI\r\n"]


def test_a_command_of_a_transaction_that_crosses_slots_fails_alone(client: Connection) -> None:
    reply = ask(client, "MULTI", f"SET {A} 1", f"RENAME {A} {B}", f"GET {A}", "EXEC")[-1]
    assert reply.startswith(b"*3\r\n+OK\r\n-CROSSSLOT ")
    assert reply.endswith(b"\r\n$1\r\n1\r\n")


def test_a_command_that_cannot_be_dealt_out_is_refused_in_its_place(client: Connection) -> None:
    *_, reply, pong = ask(client, "MULTI", f"INCR {A}", f"MSET {A} 1 {B}", f"SET {C} x", "EXEC", "PING")
    assert reply == b"*3\r\n:1\r\n-ERR wrong number of arguments for 'mset' command\r\n+OK\r\n"
    assert pong == b"+PONG\r\n"
    assert ask(client, f"GET {A}", f"GET {B}") == [b"$1\r\n1\r\n", b"$-1\r\n"]
