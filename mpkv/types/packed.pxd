# The head of a value, which lies in its key's entry, and the one block that holds all elements of a small value.
#
# An element is   size, bytes         of a set's member, or
#                 size, bytes, size, bytes      of a hash's field and value,
# sizes as LEB128 varints: one byte of overhead up to 127 bytes. Tables have elements of the same form as pieces.
#
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove

from mpkv.types.allocator cimport block_release, block_resize, block_room
from mpkv.types.table cimport table_t

# How a value is kept. Hashes and sets are INTSET, PACKED or TABLE (the numbers are those of `set_encoding`), lists and
# sorted sets have forms of their own.
cdef enum:
    INTSET = 0
    PACKED = 1
    TABLE = 2

cdef enum:
    # No part of an element has 2**40 bytes, so that sums of sizes cannot wrap. Requests are limited far below it.
    PART_SIZE_BITS = 40
    # Redis' safety limit of a listpack: beyond it a value becomes a table whatever the limits say.
    BLOCK_SIZE_MAX = (1 << 30) - 1
    BLOCK_COUNT_MAX = (1 << 24) - 1     # elements of a block
    SLACK_MAX = 24              # bytes of a block that may be unused: less than that cannot be given back

    # packed_t.state: 30 bits of bytes in use, then
    COUNT_SHIFT = 30            # 24 bits: elements of the block
    KIND_SHIFT = 54             # how it is kept

# 16 bytes: the two words that an entry has for a value. All zeroes is an empty value of kind 0.
ctypedef struct packed_t:
    void* body                  # the block, NULL when empty; of a TABLE the word of a table_t
    uint64_t state

cdef inline int packed_kind(const packed_t* self) noexcept nogil:
    return self.state >> KIND_SHIFT

cdef inline size_t packed_used(const packed_t* self) noexcept nogil:
    return self.state & BLOCK_SIZE_MAX

cdef inline uint32_t packed_count(const packed_t* self) noexcept nogil:
    return <uint32_t>(self.state >> COUNT_SHIFT & BLOCK_COUNT_MAX)

cdef inline void packed_begin(packed_t* self, int kind) noexcept nogil:
    """An empty value of this kind."""
    self.body = NULL
    self.state = <uint64_t>kind << KIND_SHIFT

cdef inline void packed_add_count(packed_t* self, int64_t change) noexcept nogil:
    self.state += <uint64_t>change << COUNT_SHIFT

cdef inline table_t* packed_table(const packed_t* self) noexcept nogil:
    """Of a TABLE."""
    return <table_t*>&self.body

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

cdef inline int packed_resize(packed_t* self, size_t used, int account) noexcept nogil:
    """Let the block have `used` bytes in use; 0, or -1 when there is no memory for more, and then nothing has changed.
    Less never fails. The caller has checked BLOCK_SIZE_MAX."""
    cdef void* block
    if not used <= block_room(self.body) <= used + SLACK_MAX:
        block = block_resize(self.body, used, account)
        if block == NULL:
            return -1
        self.body = block
    self.state = (self.state & ~<uint64_t>BLOCK_SIZE_MAX) | used
    return 0

cdef inline void packed_free(packed_t* self, int account) noexcept nogil:
    """Free the block."""
    block_release(self.body, account)
    self.body = NULL

cdef inline void packed_cut(packed_t* self, size_t offset, size_t size, int account) noexcept nogil:
    """Take `size` bytes out."""
    cdef char* block = <char*>self.body
    memmove(block + offset, block + offset + size, packed_used(self) - offset - size)
    packed_resize(self, packed_used(self) - size, account)

cdef inline bint packed_find(
    const packed_t* self, const char* key, size_t size, bint pairs, size_t* offset
) noexcept nogil:
    """Where the element with this key begins."""
    cdef const char* block = <const char*>self.body
    cdef const char* at = block
    cdef const char* end = block + packed_used(self)
    cdef const char* begin
    cdef element_t element
    while at < end:
        begin = at
        at = read_element(at, pairs, &element)
        if element.key_size == size and memcmp(element.key, key, size) == 0:
            offset[0] = begin - block
            return True
    return False

cdef inline int packed_append(packed_t* self, const element_t* element, bint pairs, int account) noexcept nogil:
    """Append an element that is not there yet; 1, or -1 when there is no memory."""
    cdef size_t used = packed_used(self)
    if packed_resize(self, used + element_size(element, pairs), account) < 0:
        return -1
    write_element(<char*>self.body + used, element, pairs)
    packed_add_count(self, 1)
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
