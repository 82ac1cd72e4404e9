"""The longest common subsequence against a plain model."""

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from mpkv.types import lcs

texts = st.text("abc", max_size=20).map(str.encode)


def model_length(a: bytes, b: bytes) -> int:
    @cache
    def longest(i: int, j: int) -> int:
        if not i or not j:
            return 0
        return longest(i - 1, j - 1) + 1 if a[i - 1] == b[j - 1] else max(longest(i - 1, j), longest(i, j - 1))

    return longest(len(a), len(b))


@given(texts, texts)
def test_the_length_is_that_of_the_model(a: bytes, b: bytes) -> None:
    assert lcs.length(a, b) == model_length(a, b)


@given(texts, texts)
def test_runs_are_equal_in_both_strings_and_come_last_first_without_overlap(a: bytes, b: bytes) -> None:
    runs = lcs.runs(a, b)
    assert sum(size for _, _, size in runs) == model_length(a, b)
    end_a, end_b = len(a), len(b)
    for start_a, start_b, size in runs:
        assert size > 0
        assert a[start_a : start_a + size] == b[start_b : start_b + size]
        assert start_a + size <= end_a and start_b + size <= end_b
        end_a, end_b = start_a, start_b
