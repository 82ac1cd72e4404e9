# Writes with several parts that are under way, in the shared segment. See intents.pyx.

from libc.stdint cimport uint32_t, uint64_t

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
    cdef object _folder
    cdef readonly bint enabled
    cdef readonly uint64_t total         # opened by this process
    cdef readonly uint64_t open_count

    # Whether a write of so many bytes in its words can be opened; one that is spilled always can while a record fits.
    cdef bint takes(self, uint64_t size_bytes, uint64_t parts) noexcept
    # Put a write in; returns what `finish` takes. The caller has asked whether there is room.
    cdef uint64_t begin(self, uint64_t number, const piece_t* pieces, size_t parts) except? 0
    # All parts have answered.
    cdef int finish(self, uint64_t handle) except -1
