"""A client that sends at a fixed rate, whether or not the server keeps up, and says how long each answer took.

redis-benchmark sends the next request when the last is answered: a faster server is given more work, and a server that
stops for a moment is asked nothing in that moment. To compare latencies both servers must carry the same load, and
a late answer must count for all that came due meanwhile. So requests come due by the clock (a Poisson process of fixed seed, in
ticks of `TICK_S`), and latency is counted from when a request was due. It is one thread on epoll over raw sockets.
"""

from __future__ import annotations

import ctypes
import gc
import os
import random
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import hiredis

from side_by_side.lines import key_name
from side_by_side.servers import HOST, Server

#: Requests come due in ticks: the kernel's timers cost less than one a request.
TICK_S: Final = 0.0002
#: The first part of the answers is not counted: caches, and both ends' buffers, are cold.
_WARM_UP: Final = 0.1
#: Answers that are so late mean that the server does not carry the load.
_PATIENCE_S: Final = 5.0
_DIFFERENT_REQUESTS: Final = 20_000

_CLOCK_MONOTONIC: Final = 1
_OK: Final = b"+OK\r\n"
_VALUE_REPLY: Final = b"$3\r\nxxx\r\n"


@dataclass(frozen=True)
class Latencies:
    """Milliseconds; `rate` is what was answered per second, `wanted` what was to be."""

    wanted: float
    rate: float
    p50_ms: float
    p99_ms: float
    p999_ms: float

    @property
    def kept_up(self) -> bool:
        """Whether the load was carried; else the numbers tell of the queue before the server, not of it."""
        return self.rate >= 0.97 * self.wanted


class _Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.due: deque[tuple[float, int]] = deque()  #: of each unanswered request: when it was due, the size of its answer
        self.unread = 0  #: bytes of an answer that has not come whole


@contextmanager
def _ticks(first_s: float) -> Iterator[int]:
    """A descriptor that becomes readable every `TICK_S` (Python 3.11 has no timerfd, and epoll's own time-out no less than 1 ms)."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    times = [part for at in (TICK_S, first_s) for part in (int(at), int(at % 1 * 1e9))]
    try:
        if libc.timerfd_settime(fd, 0, ctypes.byref((ctypes.c_long * 4)(*times)), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        yield fd
    finally:
        os.close(fd)


class OpenLoop:
    """Half SET, half GET, on random keys of a keyspace that must be filled with values of 3 bytes."""

    def __init__(self, server: Server, *, keyspace: int, connections: int = 50, seed: int = 7) -> None:
        chance = random.Random(seed)
        self._requests = [self._request(chance, keyspace) for _ in range(_DIFFERENT_REQUESTS)]
        self._chance = chance
        self._connections = [_Connection(server.port) for _ in range(connections)]
        self._by_fd = {connection.socket.fileno(): connection for connection in self._connections}

    @staticmethod
    def _request(chance: random.Random, keyspace: int) -> tuple[bytes, int]:
        key = key_name(chance.randrange(keyspace))
        if chance.random() < 0.5:
            return hiredis.pack_command((b"SET", key, b"xxx")), len(_OK)
        return hiredis.pack_command((b"GET", key)), len(_VALUE_REPLY)

    def run(self, rate: float, seconds: float) -> Latencies:
        """Send for so long at this rate."""
        schedule = self._schedule(rate, seconds)
        # the collector would stop the client, and the servers would be blamed
        gc.disable()
        try:
            taken, elapsed_s = self._drive(schedule)
        finally:
            gc.enable()
            for connection in self._connections:
                connection.socket.close()
        return _summarise(taken, rate, elapsed_s)

    def _schedule(self, rate: float, seconds: float) -> list[int]:
        """How many requests come due in each tick."""
        counts = [0] * int(seconds / TICK_S)
        at = self._chance.expovariate(rate)
        while at < len(counts) * TICK_S:
            counts[min(int(at / TICK_S), len(counts) - 1)] += 1
            at += self._chance.expovariate(rate)
        return counts

    def _drive(self, schedule: Sequence[int]) -> tuple[list[float], float]:
        taken: list[float] = []
        wanted = sum(schedule)
        tick = sent = 0
        start = time.perf_counter() + 0.01
        give_up = start + len(schedule) * TICK_S + _PATIENCE_S
        with select.epoll() as poll, _ticks(start) as timer:
            poll.register(timer, select.EPOLLIN)
            for fd in self._by_fd:
                poll.register(fd, select.EPOLLIN)
            while len(taken) < wanted:
                for fd, _ in poll.poll(1.0):
                    if fd == timer:
                        os.read(timer, 8)
                    else:
                        self._receive(self._by_fd[fd], taken)
                now = time.perf_counter()
                while tick < len(schedule) and start + tick * TICK_S <= now:
                    for _ in range(schedule[tick]):
                        self._send(sent, start + tick * TICK_S)
                        sent += 1
                    tick += 1
                if now > give_up:
                    break
        return taken, time.perf_counter() - start

    def _send(self, number: int, due: float) -> None:
        request, answer_size = self._requests[number % _DIFFERENT_REQUESTS]
        connection = self._connections[number % len(self._connections)]
        if connection.socket.send(request) != len(request):
            raise RuntimeError("a socket takes no more requests: the rate is far beyond what the server carries")
        connection.due.append((due, answer_size))

    @staticmethod
    def _receive(connection: _Connection, taken: list[float]) -> None:
        data = connection.socket.recv(1 << 16)
        now = time.perf_counter()
        if not data or (data[0] == b"-"[0] and not connection.unread):
            raise RuntimeError(f"an unexpected answer: {data[:80]!r}")
        connection.unread += len(data)
        due = connection.due
        while due and connection.unread >= due[0][1]:
            since, size = due.popleft()
            connection.unread -= size
            taken.append(now - since)


def _summarise(taken: list[float], wanted: float, elapsed_s: float) -> Latencies:
    counted = sorted(taken[int(len(taken) * _WARM_UP) :]) or [float("nan")]
    p50, p99, p999 = (counted[min(len(counted) - 1, int(len(counted) * share))] * 1000 for share in (0.5, 0.99, 0.999))
    return Latencies(wanted, len(taken) / elapsed_s, p50, p99, p999)
