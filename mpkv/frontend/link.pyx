"""Steps 7 and 11: the frontend's end of the way to one worker.

Requests are gathered into one batch and sent as one message, at the end of a turn of the event loop or when the batch
is large. Replies come back in the same order (R2), so a ring of expected replies is all the book-keeping there is.
Batches are kept until all their envelopes are answered: when the worker dies, what it had not begun is sent to its
successor, in order.

A link is one PAIR socket and two rings in shared memory, which carry every batch that fits them: waking ZeroMQ's
threads costs more than a small batch. A batch that is too large goes through the socket, its place in the order kept
by a marker. Large words and large replies are in neither: they stay in shared pages (`mpkv.shm.blobs`), those of a
request until it is answered, as it may have to be sent again; a reply's until it has been delivered.

A link lives as long as both its ends do: every incarnation of either gets a fresh socket and endpoint
and emptied rings of a new generation, the old socket is closed with linger 0, and automatic reconnection is never
relied on. What bounds the queue is `in_flight_limit`, not the high-water mark, which is set beyond it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from mpkv.buffer cimport Buffer, buffer_append, buffer_free
from mpkv.shm.board cimport LARGE_BY_REFERENCE, LARGE_WITHOUT_ROOM, REPLY_WAIT_NANOSECONDS, monotonic_ns, waited_ns
from mpkv.wire cimport (
    BATCH_MAGIC, BLOCKED, CONTROL, CONTROL_HELLO, EVENT, FLAG_PART, FLAG_RESENT, LATE, batch_t, begin_batch,
    clip_request, next_reply, note_of, note_t, open_batch, pack_nested, pack_referring, pack_request, reply_t,
    request_t,
)

import logging
from collections import deque
from functools import cache

import zmq

from mpkv.frontend.pending import Answer, LinkFault

logger = logging.getLogger(__name__)

cdef enum:
    # a batch that large is sent at once: the worker begins while the frontend goes on reading
    BATCH_BYTES = 64 * 1024
    BATCH_COUNT = 512
    DRAIN_BYTES = 1024 * 1024       # replies taken in one go: other clients' requests are looked at in between
    BLOCKED_BYTES = 24              # of the payload of a BLOCKED
    SECOND_BATCH_COUNT = 64         # a batch of this size goes although one is under way: the worker must not run dry

# as plain numbers: looking an enumeration up costs more than the call
EVENTS, POLLIN, NOBLOCK = int(zmq.EVENTS), int(zmq.POLLIN), int(zmq.NOBLOCK)

#: Messages that ZeroMQ holds at most for each direction: beyond what `in_flight_limit` lets come into being.
HIGH_WATER_MARK = 100_000


@cache
def _context():
    """One I/O thread serves all links of this process."""
    return zmq.Context(io_threads=1)


def link_generation(epoch: int, incarnation: int) -> int:
    """What a ring is marked with: both ends of the link whose batches it carries."""
    return epoch << 32 | incarnation


cdef class Clock:
    """The time that a process's batches are stamped with: it never goes back (R4)."""

    cdef int64_t now_ms(self) noexcept:
        cdef timespec now
        clock_gettime(CLOCK_REALTIME, &now)
        self.latest_ms = max(self.latest_ms, <int64_t>now.tv_sec * 1000 + now.tv_nsec // 1_000_000)
        return self.latest_ms


cdef class Link:
    """:param clock: one for all links of a process; :param on_event: called with (link, payload) for a worker's
    news; :param pages: for words of at least `large` bytes"""

    def __cinit__(
        self, int shard, Clock clock not None, on_event, in_flight_limit=32 << 20, Pool pages=None,
        size_t large=<size_t>-1,
    ):
        self.request_pages = pages
        self.large = large
        self.shard = shard
        self.clock = clock
        self.on_event = on_event
        self.in_flight_limit = in_flight_limit
        self.retained = deque()
        self.unsent = deque()
        self.late = {}
        self.room = 0
        if begin_batch(&self.out) < 0:
            raise MemoryError

    def __dealloc__(self):
        while self.head != self.tail:
            Py_DECREF(<Receiver>self.ring[self.head & (self.room - 1)].receiver)
            self.head += 1
        free(self.ring)
        buffer_free(&self.out)

    # -- life ----------------------------------------------------------------------------------------------------------

    def open(
        self, endpoint: str, epoch: int, incarnation: int, Ring requests=None, Ring replies=None, Pool pages=None
    ) -> int:
        """Connect to an incarnation of the worker; the descriptor to watch.

        With rings batches travel in shared memory, as far as they fit, and with pages its large replies.
        """
        assert not self.up and self.socket is None
        self.requests, self.replies, self.reply_pages = requests, replies, pages
        socket = _context().socket(zmq.PAIR)
        socket.linger = 0
        socket.sndhwm = socket.rcvhwm = HIGH_WATER_MARK
        socket.immediate = 1
        socket.reconnect_ivl = -1
        socket.connect(endpoint)
        self.socket = socket
        self.epoch = epoch
        self.incarnation = incarnation
        self.sent_batches = self.received_batches = 0
        self.up = True
        if pages is not None:
            pages.reset(link_generation(epoch, incarnation))
        if requests is not None:
            replies.reset(link_generation(epoch, incarnation))
            requests.reset(link_generation(epoch, incarnation))
        if self.count:          # given to this link while it was down
            self._retain()
        return socket.FD

    def close(self) -> None:
        """Give the socket up; what was sent and not answered stays for `resend`."""
        self.up = False
        if self.socket is not None:
            self.socket.close(linger=0)
            self.socket = None
        if self.count:          # a batch that was being filled waits like those that were sent
            self._retain()
        self.unsent.clear()

    def forget_executed(self, executing: int) -> int:
        """After the worker's death: what it may have run, up to the number `executing`, is lost; how many requests that
        were. The others wait for its successor, and so do clients that were blocked. A message of the frontend's own is
        lost in any case: it was meant for the worker that is gone."""
        if self.count:
            self._retain()
        expected = self._take_expected()
        envelopes = self._retained_envelopes({number for number, *_ in expected if number > executing})
        blocked, self.late = self.late, {}
        waiting = [
            (number, receiver, index, len(envelope), 0, envelope) for number, (receiver, index, envelope)
            in blocked.items() if not (<Receiver>receiver).is_gone()
        ]
        lost = []
        for number, receiver, index, size, run in expected:
            envelope = envelopes.get(number)
            if envelope is None or (<const request_t*>PyBytes_AS_STRING(envelope)).kind == CONTROL:
                if run:
                    self.request_pages.drop(run)
                lost.append((receiver, index))
            else:
                waiting.append((number, receiver, index, size, run, envelope))
        self.retained.clear()
        # a client that was blocked comes before those whose requests are younger, as it did
        for number, receiver, index, size, run, envelope in sorted(waiting, key=_number_of):
            self._append_raw(<bytes>envelope)
            self._expect(<Receiver>receiver, index, number, size, None, run)
        if self.count:
            self._retain()
        for receiver, index in lost:
            (<Receiver>receiver).lose(index)
        return len(lost)

    def _take_expected(self) -> list:
        """Empty the ring of expected replies: [(number, receiver, index, size, run)]; what holds its pages is now the
        caller."""
        cdef uint64_t at
        cdef expected_t* expected
        taken = []
        for at in range(self.head, self.tail):
            expected = &self.ring[at & (self.room - 1)]
            taken.append(
                (expected.number, <Receiver>expected.receiver, expected.index, expected.size, expected.run)
            )
            Py_DECREF(<Receiver>expected.receiver)
        # not from 0 again: other links may lean on places of this one
        self.head = self.tail
        self.in_flight_bytes = 0
        return taken

    def resend(self) -> int:
        """Send what waits to the worker's new incarnation, in order; how many requests."""
        waiting, self.retained = self.retained, deque()
        count = 0
        for batch, left in waiting:
            if batch is None or not left:
                continue
            data = memoryview(batch)[sizeof(batch_t):]
            begin_batch(&self.out)
            if buffer_append(&self.out, PyBytes_AS_STRING(batch) + sizeof(batch_t), len(data)) < 0:
                raise MemoryError
            self.count = left
            count += left
            self.flush_now()
        return count

    cdef int _append_raw(self, bytes envelope) except -1:
        cdef request_t* head
        cdef size_t at = self.out.size
        if buffer_append(&self.out, PyBytes_AS_STRING(envelope), PyBytes_GET_SIZE(envelope)) < 0:
            raise MemoryError
        head = <request_t*>(self.out.data + at)
        head.flags = head.flags | FLAG_RESENT
        self.count += 1
        return 0

    def _retained_envelopes(self, numbers: set) -> dict:
        """The envelopes of these numbers among the batches that are kept."""
        cdef const char* at
        cdef const char* end
        cdef request_t head
        found = {}
        for batch, _ in self.retained:
            at = PyBytes_AS_STRING(batch) + sizeof(batch_t)
            end = PyBytes_AS_STRING(batch) + PyBytes_GET_SIZE(batch)
            while at < end:
                memcpy(&head, at, sizeof(head))
                if head.number in numbers:
                    found[head.number] = PyBytes_FromStringAndSize(at, head.size)
                at += head.size
        return found

    # -- out -----------------------------------------------------------------------------------------------------------

    cdef int _expect(
        self, Receiver receiver, uint64_t index, uint64_t number, uint64_t size, Link leans_on=None, uint32_t run=0
    ) except -1:
        cdef expected_t* grown
        cdef expected_t* expected
        cdef uint64_t room, at
        if self.tail - self.head == self.room:
            room = self.room * 2 if self.room else 1024
            grown = <expected_t*>realloc(NULL, room * sizeof(expected_t))
            if grown == NULL:
                raise MemoryError
            for at in range(self.head, self.tail):
                grown[at & (room - 1)] = self.ring[at & (self.room - 1)]
            free(self.ring)
            self.ring = grown
            self.room = room
        expected = &self.ring[self.tail & (self.room - 1)]
        expected.number = number
        expected.index = index
        expected.receiver = <void*>receiver
        expected.size = size
        expected.run = run
        if leans_on is not self.leans_on:
            self.leans_on = leans_on
            self.leaning_from = self.tail
        if leans_on is not None:
            expected.sibling = leans_on.tail
        Py_INCREF(receiver)
        self.tail += 1
        self.in_flight_bytes += size
        return 0

    cdef int pack(
        self, Receiver receiver, uint64_t index, request_t* head, const arg_t* words, Link leans_on=None
    ) except -1:
        """Append a request to the batch; its answer goes to place `index` of `receiver`.

        :param leans_on: of one part of a command, the link that the next packed part of it goes to
        """
        cdef size_t before = self.out.size
        if pack_request(&self.out, head, words) < 0:
            raise MemoryError
        self.count += 1
        return self._expect(receiver, index, head.number, self.out.size - before, leans_on)

    cdef int pack_large(
        self, Receiver receiver, uint64_t index, request_t* head, arg_t* words, uint32_t run
    ) except -1:
        """Append a request with large words, which stay in shared pages or are brought there as long as there is room.

        :param words: those that are brought there point there afterwards
        :param run: where they lie; 0: elsewhere
        """
        cdef size_t before = self.out.size
        cdef size_t referred = 0
        cdef size_t i
        for i in range(head.argc):
            if words[i].size >= self.large:
                referred += words[i].size
        if referred == 0 or self.requests is None or self.request_pages is None:
            return self.pack(receiver, index, head, words)
        if run:
            self.request_pages.hold(run)
        else:
            run = self._lay_out(head, words, referred)
            if run == 0:
                self.block.add(LARGE_WITHOUT_ROOM, 1)
                return self.pack(receiver, index, head, words)
        if pack_referring(&self.out, head, words, &self.request_pages.area, self.large) < 0:
            self.request_pages.drop(run)
            raise MemoryError
        self.count += 1
        self.referred += referred
        self.block.add(LARGE_BY_REFERENCE, 1)
        return self._expect(receiver, index, head.number, self.out.size - before + referred, None, run)

    cdef uint32_t _lay_out(self, const request_t* head, arg_t* words, size_t size) noexcept:
        """Bring the large words, of so many bytes in all, into a run of their own; 0: there is no room."""
        cdef size_t i
        cdef uint32_t run
        cdef char* to
        run = self.request_pages.take(size)
        if run:
            to = self.request_pages.data_of(run)
            for i in range(head.argc):
                if words[i].size >= self.large:
                    memcpy(to, words[i].data, words[i].size)
                    words[i].data = to
                    to += words[i].size
        return run

    cdef int pack_exec(
        self, Receiver receiver, uint64_t index, request_t* head, const char* requests, size_t size, size_t count
    ) except -1:
        """Append a transaction's part."""
        cdef size_t before = self.out.size
        if pack_nested(&self.out, head, requests, size, count) < 0:
            raise MemoryError
        self.count += 1
        return self._expect(receiver, index, head.number, self.out.size - before)

    cdef bint is_full(self) noexcept:
        """Whether the batch should go before the turn ends."""
        return self.out.size + self.referred >= BATCH_BYTES or self.count >= BATCH_COUNT

    cdef bytes _seal(self):
        """The batch as bytes, header filled in."""
        cdef batch_t* head = <batch_t*>self.out.data
        head.magic = BATCH_MAGIC
        head.epoch = self.epoch
        head.counter = self.sent_batches + 1
        head.now_ms = self.clock.now_ms()
        head.count = self.count
        head.sent_us = <uint32_t>(monotonic_ns() // 1000)
        return PyBytes_FromStringAndSize(self.out.data, self.out.size)

    cdef bytes _retain(self):
        cdef bytes batch = self._seal()
        if not self.retained:
            self.front_left = self.count
        self.retained.append((batch, self.count))
        begin_batch(&self.out)
        self.count = 0
        self.referred = 0
        return batch

    cpdef int flush_now(self) except -1:
        """Send the batch, even an empty one (a tick that carries the time)."""
        cdef bint tick = self.count == 0
        cdef bytes batch
        if self.socket is None or (tick and self.unsent):
            return 0
        batch = self._seal() if tick else self._retain()
        self.sent_batches += 1
        self.batches_out += 1
        self.sent_bytes += PyBytes_GET_SIZE(batch)
        if tick:
            begin_batch(&self.out)
        if self.unsent or not self._transmit(batch):
            self.unsent.append(batch)
        return 0

    cdef int flush(self) except -1:
        """Send the batch, unless one is under way and this one is small: then it gathers more until the other is
        answered.

        That is Nagle's rule. It costs no time – the worker is busy meanwhile – and makes batches larger exactly when
        there is much to do.
        """
        cdef size_t under_way
        if self.count:
            under_way = len(self.retained)
            if under_way == 0 and self._leans_wholly():
                # nothing of it is complete before the other link has been answered, and has sent the other half
                under_way = len(self.leans_on.retained)
            if under_way == 0 or (under_way == 1 and self.count >= SECOND_BATCH_COUNT) or self.is_full():
                self.flush_now()
        return 0

    cdef bint is_idle(self) noexcept:
        """Whether its worker has nothing to do, and looks for the batch that is being filled in the ring."""
        return self.up and not self.retained and not self.unsent and self.requests is not None

    cdef bint _leans_wholly(self) noexcept:
        """Whether all of the batch that is being filled are parts whose siblings wait with one other link."""
        return self.leans_on is not None and self.leans_on.up and self.leaning_from <= self.tail - self.count

    cdef bint _transmit(self, bytes batch) except -1:
        """Give a batch to the ring, or to ZeroMQ if it is too large for that; False: there is no room."""
        if self.requests is not None and <uint64_t>PyBytes_GET_SIZE(batch) <= self.requests.most:
            if not self.requests.publish(PyBytes_AS_STRING(batch), PyBytes_GET_SIZE(batch)):
                return False
        else:
            if self.requests is not None and not self.requests.takes_marker():
                return False
            try:
                self.socket.send(batch, NOBLOCK)
            except zmq.Again:
                return False
            if self.requests is None:
                return True
            self.requests.put_marker()      # in its place among the others
        self.requests.ring_bell()
        return True

    cpdef int retry(self) except -1:
        """Send what there was no room for before."""
        while self.unsent and self._transmit(self.unsent[0]):
            self.unsent.popleft()
        return 0

    def hello(self, receiver) -> None:
        """The first message of a new frontend: asks for the last number that the worker executed."""
        assert self.head == self.tail
        self.control(CONTROL_HELLO, 0, (), receiver)

    def control(self, int message, number, words, receiver) -> None:
        """Append a message of the frontend's own."""
        cdef request_t head
        cdef arg_t* args = <arg_t*>malloc((len(words) + 1) * sizeof(arg_t))
        cdef size_t i = 0
        cdef bint large = False
        if args == NULL:
            raise MemoryError
        _clear(&head)
        head.kind = CONTROL
        head.command = message
        head.number = number
        head.parts = 1
        head.argc = len(words)
        for word in words:
            args[i].data = PyBytes_AS_STRING(word)
            args[i].size = PyBytes_GET_SIZE(word)
            large |= args[i].size >= self.large
            i += 1
        try:
            if large:
                self.pack_large(<Receiver>receiver, 0, &head, args, 0)
            else:
                self.pack(<Receiver>receiver, 0, &head, args)
        finally:
            free(args)

    # -- in ------------------------------------------------------------------------------------------------------------

    cdef int drain(self, int most) except -1:
        """Deliver replies that have arrived, at most `most` batches or a little over DRAIN_BYTES; 1: maybe not all."""
        cdef uint64_t enough = self.received_bytes + DRAIN_BYTES
        cdef const char* message
        cdef size_t size
        cdef int found
        cdef int rounds = 0
        while self.socket is not None and rounds < most and self.received_bytes < enough:
            if self.replies is not None:
                found = self.replies.look(&message, &size)
                if found == 0:
                    return 0
                if found == 1:
                    self._take_batch(message, size)
                    self.replies.drop()
                    rounds += 1
                    continue
            if not self.socket.get(EVENTS) & POLLIN:
                return 0
            whole = self.socket.recv(NOBLOCK)
            if self.replies is not None:
                self.replies.drop()
            self._take_batch(PyBytes_AS_STRING(whole), PyBytes_GET_SIZE(whole))
            rounds += 1
        return 1 if self.socket is not None else 0

    cdef int _take_batch(self, const char* at, size_t size) except -1:
        """Deliver the replies of one batch."""
        cdef const char* end = at + size
        cdef const char* payload
        cdef batch_t batch
        cdef reply_t head
        cdef int found
        self.received_bytes += size
        if open_batch(at, size, &batch) < 0:
            raise LinkFault(f"shard {self.shard} sent what is no batch")
        if batch.epoch != self.epoch:
            self.discarded += 1
            return 0
        self.received_batches += 1
        self.batches_in += 1
        if batch.counter != self.received_batches:
            raise LinkFault(f"shard {self.shard} sent batch {batch.counter} where {self.received_batches} was due")
        if self.block is not None:
            self.block.observe(REPLY_WAIT_NANOSECONDS, 10, waited_ns(batch.sent_us, monotonic_ns()), batch.count)
        at += sizeof(batch_t)
        while True:
            found = next_reply(
                &at, end, &head, &payload, &self.reply_pages.area if self.reply_pages is not None else NULL
            )
            if found <= 0:
                break
            self._deliver(&head, payload, note_of(&head, at))
            if head.refers:
                self.received_bytes += head.size
                self.reply_pages.done()
        if found < 0:
            raise LinkFault(f"shard {self.shard} sent a reply that does not add up")
        return 0

    cdef bint needs_bell(self) except -1:
        """Whether its worker should ring when it has answered.

        It need not while all that it owes are parts of commands whose other parts are owed by one and the same other
        link: no command can be complete before that one has answered, and it rings.
        """
        cdef expected_t* oldest
        if self.leans_on is None or self.head == self.tail or self.head < self.leaning_from or self.late:
            return True
        oldest = &self.ring[self.head & (self.room - 1)]
        return not self.leans_on.up or self.leans_on.head > oldest.sibling

    cdef bint doze(self) except -1:
        """Have the worker ring, where that is needed; False if something has come meanwhile."""
        if self.replies is None or self.socket is None or not self.needs_bell():
            return True
        return self.replies.doze()

    cdef void hush(self) noexcept:
        """No need to ring: the frontend comes by."""
        if self.replies is not None:
            self.replies.wake()

    def attend(self) -> None:
        """ZeroMQ's descriptor is readable: let it do what it wants, or it stays so for ever."""
        if self.socket is not None:
            self.socket.get(EVENTS)

    def drain_rest(self) -> None:
        """The worker has died: take the replies that it had still sent."""
        while self.drain(64):
            pass

    cdef int _deliver(self, reply_t* head, const char* payload, const note_t* note) except -1:
        cdef expected_t* expected
        cdef Receiver receiver
        cdef uint64_t index
        cdef uint32_t run
        if head.kind != LATE and head.kind != EVENT:
            expected = &self.ring[self.head & (self.room - 1)]
            if self.head == self.tail or expected.number != head.number:
                raise LinkFault(f"shard {self.shard} answered {head.number}, which was not the oldest request")
            receiver = <Receiver>expected.receiver
            index = expected.index
            run = expected.run
            if head.kind == BLOCKED:
                if run or head.size != BLOCKED_BYTES:
                    raise LinkFault(f"shard {self.shard} has {head.number} wait, which cannot")
                self.late[head.number] = (
                    receiver, expected.index, self._retained_envelopes({head.number})[head.number]
                )
            if head.note_size:
                self._pass_note(note, receiver, index, self._oldest_envelope(head.number))
            if run:
                self.request_pages.drop(run)
            self.head += 1
            self.in_flight_bytes -= expected.size
            self.front_left -= 1
            if self.front_left == 0:
                self.retained.popleft()
                self.searched = None
                if self.retained:
                    self.front_left = self.retained[0][1]
            try:
                receiver.deliver(index, head.kind, payload, head.size)
            finally:
                Py_DECREF(receiver)
            return 0
        if head.kind == LATE:
            entry = self.late.pop(head.number, None)
            if entry is not None:
                receiver = <Receiver>entry[0]
                if head.note_size:
                    self._pass_note(note, receiver, entry[1], PyBytes_AS_STRING(entry[2]))
                receiver.deliver(entry[1], LATE, payload, head.size)
            return 0
        self.on_event(self, PyBytes_FromStringAndSize(payload, head.size))
        return 0

    cdef int _pass_note(
        self, const note_t* packed, Receiver receiver, uint64_t index, const char* envelope
    ) except -1:
        """Tell who is about to get a reply that its command was slow, and what it was."""
        cdef note_t note
        cdef request_t head
        memcpy(&note, packed, sizeof(note))
        memcpy(&head, envelope, sizeof(head))
        # of a part the words are not those of the request: whoever puts the parts together has these
        return receiver.note(
            index, &note, head.command, None if head.flags & FLAG_PART else clip_request(
                envelope, &self.request_pages.area if self.request_pages is not None else NULL
            )
        )

    cdef const char* _oldest_envelope(self, uint64_t number) except NULL:
        """The request of this number, in the oldest batch that is kept: it is about to be answered, so it is there.

        Answers come in the order of requests: the search goes on where the last one ended.
        """
        cdef bytes batch = self.retained[0][0]
        cdef const char* at = PyBytes_AS_STRING(batch)
        cdef request_t head
        if batch is not self.searched:
            self.searched, self.searched_to = batch, sizeof(batch_t)
        while self.searched_to < <size_t>PyBytes_GET_SIZE(batch):
            memcpy(&head, at + self.searched_to, sizeof(head))
            if head.number == number:
                return at + self.searched_to
            self.searched_to += head.size
        raise LinkFault(f"shard {self.shard} answered {number}, which was not in the oldest batch")

    @property
    def queue_bytes(self) -> int:
        """What ZeroMQ has had no room for yet."""
        return sum(map(len, self.unsent))

    @property
    def waiting(self) -> int:
        """Requests that have not been answered."""
        return self.tail - self.head


def _number_of(entry):
    return entry[0]


cdef inline void _clear(request_t* head) noexcept nogil:
    cdef request_t zero
    zero.size = zero.command = zero.slot = zero.argc = zero.database = zero.parts = zero.counted_as = zero.queued_us = 0
    zero.number = zero.client = 0
    zero.kind = zero.flags = 0
    head[0] = zero
