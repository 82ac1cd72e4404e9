# The stats board: one block per process, written by that process alone. What lies where says layout.py.
#
# Everything that a hot path calls is inline and costs a few plain stores. Compiled code names a number by its constant:
#
#     from mpkv.shm.board cimport Block, KEYSPACE_HITS
#     block.add(KEYSPACE_HITS, 1)

cimport cython
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from mpkv.shm.segment cimport Segment

cdef extern from *:
    int __builtin_clzll(unsigned long long value) nogil

# As in layout.py; a test compares them.
cdef enum:
    BUCKETS = 28
    SIZE_BUCKETS = 15
    BLOCK_HEADER_WORDS = 8
    DATABASE_WORDS = 4

cpdef enum:
    STATE_DOWN = 0
    STATE_STARTING = 1
    STATE_LOADING = 2
    STATE_READY = 3
    STATE_SAVING = 4
    STATE_STOPPING = 5

cpdef enum:
    TOTAL_CONNECTIONS_RECEIVED = 0
    REJECTED_CONNECTIONS
    CONNECTED_CLIENTS
    BLOCKED_CLIENTS
    CLIENTS_IN_TIMEOUT_TABLE
    TOTAL_BLOCKING_KEYS
    WATCHING_CLIENTS
    TOTAL_WATCHED_KEYS
    CLIENT_RECENT_MAX_INPUT_BUFFER
    CLIENT_RECENT_MAX_OUTPUT_BUFFER
    CLIENT_MEMORY_BYTES
    CLIENT_OUTPUT_BUFFER_LIMIT_DISCONNECTIONS
    CLIENT_QUERY_BUFFER_LIMIT_DISCONNECTIONS
    TOTAL_NET_INPUT_BYTES
    TOTAL_NET_OUTPUT_BYTES
    TOTAL_COMMANDS_PROCESSED
    TOTAL_READS_PROCESSED
    TOTAL_WRITES_PROCESSED
    TOTAL_ERROR_REPLIES
    UNEXPECTED_ERROR_REPLIES
    ACL_ACCESS_DENIED_AUTH
    ACL_ACCESS_DENIED_CMD
    ACL_ACCESS_DENIED_KEY
    ACL_ACCESS_DENIED_CHANNEL
    PUBSUB_CHANNELS
    PUBSUB_PATTERNS
    PUBSUBSHARD_CHANNELS
    PUBSUB_CLIENTS
    SLOWLOG_LENGTH
    SLOWLOG_LAST_ID
    SLOWLOG_LAST_MICROSECONDS
    PENDING_COMMANDS
    INFLIGHT_BYTES
    BACK_PRESSURE_PAUSES
    PAUSED_CLIENTS
    SCATTERED_COMMANDS
    HELD_COMMANDS
    INTENTS_OPEN
    INTENTS_OLDEST_MS
    INTENTS_TOTAL
    INTENTS_COMPLETED
    LINK_IN_BYTES
    LINK_OUT_BYTES
    LINK_IN_BATCHES
    LINK_OUT_BATCHES
    LINK_DISCARDED
    LINK_QUEUE_BYTES
    LARGE_PAGES_BYTES
    LARGE_BY_REFERENCE
    LARGE_WITHOUT_ROOM
    KEYSPACE_HITS
    KEYSPACE_MISSES
    EXPIRED_KEYS
    EXPIRED_STALE_PERMYRIAD
    EXPIRED_TIME_CAP_REACHED
    EXPIRE_CYCLE_NANOSECONDS
    EVICTED_KEYS
    EVICTION_EXCEEDED_MS
    EVICTION_EXCEEDING_MS
    EVICTION_SCORE
    DIRTY
    LAZYFREED_OBJECTS
    LAZYFREE_PENDING
    USED_MEMORY
    USED_MEMORY_PEAK
    USED_MEMORY_OVERHEAD
    USED_MEMORY_STARTUP
    USED_MEMORY_STRINGS             # in the order of the types' numbers
    USED_MEMORY_LISTS
    USED_MEMORY_SETS
    USED_MEMORY_ZSETS
    USED_MEMORY_HASHES
    ALLOCATOR_ACTIVE
    ALLOCATOR_RESIDENT
    SNAPSHOT_SAVES
    SNAPSHOT_FAILURES
    SNAPSHOT_FALLBACKS
    SNAPSHOT_LAST_SAVE_SECONDS
    SNAPSHOT_LAST_FAILED
    SNAPSHOT_LAST_DURATION_MS
    SNAPSHOT_STARTED_MS
    SNAPSHOT_KEYS_PROCESSED
    SNAPSHOT_KEYS_TOTAL
    FORKS
    FORK_MICROSECONDS
    COW_LAST_BYTES
    COW_BYTES
    COW_PEAK_BYTES
    COW_UPDATED_MS
    LOAD_STARTED_MS
    LOAD_TOTAL_BYTES
    LOAD_LOADED_BYTES
    LOAD_DURATION_MS
    LOAD_KEYS_LOADED
    LOAD_KEYS_EXPIRED
    EVENTLOOP_CYCLES
    EVENTLOOP_NANOSECONDS
    WORKER_RESTARTS
    FRONTEND_RESTARTS
    ERRORS_ERR
    ERRORS_WRONGTYPE
    ERRORS_NOAUTH
    ERRORS_WRONGPASS
    ERRORS_NOPERM
    ERRORS_NOPROTO
    ERRORS_LOADING
    ERRORS_BUSY
    ERRORS_NOSCRIPT
    ERRORS_OOM
    ERRORS_MISCONF
    ERRORS_READONLY
    ERRORS_MASTERDOWN
    ERRORS_NOREPLICAS
    ERRORS_NOMASTERLINK
    ERRORS_EXECABORT
    ERRORS_BUSYKEY
    ERRORS_BUSYGROUP
    ERRORS_NOGROUP
    ERRORS_UNBLOCKED
    ERRORS_UNKILLABLE
    ERRORS_NOTBUSY
    ERRORS_DENIED
    ERRORS_INVALIDOBJ
    ERRORS_IOERR
    ERRORS_MOVED
    ERRORS_ASK
    ERRORS_TRYAGAIN
    ERRORS_CROSSSLOT
    ERRORS_CLUSTERDOWN
    ERRORS_OTHER

cpdef enum:
    BATCH_COMMANDS = 0
    BATCH_EXECUTE_NANOSECONDS
    QUEUE_WAIT_NANOSECONDS
    REPLY_WAIT_NANOSECONDS

cdef struct block_header_t:
    int64_t pid
    int64_t incarnation             # 1 is the first; what goes on in the same block counts on
    int64_t start_time_ms           # since 1970
    int64_t state
    int64_t heartbeat_ms            # monotonic clock
    int64_t last_number             # the last sequence number executed
    int64_t executing_number        # 0 = none
    int64_t executing_command       # good while executing_number is not 0

cdef struct database_t:
    int64_t keys
    int64_t expires
    int64_t avg_ttl_ms
    int64_t table_bytes

cdef struct link_row_t:
    int64_t up
    int64_t commands
    int64_t bytes

cdef struct event_t:
    int64_t time_seconds
    int64_t last_ms
    int64_t max_ms

cdef struct histogram_t:
    int64_t sum
    int64_t buckets[BUCKETS]

cdef struct sizes_t:
    int64_t sum
    int64_t buckets[SIZE_BUCKETS]

cdef struct command_t:
    int64_t calls
    int64_t nanoseconds
    int64_t rejected
    int64_t failed
    int64_t buckets[BUCKETS]
    sizes_t requests                # of these every part of a scattered command counts, at its shard
    sizes_t replies

cdef inline int doublings(int64_t value, int first_bits) noexcept nogil:
    """How often 1 << first_bits must be doubled until the value is not larger."""
    if value <= <int64_t>1 << first_bits:
        return 0
    return 64 - first_bits - __builtin_clzll(<unsigned long long>(value - 1))

cdef inline int latency_bucket(int64_t nanoseconds) noexcept nogil:
    """Bucket i takes up to 1024 << i ns; the last one takes the rest."""
    cdef int bucket = doublings(nanoseconds, 10)
    return bucket if bucket < BUCKETS else BUCKETS - 1

cdef inline int size_bucket(int64_t size_bytes) noexcept nogil:
    """Bucket i takes up to 16 << 2 * i bytes; the last one takes the rest."""
    cdef int bucket = (doublings(size_bytes, 4) + 1) >> 1
    return bucket if bucket < SIZE_BUCKETS else SIZE_BUCKETS - 1

# From a moment of `sent_us` on (see mpkv.wire) to now, in ns. It wraps after 71 minutes; a little before 0 is 0.
cdef inline int64_t waited_ns(uint32_t sent_us, int64_t now_ns) noexcept nogil:
    cdef int32_t waited_us = <int32_t>(<uint32_t>(now_ns // 1000) - sent_us)
    return <int64_t>waited_us * 1000 if waited_us > 0 else 0

# The counter for an error reply's first word ("ERR …", with or without the leading minus).
cdef int error_counter(const char* text, size_t size) noexcept nogil

cdef int64_t monotonic_ns() noexcept nogil
cdef int64_t monotonic_ms() noexcept nogil


@cython.final
cdef class Block:
    """One process's numbers."""
    cdef readonly Segment segment           # keeps the mapping
    cdef readonly int number
    cdef readonly int databases
    # volatile: what a successor reads after a crash must be stored when it is said, not later
    cdef volatile block_header_t* header
    cdef int64_t* counters
    cdef int64_t* _bases                    # by counter: where the predecessors of this incarnation had stopped
    cdef histogram_t* histograms
    cdef event_t* event_rows
    cdef link_row_t* link_rows
    cdef database_t* database_rows
    cdef command_t* command_rows
    cdef public int tracking                # 1: latencies go into histograms (latency-tracking), 0: they do not

    cdef inline void add(self, int counter, int64_t amount) noexcept nogil:
        self.counters[counter] += amount

    cdef inline void set(self, int counter, int64_t value) noexcept nogil:
        self.counters[counter] = value

    # A counter that is kept elsewhere and began at 0 with this incarnation
    cdef inline void set_total(self, int counter, int64_t value) noexcept nogil:
        self.counters[counter] = self._bases[counter] + value

    cdef inline void raise_to(self, int counter, int64_t value) noexcept nogil:
        if value > self.counters[counter]:
            self.counters[counter] = value

    cdef inline void set_database(
        self, int database, int64_t keys, int64_t expires, int64_t avg_ttl_ms, int64_t table_bytes
    ) noexcept nogil:
        self.database_rows[database] = database_t(keys, expires, avg_ttl_ms, table_bytes)

    # `times` values into a histogram whose first bound is 1 << first_bits
    cdef inline void observe(self, int histogram, int first_bits, int64_t value, int64_t times) noexcept nogil:
        cdef histogram_t* into = &self.histograms[histogram]
        cdef int bucket = doublings(value, first_bits)
        into.sum += value * times
        into.buckets[bucket if bucket < BUCKETS else BUCKETS - 1] += times

    # Around the execution of a command. The number goes last in and first out, so that it never stands beside a stale
    # command.
    cdef inline void begin_command(self, int64_t number, int command) noexcept nogil:
        self.header.executing_command = command
        self.header.executing_number = number

    cdef inline void end_command(self, int64_t number) noexcept nogil:
        self.header.last_number = number
        self.header.executing_number = 0

    cdef inline void record_command(self, int command, int64_t nanoseconds, bint failed) noexcept nogil:
        cdef command_t* row = &self.command_rows[command]
        self.counters[TOTAL_COMMANDS_PROCESSED] += 1
        row.calls += 1
        row.nanoseconds += nanoseconds
        row.failed += failed
        row.buckets[latency_bucket(nanoseconds)] += self.tracking

    cdef inline void record_sizes(self, int command, int64_t request_bytes, int64_t reply_bytes) noexcept nogil:
        cdef command_t* row = &self.command_rows[command]
        row.requests.sum += request_bytes
        row.requests.buckets[size_bucket(request_bytes)] += 1
        row.replies.sum += reply_bytes
        row.replies.buckets[size_bucket(reply_bytes)] += 1

    cdef inline void record_failure(self, int command) noexcept nogil:
        self.command_rows[command].failed += 1

    cdef inline void record_rejected(self, int command) noexcept nogil:
        self.command_rows[command].rejected += 1

    cdef inline void record_error(self, const char* text, size_t size) noexcept nogil:
        self.counters[TOTAL_ERROR_REPLIES] += 1
        self.counters[error_counter(text, size)] += 1

    cdef inline void set_state(self, int state) noexcept nogil:
        self.header.state = state

    cdef inline void beat(self) noexcept nogil:
        self.header.heartbeat_ms = monotonic_ms()

    cdef int _command(self, Py_ssize_t command) except -1
