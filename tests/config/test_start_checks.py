"""Warnings at the start: each with a machine made up for it, in a folder that stands for / ."""

from __future__ import annotations

import logging
import platform
import resource
from pathlib import Path

import pytest

from mpkv import cli, start_checks
from mpkv.config import Config
from mpkv.testing import Server

OVERCOMMIT = "proc/sys/vm/overcommit_memory"
HUGE_PAGES = "sys/kernel/mm/transparent_hugepage/enabled"
BACKLOG = "proc/sys/net/core/somaxconn"
RELEASE = "proc/sys/kernel/osrelease"


def config(*words: str) -> Config:
    return Config.from_command_line(words, {})


def machine(root: Path, **files: str) -> Path:
    for name, content in files.items():
        path = root / globals()[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize(("mode", "warns"), [("0\n", True), ("1\n", False), ("2\n", True)])
def test_overcommit_must_be_on(mode: str, warns: bool, tmp_path: Path) -> None:
    sentence = start_checks.check_overcommit(config(), machine(tmp_path, OVERCOMMIT=mode))
    assert (sentence is not None) == warns
    assert not warns or "sysctl vm.overcommit_memory=1" in str(sentence)


@pytest.mark.parametrize(
    ("content", "words", "warns"),
    [
        ("[always] madvise never", ("--disable-thp", "no"), True),
        ("[always] madvise never", (), False),
        ("always [madvise] never", ("--disable-thp", "no"), False),
    ],
)
def test_huge_pages_matter_unless_the_workers_are_excepted(
    content: str, words: tuple[str, ...], warns: bool, tmp_path: Path
) -> None:
    sentence = start_checks.check_huge_pages(config(*words), machine(tmp_path, HUGE_PAGES=content))
    assert (sentence is not None) == warns


@pytest.mark.parametrize(
    ("somaxconn", "words", "warns"),
    [
        ("128\n", (), True),
        ("511\n", (), False),
        ("4096\n", (), False),
        ("128\n", ("--tcp-backlog", "128"), False),
        ("128\n", ("--port", "0"), False),
    ],
)
def test_the_backlog_is_no_longer_than_the_kernels(
    somaxconn: str, words: tuple[str, ...], warns: bool, tmp_path: Path
) -> None:
    sentence = start_checks.check_backlog(config(*words), machine(tmp_path, BACKLOG=somaxconn))
    assert (sentence is not None) == warns
    assert not warns or "lower value of 128" in str(sentence)


@pytest.mark.parametrize(
    ("architecture", "release", "warns"),
    [
        ("aarch64", "5.4.0-88-generic\n", True),
        ("aarch64", "5.12.0\n", False),
        ("aarch64", "6.1.0-18-arm64\n", False),
        ("x86_64", "5.4.0-88-generic\n", False),
    ],
)
def test_old_kernels_for_arm64_are_named(
    architecture: str, release: str, warns: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: architecture)
    sentence = start_checks.check_arm64_copy_on_write(config(), machine(tmp_path, RELEASE=release))
    assert (sentence is not None) == warns


def test_what_cannot_be_read_is_no_reason_to_warn(tmp_path: Path) -> None:
    found = dict(start_checks.run_checks(config("--disable-thp", "no"), tmp_path))
    assert found["overcommit"] is found["huge-pages"] is found["backlog"] is None


def test_a_warning_is_logged_unless_it_is_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = machine(tmp_path, OVERCOMMIT="0", BACKLOG="100")
    with caplog.at_level(logging.WARNING):
        start_checks.warn(config(), root=root)
        assert [record.message.split()[1] for record in caplog.records] == ["Memory", "The"]
        caplog.clear()
        start_checks.warn(config("--ignore-warnings", "Overcommit ARM64-COW-BUG"), [(logging.WARNING, "a b")], root)
        assert [record.message.split()[1] for record in caplog.records] == ["b", "The"]


# -- open files --------------------------------------------------------------------------------------------------------


class Limits:
    """A kernel that grants up to `most` open files."""

    def __init__(self, soft: int, hard: int, most: int) -> None:
        self.soft, self.hard, self.most = soft, hard, most

    def get(self, _: int) -> tuple[int, int]:
        return self.soft, self.hard

    def set(self, _: int, limits: tuple[int, int]) -> None:
        if limits[0] > self.most or limits[1] > max(self.hard, self.most):
            raise ValueError("not allowed to raise maximum limit")
        self.soft, self.hard = limits


def with_limits(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, most: int) -> Limits:
    limits = Limits(soft, hard, most)
    monkeypatch.setattr(resource, "getrlimit", limits.get)
    monkeypatch.setattr(resource, "setrlimit", limits.set)
    return limits


def test_the_limit_of_open_files_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = with_limits(monkeypatch, 1024, 1 << 20, 1 << 20)
    settings = config()
    said = start_checks.provide_descriptors(settings)
    assert (limits.soft, limits.hard) == (10032, 1 << 20)
    assert settings.maxclients == 10000
    text = "Increased maximum number of open files to 10032 (it was originally set to 1024)."
    assert said == [(logging.INFO, text)]


def test_a_limit_that_is_high_enough_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = with_limits(monkeypatch, 20000, 20000, 0)
    assert not start_checks.provide_descriptors(config())
    assert limits.soft == 20000


@pytest.mark.parametrize(("hard", "clients"), [(4096, 4064), (1024, 992)])
def test_where_it_cannot_be_raised_maxclients_is_lowered(
    hard: int, clients: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = with_limits(monkeypatch, 1024, hard, hard)
    settings = config()
    said = start_checks.provide_descriptors(settings)
    assert settings.maxclients == limits.soft - 32 == clients
    assert f"maxclients has been reduced to {clients} to compensate for low ulimit" in said[-1][1]
    assert not start_checks.provide_descriptors(config("--ignore-warnings", "open-files"))
    assert start_checks.check_open_files(config()) is not None


def test_without_room_for_a_client_it_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with_limits(monkeypatch, 32, 32, 32)
    with pytest.raises(start_checks.TooFewDescriptors, match="more than 32"):
        start_checks.provide_descriptors(config())


def test_the_frontend_has_the_descriptors_that_its_clients_need() -> None:
    with Server(1, maxclients=70_000) as server:
        limits = Path(f"/proc/{server.processes()['frontend']}/limits").read_text()
        [line] = [line for line in limits.splitlines() if line.startswith("Max open files")]
        granted = int(line.split()[3])
        assert granted >= 70_032 or "maxclients has been reduced to" in server.log()


# -- by hand -----------------------------------------------------------------------------------------------------------


def test_check_system_names_every_check_and_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = {"one": lambda *_: None, "two": lambda *_: "It is bad."}
    monkeypatch.setattr(start_checks, "CHECKS", checks)
    assert cli.server_main(["--check-system"]) == 1
    assert capsys.readouterr().out == "[one]...OK\n[two]...WARNING\nIt is bad.\n\n"
    assert cli.server_main(["--check-system", "--ignore-warnings", "two"]) == 0
