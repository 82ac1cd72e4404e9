"""A hash table of packed elements, in order of their hashes: what large hashes and sets are kept in.

Open addressing with linear probing. A slot has 8 bytes: the *tag*, which is the upper half of the element's SipHash,
and the element's place in the table's arena. The home of an element is the first `bits` bits of its tag, and the
slots are in ascending order of tags: each element stands in its home or in the first place after it that this order
leaves. There is no wrap-around; what the last homes cannot hold goes into a short *tail*. From the order follows
everything else:

- A search ends at the first larger tag, found or not. Keys are compared only if all 32 bits agree.
- Growing and shrinking is one pass from left to right over slots: no key is read and no hash is computed.
- Deletion moves the rest of its cluster back by one: no tombstones.
- A cursor of SCAN is a tag, "everything below was returned". It does not depend on the size of the table, so an
  element that is there from the first step to the last is returned exactly once however often the table grows or
  shrinks between.

Considered: 48-bit pointers with 16 bits of hash (growing must hash every key anew), chaining as in Redis (16 bytes
more per element), tombstones (break the order), reversed-bit cursors (return elements twice).
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memmove, memset

from mpkv.types.allocator cimport allocate_zeroed, reallocate, release
from mpkv.types.arena cimport (
    CHUNK_UNITS,
    UNIT,
    arena_check,
    arena_close,
    arena_give,
    arena_is_wasteful,
    arena_live_units,
    arena_move,
    arena_open,
    arena_place,
    arena_take,
    arena_trim,
    is_large,
    large_footprint,
    reference_t,
    units_of,
)
from mpkv.types.chance cimport below, mix
from mpkv.types.footprint cimport footprint
from mpkv.types.packed cimport element_size, has_key, write_element
from mpkv.types.siphash cimport siphash

cdef extern from *:
    void prefetch "__builtin_prefetch"(const void* address) noexcept nogil

cdef enum:
    BITS_MIN = 3
    BITS_MAX = 31
    TAG_BITS = 32
    TAIL_MAX = 64               # to begin with: at load 0.85 one table in 10**9 needs more, and then it gets more
    SCAN_SLOTS_PER_ELEMENT = 10     # how many slots a step may look at, as in Redis
    AHEAD = 8                   # slots whose elements are on their way from memory when all are moved
    COMPACT_MIN_UNITS = 512     # an arena of less than 4 KiB is not worth moving because of deletions

cdef bint _keep_still = False


def keep_still(bint still):
    """Do not move what need not be moved: while a snapshot child lives, every page that is written is copied."""
    global _keep_still
    _keep_still = still


cdef inline uint32_t _tag_of(uint64_t slot) noexcept nogil:
    return <uint32_t>(slot >> TAG_BITS)


cdef inline size_t _home(uint32_t tag, int bits) noexcept nogil:
    return tag >> (TAG_BITS - bits)


cdef inline const char* _element_at(const table_t* self, size_t index) noexcept nogil:
    return arena_at(&self.arena, <reference_t>self.slots[index])


cdef inline size_t _size_at(const table_t* self, size_t index) noexcept nogil:
    """Of the element in this slot, in bytes."""
    cdef const char* begin = _element_at(self, index)
    cdef element_t element
    return read_element(begin, self.pairs, &element) - begin


cdef inline bint _locate(const table_t* self, uint32_t tag, const char* key, size_t size, size_t* index) noexcept nogil:
    """Whether the key is there, and the slot where it is or belongs."""
    cdef const uint64_t* slot = self.slots + _home(tag, self.bits)
    cdef bint found = False
    while slot[0] and _tag_of(slot[0]) < tag:
        slot += 1
    while slot[0] and _tag_of(slot[0]) == tag:
        if has_key(arena_at(&self.arena, <reference_t>slot[0]), key, size):
            found = True
            break
        slot += 1
    index[0] = slot - self.slots
    return found


# Life

cdef size_t _default_tail(int bits) noexcept nogil:
    return min(<size_t>TAIL_MAX, <size_t>1 << (bits - 1))


cdef bint _is_full(size_t count, int bits) noexcept nogil:
    """Whether `count` elements are more than 85 % (95 % while nothing should move)."""
    return count * 20 > (<size_t>1 << bits) * (19 if _keep_still else 17)


cdef inline size_t _first_units(size_t count, size_t size) noexcept nogil:
    """Of the arena: a guess that need not be right, and never more than one chunk."""
    return min((size + count * (UNIT - 1)) // UNIT, <size_t>CHUNK_UNITS - 1)


cdef table_t* table_new(size_t count, size_t size, bint pairs) noexcept nogil:
    cdef table_t* self = <table_t*>allocate_zeroed(1, sizeof(table_t))
    cdef int bits = BITS_MIN
    if self == NULL:
        return NULL
    while _is_full(count, bits) and bits < BITS_MAX:
        bits += 1
    self.bits = bits
    self.pairs = pairs
    self.tail = <uint32_t>_default_tail(bits)
    self.slots = <uint64_t*>allocate_zeroed(table_slots(self), sizeof(uint64_t))
    if self.slots == NULL or arena_open(&self.arena, _first_units(count, size)) < 0:
        release(self.slots)
        release(self)
        return NULL
    return self


cdef table_t* table_from_packed(const packed_t* packed, bint pairs) noexcept nogil:
    cdef const char* at = <const char*>packed.body
    cdef const char* end = at + packed.used
    cdef element_t element
    # Twice the elements: whoever outgrows a block will not stop there
    cdef table_t* self = table_new(<size_t>packed.count * 2, packed.used, pairs)
    if self == NULL:
        return NULL
    while at < end:
        at = read_element(at, pairs, &element)
        if table_put(self, &element) < 0:
            table_free(self)
            return NULL
    return self


cdef void table_free(table_t* self) noexcept nogil:
    cdef size_t index
    for index in range(table_slots(self)):
        if is_large(<reference_t>self.slots[index]):
            release(arena_at(&self.arena, <reference_t>self.slots[index]))
    arena_close(&self.arena)
    release(self.slots)
    release(self)


cdef size_t table_memory(const table_t* self) noexcept nogil:
    return footprint(sizeof(table_t)) + footprint(table_slots(self) * sizeof(uint64_t)) + self.arena.memory


# Size

cdef size_t _place_all(const table_t* self, int bits, uint64_t* slots) noexcept nogil:
    """Where a capacity of 1 << bits has every slot, written to `slots` unless NULL; returns the last cluster's end."""
    cdef size_t end = 0
    cdef size_t home
    cdef size_t index
    cdef uint64_t slot
    for index in range(table_slots(self)):
        slot = self.slots[index]
        if slot == 0:
            continue
        home = _home(_tag_of(slot), bits)
        if end < home:
            end = home
        if slots != NULL:
            slots[end] = slot
        end += 1
    return end


cdef int _resize(table_t* self, int bits) noexcept nogil:
    """0, or -1 when there is no memory (unchanged)."""
    cdef size_t capacity = <size_t>1 << bits
    cdef size_t end = _place_all(self, bits, NULL)
    cdef size_t tail = _default_tail(bits)
    cdef uint64_t* slots
    if end + 1 > capacity + tail:
        tail = end + 1 - capacity
    slots = <uint64_t*>allocate_zeroed(capacity + tail, sizeof(uint64_t))
    if slots == NULL:
        return -1
    _place_all(self, bits, slots)
    release(self.slots)
    self.slots = slots
    self.bits = bits
    self.tail = <uint32_t>tail
    return 0


cdef int _lengthen_tail(table_t* self) noexcept nogil:
    cdef size_t size = table_slots(self)
    cdef uint64_t* slots = <uint64_t*>reallocate(self.slots, (size + self.tail) * sizeof(uint64_t))
    if slots == NULL:
        return -1
    memset(slots + size, 0, self.tail * sizeof(uint64_t))
    self.slots = slots
    self.tail *= 2
    return 0


cdef void _compact(table_t* self) noexcept nogil:
    """Move all elements to a fresh arena of the right size; without memory for it everything stays."""
    cdef size_t slots = table_slots(self)
    cdef arena_t fresh
    cdef size_t index
    cdef uint64_t slot
    if arena_open(&fresh, arena_live_units(&self.arena)) < 0:
        return
    for index in range(slots):
        slot = self.slots[index]
        if index + AHEAD < slots and self.slots[index + AHEAD]:
            prefetch(arena_place(&self.arena, <reference_t>self.slots[index + AHEAD]))
        if slot:
            self.slots[index] = (slot >> TAG_BITS << TAG_BITS) | arena_move(
                &self.arena, <reference_t>slot, _size_at(self, index), &fresh
            )
    arena_close(&self.arena)
    self.arena = fresh
    arena_trim(&self.arena)


cdef void _settle(table_t* self) noexcept nogil:
    """After a deletion: give memory back when most of it is unused."""
    cdef int bits = self.bits
    if _keep_still:
        return
    if bits > BITS_MIN and <size_t>self.count * 10 < <size_t>1 << bits:
        while bits > BITS_MIN and not _is_full(<size_t>self.count * 2, bits - 1):
            bits -= 1
        _resize(self, bits)
    if self.arena.free_units > COMPACT_MIN_UNITS and self.arena.free_units > arena_live_units(&self.arena):
        _compact(self)


# Elements

cdef bint table_find(const table_t* self, const char* key, size_t size, element_t* element) noexcept nogil:
    cdef size_t index
    if not _locate(self, <uint32_t>(siphash(key, size) >> TAG_BITS), key, size, &index):
        return False
    read_element(_element_at(self, index), self.pairs, element)
    return True


cdef reference_t _take(table_t* self, size_t size) noexcept nogil:
    if not _keep_still and arena_is_wasteful(&self.arena, size):
        _compact(self)
    return arena_take(&self.arena, size)


cdef int _replace(table_t* self, size_t index, const element_t* element) noexcept nogil:
    """Give the element in this slot a new value: in place if it needs as many units."""
    cdef size_t old_size = _size_at(self, index)
    cdef size_t size = element_size(element, self.pairs)
    cdef reference_t reference = <reference_t>self.slots[index]
    cdef uint64_t tag = self.slots[index] >> TAG_BITS
    if units_of(size) != units_of(old_size):
        reference = _take(self, size)
        if reference == 0:
            return -1
        arena_give(&self.arena, <reference_t>self.slots[index], old_size)
        self.slots[index] = tag << TAG_BITS | reference
    write_element(arena_at(&self.arena, reference), element, self.pairs)
    return 0


cdef int _insert(table_t* self, size_t index, uint32_t tag, const element_t* element) noexcept nogil:
    """Put a new element into this slot; the cluster from there on moves by one."""
    cdef reference_t reference
    cdef size_t gap = index
    while self.slots[gap]:
        gap += 1
    if gap + 1 == table_slots(self) and _lengthen_tail(self) < 0:
        return -1
    reference = _take(self, element_size(element, self.pairs))
    if reference == 0:
        return -1
    write_element(arena_at(&self.arena, reference), element, self.pairs)
    memmove(self.slots + index + 1, self.slots + index, (gap - index) * sizeof(uint64_t))
    self.slots[index] = <uint64_t>tag << TAG_BITS | reference
    self.count += 1
    return 1


cdef int table_put(table_t* self, const element_t* element) noexcept nogil:
    cdef uint32_t tag = <uint32_t>(siphash(element.key, element.key_size) >> TAG_BITS)
    cdef size_t index
    if _locate(self, tag, element.key, element.key_size, &index):
        return _replace(self, index, element) if self.pairs else 0
    if _is_full(<size_t>self.count + 1, self.bits):
        if self.bits == BITS_MAX or _resize(self, self.bits + 1) < 0:
            return -1
        _locate(self, tag, element.key, element.key_size, &index)
    return _insert(self, index, tag, element)


cdef bint table_delete(table_t* self, const char* key, size_t size) noexcept nogil:
    cdef size_t index
    cdef size_t gap
    if not _locate(self, <uint32_t>(siphash(key, size) >> TAG_BITS), key, size, &index):
        return False
    arena_give(&self.arena, <reference_t>self.slots[index], _size_at(self, index))
    gap = index + 1
    while self.slots[gap] and _home(_tag_of(self.slots[gap]), self.bits) < gap:
        gap += 1
    memmove(self.slots + index, self.slots + index + 1, (gap - 1 - index) * sizeof(uint64_t))
    self.slots[gap - 1] = 0
    self.count -= 1
    _settle(self)
    return True


cdef void table_random(const table_t* self, uint64_t random, element_t* element) noexcept nogil:
    # Try slots until one is not empty: this, and not the first element after a random slot, is fair
    cdef size_t slots = table_slots(self)
    cdef size_t index = below(random, slots)
    while self.slots[index] == 0:
        random = mix(random)
        index = below(random, slots)
    read_element(_element_at(self, index), self.pairs, element)


cdef inline bint _may_stop(const table_t* self, size_t index) noexcept nogil:
    """Whether a cursor can name this slot: empty and a home, or of another tag than the slot before."""
    if self.slots[index] == 0:
        return index < <size_t>1 << self.bits
    return index == 0 or _tag_of(self.slots[index - 1]) != _tag_of(self.slots[index])


cdef uint64_t table_scan(
    const table_t* self, uint64_t cursor, uint64_t count, size_t* first, size_t* last
) noexcept nogil:
    cdef size_t end = table_slots(self)
    cdef size_t index
    cdef uint64_t looks
    first[0] = last[0] = 0
    if cursor >> TAG_BITS:
        return 0
    count = max(<uint64_t>1, min(count, <uint64_t>1 << TAG_BITS))
    looks = count * SCAN_SLOTS_PER_ELEMENT
    index = _home(<uint32_t>cursor, self.bits)
    while self.slots[index] and _tag_of(self.slots[index]) < cursor:
        index += 1
    first[0] = index
    while index < end:
        if (count == 0 or looks == 0) and _may_stop(self, index):
            break
        if self.slots[index] and count:
            count -= 1
        if looks:
            looks -= 1
        index += 1
    last[0] = index
    if index == end:
        return 0
    if self.slots[index]:
        return _tag_of(self.slots[index])
    return <uint64_t>index << (TAG_BITS - self.bits)


# Invariants

cdef const char* table_check(const table_t* self) noexcept nogil:
    cdef size_t slots = table_slots(self)
    cdef size_t live_units = 0
    cdef size_t large_bytes = 0
    cdef size_t count = 0
    cdef size_t size
    cdef size_t index
    cdef size_t home
    cdef size_t end = 0             # where the cluster before this slot ends
    cdef uint32_t tag
    cdef element_t element
    if self.slots[slots - 1]:
        return "the last slot is not empty"
    for index in range(slots):
        if self.slots[index] == 0:
            continue
        count += 1
        tag = _tag_of(self.slots[index])
        home = _home(tag, self.bits)
        if index != max(home, end):
            return "an element is not in the first place that is its own"
        if index and self.slots[index - 1] and _tag_of(self.slots[index - 1]) > tag:
            return "tags are not in ascending order"
        end = index + 1
        size = read_element(_element_at(self, index), self.pairs, &element) - _element_at(self, index)
        if <uint32_t>(siphash(element.key, element.key_size) >> TAG_BITS) != tag:
            return "a tag is not that of its element"
        if is_large(<reference_t>self.slots[index]):
            large_bytes += large_footprint(size)
            live_units += 1
        else:
            live_units += units_of(size)
    if count != self.count:
        return "the count is not that of the slots"
    if count * 20 > (<size_t>1 << self.bits) * 19:
        return "a table is fuller than it may be"
    return arena_check(&self.arena, live_units, large_bytes)
