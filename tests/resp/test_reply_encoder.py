"""The reply encoder: every kind of value in both protocols, against hiredis and a real redis-server."""

import math
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpkv.commands import args
from mpkv.errors import CommandError
from mpkv.resp.encoder import encode_bytes, float_text
from mpkv.resp.replies import NULL_ARRAY, OK, Blocked, Pairs, PushReply, Raw, SetReply, Status, Verbatim

#: value, RESP2, RESP3: the table of mpkv.resp.replies and its edges
TABLE = [
    (None, b"$-1\r\n", b"_\r\n"),
    (0, b":0\r\n", b":0\r\n"),
    (9, b":9\r\n", b":9\r\n"),
    (10, b":10\r\n", b":10\r\n"),
    (-1, b":-1\r\n", b":-1\r\n"),
    (2**63 - 1, b":9223372036854775807\r\n", b":9223372036854775807\r\n"),
    (-(2**63), b":-9223372036854775808\r\n", b":-9223372036854775808\r\n"),
    (True, b":1\r\n", b"#t\r\n"),
    (False, b":0\r\n", b"#f\r\n"),
    (1.5, b"$3\r\n1.5\r\n", b",1.5\r\n"),
    (-math.inf, b"$4\r\n-inf\r\n", b",-inf\r\n"),
    (b"", b"$0\r\n\r\n", b"$0\r\n\r\n"),
    (b"a\r\nb", b"$4\r\na\r\nb\r\n", b"$4\r\na\r\nb\r\n"),
    ("grün", b"$5\r\ngr\xc3\xbcn\r\n", b"$5\r\ngr\xc3\xbcn\r\n"),
    ("\udcff", b"$1\r\n\xff\r\n", b"$1\r\n\xff\r\n"),
    ([], b"*0\r\n", b"*0\r\n"),
    ([1, (b"a", None)], b"*2\r\n:1\r\n*2\r\n$1\r\na\r\n$-1\r\n", b"*2\r\n:1\r\n*2\r\n$1\r\na\r\n_\r\n"),
    ({}, b"*0\r\n", b"%0\r\n"),
    ({b"a": 1, b"b": {}}, b"*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n*0\r\n", b"%2\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n%0\r\n"),
    (SetReply([b"a", 2]), b"*2\r\n$1\r\na\r\n:2\r\n", b"~2\r\n$1\r\na\r\n:2\r\n"),
    (Pairs([(b"m", 1.5)]), b"*2\r\n$1\r\nm\r\n$3\r\n1.5\r\n", b"*1\r\n*2\r\n$1\r\nm\r\n,1.5\r\n"),
    (Pairs(), b"*0\r\n", b"*0\r\n"),
    (PushReply([b"a"]), b"*1\r\n$1\r\na\r\n", b">1\r\n$1\r\na\r\n"),
    (OK, b"+OK\r\n", b"+OK\r\n"),
    (Status(b"a\r\nb"), b"+a  b\r\n", b"+a  b\r\n"),
    (Verbatim("# Server\r\n"), b"$10\r\n# Server\r\n\r\n", b"=14\r\ntxt:# Server\r\n\r\n"),
    (NULL_ARRAY, b"*-1\r\n", b"_\r\n"),
    (CommandError("ERR no"), b"-ERR no\r\n", b"-ERR no\r\n"),
    (CommandError("ERR got '\r\n+OK\r\n'"), b"-ERR got '  +OK  '\r\n", b"-ERR got '  +OK  '\r\n"),
    (Raw(b":1\r\n:2\r\n"), b":1\r\n:2\r\n", b":1\r\n:2\r\n"),
]


@pytest.mark.parametrize(("value", "resp2", "resp3"), TABLE)
def test_a_value_becomes_what_the_table_says(value: object, resp2: bytes, resp3: bytes) -> None:
    assert encode_bytes(value, 2) == resp2
    assert encode_bytes(value, 3) == resp3


scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.binary(max_size=40)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.binary(max_size=5), inner, max_size=4)
)


def as_resp2(value: Any) -> Any:
    """What a RESP2 client sees of a value."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, list):
        return [as_resp2(element) for element in value]
    if isinstance(value, dict):
        return [as_resp2(element) for pair in value.items() for element in pair]
    return value


def read_with_hiredis(data: bytes) -> Any:
    reader = hiredis.Reader()
    reader.feed(data)
    reply = reader.gets()
    assert reader.gets() is False, "more than one reply"
    return reply


@given(values)
def test_hiredis_reads_resp3_back(value: Any) -> None:
    assert read_with_hiredis(encode_bytes(value, 3)) == value


@given(values)
def test_hiredis_reads_resp2_back(value: Any) -> None:
    assert read_with_hiredis(encode_bytes(value, 2)) == as_resp2(value)


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_value_without_a_reply_is_refused(protocol: int) -> None:
    for value in (object(), {1, 2}, [b"a", [object()]], Blocked([b"k"], "list", 0)):
        with pytest.raises(TypeError, match="no reply can be made of"):
            encode_bytes(value, protocol)


def test_an_integer_of_more_than_64_bits_is_refused() -> None:
    for value in (2**63, -(2**63) - 1):
        with pytest.raises(OverflowError):
            encode_bytes([value])


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_nesting_is_bounded() -> None:
    assert encode_bytes(nested(128)) == b"*1\r\n" * 127 + b"*0\r\n"
    with pytest.raises(RecursionError):
        encode_bytes(nested(129))
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(RecursionError):
        encode_bytes({b"a": endless}, 3)


#: As Redis 7.2 writes them: shortest digits, integers plainly below 2**62, an exponent where the zeroes would be many.
DOUBLES = {
    "0": 0.0,
    "-0": -0.0,
    "3": 3.0,
    "-17": -17.0,
    "0.1": 0.1,
    "1.5": 1.5,
    "0.30000000000000004": 0.1 + 0.2,
    "inf": math.inf,
    "-inf": -math.inf,
    "3.141592653589793": math.pi,
    "1700000000.123456": 1700000000.123456,
    "10000000000000000": 1e16,
    "100000000000000000": 1e17,
    "4000000000000000000": 4e18,
    "5e+18": 5e18,
    "1e+20": 1e20,
    "1e+21": 1e21,
    "123456789012345680000": 123456789012345678901.0,
    "0.00003": 3.0000000000000001e-05,
    "0.000001": 1e-6,
    "1e-7": 1e-7,
    "1.234e-5": 0.00001234,
    "0.001234": 0.001234,
    "-1.5e-9": -1.5e-9,
    "1e+300": 1e300,
    "1.7976931348623157e+308": 1.7976931348623157e308,
    "2.2250738585072014e-308": 2.2250738585072014e-308,
    "5e-324": 5e-324,
}


@pytest.mark.parametrize(("text", "value"), DOUBLES.items())
def test_a_double_is_written_as_redis_7_2_does(text: str, value: float) -> None:
    assert float_text(value) == text.encode()
    assert encode_bytes(value, 3) == f",{text}\r\n".encode()
    assert args.float_text(value) == text.encode()


def is_power_of_two(value: float) -> bool:
    return math.frexp(abs(value))[0] == 0.5


any_double = st.floats(allow_nan=False, allow_infinity=False) | st.binary(min_size=8, max_size=8).map(
    lambda b: struct.unpack("d", b)[0]
).filter(math.isfinite)
few_places = st.builds(lambda number, places: number / 10**places, st.integers(-(10**16), 10**16), st.integers(0, 12))


@given(any_double | few_places)
def test_a_double_reads_back_the_same_from_as_few_digits_as_python_uses(value: float) -> None:
    text = float_text(value).decode()
    assert float(text) == value
    assert math.copysign(1, float(text)) == math.copysign(1, value)
    if abs(value) < 2**62 and value == int(value):
        assert text.lstrip("-").isdigit()
    elif not is_power_of_two(value):
        assert Decimal(text) == Decimal(repr(value))


def test_every_power_of_two_reads_back_the_same() -> None:
    for exponent in range(-1074, 1024):
        assert float(float_text(2.0**exponent)) == 2.0**exponent


#: Commands whose raw replies a real server gives in both protocols, and the values that must encode to them.
REAL_REPLIES = [
    (b"SET k v", OK),
    (b"GET k", b"v"),
    (b"GET none", None),
    (b"SET k w GET", b"v"),
    (b"BLPOP none 0.01", NULL_ARRAY),
    (b"DEL k none", 1),
    (b"HSET h f v", 1),
    (b"HGETALL h", {b"f": b"v"}),
    (b"HGETALL none", {}),
    (b"HMGET h f g", [b"v", None]),
    (b"SADD s a", 1),
    (b"SMEMBERS s", SetReply([b"a"])),
    (b"SMEMBERS none", SetReply()),
    (b"ZADD z 1.5 a -inf b", 2),
    (b"ZSCORE z a", 1.5),
    (b"ZSCORE z b", -math.inf),
    (b"ZRANGE z 0 -1 WITHSCORES", Pairs([(b"b", -math.inf), (b"a", 1.5)])),
    (b"ZRANGE none 0 -1 WITHSCORES", Pairs()),
    (b"ZADD z NX INCR 2 a", None),
    (b"ZINCRBY z 1000 a", 1001.5),
    (b"ZMSCORE z a none", [1001.5, None]),
    (b"CONFIG GET hash-max-listpack-entries", {b"hash-max-listpack-entries": b"512"}),
    (b"HGET k", CommandError("ERR wrong number of arguments for 'hget' command")),
    (b"LPUSH s a", CommandError("WRONGTYPE Operation against a key holding the wrong kind of value")),
    (b"SUBSCRIBE c", PushReply([b"subscribe", b"c", 1])),
]


@pytest.mark.parametrize("protocol", [2, 3])
def test_replies_are_those_of_a_real_server(protocol: int, ask_redis: Callable[..., bytes]) -> None:
    expected = b"".join(encode_bytes(value, protocol) for _, value in REAL_REPLIES)
    requests = b"FLUSHALL\r\nHELLO %d\r\nECHO start\r\n" % protocol + b"".join(
        command + b"\r\n" for command, _ in REAL_REPLIES
    )
    assert ask_redis(requests, 3 + len(REAL_REPLIES)).partition(b"$5\r\nstart\r\n")[2] == expected
