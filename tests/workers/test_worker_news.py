"""News of a worker's own: only to a frontend that has opened the link, or their batch would be missed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mpkv.config import Config
from mpkv.workers.main import Worker


class Executor:
    def __init__(self) -> None:
        self.events: list[bytes] = []

    def event(self, payload: bytes) -> None:
        self.events.append(payload)


def worker(*, received: int, threshold_ms: int) -> Any:
    """A worker that has nothing but a link and an executor."""
    made = Worker.__new__(Worker)
    made.config = Config()
    made.config.set([("latency-monitor-threshold", str(threshold_ms))], local=True)
    made.link = SimpleNamespace(received=received)  # type: ignore[assignment]
    made.executor = Executor()  # type: ignore[assignment]
    return made


@pytest.mark.parametrize(
    ("received", "threshold_ms", "ms", "told"),
    [(1, 5, 5, True), (7, 5, 50, True), (0, 5, 50, False), (1, 5, 4, False), (1, 0, 50, False)],
)
def test_a_latency_is_told_if_it_is_long_and_somebody_listens(
    received: int, threshold_ms: int, ms: int, told: bool
) -> None:
    made = worker(received=received, threshold_ms=threshold_ms)
    made._note_latency("expire-cycle", ms)
    assert len(made.executor.events) == told


@pytest.mark.parametrize(("received", "told"), [(0, False), (1, True)])
def test_the_end_of_a_join_is_told_only_on_an_open_link(received: int, told: bool) -> None:
    made = worker(received=received, threshold_ms=0)
    made._child, made._joined = None, b"{}"
    made._join = SimpleNamespace(is_alive=lambda: False, join=lambda: None)
    made._look_after_child()
    assert made.executor.events == [b"{}"] * told
