"""Latencies in microseconds, counted in buckets that are never wider than 1 % of their value.

The buckets are log-linear: one for each value below 256 µs, then 128 for every doubling. Two histograms add up without
loss, which is what several client processes and a run of many seconds need. locust's own statistics round to
milliseconds, and so cannot tell 0.3 ms from 0.5 ms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Self

_MANTISSA_BITS: Final = 7
_HALF: Final = 1 << _MANTISSA_BITS


def bucket_of(us: int) -> int:
    """The bucket that counts a value."""
    shift = max(0, us.bit_length() - _MANTISSA_BITS - 1)
    return shift * _HALF + (us >> shift)


def upper_edge_us(bucket: int) -> int:
    """The largest value that a bucket counts."""
    shift = max(0, bucket // _HALF - 1)
    return ((bucket - shift * _HALF + 1) << shift) - 1


class Histogram:
    """How many values fell into each bucket; the sum and the largest are exact."""

    def __init__(self, counts: Mapping[int, int] = {}, sum_us: int = 0, max_us: int = 0) -> None:
        self.counts = dict(counts)
        self.sum_us = sum_us
        self.max_us = max_us

    def record(self, us: int) -> None:
        """Count one value; a clock that went back gives 0."""
        us = max(us, 0)
        bucket = bucket_of(us)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.sum_us += us
        self.max_us = max(self.max_us, us)

    def add(self, other: Histogram) -> Self:
        """Count all that another has counted."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.sum_us += other.sum_us
        self.max_us = max(self.max_us, other.max_us)
        return self

    @property
    def total(self) -> int:
        """How many values were counted."""
        return sum(self.counts.values())

    @property
    def mean_us(self) -> float:
        return self.sum_us / self.total if self.counts else math.nan

    def percentile_us(self, percent: float) -> float:
        """The value that so many percent of the counted ones do not exceed; not a number if there are none."""
        if not self.counts:
            return math.nan
        wanted = max(1, math.ceil(self.total * percent / 100))
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= wanted:
                return min(upper_edge_us(bucket), self.max_us)
        raise AssertionError("the buckets hold fewer values than their sum")
