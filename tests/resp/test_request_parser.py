"""The request parser: any split, any bytes, its limits, its memory."""

import random
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpkv.resp.parser import Parser, ProtocolError

SET = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n"


def packed(words: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def feed_in_pieces(data: bytes, cuts: list[int]) -> list[list[bytes]]:
    parser, requests, at = Parser(), [], 0
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        requests += parser.feed_bytes(data[at:cut])
        at = cut
    return requests


words = st.binary(max_size=200) | st.sampled_from(
    [b"", b"\r\n", b"$3\r\n", b"x" * 9, b"x" * 10, b"x" * 99, b"x" * 100, b"x" * 1000]
)
requests = st.lists(st.lists(words, min_size=1, max_size=20), max_size=8)


@given(requests, st.lists(st.integers(min_value=0), max_size=12))
def test_requests_come_back_however_they_are_cut(sent: list[list[bytes]], cuts: list[int]) -> None:
    assert feed_in_pieces(b"".join(map(packed, sent)), cuts) == sent


def quoted(word: bytes) -> bytes:
    return b'"' + b"".join(b"\\x%02x" % byte for byte in word) + b'"'


@given(requests, st.lists(st.integers(min_value=0), max_size=12))
def test_inline_requests_come_back_however_they_are_cut(sent: list[list[bytes]], cuts: list[int]) -> None:
    lines = b"".join(b" ".join(map(quoted, request)) + b"\r\n" for request in sent)
    assert feed_in_pieces(lines, cuts) == sent


alphabet = st.lists(
    st.sampled_from(
        [b"*", b"$", b"\r\n", b"\r", b"\n", b"0", b"1", b"2", b"3", b"-", b"a", b'"', b"'", b"\\", b"x", b" ", b"\0"]
    )
)


@given(st.binary(max_size=300) | alphabet.map(b"".join), st.lists(st.integers(min_value=0), max_size=6))
def test_any_bytes_give_the_same_however_they_are_cut(data: bytes, cuts: list[int]) -> None:
    def outcome(cuts: list[int]) -> tuple[list[list[bytes]], str]:
        parser, seen, at = Parser(), [], 0
        for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
            try:
                seen += parser.feed_bytes(data[at:cut], max_inline=64)
            except ProtocolError as error:
                return seen + error.requests, str(error)
            at = cut
        return seen, ""

    assert outcome(cuts) == outcome([])


def test_valid_bytes_with_one_changed_never_crash() -> None:
    chance = random.Random(1)
    for _ in range(20_000):
        data = bytearray(SET * 3)
        data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            Parser().feed_bytes(data)
        except ProtocolError as error:
            assert str(error)


def test_requests_before_an_error_are_not_lost() -> None:
    with pytest.raises(ProtocolError, match=r"^invalid bulk length$") as caught:
        Parser().feed_bytes(SET + SET + b"*1\r\n$x\r\n")
    assert caught.value.requests == [[b"SET", b"k", b"value"]] * 2


@pytest.mark.parametrize("size", [0, 9, 10, 99, 100, 1024, 1025])
def test_max_bulk_is_the_longest_word(size: int) -> None:
    request = packed([b"ECHO", b"x" * size])
    assert Parser().feed_bytes(request, max_bulk=max(size, 4)) == [[b"ECHO", b"x" * size]]
    if size > 4:
        with pytest.raises(ProtocolError, match=r"^invalid bulk length$"):
            Parser().feed_bytes(request, max_bulk=size - 1)


def test_max_bulk_may_be_as_large_as_a_length_can_be() -> None:
    parser = Parser()
    assert parser.feed_bytes(b"*1\r\n$9223372036854775807\r\nabc", max_bulk=2**63 - 1) == []
    assert parser.wanted == 2**63 - 1 + 2 - 3


def test_authentication_in_the_middle_of_a_connection_lifts_the_limits() -> None:
    parser = Parser()
    assert parser.feed_bytes(packed([b"AUTH", b"secret"]), unauthenticated=True) == [[b"AUTH", b"secret"]]
    assert parser.feed_bytes(packed([b"x"] * 11)) == [[b"x"] * 11]


def test_wanted_says_how_much_of_a_word_is_missing() -> None:
    parser = Parser()
    arrivals = [
        (b"*2\r", 1),
        (b"\n$3\r\nSE", 3),
        (b"T\r", 1),
        (b"\n", 1),
        (b"$1000\r\n" + b"x" * 400, 602),
        (b"x" * 600 + b"\r", 1),
    ]
    for data, wanted in arrivals:
        assert parser.feed_bytes(data) == []
        assert parser.wanted == wanted
    assert parser.feed_bytes(b"\n") == [[b"SET", b"x" * 1000]]


def test_an_idle_parser_holds_less_than_a_hundred_bytes() -> None:
    parser = Parser()
    empty = sys.getsizeof(parser)
    parser.feed_bytes(SET)
    assert sys.getsizeof(parser) - empty < 100


def test_a_large_request_is_given_back() -> None:
    parser = Parser()
    parser.feed_bytes(SET)
    small = sys.getsizeof(parser)
    parser.feed_bytes(packed([b"x"] * 500))
    assert sys.getsizeof(parser) > small + 500 * 8
    parser.trim_memory()
    assert sys.getsizeof(parser) <= small
    assert parser.feed_bytes(packed([b"x"] * 5000)) == [[b"x"] * 5000]
    parser.feed_bytes(SET)
    assert sys.getsizeof(parser) <= small


def test_trimming_inside_a_request_keeps_what_arrived() -> None:
    parser, request = Parser(), packed([b"word"] * 100)
    parser.feed_bytes(request[:500])
    parser.trim_memory()
    assert parser.feed_bytes(request[500:]) == [[b"word"] * 100]


def test_the_announced_number_of_words_reserves_nothing() -> None:
    parser = Parser()
    empty = sys.getsizeof(parser)
    parser.feed_bytes(b"*2147483647\r\n$4\r\nMSET\r\n")
    assert sys.getsizeof(parser) - empty < 100


@pytest.mark.parametrize(
    "request_bytes",
    [packed([b"word"] * 300_000), packed([b"ECHO", b"x" * 3_000_000]), b"*1\r\n$4\r\nPING\r\n" * 150_000],
    ids=["many words", "one long word", "many requests"],
)
def test_a_large_request_in_small_pieces_is_not_scanned_again_and_again(request_bytes: bytes) -> None:
    parser, found = Parser(), 0
    start = time.process_time()
    for at in range(0, len(request_bytes), 100):
        found += len(parser.feed_bytes(request_bytes[at : at + 100]))
    # Linear, it takes some 0.1 s; scanned from its first byte for every piece, minutes.
    assert time.process_time() - start < 5
    assert found in (1, 150_000)


def test_a_line_without_end_in_small_pieces_is_not_searched_again_and_again() -> None:
    parser = Parser()
    start = time.process_time()
    for _ in range(400_000):
        parser.feed_bytes(b"xxxxx", max_inline=2_000_000)
    assert time.process_time() - start < 5
    with pytest.raises(ProtocolError, match=r"^too big inline request$"):
        parser.feed_bytes(b"x", max_inline=2_000_000)


def test_a_parser_fails_for_other_kinds_of_data() -> None:
    with pytest.raises(TypeError):
        Parser().feed_bytes("PING")  # type: ignore[arg-type]
