"""Inside MULTI, what changes the session itself: HELLO, AUTH, CLIENT REPLY, SUBSCRIBE, CLIENT KILL; raw, as Redis."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from mpkv.testing import Server
from tests.helpers.reference import Connection, pack_request, reference_server

PASSWORD = "secret"
#: Each with the requests in one pipeline.
PIPELINES = (
    "MULTI|HELLO 3|GET a|EXEC|GET a",
    "MULTI|HELLO 3 SETNAME x|CLIENT GETNAME|EXEC|CLIENT GETNAME",
    "MULTI|HELLO 3 SETNAME x|HGETALL h|GET missing|EXEC|HGETALL h",
    "MULTI|HELLO 3 AUTH default secret|HGETALL h|GET missing|EXEC|HGETALL h",
    "MULTI|HELLO 3 AUTH default wrong|HGETALL h|GET missing|EXEC|HGETALL h",
    "MULTI|HELLO 3 AUTH nobody secret|HGETALL h|EXEC|HGETALL h",
    "MULTI|HELLO 4|HGETALL h|EXEC|HGETALL h",
    "MULTI|HELLO 3 NONSENSE|HGETALL h|EXEC|HGETALL h",
    "MULTI|HELLO x|EXEC|PING",
    "HELLO 3|MULTI|HGETALL h|HELLO 2|HGETALL h|HELLO 3|HGETALL h|EXEC|HGETALL h",
    "MULTI|AUTH secret|GET a|EXEC|GET a",
    "MULTI|AUTH wrong|GET a|EXEC|GET a",
    "MULTI|SELECT 3|SET a 3|HELLO 3 AUTH default secret|GET a|EXEC|GET a",
    "MULTI|CLIENT REPLY OFF|SET a 1|EXEC|PING|CLIENT REPLY ON|PING",
    "MULTI|SET a 1|CLIENT REPLY OFF|GET a|PING|EXEC|PING|CLIENT REPLY ON|PING",
    "MULTI|CLIENT REPLY OFF|GET a|CLIENT REPLY ON|PING|EXEC|PING",
    "MULTI|CLIENT REPLY SKIP|GET a|PING|EXEC|PING|PING",
    "MULTI|GET a|CLIENT REPLY SKIP|EXEC|PING|PING",
    "MULTI|CLIENT REPLY NONSENSE|GET a|EXEC|PING",
    "CLIENT REPLY OFF|MULTI|GET a|CLIENT REPLY ON|PING|EXEC|PING|PING",
    "CLIENT REPLY SKIP|MULTI|GET a|EXEC|PING",
    "MULTI|SUBSCRIBE channel|GET a|EXEC",
    "MULTI|HELLO 3|SUBSCRIBE channel|GET a|EXEC|GET a",
    "MULTI|CLIENT REPLY OFF|SUBSCRIBE channel|UNSUBSCRIBE channel|EXEC|PING",
    "MULTI|CLIENT KILL TYPE normal SKIPME no|GET a|PING|EXEC|PING",
)
LAST_WORDS = b"that is all"


@pytest.fixture(scope="module", params=["", PASSWORD], ids=["without a password", "with a password"])
def doors(request: pytest.FixtureRequest) -> Iterator[tuple[int, int, list[str]]]:
    """The ports of the server and of the reference, and how a session begins."""
    options = ("--requirepass", request.param) if request.param else ()
    with reference_server(*options) as reference, Server(2, requirepass=request.param) as server:
        yield server.port, reference, [f"AUTH {request.param}"] if request.param else []


def answers(port: int, login: list[str], pipeline: str) -> bytes:
    """All that comes back, up to the last words or the end."""
    connection = Connection(port)
    for request in [*login, "FLUSHALL", "HSET h field value", "SET a v"]:
        connection.call(request.encode().split())
    requests = [request.encode().split() for request in pipeline.split("|")]
    last = [[b"CLIENT", b"REPLY", b"ON"], [b"PING", LAST_WORDS]]
    connection._socket.sendall(b"".join(map(pack_request, requests + last)))
    found = b""
    while LAST_WORDS not in found and (data := connection._socket.recv(1 << 16)):
        found += data
    connection.close()
    return re.sub(rb"\$\d\r\n7\.\d\.\d+|:\d+(?=\r\n\$4\r\nmode)", b"its own", found)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_transaction_that_changes_its_session_is_answered_as_redis_does(
    pipeline: str, doors: tuple[int, int, list[str]]
) -> None:
    ours, reference, login = doors
    assert answers(ours, login, pipeline) == answers(reference, login, pipeline)
