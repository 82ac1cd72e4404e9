# The elements of a large hash or set: pieces of a table. See elements.pyx.

from libc.stdint cimport uint64_t

from mpkv.types.packed cimport element_t, packed_t, read_element
from mpkv.types.table cimport place_t, table_next, table_t, word_piece

# In all of these `pairs` tells a hash, whose elements are field and value, from a set.

# Fill an empty table with all elements of a packed block, which stays the caller's; 0, -1 no memory (still empty)
cdef int elements_from_packed(table_t* self, const packed_t* packed, bint pairs) noexcept nogil
cdef void elements_free(table_t* self, bint pairs) noexcept nogil                   # with the table
# Free about so many of them from a place on; whether nothing is left, of the table too. In between it is good for
# nothing else
cdef bint elements_free_some(table_t* self, place_t* place, size_t count, bint pairs) noexcept nogil
# Bytes of the table and its elements, these judged by so many of them; 0: by all
cdef size_t elements_memory(const table_t* self, size_t samples, bint pairs) noexcept nogil
cdef bint elements_find(
    const table_t* self, const char* key, size_t size, element_t* element, bint pairs
) noexcept nogil
# 1 new, 0 was there (and has the new value), -1 no memory (unchanged). The element's bytes lie outside the table.
cdef int elements_put(table_t* self, const element_t* element, bint pairs) noexcept nogil
cdef bint elements_delete(table_t* self, const char* key, size_t size, bint pairs) noexcept nogil
# An element, each with the same probability; the table is not empty
cdef void elements_random(const table_t* self, uint64_t random, element_t* element, bint pairs) noexcept nogil
# One step of SCAN, any cursor is safe: (the next cursor, [(field, value), …] or [member, …])
cdef tuple elements_scan(const table_t* self, cursor, count, bint pairs)
# NULL, or which rule is broken
cdef const char* elements_check(const table_t* self, bint pairs) noexcept nogil

cdef inline bint elements_next(const table_t* self, place_t* place, element_t* element, bint pairs) noexcept nogil:
    """Walk; nothing is written to the table."""
    cdef uint64_t* word = table_next(self, place)
    if word == NULL:
        return False
    read_element(<const char*>word_piece(word[0]), pairs, element)
    return True
