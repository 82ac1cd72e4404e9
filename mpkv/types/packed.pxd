# Packed elements: how one element lies in memory, and the one block that holds all elements of a small value.
#
# An element is   size, bytes         of a set's member, or
#                 size, bytes, size, bytes      of a hash's field and value,
# sizes as LEB128 varints: one byte of overhead up to 127 bytes. Tables keep elements of the same form in their arena.

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy, memmove

from mpkv.types.allocator cimport reallocate

# How a value is kept; the numbers are those of `set_encoding`.
cdef enum:
    INTSET = 0
    PACKED = 1
    TABLE = 2

cdef enum:
    # No part of an element has 2**40 bytes, so that sums of sizes cannot wrap. Requests are limited far below it.
    PART_SIZE_BITS = 40
    # Redis' safety limit of a listpack: beyond it a value becomes a table whatever the limits say.
    BLOCK_SIZE_MAX = 1 << 30

# 24 bytes, the most that fits glibc's smallest chunk
ctypedef struct packed_t:
    void* body              # the block; the table_t when kind is TABLE; NULL when empty
    uint32_t used           # bytes of the block that are in use
    uint32_t capacity
    uint32_t count          # elements (of a table: see table_t)
    uint8_t kind
    uint8_t width           # bytes per number of an intset

ctypedef struct element_t:
    const char* key
    size_t key_size
    const char* value
    size_t value_size

cdef inline size_t varint_size(size_t number) noexcept nogil:
    cdef size_t size = 1
    while number >= 128:
        number >>= 7
        size += 1
    return size

cdef inline char* write_varint(char* at, size_t number) noexcept nogil:
    while number >= 128:
        at[0] = <char>(number | 128)
        number >>= 7
        at += 1
    at[0] = <char>number
    return at + 1

cdef inline const char* read_varint(const char* at, size_t* number) noexcept nogil:
    cdef size_t byte = <unsigned char>at[0]
    cdef int shift = 7
    number[0] = byte & 127
    while byte & 128:
        at += 1
        byte = <unsigned char>at[0]
        number[0] |= (byte & 127) << shift
        shift += 7
    return at + 1

cdef inline size_t element_size(const element_t* element, bint pairs) noexcept nogil:
    cdef size_t size = varint_size(element.key_size) + element.key_size
    return size + varint_size(element.value_size) + element.value_size if pairs else size

cdef inline char* write_element(char* at, const element_t* element, bint pairs) noexcept nogil:
    """Write it; returns where it ends."""
    at = write_varint(at, element.key_size)
    memcpy(at, element.key, element.key_size)
    at += element.key_size
    if pairs:
        at = write_varint(at, element.value_size)
        memcpy(at, element.value, element.value_size)
        at += element.value_size
    return at

cdef inline const char* read_element(const char* at, bint pairs, element_t* element) noexcept nogil:
    """View it; returns where it ends."""
    element.key = read_varint(at, &element.key_size)
    at = element.key + element.key_size
    if not pairs:
        element.value = NULL
        element.value_size = 0
        return at
    element.value = read_varint(at, &element.value_size)
    return element.value + element.value_size

cdef inline bint has_key(const char* at, const char* key, size_t size) noexcept nogil:
    """Whether the element at `at` has this key."""
    cdef size_t its_size
    at = read_varint(at, &its_size)
    return its_size == size and memcmp(at, key, size) == 0

cdef inline size_t _block_capacity(size_t needed) noexcept nogil:
    """What to ask for: a whole malloc chunk (8 bytes are glibc's), and headroom once copying shows."""
    if needed > 512:
        needed += needed >> 4
    if needed < 24:
        return 24
    return ((needed + 7) & ~<size_t>15) + 8

cdef inline int packed_resize(packed_t* self, size_t needed) noexcept nogil:
    """Make the block fit `needed` bytes (more than 0); 0, or -1 when there is no memory."""
    cdef size_t capacity = _block_capacity(needed)
    cdef void* block = reallocate(self.body, capacity)
    if block == NULL:
        return -1
    self.body = block
    self.capacity = <uint32_t>capacity
    return 0

cdef inline int packed_reserve(packed_t* self, size_t extra) noexcept nogil:
    """Room for `extra` more bytes; 0, or -1 when there is no memory. The caller has checked BLOCK_SIZE_MAX."""
    if self.capacity - self.used >= extra:
        return 0
    return packed_resize(self, self.used + extra)

cdef inline void packed_cut(packed_t* self, size_t offset, size_t size) noexcept nogil:
    """Take `size` bytes out and give memory back when half of the block is unused."""
    cdef char* block = <char*>self.body
    memmove(block + offset, block + offset + size, self.used - offset - size)
    self.used -= <uint32_t>size
    if self.used and self.capacity > 2 * _block_capacity(self.used):
        packed_resize(self, self.used)      # a refusal leaves it larger, no worse

cdef inline bint packed_find(
    const packed_t* self, const char* key, size_t size, bint pairs, size_t* offset
) noexcept nogil:
    """Where the element with this key begins."""
    cdef const char* block = <const char*>self.body
    cdef const char* at = block
    cdef const char* end = block + self.used
    cdef const char* begin
    cdef element_t element
    while at < end:
        begin = at
        at = read_element(at, pairs, &element)
        if element.key_size == size and memcmp(element.key, key, size) == 0:
            offset[0] = begin - block
            return True
    return False

cdef inline int packed_append(packed_t* self, const element_t* element, bint pairs) noexcept nogil:
    """Append an element that is not there yet; 1, or -1 when there is no memory."""
    cdef size_t size = element_size(element, pairs)
    if packed_reserve(self, size) < 0:
        return -1
    write_element(<char*>self.body + self.used, element, pairs)
    self.used += <uint32_t>size
    self.count += 1
    return 1

cdef inline size_t packed_nth(const packed_t* self, size_t index, bint pairs) noexcept nogil:
    """Where the element of this index begins."""
    cdef const char* block = <const char*>self.body
    cdef const char* at = block
    cdef element_t element
    while index:
        at = read_element(at, pairs, &element)
        index -= 1
    return at - block

# NULL, or which rule of a packed block is broken
cdef const char* packed_check(const packed_t* self, bint pairs) noexcept nogil
