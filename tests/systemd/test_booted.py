"""The shipped units on a real systemd, booted in a container whose root is this machine's, thrown away afterwards.

One boot for all; what is looked at inside stands in systemd/ci/check.py.
"""

from __future__ import annotations

import ast
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import container

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
BOOT_S = 420  #: half a minute on a machine that has nothing else to do


def checks() -> list[str]:
    """The names of the checks, in order; read, not imported: it is a program of its own."""
    tree = ast.parse((UNITS / "ci" / "check.py").read_text())
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(mark, ast.Name) and mark.id == "check" for mark in node.decorator_list)
    ]


@pytest.fixture(scope="module")
def booted() -> Iterator[dict[str, str]]:
    """Name of a check -> what went wrong, empty if nothing did."""
    reason = container.obstacle()
    if reason:
        pytest.skip(reason)
    scratch = Path(tempfile.mkdtemp(prefix="mpkv-boot-"))
    try:
        yield boot(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def boot(scratch: Path) -> dict[str, str]:
    drop_ins = scratch / "units" / "mpkv.service.d"
    drop_ins.mkdir(parents=True)
    for path in [*UNITS.glob("mpkv.s*"), *(UNITS / "ci").glob("mpkv-ci*")]:
        shutil.copy(path, scratch / "units")
    shutil.copy(UNITS / "ci" / "10-haste.conf", drop_ins)
    out, console = container.boot(scratch, "mpkv-ci.target", {}, BOOT_S)
    results = out / "results.json"
    if not results.exists():
        pytest.fail(f"nothing was checked; the container said:\n{console[-8000:]}")
    found: dict[str, str] = json.loads(results.read_text())
    if any(found.values()):
        print(console[-4000:], (out / "journal").read_text()[-8000:] if (out / "journal").exists() else "")
    return found


@pytest.mark.timeout(BOOT_S + 30)
@pytest.mark.parametrize("name", checks())
def test_as_a_service(booted: dict[str, str], name: str) -> None:
    assert name in booted, "the boot ended before this was checked"
    assert not booted[name], booted[name]
