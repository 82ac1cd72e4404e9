"""Steps 1, 2 and 13: one client's connection – bytes in, requests out of them, replies back in request order.

A request takes a *place* when it is dispatched; its reply leaves when those of all earlier places have left. Replies
usually come in order and go straight into the output buffer; one that overtakes is put aside in a small ring.

What bounds a connection: a slice of requests per turn of the loop (`SLICE`), so that a deep pipeline does not delay
the others; the number of its replies outstanding (`MOST_OUTSTANDING`, fewer if they are large) and the bytes of its
requests under way (client-max-inflight); while it is stopped, reading pauses at `INPUT_PAUSE` bytes that wait to be
parsed; a request that outgrows the query-buffer limit closes it, and so does output beyond the client's limit. While
it is `stopped`, for any of the reasons in connection.pxd, nothing is parsed.

All connections read into one shared buffer; bytes are copied only when a request is incomplete. An idle connection owns
no buffers. A large request is read into pages that its worker sees, as soon as it is known to be large, and a large
reply is written from where the worker has put it. No client holds pages for long: what its socket does not take of a
reply is copied, and so is a request that takes more than a moment to arrive.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memmove, memset

from mpkv.buffer cimport Buffer, buffer_append, buffer_free, buffer_reserve
from mpkv.frontend.router cimport GENERAL, HOT_KEYS, HOT_PING, NOT_NOW, ROUTED, Router, info_t
from mpkv.resp.encoder cimport encode
from mpkv.resp.parser cimport PARSE_ERROR, PARSE_MORE, PARSE_NOTHING, PARSE_REQUEST, Parser, arg_t
from mpkv.shm.board cimport (
    BACK_PRESSURE_PAUSES, TOTAL_NET_INPUT_BYTES, TOTAL_NET_OUTPUT_BYTES, TOTAL_READS_PROCESSED, TOTAL_WRITES_PROCESSED,
)
from mpkv.wire cimport BLOCKED, LATE, REPLY, note_t

import logging

from mpkv.frontend.router import NotNow

logger = logging.getLogger(__name__)

cdef extern from "<sys/socket.h>" nogil:
    ssize_t send(int fd, const void* data, size_t size, int flags)
    int MSG_DONTWAIT, MSG_NOSIGNAL

cdef extern from "<sys/ioctl.h>" nogil:
    int ioctl(int fd, unsigned long request, ...)
    unsigned long FIONREAD

cdef enum:
    SHARED_BUFFER = 256 * 1024
    SLICE = 256                     # requests of one connection in one turn
    MOST_OUTSTANDING = 4096         # replies a connection may be owed, if they are small
    FIRST_OUTSTANDING = 16          # … and while nothing is known of them yet
    LEAST_OUTSTANDING = 2           # … and if they are huge
    REPLY_BUDGET = 4 << 20          # bytes of replies that may be on their way to it, judged by its last ones
    SMALL_REPLY = 1000
    INPUT_PAUSE = 1024 * 1024       # unparsed bytes beyond which reading pauses while the connection is stopped
    UNAUTHENTICATED_INPUT = 1024 * 1024
    MOST_ANNOUNCED = 4 << 20        # pages that are taken because of what was announced; more for what has arrived
    KEEP_BUFFER = 16 * 1024         # larger buffers are given back when empty
    OUTPUT_CHUNK = 1024 * 1024      # output is handed to the transport at the latest when it is that large
    MOST_HELD = 16 * 1024           # output that waits for the other replies of its group
    LARGE_REPLY = 16 * 1024         # a system call of its own costs less than to gather it with others
    PING_NS = 1000                  # what a PING is said to take: looking at the clock would take longer

# What ends by itself, soon: requests that were read wait for those before them
cdef uint32_t STOPS_THAT_PASS = STOP_SLICE | STOP_ROOM | STOP_IN_FLIGHT

cdef char[SHARED_BUFFER] _shared
_shared_view = PyMemoryView_FromMemory(_shared, SHARED_BUFFER, PyBUF_WRITE)


cdef class Connection(Receiver):
    """An asyncio BufferedProtocol.

    `server` is the frontend: it must have ``perform(connection, words)``, ``opened``, ``closed``, ``blocked``,
    ``protocol_error`` and `slow`.
    """

    def __cinit__(self, server, Router router, uint64_t id):
        self.server = server
        self.router = router
        self.id = id
        self.parser = Parser()
        self.direct_fd = -1
        self.window = FIRST_OUTSTANDING
        self.protocol = 2

    def __dealloc__(self):
        if self.input_run == 0:         # pages are let go of when the connection is lost; here the router may be gone
            buffer_free(&self.input)
        buffer_free(&self.output)
        self._drop_stash()

    def _drop_stash(self):
        cdef uint64_t i
        for i in range(self.stash_room):
            free(self.stash[i].data)
        free(self.stash)
        self.stash = NULL
        self.stash_room = 0

    # -- the transport's side ------------------------------------------------------------------------------------------

    def connection_made(self, transport):
        self.transport = transport
        # TLS has to encrypt first
        if transport.get_extra_info("sslcontext") is None:
            self.direct_fd = transport.get_extra_info("socket").fileno()
        self.server.opened(self)

    def connection_lost(self, error):
        self.direct_fd = -1
        if not self.closed:
            self.closed = True
            self.stopped |= STOP_CLOSING
            self.server.closed(self)
            self._free_input()
            buffer_free(&self.output)

    def eof_received(self):
        """The client has sent its last byte: what came before it is still executed and answered, but for waits."""
        self.at_end = True
        if self.stopped & STOP_BLOCKED:
            self._end_wait()
            return True
        self._continue()            # it may have been about to go on
        self._close_at_end()
        return True

    cdef int _close_at_end(self) except -1:
        if self.at_end and not self.stopped and not self.closed:
            self.close_after_replies()
        return 0

    cdef int _end_wait(self) except -1:
        """Who has sent his last byte waits for no key any more; the replies before the wait are still his."""
        if self.at_end and self.stopped & STOP_BLOCKED and self.next_out == self.blocked_index:
            self._close_gently()
        return 0

    def pause_writing(self):
        self.backed_up = True
        self.server.output_backed_up(self)

    def resume_writing(self):
        self.backed_up = False
        self.soft_limit_since = None

    def get_buffer(self, sizehint):
        cdef size_t left = self.input.size - self.start
        cdef size_t room
        if left == 0 and self.input_run == 0 and not self._expects_large():
            return _shared_view
        room = self.parser.wanted if not self.stopped else 0
        if self.input_run == 0 or self.input.size == self.input.capacity:
            if not self._wants_pages(left, room) or not self._read_into_pages(left + room):
                self._leave_pages()
                if self.start:
                    memmove(self.input.data, self.input.data + self.start, left)
                    self.input.size = left
                    self.start = 0
                # Grows with what has arrived, never by what was announced
                room = max(<size_t>16 * 1024, min(room, max(left, <size_t>64 * 1024)))
                if buffer_reserve(&self.input, room) < 0:
                    raise MemoryError
        return PyMemoryView_FromMemory(
            self.input.data + self.input.size, self.input.capacity - self.input.size, PyBUF_WRITE
        )

    def buffer_updated(self, Py_ssize_t size):
        cdef size_t consumed
        self.bytes_in += size
        self.router.block.add(TOTAL_NET_INPUT_BYTES, size)
        self.router.block.add(TOTAL_READS_PROCESSED, 1)
        self.last_active = self.router.seconds
        self.router.begin_read()
        try:
            if self.input.size == 0 and self.input_run == 0:
                consumed = self._run(_shared, size) if not self.stopped else 0
                if consumed < <size_t>size and not self.closed:
                    self._keep(_shared + consumed, size - consumed)
            else:
                self.input.size += size
                self._continue()
            self._update_reading()
            self._begin_group()
        finally:
            self.router.end_read()
        if self.output.size:
            # Answered here: nothing that the link brings would write it out
            if self.next_in == self.next_out:
                self._write()
            else:
                self.router.schedule_flush()

    cdef bint _expects_large(self) noexcept:
        """Whether what the client sends next is read into pages from its first byte: its last request was large, and
        something has come (nobody is to sit on pages and wait)."""
        cdef int readable = 0
        if self.expects == 0 or self.direct_fd < 0 or ioctl(self.direct_fd, FIONREAD, &readable) < 0 or not readable:
            return False
        return self._read_into_pages(self.expects)

    cdef bint _wants_pages(self, size_t left, size_t room) noexcept:
        """Whether the request of which `left` bytes are there and at least `room` are to come is large."""
        if self.stopped or not self.authenticated:
            return False
        if self.input_run:
            return room >= self.router.large or left >= self.router.large
        # what has had to leave pages, or found none, does not come back: it would be copied each time
        return room >= self.router.large and left <= SHARED_BUFFER

    cdef bint _read_into_pages(self, size_t room) noexcept:
        """Have `input` lie in pages with so much room in all, and bring there what has been read; False: there are none
        free."""
        cdef size_t left = self.input.size - self.start
        cdef uint32_t run
        if self.router.pages is None:
            return False
        if left >= self.router.large:   # of one request with several large words each makes it longer
            room = max(room, 2 * left)
        room = min(room, max(<size_t>MOST_ANNOUNCED, 2 * left))
        run = self.router.pages.take(room)
        if run == 0:
            return False
        if left:
            memcpy(self.router.pages.data_of(run), self.input.data + self.start, left)
        self._free_input()
        self.input.data = self.router.pages.data_of(run)
        self.input.capacity = self.router.pages.room_of(run)
        self.input.size = left
        self.input_run = run
        self.input_since = self.router.seconds
        return True

    cdef int _leave_pages(self) except -1:
        """Bring what has been read into memory of its own."""
        cdef Buffer own
        if self.input_run == 0:
            return 0
        memset(&own, 0, sizeof(own))
        if buffer_append(&own, self.input.data + self.start, self.input.size - self.start) < 0:
            raise MemoryError
        self._free_input()
        self.input = own
        return 0

    cdef void _free_input(self) noexcept:
        if self.input_run:
            self.router.pages.drop(self.input_run)
            self.input_run = 0
            memset(&self.input, 0, sizeof(self.input))
        else:
            buffer_free(&self.input)
        self.start = 0

    cdef int _keep(self, const char* data, size_t size) except -1:
        if self._wants_pages(0, self.parser.wanted) and self._read_into_pages(size + self.parser.wanted):
            memcpy(self.input.data, data, size)
            self.input.size = size
            return 0
        if buffer_append(&self.input, data, size) < 0:
            raise MemoryError
        return 0

    cdef int _continue(self) except -1:
        """Parse on in what has been kept."""
        cdef size_t consumed
        if self.closed or self.input.size == self.start:
            return 0
        if not self.stopped:
            consumed = self._run(self.input.data + self.start, self.input.size - self.start)
            if self.closed:
                return 0
            self.start += consumed
            if self.start == self.input.size:
                self.start = self.input.size = 0
                if self.input_run or self.input.capacity > KEEP_BUFFER:
                    self._free_input()
        return 0

    cdef int _update_reading(self) except -1:
        cdef size_t left = self.input.size - self.start
        if self.closed:
            return 0
        if self.stopped & STOP_BLOCKED and left <= self.router.query_buffer_limit:
            # It may wait for ever, and only reading tells that it has gone
            if self.reading_paused and not self.at_end:
                self.reading_paused = False
                self.transport.resume_reading()
            return 0
        if self.stopped and not self.stopped & STOP_BLOCKED:
            if left > INPUT_PAUSE and not self.reading_paused:
                self.reading_paused = True
                self.router.block.add(BACK_PRESSURE_PAUSES, 1)
                self.transport.pause_reading()
            return 0
        # What is left now is one unfinished request
        if left > self.router.query_buffer_limit or (not self.authenticated and left > UNAUTHENTICATED_INPUT):
            self.server.query_buffer_exceeded(self)
            return 0
        if self.reading_paused:
            self.reading_paused = False
            if not self.at_end:
                self.transport.resume_reading()
        return 0

    # -- requests ------------------------------------------------------------------------------------------------------

    cdef size_t _run(self, const char* data, size_t size) except? 0xFFFFFFFFFFFFFFFF:
        """Dispatch the requests in `data`; how many bytes were consumed."""
        cdef size_t done = 0
        cdef int slice = SLICE
        cdef int result
        cdef limits_t limits
        limits.max_bulk = self.router.max_bulk
        limits.max_inline = 64 * 1024
        self.in_run = True
        try:
            while done < size and not self.stopped:
                limits.unauthenticated = not self.authenticated
                result = self.parser.feed(data + done, size - done, &limits)
                if result == PARSE_MORE:
                    break
                if result == PARSE_REQUEST:
                    if slice == 0:
                        self.stopped |= STOP_SLICE
                        self.router.run_again(self)
                        break
                    slice -= 1
                    if self._dispatch(self.parser.argv, self.parser.argc) == NOT_NOW:
                        break
                elif result == PARSE_ERROR:
                    self.server.protocol_error(self, (<bytes>self.parser.error).decode("latin-1"))
                    done = size
                    break
                done += self.parser.consumed
                self.in_flight_bytes += self.parser.consumed
        finally:
            self.in_run = False
        if self.stopped & STOP_CLOSING:
            done = size
        return done

    cdef int _dispatch(self, arg_t* argv, size_t argc) except -1:
        """Steps 3 to 6 for one request: NOT_NOW leaves it where it is, to be parsed again."""
        cdef const info_t* info
        cdef int routed
        cdef size_t i
        cdef bint large = self.parser.consumed >= self.router.large
        self.expects = self.parser.consumed if large else 0
        if (
            self.next_in - self.next_out >= self.window
            or self.in_flight_bytes > self.router.client_in_flight_limit
        ) and self._is_over_its_share():
            self.stopped |= STOP_IN_FLIGHT
            return NOT_NOW
        if self.plain:
            info = self.router.lookup(argv[0].data, argv[0].size)
            if info != NULL and (info.arity == <int>argc or (info.arity < 0 and <int>argc >= -info.arity)):
                if info.hot == HOT_KEYS:
                    routed = self.router.route(
                        self, self.next_in, self.id, self.database, self.protocol == 3, info, argv, argc, large,
                        self.input_run,
                    )
                    if routed == ROUTED:
                        self.next_in += 1
                        self.commands += 1
                        self.last_command = <object>self.router.name_pointers[info.number]
                        return 0
                    if routed == NOT_NOW:
                        self.stopped |= STOP_ROOM
                        self.router.stall(self)
                        return NOT_NOW
                elif info.hot == HOT_PING and argc == 1 and self.router.hold < 2:
                    self.commands += 1
                    self.router.block.record_command(info.number, PING_NS, False)
                    self._answer(b"+PONG\r\n", 7)
                    return 0
        words = [PyBytes_FromStringAndSize(argv[i].data, argv[i].size) for i in range(argc)]
        try:
            if self.server.perform(self, words):
                return NOT_NOW
        except NotNow:
            self.stopped |= STOP_ROOM
            self.router.stall(self)
            return NOT_NOW
        except Exception:
            # A fault of ours. Who waits for the reply must not wait for ever, and no later one may take its place
            logger.critical("a request failed in a way it must not: closing its connection", exc_info=True)
            self.kill()
        return 0

    cdef bint _is_over_its_share(self) noexcept:
        """Whether it must wait for replies first.

        The bytes under way are not booked reply by reply: they are counted in two generations, and the older is done
        when the reply to its last request has left. So they are never underrated, and a lone request of any size may
        go.
        """
        cdef int generation
        for generation in range(2):
            if self.next_out >= self.mark:
                self.in_flight_bytes -= self.older_bytes
                self.older_bytes = self.in_flight_bytes
                self.mark = self.next_in
        if self.next_in - self.next_out >= self.window:
            return True
        return self.in_flight_bytes > self.router.client_in_flight_limit

    def take_place(self) -> int:
        """The place of the next reply: every request takes one."""
        self.next_in += 1
        self.commands += 1
        return self.next_in - 1

    def give_back_place(self) -> None:
        """The place taken last is not used after all."""
        self.next_in -= 1
        self.commands -= 1

    @property
    def outstanding(self) -> int:
        """Replies that it is owed."""
        return self.next_in - self.next_out

    # -- stopping and going on -----------------------------------------------------------------------------------------

    def stop(self, unsigned reason) -> None:
        self.stopped |= reason

    def release(self, unsigned reason) -> None:
        """A reason to stop is over."""
        self.stopped &= ~reason
        if not self.stopped and not self.in_run and not self.closed:
            self.router.run_again(self)

    def settle(self) -> bool:
        """Whether all earlier replies are there; if not, the connection stops until they are."""
        if self.next_in == self.next_out:
            return True
        self.stopped |= STOP_SETTLING
        return False

    def go_on(self) -> None:
        """Parse on after a stop that has ended by itself: the slice, or room."""
        self.stopped &= ~(<uint32_t>(STOP_SLICE | STOP_ROOM))
        self._continue()
        self._update_reading()
        self._begin_group()
        if self.output.size:
            self.router.schedule_flush()
        self._close_at_end()

    # -- replies -------------------------------------------------------------------------------------------------------

    cdef int deliver(self, uint64_t index, uint32_t kind, const char* data, size_t size) except -1:
        """Step 12: a reply from a shard."""
        if self.closed:
            if kind == BLOCKED:
                self.server.blocked_in_vain(PyBytes_FromStringAndSize(data, size))
            return 0
        if kind == BLOCKED:
            self.stopped |= STOP_BLOCKED
            self._write()
            self.blocked_index = index
            self.server.blocked(self, PyBytes_FromStringAndSize(data, size))
            if self.at_end:
                self._end_wait()
            else:
                self._update_reading()
            return 0
        # A wait usually ends with a LATE; one that was sent again after its shard's death may be served at once
        if kind == LATE or (self.stopped & STOP_BLOCKED and index == self.blocked_index):
            self.server.unblocked(self)
            self.release(STOP_BLOCKED)
        if size > SMALL_REPLY or self.window != MOST_OUTSTANDING:
            self._learn_window(size)
        if index == self.next_out:
            self._emit(data, size)
            self.next_out += 1
            if self.stash_room:
                self._take_stashed()
            return self._after_reply()
        return self._put_aside(index, data, size)

    cdef void _learn_window(self, size_t size) noexcept:
        """How many replies it may be owed, by a running mean of their sizes.

        A short pipeline of requests for large values would else fill a worker, and all memory, before the first of them
        can be seen to be too much for the client.
        """
        self.reply_size += (<int64_t>size - self.reply_size) // 8
        self.window = max(LEAST_OUTSTANDING, min(MOST_OUTSTANDING, REPLY_BUDGET // (max(self.reply_size, 0) + 1)))

    cdef int lose(self, uint64_t index) except -1:
        """The worker died: whether the command was executed is not known, and the client learns that by the end of its
        connection."""
        if not self.closed and not self.transport.is_closing():     # else it ends already, for another of its commands
            self.server.outcome_unknown(self)
        return 0

    cdef int note(self, uint64_t index, const note_t* note, int command, arguments) except -1:
        """One of its commands was slow on its shard: an entry for the slow log."""
        self.server.slow.note_on_shard(
            self, command, arguments, note.execute_ns, note.queue_us, note.ended_ns, note.shard, note.database
        )
        return 0

    cdef bint is_gone(self) noexcept:
        return self.closed

    cdef int _emit(self, const char* data, size_t size) except -1:
        if self.reply_mode:
            if self.reply_mode == 1:
                return 0
            if self.reply_mode == 3:
                self.reply_mode = 0
                return 0
        if size >= LARGE_REPLY:
            return self._write_large(data, size)
        if not self.noted:
            self.noted = True
            self.router.note_output(self)
        if buffer_append(&self.output, data, size) < 0:
            raise MemoryError
        if self.output.size > OUTPUT_CHUNK:
            self._write()
        return 0

    cdef int _put_aside(self, uint64_t index, const char* data, size_t size) except -1:
        cdef stash_t* grown
        cdef stash_t* slot
        cdef uint64_t room = self.stash_room or 16
        cdef uint64_t i
        while index - self.next_out >= room:
            room *= 2
        if room != self.stash_room:
            grown = <stash_t*>calloc(room, sizeof(stash_t))
            if grown == NULL:
                raise MemoryError
            for i in range(self.next_out, self.next_out + self.stash_room):
                grown[i & (room - 1)] = self.stash[i & (self.stash_room - 1)]
            free(self.stash)
            self.stash = grown
            self.stash_room = room
        slot = &self.stash[index & (room - 1)]
        slot.data = <char*>malloc(size or 1)
        if slot.data == NULL:
            raise MemoryError
        memcpy(slot.data, data, size)
        slot.size = size
        slot.ready = True
        self.stash_bytes += size
        if self.stash_bytes > OUTPUT_CHUNK:
            self.server.output_backed_up(self)
        return 0

    cdef int _take_stashed(self) except -1:
        """Let the replies leave whose turn has come."""
        cdef stash_t* slot = &self.stash[self.next_out & (self.stash_room - 1)]
        while slot.ready:
            self._emit(slot.data, slot.size)
            free(slot.data)
            slot.data = NULL
            slot.ready = False
            self.stash_bytes -= slot.size
            self.next_out += 1
            slot = &self.stash[self.next_out & (self.stash_room - 1)]
        if self.next_out == self.next_in and self.stash_room > 64:
            self._drop_stash()
        return 0

    cdef int _after_reply(self) except -1:
        cdef uint64_t outstanding
        if self.stopped:
            outstanding = self.next_in - self.next_out
            if self.stopped & STOP_IN_FLIGHT and outstanding <= self.window // 2:
                if not self._is_over_its_share():
                    self.release(STOP_IN_FLIGHT)
            if self.stopped & STOP_SETTLING and outstanding == 0:
                self.release(STOP_SETTLING)
            self._end_wait()
        if self.closing_after_replies and self.next_in == self.next_out:
            self._close_gently()
        return 0

    cdef int _answer(self, const char* data, size_t size) except -1:
        """A reply of the frontend's own to the request at hand."""
        cdef uint64_t index = self.next_in
        self.next_in += 1
        if index == self.next_out:
            self._emit(data, size)
            self.next_out += 1
            return self._after_reply()
        return self._put_aside(index, data, size)

    def reply(self, value) -> None:
        """Answer the request at hand."""
        cdef uint64_t index = self.next_in
        self.next_in += 1
        self.commands += 1
        self.reply_at(index, value)

    def reply_at(self, uint64_t index, value) -> None:
        """Answer the request at `index` (see `take_place`)."""
        cdef Buffer out
        if self.closed:
            return
        memset(&out, 0, sizeof(out))
        try:
            encode(&out, value, self.protocol)
            self.deliver(index, REPLY, out.data, out.size)
        finally:
            buffer_free(&out)

    def push(self, bytes message) -> None:
        """Send something that is no reply, encoded: a published message. It never stands within a reply, as those leave
        whole."""
        if self.closed:
            return
        if not self.noted:
            self.noted = True
            self.router.note_output(self)
        if buffer_append(&self.output, PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message)) < 0:
            raise MemoryError
        if self.output.size > OUTPUT_CHUNK:
            self._write()
        self.group_end = self.next_out      # it waits for no replies
        self.router.schedule_flush()

    cdef int _write_large(self, const char* data, size_t size) except -1:
        """Send a reply from where it lies, behind what has gathered."""
        self._write()
        if not self.closed:
            self._hand_over(data, size)
            if self.backed_up:
                self.server.output_backed_up(self)
        return 0

    cdef int _write(self) except -1:
        if self.output.size and not self.closed:
            self._hand_over(self.output.data, self.output.size)
            self.output.size = 0
            if self.output.capacity > KEEP_BUFFER:
                buffer_free(&self.output)
            if self.backed_up:
                self.server.output_backed_up(self)
        return 0

    cdef int _hand_over(self, const char* data, size_t size) except -1:
        """Send output at once if the transport has nothing queued; what the socket does not take is the transport's to
        send.

        A plain socket takes nearly every reply whole, and one system call is a third of what the way through the
        transport costs.
        """
        cdef ssize_t sent = 0
        self.bytes_out += size
        self.router.block.add(TOTAL_NET_OUTPUT_BYTES, size)
        self.router.block.add(TOTAL_WRITES_PROCESSED, 1)
        self.last_active = self.router.seconds
        if self.direct_fd >= 0 and not self.backed_up and (
            not self.queued or self.transport.get_write_buffer_size() == 0
        ):
            self.queued = False
            sent = send(self.direct_fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent == <ssize_t>size:
                return 0
            if sent < 0:                # no room, or the connection is broken: the transport will find out
                sent = 0
        self.queued = True
        self.transport.write(PyBytes_FromStringAndSize(data + sent, size - sent))
        return 0

    cdef int write_out(self) except -1:
        """Step 13: hand what has gathered to the transport, when the group is whole."""
        self.noted = False
        if self.next_out >= self.group_end or self.stopped & ~STOPS_THAT_PASS or self.output.size > MOST_HELD:
            self._write()
            self._begin_group()
        return 0

    cdef int _begin_group(self) noexcept:
        """The requests that were read since the last replies left are answered together, as Redis answers what one
        read has brought.

        Of several shards, each brings its share when it is ready, and to send each share by itself would have the
        client answer with that many fewer requests, in ever smaller turns.
        """
        if self.next_out >= self.group_end:
            self.group_end = self.next_in
        return 0

    def write_held(self) -> None:
        """Hold nothing back: a shard is down, and the rest of the group may be long in coming."""
        self.group_end = self.next_out
        self._write()

    # -- the end -------------------------------------------------------------------------------------------------------

    def close_after_replies(self) -> None:
        """Answer what is owed, then close; nothing more is parsed."""
        self.stopped |= STOP_CLOSING
        self.closing_after_replies = True
        if self.next_in == self.next_out:
            self._close_gently()

    cdef int _close_gently(self) except -1:
        self._write()
        if not self.closed and self.transport is not None:
            self.transport.close()
        return 0

    def kill(self) -> None:
        """Close at once, whatever it is owed."""
        self.stopped |= STOP_CLOSING
        if self.transport is not None and not self.closed:
            self.transport.abort()

    @property
    def input_bytes(self) -> int:
        return self.input.size - self.start

    @property
    def output_bytes(self) -> int:
        gathered = self.output.size + self.stash_bytes
        if self.transport is None or self.closed:
            return gathered
        return gathered + self.transport.get_write_buffer_size()

    @property
    def descriptor(self) -> int:
        return -1 if self.transport is None or self.closed else self.transport.get_extra_info("socket").fileno()

    @property
    def is_ending(self) -> bool:
        """Whether it is being closed."""
        return bool(self.stopped & STOP_CLOSING)

    @property
    def is_blocked(self) -> bool:
        return bool(self.stopped & STOP_BLOCKED)


def trim_idle(dict clients, double since) -> list:
    """The clients that have been silent since then and are owed nothing; they give back what waiting does not need."""
    cdef Connection conn
    idle = []
    for conn in clients.values():
        if conn.last_active < since and not conn.stopped and conn.next_in == conn.next_out:
            conn.parser.trim()
            idle.append(conn)
    return idle


def leave_pages(dict clients, double since) -> None:
    """Whose request has been arriving since then goes on in memory of its own: pages are for those who are quick."""
    cdef Connection conn
    for conn in clients.values():
        if conn.input_run and conn.input_since < since and not conn.in_run:
            conn._leave_pages()


def survey(clients) -> tuple:
    """What connections hold: (largest input, largest output, all buffers) in bytes, and how many (watch keys, are
    subscribed, are not read from)."""
    cdef Connection conn
    cdef size_t largest_input = 0, largest_output = 0, all_buffers = 0, output
    cdef int watching = 0, subscribed = 0, paused = 0
    for conn in clients:
        output = conn.output.capacity + conn.stash_bytes
        if conn.backed_up and not conn.closed:
            output += conn.transport.get_write_buffer_size()
        largest_input = max(largest_input, conn.input.capacity)
        largest_output = max(largest_output, output)
        all_buffers += conn.input.capacity + output
        watching += conn.watched is not None
        subscribed += conn.subscriptions is not None
        paused += conn.reading_paused
    return largest_input, largest_output, all_buffers, watching, subscribed, paused


def release_task(Connection conn) -> None:
    """A command of the frontend's own that took its time is done."""
    conn.release(STOP_TASK)
