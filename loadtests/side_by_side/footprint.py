"""What a server costs when nobody asks: memory per connection, CPU when idle, time to start."""

from __future__ import annotations

import resource
import socket
import time
from contextlib import ExitStack
from statistics import median
from typing import Final

from side_by_side.report import NONE, Requirement, Section, Table, count, decimal
from side_by_side.servers import HOST
from side_by_side.settings import Settings

#: After a start, or a load, until what a server does afterwards (rehashing, giving memory back) is done.
_SETTLE_S: Final = 2.0

_CONNECTIONS: Final = 1000
_CONNECTIONS_PROMISE_BYTES: Final = 20_000_000
_IDLE_PROMISE_PERCENT: Final = 1.0
_START_PROMISE_S: Final = 1.0


def measure_connections(settings: Settings) -> Section:
    """Growth of memory by idle connections."""
    settings.progress.section("connections", 2)
    _allow_descriptors(_CONNECTIONS + 200)
    table = Table(["server", f"{_CONNECTIONS:,} connections MB", "bytes each"])
    grown = []
    with ExitStack() as stack:
        for server in settings.start_both(stack):
            settings.progress.step(server.name)
            time.sleep(_SETTLE_S)
            before = server.pss_bytes()
            sockets = [_asked_once(server.port) for _ in range(_CONNECTIONS)]
            time.sleep(_SETTLE_S)
            grown.append((server.name, server.pss_bytes() - before))
            for connection in sockets:
                connection.close()
    for name, size_bytes in reversed(grown):
        table.rows.append([name, decimal(size_bytes / 1e6), count(size_bytes / _CONNECTIONS)])
    text = "Each has asked once, and is idle. Without the kernel's buffers."
    section = Section("Memory of idle connections", [text, table])
    limit = f"{_CONNECTIONS:,} idle connections: less than {_CONNECTIONS_PROMISE_BYTES / 1e6:.0f} MB"
    section.requirements = [Requirement(limit, f"{grown[0][1] / 1e6:.1f} MB", grown[0][1] < _CONNECTIONS_PROMISE_BYTES)]
    return section


def _asked_once(port: int) -> socket.socket:
    connection = socket.create_connection((HOST, port))
    connection.sendall(b"*2\r\n$3\r\nGET\r\n$4\r\nnone\r\n")
    connection.recv(64)
    return connection


def _allow_descriptors(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def measure_idle(settings: Settings) -> Section:
    """CPU time of all processes while nobody asks."""
    seconds = 4.0 if settings.quick else 10.0
    settings.progress.section("idle", 1)
    with ExitStack() as stack:
        found = settings.start_both(stack)
        settings.progress.step("all servers, at once")
        time.sleep(_SETTLE_S)
        before = [server.cpu_ns() for server in found]
        time.sleep(seconds)
        used = [{role: (ns - old[role]) / seconds / 1e7 for role, ns in server.cpu_ns().items()}
                for server, old in zip(found, before, strict=True)]  # fmt: skip
    table = Table(["server", "CPU %", "= main", "+ frontend", "+ workers"])
    for server, percent in reversed(list(zip(found, used, strict=True))):
        roles = [decimal(percent[role]) if role in percent else NONE for role in ("main", "frontend", "workers")]
        table.rows.append([server.name, decimal(sum(percent.values())), *roles])
    total = sum(used[0].values())
    section = Section("CPU when idle", [f"Of one core, over {seconds:.0f} s, all processes.", table])
    limit = f"idle: less than {_IDLE_PROMISE_PERCENT:.0f} % CPU in all"
    section.requirements = [Requirement(limit, f"{total:.2f} %", total < _IDLE_PROMISE_PERCENT)]
    return section


def measure_startup(settings: Settings) -> Section:
    """From the start of the process to the first answer about a key, with an empty store."""
    starts = 3 if settings.quick else 5
    settings.progress.section("startup", starts)
    taken: dict[str, list[float]] = {}
    for number in range(starts):
        settings.progress.step(f"start {number + 1}")
        with ExitStack() as stack:
            for server in settings.start_both(stack):
                taken.setdefault(server.name, []).append(server.start_s)
    table = Table(["server", "median ms", "most ms"])
    for name, times in reversed(taken.items()):
        table.rows.append([name, count(median(times) * 1000), count(max(times) * 1000)])
    mine = median(next(iter(taken.values())))
    section = Section("Time to start", [f"Empty store, {starts} starts.", table])
    limit = f"start: less than {_START_PROMISE_S:.0f} s"
    section.requirements = [Requirement(limit, f"{mine:.2f} s", mine < _START_PROMISE_S)]
    return section
