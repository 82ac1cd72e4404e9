from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from mpkv.buffer cimport Buffer
from mpkv.frontend.pending cimport Receiver
from mpkv.frontend.router cimport Router
from mpkv.resp.parser cimport Parser, arg_t, limits_t


cdef enum:
    # Why a connection does not read on. Zero: it does.
    STOP_BLOCKED = 1            # waits for a key (BLPOP)
    STOP_ROOM = 2               # a link or the intent ring is full
    STOP_IN_FLIGHT = 4          # too many of its own requests, or bytes of them, are under way
    STOP_SETTLING = 8           # a command waits for the replies before it
    STOP_TASK = 16              # a command of the frontend is under way
    STOP_PAUSED = 32            # CLIENT PAUSE
    STOP_SLICE = 64             # its slice of this turn is used up
    STOP_CLOSING = 128


cdef struct stash_t:            # a reply that has come before its turn
    char* data
    size_t size
    bint ready


cdef class Connection(Receiver):
    cdef Router router
    cdef readonly object server
    cdef readonly object transport
    cdef readonly uint64_t id
    cdef Parser parser
    cdef Buffer input           # bytes not consumed yet: input.data[start:input.size]
    cdef size_t start
    cdef uint32_t input_run     # the pages that `input` is; 0: memory of its own
    cdef double input_since     # when these were taken
    cdef size_t expects         # the next request may be as large as the last, which was large; 0: it was not
    cdef Buffer output
    cdef uint64_t group_end     # replies before this place leave together
    cdef bint noted             # in the router's list of connections with output
    cdef uint32_t stopped
    cdef bint reading_paused
    cdef uint64_t blocked_index         # the place of the request that waits for a key
    cdef uint64_t window        # replies it may be owed at once
    cdef int64_t reply_size     # a running mean
    cdef uint64_t next_in, next_out     # places given to requests; the place of the next reply to leave
    cdef stash_t* stash         # a ring by place
    cdef uint64_t stash_room
    cdef size_t stash_bytes
    cdef size_t in_flight_bytes # of its requests; at least, see _is_over_its_share
    cdef size_t older_bytes     # of them: those of requests before the place `mark`
    cdef uint64_t mark
    cdef bint at_end            # the client has sent its last byte
    cdef bint closing_after_replies
    cdef bint in_run
    cdef int direct_fd          # the socket, while it may be written to directly; -1: not
    cdef bint queued            # the transport may hold output
    cdef bint backed_up         # the transport holds more than it likes
    cdef readonly bint closed

    cdef public int database
    cdef public int protocol
    # nothing stands between a command and its shard: no MULTI, no subscription, authenticated …
    cdef public bint plain
    cdef public int reply_mode  # 0 on, 1 off, 3 skip the next
    cdef public object blocked_on
    cdef public object user, name, lib_name, lib_version
    cdef public object transaction, subscriptions, watched
    cdef public bint authenticated, no_evict, no_touch
    cdef public object peer, local
    cdef public double created, last_active
    cdef public object last_command
    cdef public uint64_t commands, bytes_in, bytes_out
    cdef public object soft_limit_since

    cdef size_t _run(self, const char* data, size_t size) except? 0xFFFFFFFFFFFFFFFF
    cdef int _dispatch(self, arg_t* argv, size_t argc) except -1
    cdef int _keep(self, const char* data, size_t size) except -1
    cdef bint _expects_large(self) noexcept
    cdef bint _wants_pages(self, size_t left, size_t room) noexcept
    cdef bint _read_into_pages(self, size_t room) noexcept
    cdef int _leave_pages(self) except -1
    cdef void _free_input(self) noexcept
    cdef int _emit(self, const char* data, size_t size) except -1
    cdef int _put_aside(self, uint64_t index, const char* data, size_t size) except -1
    cdef int _take_stashed(self) except -1
    cdef int _after_reply(self) except -1
    cdef int _answer(self, const char* data, size_t size) except -1
    cdef bint _is_over_its_share(self) noexcept
    cdef void _learn_window(self, size_t size) noexcept
    cdef int _write_large(self, const char* data, size_t size) except -1
    cdef int _hand_over(self, const char* data, size_t size) except -1
    cdef int _begin_group(self) noexcept
    cdef int _end_wait(self) except -1
    cdef int _update_reading(self) except -1
    cdef int _continue(self) except -1
    cdef int _write(self) except -1
    cdef int _close_gently(self) except -1
    cdef int _close_at_end(self) except -1
