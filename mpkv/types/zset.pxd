# A sorted set in native memory: member -> score, and order by (score, member) with rank in O(log n). See zset.pyx.

from libc.stdint cimport uint32_t

from mpkv.types.packed cimport packed_count, packed_kind, packed_t
from mpkv.types.table cimport table_count, table_t
from mpkv.types.zset_tree cimport zset_tree

cdef enum:
    RECENT_PLACES = 16           # entries of a packed block that one look back remembers

cdef enum:
    SMALL = 0                    # the body is a packed block, NULL when empty
    LARGE = 1                    # the body is a large_t: a table of members and a tree

# The two words of its entry: all zeroes is an empty sorted set. See packed.pxd.
ctypedef packed_t zset_t

ctypedef struct large_t:
    table_t members
    zset_tree order

ctypedef struct zset_position:
    void* node
    size_t left                          # members left to walk
    size_t index                         # in a leaf: the place; in a packed block: the offset
    uint32_t recent[RECENT_PLACES]       # packed and reverse: offsets found by the last look back
    uint32_t recent_count                # how many of them are to come

cdef inline bint zset_is_listpack(const zset_t* self) noexcept nogil:
    return packed_kind(self) == SMALL

cdef inline size_t zset_len(const zset_t* self) noexcept nogil:
    return packed_count(self) if zset_is_listpack(self) else table_count(&(<large_t*>self.body).members)

cdef void zset_begin(zset_t* self) noexcept nogil               # of two words with anything in them: an empty one
cdef void zset_free(zset_t* self) noexcept nogil                # all that it has beside the two words
# Free about so many members of a large one, *position starts at 0; whether nothing is left
cdef bint zset_free_some(zset_t* self, size_t* position, size_t members) noexcept nogil
# Bytes allocated beside the two words. Of a large one judged by `samples` members; 0: by all
cdef size_t zset_memory(const zset_t* self, size_t samples) noexcept nogil
# 1 new, 0 was there (score set), -1 no memory. `member` must not lie in the set.
cdef int zset_put(zset_t* self, const char* member, size_t size, double score) noexcept nogil
cdef int zset_score(const zset_t* self, const char* member, size_t size, double* score) noexcept nogil
# 1 was there. `member` may lie in the set.
cdef int zset_remove(zset_t* self, const char* member, size_t size) noexcept nogil
# Walk in order (reverse: from the highest) from rank `rank`; at most to the end.
cdef void zset_seek(const zset_t* self, size_t rank, bint reverse, zset_position* position) noexcept nogil
cdef int zset_next(
    const zset_t* self, bint reverse, zset_position* position, const char** member, size_t* size, double* score
) noexcept nogil
# 1 and the member's place in ascending order, 0 if it is not there
cdef int zset_rank_of(const zset_t* self, const char* member, size_t size, size_t* rank) noexcept nogil
# How many members have a score < low (<= low if exclusive): the rank of the first in a range that begins at low
cdef size_t zset_lower_rank(const zset_t* self, double low, bint exclusive) noexcept nogil
# How many members have a score <= high (< high if exclusive): one more than the rank of the last in a range up to high
cdef size_t zset_upper_rank(const zset_t* self, double high, bint exclusive) noexcept nogil
# The same by member, for sets whose scores are all equal
cdef size_t zset_lower_lex_rank(const zset_t* self, const char* low, size_t size, bint exclusive) noexcept nogil
cdef size_t zset_upper_lex_rank(const zset_t* self, const char* high, size_t size, bint exclusive) noexcept nogil

cdef class ZSet:
    """A handle on a native sorted set that the keyspace owns: valid until its key is deleted or overwritten."""
    cdef zset_t* native
    cdef zset_t own                      # of one that is no key's: `standalone`
    @staticmethod
    cdef ZSet wrap(zset_t* native)
    cdef list _walk(self, size_t start, size_t count, bint reverse)
