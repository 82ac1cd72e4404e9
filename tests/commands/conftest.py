"""Fixtures for tests of commands: an empty redis-server to compare with, and empty keyspaces to run handlers on."""

from collections.abc import Iterator
from typing import Any

import pytest
from mpkv.workers.keyspace import Keyspace

from tests.helpers.fake_db import FakeKeyspace
from tests.helpers.reference import Connection, reference_server


@pytest.fixture(scope="session")
def reference_port() -> Iterator[int]:
    with reference_server() as port:
        yield port


@pytest.fixture
def reference(reference_port: int) -> Iterator[Connection]:
    connection = Connection(reference_port)
    connection.call([b"FLUSHALL"])
    yield connection
    connection.close()


@pytest.fixture(params=[FakeKeyspace, Keyspace], ids=["fake", "native"])
def keyspace(request: pytest.FixtureRequest) -> Any:
    """An empty shard, of plain Python and of native memory in turn."""
    return request.param()
