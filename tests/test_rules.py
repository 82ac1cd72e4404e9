"""The rules of the tree: who may import whom, what every table must agree on, what must not be in any file."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from mpkv import config_table, wire
from mpkv.commands import spec
from mpkv.commands.spec import Command, Flag

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mpkv"
SOURCES = sorted(path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".pyx", ".pxd"))
MODULES = [path for path in SOURCES if path.suffix != ".pxd"]
TABLE = spec.load()

#: From the bottom up: a part may import what stands below it, and itself. Single modules and packages alike.
LEVELS = (
    {"errors", "buffer", "glob", "sharding", "control", "sdnotify", "ping"},
    {"config_syntax", "config_values"},
    {"config_table"},
    {"config_rewrite"},
    {"config"},
    {"logs", "process", "start_checks", "listeners", "rights"},
    {"resp", "types", "shm"},
    {"wire"},
    {"crash"},
    {"commands", "metrics", "snapshot"},
    {"frontend", "workers", "service", "watchdog"},
    {"supervisor"},
    {"cli"},
    {"__main__", "testing"},
    {"pytest_plugin"},
)
LEVEL_OF = {part: level for level, parts in enumerate(LEVELS) for part in parts}

#: A snapshot is a walk through a shard's keyspace: this module is the one that it knows of the workers.
EXCEPTIONS = {("snapshot", "mpkv.workers.keyspace")}

#: Where the processes meet the network between them; nothing else knows of it.
LINKS = {"mpkv/frontend/link.pyx", "mpkv/workers/link.pyx"}

#: The life of a command: the first line of these names the step.
STEPS = {
    "frontend/connection.pyx": (1, 2, 13), "resp/parser.pyx": (2,), "commands/spec.py": (3,),
    "frontend/dispatcher.py": (3, 4, 5), "frontend/gate.py": (4,), "frontend/router.pyx": (5,), "wire.pyx": (6,),
    "frontend/link.pyx": (7, 11), "workers/link.pyx": (7, 11),
    "workers/execute.pyx": (8,), "resp/encoder.pyx": (10,), "frontend/pending.pyx": (12,),
}  # fmt: skip

VAGUE_NAMES = {"util", "utils", "helper", "helpers", "common", "misc", "tools"}

#: In pieces, so that this file may be searched too.
FORBIDDEN = re.compile(
    "|".join(
        ["/wo" "rk/", "/ro" "ot/", r"/ho" r"me/\w", "cl" "aude", "anth" "ropic", "open" "ai", r"\bissue " r"#?\d"]
    ),
    re.IGNORECASE,
)  # fmt: skip


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@cache
def imports_of(path: Path) -> set[str]:
    """Every module that a source file imports or cimports, wherever in it."""
    text = path.read_text()
    if path.suffix == ".py":
        return set(_imports_of_python(ast.parse(text)))
    found = set()
    for module, names in re.findall(r"^\s*from ([\w.]+) c?import \(?([^)\n]*)", text, re.MULTILINE):
        found |= {f"mpkv.{name.strip()}" for name in names.split(",")} if module == "mpkv" else {module}
    return found | set(re.findall(r"^\s*c?import ([\w.]+)", text, re.MULTILINE))


def _imports_of_python(tree: ast.Module) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            assert node.module is not None
            found += [f"mpkv.{alias.name}" for alias in node.names] if node.module == "mpkv" else [node.module]
    return found


def tracked_files() -> list[Path]:
    """What a clone would contain."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("this is not a git work tree: what belongs to the project cannot be listed")
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


# -- layers ------------------------------------------------------------------------------------------------------------


def test_every_part_has_a_level() -> None:
    parts = {part_of(path) for path in SOURCES} - {"__init__"}
    assert parts == set(LEVEL_OF)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_go_down_only(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        return
    upwards = []
    for module in imports_of(path):
        imported = module.removeprefix("mpkv.").partition(".")[0] if module.startswith("mpkv.") else ""
        if imported not in LEVEL_OF or imported == part or (part, module) in EXCEPTIONS:
            continue
        if LEVEL_OF[imported] > LEVEL_OF[part] or (LEVEL_OF[imported] == LEVEL_OF[part] and LEVEL_OF[part]):
            upwards.append(module)
    assert not upwards


def test_the_import_reader_sees_every_form() -> None:
    """The rule above is worth as much as what it reads."""
    router = imports_of(PACKAGE / "frontend" / "router.pyx")
    assert {"mpkv.frontend.pending", "mpkv.wire", "mpkv.sharding", "mpkv.errors", "mpkv.commands.spec", "os"} <= router
    supervisor = imports_of(PACKAGE / "supervisor.py")
    assert {"mpkv.logs", "mpkv.commands", "mpkv.shm.board", "selectors"} <= supervisor


def test_only_the_links_know_zeromq() -> None:
    knowing = {name_of(path) for path in SOURCES for module in imports_of(path) if module.partition(".")[0] == "zmq"}
    assert knowing == LINKS


def test_commands_can_be_imported_without_a_process_of_the_server() -> None:
    program = "import sys; from mpkv.commands import spec; spec.load(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded_modules = set(loaded.stdout.split())
    assert "mpkv.commands.strings" in loaded_modules
    assert not {name for name in loaded_modules if name.startswith(("mpkv.frontend", "mpkv.workers", "zmq", "uvloop"))}


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_its_purpose_in_its_first_sentence(path: Path) -> None:
    found = re.match(r'"""(.+?)(?:\n\n|"""\n)', path.read_text(), re.DOTALL)
    assert found is not None
    assert re.search(r"[.:?]", found.group(1))


@pytest.mark.parametrize(("module", "steps"), STEPS.items(), ids=STEPS)
def test_the_first_line_of_a_module_on_the_way_of_a_command_names_its_step(module: str, steps: tuple[int, ...]) -> None:
    line = (PACKAGE / module).read_text().partition("\n")[0]
    named = re.match(r'"""Steps? ((?:\d+(?:, | and )?)+)', line)
    assert named is not None
    assert tuple(map(int, re.findall(r"\d+", named.group(1)))) == steps


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not {name_of(path) for path in SOURCES if VAGUE_NAMES & set(path.relative_to(PACKAGE).with_suffix("").parts)}


@pytest.mark.parametrize("path", [path for path in SOURCES if path.suffix != ".py"], ids=name_of)
def test_lines_of_compiled_modules_are_at_most_120_long(path: Path) -> None:
    assert not [number for number, line in enumerate(path.read_text().splitlines(), 1) if len(line) > 120]


def test_nothing_of_the_machine_it_was_made_on_is_in_the_project() -> None:
    found = []
    for path in tracked_files():
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        found += [f"{name_of(path)}:{number}: {line}" for number, line in enumerate(lines, 1) if FORBIDDEN.search(line)]
    assert not found


@pytest.mark.parametrize("stub", sorted(PACKAGE.rglob("*.pyi")), ids=name_of)
def test_a_stub_promises_only_what_its_module_has(stub: Path) -> None:
    module = importlib.import_module(".".join(stub.relative_to(ROOT).with_suffix("").parts))
    missing = []
    for node in ast.parse(stub.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not hasattr(module, node.name):
            missing.append(node.name)
        elif isinstance(node, ast.ClassDef):
            methods = {member.name for member in node.body if isinstance(member, ast.FunctionDef)}
            missing += [f"{node.name}.{name}" for name in methods if not hasattr(getattr(module, node.name), name)]
    assert not missing


# -- commands ----------------------------------------------------------------------------------------------------------


def is_container(command: Command) -> bool:
    return command.handler is spec.container_handler


OF_CLIENTS = [command for command in TABLE.values() if not is_container(command) and not command.flags & Flag.INTERNAL]


def by_name(command: Command) -> str:
    return command.name


@pytest.mark.parametrize("command", OF_CLIENTS, ids=by_name)
def test_a_command_says_its_syntax_and_what_it_does(command: Command) -> None:
    assert command.syntax.split()[: command.words] == command.name.upper().split("|")
    assert command.summary.endswith(".")


@pytest.mark.parametrize("command", TABLE.values(), ids=by_name)
def test_a_command_runs_on_a_shard_or_in_the_frontend(command: Command) -> None:
    first = next(iter(command.handler.__code__.co_varnames))
    assert first in ("db", "conn")
    assert command.on_shard == (first == "db")


@pytest.mark.parametrize("command", [command for command in OF_CLIENTS if command.on_shard], ids=by_name)
def test_the_keys_of_a_command_fit_its_arity(command: Command) -> None:
    """The shortest request that is accepted has all keys at fixed places, and the word that counts the others."""
    words = abs(command.arity)
    assert words >= command.words
    assert command.keys.first < words
    assert command.keys.last < words
    assert command.keys.count_at < words
    assert command.keys.step >= 1


@pytest.mark.parametrize("command", OF_CLIENTS, ids=by_name)
def test_a_command_on_keys_reads_or_writes(command: Command) -> None:
    access = bool(command.flags & Flag.WRITE) + bool(command.flags & Flag.READONLY)
    assert access == 1 if command.keys != spec.NO_KEYS and command.on_shard else access <= 1


@pytest.mark.parametrize("command", [command for command in TABLE.values() if command.across], ids=by_name)
def test_only_what_runs_on_shards_runs_on_several(command: Command) -> None:
    assert command.across is not None
    assert command.on_shard
    assert command.across.native in ("", "ok", "sum", "places")


def test_numbers_are_places_in_the_sorted_table() -> None:
    assert list(TABLE) == sorted(TABLE)
    assert [command.number for command in TABLE.values()] == list(range(len(TABLE)))


def test_another_process_gives_the_same_numbers() -> None:
    """Frontend and workers name a command by its number: it may not depend on the order of imports or on hashing."""
    program = (
        "import json, mpkv.commands.transactions, mpkv.commands.debug\n"
        "from mpkv.commands import spec\n"
        "print(json.dumps({name: command.number for name, command in spec.load().items()}))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "1"},
    )
    assert json.loads(printed.stdout) == {name: command.number for name, command in TABLE.items()}


def test_flags_of_the_server_are_bits_of_their_own() -> None:
    values = [flag.value for flag in Flag]
    assert all(value.bit_count() == 1 for value in values)
    assert len(set(values)) == len(values)
    assert not {flag for flag in spec.FLAG_NAMES if flag in (Flag.INTERNAL, Flag.SETTLED, Flag.DANGEROUS)}


# -- documents ---------------------------------------------------------------------------------------------------------


def test_the_table_of_directives_is_the_one_in_the_documentation() -> None:
    assert config_table.markdown() in (ROOT / "docs" / "configuration.md").read_text()


def test_the_readme_names_every_command_that_needs_its_keys_on_one_shard() -> None:
    readme = (ROOT / "README.md").read_text()
    sentence = re.search(r"`\{tag\}`:\s+([A-Z\s]+)\.", readme)
    assert sentence is not None
    keys_elsewhere = [
        command.name.upper()
        for command in OF_CLIENTS
        if command.on_shard
        and command.across is None
        and (command.keys.count_at or command.keys.first != command.keys.last)
    ]
    assert sentence.group(1).split() == sorted(keys_elsewhere)


def test_the_readme_counts_the_commands() -> None:
    top_level = [name for name, command in TABLE.items() if "|" not in name and not command.flags & Flag.INTERNAL]
    assert f"**{len(top_level)} of the 241 commands" in (ROOT / "README.md").read_text()


# -- numbers on the wire -----------------------------------------------------------------------------------------------


def enum_of(prefix: str) -> dict[str, int]:
    text = (PACKAGE / "wire.pxd").read_text()
    return {name: int(value) for name, value in re.findall(rf"^    {prefix}_(\w+) = (\d+)", text, re.MULTILINE)}


def test_every_message_of_the_frontend_has_a_name_and_a_number() -> None:
    declared = {name.lower(): number for name, number in enum_of("CONTROL").items()}
    assert declared
    assert declared == wire.CONTROL_NUMBERS
    assert {number: name for name, number in declared.items()} == wire.CONTROLS


def test_a_worker_answers_every_message_of_the_frontend() -> None:
    text = (PACKAGE / "workers" / "main.py").read_text()
    table = re.search(r"self\._controls = \{(.*?)\}", text, re.DOTALL)
    assert table is not None
    assert set(re.findall(r'"([\w-]+)":', table.group(1))) == set(wire.CONTROL_NUMBERS)


def test_flags_of_an_envelope_are_bits_of_their_own() -> None:
    values = list(enum_of("FLAG").values())
    assert values
    assert all(value.bit_count() == 1 and value < 1 << 8 for value in values)
    assert len(set(values)) == len(values)
