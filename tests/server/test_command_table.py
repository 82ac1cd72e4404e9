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
#: Sub-commands of our own.
OUR_OWN: Final = {"slowlog|details"}
#: (command, field of COMMAND DOCS) that 7.2 has otherwise: the release that brought it, not the beta before.
DOCUMENTED_OTHERWISE_IN_7_2: Final = {("client|pause", "since")}
#: Names of arguments that 7.2 has changed: as 7.0 has it -> as 7.2 has it. Nothing else about these differs.
RENAMED_IN_7_2: Final = {
    "async": "flush-type", "field_value": "data", "key_value": "data", "nosave_save": "save-selector",
    "normal_master_replica_pubsub": "client-type", "normal_master_slave_pubsub": "client-type",
    "offset_count": "limit", "on_off_skip": "on-off-skip", "parameter_value": "data", "score_member": "data",
    "timeout_error": "unblock-type", "username_password": "auth",
}  # fmt: skip
#: Arguments that 7.2 describes otherwise, beyond a name: command -> what is different.
DESCRIBED_OTHERWISE_IN_7_2: Final = {
    "client|kill": "names for what is printed as ip:port and yes/no",
    "client|list": "no block around the ids",
    "client|no-touch": "new",
    "client|setinfo": "new",
    "command|getkeys": "the reference has none",
    "command|getkeysandflags": "the reference has none",
    "config|get": "no block around the parameter",
    "lcs": "the length to match has a name of its own",
    "psubscribe": "no block around the pattern",
    "quit": "deprecated",
    "zrank": "WITHSCORE",
    "zrevrank": "WITHSCORE",
}
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
        row["key specifications"] = [_key_specification(found) for found in row["key specifications"]]
        rows[command[0].decode()] = row
        _gather(command[9], rows)


def _key_specification(fields: list[Any]) -> dict[bytes, Any]:
    """What a note says is free; that there is one is not."""
    found = dict(zip(fields[::2], fields[1::2], strict=True))
    found["notes"] = b"notes" in found
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
    assert ours.keys() - reference.keys() == NEW_IN_7_2 | OUR_OWN


def test_count_and_list_agree_with_the_table(one_worker: Server, tables: tuple[dict[str, Row], dict[str, Row]]) -> None:
    top = {name for name in tables[0] if "|" not in name}
    with redis.Redis(port=one_worker.port) as client:
        assert client.execute_command("COMMAND COUNT") == len(top)
        assert {name.decode() for name in client.execute_command("COMMAND LIST")} == top


@pytest.fixture(scope="module")
def documents(one_worker: Server, reference_port: int) -> tuple[dict[str, Row], dict[str, Row]]:
    return _documents(one_worker.port), _documents(reference_port)


def _documents(port: int) -> dict[str, Row]:
    with redis.Redis(port=port, protocol=3, decode_responses=True) as client:
        client.response_callbacks.clear()
        found = client.execute_command("COMMAND DOCS")
    return found | {
        name: docs for container in found.values() for name, docs in container.get("subcommands", {}).items()
    }


def test_docs_name_group_and_first_version_as_redis_does(documents: tuple[dict[str, Row], dict[str, Row]]) -> None:
    ours, reference = documents
    different = {
        (name, field)
        for name, docs in ours.items()
        for field in ("group", "since")
        if name not in NEW_IN_7_2 | OUR_OWN and docs[field] != reference[name][field]
    }
    assert different == DOCUMENTED_OTHERWISE_IN_7_2


def _arguments(docs: Row) -> list[Row]:
    """Without what only one of the two versions tells, and with the names of 7.2."""
    return [
        {
            "name": RENAMED_IN_7_2.get(argument["name"], argument["name"]),
            **{field: argument[field] for field in ("type", "token", "key_spec_index") if field in argument},
            "flags": set(argument.get("flags", [])),
            "arguments": _arguments(argument),
        }
        for argument in docs.get("arguments", [])
    ]


def _differently_documented(documents: tuple[dict[str, Row], dict[str, Row]]) -> set[str]:
    ours, reference = documents
    return {
        name
        for name, docs in ours.items()
        if _arguments(docs) != _arguments(reference.get(name, {}))
        or docs.get("deprecated_since") != reference.get(name, {}).get("deprecated_since")
    }


def test_docs_describe_arguments_as_redis_does(documents: tuple[dict[str, Row], dict[str, Row]]) -> None:
    assert _differently_documented(documents) == set(DESCRIBED_OTHERWISE_IN_7_2) | OUR_OWN


def test_docs_say_how_an_argument_is_printed(documents: tuple[dict[str, Row], dict[str, Row]]) -> None:
    """Since 7.2: whatever is no choice and no group."""
    ours, _ = documents

    def all_of(docs: Row) -> Iterator[Row]:
        for argument in docs.get("arguments", []):
            yield argument
            yield from all_of(argument)

    for docs in ours.values():
        for argument in all_of(docs):
            assert ("display_text" in argument) == (argument["type"] not in ("oneof", "block"))
    (old_format, _) = ours["client|kill"]["arguments"][0]["arguments"]
    assert (old_format["name"], old_format["display_text"]) == ("old-format", "ip:port")


def test_renamed_arguments_are_in_use(documents: tuple[dict[str, Row], dict[str, Row]]) -> None:
    texts = [str(_arguments_of_all(table)) for table in documents]
    assert all(f"'{new}'" in texts[0] and f"'{old}'" in texts[1] for old, new in RENAMED_IN_7_2.items())


def _arguments_of_all(table: dict[str, Row]) -> list[Any]:
    return [docs.get("arguments") for docs in table.values()]
