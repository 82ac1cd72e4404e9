"""Every length and index that a client names, at the edges of 32 and 64 bits: answered as redis-server answers.

Nothing may wrap round, and nothing be taken literally that would take all memory or time. After each round the store's
invariants are checked.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mpkv.testing import Server
from tests.helpers.differential import Words, agree
from tests.helpers.reference import Connection
from tests.helpers.sanitizers import not_sanitized

OK = b"+OK\r\n"
EDGES = (
    "0", "-1", "2147483647", "2147483648", "-2147483648", "-2147483649", "4294967295", "4294967296", "-4294967296",
    "4611686018427387904", "9223372036854775806", "9223372036854775807", "9223372036854775808", "-9223372036854775807",
    "-9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616",
    "99999999999999999999999999",
)  # fmt: skip
SETUP = (
    "SET {t}s value", "SET {t}n 10", "SET {t}max 9223372036854775807", "SET {t}min -9223372036854775808",
    "RPUSH {t}l a b c a", "SADD {t}one a", "SADD {t}ints 1", "HSET {t}h f 1", "HSET {t}h1 f 9223372036854775807",
    "ZADD {t}z 1 a 2 b", "ZADD {t}z1 1 a",
)  # fmt: skip
#: N is each edge in turn; a second number stays small, so that each is the one that decides.
TEMPLATES = (
    "LRANGE {t}l N -1", "LRANGE {t}l 0 N", "LTRIM {t}l N -1", "LTRIM {t}l 0 N", "LINDEX {t}l N", "LSET {t}l N x",
    "LREM {t}l N a", "LPOP {t}l N", "RPOP {t}l N", "LPOS {t}l a RANK N", "LPOS {t}l a COUNT N", "LPOS {t}l a MAXLEN N",
    "LMPOP 1 {t}l LEFT COUNT N", "LMPOP N {t}l LEFT",
    "GETRANGE {t}s N -1", "GETRANGE {t}s 0 N", "SUBSTR {t}s N N", "INCRBY {t}n N", "INCRBY {t}max N", "INCRBY {t}min N",
    "DECRBY {t}n N", "DECRBY {t}max N", "DECRBY {t}min N", "INCRBYFLOAT {t}n N",
    "LCS {t}s {t}n MINMATCHLEN N IDX",
    "HINCRBY {t}h f N", "HINCRBY {t}h1 f N", "HSCAN {t}h N", "HSCAN {t}h 0 COUNT N", "SSCAN {t}ints N",
    "SSCAN {t}one 0 COUNT N", "ZSCAN {t}z1 N", "ZSCAN {t}z1 0 COUNT N",
    "SINTERCARD N {t}one", "SINTERCARD 1 {t}one LIMIT N", "SPOP {t}one N",
    "ZRANGE {t}z N -1", "ZRANGE {t}z 0 N", "ZREVRANGE {t}z N N", "ZRANGE {t}z 0 5 BYSCORE LIMIT N 1",
    "ZRANGE {t}z 0 5 BYSCORE LIMIT 0 N", "ZRANGEBYSCORE {t}z 0 5 LIMIT 1 N", "ZREMRANGEBYRANK {t}z N -1",
    "ZREMRANGEBYRANK {t}z 0 N", "ZPOPMIN {t}z N", "ZPOPMAX {t}z N", "ZMPOP 1 {t}z MIN COUNT N", "ZMPOP N {t}z MIN",
    "ZUNION N {t}z", "ZINTERCARD N {t}z", "ZINTERCARD 1 {t}z LIMIT N", "ZUNIONSTORE {t}d N {t}z", "ZDIFF N {t}z",
    "EXPIRE {t}s N", "PEXPIRE {t}s N", "EXPIREAT {t}s N", "PEXPIREAT {t}s N", "SET {t}s v EX N", "SET {t}s v PX N",
    "SET {t}s v EXAT N", "SET {t}s v PXAT N", "SETEX {t}s N v", "PSETEX {t}s N v", "GETEX {t}s EX N",
    "GETEX {t}s PXAT N", "COPY {t}s {t}d DB N", "MOVE {t}s N", "SELECT N", "CLIENT UNBLOCK N",
    "CLIENT KILL ID N",
)  # fmt: skip
#: What a number below 0 or a large one would have answered with so many elements, or as long a string.
REFUSED_OR_ONE = (
    "SRANDMEMBER {t}one N", "HRANDFIELD {t}h N", "HRANDFIELD {t}h N WITHVALUES", "ZRANDMEMBER {t}z1 N",
    "ZRANDMEMBER {t}z1 N WITHSCORES",
)  # fmt: skip


def requests_of(template: str, edges: tuple[str, ...]) -> list[Words]:
    """The template with each edge, the data made anew before each."""
    found: list[Words] = []
    for edge in edges:
        found += [b"FLUSHALL".split(), *(words.encode().split() for words in SETUP)]
        found.append(" ".join(edge if word == "N" else word for word in template.split()).encode().split())
        found += [[b"SELECT", b"0"]]
    return found


@pytest.fixture
def client(one_worker: Server) -> Iterator[Connection]:
    connection = Connection(one_worker.port)
    yield connection
    connection.call([b"FLUSHALL"])
    connection.close()


def compare(requests: list[Words], client: Connection, reference: Connection) -> None:
    for words, reply, expected in zip(requests, client.call_all(requests), reference.call_all(requests), strict=True):
        agree(words, reply, expected, 1)
    assert client.call([b"DEBUG", b"VALIDATE"]) == OK


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_number_at_the_edge_is_answered_as_redis_does(
    template: str, client: Connection, reference: Connection
) -> None:
    compare(requests_of(template, EDGES), client, reference)


@pytest.mark.parametrize("template", REFUSED_OR_ONE)
def test_a_count_of_picks_at_the_edge_is_too(template: str, client: Connection, reference: Connection) -> None:
    literal = {"-2147483648", "-2147483649", "-4294967296", "-9223372036854775807", "-9223372036854775809"}
    compare(requests_of(template, tuple(edge for edge in EDGES if edge not in literal)), client, reference)
    words = ["-9223372036854775807" if word == "N" else word for word in template.split()]
    # where redis-server would go on for as long as there is memory
    assert client.call([word.encode() for word in words]).startswith(b"-ERR value is out of range")


@pytest.mark.parametrize(
    "request_",
    ["SETRANGE {t}s N x", "SETRANGE {t}missing N x", "SETRANGE {t}s N "],
)
@pytest.mark.parametrize("edge", EDGES)
def test_an_offset_beyond_512_mb_is_refused(
    request_: str, edge: str, client: Connection, reference: Connection
) -> None:
    name, key, _, value = request_.split(" ")
    requests = [words.encode().split() for words in SETUP]
    compare([*requests, [name.encode(), key.encode(), edge.encode(), value.encode()]], client, reference)


@not_sanitized
def test_a_string_of_512_mb_takes_not_one_byte_more(client: Connection) -> None:
    refusal = b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"
    assert client.call([b"SETRANGE", b"large", b"536870911", b"x"]) == b":536870912\r\n"
    assert client.call([b"APPEND", b"large", b"x"]) == refusal
    assert client.call([b"SETRANGE", b"large", b"536870911", b"xx"]) == refusal
    assert client.call([b"STRLEN", b"large"]) == b":536870912\r\n"
    assert client.call([b"GETRANGE", b"large", b"536870910", b"9223372036854775807"]) == b"$2\r\n\0x\r\n"
    assert client.call([b"DEL", b"large"]) == b":1\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"*2147483648\r\n", b"*9223372036854775807\r\n", b"*9223372036854775808\r\n", b"*1\r\n$536870913\r\n",
        b"*1\r\n$9223372036854775807\r\n", b"*1\r\n$9223372036854775808\r\n", b"*1\r\n$-1\r\n",
        b"*1\r\n$-9223372036854775808\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870913\r\n",
        b"*1\r\n$18446744073709551617\r\n", b"*4294967297\r\n", b"*1\r\n$4294967297\r\n",
    ],
)  # fmt: skip
def test_an_announced_length_at_the_edge_ends_the_connection_as_with_redis(
    sent: bytes, one_worker: Server, reference_port: int
) -> None:
    answers = []
    for port in (one_worker.port, reference_port):
        connection = Connection(port)
        connection._socket.sendall(sent)
        answers.append(connection.read(1 << 16))
        connection.close()
    assert answers[0] == answers[1] != b""
