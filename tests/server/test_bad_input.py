"""What a server answers to input that is no proper request, as redis-server does, and whom it hangs up on."""

from __future__ import annotations

import socket
import struct
import time

import pytest

from mpkv.testing import Server
from tests.helpers.reference import Connection, pack_request

#: Longer than any reply of these tests takes on a busy machine; only a connection that stays open costs it.
QUIET_S = 0.3
ANSWER_S = 60.0

SET = pack_request([b"SET", b"k", b"v"])
PING = pack_request([b"PING"])
SENTINEL = pack_request([b"ECHO", b"still here"])
STILL_HERE = b"$10\r\nstill here\r\n"


def exchange(port: int, data: bytes) -> tuple[bytes, bool]:
    """Send `data`, and whatever comes back until the server closes: the bytes, and whether it closed.

    The end of a connection that stays is found by a question of our own: what precedes its answer is the reply.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as connection:
        connection.sendall(data)
        received = b""
        try:
            connection.sendall(SENTINEL)
            while not received.endswith(STILL_HERE):
                piece = connection.recv(65536)
                if not piece:
                    return received, True
                received += piece
        except (ConnectionResetError, BrokenPipeError):
            return received, True
        return received.removesuffix(STILL_HERE), False


def whole_exchange(port: int, data: bytes) -> bytes:
    """The same for input that ends with the client's half of the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            return stream.read()


FATAL = {
    "a count that is no number": (b"*x\r\n", b"invalid multibulk length"),
    "a count beyond 32 bits": (b"*2147483648\r\n", b"invalid multibulk length"),
    "a word without a dollar": (b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n", b"expected '$', got 'f'"),
    "a length that is no number": (b"*1\r\n$x\r\n", b"invalid bulk length"),
    "a negative length": (b"*1\r\n$-1\r\n", b"invalid bulk length"),
    "a length beyond 512 MB": (b"*1\r\n$536870913\r\n", b"invalid bulk length"),
    "a length beyond 32 bits": (b"*1\r\n$2147483648\r\n", b"invalid bulk length"),
    "an inline request without end": (b"A" * 70_000, b"too big inline request"),
    "a count without end": (b"*" + b"1" * 70_000, b"too big mbulk count string"),
    "a length without end": (b"*1\r\n$" + b"1" * 70_000, b"too big bulk count string"),
    "an open double quote": (b'SET k "v\r\n', b"unbalanced quotes in request"),
    "an open single quote": (b"SET k 'v\r\n", b"unbalanced quotes in request"),
    "text behind a closing quote": (b'SET k "v"w\r\n', b"unbalanced quotes in request"),
}

HARMLESS = {
    "no words": b"*0\r\n",
    "fewer words than none": b"*-10\r\n",
    "an empty line": b"\r\n\n",
    "a name of no bytes": b"*1\r\n$0\r\n\r\n",
    "an empty word in quotes": b'""\r\n',
    "a command that does not exist": b"NOSUCH a b\r\n",
    "too few words": b"GET\r\n",
    "too many words": b"GET a b\r\n",
    "quotes and escapes": b"SET 'a b' \"c\\x41\\n\"\r\nGET 'a b'\r\n",
    "a line that ends without CR": b"PING\n",
    "a name in any case": b"piNg\r\n",
    "binary zeroes in a key": pack_request([b"SET", b"\x00\r\n\x00", b"\xff" * 40]),
}


@pytest.mark.parametrize("case", FATAL)
def test_a_protocol_error_is_answered_and_ends_the_connection(server: Server, case: str):
    data, text = FATAL[case]
    assert whole_exchange(server.port, data) == b"-ERR Protocol error: %b\r\n" % text


@pytest.mark.parametrize("case", FATAL)
def test_what_precedes_a_protocol_error_is_answered_first_and_what_follows_is_not_executed(server: Server, case: str):
    data, text = FATAL[case]
    replies = whole_exchange(server.port, SET * 3 + data + pack_request([b"SET", b"after", b"1"]))
    assert replies == b"+OK\r\n" * 3 + b"-ERR Protocol error: %b\r\n" % text
    asker = Connection(server.port)
    assert asker.call([b"EXISTS", b"after", b"k"]) == b":1\r\n"
    asker.close()


@pytest.mark.parametrize("case", FATAL)
def test_a_protocol_error_reads_as_it_does_in_redis(server: Server, reference_port: int, case: str):
    data = SET + FATAL[case][0]
    assert whole_exchange(server.port, data) == whole_exchange(reference_port, data)


@pytest.mark.parametrize("case", HARMLESS)
def test_odd_but_harmless_input_is_answered_as_redis_does_and_the_connection_stays(
    server: Server, reference_port: int, case: str
):
    ours = exchange(server.port, HARMLESS[case])
    assert ours == exchange(reference_port, HARMLESS[case])
    assert not ours[1]


@pytest.mark.parametrize("line", [b"POST / HTTP/1.1\r\n", b"Host: localhost\r\n", b"post /\r\n"])
def test_a_browser_is_hung_up_on_without_a_reply(server: Server, line: bytes):
    assert exchange(server.port, line + b"SET after 1\r\n") == (b"", True)
    asker = Connection(server.port)
    assert asker.call([b"EXISTS", b"after"]) == b":0\r\n"
    asker.close()


@pytest.mark.parametrize("request_bytes", [SET, SET * 5000 + PING, b"GET nokey\r\n", b"MULTI\r\nSET k 1\r\nEXEC\r\n"])
def test_a_client_that_has_sent_its_last_byte_gets_all_its_replies(
    server: Server, reference_port: int, request_bytes: bytes
):
    ours = whole_exchange(server.port, request_bytes)
    assert ours == whole_exchange(reference_port, request_bytes)
    assert ours


def test_a_long_pipeline_and_the_end_of_input_behind_it_are_answered_whole_every_time(server: Server):
    """The end may come while the pipeline is not worked off, at any of the moments when it stops and goes on."""
    for _ in range(20):
        assert whole_exchange(server.port, SET * 5000 + PING) == b"+OK\r\n" * 5000 + b"+PONG\r\n"


@pytest.mark.parametrize("request_bytes", [b"", SET[:17], b"BLPOP nokey 0\r\n", SET + b"BLPOP nokey 0\r\n"])
def test_a_client_that_leaves_unfinished_business_is_let_go(server: Server, reference_port: int, request_bytes: bytes):
    assert whole_exchange(server.port, request_bytes) == whole_exchange(reference_port, request_bytes)


@pytest.mark.parametrize("request_bytes", [SET, b"SET k 'a b'\r\n", SET * 2 + PING])
def test_a_request_may_come_byte_by_byte(server: Server, request_bytes: bytes):
    with socket.create_connection(("127.0.0.1", server.port), timeout=ANSWER_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(request_bytes)):
            connection.sendall(request_bytes[at : at + 1])
            time.sleep(0.0005)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            assert stream.read() == {1: b"+OK\r\n", 3: b"+OK\r\n+OK\r\n+PONG\r\n"}[request_bytes.count(b"*") or 1]


def test_half_a_request_and_silence_keeps_the_connection(server: Server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=QUIET_S) as connection:
        connection.sendall(SET[:17])
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(ANSWER_S)
        connection.sendall(SET[17:])
        assert connection.recv(100) == b"+OK\r\n"


def test_a_client_that_resets_in_the_middle_of_a_pipeline_hurts_nobody(server: Server):
    bystander = Connection(server.port)
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            # closed with SO_LINGER 0 the kernel sends RST
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(pack_request([b"INCR", b"n"]) * 3000 + SET[:11])
        assert bystander.call([b"PING"]) == b"+PONG\r\n"
    end = time.monotonic() + ANSWER_S
    while bystander.call([b"CLIENT", b"LIST"]).count(b" laddr=") != 1:
        assert time.monotonic() < end, "connections that were reset are still listed"
        time.sleep(0.01)
    assert "socket.send() raised" not in server.log()
    bystander.close()


UNAUTHENTICATED = {
    "eleven words": (b"*11\r\n", b"-ERR Protocol error: unauthenticated multibulk length\r\n"),
    "a word beyond 16 KiB": (b"*1\r\n$16385\r\n", b"-ERR Protocol error: unauthenticated bulk length\r\n"),
    "a command": (b"GET k\r\n", b"-NOAUTH Authentication required.\r\n"),
    "a wrong password": (
        b"AUTH wrong\r\n",
        b"-WRONGPASS invalid username-password pair or user is disabled.\r\n",
    ),
    "the right password": (b"AUTH secret\r\n*11\r\n$3\r\nDEL\r\n" + b"$1\r\nk\r\n" * 10, b"+OK\r\n:0\r\n"),
    "a large word after the password": (
        b"AUTH secret\r\n" + pack_request([b"ECHO", b"x" * 17_000]),
        b"+OK\r\n$17000\r\n" + b"x" * 17_000 + b"\r\n",
    ),
}


@pytest.fixture
def guarded(one_worker: Server):
    """The server with a password, which is gone again after the test."""
    keeper = Connection(one_worker.port)
    keeper.call([b"FLUSHALL"])
    assert keeper.call([b"CONFIG", b"SET", b"requirepass", b"secret"]) == b"+OK\r\n"
    yield one_worker
    assert keeper.call([b"CONFIG", b"SET", b"requirepass", b""]) == b"+OK\r\n"
    keeper.close()


@pytest.mark.parametrize("case", UNAUTHENTICATED)
def test_before_the_password_little_is_read(guarded: Server, case: str):
    data, reply = UNAUTHENTICATED[case]
    assert whole_exchange(guarded.port, data) == reply


def test_a_megabyte_before_the_password_is_refused_command_by_command(guarded: Server):
    request = pack_request([b"SET", b"k", b"x" * 16_000])
    replies = whole_exchange(guarded.port, request * 70)
    assert replies == b"-NOAUTH Authentication required.\r\n" * 70
