"""Glob patterns: against a plain model, against Redis, and against patterns made to explode."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpkv.glob import matches


def model(pattern: bytes, text: bytes) -> bool:
    """The definition, by recursion. Bytes of a class are collected into a set first."""
    if not pattern:
        return not text
    head = pattern[:1]
    if head == b"*":
        return any(model(pattern[1:], text[at:]) for at in range(len(text) + 1))
    if not text:
        return False
    if head == b"[":
        at = 1
        negated = pattern[at : at + 1] == b"^"
        at += negated
        members: set[int] = set()
        while at < len(pattern) and pattern[at : at + 1] != b"]":
            if pattern[at : at + 1] == b"\\" and at + 1 < len(pattern):
                members.add(pattern[at + 1])
                at += 2
            elif pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern):
                members |= set(range(min(pattern[at], pattern[at + 2]), max(pattern[at], pattern[at + 2]) + 1))
                at += 3
            else:
                members.add(pattern[at])
                at += 1
        return ((text[0] in members) != negated) and model(pattern[at + 1 :], text[1:])
    if head == b"\\" and len(pattern) > 1:
        return pattern[1] == text[0] and model(pattern[2:], text[1:])
    return (head == b"?" or pattern[0] == text[0]) and model(pattern[1:], text[1:])


PATTERNS = st.lists(st.sampled_from(b"aab*?[]^-\\cz"), max_size=10).map(bytes)
TEXTS = st.lists(st.sampled_from(b"aabcz[]-^\\*"), max_size=8).map(bytes)


@settings(max_examples=3000, deadline=None)
@given(PATTERNS, TEXTS)
def test_matches_as_the_definition_says(pattern, text):
    assert matches(pattern, text) == model(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (b"", b"", True),
        (b"*", b"", True),
        (b"?", b"", False),
        (b"h[^e]llo", b"hello", False),
        (b"h[z-a]llo", b"hello", True),
        (b"[abc", b"c", True),
        (b"[]", b"]", False),
        (b"[\\]]", b"]", True),
        (b"\\*", b"x", False),
        (b"\\", b"\\", True),
        (b"*\x00*", b"a\x00b", True),
        (b"[\x80-\xff]", b"\xc3", True),
    ],
)
def test_matches_edge_cases(pattern, text, expected):
    assert matches(pattern, text) is expected


def test_case_is_ignored_on_request_only():
    assert matches(b"MAX[A-L]emory", b"maxMEMORY", True) is False
    assert matches(b"MAX[L-N]EM*", b"maxmemory", True) is True
    assert matches(b"MAX*", b"maxmemory") is False


def test_a_pattern_made_of_stars_does_not_explode():
    begin = time.perf_counter()
    assert matches(b"a*" * 50 + b"b", b"a" * 20_000) is False
    assert matches(b"*a" * 50 + b"*b*c", b"ab" * 10_000) is False
    assert time.perf_counter() - begin < 1


def test_matches_as_redis_does(reference):
    texts = [b"a", b"ab", b"abc", b"[", b"]", b"a]b", b"\\", b"-", b"^", b"a*b", b"z"]
    for text in texts:
        reference.call([b"SET", text, b"1"])
    patterns = [
        b"a*",
        b"[a-]",
        b"[^]",
        b"[^a",
        b"[",
        b"[]",
        b"\\",
        b"a\\*b",
        b"[\\",
        b"[\\]",
        b"[z-a]",
        b"*]",
        b"[^^]",
        b"??",
        b"[]-a]",
    ]
    for pattern in patterns:
        reply = reference.call([b"KEYS", pattern])
        found = set(reply.split(b"\r\n")[2::2])
        assert found == {text for text in texts if matches(pattern, text)}, pattern
