"""Tables of requests whose replies are a real redis-server's, byte for byte: strings, lists, keys and the keyspace."""

from typing import Any

import pytest

from tests.commands import cases_generic, cases_keyspace, cases_lists, cases_strings
from tests.helpers.doors import HandlerDoor, assert_same_replies
from tests.helpers.reference import Connection

TABLES = (cases_strings, cases_lists, cases_generic, cases_keyspace)
CASES = {f"{table.__name__.rpartition('_')[2]}: {name}": case for table in TABLES for name, case in table.CASES.items()}


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("name", CASES)
def test_commands_reply_as_redis_does(name: str, protocol: int, keyspace: Any, reference: Connection) -> None:
    reference.call([b"HELLO", b"%d" % protocol])
    assert_same_replies(CASES[name], HandlerDoor(keyspace, protocol=protocol), reference, keyspace.validate)
