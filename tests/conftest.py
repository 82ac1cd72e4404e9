"""What all tests share: running servers, one for the session of each size, and a real redis-server beside them."""

from collections.abc import Iterator

import hypothesis
import pytest

from mpkv.testing import Server
from tests.helpers.reference import Connection, reference_server
from tests.helpers.running import leaving_nothing, without_leaks

# How long an example takes is the machine's affair, and a sanitizer's
hypothesis.settings.register_profile("mpkv", deadline=None)
hypothesis.settings.load_profile("mpkv")


@pytest.fixture(scope="session")
def one_worker() -> Iterator[Server]:
    """A server with one shard. It belongs to the whole session: a test that changes its settings puts them back."""
    with leaving_nothing(1) as server:
        yield server


@pytest.fixture(scope="session")
def four_workers() -> Iterator[Server]:
    """The same with four shards."""
    with leaving_nothing(4) as server:
        yield server


@pytest.fixture(params=["one_worker", "four_workers"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """An empty server of either size; it may not hold more after the test than before."""
    running: Server = request.getfixturevalue(request.param)
    connection = Connection(running.port)
    connection.call([b"FLUSHALL"])
    connection.close()
    with without_leaks(running):
        yield running


@pytest.fixture(scope="session")
def reference_port() -> Iterator[int]:
    """A real redis-server of the session; without Redis on this machine the test is skipped."""
    with reference_server("--enable-debug-command", "yes") as port:
        yield port


@pytest.fixture
def reference(reference_port: int) -> Iterator[Connection]:
    """A client of the real redis-server, which is empty."""
    connection = Connection(reference_port)
    connection.call([b"FLUSHALL"])
    yield connection
    connection.close()
