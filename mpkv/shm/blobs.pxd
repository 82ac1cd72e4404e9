# Pages in the shared segment for large values: one process fills them, another reads them. See blobs.pyx.

from libc.stdint cimport uint32_t, uint64_t

from mpkv.shm.segment cimport Segment

cdef struct pool_header_t:
    uint64_t generation         # of the link that the pool's values are sent over; written by the reader
    uint64_t read               # values that the reader has done with, of this generation

cdef struct area_t:             # where references may point to
    const char* base
    uint64_t size

cdef class Pool:
    cdef readonly Segment segment       # keeps the mapping
    cdef pool_header_t* header
    cdef area_t area
    cdef readonly uint32_t pages, free_pages
    cdef readonly uint64_t given, refused           # runs; how often there was no room
    cdef uint64_t* _used        # a bit for each page
    cdef uint32_t* _holders     # of the run that begins at a page
    cdef uint32_t* _length      # … and its pages
    cdef uint32_t _first_free   # no page before it is free
    cdef uint32_t _touched      # pages from here on hold no memory
    cdef uint32_t _highest      # the highest that was in use since `give_back`, plus 1
    cdef uint32_t* _lent        # runs that the reader has not done with, a ring, oldest first
    cdef uint64_t _lent_head, _lent_tail
    cdef uint64_t _generation
    cdef bint _begun

    # The owner. A run is a row of pages; its number is never 0, which says that there is none.
    cdef uint32_t take(self, size_t size) noexcept nogil
    cdef void hold(self, uint32_t run) noexcept nogil           # one more holder
    cdef void drop(self, uint32_t run) noexcept nogil           # one less; without holders its pages are free
    cdef char* data_of(self, uint32_t run) noexcept nogil
    cdef size_t room_of(self, uint32_t run) noexcept nogil
    cdef void lend(self, uint32_t run) noexcept nogil           # to the reader, in the order of sending

    # The reader
    cdef void done(self) noexcept nogil                         # with the oldest value that was sent

    cdef void _begin(self) noexcept nogil
    cdef void _collect(self) noexcept nogil
    cdef uint32_t _find(self, uint32_t count) noexcept nogil
    cdef void _mark(self, uint32_t page, uint32_t count, bint used) noexcept nogil

# What a reference names; NULL if it leads out of the area
cdef inline const char* resolve(const area_t* area, uint64_t offset, uint64_t size) noexcept nogil:
    if offset > area.size or size > area.size - offset:
        return NULL
    return area.base + offset

cdef inline bint lies_in(const area_t* area, const char* data) noexcept nogil:
    return area.base <= data < area.base + area.size
