"""Step 8: the only place where a handler is called.

A batch is run envelope by envelope. For each: the number being executed goes to the board (R2: what a dead worker had
begun is never sent again), the compiled short way is tried, else the handler is called with its words; the reply – RESP
of the client's own protocol version – is appended to the batch of replies, or brought into shared pages if it is
large. Side exits follow: the effect goes to the log, blocked clients whose keys are ready are served, counters are
kept. An execution that took long gets a note behind its reply, from which the frontend makes an entry of the slow log:
there are client and words, here are the times.

What a handler raises as `CommandError` is the user's; anything else is ours: it is logged with its context and the
client is told no more than that. Memory that is missing is neither: nothing was changed, and the client is told; if
something was, this process ends (`HalfDone`).
"""

from cpython.list cimport PyList_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, UINT32_MAX, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from mpkv.buffer cimport Buffer, buffer_append, buffer_free
from mpkv.resp.encoder cimport HEAD_CHARS, emit_bulk, encode
from mpkv.sharding cimport SLOTS
from mpkv.shm.board cimport (
    ALLOCATOR_ACTIVE, ALLOCATOR_RESIDENT, BATCH_COMMANDS, BATCH_EXECUTE_NANOSECONDS, DIRTY, EVENTLOOP_CYCLES,
    EVENTLOOP_NANOSECONDS, EVICTED_KEYS, EXPIRED_KEYS, KEYSPACE_HITS, KEYSPACE_MISSES, LARGE_BY_REFERENCE,
    LARGE_WITHOUT_ROOM, LAZYFREED_OBJECTS, LAZYFREE_PENDING, LINK_IN_BATCHES, LINK_IN_BYTES, LINK_OUT_BATCHES,
    LINK_OUT_BYTES, QUEUE_WAIT_NANOSECONDS, TOTAL_BLOCKING_KEYS, TOTAL_WATCHED_KEYS, USED_MEMORY, USED_MEMORY_OVERHEAD,
    USED_MEMORY_PEAK, USED_MEMORY_STRINGS, monotonic_ns, waited_ns,
)
from mpkv.types.allocator cimport TABLES, usage, usage_t, used_by
from mpkv.wire cimport (
    ABORTED, BATCH_MAGIC, BLOCKED, CONTROL, EVENT, EXEC, FLAG_FIRST, FLAG_NO_BLOCK, FLAG_PART, FLAG_RESENT, FLAG_RESP3,
    FLAG_REFERS, FLAG_WATCHED, LATE, REPLY, REQUEST as REQUEST_KIND, add_note, batch_t, begin_batch, begin_reply,
    end_reply, next_request, note_t, open_batch, refer_reply, reference_t, reply_t, request_t,
)
from mpkv.workers.evict cimport Evictor
from mpkv.workers.shortcuts.table cimport LEFT, find_shortcut

import logging

from mpkv import errors
from mpkv.commands.spec import Flag
from mpkv.errors import CommandError
from mpkv.resp.replies import Blocked
from mpkv.workers.shortcuts import hashes, keys, lists, sets, sorted_sets, strings  # they fill the table

logger = logging.getLogger(__name__)

WRITE = int(Flag.WRITE)
INTERNAL_ERROR = CommandError("ERR internal error: the server's log has the details")

cdef enum:
    # Replies are sent at the latest when they are that large: the frontend begins while this worker goes on. With what
    # may come on top (a reply that is not large enough for pages) they still fit into the ring
    REPLY_BYTES = 128 * 1024


class BatchFault(Exception):
    """A batch is malformed: a fault of ours."""


class HalfDone(Exception):
    """Memory has run out where a write can be neither finished nor taken back: in the middle of its steps, or in one of
    its parts while others are done elsewhere. The shard is loaded again."""


cdef inline size_t _reply_size(const Buffer* out, size_t at) noexcept nogil:
    """Of the reply that was begun at `at` and has ended, without what it is padded with."""
    return (<const reply_t*>(out.data + at)).size


cdef inline const char* _skip(const char* at, const char* end, int count) noexcept nogil:
    """`count` envelopes further on, `end` if there are not so many or they do not add up."""
    cdef uint32_t size
    while count:
        if <size_t>(end - at) < sizeof(request_t):
            return end
        size = (<const request_t*>at).size
        if size < sizeof(request_t) or size > <size_t>(end - at) or size & 7:
            return end
        at += size
        count -= 1
    return at if <size_t>(end - at) >= sizeof(request_t) else end


cdef arity_t _arity_of(spec):
    """How many words an envelope of this command has; one that does not run on a shard fits none."""
    cdef arity_t arity
    arity.least, arity.most = 1, 0
    if spec.on_shard:
        arity.least = abs(spec.arity) - spec.words
        arity.most = arity.least if spec.arity > 0 else UINT32_MAX
    return arity


cdef class Executor:
    """Runs batches on one shard.

    :param databases: a `Database` for each index
    :param block: this process's block of the board
    :param send: sends a batch of replies
    :param control: ``control(message, words, number, client) -> value`` answers the frontend's own messages
    :param waiters: the blocked clients (`mpkv.workers.blocking.Waiters`)
    :param evictor: makes room before a command where memory is short
    :param pages: for replies of at least `large` bytes; :param request_pages: where large words may lie
    """

    def __cinit__(
        self, Keyspace keyspace, list databases, table, Block block, send, control, waiters, Evictor evictor not None,
        Pool pages=None, Pool request_pages=None, size_t large=<size_t>-1,
    ):
        self.keyspace = keyspace
        self.databases = databases
        self.specs = list(table.values())
        self.handlers = [spec.handler for spec in self.specs]
        self.block = block
        self.last_number = block.last_number        # goes on where the shard's last worker stopped (R10)
        self.send = send
        self.control = control
        self.waiters = waiters
        self.evictor = evictor
        self.commands = len(self.specs)
        self.shortcuts = <shortcut_t*>calloc(self.commands, sizeof(shortcut_t))
        self.arities = <arity_t*>calloc(self.commands, sizeof(arity_t))
        if self.shortcuts == NULL or self.arities == NULL:
            raise MemoryError
        for spec in self.specs:
            self.arities[<int>spec.number] = _arity_of(spec)
            if spec.on_shard:
                self.shortcuts[<int>spec.number] = find_shortcut(spec.name)
        self.shortcuts_on = True
        self.noted_from_ns = INT64_MAX
        self.record = []
        self.pages, self.request_pages = pages, request_pages
        self.request_area = &self.request_pages.area if request_pages is not None else NULL
        self.large = keyspace.large = large if pages is not None else <size_t>-1
        self._begin_replies()

    def __dealloc__(self):
        free(self.shortcuts)
        free(self.arities)
        free(self.words)
        buffer_free(&self.out)


    def use_shortcuts(self, bint on) -> None:
        """Off: every command takes its handler (for tests that compare both ways)."""
        self.shortcuts_on = on

    def start_epoch(self, epoch: int) -> None:
        """A new link: its batches are counted from 1."""
        self.epoch = epoch
        self.sent_batches = 0

    cdef int _begin_replies(self) except -1:
        if begin_batch(&self.out) < 0:
            raise MemoryError
        self.answers = 0
        self.referred = 0
        return 0

    cpdef int flush(self) except -1:
        """Step 11: send the replies that have gathered."""
        cdef batch_t* head
        if self.answers == 0:
            return 0
        self.publish()
        self.block.add(LINK_OUT_BATCHES, 1)
        self.block.add(LINK_OUT_BYTES, self.out.size + self.referred)
        head = <batch_t*>self.out.data
        head.magic = BATCH_MAGIC
        head.epoch = <unsigned>self.epoch
        self.sent_batches += 1
        head.counter = self.sent_batches
        head.last_number = self.last_number
        head.count = <unsigned>self.answers
        head.sent_us = <uint32_t>(monotonic_ns() // 1000)
        batch = PyBytes_FromStringAndSize(self.out.data, self.out.size)
        if self.out.capacity > 4 * REPLY_BYTES:
            buffer_free(&self.out)
        self._begin_replies()
        self.send(batch)
        return 0

    cpdef int publish(self) except -1:
        """Bring to the board what the keyspace counts: before the replies leave, so that INFO knows of what was
        answered.
        """
        cdef Keyspace keyspace = self.keyspace
        cdef int db
        self.block.set_total(KEYSPACE_HITS, keyspace.hits)
        self.block.set_total(KEYSPACE_MISSES, keyspace.misses)
        self.block.set_total(EXPIRED_KEYS, keyspace.expired)
        self.block.set_total(EVICTED_KEYS, keyspace.evicted)
        self.block.set_total(LAZYFREED_OBJECTS, keyspace.lazy.freed)
        self.block.set(LAZYFREE_PENDING, keyspace.lazy.pending)
        self.block.set(DIRTY, keyspace.dirty - self.saved_dirty)
        self._publish_memory()
        self.block.set(TOTAL_BLOCKING_KEYS, len(keyspace.waiting))
        self.block.set(TOTAL_WATCHED_KEYS, len(keyspace.watched))
        for db in range(keyspace.databases):
            self.block.set_database(
                db, keyspace.size(db), keyspace.volatile(db), keyspace.average_ttl_ms(db), keyspace.table_bytes(db)
            )
        return 0

    cdef void _publish_memory(self) noexcept:
        cdef usage_t memory
        cdef int account
        usage(&memory)
        self.block.set(USED_MEMORY, memory.used)
        self.block.raise_to(USED_MEMORY_PEAK, memory.used)
        self.block.set(USED_MEMORY_OVERHEAD, used_by(TABLES))
        for account in range(TABLES):
            self.block.set(USED_MEMORY_STRINGS + account, used_by(account))
        self.block.set(ALLOCATOR_ACTIVE, memory.active)
        self.block.set(ALLOCATOR_RESIDENT, memory.resident)

    cpdef bint run_batch(self, bytes batch) except -1:
        """Run every envelope of a batch and send the replies; whether the frontend had something to say itself."""
        cdef const char* at = PyBytes_AS_STRING(batch)
        cdef const char* end = at + PyBytes_GET_SIZE(batch)
        cdef const char* begin
        cdef const char* place_ahead
        cdef const char* table_ahead
        cdef const char* entry_ahead
        cdef batch_t top
        cdef request_t head
        cdef int result
        cdef int64_t began_ns, took_ns
        cdef bint controlled = False
        if open_batch(at, end - at, &top) < 0:
            raise BatchFault("not a batch")
        if top.now_ms > self.keyspace.now_ms:       # R4: the largest stamp received
            self.keyspace.now_ms = top.now_ms
        at += sizeof(batch_t)
        self.clock_ns = began_ns = monotonic_ns()
        self.block.add(LINK_IN_BATCHES, 1)
        self.block.add(LINK_IN_BYTES, PyBytes_GET_SIZE(batch))
        if top.count:           # else a tick
            self.block.observe(BATCH_COMMANDS, 0, top.count, 1)
            self.block.observe(QUEUE_WAIT_NANOSECONDS, 10, waited_ns(top.sent_us, began_ns), top.count)
        place_ahead = _skip(at, end, 9)
        table_ahead = _skip(at, end, 6)
        entry_ahead = _skip(at, end, 3)
        while True:
            begin = at
            if entry_ahead != end:
                self._look_ahead(&place_ahead, &table_ahead, &entry_ahead, end)
            result = next_request(&at, end, &head, &self.words, &self.room, self.request_area)
            if result <= 0:
                break
            if head.flags & FLAG_REFERS and head.kind != EXEC:
                self.block.add(LINK_IN_BYTES, self._words_size(&head))
            if self.evictor.limit:
                self.evictor.relieve()
            if head.number > <uint64_t>INT64_MAX:
                raise BatchFault(f"an envelope has the number {head.number}")   # on the board successors would find it
            self.parts = head.parts
            # A message of the frontend's own has a number of its own kind: negative, it is no command's
            self.block.begin_command(head.number, -<int>head.command if head.kind == CONTROL else head.command)
            if head.kind == REQUEST_KIND:
                self._request(&head, head.number)
                if self.keyspace.effects_wanted:
                    self._sink(head.number, head.parts)
            elif head.kind == EXEC:
                self._exec(&head, begin + sizeof(request_t), at)
            elif head.kind != CONTROL:
                raise BatchFault(f"an envelope of kind {head.kind}")
            else:
                self.words_count = head.argc
                controlled = True
                self._control(head.command, head.number, head.client)
                self.clock_ns = monotonic_ns()          # the next command did not take that time
            self.answers += 1
            if head.number > self.last_number:
                self.last_number = head.number
            if PyList_GET_SIZE(self.keyspace.ready):
                self._serve_waiters(head.number)
            if self.out.size + self.referred > REPLY_BYTES:
                self.block.end_command(self.last_number)
                self.flush()
                self.clock_ns = monotonic_ns()
        if result == -1:
            raise BatchFault("an envelope does not add up")
        if result < 0:
            raise MemoryError
        self.block.end_command(self.last_number)
        self.block.add(EVENTLOOP_CYCLES, 1)
        took_ns = monotonic_ns() - began_ns
        self.block.add(EVENTLOOP_NANOSECONDS, took_ns)
        if top.count:
            self.block.observe(BATCH_EXECUTE_NANOSECONDS, 10, took_ns, 1)
        self.flush()
        return controlled

    cdef void _look_ahead(
        self, const char** place, const char** table, const char** entry, const char* end
    ) noexcept nogil:
        """Bring in what requests further on in the batch will look up, each a step nearer to its turn."""
        cdef const request_t* head
        cdef const uint32_t* sizes
        cdef size_t text
        if place[0] != end:
            head = <const request_t*>place[0]
            if self._has_place(head):
                self.keyspace.fetch_place(head.database, head.slot)
            place[0] = _skip(place[0], end, 1)
        if table[0] != end:
            head = <const request_t*>table[0]
            if self._has_place(head):
                self.keyspace.fetch_table(head.database, head.slot)
            table[0] = _skip(table[0], end, 1)
        head = <const request_t*>entry[0]
        if self._has_place(head) and head.argc and head.size <= <size_t>(end - entry[0]):
            sizes = <const uint32_t*>(entry[0] + sizeof(request_t))
            text = sizeof(request_t) + head.argc * sizeof(uint32_t)
            if text <= head.size and sizes[0] <= head.size - text:
                self.keyspace.fetch_entry(head.database, head.slot, <const char*>(sizes + head.argc), sizes[0])
        entry[0] = _skip(entry[0], end, 1)

    cdef bint _has_place(self, const request_t* head) noexcept nogil:
        """Whether an envelope further on is a request whose key could be somewhere; whatever it is, it is not refused
        before its turn."""
        return head.kind == REQUEST_KIND and head.database < self.keyspace.databases and head.slot < SLOTS

    # -- one request ---------------------------------------------------------------------------------------------------

    cdef int _check(self, const request_t* head) except -1:
        """Every number of a request that something is indexed by, and that there are the words which its command
        reads."""
        if (
            head.kind == REQUEST_KIND and head.command < self.commands and head.counted_as < self.commands
            and head.database < self.keyspace.databases and head.slot < SLOTS
            and self.arities[head.command].least <= head.argc <= self.arities[head.command].most
        ):
            return 0
        raise BatchFault(
            f"a request of kind {head.kind}: command {head.command}, counted as {head.counted_as}, on {head.argc} words"
            f" in slot {head.slot} of database {head.database}"
        )

    cdef int _request(self, request_t* head, uint64_t reply_number) except -1:
        """Run one request and append its reply. Inside a transaction the reply's number is its place in it."""
        self._check(head)
        cdef size_t at = begin_reply(&self.out)
        cdef size_t payload = self.out.size
        cdef uint64_t dirty = self.keyspace.dirty, hits = self.keyspace.hits, misses = self.keyspace.misses
        cdef shortcut_t shortcut = self.shortcuts[head.command]
        cdef int64_t now, elapsed_ns
        cdef bint blocked = False
        cdef int done = 0
        cdef const char* reply
        cdef size_t size
        if at == 0:
            raise MemoryError
        self.keyspace.created = NULL
        if shortcut != NULL and self.shortcuts_on:
            done = shortcut(self.keyspace, head, self.words, &self.out)
        if done == LEFT:
            self._emit_left(at, reply_number)
        elif done == 0:
            self.out.size = payload
            self.keyspace.hits, self.keyspace.misses = hits, misses     # the handler looks again
            blocked = self._by_handler(head, at, reply_number)
        else:
            if done < 0:
                self.out.size = payload
                encode(&self.out, self._out_of_memory(self.specs[head.command], dirty), 2)
            if end_reply(&self.out, at, reply_number, REPLY) < 0:
                raise MemoryError
        self._lay_out(at)
        if self.keyspace.effects_wanted:
            self._note_effects(head, self.keyspace.dirty != dirty)
        elif PyList_GET_SIZE(self.keyspace.effects):
            self.keyspace.effects.clear()       # handlers declare them whether anybody listens or not
        now = monotonic_ns()
        if not blocked:         # such a call is counted when it ends
            # the buffer may have moved: the payload is found by its offset
            elapsed_ns = now - self.clock_ns
            reply = self._reply_at(at, &size)
            self._count(head, elapsed_ns, reply, size)
            if elapsed_ns >= self.noted_from_ns:
                self._note(head, at, elapsed_ns, now)
        self.clock_ns = now
        return 0

    cdef int _emit_left(self, size_t at, uint64_t number) except -1:
        """The reply begun at `at` is a large word: bring it into pages, with what belongs around it."""
        cdef const char* data = self.keyspace.left.data
        cdef size_t size = self.keyspace.left.size
        cdef uint32_t run = 0
        cdef Buffer direct
        if not self.in_exec:
            run = self.pages.take(size + HEAD_CHARS + 2)
        if run == 0:
            if emit_bulk(&self.out, data, size) < 0 or end_reply(&self.out, at, number, REPLY) < 0:
                raise MemoryError
            return 0
        direct.data, direct.size, direct.capacity = self.pages.data_of(run), 0, self.pages.room_of(run)
        emit_bulk(&direct, data, size)      # there is room for it
        if end_reply(&self.out, at, number, REPLY) < 0:
            self.pages.drop(run)
            raise MemoryError
        return self._refer(at, run, direct.size)

    cdef int _lay_out(self, size_t at) except -1:
        """Bring the reply that was completed last into pages, if it is large and there is room."""
        cdef const reply_t* head = <const reply_t*>(self.out.data + at)
        cdef uint32_t run
        cdef size_t size = head.size
        if size < self.large or head.refers or self.in_exec:
            return 0
        run = self.pages.take(size)
        if run == 0:
            self.block.add(LARGE_WITHOUT_ROOM, 1)
            return 0
        memcpy(self.pages.data_of(run), self.out.data + at + sizeof(reply_t), size)
        return self._refer(at, run, size)

    cdef int _refer(self, size_t at, uint32_t run, size_t size) except -1:
        """The reply completed last is in this run, which goes to the frontend with it."""
        if refer_reply(&self.out, at, self.pages.data_of(run) - self.pages.area.base, size) < 0:
            self.pages.drop(run)
            raise MemoryError
        self.pages.lend(run)
        self.referred += size
        self.block.add(LARGE_BY_REFERENCE, 1)
        return 0

    cdef const char* _reply_at(self, size_t at, size_t* size) noexcept:
        """The bytes of the reply that begins at `at` and has ended, wherever they are."""
        cdef const reply_t* head = <const reply_t*>(self.out.data + at)
        cdef const reference_t* reference = <const reference_t*>(head + 1)
        if head.refers:
            size[0] = reference.size
            return self.pages.area.base + reference.offset
        size[0] = head.size
        return <const char*>(head + 1)

    cdef void _count(self, const request_t* head, int64_t elapsed_ns, const char* reply, size_t size) noexcept:
        """Of the parts of a command, which run side by side, the first counts as the call, with its time."""
        cdef bint failed = size > 0 and reply[0] == c"-" and not head.flags & FLAG_PART
        if failed:
            self.block.record_error(reply, size)
        if head.flags & FLAG_FIRST:
            self.block.record_command(head.counted_as, elapsed_ns, failed)
        self.block.record_sizes(head.counted_as, self._words_size(head), size)

    cdef int64_t _words_size(self, const request_t* head) noexcept:
        """Of the request being run: its words stand one behind the other, unless some lie in pages."""
        cdef size_t count = head.argc
        cdef size_t i
        cdef int64_t size = 0
        if count == 0:
            return 0
        if head.flags & FLAG_REFERS:
            for i in range(count):
                size += self.words[i].size
            return size
        return self.words[count - 1].data + self.words[count - 1].size - self.words[0].data

    cdef int _note(self, const request_t* head, size_t at, int64_t elapsed_ns, int64_t now_ns) except -1:
        """Put the times of a slow execution behind its reply, which begins at `at` and is the last one."""
        cdef note_t note
        note.execute_ns = elapsed_ns
        note.ended_ns = now_ns
        note.queue_us = <uint32_t>((now_ns - elapsed_ns) // 1000) - head.queued_us if head.queued_us else 0
        note.shard = self.keyspace.shard
        note.database = head.database
        if add_note(&self.out, at, &note) < 0:
            raise MemoryError
        return 0

    cdef int _by_handler(self, request_t* head, size_t at, uint64_t reply_number) except -1:
        """Step 9, the general way: the handler, with its words as bytes. 1 if the client waits now."""
        cdef size_t i
        cdef int64_t[3] news
        cdef uint32_t kind = REPLY
        cdef int protocol = 3 if head.flags & FLAG_RESP3 else 2
        cdef uint64_t dirty = self.keyspace.dirty
        cdef size_t payload = self.out.size
        spec = self.specs[head.command]
        try:
            words = [PyBytes_FromStringAndSize(self.words[i].data, self.words[i].size) for i in range(head.argc)]
            value = self._call(spec, self.databases[head.database], words)
        except MemoryError:
            value = self._out_of_memory(spec, dirty)
        if isinstance(value, Blocked):
            if head.flags & FLAG_NO_BLOCK:
                value = value.in_transaction
            else:
                self.waiters.add(head.number, spec, words, head.database, protocol, value)
                kind = BLOCKED
                news[0], news[1], news[2] = value.timeout_ms, head.number, self.keyspace.shard
                if buffer_append(&self.out, <const char*>news, sizeof(news)) < 0:
                    raise MemoryError
        if kind == REPLY:
            try:
                encode(&self.out, value, protocol)
            except MemoryError:
                self.out.size = payload
                encode(&self.out, self._out_of_memory(spec, dirty), protocol)
        if end_reply(&self.out, at, reply_number, kind) < 0:
            raise MemoryError
        return kind == BLOCKED

    def _call(self, spec, db, words):
        """Call a handler: its value, or the error that it raised."""
        cdef uint64_t dirty = self.keyspace.dirty
        self.keyspace.created = NULL
        try:
            return spec.handler(db, *words)
        except CommandError as error:
            error.__traceback__ = None      # shared instances would gather a frame at every raise
            return self._out_of_memory(spec, dirty) if error is errors.OUT_OF_MEMORY else error
        except MemoryError:
            return self._out_of_memory(spec, dirty)
        except Exception:
            # Not the words: they may be secrets
            logger.critical("%s failed on %d words", spec.name, len(words), exc_info=True)
            return INTERNAL_ERROR

    def _out_of_memory(self, spec, uint64_t dirty):
        """The reply to a command that found no memory and has changed nothing: `dirty` is what counted changes before
        it."""
        if self.keyspace.torn or self.keyspace.dirty != dirty:
            raise HalfDone(f"{spec.name}: out of memory after something was changed")
        if self.parts > 1 and spec.flags & WRITE:
            raise HalfDone(f"{spec.name}: out of memory for a part, others may have been done")
        self.keyspace.drop_created()
        return errors.OUT_OF_MEMORY

    cdef int _exec(self, request_t* head, const char* at, const char* end) except -1:
        """Run the requests of a transaction with nothing in between; one reply that holds all of theirs."""
        cdef size_t outer = begin_reply(&self.out)
        cdef request_t inner
        cdef uint64_t place = 0
        cdef int64_t began_ns = self.clock_ns
        cdef int result
        if outer == 0:
            raise MemoryError
        if head.flags & FLAG_REFERS:
            raise BatchFault("a transaction that refers to pages")
        # Sent again, the shard has fallen back to its snapshot meanwhile: what was watched may have changed
        if head.flags & FLAG_WATCHED and (head.flags & FLAG_RESENT or not self._watched_unchanged(head.client)):
            return end_reply(&self.out, outer, head.number, ABORTED)
        self.in_exec = True
        try:
            while True:
                result = next_request(&at, end, &inner, &self.words, &self.room, self.request_area)
                if result <= 0:
                    break
                if not inner.flags & FLAG_NO_BLOCK:
                    raise BatchFault(f"request {place} of a transaction might wait")
                self._request(&inner, place)
                place += 1
        finally:
            self.in_exec = False
        if result < -1:
            raise MemoryError
        if result < 0 or place != head.argc:
            raise BatchFault(f"a transaction of {head.argc} requests, of which {place} could be read")
        if end_reply(&self.out, outer, head.number, REPLY) < 0:
            raise MemoryError
        self._lay_out(outer)
        if self.clock_ns - began_ns >= self.noted_from_ns:
            self._note(head, outer, self.clock_ns - began_ns, self.clock_ns)
        self._sink(head.number, head.parts)
        return 0

    def _control(self, int message, number, client):
        """A message of the frontend's own: its answer is RESP2."""
        cdef size_t at
        cdef size_t i
        words = [PyBytes_FromStringAndSize(self.words[i].data, self.words[i].size) for i in range(self.words_count)]
        value = self.control(message, words, number, client)
        at = begin_reply(&self.out)
        encode(&self.out, value, 2)
        if at == 0 or end_reply(&self.out, at, number, REPLY) < 0:
            raise MemoryError
        self._lay_out(at)

    # -- watched keys --------------------------------------------------------------------------------------------------

    def watch(self, client, int database, keys) -> None:
        """Mark keys as watched; one that has expired is absent from now on."""
        db = self.databases[database]
        for key in keys:
            db.exists(key)
            self.keyspace.watched.setdefault((database, key), set()).add(client)

    def unwatch(self, client) -> None:
        """Forget what a client watches."""
        watched = self.keyspace.watched
        for place in [place for place, clients in watched.items() if client in clients]:
            watched[place].discard(client)
            if not watched[place]:
                del watched[place]
        self.keyspace.dirty_clients.discard(client)

    cdef bint _watched_unchanged(self, client) except -1:
        # A watched key whose time is over counts as changed: looking it up deletes it
        for (database, key), clients in list(self.keyspace.watched.items()):
            if client in clients:
                self.databases[database].exists(key)
        unchanged = client not in self.keyspace.dirty_clients
        self.unwatch(client)
        return unchanged

    # -- blocked clients -----------------------------------------------------------------------------------------------

    def _serve_waiters(self, number):
        """At the end of a message: whoever waits for what it has brought, first come first served."""
        for waiter, value in self.waiters.serve(self._call_waiter):
            self.late(waiter, value)
        self.clock_ns = monotonic_ns()
        self._sink(number, 1)

    def _call_waiter(self, waiter):
        cdef uint64_t dirty = self.keyspace.dirty
        cdef request_t head
        value = self._call(waiter.spec, self.databases[waiter.database], waiter.words)
        if not self.keyspace.effects_wanted:
            self.keyspace.effects.clear()
        elif self.keyspace.dirty != dirty:
            self._gather_effects(waiter.spec, waiter.database, waiter.words, True)
        return value

    def late(self, waiter, value, bint counts=True) -> None:
        """The reply to a request that was blocked. It counts as a call now, unless nobody is there to hear it."""
        cdef size_t at = begin_reply(&self.out)
        cdef size_t payload = self.out.size
        cdef int64_t now = monotonic_ns()
        cdef request_t waited
        cdef bint failed
        encode(&self.out, value, waiter.protocol)
        if at == 0 or end_reply(&self.out, at, waiter.number, LATE) < 0:
            raise MemoryError
        if counts:
            failed = self.out.data[payload] == c"-"
            if failed:
                self.block.record_error(self.out.data + payload, self.out.size - payload)
            self.block.record_command(waiter.spec.number, now - self.clock_ns, failed)
            self.block.record_sizes(waiter.spec.number, sum(map(len, waiter.words)), _reply_size(&self.out, at))
        self._lay_out(at)
        if counts:
            if now - self.clock_ns >= self.noted_from_ns:
                memset(&waited, 0, sizeof(waited))      # its time in a queue was not that of a queue
                waited.database = waiter.database
                self._note(&waited, at, now - self.clock_ns, now)
        self.clock_ns = now
        self.answers += 1

    def event(self, payload: bytes) -> None:
        """News for the frontend that is no answer."""
        cdef size_t at = begin_reply(&self.out)
        if at == 0 or buffer_append(&self.out, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload)) < 0:
            raise MemoryError
        if end_reply(&self.out, at, 0, EVENT) < 0:
            raise MemoryError
        self.answers += 1

    # -- effects -------------------------------------------------------------------------------------------------------

    cdef int _note_effects(self, request_t* head, bint wrote) except -1:
        cdef size_t i
        words = None
        if wrote and not self.keyspace.effects:
            words = [PyBytes_FromStringAndSize(self.words[i].data, self.words[i].size) for i in range(head.argc)]
        self._gather_effects(self.specs[head.command], head.database, words, wrote)
        return 0

    def _gather_effects(self, spec, database, words, wrote):
        """What this command did, in the words that the log will hold: expired keys first, then what the handler
        declared, else the command itself."""
        keyspace = self.keyspace
        if keyspace.expired_effects:
            self.record.extend(keyspace.expired_effects)
            keyspace.expired_effects.clear()
        if keyspace.effects:
            self.record.extend(keyspace.effects)
            keyspace.effects.clear()
        elif wrote and spec.flags & Flag.WRITE:
            self.record.append((database, (*spec.name.upper().encode().split(b"|"), *words)))

    def _sink(self, number, parts):
        """Hand the effects of one command over; a part of several hands over even an empty record, or recovery would
        call it torn."""
        if self.keyspace.effects_wanted and (self.record or parts > 1):
            self.sink(number, parts, self.record)
            self.record = []

    def want_effects(self, sink) -> None:
        """Deliver every effect to ``sink(number, parts, [(database, words)])``; None stops it."""
        self.sink = sink
        self.keyspace.effects_wanted = sink is not None
        self.record = []
