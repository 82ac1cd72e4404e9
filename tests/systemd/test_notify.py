"""What a service manager hears and hands over, without one: a socket listens as it would, a descriptor is open."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mpkv import cli, rights, supervisor
from mpkv.config import Config
from mpkv.sdnotify import VARIABLES, ServiceManager
from mpkv.service import Reporter
from mpkv.shm.board import Board
from mpkv.shm.layout import State
from mpkv.shm.segment import Segment
from mpkv.watchdog import Watchdog
from tests.helpers.reference import Connection
from tests.helpers.running import leaving_nothing

WAIT_S = 60.0
NOBODY = 65534


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


class Manager:
    """Hears what a server tells, line by line, with the time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while data := self._socket.recv(8192):
            self.heard += [(time.monotonic(), line) for line in data.decode().split("\n")]

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", str(self.path))
        self._thread.join()
        self._socket.close()

    def lines(self, start: str, since: float = 0.0) -> list[str]:
        return [line for at, line in self.heard if line.startswith(start) and at >= since]

    def await_line(self, start: str, since: float = 0.0) -> str:
        wait_until(lambda: self.lines(start, since), f"no {start} in {self.heard}")
        return self.lines(start, since)[0]


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """What is started within the test is started by it."""
    manager = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))
    yield manager
    manager.close()


# -- what it hears -----------------------------------------------------------------------------------------------------


def test_ready_is_told_when_all_is_loaded_and_answers(manager: Manager) -> None:
    with leaving_nothing(2, supervised="systemd", save="3600 1") as server:
        connection = Connection(server.port)
        assert connection.call([b"DEBUG", b"POPULATE", b"300000"]) == b"+OK\r\n"
        assert connection.call([b"SAVE"]) == b"+OK\r\n"
        connection.close()
        server.stop()
        assert manager.lines("STOPPING=1")
        stopped = time.monotonic()
        answers: list[bytes] = []

        def ask_as_soon_as_it_is_ready() -> None:
            manager.await_line("READY=1", stopped)
            connection = Connection(server.port)
            answers.append(connection.call([b"DBSIZE"]))
            connection.close()

        asking = threading.Thread(target=ask_as_soon_as_it_is_ready)
        asking.start()
        server.start()
        asking.join()
        assert answers == [b":300000\r\n"]
        assert manager.lines("STATUS=Ready to accept connections", stopped)
        assert manager.lines("EXTEND_TIMEOUT_USEC=60000000", stopped)
        assert len(manager.lines("READY=1", stopped)) == 1


def test_a_stop_is_told_and_given_time_to_save(manager: Manager) -> None:
    with leaving_nothing(1, supervised="systemd", save="3600 1") as server:
        connection = Connection(server.port)
        connection.call([b"SET", b"key", b"value"])
        connection.close()
        manager.await_line("READY=1")
        asked = time.monotonic()
        server.stop()
        assert len(manager.lines("STOPPING=1")) == 1
        assert manager.lines("EXTEND_TIMEOUT_USEC=", asked)
        assert manager.lines("STATUS=Shutting down", asked)


def test_a_shutdown_that_a_client_asks_for_is_told_too(manager: Manager) -> None:
    with leaving_nothing(1, supervised="auto") as server:
        manager.await_line("READY=1")
        connection = Connection(server.port)
        connection.send([[b"SHUTDOWN"]])
        manager.await_line("STOPPING=1")
        wait_until(lambda: not server.is_running, "it did not stop")
        connection.close()


def test_a_stop_that_is_refused_says_why(manager: Manager, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with leaving_nothing(1, supervised="systemd", save="3600 1", dir=folder) as server:
        manager.await_line("READY=1")
        connection = Connection(server.port)
        connection.call([b"SET", b"key", b"value"])
        (folder / "dump.rdb").mkdir()  # nothing can be renamed to this
        server.kill(signal.SIGTERM)
        manager.await_line("STATUS=Ready to accept connections; not shut down:")
        assert connection.call([b"GET", b"key"]) == b"$5\r\nvalue\r\n"
        connection.close()
        (folder / "dump.rdb").rmdir()


def test_a_reload_begins_and_ends(manager: Manager, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with leaving_nothing(1, supervised="systemd", logfile=log) as server:
        manager.await_line("READY=1")
        log.rename(tmp_path / "log.1")
        asked = time.monotonic()
        server.kill(signal.SIGHUP)
        manager.await_line("READY=1", asked)
        assert manager.lines("RELOADING=1", asked)
        assert int(manager.lines("MONOTONIC_USEC=", asked)[0].partition("=")[2]) / 1e6 >= asked
        wait_until(log.exists, "there is no new log")


def test_nobody_is_told_unless_so_configured(manager: Manager) -> None:
    with leaving_nothing(1):
        pass
    assert manager.heard == []


def test_no_child_could_speak_in_the_name_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "1")
    environment = supervisor._environment()
    assert not environment.keys() & set(VARIABLES)
    assert environment["PATH"] == os.environ["PATH"]


# -- the watchdog ------------------------------------------------------------------------------------------------------


def test_the_watchdog_is_fed_while_every_process_lives(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    with leaving_nothing(2, supervised="systemd", hang_limit=0) as server:
        manager.await_line("READY=1")
        for role in ("worker 1", "frontend"):
            wait_until(lambda: len(manager.lines("WATCHDOG=1", time.monotonic() - 0.9)) >= 3, "it is fed too seldom")
            pid = server.kill(signal.SIGSTOP, role)
            try:
                time.sleep(1.0)
                silent = time.monotonic()
                time.sleep(1.0)
                assert not manager.lines("WATCHDOG=1", silent), role
            finally:
                os.kill(pid, signal.SIGCONT)
            manager.await_line("WATCHDOG=1", time.monotonic())


def test_the_watchdog_is_fed_while_a_command_takes_long(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    with leaving_nothing(1, supervised="systemd", hang_limit=1) as server:
        connection = Connection(server.port)
        gaps: list[float] = []
        # Of several commands the best: where the machine is busy, whoever feeds it is late at times
        while len(gaps) < 4 and min(gaps, default=1.0) >= 0.9:
            begun = time.monotonic()
            assert connection.call([b"DEBUG", b"SLEEP", b"2.5"]) == b"+OK\r\n"
            fed = [at for at, line in manager.heard if line == "WATCHDOG=1" and at >= begun]
            gaps.append(max(b - a for a, b in itertools.pairwise([begun, *fed, time.monotonic()])))
        connection.close()
        assert min(gaps) < 0.9
        assert "hang-limit" not in server.log()


def test_a_watchdog_of_another_process_is_none_of_ours(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert ServiceManager.found("systemd").watchdog_s is None
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert ServiceManager.found("systemd").watchdog_s == 1.0


def test_a_process_that_hangs_is_replaced_and_a_new_frontend_waits_no_longer_for_it() -> None:
    with leaving_nothing(2, hang_limit=1) as server:
        before = server.processes()
        server.kill(signal.SIGSTOP, "worker 0")
        server.kill(signal.SIGKILL, "frontend")
        server.wait_until_ready()
        server.kill(signal.SIGSTOP, "frontend")
        wait_until(lambda: server.log().count("(hang-limit): killed") == 2, "the frontend was not killed")
        server.wait_until_ready()
        for role in ("worker 0", "frontend"):
            assert server.log().count(f"{role} has shown no sign of life for 1 s (hang-limit): killed") == 1
        assert server.processes()["worker 1"] == before["worker 1"]


class FakeProc:
    """/proc/<pid>/task/<pid>/stat of one process."""

    def __init__(self, folder: Path, pid: int) -> None:
        self._path = folder / f"{pid}/task/{pid}/stat"
        self._path.parent.mkdir(parents=True)

    def be(self, state: str, ticks: int = 0) -> None:
        self._path.write_text(f"7 (a) name) {state} 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 0 0 0\n")


@pytest.fixture
def board() -> Board:
    return Board(Segment.create(2, ["GET"], databases=1))


def test_who_works_waits_for_a_disk_or_is_looked_at_does_not_hang(board: Board, tmp_path: Path) -> None:
    proc, watchdog = FakeProc(tmp_path, 7), Watchdog(board, tmp_path)
    now = 100.0
    for state, ticks in [("R", 5), ("R", 5), ("D", 5), ("t", 5), ("S", 6), ("S", 7)]:
        proc.be(state, ticks)
        now += 1
        watchdog.look({2: 7}, now)
        assert watchdog.longest_silence_s() == 0, (state, ticks)
    for state in "SSTT":
        proc.be(state, 7)
        now += 1
        watchdog.look({2: 7}, now)
    assert watchdog.silence_s(2) == 4
    board.workers[0].begin()  # its heart beats
    watchdog.look({2: 7}, now + 1)
    assert watchdog.silence_s(2) == 0


def test_nobody_has_hung_while_the_whole_machine_stood_still(board: Board, tmp_path: Path) -> None:
    proc, watchdog = FakeProc(tmp_path, 7), Watchdog(board, tmp_path)
    proc.be("S")
    watchdog.look({2: 7}, 100)
    watchdog.look({2: 7}, 101)
    watchdog.look({2: 7}, 9000)
    assert watchdog.silence_s(2) <= 2
    watchdog.look({2: 8}, 9001)  # another process in its place
    assert watchdog.silence_s(2) == 0


# -- the status line ---------------------------------------------------------------------------------------------------


def test_the_status_has_progress(board: Board, manager: Manager, tmp_path: Path) -> None:
    config = Config.from_command_line(["--dir", str(tmp_path)], {})
    teller = ServiceManager(str(manager.path), watchdog_s=1000)
    reporter = Reporter(teller, board, config)
    now = 0.0

    def status(*, whole: bool = False, stopping: bool = False) -> str:
        nonlocal now
        now += 2
        asked = time.monotonic()
        reporter.look(now, whole=whole, stopping=stopping, silence_s=0)
        return manager.await_line("STATUS=", asked).removeprefix("STATUS=")

    for worker, loaded_bytes in zip(board.workers, (10, 60), strict=True):
        worker.enter(State.LOADING)
        worker.put("load_total_bytes", 200)
        worker.put("load_loaded_bytes", loaded_bytes)
    assert status() == "Starting; loading dump.rdb: 5%, 2 of 2 shards"
    for worker in board.workers:
        worker.enter(State.READY)
    assert status(whole=True) == "Ready to accept connections"
    board.frontend.put("snapshot_started_ms", 1)
    (tmp_path / "temp-1-0.part").write_bytes(bytes(3_000_000))
    assert status(whole=True) == "Ready to accept connections; saving dump.rdb: 3 MB written"
    assert status(whole=True, stopping=True) == "Shutting down: saving dump.rdb: 3 MB written"
    board.frontend.put("snapshot_started_ms", 0)
    board.workers[1].mark_down()
    assert status(whole=False) == "Ready to accept connections; shard 1 down"
    assert len(manager.lines("READY=1")) == 1
    teller.close()


def test_who_hangs_at_a_start_or_a_stop_is_given_no_more_time(board: Board, manager: Manager) -> None:
    teller = ServiceManager(str(manager.path))
    reporter = Reporter(teller, board, Config.from_command_line([], {}))
    for now, silence_s in [(10, 0), (20, 5), (30, 15)]:
        reporter.look(now, whole=False, stopping=False, silence_s=silence_s)
    wait_until(lambda: len(manager.lines("EXTEND")) >= 2, "not extended")
    teller.tell("X=1")
    manager.await_line("X=1")
    assert len(manager.lines("EXTEND_TIMEOUT_USEC=")) == 2
    teller.close()


# -- socket activation -------------------------------------------------------------------------------------------------


#: Becomes the server, with what it was handed as descriptors from 3 on. Descriptors, LISTEN_PID (empty: right), command
EXEC = """
import os, sys
fds = [int(fd) for fd in sys.argv[1].split(",")]
for at, fd in enumerate(fds):
    os.dup2(fd, 100 + at)
for at in range(len(fds)):
    os.dup2(100 + at, 3 + at)
os.environ.update(LISTEN_PID=sys.argv[2] or str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES="client:unix")
os.execv(sys.argv[3], sys.argv[3:])
"""


@contextmanager
def activated(
    folder: Path, *handed: socket.socket, for_pid: str = "", **directives: object
) -> Iterator[subprocess.Popen[str]]:
    """A server that was handed these sockets."""
    settings = {"dir": folder, "save": "3600 1", "workers": 1, "metrics-port": 0, "runtime-dir": folder / "run"}
    words = [word for name, value in (settings | directives).items() for word in (f"--{name}", str(value))]
    fds = [end.fileno() for end in handed]
    process = subprocess.Popen(
        [
            sys.executable, "-c", EXEC, ",".join(map(str, fds)), for_pid,
            sys.executable, "-m", "mpkv", "serve", *words,
        ],
        pass_fds=fds, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=WAIT_S)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener


def ask(connection: socket.socket, request: bytes, expected: bytes) -> None:
    """Until it is loaded, too."""
    connection.settimeout(WAIT_S)
    end = time.monotonic() + WAIT_S
    while True:
        connection.sendall(request)
        reply = connection.recv(4096)
        if not reply.startswith(b"-LOADING"):
            assert reply == expected
            return
        assert time.monotonic() < end, "it loads for ever"
        time.sleep(0.02)


def test_a_connection_made_while_no_server_runs_is_answered_by_the_next(
    listener: socket.socket, tmp_path: Path
) -> None:
    address = listener.getsockname()
    with activated(tmp_path, listener), socket.create_connection(address) as client:
        ask(client, b"SET key value\r\n", b"+OK\r\n")
        ask(client, b"CONFIG GET port\r\n", b"*2\r\n$4\r\nport\r\n$%d\r\n%d\r\n" % (len(str(address[1])), address[1]))
    with socket.create_connection(address) as client, activated(tmp_path, listener):
        ask(client, b"GET key\r\n", b"$5\r\nvalue\r\n")


def test_a_unix_socket_that_was_handed_over_stays_where_it_is(listener: socket.socket, tmp_path: Path) -> None:
    path = tmp_path / "clients.sock"
    with socket.socket(socket.AF_UNIX) as local:
        local.bind(str(path))
        local.listen()
        with activated(tmp_path, listener, local), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            ask(client, b"PING\r\n", b"+PONG\r\n")
        assert path.exists()


def test_sockets_for_another_process_are_left_alone(listener: socket.socket, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with activated(tmp_path, listener, for_pid="1", port=port):
        wait_until(lambda: _is_served(port), "it does not listen on its own port")


def _is_served(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as client:
            ask(client, b"PING\r\n", b"+PONG\r\n")
    except ConnectionError:
        return False
    return True


def test_a_socket_that_does_not_listen_is_refused_in_one_line(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, activated(tmp_path, datagrams) as process:
        _, said = process.communicate(timeout=WAIT_S)
        assert process.returncode == 1
        assert said == (
            "mpkv: descriptor 3 (client) is no listening stream socket; a socket unit for mpkv has ListenStream= and "
            "Accept=no\n"
        )


# -- rights ------------------------------------------------------------------------------------------------------------


def started_as_nobody(argv: list[str], folder: Path) -> tuple[int, str]:
    """Exit status and standard error of a start by somebody who is not root. In a fork, since the interpreter itself
    may lie where only root looks."""
    assert supervisor  # is loaded: the fork could not
    said = os.memfd_create("said")
    child = os.fork()
    if child == 0:
        status = 99
        try:
            os.dup2(said, 2)
            os.chdir(folder)
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
            status = cli.main(["serve", *argv])
            sys.stderr.flush()
        finally:
            os._exit(status)
    _, wait_status = os.waitpid(child, 0)
    text = os.pread(said, 65536, 0).decode()
    os.close(said)
    return os.waitstatus_to_exitcode(wait_status), text


@pytest.fixture
def theirs() -> Iterator[Path]:
    """A folder that everybody may enter, outside of this user's own."""
    folder = Path(tempfile.mkdtemp(prefix="mpkv-rights-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("what", "mode", "verbs"),
    [
        ("dir", 0o555, "write"),
        ("runtime-dir", 0o555, "write"),
        ("logfile", 0o555, "write"),
        ("dir", 0o000, "read and write and enter"),
        ("runtime-dir", 0o444, "write and enter"),
        ("config file", 0o000, "read"),
    ],
)
def test_a_right_that_is_missing_is_said_in_one_line(theirs: Path, what: str, mode: int, verbs: str) -> None:
    folders = {name: theirs / name for name in ("dir", "runtime-dir", "log")}
    for path in folders.values():
        path.mkdir()
        path.chmod(0o777)
    config = theirs / "mpkv.conf"
    config.write_text(
        f"port 0\nunixsocket {folders['dir']}/sock\ndir {folders['dir']}\nruntime-dir {folders['runtime-dir']}\n"
        f"logfile {folders['log']}/log\n"
    )
    named = {"logfile": folders["log"], "config file": config}.get(what, theirs / what)
    config.chmod(0o644)
    named.chmod(mode)
    status, said = started_as_nobody([str(config)], theirs)
    assert status == rights.EXIT_STATUS == 77
    owner = rights._user(named.stat().st_uid)
    assert said.count("\n") == 1
    assert said.startswith(f"mpkv: {what}: user "), said
    assert f" has no right to {verbs}" in said, said
    assert f" {named}: it belongs to {owner}:" in said, said
    assert said.endswith(f", mode {mode:04o}\n"), said


def test_a_folder_that_is_only_read_need_not_be_writable(theirs: Path) -> None:
    config = Config.from_command_line(["--dir", str(theirs), "--save", ""], {})
    assert rights.first_missing(config) is None


# -- the units ---------------------------------------------------------------------------------------------------------

UNITS = Path(__file__).parents[2] / "systemd"


@pytest.fixture
def analyze() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd-analyze")
    return program


def test_the_units_are_in_order(analyze: str, tmp_path: Path) -> None:
    for path in UNITS.glob("mpkv.s*[et]"):
        # It wants the program to be there, which is installed by somebody else
        (tmp_path / path.name).write_text(path.read_text().replace("/usr/bin/mpkv ", "/bin/true "))
    units = [tmp_path / "mpkv.service", tmp_path / "mpkv.socket"]
    result = subprocess.run([analyze, "verify", *units], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_the_service_is_protected(analyze: str) -> None:
    command = [analyze, "security", "--offline=true", "--threshold=15", UNITS / "mpkv.service"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-200:]


def test_every_protection_has_a_reason() -> None:
    lines = (UNITS / "mpkv.service").read_text().partition("[Service]")[2].partition("[Install]")[0].splitlines()
    protections = lines[next(at for at, line in enumerate(lines) if "cannot have" in line) :]
    for before, line in itertools.pairwise(protections):
        if line and not line.startswith("#") and not before.startswith("#"):
            assert line.startswith(("AmbientCapabilities", "DevicePolicy")), f"{line} is not explained"
