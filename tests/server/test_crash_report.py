"""What a process that crashes leaves behind, and what the supervisor says of one that could leave nothing."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from mpkv.crash import report
from mpkv.sharding import shard_of
from mpkv.testing import Server
from tests.helpers.running import leaving_nothing

BEGIN = "=== CRASH REPORT BEGINS"
END = "=== CRASH REPORT ENDS ==="
SECRET = "hunter2-the-secret"


def reports_in(log: str) -> list[list[str]]:
    """Every whole report, without what each line of the log begins with."""
    found: list[list[str]] = []
    current: dict[str, list[str]] = {}  # by process: others write between its lines
    for line in log.splitlines():
        match = re.match(r"(\d+:\w+) .{24} [.*#-] (.*)", line)
        if match is None:
            continue
        origin, text = match.groups()
        if text.startswith(BEGIN):
            current[origin] = []
        if origin in current:
            current[origin].append(text)
        if text == END:
            found.append(current.pop(origin))
    return found


def wait_for_reports(server: Server, count: int = 1) -> list[list[str]]:
    end = time.monotonic() + 60
    while len(found := reports_in(server.log())) < count:
        assert time.monotonic() < end, "there is no whole report in the log:\n" + server.log()
        time.sleep(0.02)
    return found


def client_of(server: Server) -> redis.Redis:
    return redis.Redis(port=server.port, socket_timeout=20, retry=None)


@contextlib.contextmanager
def busy(server: Server, shard: int = 0) -> Iterator[None]:
    """A shard works on a long pipeline of slow commands until it is killed within the block."""
    tag = next(f"{{{number}}}" for number in range(1000) if shard_of(b"{%d}" % number, server.workers) == shard)
    with client_of(server) as client:
        for name in ("a", "b"):
            client.set(f"{tag}{name}{SECRET}", SECRET * 300)

    def run() -> None:
        with contextlib.suppress(redis.RedisError), client_of(server) as client:
            pipeline = client.pipeline(transaction=False)
            for _ in range(500):
                pipeline.execute_command("LCS", f"{tag}a{SECRET}", f"{tag}b{SECRET}", "LEN")
            pipeline.execute()

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.3)
    try:
        yield
    finally:
        thread.join()


def ask_to_crash(server: Server, *words: str) -> None:
    with client_of(server) as client, contextlib.suppress(redis.RedisError):
        client.execute_command("DEBUG", "SEGFAULT", *words)


# -- reports of its own ------------------------------------------------------------------------------------------------


def test_a_worker_that_crashes_under_load_says_what_it_was_doing() -> None:
    with leaving_nothing(2) as server:
        with busy(server, 1):
            pid = server.kill(signal.SIGSEGV, "worker 1")
            [lines] = wait_for_reports(server)
        server.wait_until_ready()
        text = "\n".join(lines)
        assert f"Signal: 11 (SIGSEGV), code 0, sent by process {os.getpid()}" in text
        assert f"Process: worker 1, pid {pid}, started 20" in text
        assert re.search(r"^Versions: mpkv \S+ \(Redis 7\.2\.\d+\), Python 3\.\d+\.\d+.*, glibc", text, re.M)
        assert re.search(r"^Executing: command lcs, number \d+, client \d+$", text, re.M)
        assert re.search(r"^Last number executed: [1-9]\d*; last heartbeat \d+ ms ago; incarnation 1$", text, re.M)
        assert re.search(r"^  shared memory: [1-9]\d*, [1-9]\d*, [1-9]\d*$", text, re.M)
        assert re.search(r"^/.*types/lcs\..*\.so\(\+0x[0-9a-f]+\)", text, re.M)
        assert 'commands/strings.py", line' in text
        assert 'workers/main.py", line' in text
        assert SECRET not in server.log()
        assert f"{pid}:W1 " in server.log()
        assert "worker 1 killed by SIGSEGV while it executed command" in server.log()


@pytest.mark.parametrize("name", ["SIGABRT", "SIGBUS", "SIGFPE", "SIGILL"])
def test_every_signal_of_a_crash_leaves_a_report_and_kills(name: str) -> None:
    with leaving_nothing(1) as server:
        server.kill(getattr(signal, name), "worker 0")
        [lines] = wait_for_reports(server)
        assert f"({name})" in lines[1]
        assert "Python stacks of all threads:" in lines
        assert f"worker 0 killed by {name}" in server.log()
        server.wait_until_ready()


def test_debug_segfault_crashes_a_worker_at_an_address() -> None:
    with leaving_nothing(2) as server:
        ask_to_crash(server, "1")
        [lines] = wait_for_reports(server)
        assert re.fullmatch(r"Signal: 11 \(SIGSEGV\), code 2, fault address 0x[0-9a-f]+", lines[1])
        assert any(re.match(r"Executing: the frontend's message 9, number \d+", line) for line in lines)
        assert any("in segfault" in line for line in lines)
        server.wait_until_ready()
        assert "worker 0 killed" not in server.log()


def test_debug_segfault_crashes_the_frontend() -> None:
    with leaving_nothing(1) as server:
        ask_to_crash(server)
        [lines] = wait_for_reports(server)
        assert lines[2].startswith("Process: frontend, ")
        server.wait_until_ready()


def test_debug_segfault_needs_permission() -> None:
    with leaving_nothing(1, enable_debug_command="no") as server, client_of(server) as client:
        with pytest.raises(redis.ResponseError, match="DEBUG command not allowed"):
            client.execute_command("DEBUG", "SEGFAULT", "0")
        assert "killed" not in server.log()


def test_the_supervisors_report_is_written_by_the_frontend() -> None:
    with Server(1) as server:
        server.kill(signal.SIGSEGV)
        [lines] = wait_for_reports(server)
        assert lines[2].startswith(f"Process: supervisor, pid {server.pid}, ")


def test_in_json_every_line_of_a_report_is_an_object() -> None:
    with leaving_nothing(1, log_format="json") as server:
        pid = server.kill(signal.SIGSEGV, "worker 0")
        end = time.monotonic() + 60
        while END not in server.log() and time.monotonic() < end:
            time.sleep(0.02)
        entries = [json.loads(line) for line in server.log().splitlines()]
        [begin, *lines] = [entry for entry in entries if entry["pid"] == pid and entry["logger"] == report.__name__]
        assert begin["message"].startswith(BEGIN)
        assert {(entry["role"], entry["shard"], entry["level"]) for entry in lines} == {("worker", 0, "warning")}
        assert lines[-1]["message"] == END
        server.wait_until_ready()


@pytest.mark.parametrize("shown", [False, True])
def test_arguments_are_shown_only_if_the_setting_says_so(shown: bool) -> None:
    with leaving_nothing(1) as server:
        with client_of(server) as client:
            client.config_set("hide-user-data-from-log", "no" if shown else "yes")
        with busy(server):
            server.kill(signal.SIGSEGV, "worker 0")
            [lines] = wait_for_reports(server)
        server.wait_until_ready()
        assert any(line.startswith("Executing: command lcs") for line in lines)
        arguments = [line for line in lines if line.startswith("Argument ")]
        size = len(f"{{0}}a{SECRET}")
        expected = [f'Argument {at} ({size} bytes): "{{0}}{name}{SECRET}"' for at, name in ((1, "a"), (2, "b"))]
        assert arguments == ([*expected, 'Argument 3 (3 bytes): "LEN"'] if shown else [])
        assert (SECRET in server.log()) == shown


def test_without_crash_log_a_crash_is_only_a_death() -> None:
    with leaving_nothing(1, crash_log_enabled=False) as server:
        server.kill(signal.SIGSEGV, "worker 0")
        server.wait_until_ready()
        assert "worker 0 killed by SIGSEGV" in server.log()
        assert BEGIN not in server.log()
        with client_of(server) as client:
            client.config_set("crash-log-enabled", "yes")
        server.kill(signal.SIGSEGV, "worker 0")
        wait_for_reports(server)
        server.wait_until_ready()


# -- written by the supervisor -----------------------------------------------------------------------------------------


def test_of_a_killed_worker_the_supervisor_says_what_the_board_knows() -> None:
    with leaving_nothing(1) as server:
        with busy(server):
            server.kill(signal.SIGKILL, "worker 0")
            [lines] = wait_for_reports(server)
        server.wait_until_ready()
        assert "written by the supervisor" in lines[0]
        assert "Ended by: SIGKILL: by somebody, or perhaps by the kernel for want of memory" in lines[1]
        assert re.fullmatch(r"Executing: lcs, number \d+", lines[2])
        assert re.match(r"Last number executed: \d+; last heartbeat \d+ ms before", lines[3])


CGROUP_2 = {"proc": "0::/a/b\n", "a/b/memory.events": "low 0\nhigh 0\nmax 4\noom 3\noom_kill 2\noom_group_kill 0\n"}
CGROUP_1 = {"proc": "3:cpu:/\n2:memory:/a\n", "memory/a/memory.oom_control": "oom_kill_disable 0\noom_kill 5\n"}


@pytest.mark.parametrize(
    ("files", "count"), [(CGROUP_2, 2), (CGROUP_1, 5), ({"proc": "0::/gone\n"}, 0), ({"proc": "nonsense"}, 0)]
)
def test_the_kernels_count_of_processes_killed_for_memory_is_read(
    files: dict[str, str], count: int, tmp_path: Path
) -> None:
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert report.count_oom_kills(tmp_path, tmp_path / "proc") == count


def test_a_growing_count_makes_want_of_memory_the_cause() -> None:
    assert "has killed 2 for want of memory" in report._cause(-signal.SIGKILL, 2)
    assert "perhaps" in report._cause(-signal.SIGKILL, 0)
    assert report._cause(-signal.SIGSEGV, 2) == "SIGSEGV"
    assert report._cause(3, 0) == "its own exit with status 3"


# -- the report itself, in a process made for it -----------------------------------------------------------------------

PROGRAM = """
import os, signal, sys, threading, time
from mpkv.config import Config
from mpkv.crash import handler, report
from mpkv.shm.board import Block
from mpkv.shm.segment import Segment
segment = Segment.create(1, ["get", "set", "sinter"])
block = Block(segment, 2)
block.begin()
report.prepare(int(sys.argv[1]), block, "worker 0", Config())
block.start_command(5, 2)
"""


def crash(program: str, timeout_s: float = 20) -> tuple[int, list[str]]:
    """The status of a process that runs this after it was prepared, and its report."""
    fd = report.create()
    try:
        command = [sys.executable, "-c", PROGRAM + program, str(fd)]
        ended = subprocess.run(command, pass_fds=[fd], timeout=timeout_s, check=False, preexec_fn=_without_core)
        return ended.returncode, report.take(fd)
    finally:
        os.close(fd)


def _without_core() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def test_an_exception_that_nobody_caught_leaves_a_report() -> None:
    status, lines = crash("def f(n):\n    raise ValueError('it is ' + str(n))\nf(7)")
    assert status == 1
    assert lines[0].startswith(BEGIN)
    assert "ValueError: it is 7" in lines
    assert "Executing: command sinter, number 5" in lines
    assert lines[-1] == END


def test_the_batch_at_hand_is_there_for_the_report_when_its_execution_was_left_by_an_exception() -> None:
    program = (
        "from tests.helpers.envelopes import batch, request\n"
        "handler.watch(batch([request('SINTER a b', number=5, client=77)]))\n"
        "size = len(batch([request('SINTER a b')]))\n"
        "others = [bytes([each]) * size for each in range(256)]\n"
        "raise ValueError\n"
    )
    _, lines = crash(program)
    assert "Executing: command sinter, number 5, client 77" in lines


def test_a_recursion_without_end_fits_into_the_report() -> None:
    status, lines = crash("def f():\n    try:\n        f()\n    finally:\n        1 / 0\nf()")
    assert status == 1
    assert sum(map(len, lines)) < report.REPORT_BYTES


def test_a_stack_that_ran_out_leaves_a_report() -> None:
    """The handler has a stack of its own. The fault is in native code that calls itself."""
    program = (
        "import ctypes\n"
        "callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)\n"
        "sys.setrecursionlimit(10**9)\n"
        "f = callback(lambda n: f(n + 1))\n"
        "f(0)"
    )
    status, lines = crash(program, 60)
    assert status == -signal.SIGSEGV
    assert lines[1].startswith("Signal: 11 (SIGSEGV), code ")
    assert lines[-1] == END


def test_a_crash_of_another_thread_leaves_a_report() -> None:
    status, lines = crash("threading.Thread(target=handler.segfault, name='x').start()\ntime.sleep(10)")
    assert status == -signal.SIGSEGV
    assert any("in segfault" in line or "threading.py" in line for line in lines)
    assert lines[-1] == END


def test_two_threads_that_crash_at_once_write_one_report() -> None:
    program = (
        "barrier = threading.Barrier(8)\n"
        "def f():\n    barrier.wait()\n    handler.segfault()\n"
        "for _ in range(8):\n    threading.Thread(target=f).start()\n"
        "time.sleep(10)"
    )
    status, lines = crash(program)
    assert status == -signal.SIGSEGV
    assert sum(line.startswith(BEGIN) for line in lines) == 1
    assert lines[-1] == END


def test_a_part_that_faults_itself_does_not_end_the_report() -> None:
    """Python's own structures are damaged, so that faulthandler faults: what comes after it is there all the same."""
    program = (
        "import ctypes\n"
        "thread = ctypes.pythonapi.PyThreadState_Get\n"
        "thread.restype = ctypes.c_void_p\n"
        "state = thread()\n"
        "ctypes.memset(state + 16, 0x41, 200)\n"
        "os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    status, lines = crash(program)
    assert status < 0
    assert any("(writing this part failed)" in line for line in lines)
    assert lines[-1] == END


def test_a_part_that_waits_is_ended_by_the_alarm(tmp_path: Path) -> None:
    """The process dies while it loads a library, which holds the lock that naming the native frames needs: opening a
    pipe that nobody writes to takes for ever."""
    pipe = tmp_path / "library.so"
    os.mkfifo(pipe)
    program = (
        "import ctypes, subprocess\n"
        "subprocess.Popen(['sh', '-c', f'sleep 0.5; kill -SEGV {os.getpid()}'])\n"
        f"threading.Thread(target=ctypes.CDLL, args=[{str(pipe)!r}], daemon=True).start()\n"
        "time.sleep(30)\n"
    )
    status, lines = crash(program)
    assert status == -signal.SIGSEGV
    assert lines[-1].startswith("(writing this part took too long")
    assert any(line.startswith("Memory map") for line in lines)


def test_a_forked_child_leaves_the_report_alone() -> None:
    program = (
        "child = os.fork()\n"
        "if not child:\n    os.kill(os.getpid(), signal.SIGSEGV)\n    os._exit(1)\n"
        "_, status = os.waitpid(child, 0)\n"
        "sys.exit(0 if os.WTERMSIG(status) == signal.SIGSEGV else 3)"
    )
    status, lines = crash(program)
    assert status == 0
    assert lines == []


def test_the_report_cannot_grow_and_is_empty_once_it_was_taken() -> None:
    fd = report.create()
    try:
        room = report.REPORT_BYTES
        assert os.write(fd, b"x\n" * (room // 2)) == room
        with pytest.raises(OSError):
            os.write(fd, b"y")
        assert len(report.take(fd)) == room // 2
        assert report.take(fd) == []
    finally:
        os.close(fd)
