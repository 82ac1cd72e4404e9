"""A real server inside a test: all its processes, on a free port, in a folder of its own.

    with mpkv.testing.Server(workers=2) as server:
        client = redis.Redis.from_url(server.url)

Directives are keyword arguments with underscores: ``Server(workers=4, save="60 1", maxclients=100)``. Where nothing
else is asked for it listens on the loopback interface only, writes no snapshots, serves no metrics and allows DEBUG.
For pytest there are ready fixtures in `mpkv.pytest_plugin`.

A process belongs to a server if it holds a file open below the server's folder, as every one of them holds its log.
That finds those too whose supervisor was killed, so `Server.stop` leaves nobody behind.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

HOST: Final = "127.0.0.1"
#: For a start with an empty or a small store on a busy machine; who loads more says so.
START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.01
#: Another process may take a free port before the server does: then another one is tried.
_PORTS_TO_TRY: Final = 5
_LOG_TAIL_LINES: Final = 40
_TITLE: Final = "mpkv: "
#: Paths of sockets are short, and the folder's own name and theirs come behind this.
_LONGEST_PARENT: Final = 60

_DEFAULTS: Final[dict[str, object]] = {"bind": HOST, "save": "", "metrics_port": 0, "enable_debug_command": "local"}


class ServerFailed(Exception):
    """The server did not start, or did not stop in order; the text ends with the last lines of its log."""


class Server:
    """One server; as a context manager it runs within the block.

    :param workers: how many shards
    :param dir: where snapshots go; without it a folder that vanishes with the server
    :param port: without it a free one
    :param start_timeout_s: how long all shards may take until they answer
    :param directives: further settings; True and False become yes and no
    :raises ServerFailed: by `start`, `stop` and `restart`
    """

    def __init__(
        self,
        workers: int = 1,
        *,
        dir: str | os.PathLike[str] | None = None,
        port: int | None = None,
        start_timeout_s: float = START_TIMEOUT_S,
        **directives: object,
    ) -> None:
        self.workers = workers
        self.host = HOST
        self.start_timeout_s = start_timeout_s
        self.port = port or 0
        self._given_dir = dir
        self._directives = {**_DEFAULTS, **directives}
        self._process: subprocess.Popen[bytes] | None = None
        self._root: Path | None = None
        self._exit_status: int | None = None
        self._log_begins = 0

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- what a test needs to know -------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """For ``redis.Redis.from_url``."""
        password = self._directives.get("requirepass")
        return f"redis://{f':{password}@' if password else ''}{self.host}:{self.port}/0"

    @property
    def pid(self) -> int:
        """The supervisor."""
        assert self._process is not None, "the server was not started"
        return self._process.pid

    @property
    def root(self) -> Path:
        """The folder of everything that belongs to this server."""
        assert self._root is not None, "the server was not started"
        return self._root

    @property
    def dir(self) -> Path:
        """Where its snapshots are."""
        return self.root / "data" if self._given_dir is None else Path(self._given_dir)

    @property
    def runtime_dir(self) -> Path:
        """Where its internal sockets are, unless the directive said otherwise."""
        return self.root / "run"

    @property
    def is_running(self) -> bool:
        """Whether the supervisor is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """The supervisor's exit status, or minus the signal that ended it; None while it runs."""
        return self._exit_status if self._process is None else self._process.poll()

    def log(self) -> str:
        """All that its processes have written to standard output and standard error, of every start."""
        return (self.root / "log").read_text(errors="replace")

    def processes(self) -> dict[str, int]:
        """Role -> process id of the supervisor and those it has started: ``frontend``, ``worker 0`` …"""
        return dict(sorted((role, pid) for pid, parent, role in _servers_processes() if self.pid in (pid, parent)))

    def family(self) -> list[int]:
        """Every process that belongs to this server, with or without its supervisor, snapshot children too."""
        return [] if self._root is None else list(_holders_of_files_below(self._root))

    # -- start and stop ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it and wait until all shards answer."""
        assert not self.is_running, "the server runs already"
        if self._root is None:
            self._root = Path(tempfile.mkdtemp(prefix="testing-mpkv-", dir=_short_parent())).resolve()
            self.dir.mkdir(exist_ok=True)
        end = time.monotonic() + self.start_timeout_s
        port_is_fixed = self.port != 0
        try:
            for left in reversed(range(1 if port_is_fixed else _PORTS_TO_TRY)):
                self.port = self.port if port_is_fixed else _free_port()
                self._launch()
                if left == 0 or not self._lost_its_port():
                    break
            self.wait_until_ready(end - time.monotonic())
        except BaseException:
            self._end_family()
            self._note_end()
            raise

    def _launch(self) -> None:
        # The same mpkv as this one, whether it is installed or not
        paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        with open(self.root / "log", "ab") as log:
            self._log_begins = log.tell()
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def _lost_its_port(self) -> bool:
        """Wait until it answers, or has ended because somebody else has taken the port."""
        end = time.monotonic() + self.start_timeout_s
        while self.is_running and not self._all_shards_answer() and time.monotonic() < end:
            time.sleep(_POLL_S)
        return not self.is_running and "cannot listen" in self.log()[self._log_begins :]

    def _command(self) -> list[str]:
        directives = {"runtime_dir": self.runtime_dir, **self._directives}
        settings = {"port": self.port, "workers": self.workers, "dir": self.dir, **directives}
        words = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", _text(value))]
        return [sys.executable, "-m", "mpkv", "serve", *words]

    def wait_until_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until every shard answers, after a start or when a process was killed."""
        end = time.monotonic() + timeout_s
        while not self._all_shards_answer():
            if not self.is_running:
                raise self._failure("the server has ended")
            if time.monotonic() > end:
                raise self._failure("the server was not ready in time")
            time.sleep(_POLL_S)

    def _all_shards_answer(self) -> bool:
        """Whether this server, and no other that has taken the port, answers DBSIZE, which asks all shards."""
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                password = self._directives.get("requirepass")
                if password:
                    _ask(connection, "AUTH", str(password))
                is_ours = b"\r\nprocess_id:%d\r\n" % self.pid in _ask(connection, "INFO", "server")
                return is_ours and _ask(connection, "DBSIZE").startswith(b":")
        except OSError:
            return False

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop it in order, as SIGTERM does, with a snapshot if it has save points; the folder stays."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout_s)
            _wait_for(lambda: not self.family(), timeout_s)
        except (subprocess.TimeoutExpired, TimeoutError):
            left = self.family()
            self._end_family()
            raise self._failure(f"the server did not stop in {timeout_s} s: processes {left} were there") from None
        finally:
            self._note_end()
        if self._exit_status is not None and self._exit_status > 0:
            raise self._failure(f"the server stopped with status {self._exit_status}")

    def _note_end(self) -> None:
        if self._process is not None:
            self._exit_status = self._process.poll()
            self._process = None

    def restart(self, **changes: object) -> None:
        """Stop it in order and start it on the same port and folder.

        :param changes: settings that are others now, ``workers`` too
        """
        self.stop()
        self.workers = int(str(changes.pop("workers", self.workers)))
        self._directives |= changes
        self.start()

    def kill(self, number: int = signal.SIGKILL, role: str = "supervisor") -> int:
        """Send a signal to one process; its id. Does not wait for anything."""
        pid = self.processes()[role]
        os.kill(pid, number)
        return pid

    def close(self) -> None:
        """Stop it and remove its folder. One that was killed is buried."""
        try:
            self.stop()
        finally:
            self._end_family()
            if self._root is not None:
                shutil.rmtree(self._root, ignore_errors=True)
            self._process = self._root = None

    def _end_family(self) -> None:
        """Nobody survives: those that a killed supervisor left are killed too."""
        while family := self.family():
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self._process is not None:
                self._process.poll()
            time.sleep(_POLL_S)
        if self._process is not None:
            self._process.wait()

    def _failure(self, what: str) -> ServerFailed:
        tail = "\n".join(self.log().splitlines()[-_LOG_TAIL_LINES:])
        return ServerFailed(f"{what}; its log ends with:\n{tail}")


def _text(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _short_parent() -> str | None:
    """Where the folder goes: the usual place for temporary files unless its path is too long."""
    return None if len(tempfile.gettempdir()) <= _LONGEST_PARENT else "/tmp"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _ask(connection: socket.socket, *words: str) -> bytes:
    """The reply, a line or a bulk string."""
    encoded = [os.fsencode(word) for word in words]
    request = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)
    connection.sendall(b"*%d\r\n" % len(words) + request)
    with connection.makefile("rb") as stream:
        line = stream.readline()
        return line + stream.read(int(line[1:]) + 2) if line.startswith(b"$") else line


def _wait_for(condition: Callable[[], bool], timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(_POLL_S)


def _servers_processes() -> Iterator[tuple[int, int, str]]:
    """Process id, parent and role of every process with a title of ours."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            title = (folder / "cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
            if title.startswith(_TITLE):
                # the command in parentheses may hold anything; behind it stand state and parent
                status = (folder / "stat").read_text().rpartition(")")[2].split()
                yield int(folder.name), int(status[1]), title.removeprefix(_TITLE).partition(" (")[0]


def _holders_of_files_below(root: Path) -> Iterator[int]:
    """Processes that hold a file open below a folder."""
    prefix = f"{root}/"
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name == str(os.getpid()):
            continue
        with contextlib.suppress(OSError):
            if any(_target(entry).startswith(prefix) for entry in os.scandir(folder / "fd")):
                yield int(folder.name)


def _target(entry: os.DirEntry[str]) -> str:
    try:
        return os.readlink(entry.path)
    except OSError:
        return ""  # closed in the meantime
