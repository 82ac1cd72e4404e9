"""The forked child: what it writes, what it leaves behind, and how little it costs."""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from mpkv.snapshot.child import SnapshotChild, fork_child, write_inline
from mpkv.snapshot.join import join_parts
from mpkv.workers.database import Database
from mpkv.workers.keyspace import Keyspace

MEGABYTE = 1 << 20


def keyspace_of(size_bytes: int, value_bytes: int = 2000) -> Keyspace:
    keyspace = Keyspace(16)
    db = Database(keyspace, 0)
    for number in range(size_bytes // value_bytes):
        db.set_string(b"key:%d" % number, b"%d" % number * (value_bytes // len(b"%d" % number)))
    return keyspace


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def no_descriptor_and_no_child_is_left() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    family = children()
    yield
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert children() == family


def children() -> set[int]:
    """The children of this process, zombies included; servers that other tests share are among them."""
    return {child.pid for child in psutil.Process().children()}


@contextmanager
def stuck_child(directory: Path) -> Iterator[tuple[SnapshotChild, Keyspace, int]]:
    """A child that writes into a pipe which nobody empties, so that it can be looked at."""
    fifo = directory / "part"
    os.mkfifo(fifo)
    read_end = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    keyspace = keyspace_of(MEGABYTE)
    child = fork_child(keyspace, fifo, "saving-a-very-long-name")
    try:
        wait_until(lambda: "S" in (Path(f"/proc/{child.pid}/stat").read_text().split()[2]))
        yield child, keyspace, read_end
    finally:
        child.kill()
        os.close(read_end)


def test_the_child_writes_what_the_process_itself_would_write(snapshots: Any, tmp_path: Path) -> None:
    keyspace = keyspace_of(MEGABYTE)
    inline = write_inline(keyspace, tmp_path / "inline")
    child = fork_child(keyspace, tmp_path / "forked")
    outcome = child.collect()
    assert (outcome.error, outcome.signal) == (0, 0)
    assert (tmp_path / "forked").read_bytes() == (tmp_path / "inline").read_bytes()
    assert outcome.part.crc64 == inline.part.crc64
    assert outcome.part.keys == inline.part.keys == 524
    assert outcome.part.size_bytes == (tmp_path / "forked").stat().st_size
    assert child.fork_usec > 0
    join_parts([outcome.part], tmp_path / "dump.rdb", server_version="7.2.0", created_at_s=0, used_memory_bytes=0)
    loaded, _ = snapshots.load_shards(tmp_path / "dump.rdb")
    assert snapshots.contents_of(*loaded) == snapshots.contents_of(keyspace)


def test_the_result_can_be_awaited_by_an_event_loop(tmp_path: Path) -> None:
    child = fork_child(keyspace_of(MEGABYTE), tmp_path / "part")
    while (outcome := child.try_collect()) is None:
        select.select([child.result_fd], [], [])
    assert outcome.error == 0
    os.fstat(child.result_fd)  # still open: the loop must be told first
    child.close()
    assert child.result_fd == -1
    assert child.collect() is outcome


def test_the_child_has_its_file_and_its_result_pipe_open_and_nothing_else(tmp_path: Path) -> None:
    ends = os.pipe()
    with stuck_child(tmp_path) as (child, _, _):
        targets = [os.readlink(f"/proc/{child.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{child.pid}/fd")]
        assert len(targets) == 2
        assert str(tmp_path / "part") in targets
    for end in ends:
        os.close(end)


def test_the_child_has_no_handlers_of_its_parent_a_name_and_patience(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    with stuck_child(tmp_path) as (child, _, _):
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{child.pid}/status").read_text().splitlines())
        niceness = os.getpriority(os.PRIO_PROCESS, child.pid)
    signal.signal(signal.SIGUSR1, before)
    assert status["Name"].strip() == "saving-a-very-l"
    assert int(status["SigBlk"], 16) == 0
    # 32 and 33 are glibc's own, which nobody else may touch
    of_everybody = set(range(1, 65)) - {32, 33}
    assert not {number for number in of_everybody if int(status["SigCgt"], 16) >> (number - 1) & 1}
    ignored = {number for number in of_everybody if int(status["SigIgn"], 16) >> (number - 1) & 1}
    assert ignored == {signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ}
    assert niceness == os.getpriority(os.PRIO_PROCESS, 0) + 5


def test_the_signals_of_the_parent_are_as_they_were(tmp_path: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    fork_child(Keyspace(1), tmp_path / "part").collect()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_what_changes_after_the_fork_is_not_in_the_part(tmp_path: Path) -> None:
    with stuck_child(tmp_path) as (child, keyspace, read_end):
        before = write_inline(keyspace, tmp_path / "before")
        db = Database(keyspace, 0)
        for key in list(db.keys()):
            db.set_string(key, b"changed")
        db.set_string(b"new", b"new")
        os.set_blocking(read_end, True)
        received = b""
        while len(received) < before.part.size_bytes:
            received += os.read(read_end, MEGABYTE)
        assert received == (tmp_path / "before").read_bytes()
        outcome = child.collect()
        assert outcome.part.crc64 == before.part.crc64
        assert outcome.error == errno.EINVAL  # a pipe cannot be fsynced: so much for an error at the very end


def test_a_child_that_is_killed_leaves_no_part(tmp_path: Path) -> None:
    child = fork_child(keyspace_of(20 * MEGABYTE), tmp_path / "part")
    outcome = child.kill()
    assert not (tmp_path / "part").exists()
    assert outcome.signal in (signal.SIGKILL, 0)
    assert child.kill() is outcome


def test_a_child_that_dies_is_a_failure_with_its_signal(tmp_path: Path) -> None:
    with stuck_child(tmp_path) as (child, _, _):
        os.kill(child.pid, signal.SIGTERM)
        outcome = child.collect()
        assert (outcome.error, outcome.signal) == (errno.ECHILD, signal.SIGTERM)
        assert not (tmp_path / "part").exists()


def test_the_child_dies_with_its_parent(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "part")
    read_end = os.open(tmp_path / "part", os.O_RDONLY | os.O_NONBLOCK)
    program = (
        "import sys, time\n"
        "from mpkv.snapshot.child import fork_child\n"
        "from mpkv.workers.database import Database\nfrom mpkv.workers.keyspace import Keyspace\n"
        "keyspace = Keyspace(1)\n"
        "Database(keyspace, 0).set_string(b'key', bytes(1 << 20))\n"
        "print(fork_child(keyspace, sys.argv[1]).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "part")]
    parent = subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[2])
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])
    os.close(read_end)


@pytest.fixture
def files_of_a_megabyte_at_most() -> Iterator[None]:
    """What a full disk looks like from inside: EFBIG instead of ENOSPC."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MEGABYTE, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("files_of_a_megabyte_at_most")
@pytest.mark.parametrize("forked", [True, False])
def test_a_part_that_does_not_fit_is_an_error_with_its_number(tmp_path: Path, forked: bool) -> None:
    keyspace = keyspace_of(2 * MEGABYTE)
    path = tmp_path / "part"
    outcome = fork_child(keyspace, path).collect() if forked else write_inline(keyspace, path)
    assert (outcome.error, outcome.signal) == (errno.EFBIG, 0)
    assert not path.exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    (tmp_path / "part").symlink_to("/dev/full")
    assert fork_child(keyspace_of(MEGABYTE), tmp_path / "part").collect().error == errno.ENOSPC
    assert os.path.exists("/dev/full")


def test_a_directory_that_is_not_there_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fork_child(Keyspace(1), tmp_path / "nowhere" / "part")


def test_the_child_copies_no_memory_by_reading(tmp_path: Path, record_property: Any) -> None:
    """200 MB of all types: a child that touched the values' pages would copy them (R9)."""
    keyspace = keyspace_of(160 * MEGABYTE)
    db = Database(keyspace, 0)
    value = b"v" * 400
    for number in range(20):
        hash_, list_, set_, zset = (
            getattr(db, f"{kind}_to_fill")(b"%s:%d" % (kind.encode(), number))
            for kind in ("hash", "list", "set", "zset")
        )
        for element in range(1250):
            text = b"%d:" % element + value
            hash_.put(b"%d" % element, value)
            list_.push_tail(text)
            set_.add(text)
            zset.put(text, element)
        for kind in (b"hash", b"list", b"set", b"zset"):
            db.changed(b"%s:%d" % (kind, number))
    outcome = fork_child(keyspace, tmp_path / "part").collect()
    assert outcome.error == 0
    assert outcome.part.size_bytes > 195 * MEGABYTE
    record_property("private_dirty_bytes", outcome.private_dirty_bytes)
    assert 0 < outcome.private_dirty_bytes < MEGABYTE, outcome.private_dirty_bytes
