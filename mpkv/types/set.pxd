# A set of byte strings in native memory.

from mpkv.types.packed cimport packed_t

# The two words of its entry: all zeroes is an empty set. The body is an array of integers, a packed block or a table
ctypedef packed_t set_t

cdef void set_begin(set_t* self) noexcept nogil                 # of two words with anything in them: an empty one
cdef void set_free(set_t* self) noexcept nogil                  # all that it has beside the two words
# Free about so many members of a large one, *position starts at 0; whether nothing is left
cdef bint set_free_some(set_t* self, size_t* position, size_t members) noexcept nogil
cdef size_t set_len(const set_t* self) noexcept nogil
# Bytes allocated beside the two words. Of a large one judged by `samples` members; 0: by all
cdef size_t set_memory(const set_t* self, size_t samples) noexcept nogil
# 1 new, 0 was there, -1 no memory (unchanged). The member lies outside this set: what set_next shows must be copied.
cdef int set_add(set_t* self, const char* member, size_t size) noexcept nogil
cdef int set_remove(set_t* self, const char* member, size_t size) noexcept nogil         # 1 was there
cdef int set_contains(const set_t* self, const char* member, size_t size) noexcept nogil
# Walk: *position starts at 0. A member of an intset is written as text to one of eight places that take turns: it is
# good until eight more members of intsets were shown; other members are good until the next change. One thread only.
cdef int set_next(const set_t* self, size_t* position, const char** member, size_t* size) noexcept nogil
# A uniformly random member, fairly; 0 when empty. `random` is 64 random bits.
cdef int set_random(const set_t* self, unsigned long long random, const char** member, size_t* size) noexcept nogil
cdef int set_encoding(const set_t* self) noexcept nogil      # 0 intset, 1 listpack, 2 hashtable, as Redis 7.2 has it

cdef class Set:
    """A handle on a native set that the keyspace owns: valid until its key is deleted or overwritten."""
    cdef set_t* native
    cdef set_t own          # of one that is no key's: `standalone`
    cdef list _members_asked(self, list others, bint wanted, size_t limit)
    cdef list _sample_by_rejection(self, size_t count)
    cdef list _sample_by_walk(self, size_t count)
    @staticmethod
    cdef Set wrap(set_t* native)
