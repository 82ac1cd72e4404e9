# Values that are freed by and by. See lazyfree.pyx.

from libc.stdint cimport uint32_t, uint64_t

from mpkv.types.table cimport place_t, table_t
from mpkv.workers.entry cimport entry_t

cdef enum:
    SLOTS_OF_TABLES = 16384

cdef struct job_t:
    entry_t* entry              # an entry with a large value, or …
    table_t* tables             # … the tables of all slots of a database
    void* directory             # … and what they lie in
    size_t directory_bytes
    uint64_t keys               # that are left in it
    uint32_t slot
    place_t place
    size_t position             # in the value

cdef class LazyFree:
    cdef job_t* jobs            # a ring: [first, first + count)
    cdef size_t room, first
    cdef readonly size_t count
    cdef readonly uint64_t freed        # values and keys
    cdef uint64_t keys          # in databases that wait

    # Take over an entry that is in no table any more; what is small is freed at once
    cdef void add(self, entry_t* entry) noexcept nogil
    # … and a directory with all that its tables hold, `keys` entries
    cdef void add_directory(self, void* directory, size_t bytes, table_t* tables, uint64_t keys) noexcept nogil
    cdef bint free_some(self) noexcept nogil            # a little; whether something is left
    cdef bint _push(self, const job_t* job) noexcept nogil
    cdef void _pop(self) noexcept nogil
    cdef bint _work_off(self, job_t* job) noexcept nogil
    cdef bint _free_directory_some(self, job_t* job) noexcept nogil
