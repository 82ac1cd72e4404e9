"""A worker process: owns one shard. Loads it, then runs batches until told to stop.

The loop blocks on its link; the frontend's ticks, ten a second, bring the time and are the pulse of everything
periodic. Only when they stay away – the frontend is gone – does the time-out of the receive take their place, so that
the supervisor is heard.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from mpkv import logs, process
from mpkv.commands import spec
from mpkv.commands.across import merge_packed
from mpkv.config import Config
from mpkv.control import Channel, Closed, Message
from mpkv.crash import report as crash_report
from mpkv.metrics.slowlog import noted_from_ns
from mpkv.resp.replies import OK, Raw
from mpkv.shm.blobs import Pool
from mpkv.shm.board import Block
from mpkv.shm.layout import FIRST_WORKER, FRONTEND, State
from mpkv.shm.ring import Ring
from mpkv.shm.segment import Segment
from mpkv.snapshot.child import fork_child, write_inline
from mpkv.snapshot.damage import SnapshotDamaged
from mpkv.snapshot.join import Part, PartResult, join_parts
from mpkv.snapshot.reader import load
from mpkv.types import allocator, siphash, table, zset
from mpkv.types import hash as hashes
from mpkv.types import list as lists
from mpkv.types import set as sets
from mpkv.wire import CONTROLS
from mpkv.workers import debugging
from mpkv.workers.blocking import Waiters
from mpkv.workers.evict import Evictor
from mpkv.workers.execute import INTERNAL_ERROR, Executor
from mpkv.workers.expire import ExpireCycle, budget_us, share_of_time
from mpkv.workers.keyspace import Keyspace
from mpkv.workers.link import Rings, WorkerLink
from mpkv.workers.loop import serve

logger = logging.getLogger(__name__)

#: How long a receive waits: the rhythm in which the supervisor is listened to while no frontend ticks.
RECEIVE_MS: Final = 100
#: The same while a snapshot child's end is waited for.
SAVING_RECEIVE_MS: Final = 5
#: The same while a cycle of expiry has been cut off and may soon go on.
EXPIRING_RECEIVE_MS: Final = 3
#: The pulse comes with the first batch after so many seconds, or a little sooner than `hz` times a second: that is with
#: every tick of the frontend.
PULSE_S: Final = 0.09
#: The same while a snapshot's end is waited for.
SAVING_PULSE_S: Final = 0.02
#: How long commands wait at most while memory is freed.
TIDY_US: Final = 500
#: How long shared pages stay after a burst of large replies.
GIVE_BACK_S: Final = 1.0
#: Without supervisor: a frontend whose heart has not beaten for so long does not count as alive.
ORPHAN_SECONDS: Final = 10.0


class Worker:
    """One shard's process."""

    def __init__(
        self, channel: Channel, segment: Segment, config: Config, shard: int, incarnation: int, *,
        bell: int,
    ) -> None:
        self.channel = channel
        self.segment = segment
        self.config = config
        self.shard = shard
        self.shards = segment.shape.workers
        self.block = Block(segment, FIRST_WORKER + shard)
        siphash.seed(segment.hash_seed)
        self.keyspace = Keyspace(config.databases, shard, self.shards)
        self.databases = [self.keyspace.database(index) for index in range(config.databases)]
        self.waiters = Waiters(self.keyspace, self.databases)
        rings = Rings(Ring(segment, 2 * shard), Ring(segment, 2 * shard + 1), bell) if config.link_rings else None
        self.link = WorkerLink(rings, ignore_epoch=config.debug_ignore_epoch)
        self.evictor = Evictor(self.keyspace, [Block(segment, FIRST_WORKER + number) for number in range(self.shards)])
        self.pages = self._own_pages()
        self.executor = Executor(
            self.keyspace, self.databases, spec.load(), self.block, self.link.send, self._control, self.waiters,
            self.evictor, self.pages, None if self.pages is None else Pool(segment, 0), config.large_value,
        )  # fmt: skip
        self.expire_cycle = ExpireCycle(self.keyspace)
        self.incarnation = incarnation
        self._child: Any = None
        self._child_started = 0.0
        self._join: threading.Thread | None = None
        self._joined: bytes | None = None
        self._stopping = False
        self._orphaned = False
        self._last_pulse = 0.0
        self._last_give_back = 0.0
        self._controls = {
            "hello": self._hello, "unblock": self._unblock, "watch": self._watch, "unwatch": self._unwatch,
            "snapshot": self._snapshot, "join": self._join_parts, "config": self._configure, "stop": self._stop,
            "debug": self._debug, "reload": self._reload, "saved": self._saved,
            "merge": self._merge,
        }  # fmt: skip
        self.apply_settings()

    def _own_pages(self) -> Pool | None:
        """For large replies; the frontend has found the place in a ring."""
        if not self.config.link_rings or not self.config.large_value_pool:
            return None
        pages = Pool(self.segment, 1 + self.shard)
        pages.own()
        return pages

    def apply_settings(self) -> None:
        """Settings that the store follows."""
        config = self.config
        self._pulse_s = min(PULSE_S, 0.9 / config.hz)
        effort = config.active_expire_effort
        self._expiry_limits = budget_us(config.hz, effort), share_of_time(effort)
        hashes.set_limits(config.hash_max_listpack_entries, config.hash_max_listpack_value)
        sets.set_limits(config.set_max_intset_entries, config.set_max_listpack_entries, config.set_max_listpack_value)
        zset.set_limits(config.zset_max_listpack_entries, config.zset_max_listpack_value)
        lists.set_limits(config.list_max_listpack_size)
        keyspace = self.keyspace
        self._set_recency(keyspace)
        keyspace.lazy_expire = config.lazyfree_lazy_expire
        keyspace.lazy_eviction = config.lazyfree_lazy_eviction
        keyspace.lazy_server_del = config.lazyfree_lazy_server_del
        keyspace.lazy_user_del = config.lazyfree_lazy_user_del
        keyspace.lazy_user_flush = config.lazyfree_lazy_user_flush
        self.evictor.configure(
            config.maxmemory, config.maxmemory_policy, config.maxmemory_samples, config.maxmemory_eviction_tenacity
        )
        self.executor.noted_from_ns = noted_from_ns(config)
        self.block.tracking = int(config.latency_tracking)
        crash_report.apply_settings(config)

    def _set_recency(self, keyspace: Keyspace) -> None:
        policy = self.config.maxmemory_policy
        keyspace.set_recency(
            frequency=policy.endswith("lfu"), age=policy.endswith("lru"), log_factor=self.config.lfu_log_factor,
            decay_minutes=self.config.lfu_decay_time,
        )  # fmt: skip

    # -- start ---------------------------------------------------------------------------------------------------------

    def load(self) -> bool:
        """Fill the shard from the snapshot; False if it is damaged, which the supervisor is told."""
        path = Path(self.config.dir) / self.config.dbfilename
        self.block.enter(State.LOADING)
        self.keyspace.now_ms = int(time.time() * 1000)
        if not path.parent.is_dir():  # nothing is known of what was in it
            self.channel.send("damaged", reason=f"{path.parent} is no directory any more")
            return False
        if not path.exists():
            return True
        started = time.monotonic()
        self.block.put("load_started_ms", self.keyspace.now_ms)
        self.block.put("load_total_bytes", path.stat().st_size)
        try:
            result = load(path, self.keyspace, self.shard, self.shards, self.keyspace.now_ms, self._load_progress)
        except (SnapshotDamaged, OSError, MemoryError) as error:
            self.channel.send("damaged", reason=str(error))
            return False
        for warning in result.warnings:
            logger.warning("%s: %s", path, warning)
        self.block.put("load_keys_loaded", result.keys_loaded)
        self.block.put("load_keys_expired", result.keys_expired)
        self.block.put("load_duration_ms", int((time.monotonic() - started) * 1000))
        self.block.put("load_started_ms", 0)
        self.keyspace.dirty = 0
        logger.info(
            "Shard %d: %d keys loaded from %s in %.3f seconds (%d had expired)",
            self.shard, result.keys_loaded, path, time.monotonic() - started, result.keys_expired,
        )  # fmt: skip
        return True

    def _load_progress(self, done_bytes: int, *_: Any) -> None:
        self.block.put("load_loaded_bytes", done_bytes)
        self.block.heartbeat()

    # -- the loop ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Receive, execute, answer; until told to stop."""
        tidies = False
        while not self._stopping:
            served = serve(self.link, self.executor, 0 if tidies else self._patience_ms(), self._until())
            tidies = self._tidy()
            if self.expire_cycle.goes_on() and self._child is None:
                self._expire()
            if not served or time.monotonic() >= self._pulse_due():
                self._last_pulse = time.monotonic()
                self._pulse()
        self._end_child()
        self.executor.flush()
        self.link.close()

    def _until(self) -> float:
        """When there is something else to do than to run batches."""
        # The thread that joins parts has its turns between two batches, and a cycle of expiry the rest of its work
        if self._join is not None or self.expire_cycle.has_more:
            return 0.0
        return self._pulse_due()

    def _pulse_due(self) -> float:
        saves = self._child is not None or self._join is not None
        return self._last_pulse + (SAVING_PULSE_S if saves else self._pulse_s)

    def _patience_ms(self) -> int:
        """How long to wait for a batch."""
        if self.expire_cycle.has_more and self._child is None:
            return EXPIRING_RECEIVE_MS
        return RECEIVE_MS if self._child is self._join is None else SAVING_RECEIVE_MS

    def _tidy(self) -> bool:
        """Go on freeing what was deleted, make room, and give memory back, for a moment; whether there is more to do
        at once.

        While a snapshot child lives what is deleted stays: each page that is given back would be copied for it.
        """
        lazy, over = self.keyspace.lazy, self.evictor.is_over
        if self._child is not None and not over:
            return False
        if lazy.count or over:
            if lazy.count and lazy.run(TIDY_US):
                return True
            evicted = self.keyspace.evicted
            self.evictor.make_room()
            self.executor.publish()
            if self.keyspace.evicted != evicted:
                return True
        return allocator.trim()

    def _pulse(self) -> None:
        """What is due from time to time."""
        self.block.heartbeat()
        self._listen()
        self._expire()
        self.evictor.look_around()
        self._give_pages_back()
        if self._child is None:
            allocator.decay()
        self._look_after_child()
        self.publish()
        self.executor.flush()

    def _give_pages_back(self) -> None:
        now = time.monotonic()
        if self.pages is not None and now - self._last_give_back >= GIVE_BACK_S:
            self._last_give_back = now
            self.pages.give_back()

    def _expire(self) -> None:
        before_ns = self.expire_cycle.nanoseconds
        self.expire_cycle.run(*self._expiry_limits)
        self._note_latency("expire-cycle", (self.expire_cycle.nanoseconds - before_ns) // 1_000_000)

    def _note_latency(self, event: str, ms: int) -> None:
        """Tell the latency monitor what has held this shard up, if that was too long."""
        if self.config.latency_monitor_threshold and ms >= self.config.latency_monitor_threshold:
            self._tell(msgspec.json.encode({"event": "latency", "name": event, "ms": ms}))

    def _tell(self, news: bytes) -> None:
        """Send the frontend what it did not ask for, if it is there: before its first batch of this link nobody listens
        yet, and a batch of ours that got lost would be a gap in their numbers."""
        if self.link.received:
            self.executor.event(news)

    def publish(self) -> None:
        """Bring the board up to date."""
        self.executor.publish()
        block, cycle, evictor = self.block, self.expire_cycle, self.evictor
        block.put("expired_stale_permyriad", int(cycle.expired_stale_perc * 100))
        block.put_total("expired_time_cap_reached", cycle.expired_time_cap_reached)
        block.put_total("expire_cycle_nanoseconds", cycle.nanoseconds)
        evictor.note_time()
        block.put_total("eviction_exceeded_ms", evictor.exceeded_ms)
        block.put("eviction_exceeding_ms", evictor.exceeding_ms)
        block.put_total("link_discarded", self.link.discarded)
        if self.pages is not None:
            block.put("large_pages_bytes", self.pages.used_bytes)

    def _listen(self) -> None:
        """What the supervisor has to say."""
        if not self._orphaned:
            try:
                for message in self.channel.receive():
                    self._obey(message)
            except Closed:
                logger.warning("The supervisor is gone; waiting for the frontend's last words")
                self._orphaned = True
        elif not self._frontend_lives():
            self._stopping = True

    def _frontend_lives(self) -> bool:
        """Whether there is a frontend that will say when to stop: it may be saving, which takes its time."""
        frontend = Block(self.segment, FRONTEND)
        return process.is_alive(frontend.pid) and frontend.heartbeat_age_ms < ORPHAN_SECONDS * 1000

    def _obey(self, message: Message) -> None:
        if message["kind"] == "link":
            self._end_child()  # nobody waits for that snapshot any more
            self.link.listen(message["endpoint"], message["epoch"], self.incarnation)
            if self.pages is not None:
                self.pages.listen(message["epoch"] << 32 | self.incarnation)
            self.executor.start_epoch(message["epoch"])
            # clients of an earlier frontend are gone, and so is what they waited for and watched
            for number in self.waiters.numbers():
                self.waiters.remove(number)
            self.keyspace.watched.clear()
            self.keyspace.dirty_clients.clear()
            self.channel.send("linked", epoch=message["epoch"])
        elif message["kind"] == "reopen-log":
            logs.reopen()
        elif message["kind"] == "stop":
            self._stopping = True

    # -- the frontend's own messages -----------------------------------------------------------------------------------

    def _control(self, message: int, words: list[bytes], number: int, client: int) -> Any:
        return self._controls[CONTROLS[message]](words)

    def _hello(self, words: list[bytes]) -> int:
        """The last number executed."""
        return max(int(self.executor.last_number), self.block.last_number)

    def _unblock(self, words: list[bytes]) -> int:
        ended = self.waiters.end(int(words[0]), words[1].decode())
        if ended is None:
            return 0
        waiter, value = ended
        self.executor.late(waiter, value, counts=words[1] != b"gone")
        return 1

    def _watch(self, words: list[bytes]) -> Any:
        self.executor.watch(int(words[0]), int(words[1]), words[2:])
        return OK

    def _unwatch(self, words: list[bytes]) -> Any:
        self.executor.unwatch(int(words[0]))
        return OK

    def _configure(self, words: list[bytes]) -> Any:
        pairs = [word.decode("utf-8", "surrogateescape") for word in words]
        # The frontend has asked whether the client may; what it accepted is followed
        self.config.set(list(zip(pairs[::2], pairs[1::2], strict=True)), local=True)
        logs.set_level(self.config.loglevel)
        self.apply_settings()
        return OK

    def _stop(self, words: list[bytes]) -> Any:
        self._stopping = True
        return OK

    def _debug(self, words: list[bytes]) -> Any:
        return debugging.run(self, words)

    def _reload(self, words: list[bytes]) -> Any:
        self.keyspace.flush()
        path = Path(self.config.dir) / self.config.dbfilename
        load(path, self.keyspace, self.shard, self.shards, self.keyspace.now_ms, self._load_progress)
        self.keyspace.dirty = self.executor.saved_dirty = 0
        self.publish()
        return OK

    # -- snapshots -----------------------------------------------------------------------------------------------------

    def _snapshot(self, words: list[bytes]) -> Any:
        """Write this shard as it stands now to a file: in a child (the news follow as an event), or here (they are the
        answer)."""
        mode, path = words[0], Path(os.fsdecode(words[1]))
        self._dirty_at_snapshot = self.keyspace.dirty
        if mode == b"stand-in":
            return self._write_for(int(words[2]), path)
        if mode == b"inline":
            return self._write_here(self.keyspace, path)
        if self._child is not None:
            return b"busy"
        self._share_memory(True)
        try:
            self._child = fork_child(self.keyspace, path, f"mpkv-save-{self.shard}")
        except OSError as error:
            self._share_memory(False)
            return str(error).encode()
        self._child_started = time.monotonic()
        self.block.count("forks")
        self.block.put("fork_microseconds", self._child.fork_usec)
        self._note_latency("fork", self._child.fork_usec // 1000)
        self.block.enter(State.SAVING)
        process.set_title(f"worker {self.shard} (saving)", self.config)
        return OK

    def _write_for(self, shard: int, path: Path) -> bytes:
        """Write the part of a shard that has no worker any more: what the last snapshot has of it."""
        source = Path(self.config.dir) / self.config.dbfilename
        keyspace = Keyspace(self.config.databases, shard, self.shards)
        keyspace.now_ms = self.keyspace.now_ms
        self._set_recency(keyspace)
        try:
            if source.exists():
                load(source, keyspace, shard, self.shards, keyspace.now_ms, lambda *_: self.block.heartbeat())
        except (SnapshotDamaged, OSError, MemoryError) as error:
            return str(error).encode()
        return self._write_here(keyspace, path)

    def _write_here(self, keyspace: Keyspace, path: Path) -> bytes:
        """Write a part without a child, since nobody is served any more; what stands against it is the answer."""
        started = time.monotonic()
        try:
            result = write_inline(keyspace, path)
        except OSError as error:
            return str(error).encode()
        return self._result(result, 0, time.monotonic() - started)

    def _share_memory(self, shared: bool) -> None:
        """While a child lives, whatever need not move stays where it is."""
        self.keyspace.snapshot_running = shared
        table.keep_still(shared)

    def _end_child(self) -> None:
        """Stop a snapshot that nobody wants any more; its part goes."""
        if self._child is not None:
            self._child.kill()
            self._forget_child()

    def _forget_child(self) -> None:
        self._child = None
        self._share_memory(False)
        self.block.enter(State.READY)
        process.set_title(f"worker {self.shard}", self.config)

    def _look_after_child(self) -> None:
        if self._child is not None:
            result = self._child.try_collect()
            if result is not None:
                fork_usec = self._child.fork_usec
                self._child.close()
                self._forget_child()
                self.block.put("cow_last_bytes", result.private_dirty_bytes)
                self._tell(self._result(result, fork_usec, time.monotonic() - self._child_started))
        if self._join is not None and not self._join.is_alive():
            self._join.join()
            self._join = None
            assert self._joined is not None
            self._tell(self._joined)

    def _result(self, result: PartResult, fork_usec: int, seconds: float) -> bytes:
        part = result.part
        return msgspec.json.encode({
            "event": "snapshot", "error": result.error, "signal": result.signal, "path": str(part.path),
            "keys": part.keys, "size_bytes": part.size_bytes, "crc64": part.crc64,
            "cow_bytes": result.private_dirty_bytes, "fork_usec": fork_usec, "seconds": seconds,
            "dirty": self._dirty_at_snapshot,
        })  # fmt: skip

    def _join_parts(self, words: list[bytes]) -> Any:
        """Join all shards' parts: the kernel copies, so a thread does not hold the shard up. The news follow
        as an event."""
        request = msgspec.json.decode(words[0])
        parts = [Part(Path(part["path"]), part["keys"], part["size_bytes"], part["crc64"]) for part in request["parts"]]

        def join() -> None:
            try:
                joined = join_parts(
                    parts, Path(request["path"]), server_version=request["server_version"],
                    created_at_s=request["created_at_s"], used_memory_bytes=request["used_memory_bytes"],
                    with_checksum=request["with_checksum"],
                )  # fmt: skip
                self._joined = msgspec.json.encode({"event": "joined", "error": "", "size_bytes": joined.size_bytes})
            except OSError as error:
                self._joined = msgspec.json.encode({"event": "joined", "error": str(error), "size_bytes": 0})

        self._join = threading.Thread(target=join, name="join")
        self._join.start()
        return OK

    def _merge(self, words: list[bytes]) -> Any:
        """Make one reply of those of several shards, which are large: the frontend has other clients to serve."""
        try:
            return Raw(merge_packed(words, self.executor.specs))
        except Exception:
            logger.critical("a merge failed", exc_info=True)
            return INTERNAL_ERROR

    def _saved(self, words: list[bytes]) -> Any:
        self.executor.saved_dirty = int(words[0])
        self.publish()
        return OK


def main(argv: list[str]) -> int:
    """``python -m mpkv.workers.main CONTROL_FD SEGMENT_FD PARENT SHARD INCARNATION``"""
    control_fd, segment_fd, parent, shard, incarnation = map(int, argv)
    process.follow_parent(parent)
    process.give_memory_back()
    process.run_in_batches()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whether to stop decides the frontend, or the supervisor; a SIGTERM says that the latter has died, which its
    # channel says too
    signal.signal(signal.SIGTERM, lambda *_: None)
    channel = Channel.inherited(control_fd)
    setup = channel.wait(10)
    config = Config.from_json(setup["config"].encode())
    if config.disable_thp:
        process.disable_huge_pages()
    process.set_title(f"worker {shard}", config)
    logs.set_up(f"W{shard}", config)
    segment = Segment.attach(segment_fd)
    crash_report.prepare(setup["report"], Block(segment, FIRST_WORKER + shard), f"worker {shard}", config)
    worker = Worker(channel, segment, config, shard, incarnation, bell=setup["bell"])
    worker.block.begin()
    worker.block.put("used_memory_startup", worker.keyspace.used_memory())
    if not worker.load():
        return 1
    worker.publish()
    gc.collect()
    gc.freeze()
    worker.block.enter(State.READY)
    channel.send("ready")
    worker.run()
    worker.block.enter(State.STOPPING)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
