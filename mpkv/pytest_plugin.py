"""Fixtures for pytest: a running server for the session, and a client that finds it empty.

    def test_my_cache(mpkv_client):
        mpkv_client.set("greeting", "hello")

Loaded by pytest through the entry point ``pytest11``, in every project where mpkv is installed: so nothing but pytest
is imported before a fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mpkv.testing import Server


@pytest.fixture(scope="session")
def mpkv_server() -> Iterator[Server]:
    """A server with two workers that lives as long as the session; see `mpkv.testing.Server`."""
    from mpkv.testing import Server

    with Server(workers=2) as server:
        yield server


@pytest.fixture
def mpkv_client(mpkv_server: Server) -> Iterator[Any]:
    """A ``redis.Redis`` on `mpkv_server`, whose databases are emptied before each test."""
    redis = pytest.importorskip("redis", reason="the client library redis is not installed")
    with redis.Redis.from_url(mpkv_server.url) as client:
        client.flushall()
        yield client
