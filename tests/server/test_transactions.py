"""Sessions about transactions, replayed on redis-server and on mpkv with one and with four shards: the same raw
replies."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpkv.testing import Server
from tests.helpers.reference import Connection
from tests.helpers.sessions import assert_same_session, load

SESSIONS = load(Path(__file__).parent / "sessions" / "transactions.txt")


@pytest.mark.parametrize("title", SESSIONS)
def test_a_session_gets_the_replies_of_redis(
    title: str, server: Server, reference: object, reference_port: int
) -> None:
    assert_same_session(SESSIONS[title], server.port, reference_port)


def test_silence_inside_a_transaction_begins_behind_the_head_of_the_reply(server: Server) -> None:
    """As in Redis: EXEC's array is announced whole, and CLIENT REPLY OFF swallows itself and what comes behind it."""
    connection = Connection(server.port)
    requests = (b"MULTI", b"PING", b"CLIENT REPLY OFF", b"SET k v", b"EXEC", b"GET k")
    connection.send([request.split() for request in requests])
    connection.send([b"CLIENT REPLY ON".split(), b"GET k".split()])
    expected = b"+OK\r\n" + b"+QUEUED\r\n" * 3 + b"*3\r\n+PONG\r\n" + b"+OK\r\n$1\r\nv\r\n"
    assert connection.read(len(expected)) == expected
    connection.close()


def test_skip_inside_a_transaction_is_for_what_comes_behind_exec(server: Server) -> None:
    connection = Connection(server.port)
    requests = (b"MULTI", b"CLIENT REPLY SKIP", b"PING", b"EXEC", b"PING", b"ECHO end")
    connection.send([request.split() for request in requests])
    expected = b"+OK\r\n" + b"+QUEUED\r\n" * 2 + b"*2\r\n+PONG\r\n" + b"$3\r\nend\r\n"
    assert connection.read(len(expected)) == expected
    connection.close()


def test_debug_is_refused_inside_a_transaction(server: Server) -> None:
    connection = Connection(server.port)
    replies = connection.call_all([b"MULTI".split(), b"DEBUG SLEEP 0".split(), b"EXEC".split()])
    connection.close()
    assert replies[1] == b"-ERR Command not allowed inside a transaction\r\n"
    assert replies[2].startswith(b"-EXECABORT")
