"""The supervisor: starts the others and keeps them running; touches neither client traffic nor keys.

Read `Supervisor.run` first: it reads like a day's work. Signal handlers only write a byte; everything happens in the
loop.

What it holds for the others, so that their deaths cost little: the listening sockets (a new frontend accepts where the
old one did, and no connection is refused), the shared segment (numbers, intents, statistics), and the knowledge of who
is who. A worker that dies is started again, with growing delays and not for ever; the frontend is told first that it is
gone, with the last number it began, then where its successor listens.

Endpoints are fresh for every incarnation of a worker and every epoch of the frontend (R2):
``w<shard>.<incarnation>.<epoch>``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import selectors
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mpkv import __version__, logs, process, rights, sdnotify, start_checks
from mpkv.commands import spec
from mpkv.config import Config
from mpkv.config_syntax import ENCODING, ENCODING_ERRORS
from mpkv.control import Channel, Closed, Message
from mpkv.crash import report as crash_report
from mpkv.listeners import Listeners, StartFailed
from mpkv.metrics.http import MetricsServer
from mpkv.metrics.source import BoardSource
from mpkv.sdnotify import ServiceManager
from mpkv.service import Reporter
from mpkv.shm.board import Board
from mpkv.shm.layout import State
from mpkv.shm.segment import Segment
from mpkv.snapshot.join import remove_abandoned
from mpkv.watchdog import Watchdog

logger = logging.getLogger(__name__)

#: Delay before a process that died is started again: doubles with each death in `RESTART_WINDOW_S`, up to the last.
FIRST_DELAY_S: Final = 0.05
MOST_DELAY_S: Final = 5.0
#: More deaths than `restart-limit` in this time, and the process stays down.
RESTART_WINDOW_S: Final = 60.0
#: A signal to stop waits so long for a process that is being started again.
WHOLE_S: Final = 10.0
#: After SIGTERM a child that has nothing to save is gone within this, or is killed.
STOP_S: Final = 10.0
PULSE_S: Final = 0.5


@dataclass(eq=False)
class Child:
    """A process and what is known of it."""

    name: str
    module: str
    arguments: list[str]
    number: int  #: its block on the board
    incarnation: int = 0
    process: subprocess.Popen[bytes] | None = None
    pid: int = 0  #: of the process, or of the last that there was
    channel: Channel | None = None
    ready: bool = False
    linked: int = 0  #: the epoch it listens for
    served: int = 0  #: a worker: the epoch of the frontend that sends it commands
    deaths: deque[float] = field(default_factory=deque)
    report: int = field(default_factory=crash_report.create)  #: where it writes how it crashed
    oom_kills: int = 0  #: what the kernel had killed for want of memory when it was started
    start_at: float | None = 0.0  #: when to start it next; None: not at all

    @property
    def shard(self) -> int:
        return self.number - 2


class Supervisor:
    """Everything above the frontend and the workers."""

    def __init__(self, config: Config, manager: ServiceManager | None = None) -> None:
        self.config = config
        self.shards = config.worker_count()
        self.segment = Segment.create(
            self.shards, list(spec.load()), databases=config.databases, pool_bytes=config.large_value_pool
        )
        self.board = Board(self.segment)
        self.block = self.board.supervisor
        self.reporter = Reporter(manager or ServiceManager(), self.board, config)
        self.watchdog = Watchdog(self.board)
        self.report = crash_report.create()  # the frontend reads it if this process crashes
        # What wakes a process that sleeps beside its ring: made once, so that they outlive whoever uses them
        self.bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.selector = selectors.DefaultSelector()
        self.runtime = RuntimeFolder(config)
        remove_abandoned(Path(config.dir))
        try:
            self.listeners = Listeners(config)
            self.metrics = open_metrics(BoardSource(self.segment, config), config)
        except StartFailed:
            self.runtime.remove()
            raise
        self.workers = [
            Child(f"worker {shard}", "mpkv.workers.main", [str(shard)], 2 + shard) for shard in range(self.shards)
        ]
        self.frontend = Child("frontend", "mpkv.frontend.main", [], 1)
        self.children = [self.frontend, *self.workers]
        self.stopping = False
        self.failure: str | None = None
        self.kill_at: float | None = None
        self.stop_at: float | None = None  # asked to stop: when at the latest
        self.stop_how: Sequence[str] | None = None  # by a signal: its options
        self.changed: dict[str, str] = {}  # by CONFIG SET, as the frontend sent it
        self.serving = False
        self.announced = False
        self._wake_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._signals: deque[int] = deque()
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda got, _frame: self._signals.append(got))
        self.selector.register(self._wake_fd, selectors.EVENT_READ, None)

    # -- the day's work ------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Until everything has stopped; the exit status."""
        self.block.begin()
        crash_report.prepare(self.report, self.block, "supervisor", self.config)
        sys.excepthook = crash_report.log_exception
        if self.metrics is not None:
            self.metrics.start()
        self.block.enter(State.READY)
        while not self._all_gone():
            self._start_what_is_due()
            for key, _ in self.selector.select(self._patience()):
                if key.data is None:
                    self._drain_wakeups()
                else:
                    self._hear(key.data)
            while self._signals:
                self._obey_signal(self._signals.popleft())
            self._reap()
            self._stop_when_whole()
            self._enforce_stop()
            self.block.heartbeat()
            self._look_after_all()
        return self._finish()

    def _patience(self) -> float:
        now = time.monotonic()
        due = [child.start_at - now for child in self.children if child.process is None and child.start_at is not None]
        return max(0.0, min([PULSE_S, self.reporter.patience_s, *due])) if not self.stopping else 0.05

    def _drain_wakeups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_fd, 512):
                pass

    def _obey_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._reload()
        elif number in (signal.SIGTERM, signal.SIGINT):
            name = signal.Signals(number).name
            logger.warning("Received %s: shutting down", name)
            self._ask_to_stop(getattr(self.config, f"shutdown_on_{name.lower()}"))

    def _reload(self) -> None:
        """All processes go on in a new log file. Settings are not read again: CONFIG SET changes those."""
        self.reporter.reloading()
        logs.reopen()
        for child in self.children:
            if child.channel is not None:
                child.channel.send("reopen-log")
        self.reporter.reloaded()

    def _look_after_all(self) -> None:
        """Who hangs is killed, and started again; the service manager hears how things stand."""
        now = time.monotonic()
        self.watchdog.look({child.number: child.process.pid for child in self.children if child.process}, now)
        limit_s = self.config.hang_limit
        for child in self.children:
            if limit_s and child.process is not None and self.watchdog.silence_s(child.number) > limit_s:
                logger.critical("%s has shown no sign of life for %d s (hang-limit): killed", child.name, limit_s)
                child.process.kill()
                self.watchdog.forget(child.number)
        self.reporter.look(
            now,
            whole=self._serves_all(),
            stopping=self.stopping or self.stop_at is not None,
            silence_s=self.watchdog.longest_silence_s(),
        )

    def _serves_all(self) -> bool:
        """Whether clients reach every shard that there will be."""
        return self.serving and all(
            worker.served == self.frontend.incarnation or (worker.process is None and worker.start_at is None)
            for worker in self.workers
        )

    def _announce(self) -> None:
        """Say once that the server is there: when it has loaded, as Redis does; clients may connect before."""
        if not self.announced and self._serves_all():
            self.announced = True
            logger.info("Ready to accept connections")

    # -- starting ------------------------------------------------------------------------------------------------------

    def _start_what_is_due(self) -> None:
        now = time.monotonic()
        for child in self.children:
            if child.process is None and child.start_at is not None and child.start_at <= now and not self.stopping:
                self._start(child)

    def _start(self, child: Child) -> None:
        child.incarnation += 1
        child.ready = False
        child.linked = child.served = 0
        child.start_at = None
        child.channel, theirs = Channel.pair()
        child.oom_kills = crash_report.count_oom_kills()
        descriptors = [theirs.fileno(), self.segment.fd, self.bell, child.report, self.report]
        arguments = [
            str(theirs.fileno()),
            str(self.segment.fd),
            str(os.getpid()),
            *child.arguments,
            str(child.incarnation),
        ]
        if child is self.frontend:
            descriptors += self.listeners.filenos()
            arguments += map(str, self.listeners.filenos())
        with theirs:
            child.process = subprocess.Popen(
                [sys.executable, "-P", "-m", child.module, *arguments],
                pass_fds=descriptors,
                env=_environment(),
                stdin=subprocess.DEVNULL,
            )
        child.pid = child.process.pid
        child.channel.send(
            "setup",
            config=self.config.to_json().decode(),
            runtime=str(self.runtime.path),
            incarnation=child.incarnation,
            changed=list(self.changed.items()),
            bell=self.bell,
            report=child.report,
            supervisors_report=self.report,
        )
        self.selector.register(child.channel, selectors.EVENT_READ, child)
        if child is self.frontend:
            for worker in self.workers:
                if worker.ready:
                    self._ask_to_link(worker)
                elif worker.process is None or worker.incarnation > 1 or self.frontend.incarnation > 1:
                    self._tell_down(worker)

    # -- hearing -------------------------------------------------------------------------------------------------------

    def _hear(self, child: Child) -> None:
        assert child.channel is not None
        try:
            messages = child.channel.receive()
        except Closed:
            self.selector.unregister(child.channel)
            child.channel.close()
            child.channel = None
            child.ready = False  # it is dying, though there may be no status yet
            return
        for message in messages:
            self._take_news(child, message)

    def _take_news(self, child: Child, message: Message) -> None:
        kind = message["kind"]
        if kind == "ready":
            child.ready = True
            if self.frontend.process is not None:
                self._ask_to_link(child)
        elif kind == "linked":
            child.linked = message["epoch"]
            if child.linked == self.frontend.incarnation and self.frontend.channel is not None:
                self.runtime.drop_endpoints(child.shard, keep=self._endpoint_name(child))
                self.frontend.channel.send(
                    "up",
                    shard=child.shard,
                    incarnation=child.incarnation,
                    endpoint=self._endpoint(child),
                    reset=child.incarnation > 1,
                )
        elif kind == "damaged":
            self._refuse(child, message["reason"])
        elif kind == "serving":
            child.ready = True
            self.serving = True
            self._announce()
        elif kind == "shard-served":
            self.workers[message["shard"]].served = self.frontend.incarnation
            self._announce()
        elif kind == "config":
            self._change_settings(message["pairs"])
        elif kind == "stopping":
            self.stopping = True
            self.kill_at = None
        elif kind == "stop-refused" and self.failure is None:
            self.stopping = False
            self.kill_at = None
            logger.warning("Not shutting down: %s", message["reason"])
            self.reporter.stays(message["reason"])
            self._ask_again()

    def _ask_to_link(self, worker: Child) -> None:
        """Have a worker open a fresh endpoint for the frontend of this epoch."""
        assert worker.channel is not None
        worker.channel.send("link", endpoint=self._endpoint(worker), epoch=self.frontend.incarnation)

    def _endpoint(self, worker: Child) -> str:
        return f"ipc://{self.runtime.path / self._endpoint_name(worker)}"

    def _endpoint_name(self, worker: Child) -> str:
        return f"w{worker.shard}.{worker.incarnation}.{self.frontend.incarnation}"

    def _tell_down(self, worker: Child) -> None:
        """The frontend learns that a shard is gone, and the last number that it may have executed."""
        last_number = self.board.workers[worker.shard].last_number
        for_good = worker.process is None and worker.start_at is None
        if self.frontend.channel is not None:
            self.frontend.channel.send("down", shard=worker.shard, last_number=last_number, for_good=for_good)

    def _refuse(self, child: Child, reason: str) -> None:
        """The snapshot cannot be loaded: nothing is overwritten, and at the first start nothing is started."""
        logger.critical("%s: %s", child.name, reason)
        if child.incarnation == 1:
            self.failure = reason
            self.stop("failure")
        else:
            child.start_at = None
            child.deaths.extend([time.monotonic()] * self.config.restart_limit)

    def _change_settings(self, pairs: list[list[str]]) -> None:
        """CONFIG SET in the frontend: what is started from now on gets it too."""
        texts = [(name, value.encode("latin-1").decode(ENCODING, ENCODING_ERRORS)) for name, value in pairs]
        self.config.set(texts, local=True)
        self.changed.update((name, value) for name, value in pairs)
        logs.set_level(self.config.loglevel)
        crash_report.apply_settings(self.config)

    # -- the dead ------------------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        for child in self.children:
            if child.process is not None and child.process.poll() is not None:
                self._bury(child, child.process.returncode)

    def _bury(self, child: Child, status: int) -> None:
        child.process = None
        child.ready = False
        child.linked = child.served = 0
        if child.channel is not None:
            self._hear_last_words(child)
        if self.failure is not None or (self.stopping and status == 0):
            return
        report = self._take_report(child, status)
        if child is self.frontend and self.stopping and all(worker.process is not None for worker in self.workers):
            # It died over the stop, and nothing is saved yet: a new one will do it
            self.stopping = False
            self.kill_at = None
            self._schedule_restart(child)
            self._ask_again()
            crash_report.log(report, _role(child), child.pid)
            return
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
        block = self.board.processes[child.number]
        executing = block.executing
        doing = ""
        if executing:
            name = crash_report.name_of(executing[1], self.segment.command_names)
            doing = f" while it executed command {executing[0]} ({name})"
        fields = {"process": child.name, "status": status, "number": executing[0] if executing else None}
        logger.critical("%s %s%s", child.name, how, doing, extra={"fields": fields})
        block.mark_down()
        if child is self.frontend:
            self.block.count("frontend_restarts")
        else:
            self.block.count("worker_restarts")
            if executing:
                # The command it died in counts as executed: whoever asks, now or later, must not send it again
                block.note_number(max(block.last_number, executing[0]))
            block.count("snapshot_fallbacks")
            logger.critical(
                "shard %d falls back to its last snapshot: its writes since then are lost "
                "(there is no append-only file)",
                child.shard,
            )
        self._schedule_restart(child)
        if child is not self.frontend:
            self._tell_down(child)
        crash_report.log(report, _role(child), child.pid)  # last: the others need not wait for it

    def _take_report(self, child: Child, status: int) -> list[str]:
        """The report that it left; or what the board says of it."""
        block = self.board.processes[child.number]
        left = crash_report.take(child.report)
        oom_kills = crash_report.count_oom_kills() - child.oom_kills
        if not self.config.crash_log_enabled:
            return []
        return left or crash_report.post_mortem(block, self.segment.command_names, status, oom_kills)

    def _hear_last_words(self, child: Child) -> None:
        assert child.channel is not None
        channel = child.channel
        with contextlib.suppress(Closed):
            for message in channel.receive():
                self._take_news(child, message)
        with contextlib.suppress(KeyError):
            self.selector.unregister(channel)
        channel.close()
        child.channel = None

    def _schedule_restart(self, child: Child) -> None:
        now = time.monotonic()
        child.deaths.append(now)
        while child.deaths and now - child.deaths[0] > RESTART_WINDOW_S:
            child.deaths.popleft()
        if len(child.deaths) > self.config.restart_limit:
            logger.critical(
                "%s has died %d times in %d s: it stays down", child.name, len(child.deaths), RESTART_WINDOW_S
            )
            if child is self.frontend:
                self.failure = "the frontend does not stay up"
                self.stop("failure")
            return
        child.start_at = now + min(MOST_DELAY_S, FIRST_DELAY_S * 2 ** (len(child.deaths) - 1))

    # -- the end -------------------------------------------------------------------------------------------------------

    def _ask_to_stop(self, how: Sequence[str]) -> None:
        """Stop when all are there, since only then can they save. Asked again, or if that takes too long: at once."""
        now = time.monotonic()
        self.stop_at = now + WHOLE_S if self.stop_at is None else now
        self.stop_how = how

    def _ask_again(self) -> None:
        """A stop that a signal had asked for came to nothing: if somebody died over it, it is due when he is back."""
        how, self.stop_how = self.stop_how, None
        if how is not None and not self._is_whole():
            self._ask_to_stop(how)

    def _stop_when_whole(self) -> None:
        if self.stop_at is not None and (self._is_whole() or time.monotonic() >= self.stop_at):
            self.stop_at = None
            self.stop("signal", self.stop_how or ())

    def _is_whole(self) -> bool:
        """Whether everybody is there who will be. A worker that loads for the first time holds nothing that is new."""
        return self.frontend.ready and all(
            worker.linked == self.frontend.incarnation
            or (worker.incarnation == 1 and not worker.ready and worker.channel is not None)
            or (worker.process is None and worker.start_at is None)
            for worker in self.workers
        )

    def stop(self, why: str, how: Sequence[str] = ()) -> None:
        """Stop in order: the frontend saves and ends the workers, if it can; then it leaves itself.

        :param how: save, nosave, force; without either of the former it saves if there are save points
        """
        if self.stopping and why != "failure":
            return
        self.stopping = True
        self.block.enter(State.STOPPING)
        if self.frontend.channel is not None and why != "failure":
            save = True if "save" in how else False if "nosave" in how else None
            self.frontend.channel.send("stop", save=save, force="force" in how)
        else:
            self._stop_workers()
            if self.frontend.process is not None:
                # Nothing may be saved; asked to stop it would try, and refuse to stop since shards are down
                self.frontend.process.kill()
            self.kill_at = time.monotonic() + STOP_S

    def _stop_workers(self) -> None:
        for worker in self.workers:
            if worker.channel is not None:
                worker.channel.send("stop")
            elif worker.process is not None:
                worker.process.kill()

    def _enforce_stop(self) -> None:
        """When the frontend has gone the workers may go; who does not is killed."""
        if not self.stopping:
            return
        now = time.monotonic()
        if self.frontend.process is None and self.kill_at is None:
            self._stop_workers()
            self.kill_at = now + STOP_S
        if self.kill_at is not None and now > self.kill_at:
            for child in self.children:
                if child.process is not None:
                    logger.warning("%s did not stop in %d s: killed", child.name, STOP_S)
                    child.process.kill()
            self.kill_at = now + STOP_S

    def _all_gone(self) -> bool:
        return self.stopping and all(child.process is None for child in self.children)

    def _finish(self) -> int:
        if self.metrics is not None:
            self.metrics.stop()
        self.listeners.close()
        self.runtime.remove()
        if self.config.pidfile:
            with contextlib.suppress(OSError):
                os.unlink(self.config.pidfile)
        if self.failure is not None:
            return 1
        logger.warning("mpkv is now ready to exit, bye bye...")
        return 0


def _role(child: Child) -> str:
    """As lines of the log have it."""
    return f"W{child.shard}" if child.shard >= 0 else "F"


#: How a runtime folder's name begins, and while nobody holds its lock yet.
FOLDER: Final = "mpkv-"
UNFINISHED: Final = ".mpkv-"


def _environment() -> dict[str, str]:
    """A child's: it imports mpkv from where this process did, and with -P nothing from the folder it was started in."""
    environment = {name: value for name, value in os.environ.items() if name not in sdnotify.VARIABLES}
    paths = (str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", ""))
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return environment


class RuntimeFolder:
    """The folder of the processes' sockets: mode 0700, one server's own, cleared at the start and removed at the end.

    :raises StartFailed: it is not ours, or another server lives in it
    """

    def __init__(self, config: Config) -> None:
        self._made = not config.runtime_dir
        try:
            self.path = Path(config.runtime_dir or tempfile.mkdtemp(prefix=UNFINISHED, dir=self._parent(config)))
            self.path.mkdir(mode=0o700, exist_ok=True)
            status = self.path.stat()
        except OSError as error:
            raise StartFailed(f"runtime-dir {error.filename or config.runtime_dir}: {error.strerror}") from error
        if status.st_uid != os.geteuid():
            raise StartFailed(f"runtime-dir {self.path} belongs to another user")
        if stat.S_IMODE(status.st_mode) & 0o077:
            self.path.chmod(0o700)
        self._lock = open(self.path / "lock", "w")  # noqa: SIM115
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartFailed(f"runtime-dir {self.path} is in use by another server") from None
        if self._made:  # only now, with the lock held, under a name that other servers look for
            self.path = self.path.rename(self.path.with_name(self.path.name.replace(UNFINISHED, FOLDER, 1)))
        self.clear()

    def _parent(self, config: Config) -> str:
        """Where a folder of our own goes; those that dead servers left behind are removed on the way."""
        # Of a unit with RuntimeDirectory=, of a session; a socket's path is short
        unit = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        given = (unit, os.environ.get("XDG_RUNTIME_DIR", ""), "/run")
        usable = (path for path in given if path and len(path) <= 60 and os.access(path, os.W_OK | os.X_OK))
        parent = next(usable, None) or tempfile.gettempdir()
        for left in Path(parent).glob(f"{FOLDER}*"):
            remove_if_abandoned(left)
        return parent

    def drop_endpoints(self, shard: int, keep: str) -> None:
        """Remove the sockets of a shard's links that are past: of an earlier worker, or for an earlier frontend."""
        for path in self.path.glob(f"w{shard}.*"):
            if path.name != keep:
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        for left in self.path.iterdir():
            if left.name != "lock":
                left.unlink()

    def remove(self) -> None:
        self.clear()
        if self._made:
            shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def remove_if_abandoned(folder: Path) -> None:
    """Remove a runtime folder of ours whose server is gone: nobody holds its lock."""
    try:
        if folder.stat().st_uid != os.geteuid():
            return
        with open(folder / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return


def open_metrics(source: BoardSource, config: Config) -> MetricsServer | None:
    """Bind where metrics are served. None if that cannot be: a stray process on a port that clients do not need must
    not keep the data from being served, and whoever collects the metrics sees by their absence that something is
    wrong."""
    try:
        return MetricsServer(source, config)
    except OSError as error:
        logger.warning(
            "no metrics: cannot listen on %s port %d: %s (metrics-bind, metrics-port)",
            config.metrics_bind, config.metrics_port, error.strerror or error,
        )  # fmt: skip
        return None


def run(config: Config) -> int:
    """Start the server and stay until it has stopped; the exit status."""
    process.set_title("supervisor", config)
    manager = ServiceManager.found(config.supervised)
    lacking = rights.first_missing(config)
    if lacking is not None:
        manager.tell(f"STATUS=Failed: {lacking}", f"ERRNO={errno.EACCES}")
        print(f"mpkv: {lacking}", file=sys.stderr)
        return rights.EXIT_STATUS
    try:
        logs.set_up("S", config)
    except OSError as error:
        print(f"mpkv: logfile {config.logfile}: {error.strerror}", file=sys.stderr)
        return 1
    for warning in config.warnings:
        logger.warning("%s", warning)
    try:
        raised = start_checks.provide_descriptors(config)
        supervisor = Supervisor(config, manager)
    except (StartFailed, start_checks.TooFewDescriptors) as error:
        if config.logfile:
            logger.critical("%s", error)
        manager.tell(f"STATUS=Failed: {error}")
        print(f"mpkv: {error}", file=sys.stderr)
        return 1
    start_checks.warn(config, raised)  # a server that cannot start says so in one line, and nothing beside it
    if config.daemonize:
        _go_to_background()
    logger.info(
        "mpkv %s starts: %d workers, pid %d, runtime folder %s",
        __version__,
        supervisor.shards,
        os.getpid(),
        supervisor.runtime.path,
    )
    if config.pidfile:
        try:
            Path(config.pidfile).write_text(f"{os.getpid()}\n")
        except OSError as error:
            logger.warning("pidfile %s: %s", config.pidfile, error.strerror)
    status = supervisor.run()
    if supervisor.failure is not None:
        manager.tell(f"STATUS=Failed: {supervisor.failure}")
        print(f"mpkv: {supervisor.failure}", file=sys.stderr)
    return status


def _go_to_background() -> None:
    """Leave the terminal: what can fail at the start has been tried, so the exit status that the caller sees is
    true."""
    if os.fork():
        os._exit(0)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.close(nothing)


__all__: list[Any] = ["StartFailed", "Supervisor", "run"]
