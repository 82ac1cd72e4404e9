"""Blocking list commands as functions: for what they wait, how long, and that the second call serves."""

from typing import Any

import pytest

from mpkv.commands import args, lists
from mpkv.errors import CommandError
from mpkv.resp.replies import NULL_ARRAY, Blocked
from tests.helpers.fake_db import FakeDb

NOW_MS = 1_700_000_000_000

WAITS = [
    (lists.blpop, [b"a", b"b", b"1.5"], (b"a", b"b"), 1500),
    (lists.brpop, [b"a", b"0"], (b"a",), 0),
    (lists.blmove, [b"a", b"b", b"LEFT", b"RIGHT", b"2"], (b"a",), 2000),
    (lists.brpoplpush, [b"a", b"b", b"0.0001"], (b"a",), 1),
    (lists.blmpop, [b"3", b"2", b"a", b"b", b"LEFT", b"COUNT", b"2"], (b"a", b"b"), 3000),
]


@pytest.mark.parametrize(("handler", "words", "keys", "timeout_ms"), WAITS)
def test_without_an_element_they_wait_for_lists_at_their_source_keys(
    handler: Any, words: list[bytes], keys: tuple[bytes, ...], timeout_ms: int
) -> None:
    blocked = handler(FakeDb(), *words)
    assert isinstance(blocked, Blocked)
    assert (blocked.keys, blocked.timeout_ms) == (keys, timeout_ms)
    assert (blocked.kind, blocked.on_timeout) == ("list", NULL_ARRAY)


def test_called_again_with_an_element_there_they_serve() -> None:
    db = FakeDb()
    words = [b"a", b"b", b"LEFT", b"RIGHT", b"0"]
    assert isinstance(lists.blmove(db, *words), Blocked)
    lists.rpush(db, b"a", b"1", b"2")
    assert lists.blmove(db, *words) == b"1"
    assert lists.lrange(db, b"b", b"0", b"-1") == [b"1"]


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [(b"0", 0), (b"1", 1000), (b"0.0001", 1), (b"1.0005", 1001), (b"-0.0001", 0), (b"1e3", 1_000_000), (b"0x2", 2000)],
)
def test_a_timeout_is_rounded_up_to_milliseconds(text: bytes, milliseconds: int) -> None:
    assert args.timeout_ms(text, NOW_MS) == milliseconds


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"x", "ERR timeout is not a float or out of range"),
        (b"nan", "ERR timeout is not a float or out of range"),
        (b"1e5000", "ERR timeout is not a float or out of range"),
        (b"-1", "ERR timeout is negative"),
        (b"-inf", "ERR timeout is negative"),
        (b"inf", "ERR timeout is out of range"),
        (b"1e30", "ERR timeout is out of range"),
        (b"9223372036854775.807", "ERR timeout is out of range"),  # fits 64 bits, but not when the time is added
    ],
)
def test_a_timeout_that_is_none_is_refused_as_redis_72_does(text: bytes, error: str) -> None:
    with pytest.raises(CommandError) as refused:
        args.timeout_ms(text, NOW_MS)
    assert refused.value.text == error
