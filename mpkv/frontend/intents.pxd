# Writes with several parts that are under way, in the shared segment. See intents.pyx.

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef struct header_t:
    uint64_t head
    uint64_t tail

cdef struct piece_t:            # one part of a write, as it is sent
    uint32_t shard
    const char* envelope
    size_t size

cdef class IntentRing:
    cdef object _area
    cdef char* _base
    cdef header_t* _header
    cdef uint64_t _room
    cdef uint64_t _small_round
    cdef object _folder
    # Records behind `head` that it may move over, at most: while there are none, it moves over what is closed and stops
    cdef int64_t _passable
    # What is no longer in the ring: handle -> (file, the payload's file if it has its own, where its record begins)
    cdef dict _moved
    cdef bint _reserved                  # the next write's payload has its room on the disk
    cdef readonly bint enabled
    cdef readonly uint64_t total         # opened by this process
    cdef readonly uint64_t open_count

    # Whether a payload of so many bytes in its words goes into a file: `prepare` is called before it is given a number.
    cdef bint spills(self, uint64_t size_bytes, uint64_t parts) noexcept
    # Whether a write of so many bytes in its words can be opened; one that is spilled always can while a record fits.
    cdef bint takes(self, uint64_t size_bytes, uint64_t parts) noexcept
    # Put a write in; returns what `finish` takes. The caller has asked whether there is room.
    cdef uint64_t begin(self, uint64_t number, const piece_t* pieces, size_t parts) except? 0
    # All parts have answered.
    cdef int finish(self, uint64_t handle) except -1
    # The parts of a write under way, as it was put in: [(shard, envelope bytes)]; [] if it has a file of its own.
    cdef list parts_of(self, uint64_t handle)
    cdef bint _is_passed(self, uint64_t at) noexcept
    cdef void _pass_closed(self) noexcept
    cdef uint64_t _place(self, uint64_t size) except? 0
    cdef bint _may_go_round(self, uint64_t to_end, uint64_t size) noexcept
    cdef uint64_t _stand_for(self, uint64_t number, uint32_t parts) except? 0
    cdef bint _find(self, dict found, uint64_t handle, const char* data) except -1
