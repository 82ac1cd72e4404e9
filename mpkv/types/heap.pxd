# Pieces of memory that change their size, or are too large for a span. See heap.pyx.

from libc.stdint cimport int64_t, uint64_t

cdef enum:
    HEAP_MAX = 1 << 20          # what is larger is malloc's, and mapped by itself: see mpkv.process

# Room for `size` bytes, up to HEAP_MAX, aligned to 8; NULL: there is no memory
cdef void* heap_take(size_t size) noexcept nogil
# The same, all zeroes; meant for few large ones, of which much is never touched
cdef void* heap_take_zeroed(size_t size) noexcept nogil
# Let it have room for `size` bytes; NULL: there is no memory, and nothing has changed. Less never fails
cdef void* heap_resize(void* piece, size_t size) noexcept nogil
cdef void heap_give(void* piece) noexcept nogil
# Give the pages of a part of a piece to the system: its bytes will not be read any more
cdef void heap_forget(void* piece, size_t begin, size_t end) noexcept nogil
# Bytes that a piece has room for, at least those that were asked for
cdef size_t heap_room(const void* piece) noexcept nogil
# … and what it takes, with the 8 bytes in front of it
cdef size_t heap_footprint(const void* piece) noexcept nogil

cdef struct heap_totals_t:
    size_t used                 # by pieces, but for large ones …
    size_t large, large_count   # … which are malloc's
    size_t mapped               # addresses
    size_t active               # used, and what is free between pieces: too little for a page
    size_t resident             # pages that are there, about, but for large pieces

cdef heap_totals_t heap_totals() noexcept nogil
# Give free pages to the system, of at most so many free blocks; `thoroughly`: of small ones too
cdef void heap_trim(size_t blocks, bint thoroughly) noexcept nogil
# NULL, or which rule is broken
cdef const char* heap_check() noexcept nogil
