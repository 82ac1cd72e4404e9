from libc.stdint cimport int64_t, uint32_t, uint64_t

from mpkv.buffer cimport Buffer
from mpkv.resp.parser cimport arg_t
from mpkv.shm.blobs cimport Pool, area_t
from mpkv.shm.board cimport Block
from mpkv.wire cimport note_t, request_t
from mpkv.workers.evict cimport Evictor
from mpkv.workers.keyspace cimport Keyspace
from mpkv.workers.shortcuts.table cimport shortcut_t


cdef struct arity_t:                    # words after a command's name
    uint32_t least, most


cdef class Executor:
    cdef readonly Keyspace keyspace
    cdef readonly list databases
    cdef readonly list specs
    cdef list handlers
    cdef size_t commands
    cdef shortcut_t* shortcuts          # by a command's number, as …
    cdef arity_t* arities
    cdef bint shortcuts_on
    cdef Block block
    cdef arg_t* words
    cdef size_t room
    cdef Buffer out
    cdef Pool pages                     # for large replies; None: they go as the others do
    cdef Pool request_pages             # keeps the mapping of …
    cdef const area_t* request_area     # … where words may lie
    cdef size_t large                   # what a large reply is, in bytes
    cdef size_t referred                # bytes that replies in the batch refer to
    cdef bint in_exec                   # replies inside another one are part of it
    cdef object send
    cdef object control
    cdef public object waiters          # Waiters
    cdef Evictor evictor
    cdef public object sink             # where effects go; None: nowhere
    cdef readonly uint64_t last_number
    cdef public uint64_t saved_dirty    # the keyspace's `dirty` at the last snapshot
    cdef uint64_t sent_batches
    cdef public uint64_t epoch
    cdef uint64_t answers               # in the batch of replies
    cdef int64_t clock_ns
    cdef public int64_t noted_from_ns   # an execution that takes so long gets a note for the frontend

    cdef list record                    # effects of the command at hand: (database, words)
    cdef size_t words_count
    cdef uint32_t parts                 # of the message at hand

    cpdef bint run_batch(self, bytes batch) except -1
    cpdef int flush(self) except -1
    cpdef int publish(self) except -1
    cdef int _check(self, const request_t* head) except -1
    cdef bint _has_place(self, const request_t* head) noexcept nogil
    cdef int _request(self, request_t* head, uint64_t reply_number) except -1
    cdef int _by_handler(self, request_t* head, size_t at, uint64_t reply_number) except -1
    cdef int _note(self, const request_t* head, size_t at, int64_t elapsed_ns, int64_t now_ns) except -1
    cdef void _count(self, const request_t* head, int64_t elapsed_ns, const char* reply, size_t size) noexcept
    cdef int64_t _words_size(self, const request_t* head) noexcept
    cdef int _emit_left(self, size_t at, uint64_t number) except -1
    cdef int _lay_out(self, size_t at) except -1
    cdef int _refer(self, size_t at, uint32_t run, size_t size) except -1
    cdef const char* _reply_at(self, size_t at, size_t* size) noexcept
    cdef int _exec(self, request_t* head, const char* at, const char* end) except -1
    cdef void _look_ahead(
        self, const char** place, const char** table, const char** entry, const char* end
    ) noexcept nogil
    cdef int _begin_replies(self) except -1
    cdef void _publish_memory(self) noexcept
    cdef int _note_effects(self, request_t* head, bint wrote) except -1
    cdef bint _watched_unchanged(self, client) except -1
