# A list of byte strings in native memory: packed blocks, linked both ways. See list.pyx for the layout.
#
# What a walk needs is defined here, so that the modules that use it get it inline.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from mpkv.types.packed cimport packed_kind, packed_t

# One allocation: this header, then `capacity` bytes of which [begin, end) hold `count` elements.
ctypedef struct list_block:
    list_block* prev
    list_block* next
    uint32_t capacity
    uint32_t begin
    uint32_t end
    uint32_t count

# A list of more than one block
ctypedef struct chain_t:
    list_block* head
    list_block* tail
    size_t length
    uint64_t listpack_bytes      # as one listpack in Redis; QUICKLIST: it has outgrown that

cdef enum:
    LONE = 0                     # the body is its one block, NULL when empty, and the state has `listpack_bytes`
    CHAIN = 1                    # the body is a chain_t

# The two words of its entry: all zeroes is an empty list. See packed.pxd.
ctypedef packed_t list_t

ctypedef struct list_position:
    void* block
    size_t offset
    size_t left        # elements left in the block

cdef extern from *:
    """
    #define QUICKLIST ((uint64_t)1 << 53)
    """
    const uint64_t QUICKLIST     # below the kind in the state of a lone block

cdef void list_begin(list_t* self) noexcept nogil               # of two words with anything in them: an empty one
cdef void list_free(list_t* self) noexcept nogil                # all that it has beside the two words
# Free about so many elements of a large one; whether nothing is left
cdef bint list_free_some(list_t* self, size_t* position, size_t elements) noexcept nogil
cdef size_t list_memory(const list_t* self) noexcept nogil      # bytes allocated beside the two words

cdef inline size_t list_len(const list_t* self) noexcept nogil:
    if packed_kind(self) == CHAIN:
        return (<chain_t*>self.body).length
    return (<list_block*>self.body).count if self.body != NULL else 0

cdef inline bint list_is_listpack(const list_t* self) noexcept nogil:
    cdef uint64_t bytes = (<chain_t*>self.body).listpack_bytes if packed_kind(self) == CHAIN else self.state
    return (bytes & QUICKLIST) == 0

# What an element takes in a block
cdef size_t list_packed_bytes(size_t size) noexcept nogil
# 0, -1 no memory. `more`: bytes that are about to be pushed after it, so that room is made once
cdef int list_push(list_t* self, bint at_head, const char* element, size_t size, size_t more=*) noexcept nogil
# The element at one end; 0 when empty. Points into the list, good until the next change.
cdef int list_peek(const list_t* self, bint at_head, const char** element, size_t* size) noexcept nogil
cdef int list_drop(list_t* self, bint at_head) noexcept nogil    # remove the element at one end; 0 when empty
# Walk forward from element `index` (0 <= index <= length).
cdef void list_seek(const list_t* self, size_t index, list_position* position) noexcept nogil

cdef inline size_t list_long_size(const uint8_t* at, size_t* header) noexcept nogil:
    """The length in front of an element of 128 bytes or more: seven bits per byte, the lowest first."""
    cdef size_t size = at[0] & 127
    cdef unsigned shift = 7
    cdef size_t used = 1
    while at[used - 1] & 128:
        size |= <size_t>(at[used] & 127) << shift
        shift += 7
        used += 1
    header[0] = used
    return size

cdef inline int list_next(
    const list_t* self, list_position* position, const char** element, size_t* size
) noexcept nogil:
    """1 and the next element, 0 at the end. Writes nothing but the position (R9)."""
    cdef list_block* block = <list_block*>position.block
    cdef uint8_t* at
    cdef size_t header
    if position.left == 0:
        if block == NULL or block.next == NULL:
            return 0
        block = block.next
        position.block = block
        position.offset = block.begin
        position.left = block.count
    position.left -= 1
    at = <uint8_t*>(block + 1) + position.offset
    if at[0] < 128:
        element[0] = <const char*>(at + 1)
        size[0] = at[0]
        position.offset += <size_t>at[0] + 2
        return 1
    size[0] = list_long_size(at, &header)
    element[0] = <const char*>(at + header)
    position.offset += size[0] + 2 * header
    return 1

cdef class List:
    """A handle on a native list that the keyspace owns: valid until its key is deleted or overwritten."""
    cdef list_t* native
    cdef list_t own              # of one that is no key's: `standalone`
    @staticmethod
    cdef List wrap(list_t* native)
    cdef int _push(self, bint at_head, bytes element) except -1
    cdef bytes _pop(self, bint at_head)
    cdef bint _normalise(self, index, size_t* number)
