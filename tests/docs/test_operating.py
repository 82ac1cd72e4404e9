"""docs/operating.md does what it says: its commands are run from top to bottom.

A fence ``sh`` holds commands that only need a running server: they are run here, against one in a folder of its own.
One that says ``sh service`` needs root, systemd and what stands above it in the file; all of both kinds are run in a
freshly booted container. One behind ``<!-- not run: reason -->`` is only counted. A block is a script that ends at the
first command that fails, and redis-cli fails if the reply is an error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mpkv.testing import Server
from tests.helpers import container
from tests.helpers.reference import free_port

ROOT = Path(__file__).parents[2]
OPERATING = ROOT / "docs" / "operating.md"
BOOT_S = 420  #: a minute on a machine that has nothing else to do
BLOCK_S = 100
#: Needs a package index (twice), a Prometheus, minutes of load.
NOT_RUN = 4

SERVER_MAIN = "import sys; from mpkv.cli import server_main; sys.exit(server_main())"

FENCE = re.compile(r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<kind>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S)

#: Beside each script its output and its exit status.
RUNNER = f"""
cd "$1"
for block in "$2"/*.sh; do
    timeout {BLOCK_S} bash -xeuo pipefail "$block" </dev/null >"${{block%.sh}}.output" 2>&1 && status=0 || status=$?
    echo $status >"${{block%.sh}}.status"
done
"""

UNITS = {
    "mpkv-docs.target": "[Unit]\nRequires=mpkv-docs.service\n",
    "mpkv-docs.service": "[Unit]\nSuccessAction=exit\nFailureAction=exit\n[Service]\nType=oneshot\n"
    f"ExecStart=/bin/sh /out/runner {container.CHECKOUT} /out/blocks\nExecStart=-/bin/sh -c '{{journal}}'\n"
    f"TimeoutStartSec={BOOT_S - 20}\n".replace("{journal}", "journalctl -b --no-pager -n 200 >/out/journal"),
}


@dataclass(frozen=True)
class Block:
    line: int
    kind: str
    text: str
    reason: str  #: why it is not run, or empty

    @property
    def name(self) -> str:
        return f"line-{self.line:04}"


def blocks_of(text: str) -> list[Block]:
    """The fences of a document; a line number is that of the first line within."""
    return [
        Block(text.count("\n", 0, found.start("text")) + 1, found["kind"], found["text"], found["reason"] or "")
        for found in FENCE.finditer(text)
    ]


BLOCKS = blocks_of(OPERATING.read_text())
COMMANDS = [block for block in BLOCKS if block.kind in ("sh", "sh service") and not block.reason]
ANYWHERE = [block for block in COMMANDS if block.kind == "sh"]


def write(blocks: list[Block], folder: Path, places: dict[str, str]) -> None:
    """One script for each block, other places put in for those of the document."""
    folder.mkdir(parents=True)
    for block in blocks:
        text = block.text
        for place, instead in places.items():
            text = text.replace(place, instead)
        (folder / f"{block.name}.sh").write_text(text)


def program(path: Path, line: str) -> None:
    path.write_text(f'#!/bin/sh\n{line} "$@"\n')
    path.chmod(0o755)


def failures(folder: Path) -> dict[str, str]:
    """Block -> empty, or its exit status and what it printed, the failing command last."""
    found = {}
    for path in folder.glob("*.status"):
        status, output = path.read_text().strip(), path.with_suffix(".output").read_text(errors="replace")
        found[path.stem] = "" if status == "0" else f"docs/operating.md, {path.stem}: exit status {status}\n{output}"
    return found


def run_here(blocks: list[Block], server: Server, folder: Path, metrics_port: int) -> dict[str, str]:
    """Run blocks against a server that is there already."""
    programs = folder / "bin"
    programs.mkdir()
    program(programs / "redis-cli", f"exec {shutil.which('redis-cli')} -e -p {server.port}")
    program(programs / "mpkv", f"exec {sys.executable} -m mpkv")
    program(programs / "mpkv-server", f"exec {sys.executable} -c '{SERVER_MAIN}'")
    config = folder / "mpkv.conf"
    config.write_text("workers 2\nmaxclients 10000\n")
    write(blocks, folder / "blocks", {
        "127.0.0.1:9121": f"127.0.0.1:{metrics_port}", "mpkv ping": f"mpkv ping --port {server.port}",
        "/etc/mpkv/mpkv.conf": str(config), "/var/lib/mpkv": str(folder),
        "/tmp/mpkv-dashboards": str(folder / "boards"),
    })  # fmt: skip
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    subprocess.run(
        ["sh", "-c", RUNNER, "runner", str(ROOT), str(folder / "blocks")], env=environment, check=True, timeout=BOOT_S
    )
    return failures(folder / "blocks")


def missing_programs() -> str:
    """What the commands of the document need, and this machine does not have."""
    programs = ("redis-cli", "redis-check-rdb", "promtool", "curl", "ps")
    missing = [name for name in programs if shutil.which(name) is None]
    return f"there is no {', '.join(missing)} (Debian: redis-tools, prometheus, curl, procps)" if missing else ""


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Server, int]]:
    if lacking := missing_programs():
        pytest.skip(lacking)
    metrics_port = free_port()
    with Server(2, metrics_port=metrics_port, save="3600 1") as server:
        yield server, metrics_port


@pytest.fixture(scope="module")
def here(served: tuple[Server, int], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    server, metrics_port = served
    return run_here(ANYWHERE, server, tmp_path_factory.mktemp("here"), metrics_port)


@pytest.fixture(scope="module")
def booted() -> Iterator[dict[str, str]]:
    reason = container.obstacle() or missing_programs()
    if reason:
        pytest.skip(reason)
    scratch = Path(tempfile.mkdtemp(prefix="mpkv-docs-"))
    try:
        yield run_booted(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def run_booted(scratch: Path) -> dict[str, str]:
    (scratch / "units").mkdir()
    for name, text in UNITS.items():
        (scratch / "units" / name).write_text(text)
    write(COMMANDS, scratch / "out" / "blocks", {})
    (scratch / "out" / "runner").write_text(RUNNER)
    container.wrapper(scratch / "mpkv-server", f"-c '{SERVER_MAIN}'")
    program(scratch / "redis-cli", "exec /usr/bin/redis-cli -e")
    binds = {scratch / "mpkv-server": "/usr/bin/mpkv-server", scratch / "redis-cli": "/usr/local/bin/redis-cli"}
    out, console = container.boot(scratch, "mpkv-docs.target", binds, BOOT_S)
    found = failures(out / "blocks")
    if not found or any(found.values()):
        print(console[-4000:], (out / "journal").read_text()[-8000:] if (out / "journal").exists() else "")
    return found


def says(found: dict[str, str], block: Block) -> None:
    assert block.name in found, f"{block.name} was not reached"
    assert not found[block.name], found[block.name]


@pytest.mark.parametrize("block", ANYWHERE, ids=lambda block: block.name)
def test_what_needs_a_server_only(here: dict[str, str], block: Block) -> None:
    says(here, block)


@pytest.mark.timeout(BOOT_S + 30)
@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.name)
def test_from_top_to_bottom_on_a_booted_systemd(booted: dict[str, str], block: Block) -> None:
    says(booted, block)


def test_what_fails_is_told(served: tuple[Server, int], tmp_path: Path) -> None:
    server, metrics_port = served
    text = "```sh\ntrue\nfalse\ntrue\n```\n\n```sh\nredis-cli nosuchcommand\n```\n\n```sh\nfalse | true\n```\n"
    found = run_here(blocks_of(text), server, tmp_path, metrics_port)
    assert sorted(found) == ["line-0002", "line-0008", "line-0012"]
    assert found["line-0002"].endswith("+ true\n+ false\n")
    assert "unknown command" in found["line-0008"]
    assert found["line-0012"]


def test_what_is_not_run_says_why() -> None:
    left_out = [block for block in BLOCKS if block.reason]
    assert len(left_out) == NOT_RUN
    assert {block.kind for block in BLOCKS} <= {"sh", "sh service", "yaml", "ini"}
    assert not [block.line for block in left_out if block.kind != "sh"]


def test_the_scrape_configuration_is_one(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("there is no promtool (Debian: prometheus)")
    (text,) = (block.text for block in BLOCKS if block.kind == "yaml")
    rules = ROOT / "mpkv" / "metrics" / "prometheus_rules" / "mpkv.yml"
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/prometheus/mpkv.yml", str(rules)))
    result = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yml")], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name) if name else path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target
