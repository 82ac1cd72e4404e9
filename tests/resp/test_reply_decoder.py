"""The reply decoder: values, ends of replies, and bytes that are none."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpkv.errors import CommandError
from mpkv.resp.decoder import IncompleteReply, decode, reply_end
from mpkv.resp.encoder import encode_bytes
from mpkv.resp.replies import PushReply, SetReply, Status, Verbatim

#: bytes -> value; errors apart, since exceptions do not compare
TABLE = {
    b"+OK\r\n": Status(b"OK"),
    b"+\r\n": Status(b""),
    b":-12\r\n": -12,
    b"$-1\r\n": None,
    b"*-1\r\n": None,
    b"_\r\n": None,
    b"$0\r\n\r\n": b"",
    b"$4\r\n\r\n\r\n\r\n": b"\r\n\r\n",
    b"*0\r\n": [],
    b"*2\r\n:1\r\n*1\r\n$1\r\na\r\n": [1, [b"a"]],
    b"#t\r\n": True,
    b"#f\r\n": False,
    b",1.5\r\n": 1.5,
    b",inf\r\n": math.inf,
    b",-inf\r\n": -math.inf,
    b",1e+20\r\n": 1e20,
    b"(36893488147419103232\r\n": 2**65,
    b"=9\r\ntxt:hello\r\n": Verbatim("hello"),
    b"~1\r\n$1\r\na\r\n": SetReply([b"a"]),
    b">1\r\n$1\r\na\r\n": PushReply([b"a"]),
    b"%1\r\n$1\r\na\r\n%0\r\n": {b"a": {}},
    b"%1\r\n*1\r\n:1\r\n:2\r\n": [[1], 2],
    b"|1\r\n+ttl\r\n:1\r\n:5\r\n": 5,
    b"*2\r\n|1\r\n+a\r\n*1\r\n:0\r\n|0\r\n:1\r\n:2\r\n": [1, 2],
}


@pytest.mark.parametrize(("data", "value"), TABLE.items())
def test_a_reply_becomes_a_value(data: bytes, value: Any) -> None:
    assert decode(data) == (value, len(data))
    assert type(decode(data)[0]) is type(value)
    assert decode(b"+before\r\n" + data + b"+behind\r\n", 9) == (value, 9 + len(data))


@pytest.mark.parametrize("data", [b"-ERR no\r\n", b"!6\r\nERR no\r\n"])
def test_an_error_is_returned_and_not_raised(data: bytes) -> None:
    value, end = decode(data)
    assert isinstance(value, CommandError)
    assert (value.text, end) == ("ERR no", len(data))


@pytest.mark.parametrize("data", [*TABLE, b"-ERR no\r\n", b"!6\r\nERR no\r\n"])
def test_a_reply_that_is_cut_anywhere_is_incomplete(data: bytes) -> None:
    for end in range(len(data)):
        assert reply_end(data[:end]) is None
        with pytest.raises(IncompleteReply):
            decode(data[:end])
    assert reply_end(data + b"+behind\r\n") == len(data)


MALFORMED = [
    b"hello\r\n",
    b"\x00",
    b":\r\n",
    b":1.5\r\n",
    b":+1\r\n",
    b"$x\r\n",
    b"$-2\r\n",
    b"*-2\r\n",
    b"%-1\r\n",
    b"~-1\r\n",
    b"!-1\r\n",
    b"$1\r\nab\r\n",
    b"$1\r\na\n\r",
    b"#x\r\n",
    b"#\r\n",
    b"_x\r\n",
    b"=3\r\ntxt\r\n",
    b"+a\rb",
    b"*2147483648\r\n",
    b"$01\r\na\r\n",
]


@pytest.mark.parametrize("data", MALFORMED)
def test_what_is_no_reply_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="malformed reply at byte 5") as caught:
        decode(b"+OK\r\n" + data, 5)
    assert not isinstance(caught.value, IncompleteReply)


def test_the_bad_element_of_an_aggregate_is_pointed_at() -> None:
    with pytest.raises(ValueError, match="malformed reply at byte 8: b'x"):
        decode(b"*2\r\n:1\r\nxyz\r\n")


@pytest.mark.parametrize("data", [b",x\r\n", b"(x\r\n"])
def test_what_is_no_number_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="x"):
        decode(data)


def test_an_offset_outside_is_refused() -> None:
    for offset in (-1, 6):
        with pytest.raises(ValueError, match="outside"):
            decode(b"+OK\r\n", offset)


def test_nesting_is_bounded() -> None:
    assert decode(b"*1\r\n" * 128 + b":1\r\n")[1] == 128 * 4 + 4
    for head in (b"*1\r\n", b"%1\r\n", b"|1\r\n"):
        with pytest.raises(ValueError, match="malformed"):
            decode(head * 100_000 + b":1\r\n")


def test_attributes_in_a_row_do_not_nest() -> None:
    data = b"|0\r\n" * 100_000 + b":1\r\n"
    assert decode(data) == (1, len(data))


def test_an_announced_number_of_elements_reserves_nothing() -> None:
    assert reply_end(b"*2147483647\r\n:1\r\n") is None


scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.binary(max_size=40)
)
lines = st.binary(max_size=20).filter(lambda text: b"\r" not in text and b"\n" not in text).map(Status)
values = st.recursive(
    scalars | lines | st.text(st.characters(codec="utf-8"), max_size=9).map(Verbatim),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=3).map(SetReply)
        | st.dictionaries(st.binary(max_size=5), inner, max_size=4)
    ),
)


@given(values, st.binary(max_size=5))
def test_what_was_encoded_in_resp3_is_decoded_to_the_same(value: Any, behind: bytes) -> None:
    data = encode_bytes(value, 3)
    decoded, end = decode(data + behind)
    assert (decoded, end) == (value, len(data))
    assert encode_bytes(decoded, 3) == data


@given(values)
def test_a_resp2_reply_encodes_to_the_same_bytes_again(value: Any) -> None:
    data = encode_bytes(value, 2)
    assert encode_bytes(decode(data)[0], 2) == data


pieces = st.sampled_from([*b"+-:$*_#,(!=%~>|", *b"0123", *b"-tfx"]).map(lambda byte: bytes([byte])) | st.just(b"\r\n")


@given(st.binary(max_size=100) | st.lists(pieces, max_size=40).map(b"".join))
def test_any_bytes_are_a_reply_or_refused(data: bytes) -> None:
    try:
        end = reply_end(data)
    except ValueError:
        with pytest.raises(ValueError, match="malformed"):
            decode(data)
        return
    if end is None:
        with pytest.raises(IncompleteReply):
            decode(data)
        return
    try:
        assert decode(data)[1] == end
    except ValueError as error:
        assert "malformed" not in str(error)
