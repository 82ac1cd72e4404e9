# The frontend's end of the way to one worker. See link.pyx.

from libc.stdint cimport int64_t, uint32_t, uint64_t

from mpkv.buffer cimport Buffer
from mpkv.frontend.pending cimport Receiver
from mpkv.resp.parser cimport arg_t
from mpkv.shm.blobs cimport Pool
from mpkv.shm.board cimport Block
from mpkv.shm.ring cimport Ring
from mpkv.wire cimport note_t, reply_t, request_t


cdef struct expected_t:             # one request that has not been answered
    uint64_t number
    uint64_t index
    void* receiver                  # a Receiver that this ring owns a reference to
    uint64_t size                   # bytes in flight
    uint64_t sibling                # of a part that leans on another link: the place of its sibling there
    uint32_t run                    # pages that its large words lie in, held until it is answered; 0: there are none


cdef class Clock:
    cdef int64_t latest_ms

    cdef int64_t now_ms(self) noexcept


cdef class Link:
    cdef readonly int shard
    cdef readonly bint up
    cdef readonly object incarnation
    cdef uint32_t epoch
    cdef object socket
    cdef Ring requests, replies     # None: everything goes through ZeroMQ
    cdef Pool request_pages         # the frontend's own …
    cdef Pool reply_pages           # … and the worker's; None: there are none
    cdef size_t large               # words of so many bytes stay in shared pages
    cdef Clock clock
    cdef Buffer out                 # the batch that is being filled
    cdef uint32_t count             # its envelopes
    cdef size_t referred            # bytes that they refer to
    cdef uint64_t sent_batches, received_batches
    cdef readonly uint64_t sent_bytes, received_bytes, batches_out, batches_in, discarded      # of all incarnations
    cdef expected_t* ring
    cdef uint64_t head, tail, room  # room: a power of two
    cdef Link leans_on              # where requests from `leaning_from` on have siblings, all of them; see needs_bell
    cdef uint64_t leaning_from
    cdef readonly uint64_t in_flight_bytes
    cdef public uint64_t in_flight_limit
    cdef object retained            # deque of (batch, its envelopes); popped when all of them are answered
    cdef uint64_t front_left        # envelopes of the oldest that are not answered
    cdef bytes searched             # the batch in which an envelope was looked for last …
    cdef size_t searched_to         # … and how far
    cdef object unsent              # batches that ZeroMQ had no room for
    cdef dict late                  # number -> (receiver, index, envelope) of blocked requests
    cdef object on_event
    cdef public Block block         # where waiting times of replies are counted; None: they are not

    cdef int pack(
        self, Receiver receiver, uint64_t index, request_t* head, const arg_t* words, Link leans_on=*
    ) except -1
    cdef int pack_large(
        self, Receiver receiver, uint64_t index, request_t* head, arg_t* words, uint32_t run
    ) except -1
    cdef uint32_t _lay_out(self, const request_t* head, arg_t* words, size_t size) noexcept
    cdef int pack_exec(
        self, Receiver receiver, uint64_t index, request_t* head, const char* requests, size_t size, size_t count
    ) except -1
    cdef int _expect(
        self, Receiver receiver, uint64_t index, uint64_t number, uint64_t size, Link leans_on=*, uint32_t run=*
    ) except -1
    cdef bytes _seal(self)
    cdef bytes _retain(self)
    cpdef int flush_now(self) except -1
    cdef int flush(self) except -1
    cpdef int retry(self) except -1
    cdef bint is_idle(self) noexcept
    cdef bint _leans_wholly(self) noexcept
    cdef bint _transmit(self, bytes batch) except -1
    cdef int _take_batch(self, const char* at, size_t size) except -1
    cdef int drain(self, int most) except -1
    cdef bint needs_bell(self) except -1
    cdef bint doze(self) except -1
    cdef void hush(self) noexcept
    cdef int _append_raw(self, bytes envelope) except -1
    cdef int _deliver(self, reply_t* head, const char* payload, const note_t* note) except -1
    cdef int _pass_note(
        self, const note_t* packed, Receiver receiver, uint64_t index, const char* envelope
    ) except -1
    cdef const char* _oldest_envelope(self, uint64_t number) except NULL
    cdef bint is_full(self) noexcept
