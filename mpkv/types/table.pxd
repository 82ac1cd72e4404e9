# A hash table of packed elements, in order of their hashes. See table.pyx.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from mpkv.types.arena cimport arena_t, arena_at
from mpkv.types.packed cimport element_t, packed_t, read_element

ctypedef struct table_t:
    uint64_t* slots         # tag << 32 | reference; 0 = empty; in ascending order of tags
    arena_t arena
    uint32_t count
    uint32_t tail           # slots beyond the capacity; the last one is always empty
    uint8_t bits            # the capacity is 1 << bits
    uint8_t pairs           # elements are field and value, not a member alone

cdef inline size_t table_slots(const table_t* self) noexcept nogil:
    return (<size_t>1 << self.bits) + self.tail

# A table with all elements of a packed block; NULL when there is no memory. The block stays the caller's.
cdef table_t* table_from_packed(const packed_t* packed, bint pairs) noexcept nogil
# An empty one that `count` elements of `size` bytes in all will not make grow
cdef table_t* table_new(size_t count, size_t size, bint pairs) noexcept nogil
cdef void table_free(table_t* self) noexcept nogil
cdef size_t table_memory(const table_t* self) noexcept nogil
cdef bint table_find(const table_t* self, const char* key, size_t size, element_t* element) noexcept nogil
# 1 new, 0 was there (and has the new value), -1 no memory (unchanged). The element's bytes lie outside the table.
cdef int table_put(table_t* self, const element_t* element) noexcept nogil
cdef bint table_delete(table_t* self, const char* key, size_t size) noexcept nogil
# An element, each with the same probability; the table is not empty
cdef void table_random(const table_t* self, uint64_t random, element_t* element) noexcept nogil
# One step of SCAN, about `count` elements: those in slots first … last - 1. Returns the next cursor, 0 at the end.
# Any cursor is safe.
cdef uint64_t table_scan(
    const table_t* self, uint64_t cursor, uint64_t count, size_t* first, size_t* last
) noexcept nogil
# NULL, or which invariant is broken
cdef const char* table_check(const table_t* self) noexcept nogil

cdef inline bint table_next(const table_t* self, size_t* position, size_t end, element_t* element) noexcept nogil:
    """Walk the slots up to `end`, from *position on; nothing is written to the table."""
    cdef uint64_t slot
    while position[0] < end:
        slot = self.slots[position[0]]
        position[0] += 1
        if slot:
            read_element(arena_at(&self.arena, <uint32_t>slot), self.pairs, element)
            return True
    return False
