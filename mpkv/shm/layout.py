"""What lies where in the shared segment, and what every number on the stats board means.

::

    header    one page: magic, version, sizes, seed, run id
    names     the commands' names, by number, one per line
    intents   writes with several parts that are under way (the frontend's; see mpkv.frontend.intents)
    slots     the slot map
    rings     two for each worker: requests to it, replies from it (see mpkv.shm.ring)
    pools     pages of large values: of requests, and of each worker's replies (see mpkv.shm.blobs)
    blocks    supervisor, frontend, worker 0 … worker N-1, and the baseline of CONFIG RESETSTAT

A block has one writer, the process it belongs to, and any number of readers; there are no locks. All its numbers are
aligned 64-bit words, so a reader sees each of them whole, though not all of them of one moment. A process that is
started again goes on in the same block: counters never go back. Blocks begin on pages, so no two processes write to one
cache line. Within a block::

    header · counters · histograms · latency events · links · databases · commands

The numbers of `COUNTERS` and `HISTOGRAMS` stand again in board.pxd for compiled code; a test holds both together.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, NamedTuple

MAGIC: Final = 0x31_4D_48_53_56_4B_50_4D  # "MPKVSHM1"
VERSION: Final = 3
PAGE: Final = 4096
WORD: Final = 8

#: Header words, in order; behind them 16 bytes of seed and 40 of the run id.
HEADER: Final = (
    "magic", "version", "total_bytes", "workers", "commands", "databases", "counters", "names_bytes", "intents_bytes",
    "slots_bytes", "pool_bytes", "block_bytes", "start_time_ms",
)  # fmt: skip
SEED_BYTES: Final = 16
RUN_ID_BYTES: Final = 40

INTENTS_BYTES: Final = 16 << 20
SLOTS_BYTES: Final = 32 << 10
#: One ring, its header included: a few dozen batches of a busy server, and no more than the cache likes.
RING_BYTES: Final = 512 << 10
#: The pages of one pool: addresses, which become memory when they are first used.
POOL_BYTES: Final = 64 << 20


class State(enum.IntEnum):
    """What a process is doing; a block that was never used is DOWN."""

    DOWN = 0
    STARTING = 1
    LOADING = 2
    READY = 3
    SAVING = 4
    STOPPING = 5


#: The first words of a block: one cache line.
BLOCK_HEADER: Final = (
    "pid", "incarnation", "start_time_ms", "state", "heartbeat_ms", "last_number", "executing_number",
    "executing_command",
)  # fmt: skip


class DatabaseRow(NamedTuple):
    """One database of one process: a word each."""

    keys: int
    expires: int  #: how many of the keys have an expiry
    avg_ttl_ms: int  #: the mean of their times to live
    table_bytes: int  #: what holds the keys together


DATABASE_WORDS: Final = DatabaseRow._fields


class LinkRow(NamedTuple):
    """What waits for one shard, as the frontend sees it."""

    up: int  #: 1 if the frontend is linked to it
    commands: int  #: sent or about to be, and not answered
    bytes: int  #: of these requests


LINK_WORDS: Final = LinkRow._fields


class LatencyEvent(NamedTuple):
    """What LATENCY LATEST says of one kind of event; all 0 = there was none."""

    time_seconds: int  #: of the newest, since 1970
    last_ms: int
    max_ms: int


EVENT_WORDS: Final = LatencyEvent._fields

#: Redis' names of what the latency monitor watches.
LATENCY_EVENTS: Final = (
    "command", "fast-command", "fork", "expire-cycle", "expire-del", "eviction-cycle", "eviction-del",
    "eviction-lazyfree", "active-defrag-cycle", "aof-write", "aof-write-alone", "aof-write-pending-fsync",
    "aof-write-active-child", "aof-fsync-always", "aof-fstat", "aof-rename", "aof-rewrite-diff-write",
    "rdb-unlink-temp-file", "while-blocked-cron", "module-acquire-GIL",
)  # fmt: skip

#: Words per command, before its histograms.
COMMAND_WORDS: Final = ("calls", "nanoseconds", "rejected", "failed")

#: A latency of at most ``1024 << i`` ns is counted in bucket i, anything above the last bound in the last bucket.
BUCKETS: Final = 28
BUCKET_BOUNDS_NS: Final = tuple(1024 << bucket for bucket in range(BUCKETS - 1))

#: The same in µs as LATENCY HISTOGRAM names them: 1 2 4 8 16 33 66 132 … Redis' histogram keeps two digits, and prints
#: the largest value that it cannot tell from the bound.
BUCKET_LABELS_US: Final = tuple((bound + bound // 128 - 1) // 1000 for bound in BUCKET_BOUNDS_NS)

#: Sizes of a command's requests and replies: bucket i takes up to ``16 << 2 * i`` bytes, the last one the rest. In
#: front of each of the two histograms stands its sum. All in all a command takes 512 bytes: eight cache lines.
SIZE_BUCKETS: Final = 15
SIZE_BOUNDS_BYTES: Final = tuple(16 << 2 * bucket for bucket in range(SIZE_BUCKETS - 1))
COMMAND_ROW_WORDS: Final = len(COMMAND_WORDS) + BUCKETS + 2 * (1 + SIZE_BUCKETS)


class Histogram(NamedTuple):
    """A histogram of every block, of `BUCKETS` buckets behind the sum of all values.

    :param first: bucket i takes values up to ``first << i``, the last one the rest; a power of two
    """

    name: str
    first: int
    help: str
    of: str = "worker"
    shown: int = BUCKETS - 1  #: how many of the bounds are exported

    @property
    def bounds(self) -> tuple[int, ...]:
        return tuple(self.first << bucket for bucket in range(BUCKETS - 1))


HISTOGRAMS: Final = (
    Histogram("batch_commands", 1, "Requests that came in one batch", shown=14),
    Histogram("batch_execute_nanoseconds", 1024, "Execution of one batch"),
    Histogram("queue_wait_nanoseconds", 1024, "From the sending of a request's batch to its execution"),
    Histogram("reply_wait_nanoseconds", 1024, "From the sending of a reply's batch to its being taken up", "frontend"),
)
HISTOGRAM_INDEX: Final = {histogram.name: index for index, histogram in enumerate(HISTOGRAMS)}
HISTOGRAM_WORDS: Final = 1 + BUCKETS


class Counter(NamedTuple):
    """One number of every block.

    :param kind: ``counter`` (only grows, outlives a restart), ``gauge`` (zero again when its process starts) or
        ``mark`` (a gauge that outlives a restart)
    :param over: how several processes' numbers become one: ``sum`` or ``max``
    :param of: whose number it is: ``frontend``, ``worker``, ``both`` or ``supervisor``
    """

    name: str
    kind: str
    help: str
    over: str = "sum"
    of: str = "frontend"


#: Prefixes of error replies that are counted one by one; the rest is OTHER.
ERROR_PREFIXES: Final = (
    "ERR", "WRONGTYPE", "NOAUTH", "WRONGPASS", "NOPERM", "NOPROTO", "LOADING", "BUSY", "NOSCRIPT", "OOM", "MISCONF",
    "READONLY", "MASTERDOWN", "NOREPLICAS", "NOMASTERLINK", "EXECABORT", "BUSYKEY", "BUSYGROUP", "NOGROUP", "UNBLOCKED",
    "UNKILLABLE", "NOTBUSY", "DENIED", "INVALIDOBJ", "IOERR", "MOVED", "ASK", "TRYAGAIN", "CROSSSLOT", "CLUSTERDOWN",
    "OTHER",
)  # fmt: skip

#: Type of a value -> the number of the board that says what all of it take, in the order of the types' own numbers.
MEMORY_BY_TYPE: Final = {
    "string": "used_memory_strings", "list": "used_memory_lists", "set": "used_memory_sets",
    "zset": "used_memory_zsets", "hash": "used_memory_hashes",
}  # fmt: skip

# fmt: off
COUNTERS: Final = (
    # Connections (frontend)
    Counter("total_connections_received", "counter", "Connections accepted"),
    Counter("rejected_connections", "counter", "Connections refused because of maxclients"),
    Counter("connected_clients", "gauge", "Clients connected"),
    Counter("blocked_clients", "gauge", "Clients waiting in a blocking command"),
    Counter("clients_in_timeout_table", "gauge", "Clients waiting with a timeout"),
    Counter("total_blocking_keys", "gauge", "Keys that clients wait for", of="worker"),
    Counter("watching_clients", "gauge", "Clients that watch keys"),
    Counter("total_watched_keys", "gauge", "Keys watched", of="worker"),
    Counter("client_recent_max_input_buffer", "gauge", "Largest input buffer of a client, lately, in bytes", "max"),
    Counter("client_recent_max_output_buffer", "gauge", "Largest output buffer of a client, lately, in bytes", "max"),
    Counter("client_memory_bytes", "gauge", "Memory of all clients' buffers"),
    Counter("client_output_buffer_limit_disconnections", "counter", "Clients disconnected because of unread output"),
    Counter("client_query_buffer_limit_disconnections", "counter",
            "Clients disconnected because of an unfinished request"),
    Counter("total_net_input_bytes", "counter", "Bytes read from clients"),
    Counter("total_net_output_bytes", "counter", "Bytes written to clients"),
    Counter("total_commands_processed", "counter", "Calls of all commands"),
    Counter("total_reads_processed", "counter", "Reads from clients"),
    Counter("total_writes_processed", "counter", "Writes to clients"),
    # Requests (frontend)
    Counter("total_error_replies", "counter", "Error replies"),
    Counter("unexpected_error_replies", "counter", "Error replies to a primary"),
    Counter("acl_access_denied_auth", "counter", "Failed logins"),
    Counter("acl_access_denied_cmd", "counter", "Commands refused by access rules"),
    Counter("acl_access_denied_key", "counter", "Keys refused by access rules"),
    Counter("acl_access_denied_channel", "counter", "Channels refused by access rules"),
    Counter("pubsub_channels", "gauge", "Channels with subscribers"),
    Counter("pubsub_patterns", "gauge", "Patterns with subscribers"),
    Counter("pubsubshard_channels", "gauge", "Sharded channels with subscribers"),
    Counter("pubsub_clients", "gauge", "Clients that are subscribed to something"),
    Counter("slowlog_length", "gauge", "Entries in the slow log"),
    Counter("slowlog_last_id", "gauge", "Number of the newest entry of the slow log", "max"),
    Counter("slowlog_last_microseconds", "gauge", "Duration of the newest entry of the slow log", "max"),
    # Routing (frontend)
    Counter("pending_commands", "gauge", "Commands whose replies are not complete"),
    Counter("inflight_bytes", "gauge", "Bytes of requests under way"),
    Counter("back_pressure_pauses", "counter", "How often reading from a client was paused"),
    Counter("paused_clients", "gauge", "Clients from which reading is paused"),
    Counter("scattered_commands", "counter", "Commands answered by several shards"),
    Counter("held_commands", "counter", "Commands that held shards"),
    Counter("intents_open", "gauge", "Writes in several parts under way"),
    Counter("intents_oldest_ms", "gauge", "Age of the oldest write in several parts under way", "max"),
    Counter("intents_total", "counter", "Writes in several parts begun"),
    Counter("intents_completed", "counter", "Writes in several parts completed after a restart"),
    # Links (frontend and workers)
    Counter("link_in_bytes", "counter", "Bytes received over links between processes", of="both"),
    Counter("link_out_bytes", "counter", "Bytes sent over links between processes", of="both"),
    Counter("link_in_batches", "counter", "Batches received over links", of="both"),
    Counter("link_out_batches", "counter", "Batches sent over links", of="both"),
    Counter("link_discarded", "counter", "Envelopes of an earlier incarnation that were dropped", of="both"),
    Counter("link_queue_bytes", "gauge", "Bytes waiting to be sent over links", of="both"),
    Counter("large_pages_bytes", "gauge", "Shared pages in use for large requests and replies, in bytes", of="both"),
    Counter("large_by_reference", "counter", "Large requests and replies that travelled by reference", of="both"),
    Counter("large_without_room", "counter", "Large requests and replies for which no shared pages were free",
            of="both"),
    # Keys (workers)
    Counter("keyspace_hits", "counter", "Reads that found their key", of="worker"),
    Counter("keyspace_misses", "counter", "Reads that did not", of="worker"),
    Counter("expired_keys", "counter", "Keys that expired", of="worker"),
    Counter("expired_stale_permyriad", "gauge", "Estimate of expired keys not yet deleted, in 1/10000", "max",
            of="worker"),
    Counter("expired_time_cap_reached", "counter", "How often deleting expired keys ran out of time", of="worker"),
    Counter("expire_cycle_nanoseconds", "counter", "Time spent on deleting expired keys", of="worker"),
    Counter("evicted_keys", "counter", "Keys evicted because of maxmemory", of="worker"),
    # Each shard's is the time of all: not to be added up
    Counter("eviction_exceeded_ms", "counter", "Time that all shards together were above maxmemory, as this one saw it",
            "max", of="worker"),
    Counter("eviction_exceeding_ms", "gauge", "How long they have been above it now, as this one sees it",
            "max", of="worker"),
    Counter("eviction_score", "gauge", "How much the shard's worst key deserves to go", "max", of="worker"),
    Counter("dirty", "gauge", "Changes since the last snapshot", of="worker"),
    Counter("lazyfreed_objects", "counter", "Values freed by and by", of="worker"),
    Counter("lazyfree_pending", "gauge", "Values and keys that wait to be freed", of="worker"),
    # Memory (workers; whose it is, then how much of it the allocator has)
    Counter("used_memory", "gauge", "Memory accounted to data, in bytes", of="worker"),
    Counter("used_memory_peak", "mark", "The most it has been; of the frontend: of all shards", "max",
            "both"),
    Counter("used_memory_overhead", "gauge", "What of it is not keys and values", of="worker"),
    Counter("used_memory_startup", "gauge", "What of it an empty shard takes", of="worker"),
    *(Counter(name, "gauge", f"What of it keys of type {kind} and their values take", of="worker")
      for kind, name in MEMORY_BY_TYPE.items()),
    Counter("allocator_active", "gauge", "Used memory, and what is free between its pieces, in bytes", of="worker"),
    Counter("allocator_resident", "gauge", "Active memory, and pages kept for what comes next, in bytes", of="worker"),
    # Snapshots (the schedule is the frontend's; every worker forks, and the supervisor says which fell back)
    Counter("snapshot_saves", "counter", "Snapshots finished"),
    Counter("snapshot_failures", "counter", "Snapshots that failed"),
    Counter("snapshot_fallbacks", "counter", "Times a shard was restored from the snapshot alone", of="worker"),
    Counter("snapshot_last_save_seconds", "mark", "When the last one was finished, in s since 1970", "max"),
    Counter("snapshot_last_failed", "mark", "1 if the last one failed", "max"),
    Counter("snapshot_last_duration_ms", "mark", "How long the last one took", "max"),
    Counter("snapshot_started_ms", "gauge", "When the one under way began, in ms since 1970; 0 = none is", "max"),
    Counter("snapshot_keys_processed", "gauge", "Keys the one under way has written", of="worker"),
    Counter("snapshot_keys_total", "gauge", "Keys it has to write", of="worker"),
    Counter("forks", "counter", "Forks", of="worker"),
    Counter("fork_microseconds", "gauge", "How long the last fork took", "max", of="worker"),
    Counter("cow_last_bytes", "gauge", "Memory copied on write during the last snapshot", of="worker"),
    Counter("cow_bytes", "gauge", "Memory copied on write by the one under way", of="worker"),
    Counter("cow_peak_bytes", "gauge", "The most of it so far", of="worker"),
    Counter("cow_updated_ms", "gauge", "When that was last looked at, in ms since 1970", "max", of="worker"),
    # Loading (workers)
    Counter("load_started_ms", "gauge", "When loading began, in ms since 1970; 0 = it did not", "max", of="worker"),
    Counter("load_total_bytes", "gauge", "Bytes to load", of="worker"),
    Counter("load_loaded_bytes", "gauge", "Bytes loaded", of="worker"),
    Counter("load_duration_ms", "gauge", "How long the last loading took", "max", of="worker"),
    Counter("load_keys_loaded", "gauge", "Keys loaded", of="worker"),
    Counter("load_keys_expired", "gauge", "Keys that had expired when they were loaded", of="worker"),
    # Event loops (frontend and workers)
    Counter("eventloop_cycles", "counter", "Turns of the event loop", of="both"),
    Counter("eventloop_nanoseconds", "counter", "Time spent in turns of the event loop", of="both"),
    # Supervision (supervisor)
    Counter("worker_restarts", "counter", "Workers started again", of="supervisor"),
    Counter("frontend_restarts", "counter", "Frontends started again", of="supervisor"),
    # Error replies by their first word (frontend)
    *(Counter(f"errors_{prefix.lower()}", "counter", f"Error replies: {prefix}") for prefix in ERROR_PREFIXES),
)
# fmt: on

COUNTER_INDEX: Final = {counter.name: index for index, counter in enumerate(COUNTERS)}

#: Number of the block of …
SUPERVISOR: Final = 0
FRONTEND: Final = 1
FIRST_WORKER: Final = 2


def pages(size_bytes: int) -> int:
    """Rounded up to whole pages."""
    return -(-size_bytes // PAGE) * PAGE


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes that decide where everything lies; both sides compute the same places from it."""

    workers: int
    commands: int
    databases: int
    names_bytes: int
    intents_bytes: int = INTENTS_BYTES
    slots_bytes: int = SLOTS_BYTES
    pool_bytes: int = POOL_BYTES  #: whole pages

    @property
    def ring_bytes(self) -> int:
        return RING_BYTES

    @property
    def pool_stride(self) -> int:
        """From one pool to the next: a page for its header, and its own."""
        return PAGE + self.pool_bytes

    @property
    def histograms_offset(self) -> int:
        """Within a block."""
        return (len(BLOCK_HEADER) + len(COUNTERS)) * WORD

    @property
    def events_offset(self) -> int:
        return self.histograms_offset + len(HISTOGRAMS) * HISTOGRAM_WORDS * WORD

    @property
    def links_offset(self) -> int:
        return self.events_offset + len(LATENCY_EVENTS) * len(EVENT_WORDS) * WORD

    @property
    def databases_offset(self) -> int:
        return self.links_offset + self.workers * len(LINK_WORDS) * WORD

    @property
    def commands_offset(self) -> int:
        """Within a block; a command begins on a cache line."""
        end = self.databases_offset + self.databases * len(DATABASE_WORDS) * WORD
        return -(-end // 64) * 64

    @property
    def block_bytes(self) -> int:
        return pages(self.commands_offset + self.commands * COMMAND_ROW_WORDS * WORD)

    @property
    def blocks(self) -> int:
        """Supervisor, frontend, workers, baseline."""
        return FIRST_WORKER + self.workers + 1

    def areas(self) -> dict[str, tuple[int, int]]:
        """Name -> (offset, size)."""
        sizes = {
            "header": PAGE, "names": self.names_bytes, "intents": self.intents_bytes, "slots": self.slots_bytes,
            "rings": 2 * self.workers * self.ring_bytes,
            "pools": (1 + self.workers) * self.pool_stride, "blocks": self.blocks * self.block_bytes,
        }  # fmt: skip
        places = {}
        offset = 0
        for name, size in sizes.items():
            places[name] = (offset, size)
            offset += pages(size)
        return places

    @property
    def total_bytes(self) -> int:
        offset, size = self.areas()["blocks"]
        return offset + size
