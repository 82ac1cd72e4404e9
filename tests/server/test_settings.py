"""Settings of a running server: what each does, what CONFIG SET changes at once, and how a bad one is refused."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mpkv.testing import Server
from tests.helpers.reference import Connection, free_port
from tests.helpers.running import leaving_nothing

WAIT_S = 60.0
TOO_MANY = b"-ERR max number of clients reached\r\n"


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def everything_from(address: tuple[str, int]) -> bytes:
    """What a client that says nothing is told until the server closes."""
    with socket.create_connection(address, timeout=WAIT_S) as connection, connection.makefile("rb") as stream:
        try:
            return stream.read()
        except ConnectionResetError:
            return b""


def outside_address() -> str:
    """An address of this machine that is not the loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only asks for the route
        except OSError:
            pytest.skip("this machine has no address but the loopback's")
        address = str(probe.getsockname()[0])
    if address.startswith("127."):
        pytest.skip("this machine has no address but the loopback's")
    return address


@contextlib.contextmanager
def set_to(client: Connection, **directives: str) -> Iterator[None]:
    """Directives that are others within the block."""
    names = [name.replace("_", "-").encode() for name in directives]
    old = {name: client.call([b"CONFIG", b"GET", name]).split(b"\r\n")[4] for name in names}
    for name, value in zip(names, directives.values(), strict=True):
        assert client.call([b"CONFIG", b"SET", name, value.encode()]) == b"+OK\r\n"
    try:
        yield
    finally:
        for name, value in old.items():
            assert client.call([b"CONFIG", b"SET", name, value]) == b"+OK\r\n"


@pytest.fixture
def client(server: Server) -> Iterator[Connection]:
    connection = Connection(server.port)
    yield connection
    connection.close()


# -- changed while it runs ---------------------------------------------------------------------------------------------


def test_maxclients_is_followed_at_once_and_refusals_are_counted(server: Server, client: Connection):
    # Whoever asked whether the server is there, or was here before, may not have been seen to go yet
    wait_until(lambda: client.call([b"CLIENT", b"LIST"]).count(b" laddr=") == 1, "other clients are connected")
    with set_to(client, maxclients="2"):
        second = Connection(server.port)
        assert second.call([b"PING"]) == b"+PONG\r\n"
        assert everything_from(("127.0.0.1", server.port)) == TOO_MANY
        assert b"\r\nrejected_connections:0\r\n" not in client.call([b"INFO", b"stats"])
        second.close()
    third = Connection(server.port)
    assert third.call([b"PING"]) == b"+PONG\r\n"
    third.close()


def test_more_clients_than_the_system_allows_are_refused(client: Connection):
    reply = client.call([b"CONFIG", b"SET", b"maxclients", b"4000000000"])
    assert re.fullmatch(
        rb"-ERR CONFIG SET failed \(possibly related to argument 'maxclients'\) - The operating system is not able to "
        rb"handle the specified number of clients, try with \d+\r\n",
        reply,
    )


def test_a_password_counts_for_new_connections_and_its_end_for_all(server: Server, client: Connection):
    with set_to(client, requirepass="secret"):
        newcomer = Connection(server.port)
        assert newcomer.call([b"GET", b"k"]) == b"-NOAUTH Authentication required.\r\n"
        assert client.call([b"GET", b"k"]) == b"$-1\r\n"
        assert newcomer.call([b"AUTH", b"wrong"]).startswith(b"-WRONGPASS ")
    assert newcomer.call([b"GET", b"k"]) == b"$-1\r\n"
    newcomer.close()


def test_the_workers_follow_the_limits_of_compact_encodings(client: Connection):
    keys = [b"h:%d" % number for number in range(8)]  # on all shards
    with set_to(client, hash_max_listpack_entries="1"):
        for key in keys:
            client.call([b"HSET", key, b"a", b"1", b"b", b"2"])
        assert {client.call([b"OBJECT", b"ENCODING", key]) for key in keys} == {b"$9\r\nhashtable\r\n"}
    for key in keys:
        client.call([b"DEL", key])
        client.call([b"HSET", key, b"a", b"1", b"b", b"2"])
    assert {client.call([b"OBJECT", b"ENCODING", key]) for key in keys} == {b"$8\r\nlistpack\r\n"}


def test_the_limit_on_a_word_is_followed(server: Server, client: Connection):
    with set_to(client, proto_max_bulk_len="1mb"):
        other = Connection(server.port)
        assert other.call([b"SET", b"k", b"x" * 1_048_577]) == b"-ERR Protocol error: invalid bulk length\r\n"
        other.close()
    assert client.call([b"SET", b"k", b"x" * 1_048_577]) == b"+OK\r\n"


def test_an_idle_client_is_ended_by_the_timeout(server: Server, client: Connection):
    with set_to(client, timeout="1"):
        idle = socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S)
        wait_until(lambda: client.call([b"CLIENT", b"LIST"]).count(b" laddr=") == 2, "it was not accepted")
        began = time.monotonic()
        while client.call([b"CLIENT", b"LIST"]).count(b" laddr=") > 1:
            assert time.monotonic() < began + WAIT_S
            time.sleep(0.05)
        assert time.monotonic() - began > 0.7
        assert idle.recv(1) == b""
        idle.close()


def test_listening_sockets_cannot_be_changed_at_run_time(client: Connection):
    for name, value in ((b"port", b"1"), (b"bind", b"127.0.0.2")):
        before = client.call([b"CONFIG", b"GET", name])
        assert b"can't be changed while the server runs" in client.call([b"CONFIG", b"SET", name, value])
        assert client.call([b"CONFIG", b"GET", name]) == before


@pytest.mark.parametrize(
    ("words", "reply"),
    [
        ([b"timeout", b"-1"], b"argument must be between 0 and 2147483647 inclusive"),
        ([b"databases", b"3"], b"can't set immutable config"),
        ([b"dir", b"/"], b"can't set protected config"),
    ],
)
def test_a_directive_that_cannot_be_set_changes_nothing(client: Connection, words: list[bytes], reply: bytes):
    before = client.call([b"CONFIG", b"GET", words[0]])
    expected = b"-ERR CONFIG SET failed (possibly related to argument '%b') - %b\r\n" % (words[0], reply)
    assert client.call([b"CONFIG", b"SET", *words]) == expected
    assert client.call([b"CONFIG", b"GET", words[0]]) == before


def test_keep_alive_probes_are_set_on_every_connection(server: Server, client: Connection):
    port = client.call([b"CLIENT", b"INFO"]).split(b" addr=127.0.0.1:")[1].split(b" ")[0].decode()
    lines = subprocess.run(
        ["ss", "-tnoH", "state", "established", f"( sport = :{server.port} and dport = :{port} )"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    minutes = re.search(r"timer:\(keepalive,(\d+)min", lines)
    assert minutes is not None, lines
    assert int(minutes[1]) in (4, 5)


# -- at the start ------------------------------------------------------------------------------------------------------


def test_the_backlog_is_as_configured():
    with leaving_nothing(1, tcp_backlog=73) as server:
        lines = subprocess.run(["ss", "-ltnH", f"sport = :{server.port}"], capture_output=True, text=True, check=True)
        assert [line.split()[2] for line in lines.stdout.splitlines()] == ["73"]


@pytest.mark.parametrize(
    ("permissions", "mode"), [(None, 0o777 & ~0o027), ("700", 0o700), ("777", 0o777), ("660", 0o660)]
)
def test_a_unix_socket_has_the_permissions_that_were_asked_for(tmp_path: Path, permissions: str | None, mode: int):
    path = tmp_path / "s"
    directives = {"unixsocket": str(path)} | ({"unixsocketperm": permissions} if permissions else {})
    old_mask = os.umask(0o027)
    try:
        with leaving_nothing(1, **directives):
            assert stat.S_IMODE(path.stat().st_mode) == mode
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                connection.sendall(b"PING\r\n")
                assert connection.recv(100) == b"+PONG\r\n"
    finally:
        os.umask(old_mask)
    assert not path.exists()


def test_a_unix_socket_is_never_open_to_others_before_its_permissions_are_set(tmp_path: Path):
    from mpkv.listeners import _listen_on_path

    path = tmp_path / "s"
    seen = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            with contextlib.suppress(FileNotFoundError):
                seen.add(stat.S_IMODE(path.stat().st_mode))

    watcher = threading.Thread(target=watch)
    watcher.start()
    end = time.monotonic() + WAIT_S
    # until the watcher has caught the moment in between, which is what could be open
    while not {0o600, 0o700} <= seen and time.monotonic() < end:
        _listen_on_path(str(path), 0o700, 5).close()
    done.set()
    watcher.join()
    assert seen == {0o600, 0o700}


def test_strangers_are_refused_in_protected_mode_until_there_is_a_password():
    address = outside_address()
    with leaving_nothing(1, bind="* -::*") as server:
        assert everything_from((address, server.port)).startswith(b"-DENIED mpkv is running in protected mode")
        keeper = Connection(server.port)
        assert keeper.call([b"CONFIG", b"SET", b"requirepass", b"secret"]) == b"+OK\r\n"
        stranger = Connection(server.port, address)
        assert stranger.call([b"AUTH", b"secret"]) == b"+OK\r\n"
        stranger.close()
        assert keeper.call([b"CONFIG", b"SET", b"requirepass", b"", b"protected-mode", b"no"]) == b"+OK\r\n"
        stranger = Connection(server.port, address)
        assert stranger.call([b"PING"]) == b"+PONG\r\n"
        stranger.close()
        keeper.close()


def test_an_address_that_may_be_missing_is_left_out_and_the_others_serve():
    with leaving_nothing(1, bind="127.0.0.1 -::1 -192.0.2.77") as server:
        for host in ("127.0.0.1", "::1"):
            connection = Connection(server.port, host)
            assert connection.call([b"PING"]) == b"+PONG\r\n"
            connection.close()


def test_the_number_of_databases_bounds_select():
    with leaving_nothing(2, databases=3) as server:
        client = Connection(server.port)
        assert client.call([b"SELECT", b"2"]) == b"+OK\r\n"
        assert client.call([b"SET", b"k", b"v"]) == b"+OK\r\n"
        assert client.call([b"SELECT", b"3"]) == b"-ERR DB index is out of range\r\n"
        assert client.call([b"SELECT", b"-1"]) == b"-ERR DB index is out of range\r\n"
        assert b"db2:keys=1," in client.call([b"INFO", b"keyspace"])
        client.close()


def test_dir_and_dbfilename_say_where_the_snapshot_goes(tmp_path: Path):
    with leaving_nothing(2, dir=tmp_path, dbfilename="mine.rdb", rdbchecksum=False) as server:
        client = Connection(server.port)
        client.call([b"SET", b"k", b"v"])
        assert client.call([b"SAVE"]) == b"+OK\r\n"
        client.close()
        assert [path.name for path in tmp_path.iterdir()] == ["mine.rdb"]
        assert (tmp_path / "mine.rdb").read_bytes().endswith(b"\xff" + bytes(8))
        server.restart()
        client = Connection(server.port)
        assert client.call([b"GET", b"k"]) == b"$1\r\nv\r\n"
        client.close()


def test_all_processes_go_on_in_a_new_log_file_after_hup(tmp_path: Path):
    log, old = tmp_path / "log", tmp_path / "log.1"
    pidfile = tmp_path / "pid"
    with leaving_nothing(2, logfile=log, loglevel="notice", pidfile=pidfile) as server:
        assert int(pidfile.read_text()) == server.pid
        assert "Ready to accept connections" in log.read_text()
        log.rename(old)
        server.kill(signal.SIGHUP)
        wait_until(lambda: all(_holds(pid, log) for pid in server.processes().values()), "not all have the new file")
        assert not any(_holds(pid, old) for pid in server.processes().values())
        client = Connection(server.port)
        assert client.call([b"CONFIG", b"SET", b"loglevel", b"verbose"]) == b"+OK\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S) as bad:
            bad.sendall(b"*x\r\n")
            bad.recv(100)
        wait_until(lambda: "- Protocol error (invalid multibulk length)" in log.read_text(), "nothing was logged")
        client.close()
    assert not pidfile.exists()


def _holds(pid: int, path: Path) -> bool:
    return any(_leads_to(entry.path, path) for entry in os.scandir(f"/proc/{pid}/fd"))


def _leads_to(descriptor: str, path: Path) -> bool:
    try:
        return os.readlink(descriptor) == str(path)
    except FileNotFoundError:  # closed since the folder was listed
        return False


def test_save_points_can_be_set_at_run_time(tmp_path: Path):
    with leaving_nothing(2, dir=tmp_path) as server:
        client = Connection(server.port)
        client.call([b"SET", b"k", b"v"])
        assert client.call([b"CONFIG", b"SET", b"save", b"1 1"]) == b"+OK\r\n"
        wait_until((tmp_path / "dump.rdb").exists, "no snapshot was made")
        client.close()


def test_a_signal_saves_or_not_as_configured(tmp_path: Path):
    with leaving_nothing(1, dir=tmp_path, shutdown_on_sigterm="save") as server:
        Connection(server.port).call([b"SET", b"k", b"v"])
        server.stop()
        assert (tmp_path / "dump.rdb").exists()
        (tmp_path / "dump.rdb").unlink()
        server.restart(shutdown_on_sigterm="nosave", save="1000 1000")
        Connection(server.port).call([b"SET", b"k", b"v"])
        server.stop()
        assert not (tmp_path / "dump.rdb").exists()
        server.start()


def test_a_server_that_cannot_save_does_not_stop_on_a_signal(tmp_path: Path):
    with leaving_nothing(1, dir=tmp_path, save="1000 1000") as server:
        client = Connection(server.port)
        client.call([b"SET", b"k", b"v"])
        (tmp_path / "dump.rdb").mkdir()
        server.kill(signal.SIGTERM)
        wait_until(lambda: "Not shutting down" in server.log(), "it went down without a snapshot")
        assert client.call([b"GET", b"k"]) == b"$1\r\nv\r\n"
        (tmp_path / "dump.rdb").rmdir()
        client.close()


def test_titles_of_processes_can_be_left_alone():
    with leaving_nothing(1, set_proc_title=False) as server:
        command = Path(f"/proc/{server.pid}/cmdline").read_bytes()
        assert b"--set-proc-title" in command


def test_huge_pages_are_off_in_workers_unless_they_are_wanted():
    def are_allowed(server: Server) -> str:
        status = Path(f"/proc/{server.processes()['worker 0']}/status").read_text()
        return re.search(r"THP_enabled:\s*(\d)", status)[1]

    with leaving_nothing(1) as server:
        assert are_allowed(server) == "0"
        server.restart(disable_thp=False)
        assert are_allowed(server) == "1"


# -- starts that fail --------------------------------------------------------------------------------------------------


def start(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A start that is expected to fail, or to go into the background."""
    directory = tmp_path / "data"
    directory.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "mpkv", "serve", *arguments, "--dir", str(directory)]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)


def refused(tmp_path: Path, *arguments: str) -> list[str]:
    """What a start that fails says; it has status 1 and leaves no trace."""
    result = start(tmp_path, "--metrics-port", "0", "--workers", "1", *arguments)
    assert result.returncode == 1
    assert not list((tmp_path / "data").iterdir())
    return (result.stdout + result.stderr).splitlines()


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield int(other.getsockname()[1])


def test_a_port_in_use_is_one_clear_line(tmp_path: Path, taken: int):
    lines = refused(tmp_path, "--port", str(taken), "--bind", "127.0.0.1")
    assert lines == [f"mpkv: cannot listen on 127.0.0.1 port {taken}: Address already in use"]


def test_a_metrics_port_in_use_is_one_clear_line_and_clients_are_served_without(taken: int):
    with leaving_nothing(1, metrics_port=taken) as server:
        reason = f"no metrics: cannot listen on 127.0.0.1 port {taken}: Address already in use"
        assert server.log().count(reason) == 1


def test_an_address_of_another_machine_is_one_clear_line(tmp_path: Path):
    lines = refused(tmp_path, "--port", str(free_port()), "--bind", "192.0.2.77")
    assert len(lines) == 1
    assert re.fullmatch(r"mpkv: cannot listen on 192\.0\.2\.77 port \d+: Cannot assign requested address", lines[0])


def test_nothing_to_listen_on_is_one_clear_line(tmp_path: Path):
    assert refused(tmp_path, "--port", "0") == ["mpkv: nothing to listen on: port is 0 and there is no unixsocket"]


def test_a_runtime_folder_in_use_is_one_clear_line(tmp_path: Path, one_worker: Server):
    lines = refused(tmp_path, "--port", str(free_port()), "--runtime-dir", str(one_worker.runtime_dir))
    assert lines == [f"mpkv: runtime-dir {one_worker.runtime_dir} is in use by another server"]


def test_a_log_file_that_cannot_be_written_is_one_clear_line(tmp_path: Path):
    path = tmp_path / "missing" / "log"
    lines = refused(tmp_path, "--port", str(free_port()), "--logfile", str(path))
    assert lines == [f"mpkv: logfile {path}: No such file or directory"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("maxclients many", "argument couldn't be parsed into an integer"),
        ("maxclient 100", "Bad directive or wrong number of arguments (did you mean maxclients?)"),
        ("appendonly perhaps", "argument must be 'yes' or 'no'"),
    ],
)
def test_a_bad_line_names_file_line_directive_and_what_was_expected(tmp_path: Path, line: str, reason: str):
    file = tmp_path / "mpkv.conf"
    file.write_text(f"# a comment\n\n{line}\n")
    result = start(tmp_path, str(file), "--port", str(free_port()))
    assert result.returncode == 1
    assert result.stderr.splitlines()[-3:] == [
        f"Reading the configuration file {file}, at line 3", f">>> '{line}'", reason,
    ]  # fmt: skip


def test_a_server_on_a_unix_socket_alone_goes_into_the_background(tmp_path: Path):
    path, pidfile = tmp_path / "s", tmp_path / "pid"
    arguments = ["--port", "0", "--unixsocket", str(path), "--metrics-port", "0", "--workers", "1", "--save", ""]
    result = start(tmp_path, *arguments, "--daemonize", "yes", "--pidfile", str(pidfile))
    assert (result.returncode, result.stderr) == (0, "")
    wait_until(lambda: pidfile.exists() and pidfile.read_text().endswith("\n"), "there is no pidfile")
    pid = int(pidfile.read_text())
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(WAIT_S)
            connection.connect(str(path))
            connection.sendall(b"INFO server\r\n")
            assert b"\r\nprocess_id:%d\r\n" % pid in connection.recv(65536)
        assert os.getsid(pid) == pid
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "it did not stop")
    assert not path.exists()
    assert not pidfile.exists()


def test_what_has_no_effect_is_said_once(tmp_path: Path):
    with leaving_nothing(1, maxmemory_clients="1gb") as server:
        warning = "maxmemory-clients is accepted but has no effect in this version of mpkv"
        assert server.log().count(warning) == 1
        client = Connection(server.port)
        assert client.call([b"CONFIG", b"SET", b"tls-cluster", b"yes"]) == b"+OK\r\n"
        wait_until(lambda: "tls-cluster was set but has no effect" in server.log(), "nothing was said")
        client.close()
