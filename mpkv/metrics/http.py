"""`/metrics`, `/healthz` and `/readyz` over HTTP, from one thread of the supervisor.

An answer reads shared memory and sends no message, so it comes while every other process hangs. Nothing that a peer
does here can hold up the supervisor or the data: connections beyond `MAX_CONNECTIONS` are closed at once; a request has
`REQUEST_SECONDS` to arrive and its answer `ANSWER_SECONDS` to be taken; its head has a bounded size, and what is not
HTTP closes its own connection. However many ask at once, the text of `/metrics` is made at most every
`RENDER_GAP_SECONDS`: those who have asked before one begins share it, so nobody is given numbers older than his
question.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import threading
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final, NamedTuple

from mpkv.config import Config
from mpkv.metrics.exposition import CONTENT_TYPE
from mpkv.metrics.prometheus import Renderer
from mpkv.metrics.source import STALE_HEARTBEAT_MS, WORKING, BoardSource
from mpkv.shm.board import Block
from mpkv.shm.layout import State

logger = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 16
REQUEST_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 10.0
RENDER_GAP_SECONDS: Final = 0.05

#: Of one line of a request's head, and lines: Prometheus sends a few hundred bytes.
MAX_LINE_BYTES: Final = 8192
MAX_LINES: Final = 64

_BACKLOG: Final = 128
_STOP_SECONDS: Final = 5.0
_PLAIN: Final = "text/plain; charset=utf-8"
_REQUEST_LINE: Final = re.compile(rb"([A-Z]{1,20}) (/[^ ]*) HTTP/1\.[01]\r?\n")


def _names(source: BoardSource) -> list[tuple[str, Block]]:
    names = ["supervisor", "frontend", *(f"worker {shard}" for shard in range(len(source.board.workers)))]
    return list(zip(names, source.board.processes, strict=True))


def why_unhealthy(source: BoardSource, stale_ms: int = STALE_HEARTBEAT_MS) -> list[str]:
    """A line for every process that is not alive; it may well be loading or saving."""
    reasons = []
    for name, block in _names(source):
        age_ms = block.heartbeat_age_ms
        if block.state is State.DOWN:
            reasons.append(f"{name} is down")
        elif age_ms > stale_ms:
            reasons.append(f"{name} has not been heard of for {age_ms / 1000:.1f} s")
    return reasons


def why_not_ready(source: BoardSource) -> list[str]:
    """A line for everything that keeps a client from being answered."""
    reasons = why_unhealthy(source)
    for name, block in _names(source):
        if block.state is State.LOADING:
            loaded, total = block.counter("load_loaded_bytes"), block.counter("load_total_bytes")
            reasons.append(f"{name} is loading: {100 * loaded / max(1, total):.0f}%")
        elif block.state not in WORKING and block.state is not State.DOWN:
            reasons.append(f"{name} is {block.state.name.lower()}")
    frontend = source.board.frontend
    if frontend.state in WORKING:
        shards = range(len(source.board.workers))
        reasons += [f"shard {shard} is not linked" for shard in shards if not frontend.link(shard).up]
    return reasons


class _Answer(NamedTuple):
    status: HTTPStatus
    body: bytes
    content_type: str = _PLAIN
    headers: str = ""


class _NotHttp(Exception):
    """The peer does not speak HTTP, or says too much."""


class _Pages:
    """What there is to be had, by path."""

    def __init__(self, source: BoardSource) -> None:
        self._source = source
        self._render = Renderer(source)
        self._lock = asyncio.Lock()
        self._begun = float("-inf")
        self._text = b""
        self.pages: Final[dict[bytes, Callable[[], Awaitable[_Answer]]]] = {
            b"/metrics": self._metrics, b"/healthz": self._healthz, b"/readyz": self._readyz,
        }  # fmt: skip

    async def _metrics(self) -> _Answer:
        now = asyncio.get_running_loop().time
        asked = now()
        async with self._lock:
            if self._begun <= asked:
                await asyncio.sleep(self._begun + RENDER_GAP_SECONDS - asked)
                self._begun = now()
                self._text = self._render()
        return _Answer(HTTPStatus.OK, self._text, CONTENT_TYPE)

    async def _healthz(self) -> _Answer:
        return _verdict(why_unhealthy(self._source))

    async def _readyz(self) -> _Answer:
        return _verdict(why_not_ready(self._source))

    async def answer(self, method: bytes, path: bytes) -> _Answer:
        if method not in (b"GET", b"HEAD"):
            return _Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"GET and HEAD\n", headers="Allow: GET, HEAD\r\n")
        page = self.pages.get(path.partition(b"?")[0])
        if page is None:
            return _Answer(HTTPStatus.NOT_FOUND, b"here are /metrics, /healthz and /readyz\n")
        return await page()


def _verdict(reasons: list[str]) -> _Answer:
    if reasons:
        return _Answer(HTTPStatus.SERVICE_UNAVAILABLE, "".join(f"{reason}\n" for reason in reasons).encode())
    return _Answer(HTTPStatus.OK, b"ok\n")


async def _read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Method and path; the rest of the head is read and means nothing here."""
    try:
        found = _REQUEST_LINE.fullmatch(await reader.readline())
        if found is None:
            raise _NotHttp
        for _ in range(MAX_LINES):
            line = await reader.readline()
            if line in (b"\r\n", b"\n"):
                return found[1], found[2]
            if not line.endswith(b"\n"):
                break
    except ValueError:
        pass  # a line that is too long
    raise _NotHttp


def _head(answer: _Answer) -> bytes:
    return (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\n"
        f"Content-Type: {answer.content_type}\r\nContent-Length: {len(answer.body)}\r\n"
        f"{answer.headers}Connection: close\r\n\r\n"
    ).encode()


class MetricsServer:
    """Bound from its creation on, as `metrics-bind` and `metrics-port` say; answers from `start` to `stop`.

    OSError if it cannot be bound. With port 0 it is off, and does nothing.
    """

    def __init__(self, source: BoardSource, config: Config) -> None:
        self._source = source
        self._socket = _bind(config.metrics_bind, config.metrics_port) if config.metrics_port else None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens; 0 = it is off."""
        return int(self._socket.getsockname()[1]) if self._socket else 0

    def start(self) -> None:
        if self._socket is not None:
            self._loop = asyncio.new_event_loop()
            self._stopping = asyncio.Event()
            self._thread = threading.Thread(
                target=self._loop.run_until_complete, args=(self._run(),), name="metrics", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_STOP_SECONDS)
            if not self._thread.is_alive():
                self._loop.close()
        if self._socket is not None:
            self._socket.close()

    async def _run(self) -> None:
        self._pages = _Pages(self._source)
        async with await asyncio.start_server(self._admit, sock=self._socket, limit=MAX_LINE_BYTES, backlog=_BACKLOG):
            await self._stopping.wait()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, one answer."""
        try:
            try:
                async with asyncio.timeout(REQUEST_SECONDS):
                    method, path = await _read_request(reader)
                answer = await self._pages.answer(method, path)
            except _NotHttp:
                method, answer = b"GET", _Answer(HTTPStatus.BAD_REQUEST, b"")
            async with asyncio.timeout(ANSWER_SECONDS):
                writer.write(_head(answer) + (b"" if method == b"HEAD" else answer.body))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError):
            pass  # a peer that hung up, or that dawdles, concerns nobody else
        except Exception:
            logger.exception("a request for metrics failed")
        finally:
            writer.transport.abort()


def _bind(address: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
        bound.listen(_BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound
