# A hash: field -> value, in native memory. No Python object per field (R7); every function here is safe without the
# GIL.

from mpkv.types.packed cimport packed_t

ctypedef struct hash_t:
    packed_t packed         # the body is one packed block, or a table when it has outgrown that

cdef hash_t* hash_new() noexcept nogil                       # NULL: no memory
cdef void hash_free(hash_t* self) noexcept nogil
cdef size_t hash_len(const hash_t* self) noexcept nogil
cdef size_t hash_memory(const hash_t* self) noexcept nogil   # bytes allocated, itself and malloc's headers included
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
    cdef bint owned         # by the handle: `standalone`
    cdef list _sample_by_rejection(self, size_t count)
    cdef list _sample_by_walk(self, size_t count)
    @staticmethod
    cdef Hash wrap(hash_t* native)
