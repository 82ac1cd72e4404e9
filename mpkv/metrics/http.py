"""`/metrics` and `/healthz` over HTTP, from a few daemon threads of the supervisor.

A scrape reads shared memory and sends no message, so it works while every other process hangs. Nothing that a peer does
here can hold up the supervisor: connections beyond `MAX_CONNECTIONS` are closed at once, a request has
`REQUEST_SECONDS` to arrive and be answered, and what is not HTTP closes its own connection only.
"""

from __future__ import annotations

import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Any, Final

from mpkv.config import Config
from mpkv.metrics.prometheus import CONTENT_TYPE, exposition, make_registry
from mpkv.metrics.source import BoardSource
from mpkv.shm.layout import State

MAX_CONNECTIONS: Final = 16
REQUEST_SECONDS: Final = 10.0

#: A process whose heartbeat is older is not healthy, whatever state it was in.
STALE_HEARTBEAT_MS: Final = 10_000


def health(source: BoardSource, stale_ms: int = STALE_HEARTBEAT_MS) -> tuple[bool, str]:
    """Whether every process can do its work, and a line per process."""
    lines = []
    healthy = True
    names = ["supervisor", "frontend", *(f"worker {shard}" for shard in range(len(source.board.workers)))]
    for name, block in zip(names, source.board.processes, strict=True):
        fresh = block.heartbeat_age_ms <= stale_ms
        healthy &= fresh and block.state in (State.READY, State.SAVING)
        lines.append(f"{name}: {block.state.name.lower()}{'' if fresh else ', no heartbeat'}\n")
    return healthy, "".join(lines)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "mpkv"
    sys_version = ""
    timeout = REQUEST_SECONDS

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(HTTPStatus.OK, CONTENT_TYPE, exposition(self.server.registry.collect()))
        elif path == "/healthz":
            healthy, text = health(self.server.source)
            status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, "text/plain; charset=utf-8", text.encode())
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"here are /metrics and /healthz\n")

    do_HEAD = do_GET

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not news."""


class _Server(ThreadingMixIn, HTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], source: BoardSource) -> None:
        self.source = source
        self.registry = make_registry(source)
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # Without the base class' look-up of the host's name, which may take a name server's time.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "mpkv", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        # A peer that sends one byte now and then would never run into a timeout of single reads.
        deadline = threading.Timer(REQUEST_SECONDS, _hang_up, (request,))
        deadline.daemon = True
        deadline.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            deadline.cancel()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that hung up or sent nonsense concerns nobody else."""


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is closed already


class MetricsServer:
    """Bound from its creation on, as `metrics-bind` and `metrics-port` say; answers from `start` to `stop`.

    OSError if it cannot be bound. With port 0 it is off, and does nothing.
    """

    def __init__(self, source: BoardSource, config: Config) -> None:
        self._server = _Server((config.metrics_bind, config.metrics_port), source) if config.metrics_port else None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """Where it listens; 0 = it is off."""
        return self._server.server_port if self._server else 0

    def start(self) -> None:
        if self._server is not None:
            self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        if self._server is None:
            return
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
