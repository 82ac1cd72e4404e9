"""The frontend process: accepts connections, admits and sequences commands, routes them, merges replies. It owns no
keys.

`Frontend` puts its parts together; each stands in a module of its own. What one part asks of another, and what handlers
and connections ask of them, goes over `Frontend`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from typing import Any, Final

import msgspec
import uvloop

from mpkv import logs, process
from mpkv.commands import spec as commands
from mpkv.config import Config
from mpkv.control import Channel, Closed, Message
from mpkv.crash import report as crash_report
from mpkv.frontend import transactions
from mpkv.frontend.connection import Connection
from mpkv.frontend.dispatcher import Dispatcher
from mpkv.frontend.intents import IntentRing
from mpkv.frontend.limits import Limits
from mpkv.frontend.link import Clock, Link, LinkFault
from mpkv.frontend.listener import Listener, provide_descriptors
from mpkv.frontend.memory import MemoryWatch
from mpkv.frontend.pausing import Pausing
from mpkv.frontend.pubsub import Registry
from mpkv.frontend.questions import Questions
from mpkv.frontend.recovery import Recovery
from mpkv.frontend.router import Router
from mpkv.frontend.saving import SaveFailed, Saver
from mpkv.frontend.sessions import Sessions
from mpkv.frontend.settings import Settings
from mpkv.frontend.shutdown import Shutdown
from mpkv.frontend.slow_commands import SlowCommands
from mpkv.frontend.waiting import Waiting
from mpkv.metrics import memory
from mpkv.metrics.info import render as render_info
from mpkv.metrics.source import BoardSource, Reading
from mpkv.shm.blobs import Pool
from mpkv.shm.board import Block, Board
from mpkv.shm.layout import FIRST_WORKER, FRONTEND
from mpkv.shm.segment import Segment

logger = logging.getLogger(__name__)

#: Number on the board -> attribute of a link; the board has the sum over all links.
LINK_TOTALS: Final = {
    "link_out_bytes": "sent_bytes", "link_in_bytes": "received_bytes", "link_out_batches": "batches_out",
    "link_in_batches": "batches_in", "link_discarded": "discarded",
}  # fmt: skip
LINK_GAUGES: Final = {
    "inflight_bytes": "in_flight_bytes", "pending_commands": "waiting", "link_queue_bytes": "queue_bytes",
}  # fmt: skip

#: How old the frontend's numbers on the board are at most; INFO has them brought up to date.
PUBLISH_S: Final = 0.5


class Frontend:
    """All state of the process; handlers reach it as ``conn.server``."""

    def __init__(
        self, channel: Channel, segment: Segment, config: Config, setup: Message, *, epoch: int, listeners: list[int]
    ) -> None:
        self.channel = channel
        self.segment = segment
        self.config = config
        self.epoch = epoch
        self.board = Board(segment)
        self.block = self.board.frontend
        self.source = BoardSource(segment, config)
        self.shards = segment.shape.workers
        self.table = commands.load()
        self.loop = asyncio.get_running_loop()
        self._bell: int = setup["bell"]
        self._supervisors_report: int = setup["supervisors_report"]
        self.clients: dict[int, Connection] = {}
        self.tasks: set[asyncio.Task[Any]] = set()
        self._number_at_tick = 0
        self._published = 0.0
        self.in_transaction: transactions.Here | None = None  #: for which a handler is being called
        self.intents = IntentRing(segment.area("intents"), setup["runtime"], enabled=not config.debug_disable_intents)
        self._oldest_intent = (0, 0.0)  # its number, and since when it is the oldest
        self.pages = self._own_pages()
        clock = Clock()
        self.links = [
            Link(
                shard, clock, self._take_event, config.worker_max_inflight, self.pages, config.large_value
            ) for shard in range(self.shards)
        ]  # fmt: skip
        workers = [Block(segment, FIRST_WORKER + shard) for shard in range(self.shards)]
        self.router = Router(
            self.loop, self.table, self.links, self.intents, self.block, MemoryWatch(workers), self.pages,
            config.large_value,
        )  # fmt: skip
        self.pubsub = Registry()
        self.slow = SlowCommands(config, self.block, self.router)
        self.saver = Saver(self)
        self.listener = Listener(self, listeners)
        self.sessions = Sessions(self)
        self.limits = Limits(self)
        self.pausing = Pausing(self)
        self.dispatcher = Dispatcher(self)
        self.waiting = Waiting(self)
        self.questions = Questions(self)
        self.settings = Settings(self)
        self.recovery = Recovery(self)
        self.shutdown = Shutdown(self)
        self._show_to_connections()
        self._show_to_handlers()
        self.settings.follow()
        self.settings.catch_up(setup["changed"])

    def _own_pages(self) -> Pool | None:
        """For large requests; they are read by workers that have found the place in a ring."""
        if not self.config.link_rings or not self.config.large_value_pool:
            return None
        pages = Pool(self.segment, 0)
        pages.own()
        pages.reset(self.epoch)
        pages.listen(self.epoch)
        return pages

    def _show_to_connections(self) -> None:
        """What compiled code calls as ``server.…``."""
        self.opened = self.listener.opened
        self.closed = self.sessions.closed
        self.perform = self.dispatcher.perform
        self.protocol_error = self.sessions.protocol_error
        self.outcome_unknown = self.sessions.outcome_unknown
        self.query_buffer_exceeded = self.limits.query_buffer_exceeded
        self.output_backed_up = self.limits.output_backed_up
        self.blocked = self.waiting.blocked
        self.blocked_in_vain = self.waiting.blocked_in_vain
        self.unblocked = self.waiting.unblocked

    def _show_to_handlers(self) -> None:
        """What handlers and gates call as ``conn.server.…``, whichever part does it."""
        self.call = self.dispatcher.call
        self.is_local = self.sessions.is_local
        self.update_plain = self.sessions.update_plain
        self.update_hold = self.pausing.update_hold
        self.authenticate = self.sessions.authenticate
        self.reset = self.sessions.reset
        self.quit = self.sessions.quit
        self.kill = self.sessions.kill
        self.set_reply_mode = self.sessions.set_reply_mode
        self.subscriptions_changed = self.sessions.subscriptions_changed
        self.begin_transaction = self.sessions.begin_transaction
        self.execute_transaction = self.sessions.execute_transaction
        self.discard_transaction = self.sessions.discard_transaction
        self.watch = self.sessions.watch
        self.unwatch = self.sessions.unwatch
        self.unblock_client = self.waiting.unblock_client
        self.pause = self.pausing.begin
        self.unpause = self.pausing.end
        self.settings_changed = self.settings.changed
        self.ask_shards = self.questions.ask_shards
        self.digest = self.questions.digest
        self.reload = self.questions.reload
        self.explain = self.questions.explain
        self.segfault = self.questions.segfault
        self.shut_down = self.shutdown.on_request

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
        self._relieve_intents()
        self.limits.check()
        self._note_memory_peak()
        if time.monotonic() - self._published >= PUBLISH_S:
            self.publish()
        self.source.sample()
        if self.recovery.done and not self.shutdown.under_way:
            self.saver.tick()
        self.pausing.end_if_due()

    def _relieve_intents(self) -> None:
        """What has stood in the ring for longer than a tick makes room, if room is getting short."""
        try:
            self.intents.relieve(self._number_at_tick)
        except OSError as error:
            logger.warning("Writes under way stay in the intent ring, which is filling up: %s", error)
        self._number_at_tick = self.router.number

    def publish(self) -> None:
        """Bring this process's block of the board up to date."""
        self._published = time.monotonic()
        block = self.block
        block.put("connected_clients", len(self.clients))
        block.put("blocked_clients", len(self.waiting.clients))
        block.put(
            "clients_in_timeout_table",
            sum(1 for conn in self.waiting.clients.values() if conn.blocked_on[2] is not None),
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
        block.put("large_pages_bytes", 0 if self.pages is None else self.pages.used_bytes)
        self.router.publish_links()
        self._publish_oldest_intent()
        self.limits.publish()
        self._note_memory_peak()

    def _note_memory_peak(self) -> None:
        """Of all shards together, which have it at different times."""
        used = self.board.total("used_memory")
        if used > self.block.counter("used_memory_peak"):
            self.block.put("used_memory_peak", used)

    def _publish_oldest_intent(self) -> None:
        number = self.intents.oldest_number
        if number != self._oldest_intent[0]:
            self._oldest_intent = (number, time.monotonic())
        age_ms = int((time.monotonic() - self._oldest_intent[1]) * 1000) if number else 0
        self.block.put("intents_oldest_ms", age_ms)

    def dirty(self) -> int:
        """Changes since the last snapshot."""
        return int(self.board.total("dirty"))

    def commands_since_reset(self) -> dict[str, Any]:
        """What LATENCY HISTOGRAM shows: of every command that was called what the board knows."""
        return self.board.commands_since_reset()

    def reset_statistics(self) -> None:
        """CONFIG RESETSTAT."""
        self.publish()
        self.board.reset()

    def info(self, sections: list[str]) -> str:
        self.publish()
        return render_info(self.source, sections)

    def memory_statistics(self) -> dict[bytes, Any]:
        """MEMORY STATS."""
        self.publish()
        return memory.statistics(Reading(self.source, since_reset=False))

    def memory_report(self) -> str:
        """MEMORY DOCTOR."""
        self.publish()
        return memory.report(Reading(self.source, since_reset=False))

    async def save(self) -> bool:
        """SAVE: whether it was done."""
        try:
            await self.saver.start()
        except SaveFailed:
            return False
        return True

    def listen_to_supervisor(self) -> None:
        """Messages that have come over the control channel."""
        try:
            messages = self.channel.receive()
        except Closed:
            self.loop.remove_reader(self.channel.fileno())
            logger.warning("The supervisor is gone: shutting down")
            crash_report.log(crash_report.take(self._supervisors_report), "S", self.board.supervisor.pid)
            self.shutdown.begin(save=None, force=True)
            return
        for message in messages:
            self._obey(message)

    def stop_if_orphaned(self, parent: int) -> None:
        """SIGTERM: the supervisor has died, or a service manager has sent it to every process there is. Then the
        supervisor has it too, and decides."""
        if os.getppid() != parent:
            self.shutdown.begin(save=None, force=True)

    def _obey(self, message: Message) -> None:
        kind = message["kind"]
        if kind == "up":
            self.recovery.link_up(message)
        elif kind == "down":
            self.recovery.link_down(message["shard"], message["last_number"], for_good=message["for_good"])
        elif kind == "stop":
            self.shutdown.begin(save=message["save"], force=message["force"])
        elif kind == "reopen-log":
            logs.reopen()

    def _callback_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback raised. Where that leaves open which reply belongs to whom, or what was recovered, a new frontend
        begins anew."""
        error = context.get("exception")
        if self.recovery.done and not isinstance(error, LinkFault):
            loop.default_exception_handler(context)
            return
        logger.critical("The frontend cannot go on: %s", context.get("message"), exc_info=error)
        sys.stderr.flush()
        signal.raise_signal(signal.SIGKILL)

    def _take_event(self, link: Link, payload: bytes) -> None:
        """News of a worker's own."""
        news = msgspec.json.decode(payload)
        if news["event"] in ("snapshot", "joined"):
            self.saver.take_news(link.shard, news)
        elif news["event"] == "latency":
            self.slow.note_event(news["name"], news["ms"])

    async def run(self) -> None:
        self.loop.set_exception_handler(self._callback_failed)
        self.router.seconds = time.time()
        if self.epoch == 1:
            self.recovery.nothing_to_recover()
        self.loop.add_reader(self.channel.fileno(), self.listen_to_supervisor)
        self.loop.add_reader(self._bell, self.router.bell_rang, self._bell)
        self._tick()
        await self.shutdown.done.wait()


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
    segment = Segment.attach(segment_fd)
    crash_report.prepare(setup["report"], Block(segment, FRONTEND), "frontend", config)

    async def serve() -> None:
        frontend = Frontend(channel, segment, config, setup, epoch=epoch, listeners=listeners)
        frontend.block.begin()
        try:
            provide_descriptors(config.maxclients)
        except ValueError as error:
            logger.warning("maxclients %d: %s", config.maxclients, error)
        frontend.loop.add_signal_handler(signal.SIGTERM, lambda: frontend.stop_if_orphaned(parent))
        await frontend.run()

    uvloop.run(serve())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
