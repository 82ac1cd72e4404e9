# A hash: field -> value, in native memory. No Python object per field (R7); every function here is safe without the
# GIL.

from mpkv.types.packed cimport packed_t

# The two words of its entry: all zeroes is an empty hash. While small it has one packed block, then a table.
ctypedef packed_t hash_t

cdef void hash_begin(hash_t* self) noexcept nogil               # of two words with anything in them: an empty one
cdef void hash_free(hash_t* self) noexcept nogil                # all that it has beside the two words
# Free about so many fields of a large one, *position starts at 0; whether nothing is left
cdef bint hash_free_some(hash_t* self, size_t* position, size_t fields) noexcept nogil
cdef size_t hash_len(const hash_t* self) noexcept nogil
# Bytes allocated beside the two words. Of a large one judged by `samples` fields; 0: by all
cdef size_t hash_memory(const hash_t* self, size_t samples) noexcept nogil
# 1 = new, 0 = replaced, -1 = no memory (unchanged). Field and value lie outside the hash: copy what hash_get shows.
cdef int hash_put(
    hash_t* self, const char* field, size_t field_size, const char* value, size_t value_size
) noexcept nogil
# 1 = found; value points into the hash and is good until the next change
cdef int hash_get(
    const hash_t* self, const char* field, size_t field_size, const char** value, size_t* value_size
) noexcept nogil
cdef int hash_delete(hash_t* self, const char* field, size_t field_size) noexcept nogil      # 1 = was there
# Walk: *position starts at 0; 1 = one more, 0 = end. Nothing is written, so a snapshot child may use it (R9).
cdef int hash_next(
    const hash_t* self, size_t* position, const char** field, size_t* field_size, const char** value, size_t* value_size
) noexcept nogil
# A uniformly random field, fairly; 0 when empty. `random` is 64 random bits.
cdef int hash_random(
    const hash_t* self, unsigned long long random,
    const char** field, size_t* field_size, const char** value, size_t* value_size,
) noexcept nogil
cdef bint hash_is_listpack(const hash_t* self) noexcept nogil    # whether Redis 7.2 would still keep it as one listpack

cdef class Hash:
    """A handle on a native hash that the keyspace owns: valid until its key is deleted or overwritten."""
    cdef hash_t* native
    cdef hash_t own         # of one that is no key's: `standalone`
    cdef list _sample_by_rejection(self, size_t count)
    cdef list _sample_by_walk(self, size_t count)
    @staticmethod
    cdef Hash wrap(hash_t* native)
