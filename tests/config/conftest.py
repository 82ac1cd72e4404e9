"""Fixtures for tests of the configuration: a real redis-server to compare with."""

from collections.abc import Iterator

import pytest

from tests.helpers.reference import Connection, reference_server


@pytest.fixture
def reference(tmp_path) -> Iterator[Connection]:
    """A fresh server each time: its settings are what the tests change."""
    with reference_server() as port:
        connection = Connection(port)
        yield connection
        connection.close()
