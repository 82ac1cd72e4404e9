# Where everything that the store holds gets its memory. See allocator.pyx.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

# Whose memory it is: a value's type, entry included (the numbers are the types'), or what holds the keys together.
cdef enum:
    STRINGS = 0
    LISTS = 1
    SETS = 2
    ZSETS = 3
    HASHES = 4
    TABLES = 5
    ACCOUNTS = 6

cdef enum:
    SMALL_MAX = 512             # up to here pieces come from spans, in steps of 8 bytes

# Memory of `size` bytes, aligned to 8; NULL: there is none. Who gives it back names the same size and account.
cdef void* allocate(size_t size, int account) noexcept nogil
cdef void* allocate_zeroed(size_t size, int account) noexcept nogil
# NULL: there is no memory, and nothing has changed
cdef void* reallocate(void* memory, size_t old_size, size_t size, int account) noexcept nogil
cdef void release(void* memory, size_t size, int account) noexcept nogil         # NULL is nothing
# What an allocation of `size` bytes takes
cdef size_t footprint(const void* piece, size_t size) noexcept nogil
# Whether a piece can be used for another size as it is: who releases it may name that one
cdef bint fits_in_place(const void* piece, size_t old_size, size_t size) noexcept nogil

# Blocks: memory that changes its size. It knows how large it is: room for at least what was asked for.
# A block of NULL is an empty one. NULL: there is no memory, and nothing has changed; less never fails
cdef void* block_resize(void* block, size_t size, int account) noexcept nogil
cdef void block_release(void* block, int account) noexcept nogil
cdef size_t block_room(const void* block) noexcept nogil
cdef size_t block_footprint(const void* block) noexcept nogil

# Before a change of several steps, given what its words take and how many there are: whether it will have the memory
# that it needs. Until it is settled nothing of it fails then. False: nothing is promised
cdef bint promise(size_t size, size_t words) noexcept nogil
cdef void settle() noexcept nogil

cdef struct usage_t:
    size_t used                 # footprints of all that is allocated …
    size_t active               # … with what is free between them, in spans and in the heap …
    size_t resident             # … and all other pages that are there for what comes next

cdef void usage(usage_t* totals) noexcept nogil
cdef size_t used_by(int account) noexcept nogil
cdef size_t used_in_all() noexcept nogil
# Empty spans beyond those that are kept: there is something to `trim`
cdef size_t surplus() noexcept nogil
# Give what is kept to the system; how many bytes these were
cdef size_t purge() noexcept nogil
