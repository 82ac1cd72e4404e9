"""The servers that random sequences are compared on, and how long they are searched for a difference."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from hypothesis import HealthCheck, settings

from mpkv.testing import Server
from tests.helpers.reference import Connection
from tests.properties.rivals import Rival, Rivals

#: Examples per property; a longer search is ``PROPERTY_EXAMPLES=2000 pytest tests/properties``.
EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "20"))

settings.register_profile(
    "running servers",
    max_examples=EXAMPLES,
    deadline=None,
    # The servers are emptied by hand before each example
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("running servers")


@pytest.fixture(scope="session")
def rivals(one_worker: Server, four_workers: Server, reference_port: int) -> Iterator[Rivals]:
    """redis-server, mpkv with one shard and mpkv with four, a connection to each."""
    ports = {"redis": (reference_port, 1), "one shard": (one_worker.port, 1), "four shards": (four_workers.port, 4)}
    with ExitStack() as stack:
        yield Rivals(
            *(
                Rival(name, stack.enter_context(closing(Connection(port))), shards)
                for name, (port, shards) in ports.items()
            )
        )
