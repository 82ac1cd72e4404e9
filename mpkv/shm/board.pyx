"""The stats board: what every process tells about itself, and what all of them come to.

A `Block` is one process's numbers; only that process writes to it. A `Board` reads all of them, in the supervisor for
`/metrics` and in the frontend for INFO. CONFIG RESETSTAT does not touch anybody's numbers: it notes the totals in a
block of their own, the baseline, and INFO shows the difference; `/metrics` goes on from the totals, since its counters
may never go back.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

import os
import time

from mpkv.shm import layout

_COUNTER_INDEX = layout.COUNTER_INDEX
_LARGEST = frozenset(index for index, counter in enumerate(layout.COUNTERS) if counter.over == "max")
_HISTOGRAM_INDEX = layout.HISTOGRAM_INDEX
_EVENT_INDEX = {name: index for index, name in enumerate(layout.LATENCY_EVENTS)}
_HEADER_INDEX = {name: index for index, name in enumerate(layout.BLOCK_HEADER)}

assert BUCKETS == layout.BUCKETS
assert SIZE_BUCKETS == layout.SIZE_BUCKETS
assert BLOCK_HEADER_WORDS == len(layout.BLOCK_HEADER)
assert DATABASE_WORDS == len(layout.DATABASE_WORDS)
assert sizeof(command_t) == layout.COMMAND_ROW_WORDS * layout.WORD
assert sizeof(histogram_t) == layout.HISTOGRAM_WORDS * layout.WORD
assert sizeof(event_t) == len(layout.EVENT_WORDS) * layout.WORD
assert sizeof(link_row_t) == len(layout.LINK_WORDS) * layout.WORD

cdef struct prefix_t:
    const char* text
    size_t size

# As layout.ERROR_PREFIXES, without OTHER. The literals live as long as the module.
cdef prefix_t[ERRORS_OTHER - ERRORS_ERR] _prefixes
cdef list _prefix_texts = [prefix.encode() for prefix in layout.ERROR_PREFIXES[: ERRORS_OTHER - ERRORS_ERR]]

cdef _fill_prefixes():
    for index, text in enumerate(_prefix_texts):
        _prefixes[<int>index].text = <const char*><bytes>text
        _prefixes[<int>index].size = len(text)

_fill_prefixes()


cdef int error_counter(const char* text, size_t size) noexcept nogil:
    cdef size_t length = 0
    cdef int index
    if size and text[0] == b"-":
        text += 1
        size -= 1
    while length < size and text[length] != b" " and text[length] != b"\r":
        length += 1
    for index in range(ERRORS_OTHER - ERRORS_ERR):
        if _prefixes[index].size == length and memcmp(_prefixes[index].text, text, length) == 0:
            return ERRORS_ERR + index
    return ERRORS_OTHER


cdef int64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef int64_t monotonic_ms() noexcept nogil:
    return monotonic_ns() // 1_000_000


cdef class Block:
    """One process's numbers. Compiled code uses the inline methods of board.pxd, Python code the named ones here."""

    def __init__(self, Segment segment, int number):
        cdef char* base = segment.block_pointer(number)
        self.segment = segment
        self.number = number
        self.databases = segment.shape.databases
        self.header = <volatile block_header_t*>base
        self.counters = <int64_t*>(base + BLOCK_HEADER_WORDS * sizeof(int64_t))
        self.histograms = <histogram_t*>(base + <Py_ssize_t>segment.shape.histograms_offset)
        self.event_rows = <event_t*>(base + <Py_ssize_t>segment.shape.events_offset)
        self.link_rows = <link_row_t*>(base + <Py_ssize_t>segment.shape.links_offset)
        self.database_rows = <database_t*>(base + <Py_ssize_t>segment.shape.databases_offset)
        self.command_rows = <command_t*>(base + <Py_ssize_t>segment.shape.commands_offset)
        self.tracking = 1
        self._bases = <int64_t*>calloc(len(layout.COUNTERS), sizeof(int64_t))
        if self._bases == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self._bases)

    # Written by the process itself

    def begin(self) -> int:
        """This process takes the block over: gauges are zero again, counters go on.

        Returns its incarnation, 1 for the first.
        """
        for index, counter in enumerate(layout.COUNTERS):
            if counter.kind == "gauge":
                self.counters[<int>index] = 0
        memcpy(self._bases, self.counters, len(layout.COUNTERS) * sizeof(int64_t))
        memset(self.event_rows, 0, len(layout.LATENCY_EVENTS) * sizeof(event_t))
        memset(self.link_rows, 0, <size_t>self.segment.shape.workers * sizeof(link_row_t))
        memset(self.database_rows, 0, <size_t>self.segment.shape.databases * sizeof(database_t))
        self.header.executing_number = 0
        self.header.pid = os.getpid()
        self.header.start_time_ms = time.time_ns() // 1_000_000
        self.header.state = STATE_STARTING
        self.header.incarnation += 1
        self.beat()
        return self.header.incarnation

    def heartbeat(self) -> None:
        self.beat()

    def enter(self, state: layout.State) -> None:
        """Say what the process is doing now."""
        self.header.state = state

    def note_number(self, number: int) -> None:
        """The last sequence number executed, when it did not come with a command (a log was loaded)."""
        self.header.last_number = number

    def count(self, name: str, amount: int = 1) -> None:
        self.counters[<int>_COUNTER_INDEX[name]] += amount

    def put(self, name: str, value: int) -> None:
        self.counters[<int>_COUNTER_INDEX[name]] = value

    def put_total(self, name: str, value: int) -> None:
        """Of a counter that is kept elsewhere and began at 0 with this incarnation: it goes on where its predecessors
        stopped."""
        self.set_total(<int>_COUNTER_INDEX[name], value)

    def put_database(self, index: int, keys: int, expires: int, avg_ttl_ms: int, table_bytes: int = 0) -> None:
        if not 0 <= index < self.segment.shape.databases:
            raise IndexError(f"there is no database {index}")
        self.set_database(index, keys, expires, avg_ttl_ms, table_bytes)

    def put_link(self, shard: int, up: bool, commands: int, size_bytes: int) -> None:
        """Whether a shard is linked, and what waits for it."""
        if not 0 <= shard < self.segment.shape.workers:
            raise IndexError(f"there is no shard {shard}")
        self.link_rows[shard].up = up
        self.link_rows[shard].commands = commands
        self.link_rows[shard].bytes = size_bytes

    def put_latency_event(self, name: str, time_seconds: int, last_ms: int, max_ms: int) -> None:
        """What LATENCY LATEST says of an event of layout.LATENCY_EVENTS; all 0: there was none."""
        cdef event_t* row = &self.event_rows[<int>_EVENT_INDEX[name]]
        row.time_seconds, row.last_ms, row.max_ms = time_seconds, last_ms, max_ms

    def observe_value(self, name: str, value: int, times: int = 1) -> None:
        """Into a histogram of layout.HISTOGRAMS."""
        cdef int index = _HISTOGRAM_INDEX[name]
        self.observe(index, layout.HISTOGRAMS[index].first.bit_length() - 1, value, times)

    def count_command(self, command: int, nanoseconds: int, failed: bool = False) -> None:
        self.record_command(self._command(command), nanoseconds, failed)

    def count_sizes(self, command: int, request_bytes: int, reply_bytes: int) -> None:
        self.record_sizes(self._command(command), request_bytes, reply_bytes)

    def count_rejected(self, command: int) -> None:
        self.record_rejected(self._command(command))

    def count_error(self, text: bytes) -> None:
        """An error reply went out, with or without its minus sign."""
        self.record_error(text, len(text))

    def start_command(self, number: int, command: int) -> None:
        self.begin_command(number, command)

    def finish_command(self, number: int) -> None:
        self.end_command(number)

    # Read by others

    def field(self, name: str) -> int:
        """A word of the block's header, by its name in layout.BLOCK_HEADER."""
        return (<volatile int64_t*>self.header)[<int>_HEADER_INDEX[name]]

    @property
    def pid(self) -> int:
        return self.header.pid

    @property
    def incarnation(self) -> int:
        return self.header.incarnation

    @property
    def state(self):
        return layout.State(self.header.state)

    @property
    def last_number(self) -> int:
        return self.header.last_number

    @property
    def executing(self):
        """(number, command) of what is being executed, or None. After a crash: what the process died in."""
        cdef int64_t number = self.header.executing_number
        return (number, self.header.executing_command) if number else None

    @property
    def heartbeat_age_ms(self) -> int:
        return monotonic_ms() - self.header.heartbeat_ms

    def mark_down(self) -> None:
        """For the supervisor, when it has reaped the process: until the successor begins nobody else writes here."""
        self.header.state = STATE_DOWN

    def counter(self, name: str) -> int:
        return self.counters[<int>_COUNTER_INDEX[name]]

    def database(self, index: int):
        """A `layout.DatabaseRow`."""
        if not 0 <= index < self.segment.shape.databases:
            raise IndexError(f"there is no database {index}")
        cdef database_t* row = &self.database_rows[<int>index]
        return layout.DatabaseRow(row.keys, row.expires, row.avg_ttl_ms, row.table_bytes)

    def link(self, shard: int):
        """A `layout.LinkRow`; of the frontend's block."""
        if not 0 <= shard < self.segment.shape.workers:
            raise IndexError(f"there is no shard {shard}")
        return layout.LinkRow(
            self.link_rows[shard].up, self.link_rows[shard].commands, self.link_rows[shard].bytes
        )

    def latency_events(self):
        """Name -> `layout.LatencyEvent`, of those that there were."""
        cdef event_t* row
        events = {}
        for index, name in enumerate(layout.LATENCY_EVENTS):
            row = &self.event_rows[<int>index]
            if row.time_seconds:
                events[name] = layout.LatencyEvent(row.time_seconds, row.last_ms, row.max_ms)
        return events

    def histogram(self, name: str):
        """(sum, [count per bucket])."""
        cdef histogram_t* histogram = &self.histograms[<int>_HISTOGRAM_INDEX[name]]
        return histogram.sum, [histogram.buckets[bucket] for bucket in range(BUCKETS)]

    def commands(self):
        """Name -> (calls, nanoseconds, rejected, failed, [count per bucket]), of commands that were called or rejected.
        """
        return _command_rows(self.segment, [self])

    def command_sizes(self):
        """Name -> (bytes of requests, [count per bucket], bytes of replies, [count per bucket]), of commands that have
        any.
        """
        cdef Py_ssize_t command
        cdef command_t* row
        rows = {}
        for command in range(self.segment.shape.commands):
            row = &self.command_rows[command]
            requests = [row.requests.buckets[bucket] for bucket in range(SIZE_BUCKETS)]
            if any(requests):
                replies = [row.replies.buckets[bucket] for bucket in range(SIZE_BUCKETS)]
                rows[self.segment.command_names[command]] = (row.requests.sum, requests, row.replies.sum, replies)
        return rows

    cdef int _command(self, Py_ssize_t command) except -1:
        if not 0 <= command < self.segment.shape.commands:
            raise IndexError(f"there is no command {command}")
        return command


cdef dict _command_rows(Segment segment, list blocks):
    """The blocks' commands, added up."""
    cdef Block block
    cdef command_t total
    cdef command_t* row
    cdef Py_ssize_t command
    cdef int bucket
    rows = {}
    for command in range(segment.shape.commands):
        memset(&total, 0, sizeof(command_t))
        for block in blocks:
            row = &block.command_rows[command]
            total.calls += row.calls
            total.nanoseconds += row.nanoseconds
            total.rejected += row.rejected
            total.failed += row.failed
            for bucket in range(BUCKETS):
                total.buckets[bucket] += row.buckets[bucket]
        if total.calls or total.rejected:
            rows[segment.command_names[command]] = (
                total.calls, total.nanoseconds, total.rejected, total.failed,
                [total.buckets[bucket] for bucket in range(BUCKETS)],
            )
    return rows


cdef class Board:
    """All blocks together, for reading."""

    cdef readonly Segment segment
    cdef readonly Block supervisor
    cdef readonly Block frontend
    cdef readonly list workers
    cdef readonly list processes        # all of the above
    cdef Block _baseline

    def __init__(self, Segment segment):
        self.segment = segment
        self.supervisor = Block(segment, layout.SUPERVISOR)
        self.frontend = Block(segment, layout.FRONTEND)
        self.workers = [Block(segment, layout.FIRST_WORKER + shard) for shard in range(segment.shape.workers)]
        self.processes = [self.supervisor, self.frontend, *self.workers]
        self._baseline = Block(segment, layout.FIRST_WORKER + segment.shape.workers)

    def total(self, name: str) -> int:
        """A counter over all processes: their sum, or the largest, as the layout says."""
        cdef int index = _COUNTER_INDEX[name]
        cdef bint largest = index in _LARGEST
        cdef int64_t total = 0
        cdef Block block
        for block in self.processes:
            if largest:
                total = max(total, block.counters[index])
            else:
                total += block.counters[index]
        return total

    def since_reset(self, name: str) -> int:
        """The same, of a counter since CONFIG RESETSTAT. Gauges are not affected by it."""
        cdef int index = _COUNTER_INDEX[name]
        return self.total(name) - self._baseline.counters[index]

    def commands(self):
        """Name -> (calls, nanoseconds, rejected, failed, buckets) over all processes, of commands that were called."""
        return _command_rows(self.segment, self.processes)

    def commands_since_reset(self):
        old = _command_rows(self.segment, [self._baseline])
        rows = {}
        for name, (calls, nanoseconds, rejected, failed, buckets) in self.commands().items():
            if name in old:
                before = old[name]
                calls, nanoseconds = calls - before[0], nanoseconds - before[1]
                rejected, failed = rejected - before[2], failed - before[3]
                buckets = [now - then for now, then in zip(buckets, before[4])]
            if calls or rejected:
                rows[name] = (calls, nanoseconds, rejected, failed, buckets)
        return rows

    def databases(self):
        """Index -> `layout.DatabaseRow`, of the databases that hold keys."""
        cdef Block block
        cdef Py_ssize_t index
        rows = {}
        for index in range(self.segment.shape.databases):
            keys = expires = weighted = table_bytes = 0
            for block in self.workers:
                keys += block.database_rows[index].keys
                expires += block.database_rows[index].expires
                weighted += block.database_rows[index].avg_ttl_ms * block.database_rows[index].expires
                table_bytes += block.database_rows[index].table_bytes
            if keys:
                rows[index] = layout.DatabaseRow(keys, expires, weighted // expires if expires else 0, table_bytes)
        return rows

    def reset(self) -> None:
        """CONFIG RESETSTAT: INFO counts from here. For the frontend, the only writer of the baseline."""
        cdef Block block
        cdef command_t* row
        cdef command_t* base
        cdef Py_ssize_t command
        cdef int bucket
        for index, counter in enumerate(layout.COUNTERS):
            if counter.kind == "counter":
                self._baseline.counters[<int>index] = self.total(counter.name)
        for command in range(self.segment.shape.commands):
            base = &self._baseline.command_rows[command]
            memset(base, 0, sizeof(command_t))
            for block in self.processes:
                row = &block.command_rows[command]
                base.calls += row.calls
                base.nanoseconds += row.nanoseconds
                base.rejected += row.rejected
                base.failed += row.failed
                for bucket in range(BUCKETS):
                    base.buckets[bucket] += row.buckets[bucket]
