"""Fixtures for tests of commands: empty keyspaces to run handlers on."""

from typing import Any

import pytest

from mpkv.workers.keyspace import Keyspace
from tests.helpers.fake_db import FakeKeyspace


@pytest.fixture(params=[FakeKeyspace, Keyspace], ids=["fake", "native"])
def keyspace(request: pytest.FixtureRequest) -> Any:
    """An empty shard, of plain Python and of native memory in turn."""
    return request.param()
