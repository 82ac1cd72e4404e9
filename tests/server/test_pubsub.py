"""Sessions about pubsub, replayed on redis-server and on mpkv with one and with four shards: the same raw replies."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpkv.testing import Server
from tests.helpers.sessions import assert_same_session, load

SESSIONS = load(Path(__file__).parent / "sessions" / "pubsub.txt")


@pytest.mark.parametrize("title", SESSIONS)
def test_a_session_gets_the_replies_of_redis(
    title: str, server: Server, reference: object, reference_port: int
) -> None:
    assert_same_session(SESSIONS[title], server.port, reference_port)
