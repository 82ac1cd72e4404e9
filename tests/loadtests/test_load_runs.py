"""Whole load tests with locust, short ones, against a server with two workers."""

import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import load
import pytest
import redis
from traffic.target import free_port

from mpkv.testing import Server

pytestmark = pytest.mark.skipif(
    not load.LOCUST_PYTHON.exists(), reason="locust has no environment yet: make .venv-loadtest/.installed"
)

#: Other tests run beside this one: what a busy machine may take.
PATIENT_MS = 3000
STALL_S = 1.5
USERS = 10


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(port: int) -> Iterator[Server]:
    with Server(workers=2, metrics_port=port) as running:
        yield running


def run(server: Server, port: int, folder: Path, seconds: float, *words: str) -> int:
    metrics = f"http://{server.host}:{port}/metrics"
    place = ["--host", server.url, "--metrics", metrics, "--out", str(folder), "--keys", "2000"]
    status = load.main([*place, "--seconds", str(seconds), *words])
    assert not clients_left(folder)
    return status


def clients_left(folder: Path) -> list[str]:
    """Processes that were told what to do by a plan in this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"LOAD_PLAN={folder}".encode() in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue  # it has ended, or is somebody else's
    return found


def p99_us(printed: str, request: str) -> int:
    """From the line of a request in the report."""
    line = re.search(rf"^  {request}  .*", printed, re.MULTILINE)
    assert line is not None
    return int(line[0].split()[-5].replace(",", ""))


def test_the_mixed_profile_runs_without_an_error(
    server: Server, port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(server, port, tmp_path, 5, "--rate", "600", "--p99-ms", str(PATIENT_MS), "--processes", "2")
    printed = capsys.readouterr().out
    assert status == 0, printed
    (page,) = tmp_path.glob("*/report.html")
    html = page.read_text()
    for text in ("p99.9 µs", "redis_commands_processed_total", "mpkv_link_in_bytes_total", "The clients used"):
        assert text in html
    for request in ("GET", "session: look", "ZREVRANGE", "queue: delivery", "pipeline of 16", "pubsub: delivery"):
        assert p99_us(printed, request) > 0
    # 600 a second for about four and a half seconds, and deliveries beside them
    (answers,) = re.findall(r"there are answers +([\d,]+)", printed)
    assert 2000 < int(answers.replace(",", "")) < 4500


def stalled(server: Server, port: int, folder: Path, capsys: pytest.CaptureFixture[str], rate: str) -> tuple[int, int]:
    """The exit status and p99 of a run in whose middle the server stands still."""
    stopper = threading.Thread(target=stall, args=(server,))
    stopper.start()
    status = run(
        server, port, folder, 6, "--profile", "cache", "--users", str(USERS), "--rate", rate, "--p99-ms", "300"
    )
    stopper.join()
    return status, p99_us(capsys.readouterr().out, "GET")


def stall(server: Server) -> None:
    """Two seconds after the users have come."""
    with redis.Redis.from_url(server.url) as client:
        while client.info("clients")["connected_clients"] <= USERS:
            time.sleep(0.05)
        time.sleep(2)
        client.execute_command("DEBUG", "SLEEP", STALL_S)


def test_a_server_that_stands_still_shows_in_the_percentiles_and_in_the_exit_status(
    server: Server, port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, p99 = stalled(server, port, tmp_path, capsys, "200")
    assert status == 1
    assert p99 > STALL_S * 1e6 * 0.8


def test_in_a_closed_loop_it_would_not(
    server: Server, port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The control of the test above: ten slow answers among thousands are less than a percent."""
    _, p99 = stalled(server, port, tmp_path, capsys, "0")
    assert p99 < STALL_S * 1e6 / 2


def test_nobody_there_is_an_error_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    status = load.main(["--host", f"127.0.0.1:{free_port()}", "--seconds", "30", "--out", str(tmp_path)])
    assert status == 2
    assert "refused" in capsys.readouterr().err
    assert time.monotonic() - started < 10


def test_locust_is_not_in_the_environment_of_the_tests() -> None:
    """It patches what it is imported into, and brings a plugin for pytest."""
    with pytest.raises(ModuleNotFoundError):
        __import__("locust")
    assert "LOAD_PLAN" not in os.environ
