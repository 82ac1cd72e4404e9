"""The log: Redis' lines and JSON, what of a client's bytes may reach it, rotation, the journal, a full disk."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mpkv import logs
from mpkv.config import Config
from mpkv.testing import Server
from tests.helpers.running import leaving_nothing

LINE = re.compile(r"\d+:(S|F|W\d+) \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d\.\d{3} [.*#-] ")
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
TRICKS = "a\nb\rc\td\x00e\x1b[31mf\x9bg\u2028h\u202ei\udcffj"

logger = logging.getLogger("mpkv.test")


@contextmanager
def logging_as(role: str, *directives: str) -> Iterator[None]:
    """This process logs as one of a server's with these settings; afterwards as before."""
    root = logging.getLogger()
    level, others = root.level, root.handlers[:]
    for other in others:  # pytest's own cannot pass on what is no character
        root.removeHandler(other)
    logs.set_up(role, Config.from_command_line(directives, {}))
    try:
        yield
    finally:
        for handler in logs._handlers:
            root.removeHandler(handler)
            handler.close()
        logs._handlers.clear()
        root.setLevel(level)
        for other in others:
            root.addHandler(other)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mpkv.log"


# -- lines -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "sign"),
    [(logging.DEBUG, "."), (logs.VERBOSE, "-"), (logging.INFO, "*"), (logging.WARNING, "#"), (logging.CRITICAL, "#")],
)
def test_a_line_has_redis_form(level: int, sign: str, file: Path) -> None:
    with logging_as("W3", "--logfile", str(file), "--loglevel", "debug"):
        logger.log(level, "hello %d", 5)
    line = file.read_text()
    assert LINE.match(line)
    assert line.startswith(f"{os.getpid()}:W3 ")
    assert line.endswith(f" {sign} hello 5\n")


@pytest.mark.parametrize(
    ("loglevel", "signs"),
    [("debug", ".-*#"), ("verbose", "-*#"), ("notice", "*#"), ("warning", "#"), ("nothing", "")],
)
def test_only_what_is_urgent_enough_is_logged(loglevel: str, signs: str, file: Path) -> None:
    with logging_as("S", "--logfile", str(file), "--loglevel", loglevel):
        for level in (logging.DEBUG, logs.VERBOSE, logging.INFO, logging.WARNING):
            logger.log(level, "x")
    assert "".join(line.split()[5] for line in file.read_text().splitlines()) == signs


def test_a_client_cannot_forge_a_line(file: Path) -> None:
    with logging_as("F", "--logfile", str(file)):
        logger.warning("said: %s", TRICKS)
    assert file.read_bytes().count(b"\n") == 1
    text = file.read_text().rstrip("\n")
    assert text.endswith(r"said: a\nb\rc\td\x00e\x1b[31mf\x9bg\u2028h\u202ei\xffj")
    assert text.isprintable()


def test_a_traceback_is_lines_of_the_same_form_and_its_message_is_one_of_them(file: Path) -> None:
    with logging_as("F", "--logfile", str(file)):
        try:
            raise ValueError(f"1:S 01 Jan 2026 00:00:00.000 # forged\n{TRICKS}")
        except ValueError:
            logger.exception("it failed")
    lines = file.read_text().split("\n")[:-1]
    assert all(LINE.match(line) for line in lines)
    assert "Traceback (most recent call last):" in lines[1]
    assert "ValueError: 1:S 01 Jan" in lines[-1]
    assert r"forged\na\nb" in lines[-1]


# -- JSON --------------------------------------------------------------------------------------------------------------


def test_a_json_line_is_one_object_with_everything(file: Path) -> None:
    with logging_as("W2", "--logfile", str(file), "--log-format", "json"):
        logger.info("said: %s", TRICKS, extra={"fields": {"number": 7, "pid": "not ours"}})
    raw = file.read_bytes()
    assert raw.count(b"\n") == 1
    assert raw.decode("ascii").rstrip("\n").isprintable()
    entry = json.loads(raw)
    assert RFC_3339.fullmatch(entry.pop("time"))
    assert entry == {
        "level": "notice", "role": "worker", "shard": 2, "pid": os.getpid(), "logger": "mpkv.test", "number": 7,
        "message": "said: " + TRICKS.replace("\udcff", r"\xff"),
    }  # fmt: skip


def test_the_time_of_a_json_line_is_now_in_utc(file: Path) -> None:
    from datetime import UTC, datetime

    with logging_as("F", "--logfile", str(file), "--log-format", "json"):
        logger.info("x")
    written = datetime.fromisoformat(json.loads(file.read_text())["time"])
    assert abs((datetime.now(UTC) - written).total_seconds()) < 60


def test_an_exception_in_json_is_in_the_same_object(file: Path) -> None:
    with logging_as("S", "--logfile", str(file), "--log-format", "json"):
        try:
            raise KeyError("x\ny")
        except KeyError:
            logger.exception("it failed")
    [line] = file.read_text().splitlines()
    entry = json.loads(line)
    assert entry["error"] == "KeyError"
    assert entry["traceback"].splitlines()[0] == "Traceback (most recent call last):"
    assert "shard" not in entry


# -- where it goes -----------------------------------------------------------------------------------------------------


def test_a_rotated_file_is_left_for_a_new_one(file: Path) -> None:
    with logging_as("F", "--logfile", str(file)):
        logger.warning("before")
        file.rename(file.with_suffix(".1"))
        logger.warning("still there")
        logs.reopen()
        logger.warning("after")
    assert "still there" in file.with_suffix(".1").read_text()
    assert file.read_text().endswith("# after\n")


def test_without_a_new_file_the_old_one_goes_on(file: Path) -> None:
    folder = file.parent / "logs"
    folder.mkdir()
    with logging_as("F", "--logfile", str(folder / "x")):
        folder.rename(file.parent / "moved")
        logs.reopen()
        logger.warning("after")
    text = (file.parent / "moved" / "x").read_text()
    assert "cannot be opened anew: No such file or directory" in text
    assert "after" in text


def test_what_could_not_be_written_is_counted(file: Path) -> None:
    """A pipe whose reader does not read is full at some point."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    handler = logs._Descriptor(descriptor=writer)
    handler.setFormatter(logs._LineFormatter("S"))
    record = logging.makeLogRecord({"msg": "x" * 1000, "levelno": logging.INFO})
    try:
        for _ in range(200):
            handler.emit(record)
        os.set_blocking(reader, False)
        while True:
            try:
                os.read(reader, 1 << 20)
            except BlockingIOError:
                break
        handler.emit(record)
        first, second = os.read(reader, 1 << 20).decode().splitlines()
    finally:
        os.close(reader)
        os.close(writer)
    dropped = re.search(r"# (\d+) messages of this log could not be written", first)
    assert dropped is not None
    assert 100 < int(dropped.group(1)) < 200
    assert second.endswith("x" * 1000)


PROGRAM = """
import logging, os, sys
from mpkv import logs
from mpkv.config import Config
stream = os.fstat(int(sys.argv[1]))
os.environ["JOURNAL_STREAM"] = f"{stream.st_dev}:{stream.st_ino}" if sys.argv[2] == "yes" else "1:1"
logs.set_up("S", Config.from_command_line(["--loglevel", "debug"], {}))
for level in (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logs.VERBOSE, logging.DEBUG):
    logging.log(level, "one\\ntwo")
"""


def run_program(descriptor: int, *, journal: bool) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(descriptor), "yes" if journal else "no"],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip


@pytest.mark.parametrize("descriptor", [1, 2])
def test_lines_for_the_journal_begin_with_their_priority(descriptor: int) -> None:
    ended = run_program(descriptor, journal=True)
    lines = (ended.stdout, ended.stderr)[descriptor - 1].splitlines()
    assert [re.match(r"<(\d)>\d+:S ", line)[1] for line in lines] == ["2", "3", "4", "5", "6", "7"]
    assert not (ended.stdout, ended.stderr)[2 - descriptor]


def test_without_the_journal_lines_have_no_priority_and_go_to_standard_output() -> None:
    ended = run_program(2, journal=False)
    assert not ended.stderr
    assert all(LINE.match(line) for line in ended.stdout.splitlines())


def test_the_systems_logger_gets_a_copy(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    opened, sent = [], []
    monkeypatch.setattr(logs.syslog, "openlog", lambda *arguments: opened.append(arguments))
    monkeypatch.setattr(logs.syslog, "syslog", lambda priority, text: sent.append((priority, text)))
    words = ("--syslog-enabled", "yes", "--syslog-ident", "mine", "--syslog-facility", "local3")
    with logging_as("S", "--logfile", str(file), *words):
        logger.warning("a\nb\0c")
        logger.info("d")
        logger.debug("not this")
    assert opened[0][0] == "mine"
    assert opened[0][2] == logs.syslog.LOG_LOCAL3
    assert sent == [(logs.syslog.LOG_WARNING, r"a\nb\x00c"), (logs.syslog.LOG_NOTICE, "d")]


# -- a running server --------------------------------------------------------------------------------------------------


def test_all_processes_write_json_to_one_file_and_follow_its_rotation(file: Path) -> None:
    with leaving_nothing(2, logfile=file, log_format="json", loglevel="verbose") as server:
        _offend(server)
        wait_for(lambda: "Protocol error" in file.read_text(), "the offence is not in the log")
        old = file.with_suffix(".old")
        file.rename(old)
        os.kill(server.pid, signal.SIGHUP)
        wait_for(file.exists, "there is no new file")
        time.sleep(0.3)  # the children learn of it over their channels; workers look ten times a second
        size = old.stat().st_size
        _offend(server)
        wait_for(lambda: "Protocol error" in file.read_text(), "the new file is not written to")
        assert old.stat().st_size == size
    entries = [json.loads(line) for path in (old, file) for line in path.read_text().splitlines()]
    assert {entry["role"] for entry in entries} >= {"supervisor", "frontend"}
    [offence, _] = [entry for entry in entries if "Protocol error" in entry["message"]]
    assert offence["level"] == "verbose"
    assert offence["role"] == "frontend"


def _offend(server: Server) -> None:
    """Send what is no request, with a line of a log in it."""
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(b"*1\r\n$-5\r\n1:S 22 Nov 2026 00:00:00.000 # forged\r\n")
        connection.settimeout(5)
        while connection.recv(1000):
            pass
