"""The servers that are compared: started on loopback TCP without persistence, in folders of their own, and stopped.

    with mpkv(workers=1) as server, redis_server() as reference: ...

Both are ready when a read of a key is answered: a server that still loads, or whose shards are not there, answers that
with an error, while it may well answer PING.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import hiredis

from side_by_side import processes

ROOT: Final = Path(__file__).resolve().parents[2]
HOST: Final = "127.0.0.1"
_START_TIMEOUT_S: Final = 20.0
_STOP_TIMEOUT_S: Final = 20.0
_CALL_TIMEOUT_S: Final = 120.0
#: How often a server that starts is asked: small against what is measured.
_POLL_S: Final = 0.001

#: Part of a process title -> the role under which its cost is shown.
_MPKV_ROLES: Final = {"mpkv: frontend": "frontend", "mpkv: worker": "workers"}


#: A request in RESP. (The stub of hiredis takes a tuple of any length for one of one word.)
pack: Final[Callable[[tuple[bytes | str | int, ...]], bytes]] = hiredis.pack_command  # type: ignore[assignment]


class Session:
    """A client for preparing and asking: blocking, one connection."""

    def __init__(self, port: int, timeout_s: float = _CALL_TIMEOUT_S) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=timeout_s)
        self._reader = hiredis.Reader()

    def call(self, *words: bytes | str | int) -> Any:
        """Send one command; its reply. Raises hiredis.ReplyError for an error."""
        self._socket.sendall(pack(words))
        return self._receive()

    def ask(self, requests: Sequence[bytes]) -> list[Any]:
        """Send packed requests together; their replies. Raises hiredis.ReplyError for an error."""
        self._socket.sendall(b"".join(requests))
        return [self._receive() for _ in requests]

    def pipe(self, requests: Sequence[bytes]) -> None:
        """Send packed requests together and take their replies, which must not be errors."""
        self.ask(requests)

    def _receive(self) -> Any:
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the server closed the connection")
            self._reader.feed(data)
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Server:
    """A server's processes, from start to stop."""

    def __init__(self, name: str, command: Iterable[str]) -> None:
        self.name = name
        self.port = _free_port()
        self.start_s = 0.0  #: from the start of the process to the first answer that a key's value needs
        self.version = ""
        self._command = list(command)
        self._folder = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._roles: dict[str, list[int]] = {}

    def __enter__(self) -> Server:
        self._folder = tempfile.mkdtemp(prefix="bench-")
        command = [*self._command, "--port", str(self.port), "--dir", self._folder]
        with self._log_path.open("wb") as log:
            started = time.perf_counter()
            self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._wait_until_ready(started)
        except BaseException:
            self._stop()
            raise
        self.start_s = time.perf_counter() - started
        self._learn_about_it()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def _log_path(self) -> Path:
        return Path(self._folder) / "bench.log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _wait_until_ready(self, started: float) -> None:
        assert self._process is not None
        while True:
            try:
                with Session(self.port, _START_TIMEOUT_S) as session:
                    session.call("GET", "ready?")
                return
            except (OSError, hiredis.ReplyError) as error:
                answer = error
            status = self._process.poll()
            if status is not None or time.perf_counter() - started > _START_TIMEOUT_S:
                how = f"is not ready in time ({answer})" if status is None else f"ended with status {status}"
                raise RuntimeError(f"{self.name} {how}:\n{self._log_path.read_text()[-2000:]}")
            time.sleep(_POLL_S)

    def _learn_about_it(self) -> None:
        self._roles = {}
        for pid in [self.pid, *processes.children(self.pid)]:
            self._roles.setdefault(self._role_of(pid), []).append(pid)
        with Session(self.port) as session:
            info = session.call("INFO", "server").decode()
        versions = dict(line.split(":", 1) for line in info.splitlines() if "_version:" in line)
        self.version = versions["mpkv_version" if "mpkv_version" in versions else "redis_version"]

    def _role_of(self, pid: int) -> str:
        title = processes.title(pid)
        return next((role for start, role in _MPKV_ROLES.items() if title.startswith(start)), "main")

    def _stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)

    # -- what it costs ------------------------------------------------------------------------------------------------

    @property
    def pids(self) -> list[int]:
        return [pid for pids in self._roles.values() for pid in pids]

    @property
    def workers(self) -> int:
        return len(self._roles.get("workers", ()))

    def cpu_ns(self) -> dict[str, int]:
        """Role -> CPU time used so far. The one process of redis-server, and mpkv's supervisor, have the role
        "main"."""
        return {role: sum(map(processes.cpu_ns, pids)) for role, pids in self._roles.items()}

    def children(self) -> list[int]:
        """Processes that were not there at the start: those that write a snapshot."""
        return [pid for pid in processes.children(self.pid) if pid not in self.pids]

    def pss_bytes(self) -> int:
        return processes.pss_bytes(self.pids)


def mpkv(workers: int | None = None) -> Server:
    """mpkv with so many workers; None for its default."""
    command = [sys.executable, "-m", "mpkv", "serve", "--save", "", "--metrics-port", "0", "--loglevel", "warning"]
    if workers is None:
        return Server("mpkv", command)
    return Server(f"mpkv, {workers} worker{'s' if workers > 1 else ''}", [*command, "--workers", str(workers)])


def redis_server() -> Server | None:
    """redis-server from the PATH; None where there is none."""
    path = shutil.which("redis-server")
    if path is None:
        return None
    return Server("redis-server", [path, "--save", "", "--appendonly", "no", "--bind", HOST, "--loglevel", "warning"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
