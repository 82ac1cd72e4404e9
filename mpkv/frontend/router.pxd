# Command -> keys -> slot -> shard -> link. See router.pyx.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from mpkv.frontend.intents cimport IntentRing, piece_t
from mpkv.frontend.link cimport Link
from mpkv.frontend.memory cimport MemoryWatch
from mpkv.frontend.pending cimport Parts, Receiver
from mpkv.resp.parser cimport arg_t
from mpkv.shm.blobs cimport Pool
from mpkv.shm.board cimport Block

cdef enum:
    HOT_NO = 0              # takes the general way
    HOT_KEYS = 1            # runs on the shards of its keys, which stand at fixed places
    HOT_PING = 2

cdef enum:
    ROUTED = 0
    NOT_NOW = 1             # something is full: try again when told so
    GENERAL = 2             # not for the short way

cdef struct info_t:
    uint16_t number
    int32_t arity
    int32_t first, last, step
    uint8_t hot
    uint8_t merge
    bint write
    bint needs_memory

cdef struct deal_t:             # where a key of a command goes
    uint16_t slot
    uint16_t shard
    uint32_t place              # among the keys that go to that shard

cdef class Router:
    cdef info_t* infos
    cdef uint16_t* lookup_table
    cdef const char** names
    cdef list name_objects, spec_names
    cdef void** name_pointers               # Python names by number, for CLIENT LIST
    cdef public int hold                    # 1: writes, 2: everything takes the general way, where the gate asks
    cdef public double seconds              # the time, refreshed at every tick
    cdef Block block                        # this process's numbers: compiled code counts straight into it
    cdef public size_t query_buffer_limit, max_bulk, client_in_flight_limit
    cdef readonly list specs                # Command by number
    cdef list links
    cdef void** link_pointers
    cdef readonly int shards
    cdef public uint64_t number             # the last sequence number given
    cdef readonly int shards_down
    cdef readonly IntentRing intents
    cdef readonly MemoryWatch memory
    cdef readonly Pool pages                # for large requests; None: they go as the others do
    cdef readonly size_t large              # what a large request is, in bytes
    cdef object loop
    cdef bint flush_scheduled
    cdef bint reading                       # a connection is dispatching what it has read, the first of this turn
    cdef int64_t turn_began_ns              # when the flush was scheduled: with the first thing done in this turn
    cdef uint32_t turn_stamp                # the same in µs, modulo 2^32: what requests are marked with
    cdef public bint notes_wanted           # the slow log or the latency monitor is on
    cdef readonly int exec_number                    # of the command EXEC
    cdef list written                       # connections with output to flush
    cdef list again                         # connections to go on with in the next turn
    cdef list stalled                       # connections that wait for room
    cdef uint64_t number_drained            # the last number when replies were taken last
    cdef uint64_t number_flushed            # … and when batches were flushed last
    cdef uint64_t last_turn                 # requests in the last turn that had any
    cdef bint holding                       # small batches wait for the next turn
    cdef object flush_callback
    cdef public object crash_after_parts    # a fault for the tests: die when so many parts of a write are sent

    cdef int _describe(self, int number, spec) except -1
    cdef const info_t* lookup(self, const char* name, size_t size) noexcept nogil
    cdef int route(
        self, Receiver receiver, uint64_t index, uint64_t client, int database, bint resp3, const info_t* info,
        arg_t* argv, size_t argc, bint large, uint32_t run
    ) except -1
    cdef int _scatter(
        self, Receiver receiver, uint64_t index, uint64_t client, int database, bint resp3, const info_t* info,
        const arg_t* argv, size_t argc, bint large, uint32_t run, const deal_t* deals, size_t keys,
        const uint32_t* count
    ) except -1
    cdef int _intend(self, Parts waiting, const piece_t* pieces, size_t parts) except -1
    cdef bint _may_hold(self) except -1
    cdef int _look_at_memory(self) except -1
    cdef void _begin_turn(self) noexcept
    cdef void _end_turn(self) noexcept
    cdef int schedule_flush(self) except -1
    cdef void begin_read(self) noexcept
    cdef int end_read(self) except -1
    cdef Link _lone_link(self)
    cdef int _send_lone(self, Link link) except -1
    cpdef int drain(self) except -1
    cdef int write_out(self) except -1
    cdef int note_output(self, Receiver connection) except -1
    cdef int run_again(self, object connection) except -1
    cdef int stall(self, object connection) except -1
