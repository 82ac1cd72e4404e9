"""Sessions about connections, replayed on redis-server and on mpkv with one and with four shards: the same raw
replies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mpkv.testing import Server
from tests.helpers.reference import Connection, reference_server
from tests.helpers.running import leaving_nothing
from tests.helpers.sessions import assert_same_session, load

SESSIONS = load(Path(__file__).parent / "sessions" / "connections.txt")
GUARDED = load(Path(__file__).parent / "sessions" / "guarded.txt")


@pytest.mark.parametrize("title", SESSIONS)
def test_a_session_gets_the_replies_of_redis(
    title: str, server: Server, reference: object, reference_port: int
) -> None:
    assert_same_session(SESSIONS[title], server.port, reference_port)


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    """A server with a password."""
    with leaving_nothing(2, requirepass="secret") as server:
        yield server


@pytest.fixture(scope="module")
def guarded_reference_port() -> Iterator[int]:
    with reference_server("--requirepass", "secret") as port:
        yield port


@pytest.mark.parametrize("title", GUARDED)
def test_a_server_with_a_password_refuses_as_redis_does(
    title: str, guarded: Server, guarded_reference_port: int
) -> None:
    assert_same_session(GUARDED[title], guarded.port, guarded_reference_port)


#: The fields of CLIENT LIST as of 7.2, in order.
CLIENT_FIELDS = (
    "id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free argv-mem multi-mem rbs rbp obl oll "
    "omem tot-mem events cmd user redir resp lib-name lib-ver"
)


def test_client_list_has_the_fields_of_redis_in_order(server: Server) -> None:
    connection = Connection(server.port)
    body = connection.call([b"CLIENT", b"INFO"]).split(b"\r\n", 1)[1].decode()
    connection.close()
    fields = dict(word.partition("=")[::2] for word in body.split())
    assert list(fields) == CLIENT_FIELDS.split()
    assert (fields["cmd"], fields["flags"], fields["db"], fields["resp"]) == ("client|info", "N", "0", "2")


def test_clients_are_killed_by_their_properties(server: Server) -> None:
    victims = [Connection(server.port) for _ in range(4)]
    killer = Connection(server.port)
    ids = [victim.call([b"CLIENT", b"ID"])[1:-2] for victim in victims]
    assert killer.call([b"CLIENT", b"KILL", b"ID", ids[0]]) == b":1\r\n"
    assert killer.call([b"CLIENT", b"KILL", b"ADDR", victims[1].address]) == b":1\r\n"
    assert killer.call([b"CLIENT", b"KILL", victims[2].address]) == b"+OK\r\n"
    victims[3].call([b"SUBSCRIBE", b"x"])
    assert killer.call([b"CLIENT", b"KILL", b"TYPE", b"pubsub"]) == b":1\r\n"
    for victim in victims:
        assert victim.read(1) == b""
    own = killer.call([b"CLIENT", b"ID"])[1:-2]
    assert killer.call([b"CLIENT", b"KILL", b"ID", own]) == b":0\r\n"
    assert killer.call([b"CLIENT", b"KILL", b"ID", own, b"SKIPME", b"no"]) == b":1\r\n"
    assert killer.read(1) == b""
    for connection in (*victims, killer):
        connection.close()
