"""A restart keeps the data, with another number of workers too; files go to redis-server and come from it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mpkv.testing import Server, ServerFailed
from tests.helpers.doors import words_of
from tests.helpers.reference import Connection, reference_server
from tests.helpers.running import leaving_nothing

OK = b"+OK\r\n"
#: One of each kind in each encoding, in two databases, with and without a time. Scores are halves: 7.0 and 7.2 print
#: them alike.
DATA = (
    *(f"SET key:{number} value:{number}" for number in range(200)),
    "SET number 12345", f"SET long {'x' * 20000}", "SET mortal v PXAT 33177117420000", "SET dead v PX 1",
    "RPUSH list a b c 1 -5 {}".format("y" * 300), "RPUSH longlist {}".format(" ".join(map(str, range(2000)))),
    "HSET hash f v g 10", "HSET longhash {}".format(" ".join(f"f{n} v{n}" for n in range(1000))),
    "SADD intset 1 2 3", "SADD set a b c", "SADD longset {}".format(" ".join(f"m{n}" for n in range(1000))),
    "ZADD zset 1 a 2.5 b inf c", "ZADD longzset {}".format(" ".join(f"{n}.5 m{n}" for n in range(1000))),
    "EXPIREAT longhash 33177117420", "SELECT 3", "SET elsewhere v", "RPUSH list z", "SELECT 0",
)  # fmt: skip


def fill(port: int) -> None:
    with closing(Connection(port)) as connection:
        for request in DATA:
            assert not connection.call(words_of(request)).startswith(b"-")
        time.sleep(0.01)
        assert connection.call([b"EXISTS", b"dead"]) == b":0\r\n"


def ask(port: int, request: str) -> bytes:
    with closing(Connection(port)) as connection:
        return connection.call(words_of(request))


def digest(port: int) -> bytes:
    return ask(port, "DEBUG DIGEST")


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.02)


def is_saving(port: int) -> bool:
    return b"rdb_bgsave_in_progress:1" in ask(port, "INFO persistence")


@pytest.mark.parametrize(("before", "after"), [(1, 3), (4, 1), (2, 2)])
def test_sigterm_saves_and_a_restart_with_another_number_of_workers_finds_everything(before: int, after: int) -> None:
    with leaving_nothing(before, save="3600 1") as server:
        fill(server.port)
        held = digest(server.port)
        server.restart(workers=after)
        assert digest(server.port) == held
        assert ask(server.port, "DEBUG VALIDATE") == OK
        assert len([role for role in server.processes() if role.startswith("worker")]) == after


def kill_everybody(server: Server) -> None:
    for pid in server.family():
        subprocess.run(["kill", "-KILL", str(pid)], check=False)
    wait_until(lambda: not server.family())
    server.stop()


@pytest.mark.parametrize("command", ["SAVE", "BGSAVE"])
def test_what_was_saved_by_command_survives_the_death_of_all_processes(command: str) -> None:
    with leaving_nothing(3) as server:
        fill(server.port)
        held = digest(server.port)
        last_save = ask(server.port, "LASTSAVE")
        assert ask(server.port, command) == {"SAVE": OK, "BGSAVE": b"+Background saving started\r\n"}[command]
        wait_until(lambda: not is_saving(server.port) and (server.dir / "dump.rdb").exists())
        assert int(ask(server.port, "LASTSAVE")[1:]) >= int(last_save[1:])
        ask(server.port, "SET late v")
        kill_everybody(server)
        server.start()
        assert digest(server.port) == held
        assert sorted(path.name for path in server.dir.iterdir()) == ["dump.rdb"]


def test_a_save_point_saves_by_itself() -> None:
    with leaving_nothing(2, save="1 5") as server:
        for number in range(5):
            ask(server.port, f"SET key:{number} v")
        held = digest(server.port)
        wait_until((server.dir / "dump.rdb").exists)
        wait_until(
            lambda: (
                not is_saving(server.port) and b"rdb_changes_since_last_save:0" in ask(server.port, "INFO persistence")
            )
        )
        kill_everybody(server)
        server.start()
        assert digest(server.port) == held


def test_shutdown_nosave_leaves_the_old_file_alone() -> None:
    with leaving_nothing(2, save="3600 1") as server:
        ask(server.port, "SET key old")
        assert ask(server.port, "SAVE") == OK
        before = (server.dir / "dump.rdb").read_bytes()
        ask(server.port, "SET key new")
        with pytest.raises(EOFError):
            ask(server.port, "SHUTDOWN NOSAVE")
        wait_until(lambda: not server.is_running)
        assert (server.dir / "dump.rdb").read_bytes() == before
        server.start()
        assert ask(server.port, "GET key") == b"$3\r\nold\r\n"


def test_without_save_points_sigterm_writes_no_file() -> None:
    with leaving_nothing(2) as server:
        fill(server.port)
        server.restart()
        assert ask(server.port, "DBSIZE") == b":0\r\n"
        assert list(server.dir.iterdir()) == []


# -- redis-server and its tools ----------------------------------------------------------------------------------------


@contextmanager
def redis_with(directory: Path) -> Iterator[int]:
    """A redis-server that has loaded the directory's dump.rdb and, told to save, writes it there."""
    with reference_server("--enable-debug-command", "yes", "--dir", str(directory)) as port:
        wait_until(lambda: ask(port, "DBSIZE").startswith(b":"))
        yield port


@pytest.mark.parametrize("workers", [1, 4])
def test_redis_loads_our_file_and_its_checker_finds_no_fault(workers: int, tmp_path: Path) -> None:
    with leaving_nothing(workers, dir=tmp_path) as server:
        fill(server.port)
        held = digest(server.port)
        assert ask(server.port, "SAVE") == OK
    checker = shutil.which("redis-check-rdb")
    if checker is None:
        pytest.skip("redis-check-rdb is not installed: nobody to judge the file")
    outcome = subprocess.run([checker, str(tmp_path / "dump.rdb")], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout
    with redis_with(tmp_path) as port:
        assert digest(port) == held


@pytest.mark.parametrize("workers", [1, 4])
def test_we_load_a_file_of_redis(workers: int, tmp_path: Path) -> None:
    with redis_with(tmp_path) as port:
        fill(port)
        held = digest(port)
        assert ask(port, "SAVE") == OK
    with leaving_nothing(workers, dir=tmp_path) as server:
        assert digest(server.port) == held
        assert ask(server.port, "DEBUG VALIDATE") == OK


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("sound")
    with leaving_nothing(2, dir=directory) as server:
        fill(server.port)
        assert ask(server.port, "SAVE") == OK
    return (directory / "dump.rdb").read_bytes()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda sound: sound[: len(sound) // 2], "end"),
        (lambda sound: sound[:-1] + bytes([sound[-1] ^ 1]), "checksum"),
        (lambda sound: b"NOTRDB" + sound[6:], "REDIS"),
        (lambda sound: sound[:5] + b"9999" + sound[9:], "version"),
    ],
    ids=["cut short", "a wrong checksum", "another kind of file", "a version of the future"],
)
def test_a_damaged_file_is_refused_with_its_place_and_reason_and_is_not_touched(
    damage: Callable[[bytes], bytes], reason: str, sound_file: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "dump.rdb"
    path.write_bytes(damage(sound_file))
    server = Server(2, dir=tmp_path, save="3600 1")
    with pytest.raises(ServerFailed) as caught:
        server.start()
    status, log = server.exit_status, str(caught.value)
    server.close()
    assert status not in (0, None) and status != -signal.SIGKILL
    assert reason in log and "offset" in log, log
    assert [file.name for file in tmp_path.iterdir()] == ["dump.rdb"]
    assert path.read_bytes() == damage(sound_file)
