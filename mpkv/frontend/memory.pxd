# Whether there is memory for a write. See memory.pyx.

from libc.stdint cimport int64_t

cdef enum:
    LOOKS = 256                     # while as much is written as there may be

cdef class MemoryWatch:
    cdef readonly int64_t limit     # maxmemory; 0: there is none
    cdef bint evicts, volatile_only
    cdef int64_t unseen             # bytes of writes since the last look
    cdef list blocks
    cdef int64_t nudged_ns          # when idle workers were woken last
    cdef readonly bint is_full      # writes that need memory are refused
    cdef readonly bint is_over      # more is used than may be

    # A write of so many bytes was sent: whether it is time to look again
    cdef inline bint note_write(self, int64_t size) noexcept:
        self.unseen += size
        return self.unseen > self.limit // LOOKS

    # Look again; `in_flight`: bytes of requests that are on their way to the workers
    cdef void look(self, int64_t in_flight) noexcept
    # Whether idle workers should be told of the time, so that they evict
    cdef bint wants_nudge(self) noexcept
    cdef bint _can_evict(self) noexcept
