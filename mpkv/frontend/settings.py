"""Settings that change while the server runs: who keeps copies of them, who has to be told."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from mpkv import logs
from mpkv.config_syntax import ENCODING, ENCODING_ERRORS
from mpkv.config_table import find
from mpkv.crash import report as crash_report
from mpkv.frontend.listener import provide_descriptors
from mpkv.frontend.pending import Answer
from mpkv.wire import CONTROL_NUMBERS

if TYPE_CHECKING:
    from mpkv.frontend.main import Frontend

logger = logging.getLogger(__name__)

#: Settings of which `Settings.apply` makes copies.
FOLLOWED: Final = (
    "client-query-buffer-limit", "proto-max-bulk-len", "client-max-inflight", "worker-max-inflight", "requirepass",
    "maxmemory", "maxmemory-policy", "save", "stop-writes-on-bgsave-error", "loglevel", "crash-log-enabled",
    "hide-user-data-from-log",
    "slowlog-log-slower-than", "slowlog-max-len", "latency-monitor-threshold", "latency-tracking",
)  # fmt: skip


class Settings:
    """Carries settings to where they take effect."""

    def __init__(self, server: Frontend) -> None:
        self._server = server
        self._config = server.config
        self._router = server.router
        self._since_start: dict[bytes, bytes] = {}  # a worker that was away catches up

    def follow(self) -> None:
        """From now on every accepted change takes effect."""
        self.apply()
        for name in FOLLOWED:
            self._config.on_change(name, lambda _value: self.apply())
        for name in ("port", "bind"):
            self._config.on_change(name, _refuse_at_run_time)
        self._config.on_change("maxclients", provide_descriptors)

    def apply(self) -> None:
        """Settings that compiled code looks at."""
        config = self._config
        self._router.query_buffer_limit = config.client_query_buffer_limit
        self._router.max_bulk = config.proto_max_bulk_len
        self._router.client_in_flight_limit = config.client_max_inflight
        self._router.memory.configure(config.maxmemory, config.maxmemory_policy)
        for link in self._server.links:
            link.in_flight_limit = config.worker_max_inflight
        logs.set_level(config.loglevel)
        crash_report.apply_settings(config)
        self._server.slow.apply_settings()
        self._server.pausing.update_hold()
        if not config.requirepass:
            self._server.sessions.admit_all()

    def changed(self, pairs: Sequence[tuple[str, str]]) -> None:
        """CONFIG SET was accepted here: the workers and the supervisor follow."""
        words = [word.encode(ENCODING, ENCODING_ERRORS) for pair in pairs for word in pair]
        self._since_start.update(zip(words[::2], words[1::2], strict=True))
        # JSON knows no bytes: they travel as the characters of the same number
        texts = [word.decode("latin-1") for word in words]
        self._server.channel.send("config", pairs=list(zip(texts[::2], texts[1::2], strict=True)))
        for name, _ in pairs:
            row = find(name)
            if row is not None and not row.used:
                logger.warning("%s was set but has no effect in this version of mpkv", row.name)
        for shard, link in enumerate(self._server.links):
            if link.up:
                self._router.control(shard, CONTROL_NUMBERS["config"], words, Answer(lambda *_: None))

    def catch_up(self, pairs: Sequence[tuple[str, str]]) -> None:
        """What an earlier frontend changed: it has this from the supervisor, workers may have missed the last of it."""
        self._since_start = {name.encode("latin-1"): value.encode("latin-1") for name, value in pairs}

    def send_to(self, shard: int) -> None:
        """A worker that has just come was started with the settings of the server's start."""
        if self._since_start:
            words = [word for pair in self._since_start.items() for word in pair]
            self._router.control(shard, CONTROL_NUMBERS["config"], words, Answer(lambda *_: None))


def _refuse_at_run_time(_value: Any) -> None:
    raise ValueError("the listening sockets can't be changed while the server runs: restart it")
