"""`mpkv.testing.Server` and the pytest plugin, as somebody else's tests use them, and the leak checks of our own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mpkv.testing import Server, ServerFailed
from tests.helpers import running
from tests.helpers.reference import Connection
from tests.helpers.running import assert_nothing_left, leaving_nothing, without_leaks

redis = pytest.importorskip("redis", reason="the client library redis is not installed")

OWN_TESTS = """
import sys
import pytest

def test_nothing_heavy_was_imported_before_a_fixture_was_used():
    assert not {"mpkv.testing", "mpkv.config", "zmq", "uvloop", "redis"} & set(sys.modules)

@pytest.mark.parametrize("time", ["first", "second"])
def test_the_client_finds_the_server_empty(mpkv_client, time):
    assert mpkv_client.dbsize() == 0
    mpkv_client.set("key", time)

def test_the_server_says_where_it_is(mpkv_server, mpkv_client):
    assert mpkv_client.connection_pool.connection_kwargs["port"] == mpkv_server.port
"""


def is_alive(pid: int) -> bool:
    """Whether a process is there; one that only waits to be buried by init is not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_server_serves_within_the_block_and_is_gone_after_it() -> None:
    with Server(workers=2) as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.set("key", "value") and client.get("key") == b"value"
        processes, folder = server.processes(), server.root
        assert set(processes) == {"supervisor", "frontend", "worker 0", "worker 1"}
        assert processes["supervisor"] == server.pid
        assert sorted(server.family()) == sorted(processes.values())
        port = server.port
    assert not any(map(is_alive, processes.values()))
    assert not folder.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, port))


def test_directives_are_given_as_keyword_arguments() -> None:
    with Server(requirepass="secret", maxclients=77, appendfsync="no", stop_writes_on_bgsave_error=False) as server:
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            found = client.config_get("maxclients", "stop-writes-on-bgsave-error", "requirepass")
        assert found == {"maxclients": "77", "stop-writes-on-bgsave-error": "no", "requirepass": "secret"}


def test_a_server_that_cannot_start_says_why_and_leaves_nothing() -> None:
    server = Server(maxclients="many")
    with pytest.raises(ServerFailed, match="maxclients"):
        server.start()
    assert server.exit_status == 1
    assert_nothing_left(server)
    server.close()


def test_a_given_port_that_is_taken_is_not_exchanged_for_another() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerFailed, match="cannot listen"), Server(port=port, start_timeout_s=5):
            pytest.fail("it started")


def test_a_restart_keeps_port_and_folder_and_takes_changes() -> None:
    with leaving_nothing(1, save="3600 1") as server:
        port, folder, pid = server.port, server.dir, server.pid
        with redis.Redis.from_url(server.url) as client:
            client.set("key", "value")
        server.restart(workers=2, maxclients=50)
        assert (server.port, server.dir) == (port, folder) and server.pid != pid
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            assert client.get("key") == "value"
            assert client.config_get("maxclients", "workers") == {"maxclients": "50", "workers": "2"}


@pytest.mark.parametrize("role", ["worker 1", "frontend"])
def test_a_killed_process_is_replaced_and_can_be_waited_for(role: str) -> None:
    with leaving_nothing(2) as server:
        killed = server.kill(signal.SIGKILL, role)
        server.wait_until_ready()
        assert server.processes()[role] != killed


def test_after_the_supervisor_was_killed_nobody_is_left_behind() -> None:
    server = Server(workers=2)
    with server:
        family = server.family()
        server.kill()
    assert not any(map(is_alive, family))


def test_a_connection_that_stays_open_is_found_as_a_leak(one_worker: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "SETTLE_S", 1.0)
    with pytest.raises(pytest.fail.Exception, match="frontend holds more descriptors"), without_leaks(one_worker):
        kept = Connection(one_worker.port)
        kept.call([b"PING"])
    kept.close()


def test_a_process_that_stays_is_found_as_a_leak() -> None:
    with Server() as server, pytest.raises(AssertionError, match="are left"):
        assert_nothing_left(server)


def test_connections_and_snapshots_leave_no_descriptor_behind(server: Server) -> None:
    for _ in range(20):
        with closing(Connection(server.port)) as connection:
            connection.call_all([[b"SET", b"key", b"v"], [b"MULTI"], [b"WATCH", b"key"], [b"SUBSCRIBE", b"c"]])
    with closing(Connection(server.port)) as connection:
        for _ in range(3):
            assert connection.call([b"SAVE"]) == b"+OK\r\n"


def test_the_plugin_gives_other_projects_a_server_and_a_client(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(OWN_TESTS)
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    outcome = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "mpkv.pytest_plugin", "-p", "no:cacheprovider", "test_own.py"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0 and "4 passed" in outcome.stdout, outcome.stdout + outcome.stderr
