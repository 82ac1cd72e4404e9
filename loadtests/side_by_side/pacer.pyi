from collections.abc import Sequence
from enum import IntFlag

class Ended(IntFlag):
    ANSWERED = 0
    LATE = 1
    OVERRUN = 2
    CLOSED = 3
    REFUSED = 4

class Pacer:
    def __init__(self, fds: list[int], requests: list[tuple[bytes, int]]) -> None: ...
    def drive(
        self, schedule: Sequence[int], tick_s: float, patience_s: float, taken: Sequence[float]
    ) -> tuple[int, int, float]: ...
