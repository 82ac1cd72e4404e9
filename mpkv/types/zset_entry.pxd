# A member of a large sorted set: one piece of memory with its score. See zset_entry.pyx.

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp

from mpkv.types.table cimport pieces_t

# The size (7 bits per byte, lowest first) and the bytes follow the score.
ctypedef struct zset_entry:
    double score
    uint8_t packed[8]

cdef inline const char* entry_member(const zset_entry* entry, size_t* size) noexcept nogil:
    cdef const uint8_t* at = <const uint8_t*>entry + sizeof(double)
    cdef unsigned shift = 7
    cdef size_t number = at[0] & 127
    while at[0] & 128:
        at += 1
        number |= <size_t>(at[0] & 127) << shift
        shift += 7
    size[0] = number
    return <const char*>(at + 1)

cdef inline int compare_members(const char* a, size_t a_size, const char* b, size_t b_size) noexcept nogil:
    """As memcmp; the shorter one comes first on a common beginning."""
    cdef int order = memcmp(a, b, a_size if a_size < b_size else b_size)
    return order if order else (a_size > b_size) - (a_size < b_size)

# NULL: no memory
cdef zset_entry* entry_new(const char* member, size_t size, double score) noexcept nogil
cdef void entry_free(zset_entry* entry) noexcept nogil
cdef size_t entry_memory(const zset_entry* entry) noexcept nogil
# What a table of entries must know of them
cdef const pieces_t* entry_pieces() noexcept nogil
