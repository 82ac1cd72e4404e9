"""What clients may take: query buffers, output that they do not read, silence; and what the board says of it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from mpkv import logs
from mpkv.frontend.connection import Connection, leave_pages, survey, trim_idle
from mpkv.frontend.sessions import describe

if TYPE_CHECKING:
    from mpkv.frontend.main import Frontend

logger = logging.getLogger(__name__)

#: A client that has been silent for so many seconds gives back what it does not need for waiting.
IDLE_S: Final = 1.0
#: A large request that has been arriving for so many seconds makes room for others.
ARRIVING_S: Final = 1.0
#: For how long a client's large buffer is remembered in `client_recent_max_…`, in seconds.
RECENT_S: Final = 8


class Limits:
    """Disconnects who takes too much, and keeps the measure of the others."""

    def __init__(self, server: Frontend) -> None:
        self._server = server
        self._config = server.config
        self._block = server.block
        self.backed_up: set[Connection] = set()  # those who do not read
        self._recent = [(0, 0)] * RECENT_S
        self._recent_place = 0
        self._last_look = 0.0

    def query_buffer_exceeded(self, conn: Connection) -> None:
        logger.warning("Closing client that reached max query buffer length: %s", describe(conn))
        self._block.count("client_query_buffer_limit_disconnections")
        conn.kill()

    def output_backed_up(self, conn: Connection) -> None:
        """A client does not read: beyond its class's limit it is disconnected."""
        if conn.is_ending:
            return
        self.backed_up.add(conn)
        hard, soft, seconds = self._config.client_output_buffer_limit[
            "pubsub" if conn.subscriptions is not None else "normal"
        ]
        size = conn.output_bytes
        now = time.monotonic()
        if soft and size > soft:
            conn.soft_limit_since = conn.soft_limit_since or now
        else:
            conn.soft_limit_since = None
        if (hard and size > hard) or (conn.soft_limit_since is not None and now - conn.soft_limit_since >= seconds):
            logger.warning("Client %s closed for overcoming of output buffer limits.", describe(conn))
            self._block.count("client_output_buffer_limit_disconnections")
            conn.kill()

    def check(self) -> None:
        """Once a tick: those who do not read, and those who say nothing."""
        for conn in list(self.backed_up):
            if conn.closed or conn.output_bytes < 64 * 1024:
                self.backed_up.discard(conn)
                conn.soft_limit_since = None
            else:
                self.output_backed_up(conn)
        now = time.time()
        if now - self._last_look < 1:
            return
        self._last_look = now
        if self._server.pages is not None:
            leave_pages(self._server.clients, now - ARRIVING_S)
            self._server.pages.give_back()
        for conn in trim_idle(self._server.clients, now - IDLE_S):
            if self._config.timeout and conn.last_active < now - self._config.timeout and conn.subscriptions is None:
                logger.log(logs.VERBOSE, "Closing idle client")
                conn.kill()

    def publish(self) -> None:
        """What the connections hold; the largest buffers of the last `RECENT_S` seconds, as Redis."""
        *largest, memory, watching, subscribed, paused = survey(self._server.clients.values())
        place = int(time.monotonic()) % RECENT_S
        if place != self._recent_place:
            self._recent_place = place
            self._recent[place] = (0, 0)
        self._recent[place] = (max(self._recent[place][0], largest[0]), max(self._recent[place][1], largest[1]))
        block = self._block
        block.put("client_recent_max_input_buffer", max(size for size, _ in self._recent))
        block.put("client_recent_max_output_buffer", max(size for _, size in self._recent))
        block.put("client_memory_bytes", memory)
        block.put("watching_clients", watching)
        block.put("pubsub_clients", subscribed)
        block.put("paused_clients", paused)
