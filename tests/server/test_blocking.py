"""Sessions about blocking, replayed on redis-server and on mpkv with one and with four shards: the same raw replies."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mpkv.testing import Server
from tests.helpers.reference import Connection
from tests.helpers.sessions import assert_same_session, load

SESSIONS = load(Path(__file__).parent / "sessions" / "blocking.txt")


@pytest.mark.parametrize("title", SESSIONS)
def test_a_session_gets_the_replies_of_redis(
    title: str, server: Server, reference: object, reference_port: int
) -> None:
    assert_same_session(SESSIONS[title], server.port, reference_port)


@pytest.mark.parametrize(
    ("reason", "reply"),
    [
        ([], b"*-1\r\n"),
        ([b"TIMEOUT"], b"*-1\r\n"),
        ([b"ERROR"], b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
    ],
)
def test_a_blocked_client_is_unblocked_by_another(reason: list[bytes], reply: bytes, server: Server) -> None:
    blocked, other = Connection(server.port), Connection(server.port)
    number = blocked.call([b"CLIENT", b"ID"])[1:-2]
    blocked.send([[b"BLPOP", b"list", b"0"], [b"PING"]])
    while other.call([b"CLIENT", b"UNBLOCK", number, *reason]) != b":1\r\n":
        time.sleep(0.01)
    expected = reply + b"+PONG\r\n"
    assert blocked.read(len(expected)) == expected
    assert other.call([b"CLIENT", b"UNBLOCK", number]) == b":0\r\n"
    assert other.call([b"RPUSH", b"list", b"x"]) == b":1\r\n"
    blocked.close()
    other.close()


def test_keys_of_a_blocking_pop_on_several_shards_are_refused(four_workers: Server) -> None:
    connection = Connection(four_workers.port)
    reply = connection.call([b"BLPOP", *(b"key:%d" % number for number in range(20)), b"0"])
    connection.close()
    assert reply.startswith(b"-CROSSSLOT")


def test_a_hundred_waiters_are_served_in_the_order_they_came(server: Server) -> None:
    waiters = [Connection(server.port) for _ in range(100)]
    other = Connection(server.port)
    for count, waiter in enumerate(waiters, 1):
        waiter.send([[b"BLPOP", b"queue", b"0"]])
        while b"blocked_clients:%d\r\n" % count not in other.call([b"INFO", b"clients"]):
            time.sleep(0.001)
    other.call([b"RPUSH", b"queue", *(b"%03d" % number for number in range(100))])
    expected = [b"*2\r\n$5\r\nqueue\r\n$3\r\n%03d\r\n" % number for number in range(100)]
    assert [waiter.read(len(reply)) for waiter, reply in zip(waiters, expected, strict=True)] == expected
    for connection in (*waiters, other):
        connection.close()


def test_a_blocked_client_that_leaves_is_noticed_however_much_it_has_sent(server: Server) -> None:
    blocked, other = Connection(server.port), Connection(server.port)
    blocked.send([[b"BLPOP", b"nothing", b"0"], *([[b"SET", b"key", bytes(1000)]] * 3000)])
    while b"blocked_clients:1\r\n" not in other.call([b"INFO", b"clients"]):
        time.sleep(0.01)
    blocked.close()
    end = time.monotonic() + 60
    while b"blocked_clients:0\r\n" not in other.call([b"INFO", b"clients"]):
        assert time.monotonic() < end, "the client has gone and still waits"
        time.sleep(0.01)
    other.close()
