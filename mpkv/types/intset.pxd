# A set of integers as one sorted array, and the text form of integers. See intset.pyx.

from libc.stdint cimport int64_t

from mpkv.types.packed cimport packed_t

cdef enum:
    INTEGER_TEXT_MAX = 20       # bytes of the longest one, -9223372036854775808

# Whether this is the one canonical text of a 64-bit integer, and which
cdef bint integer_of(const char* text, size_t size, int64_t* number) noexcept nogil
# Write the text; returns its size. `text` has room for INTEGER_TEXT_MAX bytes.
cdef size_t integer_text(int64_t number, char* text) noexcept nogil

cdef int64_t intset_at(const packed_t* self, size_t index) noexcept nogil
cdef bint intset_find(const packed_t* self, int64_t number, size_t* index) noexcept nogil      # where it is or belongs
cdef int intset_add(packed_t* self, int64_t number) noexcept nogil      # 1 new, 0 was there, -1 no memory (unchanged)
cdef bint intset_remove(packed_t* self, int64_t number) noexcept nogil
cdef const char* intset_check(const packed_t* self) noexcept nogil      # NULL, or which invariant is broken
