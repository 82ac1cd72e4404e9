"""Checks mpkv as a service of a booted systemd, from inside: kills, stops, reloads, restarts, and looks.

Run by mpkv-ci-check.service as root in a container that is thrown away. Every check is a function; what one raises, or
nothing, stands under its name in /out/results.json. They run in the order in which they stand here, on one service.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

RESULTS: Final = Path("/out/results.json")
ADDRESS: Final = ("127.0.0.1", 6379)
CONFIG: Final = Path("/etc/mpkv/mpkv.conf")
LOG: Final = Path("/var/log/mpkv/mpkv.log")
WAIT_S: Final = 60.0

CHECKS: list[Callable[[], None]] = []


def check(function: Callable[[], None]) -> Callable[[], None]:
    CHECKS.append(function)
    return function


# -- tools -------------------------------------------------------------------------------------------------------------


def ask(*words: str) -> str:
    """The reply to one command on a connection of its own: a line, or a bulk string."""
    with socket.create_connection(ADDRESS, timeout=WAIT_S) as connection:
        return ask_on(connection, *words)


def ask_on(connection: socket.socket, *words: str) -> str:
    connection.sendall("".join([f"*{len(words)}\r\n", *(f"${len(word)}\r\n{word}\r\n" for word in words)]).encode())
    with connection.makefile("rb") as stream:
        line = stream.readline()
        if line.startswith(b"$") and not line.startswith(b"$-"):
            line = stream.read(int(line[1:]) + 2)
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError("the connection was closed before the reply")
    return line.decode().strip()


def run(*words: str) -> str:
    result = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    if result.returncode:
        raise AssertionError(f"{' '.join(words)} -> {result.returncode}: {result.stdout}{result.stderr}")
    return result.stdout


def show(name: str) -> str:
    """A property of the service."""
    return run("systemctl", "show", "mpkv.service", "--value", "-p", name).strip()


def main_pid() -> int:
    return int(show("MainPID"))


def restarts() -> int:
    return int(show("NRestarts"))


def child(title: str) -> int:
    """The process of the service with this title."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(f"mpkv: {title}".encode()):
                return int(folder.name)
    raise AssertionError(f"there is no mpkv: {title}")


def wait_until(what: str, condition: Callable[[], object], timeout_s: float = WAIT_S) -> None:
    end = time.monotonic() + timeout_s
    while not _holds(condition):
        if time.monotonic() > end:
            state = {name: show(name) for name in ("ActiveState", "SubState", "Result", "StatusText", "NRestarts")}
            raise AssertionError(f"{what}: not within {timeout_s:.0f} s; the service is {state}")
        time.sleep(0.05)


def _holds(condition: Callable[[], object]) -> bool:
    try:
        return bool(condition())
    except (OSError, AssertionError):
        return False


def serves() -> bool:
    return show("ActiveState") == "active" and ask("DBSIZE").startswith(":")


def folder(path: str) -> tuple[str, str]:
    status = os.stat(path)
    return pwd.getpwuid(status.st_uid).pw_name, f"{stat.S_IMODE(status.st_mode):04o}"


def equal(found: object, expected: object) -> None:
    assert found == expected, f"{found!r} instead of {expected!r}"


# -- checks ------------------------------------------------------------------------------------------------------------


@check
def it_is_started_when_it_answers() -> None:
    equal(show("ActiveState"), "active")
    equal(ask("SET", "first", "1"), "+OK")
    assert show("StatusText").startswith("Ready to accept connections"), show("StatusText")


@check
def its_folders_are_its_own() -> None:
    equal(folder("/var/lib/mpkv"), ("mpkv", "0750"))
    equal(folder("/run/mpkv"), ("mpkv", "0750"))
    equal(folder("/var/log/mpkv"), ("mpkv", "0750"))
    equal(folder("/etc/mpkv"), ("root", "0770"))
    (internal,) = Path("/run/mpkv").glob("mpkv-*")
    equal(folder(str(internal)), ("mpkv", "0700"))
    equal(folder("/run/mpkv/mpkv.sock"), ("mpkv", "0770"))
    equal(Path(f"/proc/{main_pid()}/cwd").readlink(), Path("/var/lib/mpkv"))


@check
def it_is_protected() -> None:
    score = re.search(r"exposure level for mpkv\.service: ([\d.]+)", run("systemd-analyze", "security", "mpkv.service"))
    assert score is not None
    assert float(score[1]) <= 1.5, score[0]
    status = Path(f"/proc/{main_pid()}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert "CapEff:\t0000000000000000" in status
    assert pwd.getpwnam("mpkv").pw_uid == os.stat(f"/proc/{main_pid()}").st_uid != 0


@check
def a_snapshot_and_a_rewritten_configuration_may_be_written() -> None:
    equal(ask("SAVE"), "+OK")
    assert Path("/var/lib/mpkv/dump.rdb").stat().st_size > 0
    equal(ask("CONFIG", "SET", "maxclients", "1234"), "+OK")
    equal(ask("CONFIG", "REWRITE"), "+OK")
    assert "maxclients 1234" in CONFIG.read_text()


@check
def a_killed_worker_is_replaced_and_the_service_does_not_notice() -> None:
    main, worker = main_pid(), child("worker 0")
    os.kill(worker, signal.SIGKILL)
    wait_until("another worker", lambda: child("worker 0") != worker and serves())
    equal((main_pid(), restarts()), (main, 0))


@check
def a_reload_goes_on_in_a_new_log_file() -> None:
    main = main_pid()
    LOG.rename(LOG.with_name("mpkv.log.1"))
    run("systemctl", "reload", "mpkv.service")
    wait_until("a new log file", LOG.exists)
    wait_until("active after the reload", serves)
    equal((main_pid(), restarts()), (main, 0))


@check
def when_the_main_process_is_killed_the_others_save_before_a_new_one_starts() -> None:
    main = main_pid()
    # So many that saving takes longer than a service manager needs to kill those who are left
    equal(ask("DEBUG", "POPULATE", "600000"), "+OK")
    equal(ask("SET", "unsaved", "kept"), "+OK")
    os.kill(main, signal.SIGKILL)
    wait_until("a new main process", lambda: main_pid() not in (0, main) and serves())
    equal(restarts(), 1)
    equal(ask("GET", "unsaved"), "kept")
    equal(ask("DBSIZE"), ":600002")
    equal(ask("FLUSHALL"), "+OK")
    equal(ask("SET", "unsaved", "kept"), "+OK")


@check
def a_worker_that_hangs_stops_the_watchdog() -> None:
    equal(ask("SAVE"), "+OK")
    main = main_pid()
    os.kill(child("worker 1"), signal.SIGSTOP)
    wait_until("killed by the watchdog", lambda: restarts() == 2)
    wait_until("a new main process", lambda: main_pid() not in (0, main) and serves())
    assert "watchdog" in run("journalctl", "-b", "-u", "mpkv.service", "--no-pager").lower()


@check
def a_restart_under_load_refuses_no_connection() -> None:
    main = main_pid()
    refused: list[str] = []
    served: list[float] = []
    over = threading.Event()

    def connect_again_and_again() -> None:
        while not over.is_set():
            try:
                connection = socket.create_connection(ADDRESS, timeout=WAIT_S)
            except OSError as error:
                refused.append(str(error))
                continue
            # One that was connected may lose its connection to the end of the old server; then it connects again
            with connection, contextlib.suppress(ConnectionResetError, BrokenPipeError):
                if ask_on(connection, "INCR", "counter").startswith(":"):
                    served.append(time.monotonic())

    threads = [threading.Thread(target=connect_again_and_again) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    begun = time.monotonic()
    run("systemctl", "restart", "mpkv.service")
    ended = time.monotonic()
    time.sleep(0.5)
    over.set()
    for thread in threads:
        thread.join()
    assert main_pid() != main
    equal(refused, [])
    assert any(at < begun for at in served) and any(at > ended for at in served), "there was no load"
    assert int(ask("GET", "counter")) >= len(served)
    equal(ask("GET", "unsaved"), "kept")


@contextlib.contextmanager
def configured(line: str) -> Iterator[None]:
    before = CONFIG.read_text()
    CONFIG.write_text(f"{before}\n{line}\n")
    try:
        yield
    finally:
        CONFIG.write_text(before)
        subprocess.run(["systemctl", "reset-failed", "mpkv.service", "mpkv.socket"], check=False)


@check
def without_a_right_to_its_folder_it_says_so_and_is_not_tried_again() -> None:
    run("systemctl", "stop", "mpkv.service", "mpkv.socket")
    os.makedirs("/srv/elsewhere", exist_ok=True)
    with configured("dir /srv/elsewhere"):
        result = subprocess.run(["systemctl", "start", "mpkv.service"], check=False, capture_output=True)
        assert result.returncode
        equal((show("ExecMainStatus"), show("Result"), show("ActiveState")), ("77", "exit-code", "failed"))
        said = "mpkv: dir: user mpkv has no right to write /srv/elsewhere: the file system is read-only here"
        wait_until("the reason in the journal", lambda: said in run("journalctl", "-b", "--no-pager"))
    run("systemctl", "start", "mpkv.socket", "mpkv.service")
    wait_until("started again", serves)


@check
def a_client_starts_the_service_through_the_socket() -> None:
    run("systemctl", "stop", "mpkv.service")
    equal(show("ActiveState"), "inactive")
    assert ask("PING") in ("+PONG", "-LOADING Redis is loading the dataset in memory")
    wait_until("started by the connection", serves)


@check
def a_stop_keeps_the_data_and_leaves_nobody() -> None:
    equal(ask("SET", "last", "words"), "+OK")
    run("systemctl", "stop", "mpkv.socket", "mpkv.service")
    equal((show("ActiveState"), show("Result")), ("inactive", "success"))
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if _reads(path).startswith(b"mpkv: ")]
    equal(left, [])
    assert not Path("/run/mpkv").exists()
    run("systemctl", "start", "mpkv.service")
    equal(ask("GET", "last"), "words")
    equal(ask("GET", "unsaved"), "kept")


def _reads(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def main() -> int:
    results: dict[str, str] = {}
    for function in CHECKS:
        started = time.monotonic()
        try:
            function()
            results[function.__name__] = ""
        except Exception:
            results[function.__name__] = traceback.format_exc()
        print(f"{function.__name__}: {time.monotonic() - started:.1f} s", results[function.__name__], flush=True)
        RESULTS.write_text(json.dumps(results))
    RESULTS.with_name("journal").write_text(_journal())
    return 1 if any(results.values()) else 0


def _journal() -> str:
    return subprocess.run(
        ["journalctl", "-b", "--no-pager", "-n", "400"], capture_output=True, text=True, check=False
    ).stdout + _reads(LOG).decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
