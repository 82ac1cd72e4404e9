"""Every table of cases, over TCP, to redis-server and to mpkv with one and with four shards: the same raw replies.

With four shards the cases run twice: with all keys under one tag, and as they are, where commands of class H answer
CROSSSLOT exactly when their keys are on several shards.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mpkv.testing import Server
from tests.helpers.differential import Words, assert_replies_agree, tagged
from tests.helpers.doors import words_of
from tests.helpers.known_differences import DIFFERENCES, Difference
from tests.helpers.reference import Connection

TABLES = sorted(path.stem for path in (Path(__file__).parents[1] / "commands").glob("cases_*.py"))
CASES = {
    f"{table.removeprefix('cases_')}: {name}": [words_of(request) for request in case]
    for table in TABLES
    for name, case in importlib.import_module(f"tests.commands.{table}").CASES.items()
}

#: Watched keys and the transaction must be on one shard (see test_transactions_over_shards).
CASES_WITHOUT_WATCH = {name: case for name, case in CASES.items() if all(words[0] != b"WATCH" for words in case)}

in_both_protocols = pytest.mark.parametrize("protocol", [2, 3])
in_every_case = pytest.mark.parametrize("name", CASES)


@contextmanager
def emptied(port: int) -> Iterator[Connection]:
    with closing(Connection(port)) as connection:
        connection.call([b"FLUSHALL"])
        yield connection


@pytest.fixture(scope="module")
def without_shortcuts(one_worker: Server) -> Iterator[Server]:
    """The server with one shard, whose commands all take their handlers."""
    with closing(Connection(one_worker.port)) as connection:
        assert connection.call([b"DEBUG", b"SHORTCUTS", b"0"]) == b"+OK\r\n"
        yield one_worker
        connection.call([b"DEBUG", b"SHORTCUTS", b"1"])


def replay(server: Server, reference: Connection, requests: list[Words], protocol: int) -> None:
    with emptied(server.port) as connection:
        assert_replies_agree(requests, connection, reference, server.workers, protocol)
        assert connection.call([b"DEBUG", b"VALIDATE"]) == b"+OK\r\n"


@in_both_protocols
@in_every_case
def test_one_shard_replies_as_redis_does(name: str, protocol: int, one_worker: Server, reference: Connection) -> None:
    replay(one_worker, reference, CASES[name], protocol)


@in_both_protocols
@in_every_case
def test_four_shards_reply_as_redis_does_where_keys_share_a_tag(
    name: str, protocol: int, four_workers: Server, reference: Connection
) -> None:
    replay(four_workers, reference, [tagged(words) for words in CASES[name]], protocol)


@in_both_protocols
@pytest.mark.parametrize("name", CASES_WITHOUT_WATCH)
def test_four_shards_reply_as_redis_does_or_refuse_what_crosses_slots(
    name: str, protocol: int, four_workers: Server, reference: Connection
) -> None:
    replay(four_workers, reference, CASES[name], protocol)


@in_both_protocols
@in_every_case
def test_handlers_reply_over_the_wire_as_redis_does(
    name: str, protocol: int, without_shortcuts: Server, reference: Connection
) -> None:
    replay(without_shortcuts, reference, CASES[name], protocol)


@pytest.mark.parametrize("line", DIFFERENCES, ids=lambda line: line.reason)
def test_a_known_difference_is_as_the_list_says(
    line: Difference, one_worker: Server, four_workers: Server, reference: Connection
) -> None:
    *before, request = [words_of(text) for text in line.example]
    with emptied((one_worker if line.shards == 1 else four_workers).port) as connection:
        for words in before:
            assert connection.call(words) == reference.call(words)
        assert re.fullmatch(line.reference, reference.call(request))
        assert re.fullmatch(line.ours, connection.call(request))
