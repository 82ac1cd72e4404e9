"""Every compiled short way belongs to a command, and is compared with redis-server and with its handler."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import mpkv.workers.execute
from mpkv.commands import spec
from mpkv.workers.shortcuts import table
from tests.helpers.doors import words_of

assert mpkv.workers.execute  # which fills the table

COMMANDS = {command.name: command for command in spec.load().values()}
FOLDER = Path(__file__).parents[1] / "commands"
#: The commands of tests/server/test_differential.py, which runs each case with the shortcuts and without.
COMPARED = {
    words_of(request)[0].decode().lower()
    for path in FOLDER.glob("cases_*.py")
    for case in importlib.import_module(f"tests.commands.{path.stem}").CASES.values()
    for request in case
}


def test_none_is_there_twice() -> None:
    assert len(table.names()) == len(set(table.names())) > 50


@pytest.mark.parametrize("name", sorted(table.names()))
def test_a_shortcut_is_one_of_a_command_on_a_shard_and_is_compared(name: str) -> None:
    assert COMMANDS[name].on_shard
    assert name in COMPARED
