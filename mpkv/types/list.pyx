"""Lists: byte strings in packed blocks that are linked both ways.

A block is one allocation: a header and the elements, each as

    length (7 bits per byte, lowest first) | the bytes | the same length, to be read backwards

so that a walk in either direction is a few instructions per element. The elements lie somewhere in the middle of the
block's room: `begin` and `end` move, the elements do not, so pushing and popping at both ends costs no memmove. When
the room on one side is used up, the block is slid (only if at least half of it is free), grown by doubling up to the
budget, or followed by a new block; each of these is paid for by the pushes before it, so every push is amortised
O(1).

A list of one element is one tight block; an element larger than the budget has a block of its own. Inserting into a
full block splits it, removing merges neighbours that together fill less than half a block.

What Redis 7.2 would answer to OBJECT ENCODING is computed beside: `listpack_bytes` is what the elements would take as
one listpack, integers in their short form included. A list becomes a quicklist when it outgrows
`list-max-listpack-size`, and goes back when it is one block again of at most half of it.

Every change allocates before it touches anything: -1 (no memory) leaves the list as it was.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport INT32_MAX, UINT32_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove

from mpkv.types.allocator cimport (
    LISTS, allocate, block_footprint, block_release, block_resize, block_room, footprint, release,
)
from mpkv.types.packed cimport KIND_SHIFT, packed_begin, packed_kind

cdef enum:
    FIRST_BLOCK_BYTES = 1024         # room of a block that is added to a list that has one already
    SMALLEST_SHRUNK_BYTES = 128      # a block of less is not worth reallocating
    LISTPACK_FRAME_BYTES = 7         # Redis' listpack header and terminator
    GROWTH_SHIFT = 3                 # a block grows by an eighth
    SAFETY_BYTES = 8192              # Redis' limit for a listpack whose limit is a number of elements

# Rooms of Redis' list-max-listpack-size -1 … -5
_NODE_BYTES = {-1: 4096, -2: 8192, -3: 16384, -4: 32768, -5: 65536}

cdef size_t _listpack_limit = 8192                       # bytes of a listpack
cdef size_t _count_limit = UINT32_MAX                    # elements of a listpack and of a block
cdef size_t _budget = 8192 - sizeof(list_block)          # bytes of elements in a block


def set_limits(size: int) -> None:
    """Apply ``list-max-listpack-size``: -1 … -5 for 4 … 64 KiB, or a number of elements; for changes from now on.

    :raises ValueError: not a value that Redis accepts
    """
    global _listpack_limit, _count_limit, _budget
    if size < -5 or size == 0 or size > INT32_MAX:
        raise ValueError(f"list-max-listpack-size {size} is out of range")
    _listpack_limit = _NODE_BYTES.get(size, SAFETY_BYTES)
    _count_limit = size if size > 0 else UINT32_MAX
    _budget = _listpack_limit - sizeof(list_block)


# -- memory: the only functions that allocate and free -----------------------------------------------------------------

cdef list_block* _block_new(size_t room) noexcept nogil:
    """An empty, unlinked block of at least `room` bytes: what rounding up would waste is room too."""
    cdef list_block* block
    if room > UINT32_MAX - 8192:
        return NULL
    block = <list_block*>block_resize(NULL, sizeof(list_block) + room, LISTS)
    if block == NULL:
        return NULL
    block.prev = block.next = NULL
    block.capacity = <uint32_t>(block_room(block) - sizeof(list_block))
    block.begin = block.end = block.count = 0
    return block


cdef inline void _block_free(list_block* block) noexcept nogil:
    block_release(block, LISTS)


cdef void list_begin(list_t* self) noexcept nogil:
    packed_begin(self, LONE)


cdef inline list_block* _first_block(const list_t* self) noexcept nogil:
    return (<chain_t*>self.body).head if packed_kind(self) == CHAIN else <list_block*>self.body


cdef void list_free(list_t* self) noexcept nogil:
    cdef size_t position = 0
    list_free_some(self, &position, <size_t>-1)


cdef bint list_free_some(list_t* self, size_t* position, size_t elements) noexcept nogil:
    # The position is not needed: the blocks that are left are those that are there
    cdef list_block* block = _first_block(self)
    cdef list_block* next
    cdef size_t freed = 0
    while block != NULL and freed <= elements:
        next = block.next
        freed += block.count
        _block_free(block)
        block = next
    if packed_kind(self) == CHAIN:
        (<chain_t*>self.body).head = block
        if block != NULL:
            return False
        release(self.body, sizeof(chain_t), LISTS)
    self.body = NULL
    return True


cdef size_t list_memory(const list_t* self) noexcept nogil:
    cdef list_block* block = _first_block(self)
    cdef size_t memory = footprint(self.body, sizeof(chain_t)) if packed_kind(self) == CHAIN else 0
    while block != NULL:
        memory += block_footprint(block)
        block = block.next
    return memory


# -- a lone block is a chain of one while it is worked on --------------------------------------------------------------

cdef chain_t* _open(list_t* self, chain_t* scratch) noexcept nogil:
    """The chain; of a lone block one that is made of it, which `_close` takes back and which gets no second block."""
    cdef list_block* block = <list_block*>self.body
    if packed_kind(self) == CHAIN:
        return <chain_t*>self.body
    scratch.head = scratch.tail = block
    scratch.length = block.count if block != NULL else 0
    scratch.listpack_bytes = self.state
    return scratch


cdef void _close(list_t* self, chain_t* chain) noexcept nogil:
    if chain.head != chain.tail:
        return
    if packed_kind(self) == CHAIN:
        self.state = <uint64_t>LONE << KIND_SHIFT | chain.listpack_bytes
        self.body = chain.head
        release(chain, sizeof(chain_t), LISTS)
    else:
        self.state = chain.listpack_bytes
        self.body = chain.head


cdef int _make_chain(list_t* self) noexcept nogil:
    """So that it may have a second block; 0, -1 no memory."""
    cdef chain_t* chain
    if packed_kind(self) == CHAIN:
        return 0
    chain = <chain_t*>allocate(sizeof(chain_t), LISTS)
    if chain == NULL:
        return -1
    _open(self, chain)
    self.body = chain
    self.state = <uint64_t>CHAIN << KIND_SHIFT
    return 0


# -- one element in its packed form ------------------------------------------------------------------------------------

cdef inline uint8_t* _data(const list_block* block) noexcept nogil:
    return <uint8_t*>(block + 1)


cdef inline size_t _used(const list_block* block) noexcept nogil:
    return block.end - block.begin


cdef inline size_t _length_bytes(size_t size) noexcept nogil:
    cdef size_t needed = 1
    while size >= 128:
        size >>= 7
        needed += 1
    return needed


cdef inline size_t _packed_bytes(size_t size) noexcept nogil:
    return size + 2 * _length_bytes(size)


cdef size_t list_packed_bytes(size_t size) noexcept nogil:
    return _packed_bytes(size)


cdef inline void _write(uint8_t* at, const char* element, size_t size) noexcept nogil:
    cdef size_t header = _length_bytes(size)
    cdef size_t rest = size
    cdef size_t i
    cdef uint8_t* last = at + 2 * header + size - 1
    for i in range(header):
        at[i] = <uint8_t>((rest & 127) | (128 if i + 1 < header else 0))
        (last - i)[0] = at[i]
        rest >>= 7
    memcpy(at + header, element, size)


cdef inline size_t _read(const uint8_t* at, const char** element, size_t* size) noexcept nogil:
    """The element that begins at `at`; how many bytes it takes packed."""
    cdef size_t header = 1
    size[0] = at[0]
    if at[0] >= 128:
        size[0] = list_long_size(at, &header)
    element[0] = <const char*>(at + header)
    return size[0] + 2 * header


cdef inline size_t _read_back(const uint8_t* end, const char** element, size_t* size) noexcept nogil:
    """The element that ends before `end`; how many bytes it takes packed."""
    cdef const uint8_t* at = end - 1
    cdef unsigned shift = 7
    cdef size_t length = at[0] & 127
    cdef size_t header
    while at[0] & 128:
        at -= 1
        length |= <size_t>(at[0] & 127) << shift
        shift += 7
    header = end - at
    element[0] = <const char*>(at - length)
    size[0] = length
    return length + 2 * header


# -- the size that Redis' listpack would give it -----------------------------------------------------------------------

cdef bint _as_integer(const char* text, size_t size, int64_t* value) noexcept nogil:
    """Whether `text` is a 64-bit integer in its one canonical form."""
    cdef bint negative = size > 0 and text[0] == c"-"
    cdef size_t i = 1 if negative else 0
    cdef uint64_t number = 0
    cdef uint64_t limit = (<uint64_t>1 << 63) - (0 if negative else 1)
    cdef unsigned digit
    if size == i or size - i > 19 or text[i] < c"0" or text[i] > c"9":
        return False
    if text[i] == c"0":
        value[0] = 0
        return size == 1
    while i < size:
        digit = <unsigned>(text[i] - c"0")
        if digit > 9:
            return False
        number = number * 10 + digit         # 19 digits fit into 64 bits
        i += 1
    if number > limit:
        return False
    value[0] = <int64_t>(0 - number) if negative else <int64_t>number
    return True


cdef inline size_t _integer_bytes(int64_t value) noexcept nogil:
    if 0 <= value <= 127:
        return 1
    if -4096 <= value <= 4095:
        return 2
    if -(1 << 15) <= value < (1 << 15):
        return 3
    if -(1 << 23) <= value < (1 << 23):
        return 4
    if -(<int64_t>1 << 31) <= value < (<int64_t>1 << 31):
        return 5
    return 9


cdef size_t _listpack_entry_bytes(const char* element, size_t size) noexcept nogil:
    """Encoding byte or bytes, content, and the back-length of 7 bits per byte."""
    cdef int64_t value
    if size <= 20 and size > 0 and element[0] <= c"9" and _as_integer(element, size, &value):
        return _integer_bytes(value) + 1
    if size < 64:
        size += 1
    elif size < 4096:
        size += 2
    else:
        size += 5
    return size + _length_bytes(size)


cdef inline bint _outgrows_listpack(const chain_t* self, size_t size) noexcept nogil:
    """Whether Redis would convert before it adds an element: it asks with the plain size of what is added."""
    cdef size_t bytes = LISTPACK_FRAME_BYTES + (self.listpack_bytes & ~QUICKLIST)
    return bytes + size > _listpack_limit or self.length + 1 > _count_limit


cdef inline void _count_in(chain_t* self, bint converts, const char* element, size_t size) noexcept nogil:
    self.length += 1
    self.listpack_bytes += _listpack_entry_bytes(element, size)
    if converts:
        self.listpack_bytes |= QUICKLIST


cdef inline void _count_out(chain_t* self, const char* element, size_t size) noexcept nogil:
    self.length -= 1
    self.listpack_bytes -= _listpack_entry_bytes(element, size)


cdef void _after_removal(chain_t* self) noexcept nogil:
    """Go back to a listpack if that is due, and give memory back if most of the only block is unused."""
    cdef uint64_t bytes = self.listpack_bytes & ~QUICKLIST
    if self.head != self.tail:
        return
    if self.listpack_bytes & QUICKLIST and (
        LISTPACK_FRAME_BYTES + bytes <= _listpack_limit / 2 and self.length <= _count_limit / 2
    ):
        self.listpack_bytes = bytes
    if self.head != NULL:
        _shrink(self, self.head)


# -- blocks ------------------------------------------------------------------------------------------------------------

cdef void _relink(chain_t* self, const list_block* block, list_block* successor) noexcept nogil:
    """Put `successor` in the place of `block`, which it may be itself, moved."""
    successor.prev = block.prev
    successor.next = block.next
    if successor.prev == NULL:
        self.head = successor
    else:
        successor.prev.next = successor
    if successor.next == NULL:
        self.tail = successor
    else:
        successor.next.prev = successor


cdef void _link_after(chain_t* self, list_block* block, list_block* fresh) noexcept nogil:
    """NULL for `block`: at the head."""
    fresh.prev = block
    fresh.next = self.head if block == NULL else block.next
    if fresh.next == NULL:
        self.tail = fresh
    else:
        fresh.next.prev = fresh
    if block == NULL:
        self.head = fresh
    else:
        block.next = fresh


cdef void _unlink(chain_t* self, list_block* block) noexcept nogil:
    """Take it out and free it."""
    if block.prev == NULL:
        self.head = block.next
    else:
        block.prev.next = block.next
    if block.next == NULL:
        self.tail = block.prev
    else:
        block.next.prev = block.prev
    _block_free(block)


cdef list_block* _resettle(chain_t* self, list_block* block, size_t capacity, size_t begin) noexcept nogil:
    """Move the elements to a new block of `capacity`, `begin` bytes from its start; NULL = no memory."""
    cdef list_block* successor = _block_new(capacity)
    cdef size_t used = _used(block)
    if successor == NULL:
        return NULL
    memcpy(_data(successor) + begin, _data(block) + block.begin, used)
    successor.begin = <uint32_t>begin
    successor.end = <uint32_t>(begin + used)
    successor.count = block.count
    _relink(self, block, successor)
    _block_free(block)
    return successor


cdef list_block* _lengthen(chain_t* self, list_block* block, size_t capacity) noexcept nogil:
    """More room at the end, where the block stands if there is room behind it; NULL = no memory, nothing changed."""
    cdef list_block* moved = <list_block*>block_resize(block, sizeof(list_block) + capacity, LISTS)
    if moved == NULL:
        return NULL
    moved.capacity = <uint32_t>(block_room(moved) - sizeof(list_block))
    if moved != block:
        _relink(self, moved, moved)
    return moved


cdef list_block* _grow(chain_t* self, list_block* block, bint at_head, size_t extra, size_t more) noexcept nogil:
    """Enlarge the block by an eighth or by what is to come (up to the budget), with the new room on the side that asked
    for it."""
    cdef size_t used = _used(block)
    cdef size_t capacity = used + extra + max(more, (used + extra) >> GROWTH_SHIFT)
    cdef size_t behind = block.capacity - block.end
    if capacity > _budget:
        capacity = _budget
    if capacity < used + extra:
        capacity = used + extra
    if not at_head:
        if block.begin + used + extra <= capacity:
            return _lengthen(self, block, capacity)
        return _resettle(self, block, capacity, capacity - used - extra)
    return _resettle(self, block, capacity, max(extra, capacity - used - min(behind, capacity - used)))


cdef void _slide(list_block* block, size_t begin) noexcept nogil:
    cdef size_t used = _used(block)
    memmove(_data(block) + begin, _data(block) + block.begin, used)
    block.begin = <uint32_t>begin
    block.end = <uint32_t>(begin + used)


cdef list_block* _make_room(
    chain_t* self, list_block* block, bint at_head, size_t extra, size_t more=0
) noexcept nogil:
    """`extra` free bytes on one side; the block may be another afterwards. NULL = no memory, nothing changed."""
    cdef size_t used = _used(block)
    cdef size_t unused = block.capacity - used
    cdef size_t room = block.begin if at_head else block.capacity - block.end
    if room >= extra:
        return block
    # Sliding a block that is more than half full, push after push, would cost more than it gains.
    if unused >= extra and (unused >= used or block.capacity >= _budget):
        _slide(block, (unused - extra) / 2 + (extra if at_head else 0))
        return block
    return _grow(self, block, at_head, extra, more)


cdef void _shrink(chain_t* self, list_block* block) noexcept nogil:
    """Reallocate a block of which three quarters are unused. Without memory for it nothing is lost."""
    cdef size_t used = _used(block)
    if block.capacity > SMALLEST_SHRUNK_BYTES and used * 4 < block.capacity:
        _resettle(self, block, 2 * used, used / 2)


cdef inline bint _fits(const list_block* block, size_t extra) noexcept nogil:
    return _used(block) + extra <= _budget and block.count < _count_limit


cdef list_block* _merge(chain_t* self, list_block* left, list_block* right) noexcept nogil:
    """Join two neighbours that together fill less than half a block; returns the one that holds what was in `left`."""
    cdef size_t extra
    cdef list_block* joined
    if left == NULL or right == NULL:
        return left
    extra = _used(right)
    if _used(left) + extra > _budget / 2 or <size_t>left.count + right.count > _count_limit:
        return left
    joined = _make_room(self, left, False, extra)
    if joined == NULL:
        return left
    memcpy(_data(joined) + joined.end, _data(right) + right.begin, extra)
    joined.end += <uint32_t>extra
    joined.count += right.count
    _unlink(self, right)
    return joined


cdef void _settle_block(chain_t* self, list_block* block) noexcept nogil:
    """After a removal from `block`: free it when empty, else try to join it with its neighbours."""
    if block.count == 0:
        _unlink(self, block)
        return
    block = _merge(self, block, block.next)
    _merge(self, block.prev, block)


cdef list_block* _respan(
    chain_t* self, list_block* block, size_t at, size_t old, size_t new, size_t* place
) noexcept nogil:
    """Turn the `old` bytes at offset `at` into `new` bytes, moving the shorter side; `place` is where they are then."""
    cdef size_t front = at - block.begin
    cdef size_t back = block.end - (at + old)
    cdef bint move_front = front < back
    if new > old:
        block = _make_room(self, block, move_front, new - old)
        if block == NULL:
            return NULL
        at = block.begin + front
    if move_front:
        memmove(_data(block) + block.begin + old - new, _data(block) + block.begin, front)
        block.begin = <uint32_t>(block.begin + old - new)
        place[0] = at + old - new
    else:
        memmove(_data(block) + at + new, _data(block) + at + old, back)
        block.end = <uint32_t>(block.end + new - old)
        place[0] = at
    return block


# -- the ends ----------------------------------------------------------------------------------------------------------

cdef bint _takes(const list_block* block, bint at_head, size_t needed) noexcept nogil:
    """Whether a push goes into this block, and not into another one."""
    cdef size_t room = block.begin if at_head else block.capacity - block.end
    if not _fits(block, needed):
        return False
    return room >= needed or block.capacity < _budget or block.capacity - _used(block) >= _used(block)


cdef list_block* _block_for_push(chain_t* self, bint at_head, size_t needed, size_t more) noexcept nogil:
    """The block at that end with room for `needed` bytes, a new one if there is no other; NULL = no memory."""
    cdef list_block* block = self.head if at_head else self.tail
    cdef size_t room = needed
    if block != NULL and _takes(block, at_head, needed):
        return _make_room(self, block, at_head, needed, more)
    if more:
        room = max(needed, min(needed + more, _budget))
    if block != NULL and room < FIRST_BLOCK_BYTES:
        room = FIRST_BLOCK_BYTES
    block = _block_new(room)
    if block == NULL:
        return NULL
    if at_head:
        block.begin = block.end = block.capacity
    _link_after(self, NULL if at_head else self.tail, block)
    return block


cdef int list_push(list_t* self, bint at_head, const char* element, size_t size, size_t more=0) noexcept nogil:
    cdef size_t needed = _packed_bytes(size)
    cdef chain_t scratch
    cdef chain_t* chain
    cdef list_block* block
    if size > UINT32_MAX - 16384:
        return -1
    if packed_kind(self) == LONE and self.body != NULL and not _takes(<list_block*>self.body, at_head, needed):
        if _make_chain(self) < 0:
            return -1
    chain = _open(self, &scratch)
    block = _block_for_push(chain, at_head, needed, more)
    if block == NULL:
        _close(self, chain)
        return -1
    if at_head:
        block.begin -= <uint32_t>needed
        _write(_data(block) + block.begin, element, size)
    else:
        _write(_data(block) + block.end, element, size)
        block.end += <uint32_t>needed
    block.count += 1
    _count_in(chain, _outgrows_listpack(chain, size), element, size)
    _close(self, chain)
    return 0


cdef int list_peek(const list_t* self, bint at_head, const char** element, size_t* size) noexcept nogil:
    cdef list_block* block = <list_block*>self.body
    if packed_kind(self) == CHAIN:
        block = (<chain_t*>self.body).head if at_head else (<chain_t*>self.body).tail
    if block == NULL:
        return 0
    if at_head:
        _read(_data(block) + block.begin, element, size)
    else:
        _read_back(_data(block) + block.end, element, size)
    return 1


cdef int list_drop(list_t* self, bint at_head) noexcept nogil:
    cdef chain_t scratch
    cdef chain_t* chain = _open(self, &scratch)
    cdef list_block* block = chain.head if at_head else chain.tail
    cdef const char* element
    cdef size_t size
    cdef size_t packed
    if block == NULL:
        return 0
    if at_head:
        packed = _read(_data(block) + block.begin, &element, &size)
        block.begin += <uint32_t>packed
    else:
        packed = _read_back(_data(block) + block.end, &element, &size)
        block.end -= <uint32_t>packed
    block.count -= 1
    _count_out(chain, element, size)
    if block.count == 0:
        _unlink(chain, block)
    _after_removal(chain)
    _close(self, chain)
    return 1


# -- places in the middle ----------------------------------------------------------------------------------------------

cdef list_block* _block_of(const chain_t* self, size_t* index) noexcept nogil:
    """The block that holds element `index` (< length), from the nearer end; `index` becomes its number in the block."""
    cdef list_block* block
    cdef size_t after
    if index[0] <= self.length / 2:
        block = self.head
        while index[0] >= block.count:
            index[0] -= block.count
            block = block.next
        return block
    block = self.tail
    after = self.length - index[0]           # from the element to the end of the block, itself included
    while after > block.count:
        after -= block.count
        block = block.prev
    index[0] = block.count - after
    return block


cdef size_t _offset_of(const list_block* block, size_t index) noexcept nogil:
    """Where in the block its element `index` begins (its end for index == count)."""
    cdef const char* element
    cdef size_t size
    cdef size_t offset
    cdef size_t i
    if index <= block.count / 2:
        offset = block.begin
        for i in range(index):
            offset += _read(_data(block) + offset, &element, &size)
        return offset
    offset = block.end
    for i in range(block.count - index):
        offset -= _read_back(_data(block) + offset, &element, &size)
    return offset


cdef void _seek(const chain_t* self, size_t index, list_position* position) noexcept nogil:
    cdef list_block* block
    if index >= self.length:
        position.block = self.tail
        position.offset = 0
        position.left = 0
        return
    block = _block_of(self, &index)
    position.block = block
    position.offset = _offset_of(block, index)
    position.left = block.count - index


cdef void list_seek(const list_t* self, size_t index, list_position* position) noexcept nogil:
    cdef chain_t scratch
    _seek(_open(<list_t*>self, &scratch), index, position)


cdef int _insert_apart(
    chain_t* self, list_block* block, size_t at, size_t before, const char* element, size_t size
) noexcept nogil:
    """Insert where the block has no room for it: the block is split at `at`, `before` elements from its start.

    The new element goes into the new block, with the shorter side of the split if the budget allows.
    """
    cdef size_t needed = _packed_bytes(size)
    cdef size_t front = at - block.begin
    cdef size_t back = block.end - at
    cdef size_t after = block.count - before
    cdef list_block* own
    cdef list_block* rest
    if front <= back and front + needed <= _budget and before < _count_limit:
        own = _block_new(front + needed)               # [front element] [back]
        if own == NULL:
            return -1
        memcpy(_data(own), _data(block) + block.begin, front)
        _write(_data(own) + front, element, size)
        own.end = <uint32_t>(front + needed)
        own.count = <uint32_t>(before + 1)
        _link_after(self, block.prev, own)
        block.begin = <uint32_t>at
        block.count = <uint32_t>after
        return 0
    if back + needed <= _budget and after < _count_limit:
        own = _block_new(back + needed)                # [front] [element back]
        if own == NULL:
            return -1
        _write(_data(own), element, size)
        memcpy(_data(own) + needed, _data(block) + at, back)
        own.end = <uint32_t>(back + needed)
        own.count = <uint32_t>(after + 1)
        _link_after(self, block, own)
        block.end = <uint32_t>at
        block.count = <uint32_t>before
        return 0
    own = _block_new(needed)                           # [front] [element] [back]
    if own == NULL:
        return -1
    rest = NULL
    if front and back:
        rest = _block_new(back)
        if rest == NULL:
            _block_free(own)
            return -1
        memcpy(_data(rest), _data(block) + at, back)
        rest.end = <uint32_t>back
        rest.count = <uint32_t>after
        block.end = <uint32_t>at
        block.count = <uint32_t>before
        _link_after(self, block, rest)
    _write(_data(own), element, size)
    own.end = <uint32_t>needed
    own.count = 1
    _link_after(self, block if front else block.prev, own)
    return 0


cdef int _insert_at(
    chain_t* self, list_block* block, size_t at, size_t before, const char* element, size_t size
) noexcept nogil:
    """Insert at offset `at` of the block, `before` elements from its start; 0, -1 no memory."""
    cdef size_t needed = _packed_bytes(size)
    cdef bint converts = _outgrows_listpack(self, size)
    cdef size_t place
    cdef list_block* neighbour = NULL
    if size > UINT32_MAX - 16384:
        return -1
    if not _fits(block, needed):
        # Between two blocks the other one may have room.
        if at == block.end and block.next != NULL and _fits(block.next, needed):
            block = block.next
            at = block.begin
        elif at == block.begin and block.prev != NULL and _fits(block.prev, needed):
            block = block.prev
            at = block.end
        else:
            if _insert_apart(self, block, at, before, element, size) < 0:
                return -1
            _count_in(self, converts, element, size)
            return 0
    block = _respan(self, block, at, 0, needed, &place)
    if block == NULL:
        return -1
    _write(_data(block) + place, element, size)
    block.count += 1
    _count_in(self, converts, element, size)
    return 0


cdef void _remove_at(chain_t* self, list_block* block, size_t at) noexcept nogil:
    cdef const char* element
    cdef size_t size
    cdef size_t packed = _read(_data(block) + at, &element, &size)
    _count_out(self, element, size)
    block = _respan(self, block, at, packed, 0, &at)
    block.count -= 1
    _settle_block(self, block)


cdef int _put_at(chain_t* self, size_t index, const char* element, size_t size) noexcept nogil:
    """Replace element `index` (< length); 0, -1 no memory."""
    cdef size_t number = index
    cdef list_block* block = _block_of(self, &number)
    cdef size_t at = _offset_of(block, number)
    cdef const char* old
    cdef size_t old_size
    cdef size_t packed = _read(_data(block) + at, &old, &old_size)
    cdef size_t needed = _packed_bytes(size)
    cdef bint converts = _outgrows_listpack(self, size)
    if size > UINT32_MAX - 16384:
        return -1
    if needed <= packed or _used(block) - packed + needed <= _budget:
        # What it cost in a listpack is computed before its bytes are overwritten.
        old_size = _listpack_entry_bytes(old, old_size)
        block = _respan(self, block, at, packed, needed, &at)
        if block == NULL:
            return -1
        self.length -= 1
        self.listpack_bytes -= old_size
        _write(_data(block) + at, element, size)
        _count_in(self, converts, element, size)
        _settle_block(self, block)
    else:
        if _insert_at(self, block, at, number, element, size) < 0:
            return -1
        index += 1
        block = _block_of(self, &index)
        _remove_at(self, block, _offset_of(block, index))
    _after_removal(self)
    return 0


# -- searching and removing many ---------------------------------------------------------------------------------------

cdef inline bint _equal(const char* a, size_t a_size, const char* b, size_t b_size) noexcept nogil:
    return a_size == b_size and memcmp(a, b, a_size) == 0


cdef size_t _remove_from(
    chain_t* self, list_block* block, size_t at, const char* element, size_t size, size_t most
) noexcept nogil:
    """Remove up to `most` elements equal to `element`, forward from offset `at` of the block; how many there were."""
    cdef list_block* next
    cdef list_block* joined
    cdef uint8_t* data
    cdef size_t removed = 0
    cdef size_t here
    cdef size_t kept
    cdef size_t packed
    cdef const char* found
    cdef size_t found_size
    while block != NULL and removed < most:
        # Compact in place: what stays moves over what goes.
        data = _data(block)
        kept = at
        here = 0
        while at < block.end:
            packed = _read(data + at, &found, &found_size)
            if removed < most and _equal(found, found_size, element, size):
                _count_out(self, found, found_size)
                removed += 1
                here += 1
            else:
                if here:
                    memmove(data + kept, data + at, packed)
                kept += packed
            at += packed
        next = block.next
        if here:
            block.end = <uint32_t>kept
            block.count -= <uint32_t>here
            if block.count == 0:
                _unlink(self, block)
            else:
                _merge(self, block.prev, block)
        block = next
        if block != NULL:
            at = block.begin
    if removed and self.tail != NULL:
        _merge(self, self.tail.prev, self.tail)
    if removed:
        _after_removal(self)
    return removed


cdef bint _find_from_tail(
    const chain_t* self, const char* element, size_t size, size_t most, list_block** block, size_t* at
) noexcept nogil:
    """Where the `most`-th match from the tail begins, or the one nearest to the head if there are fewer."""
    cdef list_block* here = self.tail
    cdef size_t offset
    cdef size_t matches = 0
    cdef const char* found
    cdef size_t found_size
    while here != NULL and matches < most:
        offset = here.end
        while offset > here.begin and matches < most:
            offset -= _read_back(_data(here) + offset, &found, &found_size)
            if _equal(found, found_size, element, size):
                matches += 1
                block[0] = here
                at[0] = offset
        here = here.prev
    return matches > 0


cdef size_t _remove_matches(chain_t* self, const char* element, size_t size, int64_t count) noexcept nogil:
    cdef list_block* block = NULL
    cdef size_t at = 0
    cdef size_t most
    if count >= 0:
        most = <size_t>count if count > 0 else <size_t>-1
        return _remove_from(self, self.head, self.head.begin, element, size, most) if self.head != NULL else 0
    most = 0 - <size_t>count
    if not _find_from_tail(self, element, size, most, &block, &at):
        return 0
    return _remove_from(self, block, at, element, size, most)


cdef void _recount(chain_t* self) noexcept nogil:
    """Compute `listpack_bytes` anew, keeping the bit."""
    cdef uint64_t total = self.listpack_bytes & QUICKLIST
    cdef list_position position
    cdef const char* element
    cdef size_t size
    _seek(self, 0, &position)
    while list_next(NULL, &position, &element, &size):
        total += _listpack_entry_bytes(element, size)
    self.listpack_bytes = total


cdef void _cut(chain_t* self, bint at_head, size_t count, bint counted) noexcept nogil:
    """Drop `count` elements (<= length) at one end; `counted`: keep `listpack_bytes` while doing so."""
    cdef list_block* block
    cdef const char* element
    cdef size_t size
    cdef size_t packed
    self.length -= count
    while count:
        block = self.head if at_head else self.tail
        if not counted and count >= block.count:
            count -= block.count
            _unlink(self, block)
            continue
        if at_head:
            packed = _read(_data(block) + block.begin, &element, &size)
            block.begin += <uint32_t>packed
        else:
            packed = _read_back(_data(block) + block.end, &element, &size)
            block.end -= <uint32_t>packed
        if counted:
            self.listpack_bytes -= _listpack_entry_bytes(element, size)
        block.count -= 1
        count -= 1
        if block.count == 0:
            _unlink(self, block)


cdef void _keep(chain_t* self, size_t start, size_t end) noexcept nogil:
    """Keep elements start … end - 1. Only the smaller one of what goes and what stays is looked at one by one."""
    cdef size_t dropped = self.length - (end - start)
    cdef bint counted = dropped <= end - start
    _cut(self, False, self.length - end, counted)
    _cut(self, True, start, counted)
    if not counted:
        _recount(self)
    if self.head != NULL and self.head != self.tail:
        _merge(self, self.head, self.head.next)
    _after_removal(self)


# -- from outside, by index --------------------------------------------------------------------------------------------

cdef int _insert(list_t* self, size_t index, const char* element, size_t size) noexcept nogil:
    """Insert before element `index`, or behind the last one, in a list that is not empty; 0, -1 no memory."""
    cdef chain_t scratch
    cdef chain_t* chain
    cdef list_block* block
    cdef size_t number = index
    cdef int status
    if packed_kind(self) == LONE and not _fits(<list_block*>self.body, _packed_bytes(size)) and _make_chain(self) < 0:
        return -1
    chain = _open(self, &scratch)
    if index == chain.length:
        block, number = chain.tail, chain.tail.count
    else:
        block = _block_of(chain, &number)
    status = _insert_at(chain, block, _offset_of(block, number), number, element, size)
    _close(self, chain)
    return status


cdef int _put(list_t* self, size_t index, const char* element, size_t size) noexcept nogil:
    """Replace element `index` (< length); 0, -1 no memory."""
    cdef chain_t scratch
    cdef chain_t* chain
    cdef int status
    if packed_kind(self) == LONE and not _fits(<list_block*>self.body, _packed_bytes(size)) and _make_chain(self) < 0:
        return -1
    chain = _open(self, &scratch)
    status = _put_at(chain, index, element, size)
    _close(self, chain)
    return status


# -- the handle --------------------------------------------------------------------------------------------------------

cdef class List:
    """A handle on a native list that the keyspace owns: valid until its key is deleted or overwritten, or its entry has
    moved for another reason (see `workers.entry`)."""

    @staticmethod
    cdef List wrap(list_t* native):
        cdef List handle = List.__new__(List)
        handle.native = native
        return handle

    @staticmethod
    def standalone() -> List:
        """An empty list that is no key's."""
        cdef List handle = List.__new__(List)
        list_begin(&handle.own)
        handle.native = &handle.own
        return handle

    def __dealloc__(self):
        if self.native == &self.own:
            list_free(self.native)

    def __len__(self) -> int:
        return list_len(self.native)

    cdef int _push(self, bint at_head, bytes element) except -1:
        if list_push(self.native, at_head, PyBytes_AS_STRING(element), PyBytes_GET_SIZE(element)) < 0:
            raise MemoryError
        return 0

    cdef bytes _pop(self, bint at_head):
        cdef const char* element
        cdef size_t size
        if not list_peek(self.native, at_head, &element, &size):
            return None
        popped = PyBytes_FromStringAndSize(element, size)
        list_drop(self.native, at_head)
        return popped

    def push_head(self, bytes element not None) -> None:
        self._push(True, element)

    def push_tail(self, bytes element not None) -> None:
        self._push(False, element)

    def pop_head(self) -> bytes | None:
        return self._pop(True)

    def pop_tail(self) -> bytes | None:
        return self._pop(False)

    cdef bint _normalise(self, index, size_t* number):
        """Count from the head what may be counted from the tail; whether it is inside."""
        if index < 0:
            index += list_len(self.native)
        if index < 0 or index >= list_len(self.native):
            return False
        number[0] = index
        return True

    def get(self, index: int) -> bytes | None:
        """The element at `index` (negative counts from the tail), None outside."""
        cdef size_t number
        cdef list_position position
        cdef const char* element = NULL
        cdef size_t size = 0
        if not self._normalise(index, &number):
            return None
        list_seek(self.native, number, &position)
        list_next(self.native, &position, &element, &size)
        return PyBytes_FromStringAndSize(element, size)

    def put(self, index: int, bytes element not None) -> bool:
        """Replace; False outside."""
        cdef size_t number
        if not self._normalise(index, &number):
            return False
        if _put(self.native, number, PyBytes_AS_STRING(element), PyBytes_GET_SIZE(element)) < 0:
            raise MemoryError
        return True

    def range(self, start: int, stop: int) -> list[bytes]:
        """Elements start … stop, both included, 0 <= start, stop < length; empty if stop < start."""
        cdef list elements = []
        cdef list_position position
        cdef const char* element
        cdef size_t size
        cdef size_t left
        start = max(start, 0)
        stop = min(stop, <object>list_len(self.native) - 1)
        if stop < start:
            return elements
        left = stop - start + 1
        list_seek(self.native, start, &position)
        while left and list_next(self.native, &position, &element, &size):
            elements.append(PyBytes_FromStringAndSize(element, size))
            left -= 1
        return elements

    def find(self, bytes element not None, *, rank: int = 1, count: int = 1, limit: int = 0) -> list[int]:
        """Indexes of matches as LPOS counts them.

        :param rank: which match is the first to report; < 0 searches from the tail
        :param count: how many to report, 0 = all
        :param limit: how many elements to look at (MAXLEN), 0 = all
        """
        cdef bint backward = rank < 0
        cdef size_t skip = min(abs(rank), list_len(self.native) + 1) - 1 if rank else 0
        cdef size_t most = min(count, list_len(self.native)) if count else list_len(self.native)
        cdef size_t looks = min(limit, list_len(self.native)) if limit else list_len(self.native)
        cdef const char* wanted = PyBytes_AS_STRING(element)
        cdef size_t wanted_size = PyBytes_GET_SIZE(element)
        cdef chain_t scratch
        cdef chain_t* chain = _open(self.native, &scratch)
        cdef list_block* block = chain.tail if backward else chain.head
        cdef size_t look
        cdef size_t offset = 0
        cdef bint entering = True
        cdef const char* found
        cdef size_t size
        cdef list places = []
        for look in range(looks):
            if entering:
                offset = block.end if backward else block.begin
            if backward:
                offset -= _read_back(_data(block) + offset, &found, &size)
                entering = offset == block.begin
            else:
                offset += _read(_data(block) + offset, &found, &size)
                entering = offset == block.end
            if entering:
                block = block.prev if backward else block.next
            if not _equal(found, size, wanted, wanted_size):
                continue
            if skip:
                skip -= 1
                continue
            places.append(list_len(self.native) - 1 - look if backward else look)
            if <size_t>len(places) >= most:
                break
        return places

    def insert(self, bytes pivot not None, bytes element not None, *, bint after) -> bool:
        """Insert beside the first `pivot`; False if there is none."""
        cdef const char* new = PyBytes_AS_STRING(element)
        cdef const char* wanted = PyBytes_AS_STRING(pivot)
        cdef size_t wanted_size = PyBytes_GET_SIZE(pivot)
        cdef list_block* block = _first_block(self.native)
        cdef size_t index = 0
        cdef size_t at
        cdef size_t number
        cdef const char* found
        cdef size_t size
        while block != NULL:
            at = block.begin
            for number in range(block.count):
                at += _read(_data(block) + at, &found, &size)
                if _equal(found, size, wanted, wanted_size):
                    if _insert(self.native, index + number + after, new, PyBytes_GET_SIZE(element)) < 0:
                        raise MemoryError
                    return True
            index += block.count
            block = block.next
        return False

    def remove(self, bytes element not None, count: int) -> int:
        """As LREM: count < 0 from the tail, 0 = all; how many were removed."""
        cdef int64_t most = max(min(count, <object>list_len(self.native)), -<object>list_len(self.native))
        cdef chain_t scratch
        cdef chain_t* chain = _open(self.native, &scratch)
        removed = _remove_matches(chain, PyBytes_AS_STRING(element), PyBytes_GET_SIZE(element), most)
        _close(self.native, chain)
        return removed

    def trim(self, start: int, stop: int) -> None:
        """Keep start … stop (normalised as for `range`; empty keeps nothing)."""
        cdef chain_t scratch
        cdef chain_t* chain = _open(self.native, &scratch)
        start = max(start, 0)
        end = min(stop + 1, <object>list_len(self.native))
        if end <= start:
            start = end = 0
        _keep(chain, start, end)
        _close(self.native, chain)

    def encoding(self) -> str:
        """``listpack`` or ``quicklist``."""
        return "listpack" if list_is_listpack(self.native) else "quicklist"

    def memory(self) -> int:
        """Bytes allocated."""
        return list_memory(self.native)

    def blocks(self) -> list[int]:
        """How many elements each block holds: for tests and DEBUG."""
        cdef list counts = []
        cdef list_block* block = _first_block(self.native)
        while block != NULL:
            counts.append(block.count)
            block = block.next
        return counts

    def validate(self) -> None:
        """Check every invariant.

        :raises AssertionError: one does not hold
        """
        cdef chain_t scratch
        cdef chain_t* chain = _open(self.native, &scratch)
        cdef list_block* block = chain.head
        cdef list_block* prev = NULL
        cdef size_t length = 0
        cdef uint64_t listpack_bytes = 0
        cdef size_t offset
        cdef size_t number
        cdef const char* element
        cdef const char* element_back
        cdef size_t size
        cdef size_t size_back
        cdef size_t packed
        while block != NULL:
            assert block.prev == prev, "back link"
            assert block.count > 0, "an empty block"
            assert block.begin < block.end <= block.capacity, "the elements lie outside the block"
            offset = block.begin
            for number in range(block.count):
                packed = _read(_data(block) + offset, &element, &size)
                offset += packed
                assert offset <= block.end, "an element ends outside the block"
                packed -= _read_back(_data(block) + offset, &element_back, &size_back)
                assert packed == 0, "packed size read backwards"
                assert element == element_back and size == size_back, "an element read backwards"
                listpack_bytes += _listpack_entry_bytes(element, size)
            assert offset == block.end, "bytes after the last element"
            length += block.count
            prev = block
            block = block.next
        assert chain.tail == prev, "tail"
        assert chain.length == length, f"length {chain.length}, elements {length}"
        assert packed_kind(self.native) == LONE or chain.head != chain.tail, "a chain of one block"
        assert (chain.listpack_bytes & ~QUICKLIST) == listpack_bytes, "size as a listpack"
