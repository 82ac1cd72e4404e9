"""COMMAND, field by field, as redis-server answers it: of every command that exists here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
import redis

from mpkv.testing import Server

FIELDS: Final = ("name", "arity", "flags", "first key", "last key", "step", "categories", "tips", "key specifications")
#: What 7.2 has otherwise than the reference, which is 7.0: (command, field).
OTHERWISE_IN_7_2: Final = {
    ("command|getkeys", "arity"),
    ("command|getkeysandflags", "arity"),
    ("zrank", "arity"),  # WITHSCORE
    ("zrevrank", "arity"),
}
#: Sub-commands that 7.2 has and the reference has not.
NEW_IN_7_2: Final = {"client|no-touch", "client|setinfo"}
#: A level of the reply below which order means nothing.
Row = dict[str, Any]


@pytest.fixture(scope="module")
def tables(one_worker: Server, reference_port: int) -> Iterator[tuple[dict[str, Row], dict[str, Row]]]:
    yield _table(one_worker.port), _table(reference_port)


def _table(port: int) -> dict[str, Row]:
    with redis.Redis(port=port, protocol=2) as client:
        client.response_callbacks.clear()
        rows: dict[str, Row] = {}
        _gather(client.execute_command("COMMAND"), rows)
        return rows


def _gather(commands: list[list[Any]], rows: dict[str, Row]) -> None:
    for command in commands:
        row = dict(zip(FIELDS, command[:9], strict=True))
        row["flags"], row["categories"], row["tips"] = (set(row[name]) for name in ("flags", "categories", "tips"))
        row["key specifications"] = [_without_notes(specification) for specification in row["key specifications"]]
        rows[command[0].decode()] = row
        _gather(command[9], rows)


def _without_notes(specification: list[Any]) -> dict[bytes, Any]:
    found = dict(zip(specification[::2], specification[1::2], strict=True))
    found.pop(b"notes", None)
    found[b"flags"] = set(found[b"flags"])
    return found


@pytest.mark.parametrize("field", FIELDS)
def test_every_command_has_the_fields_of_redis(field: str, tables: tuple[dict[str, Row], dict[str, Row]]) -> None:
    ours, reference = tables
    different = {
        name: (row[field], reference[name][field])
        for name, row in ours.items()
        if name in reference and (name, field) not in OTHERWISE_IN_7_2 and row[field] != reference[name][field]
    }
    assert not different


def test_every_listed_difference_is_one(tables: tuple[dict[str, Row], dict[str, Row]]) -> None:
    ours, reference = tables
    assert all(ours[name][field] != reference[name][field] for name, field in OTHERWISE_IN_7_2)


def test_no_command_is_invented(tables: tuple[dict[str, Row], dict[str, Row]]) -> None:
    ours, reference = tables
    assert ours.keys() - reference.keys() == NEW_IN_7_2


def test_count_and_list_agree_with_the_table(one_worker: Server, tables: tuple[dict[str, Row], dict[str, Row]]) -> None:
    top = {name for name in tables[0] if "|" not in name}
    with redis.Redis(port=one_worker.port) as client:
        assert client.execute_command("COMMAND COUNT") == len(top)
        assert {name.decode() for name in client.execute_command("COMMAND LIST")} == top


def test_docs_name_group_and_first_version_as_redis_does(one_worker: Server, reference_port: int) -> None:
    ours, reference = (_docs(port) for port in (one_worker.port, reference_port))
    different = {
        name: (docs[field], reference[name][field])
        for name, docs in ours.items()
        for field in ("group", "since")
        if docs[field] != reference[name][field]
    }
    assert not different


def _docs(port: int) -> dict[str, dict[str, str]]:
    with redis.Redis(port=port, protocol=3, decode_responses=True) as client:
        client.response_callbacks.clear()
        return client.execute_command("COMMAND DOCS")  # type: ignore[no-any-return]
