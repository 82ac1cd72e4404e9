# The members of a large sorted set, found by name. See zset_index.pyx.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

from mpkv.types.footprint cimport footprint

cdef enum:
    SEGMENT_SLOTS = 256
    CURSOR_BITS = 48             # of the hash, the highest: what a scan cursor carries
    DEPTH_MAX = 40               # and the 8 bits of a slot within it

# A member: one allocation. The size (7 bits per byte, lowest first) and the bytes follow the score.
ctypedef struct zset_entry:
    double score
    uint8_t packed[8]

ctypedef struct zset_segment:
    uint32_t count
    uint32_t depth                       # bits of the hash that all its members share
    uint64_t slots[SEGMENT_SLOTS]        # 0 = free; 8 bits home slot, 8 bits of the hash, 48 bits address of an entry

ctypedef struct zset_index:
    uint64_t* directory                  # 2**depth, by the highest bits of the hash: 16 bits depth, 48 bits address
    uint32_t depth
    size_t memory                        # bytes of segments and directory
    size_t entry_memory                  # bytes of entries

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
cdef zset_entry* entry_new(zset_index* index, const char* member, size_t size, double score) noexcept nogil
cdef void entry_free(zset_index* index, zset_entry* entry) noexcept nogil

cdef int index_open(zset_index* self) noexcept nogil                 # 0, -1 no memory
cdef void index_close(zset_index* self) noexcept nogil               # with all entries
cdef zset_entry* index_find(const zset_index* self, const char* member, size_t size, uint64_t hash) noexcept nogil
# Make room for one more member of that hash; 0, -1 no memory. `index_add` after it cannot fail.
cdef int index_reserve(zset_index* self, uint64_t hash) noexcept nogil
cdef void index_add(zset_index* self, zset_entry* entry, uint64_t hash) noexcept nogil
cdef void index_remove(zset_index* self, zset_entry* entry, uint64_t hash) noexcept nogil
# Some members from `cursor` on: about `count`, at most SEGMENT_SLOTS, none if its segment has no more. The next cursor,
# 0 at the end.
cdef uint64_t index_scan(
    const zset_index* self, uint64_t cursor, size_t count, zset_entry** found, size_t* found_count
) noexcept nogil
# NULL, or which rule is broken
cdef const char* index_check(const zset_index* self, size_t length) noexcept nogil
