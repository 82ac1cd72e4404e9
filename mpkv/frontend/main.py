"""The frontend process: accepts connections, admits and sequences commands, routes them, merges replies. It owns no
keys.

`Frontend.perform` is the general way of a command (steps 3 to 5) for everything that the compiled short way in
`Connection` leaves to it.

Start and recovery (R10): the supervisor says of every worker where it listens, or that it is down. A frontend that
follows one that died asks each worker for the last number that it executed, takes a number above all of these and above
all intents, completes the intents in order, and only then accepts connections. One that starts with the server has
nothing to recover and answers -LOADING until the shards are there.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import hmac
import logging
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import uvloop

from mpkv import errors, logs, process
from mpkv.commands import spec as commands
from mpkv.commands.spec import Command, Flag
from mpkv.config import Config
from mpkv.config_syntax import ENCODING, ENCODING_ERRORS
from mpkv.config_table import find
from mpkv.control import Channel, Closed, Message
from mpkv.errors import CommandError
from mpkv.frontend import gate, transactions
from mpkv.frontend.connection import Connection, release_task, survey, trim_idle
from mpkv.frontend.intents import IntentRing
from mpkv.frontend.link import Link, LinkFault
from mpkv.frontend.pending import Answer
from mpkv.frontend.pubsub import Registry
from mpkv.frontend.router import NotNow, Router
from mpkv.frontend.saving import SaveFailed, Saver
from mpkv.metrics.info import render as render_info
from mpkv.metrics.source import BoardSource
from mpkv.resp.decoder import decode
from mpkv.resp.encoder import encode_bytes
from mpkv.resp.replies import NO_REPLY, OK, QUEUED, Messages, Status
from mpkv.shm.board import Board
from mpkv.shm.layout import State
from mpkv.shm.ring import Ring
from mpkv.shm.segment import Segment
from mpkv.wire import CONTROL_NUMBERS

logger = logging.getLogger(__name__)

TOO_MANY_CLIENTS: Final = b"-ERR max number of clients reached\r\n"
DENIED: Final = (
    b"-DENIED mpkv is running in protected mode because protected mode is enabled and no password is set for the "
    b"default user. In this mode connections are only accepted from the loopback interface. If you want to connect "
    b"from external computers, set a password (requirepass), or disable protected mode with CONFIG SET protected-mode "
    b"no from the loopback interface, or with --protected-mode no.\r\n"
)
#: Above every sequence number.
EVERY_NUMBER: Final = (1 << 64) - 1
#: When a client's wait ends while its shard is down: how often it is tried to tell the shard.
DOWN_AGAIN_S: Final = 0.05
CROSS_PROTOCOL: Final = (b"post", b"host:")
#: What CLIENT PAUSE … WRITE holds back.
PAUSED_FLAGS: Final = Flag.WRITE | Flag.MAY_REPLICATE
#: A client that has been silent for so many seconds gives back what it does not need for waiting.
IDLE_S: Final = 1.0
#: Descriptors beside those of the clients: of the event loop, the links, the listeners, a snapshot's files.
OWN_DESCRIPTORS: Final = 32
#: Settings of which `Frontend.apply_settings` keeps copies.
FOLLOWED: Final = (
    "client-query-buffer-limit", "proto-max-bulk-len", "client-max-inflight", "worker-max-inflight", "requirepass",
    "save", "stop-writes-on-bgsave-error", "loglevel",
)  # fmt: skip
#: For how long a client's large buffer is remembered in `client_recent_max_…`, in seconds.
RECENT_S: Final = 8
#: Number on the board -> attribute of a link; the board has the sum over all links.
LINK_TOTALS: Final = {
    "link_out_bytes": "sent_bytes", "link_in_bytes": "received_bytes", "link_out_batches": "batches_out",
    "link_in_batches": "batches_in", "link_discarded": "discarded",
}  # fmt: skip
LINK_GAUGES: Final = {
    "inflight_bytes": "in_flight_bytes", "pending_commands": "waiting", "link_queue_bytes": "queue_bytes",
}  # fmt: skip
_BLOCKED_NEWS: Final = struct.Struct("=qQq")


class Frontend:
    """All state of the process; handlers reach it as ``conn.server``."""

    def __init__(self, channel: Channel, segment: Segment, config: Config, setup: Message, epoch: int) -> None:
        self.channel = channel
        self.segment = segment
        self.config = config
        self.epoch = epoch
        self.board = Board(segment)
        self.block = self.board.frontend
        self.source = BoardSource(segment, config)
        self.shards = segment.shape.workers
        self.table = commands.load()
        self.by_name = {
            name.encode(): spec
            for name, spec in self.table.items()
            if "|" not in name and not spec.flags & Flag.INTERNAL
        }
        self.loop = asyncio.get_running_loop()
        self._now_ms = 0
        self.intents = IntentRing(segment.area("intents"), setup["runtime"], enabled=not config.debug_disable_intents)
        self._bell: int = setup["bell"]
        self.links = [
            Link(shard, self.clock_ms, self._take_event, config.worker_max_inflight) for shard in range(self.shards)
        ]
        self.router = Router(self.loop, self.table, self.links, self.intents, self.block)
        self.saver = Saver(self)
        self.pubsub = Registry()
        self.clients: dict[int, Connection] = {}
        self.blocked_clients: dict[int, Connection] = {}
        self.backed_up: set[Connection] = set()
        self.paused_until: float = 0.0
        self.paused_all = False
        self.paused: list[Connection] = []
        self.in_transaction = False  #: a handler is called on behalf of EXEC
        self.tasks: set[asyncio.Task[Any]] = set()
        self.stopping = False
        self.stopped = asyncio.Event()
        self._next_client = 0
        self._recent = [(0, 0)] * RECENT_S
        self._recent_place = 0
        self._servers: list[asyncio.Server] = []
        self._pollers: dict[int, int] = {}
        self._changed_settings: dict[bytes, bytes] = {}  # since the server started: a worker that was away catches up
        self._given_up: set[int] = set()  # shards whose worker is not started any more
        self._last_numbers: dict[int, int] = {}
        self._recovered = False
        self._warned_of_output = 0
        self._last_look = 0.0
        self.apply_settings()
        for name in FOLLOWED:
            config.on_change(name, lambda _value: self.apply_settings())
        for name in ("port", "bind"):
            config.on_change(name, _refuse_at_run_time)
        config.on_change("maxclients", _provide_descriptors)

    # -- time ----------------------------------------------------------------------------------------------------------

    def clock_ms(self) -> int:
        """The time that batches are stamped with: never goes back (R4)."""
        now = int(time.time() * 1000)
        self._now_ms = max(self._now_ms, now)
        return self._now_ms

    def _tick(self) -> None:
        """The pulse, `hz` times a second: time for the workers, and everything periodic."""
        self.loop.call_later(1 / self.config.hz, self._tick)
        self.router.seconds = time.time()
        self.block.heartbeat()
        for link in self.links:
            if link.up:
                link.retry()
                link.flush_now()
        self.router.drain()
        self._check_clients()
        self.publish()
        self.source.sample()
        if self._recovered and not self.stopping:
            self.saver.tick()
        if self.paused_until and time.monotonic() >= self.paused_until:
            self.unpause()

    def publish(self) -> None:
        """Bring this process's block of the board up to date."""
        block = self.block
        block.put("connected_clients", len(self.clients))
        block.put("blocked_clients", len(self.blocked_clients))
        block.put(
            "clients_in_timeout_table",
            sum(1 for conn in self.blocked_clients.values() if conn.blocked_on[2] is not None),
        )
        block.put("pubsub_channels", len(self.pubsub.listeners("channels")))
        block.put("pubsub_patterns", len(self.pubsub.listeners("patterns")))
        block.put("pubsubshard_channels", len(self.pubsub.listeners("shard_channels")))
        block.put("intents_open", self.intents.open_count)
        block.put_total("intents_total", self.intents.total)
        for name, attribute in LINK_TOTALS.items():
            block.put_total(name, sum(getattr(link, attribute) for link in self.links))
        for name, attribute in LINK_GAUGES.items():
            block.put(name, sum(getattr(link, attribute) for link in self.links))
        self._publish_clients()

    def _publish_clients(self) -> None:
        """What the connections hold; the largest buffers of the last `RECENT_S` seconds, as Redis."""
        *largest, memory, watching, subscribed, paused = survey(self.clients.values())
        place = int(time.monotonic()) % RECENT_S
        if place != self._recent_place:
            self._recent_place = place
            self._recent[place] = (0, 0)
        self._recent[place] = (max(self._recent[place][0], largest[0]), max(self._recent[place][1], largest[1]))
        block = self.block
        block.put("client_recent_max_input_buffer", max(size for size, _ in self._recent))
        block.put("client_recent_max_output_buffer", max(size for _, size in self._recent))
        block.put("client_memory_bytes", memory)
        block.put("watching_clients", watching)
        block.put("pubsub_clients", subscribed)
        block.put("paused_clients", paused)

    def dirty(self) -> int:
        """Changes since the last snapshot."""
        return int(self.board.total("dirty"))

    def reset_statistics(self) -> None:
        """CONFIG RESETSTAT."""
        self.publish()
        self.board.reset()

    # -- settings ------------------------------------------------------------------------------------------------------

    def apply_settings(self) -> None:
        """Settings that compiled code looks at."""
        config = self.config
        self.router.query_buffer_limit = config.client_query_buffer_limit
        self.router.max_bulk = config.proto_max_bulk_len
        self.router.client_in_flight_limit = config.client_max_inflight
        for link in self.links:
            link.in_flight_limit = config.worker_max_inflight
        logs.set_level(config.loglevel)
        self.update_hold()
        if not config.requirepass:
            self._admit_all()

    def _admit_all(self) -> None:
        """There is no password any more: nobody has to give it."""
        for conn in self.clients.values():
            if not conn.authenticated:
                conn.authenticated = True
                self.update_plain(conn)

    def settings_changed(self, pairs: Sequence[tuple[str, str]]) -> None:
        """CONFIG SET was accepted here: the workers and the supervisor follow."""
        words = [word.encode(ENCODING, ENCODING_ERRORS) for pair in pairs for word in pair]
        self._changed_settings.update(zip(words[::2], words[1::2], strict=True))
        # JSON knows no bytes: they travel as the characters of the same number
        texts = [word.decode("latin-1") for word in words]
        self.channel.send("config", pairs=list(zip(texts[::2], texts[1::2], strict=True)))
        for name, _ in pairs:
            row = find(name)
            if row is not None and not row.used:
                logger.warning("%s was set but has no effect in this version of mpkv", row.name)
        for shard, link in enumerate(self.links):
            if link.up:
                self.router.control(shard, CONTROL_NUMBERS["config"], words, Answer(lambda *_: None))

    def catch_up(self, pairs: Sequence[tuple[str, str]]) -> None:
        """What an earlier frontend changed: it has this from the supervisor, workers may have missed the last of it."""
        self._changed_settings = {name.encode("latin-1"): value.encode("latin-1") for name, value in pairs}

    def update_hold(self) -> None:
        """Whether writes, or everything, must pass the gate."""
        self.router.hold = (
            2 if self.paused_until and self.paused_all else 1 if self.paused_until or self.saver_refuses() else 0
        )

    def saver_refuses(self) -> bool:
        return hasattr(self, "saver") and self.saver.refuses_writes

    def update_plain(self, conn: Connection) -> None:
        """Whether a connection's commands may take the short way."""
        conn.plain = (
            conn.authenticated and conn.transaction is None and (conn.subscriptions is None or conn.protocol == 3)
        )

    # -- connections ---------------------------------------------------------------------------------------------------

    def _accept(self) -> Connection:
        self._next_client += 1
        return Connection(self, self.router, self._next_client)

    def opened(self, conn: Connection) -> None:
        """A connection was made: refuse it, or take it in."""
        transport = conn.transport
        sock = transport.get_extra_info("socket")
        conn.peer, conn.local = _address(sock, peer=True), _address(sock, peer=False)
        conn.created = conn.last_active = time.time()
        refusal = self._refusal(conn)
        if refusal is not None:
            self.block.count("rejected_connections")
            transport.write(refusal)
            transport.close()
            conn.stop(128)
            return
        if sock.family != socket.AF_UNIX and self.config.tcp_keepalive:
            _keep_alive(sock, self.config.tcp_keepalive)
        conn.authenticated = not self.config.requirepass
        conn.user = b"default"
        self.clients[conn.id] = conn
        self.block.count("total_connections_received")  # those that are refused do not count, as in Redis
        self.update_plain(conn)

    def _refusal(self, conn: Connection) -> bytes | None:
        """Why a new connection is not taken in."""
        if len(self.clients) >= self.config.maxclients:
            return TOO_MANY_CLIENTS
        if self.config.protected_mode and not self.config.requirepass and not self.is_local(conn):
            return DENIED
        return None

    def closed(self, conn: Connection) -> None:
        """A connection is gone: so are its waits, watches and subscriptions."""
        self.clients.pop(conn.id, None)
        self.backed_up.discard(conn)
        if conn.blocked_on is not None:
            self._unblock(conn, b"gone")
        if conn.watched is not None:
            transactions.forget_watched(conn)
        if conn.subscriptions is not None:
            self.pubsub.drop(conn)
        conn.transaction = None

    def is_local(self, conn: Connection) -> bool:
        """From the loopback interface or a unix socket."""
        host = conn.peer.rpartition(":")[0]
        return host.startswith("127.") or host in ("[::1]", self.config.unixsocket)

    def protocol_error(self, conn: Connection, text: str) -> None:
        """Answer and close; nothing after the bad byte is executed."""
        logger.log(logs.VERBOSE, "Protocol error (%s) from client: %s", text, self.describe(conn))
        error = CommandError(f"ERR Protocol error: {text}")
        self.block.count_error(error.prefix)
        conn.reply(error)
        conn.close_after_replies()

    def query_buffer_exceeded(self, conn: Connection) -> None:
        logger.warning("Closing client that reached max query buffer length: %s", self.describe(conn))
        self.block.count("client_query_buffer_limit_disconnections")
        conn.kill()

    def output_backed_up(self, conn: Connection) -> None:
        """A client does not read: beyond its class's limit it is disconnected."""
        if conn.is_ending:
            return
        self.backed_up.add(conn)
        hard, soft, seconds = self.config.client_output_buffer_limit[
            "pubsub" if conn.subscriptions is not None else "normal"
        ]
        size = conn.output_bytes
        now = time.monotonic()
        if soft and size > soft:
            conn.soft_limit_since = conn.soft_limit_since or now
        else:
            conn.soft_limit_since = None
        if (hard and size > hard) or (conn.soft_limit_since is not None and now - conn.soft_limit_since >= seconds):
            logger.warning("Client %s closed for overcoming of output buffer limits.", self.describe(conn))
            self.block.count("client_output_buffer_limit_disconnections")
            conn.kill()

    def outcome_unknown(self, conn: Connection) -> None:
        """A worker died with a command of this client: nobody knows whether it was executed, so its connection ends."""
        logger.warning("Closing client whose command's outcome is unknown: %s", self.describe(conn))
        conn.kill()

    def _check_clients(self) -> None:
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
        for conn in trim_idle(self.clients, now - IDLE_S):
            if self.config.timeout and conn.last_active < now - self.config.timeout and conn.subscriptions is None:
                logger.log(logs.VERBOSE, "Closing idle client")
                conn.kill()

    def describe(self, conn: Connection) -> str:
        return f"id={conn.id} addr={conn.peer} name={(conn.name or b'').decode('latin-1')}"

    # -- the general way of a command ----------------------------------------------------------------------------------

    def find(self, words: Sequence[bytes]) -> Command | CommandError:
        """Step 3: the command that a request names with the right number of words, or why there is none."""
        spec = self._named(words)
        return spec if isinstance(spec, CommandError) or spec.accepts(len(words)) else _wrong_arity(spec, words)

    def _named(self, words: Sequence[bytes]) -> Command | CommandError:
        spec = self.by_name.get(words[0].lower())
        if spec is None:
            return errors.unknown_command(words)
        if spec.subcommands and len(words) > 1:
            member = spec.subcommands.get(words[1].lower())
            if member is not None:
                return member
            if not spec.flags & Flag.PROTECTED:
                return errors.unknown_subcommand(spec.name, words[1])
        return spec

    def _note_attack(self) -> None:
        """A browser was made to talk to us; said once a minute, or the log would be the attack."""
        if time.monotonic() - self._attack_noted < 60:
            return
        self._attack_noted = time.monotonic()
        logger.warning(
            "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands. "
            "Connection aborted."
        )

    _attack_noted = -60.0

    def perform(self, conn: Connection, words: list[bytes]) -> bool:
        """Steps 3 to 5 for one request; True: not now, it will be parsed again. Raises NotNow likewise."""
        if words[0].lower() in CROSS_PROTOCOL:
            self._note_attack()
            conn.kill()
            return False
        spec = self._named(words)
        if isinstance(spec, CommandError):
            self._refuse(conn, words, None, spec)
            return False
        if not spec.accepts(len(words)):
            self._refuse(conn, words, spec, _wrong_arity(spec, words))
            return False
        refusal = gate.admit(conn, spec, words)
        if refusal is not None:
            self._refuse(conn, words, spec, refusal)
            return False
        if self.paused_until and (self.paused_all or gate.flags_in_effect(conn, spec) & PAUSED_FLAGS):
            conn.stop(32)
            self.paused.append(conn)
            return True
        conn.last_command = spec.name
        if conn.transaction is not None and spec.name not in transactions.NOT_QUEUED:
            conn.transaction.add(spec, words)
            if conn.transaction.memory_bytes > self.config.client_query_buffer_limit:
                self.query_buffer_exceeded(conn)
                return False
            conn.reply(QUEUED)
            return False
        if spec.on_shard:
            return self._send(conn, spec, words)
        # What a subscriber publishes may come back to it: the message follows the reply, which follows all earlier ones
        settled = spec.flags & Flag.SETTLED or (spec.flags & Flag.PUBSUB and conn.subscriptions is not None)
        if settled and not conn.settle():
            return True
        self._run_here(conn, spec, words)
        return False

    def _refuse(self, conn: Connection, words: Sequence[bytes], spec: Command | None, refusal: CommandError) -> None:
        """A command that did not get as far as running; inside MULTI it dooms the transaction."""
        if conn.transaction is not None:
            conn.transaction.doomed = True
        if words[0].lower() == b"exec":
            refusal = transactions.abort(conn, refusal)
        if spec is not None:
            self.block.count_rejected(spec.number)
        self.block.count_error(refusal.prefix)
        conn.reply(refusal)

    def _send(self, conn: Connection, spec: Command, words: Sequence[bytes]) -> bool:
        place = conn.take_place()
        try:
            self.router.send(conn, place, conn.id, conn.database, conn.protocol, spec, words)
        except CommandError as error:
            error.__traceback__ = None
            self.block.count_rejected(spec.number)
            self.block.count_error(error.prefix)
            conn.reply_at(place, error)
        except NotNow:
            conn.give_back_place()
            raise
        if spec.flags & Flag.BLOCKING:
            conn.settle()  # whether it waits its shard will say: until then nothing behind it may run
        return False

    def _run_here(self, conn: Connection, spec: Command, words: Sequence[bytes]) -> None:
        """A command of class 0: its handler runs in this process; a coroutine holds its connection until it is done."""
        started_ns = time.perf_counter_ns()
        value = self.call(conn, spec, words)
        if asyncio.iscoroutine(value):
            conn.stop(16)
            place = conn.take_place()
            task = self.loop.create_task(value)
            self.tasks.add(task)
            task.add_done_callback(lambda task: self._task_done(conn, place, spec, started_ns, task))
        elif isinstance(value, Messages):
            for message in value:
                conn.push(encode_bytes(message, conn.protocol))
        elif value is not NO_REPLY:
            conn.reply(value)
        self.pubsub.push_late(conn)

    def _task_done(self, conn: Connection, place: int, spec: Command, started_ns: int, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        error = task.exception()
        if isinstance(error, CommandError):
            value: Any = error
        elif error is not None:
            logger.critical("a command failed in a way it must not", exc_info=error)
            value = CommandError("ERR internal error: the server's log has the details")
        else:
            value = task.result()
        self._count(spec, started_ns, value)
        conn.reply_at(place, value)
        release_task(conn)
        self.router.flush_soon()

    def call(self, conn: Connection, spec: Command, words: Sequence[bytes]) -> Any:
        """Call a handler of this process: its value, or the error that it raised. NotNow passes through."""
        started = time.perf_counter_ns()
        try:
            value = spec.handler(conn, *words[spec.words :])
        except CommandError as error:
            error.__traceback__ = None  # shared instances would gather a frame at every raise
            value = error
        except NotNow:
            raise
        except Exception:
            logger.critical("%s failed on %r", spec.name, list(words)[:3], exc_info=True)
            value = CommandError("ERR internal error: the server's log has the details")
        if not asyncio.iscoroutine(value):
            self._count(spec, started, value)
        return value

    def _count(self, spec: Command, started_ns: int, value: Any) -> None:
        """A command of this process has been done."""
        failed = isinstance(value, CommandError)
        if failed:
            self.block.count_error(value.prefix)
        if spec.number >= 0:
            self.block.count_command(spec.number, time.perf_counter_ns() - started_ns, failed)

    # -- blocked clients -----------------------------------------------------------------------------------------------

    def blocked(self, conn: Connection, news: bytes) -> None:
        """A shard has made a client wait; the time is kept here."""
        timeout_ms, number, shard = _BLOCKED_NEWS.unpack(news)
        if conn.blocked_on is not None:
            return  # its shard died and is back: it waits on, until the time that it was given first
        timer = self.loop.call_later(timeout_ms / 1000, self._unblock, conn, b"timeout") if timeout_ms else None
        conn.blocked_on = (shard, number, timer)
        self.blocked_clients[conn.id] = conn

    def blocked_in_vain(self, news: bytes) -> None:
        """A shard has made a client wait that is gone: what it waits for must not be spent on it."""
        _, number, shard = _BLOCKED_NEWS.unpack(news)
        if self.links[shard].up:
            self.router.control(shard, CONTROL_NUMBERS["unblock"], [b"%d" % number, b"gone"], Answer(lambda *_: None))

    def unblocked(self, conn: Connection) -> None:
        """The wait is over, in whatever way."""
        if conn.blocked_on is not None:
            timer = conn.blocked_on[2]
            if timer is not None:
                timer.cancel()
            conn.blocked_on = None
        self.blocked_clients.pop(conn.id, None)

    def _unblock(self, conn: Connection, reason: bytes) -> None:
        """Tell the shard that a client does not wait any longer; its answer ends the wait."""
        if conn.blocked_on is None:
            return
        shard, number, timer = conn.blocked_on
        if reason == b"gone":
            self.unblocked(conn)
        if self.links[shard].up:
            self.router.control(shard, CONTROL_NUMBERS["unblock"], [b"%d" % number, reason], Answer(lambda *_: None))
        elif reason != b"gone":
            # Its request will be sent to the shard's next worker: the end of the wait must come after it
            if timer is not None:
                timer.cancel()
            conn.blocked_on = (shard, number, self.loop.call_later(DOWN_AGAIN_S, self._unblock, conn, reason))

    def unblock_client(self, client: int, reason: bytes) -> bool:
        """CLIENT UNBLOCK."""
        conn = self.blocked_clients.get(client)
        if conn is None or conn.blocked_on is None:
            return False
        self._unblock(conn, reason)
        return True

    # -- what handlers ask for -----------------------------------------------------------------------------------------

    def begin_transaction(self, conn: Connection) -> None:
        conn.transaction = transactions.Transaction()
        self.update_plain(conn)

    def execute_transaction(self, conn: Connection) -> Any:
        transactions.execute(conn)
        return NO_REPLY

    def discard_transaction(self, conn: Connection) -> None:
        transactions.end(conn)
        transactions.forget_watched(conn)

    def watch(self, conn: Connection, keys: Sequence[bytes]) -> Any:
        transactions.watch(conn, keys)
        return NO_REPLY

    def unwatch(self, conn: Connection) -> None:
        transactions.forget_watched(conn)

    def subscriptions_changed(self, conn: Connection) -> None:
        """After SUBSCRIBE and its like."""
        if conn.subscriptions is not None and conn.subscriptions.empty:
            conn.subscriptions = None
        self.update_plain(conn)

    def authenticate(self, conn: Connection, user: bytes, password: bytes) -> None:
        """Log a connection in; raises WRONGPASS."""
        expected = self.config.requirepass.encode("utf-8", "surrogateescape")
        same = hmac.compare_digest(hashlib.sha256(password).digest(), hashlib.sha256(expected).digest())
        if user != b"default" or (expected and not same):
            self.block.count("acl_access_denied_auth")
            raise CommandError("WRONGPASS invalid username-password pair or user is disabled.")
        conn.authenticated = True
        conn.user = user
        self.update_plain(conn)

    def reset(self, conn: Connection) -> Any:
        """RESET: the connection is as new."""
        conn.transaction = None
        transactions.forget_watched(conn)
        if conn.subscriptions is not None:
            self.pubsub.drop(conn)
        conn.database = 0
        conn.protocol = 2
        conn.name = None
        conn.reply_mode = 0
        conn.no_evict = conn.no_touch = False
        conn.authenticated = not self.config.requirepass
        self.update_plain(conn)
        return Status(b"RESET")

    def quit(self, conn: Connection) -> Any:
        return self.kill(conn, conn, OK)

    def kill(self, conn: Connection, victim: Connection, reply: Any) -> Any:
        """End a connection; one's own after its reply."""
        if victim is not conn:
            victim.kill()
            return reply
        conn.reply(reply)
        conn.close_after_replies()
        return NO_REPLY

    def set_reply_mode(self, conn: Connection, mode: bytes) -> Any:
        if mode not in (b"on", b"off", b"skip"):
            raise errors.SYNTAX
        if mode == b"on":
            conn.reply_mode = 0
            return OK
        if mode == b"off":
            conn.reply_mode = 1
        elif conn.reply_mode == 0:
            conn.reply_mode = 3
        return NO_REPLY

    def info(self, sections: list[str]) -> str:
        self.publish()
        return render_info(self.source, sections)

    async def save(self) -> bool:
        """SAVE: whether it was done."""
        try:
            await self.saver.start()
        except SaveFailed:
            return False
        return True

    def shut_down(self, conn: Connection, *, save: bool | None, force: bool) -> Any:
        """SHUTDOWN: no reply, unless it fails."""
        place = conn.take_place()
        self.shut_down_soon(save=save, force=force, on_failure=lambda error: conn.reply_at(place, error))
        return NO_REPLY

    async def ask_shards(
        self, question: str, *words: bytes, shards: list[int] | None = None, message: str = "debug"
    ) -> list[Any]:
        """Ask all shards, or some, at one number; their answers in order."""
        asked = list(range(self.shards)) if shards is None else shards
        if any(not 0 <= shard < self.shards for shard in asked):
            raise errors.OUT_OF_RANGE
        if any(not self.links[shard].up for shard in asked):
            raise errors.LOADING
        futures = [self.loop.create_future() for _ in asked]
        number = self.router.next_number()
        for shard, future in zip(asked, futures, strict=True):
            content = [question.encode(), *words] if message == "debug" else list(words)
            self.links[shard].control(CONTROL_NUMBERS[message], number, content, Answer(_resolver(future)))
        self.router.flush_soon()
        answers = await asyncio.gather(*futures)
        for answer in answers:
            if isinstance(answer, CommandError):
                raise answer
        return answers

    async def digest(self) -> bytes:
        """All shards' digests as one: what redis-server's DEBUG DIGEST says of the same data."""
        per_shard = await self.ask_shards("digest")
        total = bytes(20)
        for index in range(self.config.databases):
            keys = bytes(20)
            for digests in per_shard:
                keys = _xor(keys, digests[index])
            if any(self.board.workers[shard].database(index).keys for shard in range(self.shards)):
                number = hashlib.sha1(struct.pack(">I", index), usedforsecurity=False).digest()
                total = hashlib.sha1(_xor(total, number), usedforsecurity=False).digest()
                total = _xor(total, keys)
        return Status(total.hex().encode())

    async def reload(self, *, save: bool) -> bool:
        """DEBUG RELOAD."""
        if save and not await self.save():
            return False
        await self.ask_shards("", message="reload")
        return True

    def explain(self, words: Sequence[bytes]) -> list[Any]:
        """Which shards would run a command, and its class."""
        spec = self.find(words)
        if isinstance(spec, CommandError):
            raise spec
        if not spec.on_shard:
            return [b"class", 0, b"shards", []]
        shards = self.router.shards_of(spec, words)
        kind: Any = 1 if len(shards) == 1 else b"S" if spec.across is not None else b"H"
        slots = [self.router.slot_of(words[at]) for indexes in shards.values() for at in indexes]
        return [b"class", kind, b"shards", list(shards), b"slots", slots]

    # -- CLIENT PAUSE --------------------------------------------------------------------------------------------------

    def pause(self, milliseconds: int, *, everything: bool) -> None:
        self.paused_until = max(self.paused_until, time.monotonic() + milliseconds / 1000)
        self.paused_all = self.paused_all or everything
        self.update_hold()

    def unpause(self) -> None:
        self.paused_until = 0.0
        self.paused_all = False
        self.update_hold()
        paused, self.paused = self.paused, []
        for conn in paused:
            conn.release(32)

    # -- the supervisor ------------------------------------------------------------------------------------------------

    def listen_to_supervisor(self) -> None:
        """Messages that have come over the control channel."""
        try:
            messages = self.channel.receive()
        except Closed:
            self.loop.remove_reader(self.channel.fileno())
            logger.warning("The supervisor is gone: shutting down")
            self.shut_down_soon(save=None, force=True)
            return
        for message in messages:
            self._obey(message)

    def _obey(self, message: Message) -> None:
        kind = message["kind"]
        if kind == "up":
            self._link_up(message)
        elif kind == "down":
            self._link_down(message["shard"], message["last_number"], for_good=message["for_good"])
        elif kind == "stop":
            self.shut_down_soon(save=message["save"], force=message["force"])
        elif kind == "reopen-log":
            logs.reopen()

    def _link_up(self, message: Message) -> None:
        shard = message["shard"]
        link = self.links[shard]
        fd = link.open(message["endpoint"], self.epoch, message["incarnation"], *self._way_beside(shard))
        self._pollers[shard] = fd
        self.loop.add_reader(fd, self._socket_stirs, link)
        if self._recovered:
            count = link.resend()
            if count:
                logger.info("Shard %d is back: %d requests that had waited were sent to it", shard, count)
            self.router.note_links()
        else:
            link.hello(Answer(lambda kind, reply: self._worker_answered(shard, kind, reply)))
        if self._changed_settings:
            words = [word for pair in self._changed_settings.items() for word in pair]
            self.router.control(shard, CONTROL_NUMBERS["config"], words, Answer(lambda *_: None))
        self.router.flush_soon()

    def _way_beside(self, shard: int) -> tuple[Ring, Ring] | tuple[()]:
        """The rings of a shard."""
        if not self.config.link_rings:
            return ()
        return Ring(self.segment, 2 * shard), Ring(self.segment, 2 * shard + 1)

    def _socket_stirs(self, link: Link) -> None:
        link.attend()
        self.router.drain()

    def _bell_rang(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        self.router.drain()

    def _callback_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback raised. Where that leaves open which reply belongs to whom, or what was recovered, a new frontend
        begins anew."""
        error = context.get("exception")
        if self._recovered and not isinstance(error, LinkFault):
            loop.default_exception_handler(context)
            return
        logger.critical("The frontend cannot go on: %s", context.get("message"), exc_info=error)
        sys.stderr.flush()
        signal.raise_signal(signal.SIGKILL)

    def _link_down(self, shard: int, last_number: int, *, for_good: bool) -> None:
        """A worker is gone: what it may have executed is lost, the rest waits, unless there will be no other worker."""
        link = self.links[shard]
        if shard in self._pollers:
            self.loop.remove_reader(self._pollers.pop(shard))
        was_up = link.up
        if was_up:
            link.drain_rest()
            link.close()
            for connection in self.clients.values():
                connection.write_held()
        if was_up or for_good:
            lost = link.forget_executed(EVERY_NUMBER if for_good else last_number)
            logger.warning("Shard %d is down; %d requests that it may have executed are lost", shard, lost)
        if for_good:
            self._given_up.add(shard)
        self.router.note_links()
        self.saver.shard_died(shard)
        if not self._recovered:
            self._last_numbers[shard] = last_number
            self._recover_if_complete()

    def _take_event(self, link: Link, payload: bytes) -> None:
        """News of a worker's own."""
        news = msgspec.json.decode(payload)
        if news["event"] in ("snapshot", "joined"):
            self.saver.take_news(link.shard, news)

    # -- recovery (R10) ------------------------------------------------------------------------------------------------

    def _worker_answered(self, shard: int, kind: int | None, reply: bytes) -> None:
        if kind is None:
            return  # it died over the question: the supervisor has told what it executed
        self._last_numbers[shard] = decode(reply)[0]
        self._recover_if_complete()

    def _recover_if_complete(self) -> None:
        """When every worker has answered or is known to be down: complete the intents, then serve."""
        if self._recovered or len(self._last_numbers) < self.shards:
            return
        unfinished = self.intents.unfinished()
        self.router.number = (
            max([*self._last_numbers.values(), *(number for _, number, _ in unfinished), self.router.number]) + 1
        )
        left = 0
        for handle, number, parts in unfinished:
            missing = [(shard, envelope) for shard, envelope in parts if number > self._last_numbers[shard]]
            if not missing:
                self.intents.close(handle)
                continue
            left += 1
            done = _Countdown(len(missing), partial(self.intents.close, handle))
            for shard, envelope in missing:
                if shard in self._given_up:
                    done()
                else:  # a shard that is down gets it when it is back, before anything else
                    self.router.complete_intent(shard, number, envelope, Answer(done))
        if unfinished:
            logger.warning(
                "%d writes over several shards were under way when the last frontend died; "
                "%d had parts missing, which are executed now",
                len(unfinished),
                left,
            )
            self.block.count("intents_completed", left)
        self._recovered = True
        self.router.note_links()
        self.router.flush_soon()
        self.loop.create_task(self._serve())

    # -- serving and stopping ------------------------------------------------------------------------------------------

    def _note_start(self) -> None:
        """With the server itself: nothing to recover."""
        self.router.seconds = time.time()
        if self.epoch == 1:
            self._recovered = True
            self.loop.create_task(self._serve())

    async def run(self, listeners: list[int]) -> None:
        self._listeners = listeners
        self.loop.set_exception_handler(self._callback_failed)
        self._note_start()
        self.loop.add_reader(self.channel.fileno(), self.listen_to_supervisor)
        self.loop.add_reader(self._bell, self._bell_rang)
        self._tick()
        await self.stopped.wait()

    async def _serve(self) -> None:
        for fd in self._listeners:
            sock = socket.socket(fileno=fd)
            sock.setblocking(False)
            if sock.family == socket.AF_UNIX:
                server = await self.loop.create_unix_server(self._accept, sock=sock, backlog=self.config.tcp_backlog)
            else:
                server = await self.loop.create_server(self._accept, sock=sock, backlog=self.config.tcp_backlog)
            self._servers.append(server)
        self.block.enter(State.READY)
        gc.collect()
        gc.freeze()
        self.saver.remove_abandoned()
        self.channel.send("serving")

    def shut_down_soon(
        self, *, save: bool | None, force: bool = False, on_failure: Callable[[CommandError], None] | None = None
    ) -> None:
        """Stop in order. `save`: True, False, or None = if there are save points."""
        if not self.stopping:
            self.stopping = True
            task = self.loop.create_task(self._shut_down(save, force, on_failure))
            self.tasks.add(task)

    async def _shut_down(
        self, save: bool | None, force: bool, on_failure: Callable[[CommandError], None] | None
    ) -> None:
        self.channel.send("stopping")
        self.block.enter(State.STOPPING)
        self.pause(3_600_000, everything=True)
        wanted = bool(self.config.save) if save is None else save
        if save is None and self.router.shards_down and not self.dirty():
            wanted = False  # stopped while it loads: there is nothing that the snapshot has not
        if wanted:
            try:
                if self.router.shards_down:
                    raise SaveFailed("a shard is down: the old snapshot stays")
                logger.info("Saving the final RDB snapshot before exiting.")
                await self.saver.save_now()
            except SaveFailed as error:
                logger.critical("Error trying to save the DB: %s", error)
                if not force:
                    self._stay(str(error), on_failure)
                    return
        for shard, link in enumerate(self.links):
            if link.up:
                self.router.control(shard, CONTROL_NUMBERS["stop"], [], Answer(lambda *_: None))
                link.flush_now()
        for server in self._servers:
            server.close()
        for conn in list(self.clients.values()):
            conn.kill()
        await asyncio.sleep(0.05)
        self.stopped.set()

    def _stay(self, reason: str, on_failure: Callable[[CommandError], None] | None) -> None:
        """Not saved, so not stopped: nothing is lost without anybody's word."""
        self.stopping = False
        self.block.enter(State.READY)
        self.unpause()
        self.channel.send("stop-refused", reason=reason)
        if on_failure is not None:
            on_failure(CommandError("ERR Errors trying to SHUTDOWN. Check logs."))


class _Countdown:
    """Calls back when it was called so many times."""

    def __init__(self, count: int, callback: Callable[[], None]) -> None:
        self._left = count
        self._callback = callback

    def __call__(self, *_: Any) -> None:
        self._left -= 1
        if self._left == 0:
            self._callback()


def _resolver(future: asyncio.Future[Any]) -> Callable[[int | None, bytes], None]:
    """Puts an answer into a future."""

    def resolve(kind: int | None, reply: bytes) -> None:
        if not future.done():
            future.set_result(errors.LOADING if kind is None else decode(reply)[0])

    return resolve


def _wrong_arity(spec: Command, words: Sequence[bytes]) -> CommandError:
    """DEBUG is no container in Redis: it looks at its words itself."""
    if spec.flags & Flag.PROTECTED and len(words) > 1:
        return errors.subcommand_syntax("debug", words[1])
    return errors.wrong_arity(spec.name)


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def _address(sock: socket.socket, *, peer: bool) -> str:
    if sock.family == socket.AF_UNIX:
        with contextlib.suppress(OSError):
            return f"{sock.getsockname()}:0"
        return "unixsocket:0"
    try:
        name = sock.getpeername() if peer else sock.getsockname()
    except OSError:
        return "?:0"
    return f"[{name[0]}]:{name[1]}" if sock.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


def _refuse_at_run_time(_value: Any) -> None:
    raise ValueError("the listening sockets can't be changed while the server runs: restart it")


def _provide_descriptors(clients: int) -> None:
    """Have the kernel allow this process so many clients; ValueError if it does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = clients + OWN_DESCRIPTORS
    if needed <= soft:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(hard, needed)))
    except (OSError, ValueError):
        reason = "The operating system is not able to handle the specified number of clients"
        raise ValueError(f"{reason}, try with {hard - OWN_DESCRIPTORS}") from None


def _keep_alive(sock: socket.socket, seconds: int) -> None:
    """As Redis does: probes at a third of the interval, three of them."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, seconds // 3))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def main(argv: list[str]) -> int:
    """``python -m mpkv.frontend.main CONTROL_FD SEGMENT_FD PARENT EPOCH LISTENER_FD …``"""
    control_fd, segment_fd, parent, epoch, *listeners = map(int, argv)
    process.follow_parent(parent)
    process.give_memory_back()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel.inherited(control_fd)
    setup = channel.wait(10)
    config = Config.from_json(setup["config"].encode())
    process.set_title("frontend", config)
    logs.set_up("F", config)

    async def serve() -> None:
        frontend = Frontend(channel, Segment.attach(segment_fd), config, setup, epoch)
        frontend.block.begin()
        frontend.catch_up(setup["changed"])
        try:
            _provide_descriptors(config.maxclients)
        except ValueError as error:
            logger.warning("maxclients %d: %s", config.maxclients, error)
        # The supervisor's death arrives as SIGTERM, and over the channel
        frontend.loop.add_signal_handler(signal.SIGTERM, lambda: frontend.shut_down_soon(save=None, force=True))
        await frontend.run(listeners)

    uvloop.run(serve())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
