"""The client processes: locust in its own environment, told what to do by a plan, heard through their samples."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from traffic.plan import Plan
from traffic.samples import Reader, Sample
from traffic.target import LOOPBACK, free_port

_LOCUSTFILE: Final = Path(__file__).parents[1] / "locustfile.py"
#: Requests that are under way when a run ends may be answered within this.
_STOP_S: Final = 3
#: What comes on top of a run: starting Python, connecting, ending.
_GRACE_S: Final = 60.0


class ClientsFailed(Exception):
    """locust could not do what it was told; the text ends with what it said."""


class Clients:
    """Running client processes. `news` is to be called until `over`."""

    def __init__(self, process: subprocess.Popen[bytes], plan: Plan, log: Path) -> None:
        self.samples: list[Sample] = []
        self._process = process
        self._log = log
        self._reader = Reader(Path(plan.folder))
        self._give_up_s = time.monotonic() + plan.seconds + _GRACE_S

    @property
    def over(self) -> bool:
        """Whether they have ended; raises `ClientsFailed` if not in order, or not in time."""
        status = self._process.poll()
        if status is None:
            if time.monotonic() > self._give_up_s:
                raise ClientsFailed(f"locust does not end:\n{self._said()}")
            return False
        # 1 is locust's word for requests that failed: that is judged by the samples
        if status not in (0, 1):
            raise ClientsFailed(f"locust ended with status {status}:\n{self._said()}")
        self.news()
        if not self.samples:
            raise ClientsFailed(f"locust has asked for nothing:\n{self._said()}")
        return True

    def news(self) -> list[Sample]:
        """What has come in since the last call."""
        fresh = list(self._reader.news())
        self.samples += fresh
        return fresh

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]


@contextmanager
def clients(python: Path, plan: Plan, processes: int = 1) -> Iterator[Clients]:
    """Client processes that run within the block.

    :param python: the interpreter of an environment that has locust
    :param processes: how many share the users; a single one does some 10,000 requests a second at most
    """
    folder = Path(plan.folder)
    plan.save(folder / "plan.json")
    command = [
        str(python), "-m", "locust", "-f", str(_LOCUSTFILE), "--headless", "--only-summary", "--loglevel", "WARNING",
        "--stop-timeout", str(_STOP_S), "--host", "see the plan",
    ]  # fmt: skip
    if processes > 1:
        port = str(free_port())
        command += ["--processes", str(processes), "--master-port", port, "--master-bind-port", port]
        command += ["--master-bind-host", LOOPBACK]
    environment = {**os.environ, "LOAD_PLAN": str(folder / "plan.json")}
    log = folder / "locust.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    try:
        yield Clients(process, plan, log)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """All of them, those that a dead one has left too: they are a group of their own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S + 5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def cpu_of(samples: list[Sample]) -> tuple[float, float]:
    """Cores that the client processes used together, and the busiest of them."""
    shares = []
    for pid in {sample.pid for sample in samples}:
        mine = sorted((sample for sample in samples if sample.pid == pid), key=lambda sample: sample.at_s)
        if mine[-1].at_s > mine[0].at_s:
            shares.append((mine[-1].cpu_s - mine[0].cpu_s) / (mine[-1].at_s - mine[0].at_s))
    return sum(shares), max(shares, default=0.0)
