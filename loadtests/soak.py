"""`make soak`: mixed load for long, workers and the frontend killed at intervals, and nothing may grow.

Load, restarts and snapshots go on for hours; meanwhile the proportional set size and the descriptors of every process
are observed. Exit status: 0 if they stay flat and all answers were right, 1 if not, 2 if it could not be run. Before
the first process is killed a snapshot is written, so that a new worker has its predecessor's data. The last worker is
never killed: its one life is as long as the run.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import hiredis
from load import add_arguments, fill, finish, heading_of, level_of, make_plan
from side_by_side.processes import pss_bytes
from traffic.clients import ClientsFailed, clients
from traffic.report import Table
from traffic.resp_connection import RespConnection
from traffic.run import watch
from traffic.stability import Observation, Trend, judge_stability, trends
from traffic.target import Target, our_own

from mpkv.testing import Server, ServerFailed

#: Intervals of a long run, and the shares of a short one that take their place.
_WORKER_EVERY_S: Final = (60.0, 0.22)
_FRONTEND_EVERY_S: Final = (600.0, 0.35)
_SNAPSHOT_EVERY_S: Final = (300.0, 0.13)
_OBSERVE_EVERY_S: Final = (15.0, 0.02)
#: How long a process that has just started is not judged, and how long nobody is killed before the end.
_SETTLE_S: Final = (60.0, 0.15)
_QUIET_S: Final = (120.0, 0.4)

_LEAKED_BYTES: Final = 512 << 10


def _interval_s(of: tuple[float, float], seconds: float) -> float:
    longest_s, share = of
    return min(longest_s, share * seconds)


@dataclass
class _Every:
    """Says when the next time has come."""

    interval_s: float
    due_s: float = 0.0

    def __post_init__(self) -> None:
        self.due_s = self.interval_s

    def comes(self, elapsed_s: float) -> bool:
        if elapsed_s < self.due_s:
            return False
        self.due_s = elapsed_s + self.interval_s
        return True


@dataclass
class Keeper:
    """Who looks at the server each second, and kills its processes."""

    target: Target
    server: Server
    seconds: float
    leak: str | None
    observations: list[Observation] = field(default_factory=list)
    kills: int = 0

    def __post_init__(self) -> None:
        self._workers = _Every(_interval_s(_WORKER_EVERY_S, self.seconds))
        self._frontend = _Every(_interval_s(_FRONTEND_EVERY_S, self.seconds))
        self._snapshots = _Every(_interval_s(_SNAPSHOT_EVERY_S, self.seconds))
        self._looks = _Every(_interval_s(_OBSERVE_EVERY_S, self.seconds))
        self._leaked: list[RespConnection] = []

    @property
    def settle_s(self) -> float:
        return _interval_s(_SETTLE_S, self.seconds)

    def __call__(self, elapsed_s: float) -> str:
        """What is due; a few words for the progress line."""
        # At the end the users leave
        if elapsed_s < self.seconds and self._looks.comes(elapsed_s):
            self.observations += _observe(self.server, elapsed_s)
        if self._snapshots.comes(elapsed_s):
            self._save()
        if elapsed_s < self.seconds - _interval_s(_QUIET_S, self.seconds):
            if self._workers.comes(elapsed_s):
                self._kill(f"worker {self.kills % max(1, self.server.workers - 1)}")
            elif self._frontend.comes(elapsed_s):
                self._kill("frontend")
        if self.leak:
            self._leak()
        return f", {self.kills} killed"

    def _kill(self, role: str) -> None:
        # It may not be back from the last time
        pid = self.server.processes().get(role)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self.kills += 1

    def _save(self) -> None:
        """A snapshot; while a process is on its way up there is none, and the next one comes."""
        try:
            with RespConnection(self.target.parsed) as connection:
                connection.call("BGSAVE")
        except (OSError, hiredis.ReplyError) as error:
            print(f"soak.py: no snapshot this time: {error}", file=sys.stderr)

    def _leak(self) -> None:
        """What a run must fail for: to see that it does."""
        connection = RespConnection(self.target.parsed)
        if self.leak == "descriptors":
            self._leaked.append(connection)
            return
        with connection:
            connection.call("APPEND", "leak:{2}", b"l" * _LEAKED_BYTES)

    def close(self) -> None:
        for connection in self._leaked:
            connection.close()


def _observe(server: Server, elapsed_s: float) -> list[Observation]:
    """Every process, or nobody: while one is missing, or a snapshot's child shares memory, nothing is as usual."""
    roles = server.processes()
    if len(roles) != server.workers + 2 or len(server.family()) != len(roles):
        return []
    try:
        return [
            Observation(elapsed_s, role, pid, pss_bytes([pid]), len(os.listdir(f"/proc/{pid}/fd")))
            for role, pid in roles.items()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []  # one has died meanwhile


def main(words: Sequence[str]) -> int:
    """Run, report, judge."""
    wanted = _parse(words)
    try:
        with our_own(wanted.workers, restart_limit=10_000) as target:
            server = target.server
            assert server is not None
            plan = make_plan(wanted, target)
            fill(target, plan)
            keeper = Keeper(target, server, plan.seconds, wanted.leak)
            try:
                with clients(wanted.python, plan, wanted.processes) as running:
                    run = watch(running, plan, target.metrics_url, keeper)
            finally:
                keeper.close()
            server.wait_until_ready()
            heading = heading_of(plan, target)
            roles = list(server.processes())
    except (ClientsFailed, ServerFailed, OSError, hiredis.HiredisError) as error:
        print(f"soak.py: {error}", file=sys.stderr)
        return 2
    found = trends(keeper.observations, keeper.settle_s)
    heading += f"; {keeper.kills} processes killed"
    return finish(heading, run, level_of(wanted), judge_stability(found, roles), [_table(found)])


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="soak.py", description=__doc__.partition("\n\n")[2])
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--hours", type=float, dest="hours", metavar="H", help="for how long (default 1)")
    length.add_argument("--minutes", type=float, dest="minutes", metavar="M")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="how many (default 2)")
    parser.add_argument("--leak", choices=("memory", "descriptors"), help="to see that it fails")
    add_arguments(parser)
    wanted = parser.parse_args(words)
    wanted.profile = "soak"
    wanted.seconds = wanted.minutes * 60 if wanted.minutes is not None else (wanted.hours or 1.0) * 3600
    if wanted.seconds < 30:
        parser.error("less than half a minute shows nothing")
    if wanted.workers < 2:
        parser.error("--workers must be at least 2: one is never killed")
    return wanted


def _table(found: Sequence[Trend]) -> Table:
    rows = [
        [
            trend.of, str(trend.observations), f"{trend.span_s:,.0f}", _mib(trend.first_pss), _mib(trend.last_pss),
            f"{trend.pss_rise / (1 << 20):+.2f}", _mib(trend.pss_allowed), f"{trend.descriptors_rise:+.1f}",
            "flat" if trend.is_flat else "GROWS",
        ]
        for trend in found
    ]  # fmt: skip
    heads = ["process", "looks", "seconds", "first MiB", "last MiB", "rise MiB", "allowed", "descriptors", ""]
    return Table("Proportional set size and descriptors", heads, rows)


def _mib(size_bytes: float) -> str:
    return f"{size_bytes / (1 << 20):,.2f}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
