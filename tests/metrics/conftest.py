"""Fixtures for tests of the metrics: a board of a supervisor, a frontend and two workers, all this process."""

from collections.abc import Iterator

import pytest

from mpkv.config import Config
from mpkv.metrics.source import BoardSource
from mpkv.shm.layout import State
from mpkv.shm.segment import Segment

COMMANDS = ["config|get", "get", "set"]


@pytest.fixture
def source() -> Iterator[BoardSource]:
    segment = Segment.create(2, COMMANDS, intents_bytes=4096)
    made = BoardSource(segment, Config())
    for block in made.board.processes:
        block.begin()
        block.enter(State.READY)
    yield made
    segment.close()
