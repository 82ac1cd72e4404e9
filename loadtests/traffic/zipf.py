"""Which keys are asked for: by Zipf's law, a few all the time and most of them hardly ever.

The exponent 0.99 is the one that YCSB made usual: the most popular of 100,000 keys gets some 8 % of the requests.
"""

from __future__ import annotations

import random
from array import array
from bisect import bisect_left
from itertools import accumulate
from typing import Final

EXPONENT: Final = 0.99


class Zipf:
    """Ranks from 0 on: rank r is chosen with a probability proportional to 1 / (r + 1) ** exponent."""

    def __init__(self, count: int, exponent: float = EXPONENT) -> None:
        self._cumulative = array("d", accumulate(1 / rank**exponent for rank in range(1, count + 1)))

    def choose(self, chance: random.Random) -> int:
        """A rank."""
        return bisect_left(self._cumulative, chance.random() * self._cumulative[-1])
