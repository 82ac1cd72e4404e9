"""An arena: the memory of one table's elements, in chunks of 64 KiB and steps of 8 bytes.

One malloc per element would cost an 8-byte header and rounding to 16: of a 25-byte element nearly half as much again.
Here the same element takes 32 bytes, and it is named by a 32-bit reference (chunk and unit) in place of a pointer,
which leaves half of a table's 8-byte slot for bits of the hash. 31 bits of 8-byte units bound one table's small
elements to 16 GiB.

Places that are freed go to a list per size and are taken again by elements of the same size only. So a change of
sizes can leave much of an arena free and useless; its table then moves all elements to a fresh one
(`arena_is_wasteful`, `arena_move`). The first chunk grows by half its size up to the full one, so that a table of a
few hundred elements pays for what it has.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memcpy, memset

from mpkv.types.allocator cimport allocate, allocate_zeroed, reallocate, release
from mpkv.types.footprint cimport footprint

cdef enum:
    FIRST_CHUNK_UNITS = 32
    CHUNKS_MAX = 1 << (31 - CHUNK_BITS)
    FREE_HEADS_BYTES = (SMALL_UNITS + 1) * 4
    PLACE_MASK = 0x7FFFFFFF


cdef inline size_t _array_footprint(size_t room) noexcept nogil:
    return footprint(room * sizeof(char*)) if room else 0


cdef inline bint _fits_a_place(size_t size) noexcept nogil:
    return size <= SMALL_UNITS * UNIT


cdef inline size_t _chunk_size(const arena_t* self, uint32_t index) noexcept nogil:
    """In units."""
    return self.first_units if index == 0 else CHUNK_UNITS


# Chunks

cdef int _reserve_chunk_array(arena_t* self, size_t count) noexcept nogil:
    cdef size_t room = self.chunk_room
    cdef void* chunks
    if count <= room:
        return 0
    if count > CHUNKS_MAX:
        return -1
    room = max(count, room * 2)
    chunks = reallocate(self.chunks, room * sizeof(char*))
    if chunks == NULL:
        return -1
    self.memory += _array_footprint(room) - _array_footprint(self.chunk_room)
    self.chunks = <char**>chunks
    self.chunk_room = <uint32_t>room
    return 0


cdef int _add_chunk(arena_t* self, size_t units) noexcept nogil:
    cdef char* chunk
    if _reserve_chunk_array(self, self.chunk_count + 1) < 0:
        return -1
    chunk = <char*>allocate(units * UNIT)
    if chunk == NULL:
        return -1
    if self.chunk_count == 0:
        self.first_units = <uint32_t>units
        self.next_unit = 1              # unit 0 of chunk 0 is the reference that is none
    self.chunks[self.chunk_count] = chunk
    self.chunk_count += 1
    self.memory += footprint(units * UNIT)
    return 0


cdef int _grow_first_chunk(arena_t* self, size_t units) noexcept nogil:
    """Make room for `units` at its end: 1, 0 when it would be too large for a chunk, -1 when there is no memory."""
    cdef size_t size = self.first_units + (self.first_units >> 1)
    cdef void* chunk
    if self.next_unit + units > CHUNK_UNITS:
        return 0
    size = min(max(size, self.next_unit + units), <size_t>CHUNK_UNITS)
    chunk = reallocate(self.chunks[0], size * UNIT)
    if chunk == NULL:
        return -1
    self.chunks[0] = <char*>chunk
    self.memory += footprint(size * UNIT) - footprint(self.first_units * UNIT)
    self.first_units = <uint32_t>size
    return 1


cdef int _open_room(arena_t* self, size_t units) noexcept nogil:
    """Let the current chunk have room for `units`; -1 when there is no memory."""
    cdef int grown
    cdef size_t left
    if self.chunk_count == 0:
        return _add_chunk(self, max(<size_t>FIRST_CHUNK_UNITS, units + 1))
    if self.current == 0:
        grown = _grow_first_chunk(self, units)
        if grown:
            return 0 if grown > 0 else -1
    if self.current + 1 == self.chunk_count and _add_chunk(self, CHUNK_UNITS) < 0:
        return -1
    left = _chunk_size(self, self.current) - self.next_unit
    if left:
        _give_units(self, self.current * CHUNK_UNITS + self.next_unit, left)
    self.current += 1
    self.next_unit = 0
    return 0


cdef int arena_open(arena_t* self, size_t units) noexcept nogil:
    # The end of a full chunk may be too short for the next piece, by at most SMALL_UNITS - 1
    cdef size_t chunks = (units + 1 + CHUNK_UNITS - SMALL_UNITS) // (CHUNK_UNITS - SMALL_UNITS + 1)
    memset(self, 0, sizeof(arena_t))
    if units < CHUNK_UNITS:
        chunks = 1
    while self.chunk_count < chunks:
        if _add_chunk(self, CHUNK_UNITS if chunks > 1 else max(<size_t>FIRST_CHUNK_UNITS, units + 1)) < 0:
            arena_close(self)
            return -1
    return 0


cdef void arena_trim(arena_t* self) noexcept nogil:
    while self.chunk_count > self.current + 1:
        self.chunk_count -= 1
        release(self.chunks[self.chunk_count])
        self.memory -= footprint(CHUNK_UNITS * UNIT)


cdef void arena_close(arena_t* self) noexcept nogil:
    cdef uint32_t index
    for index in range(self.chunk_count):
        release(self.chunks[index])
    release(self.chunks)
    release(self.free_heads)
    memset(self, 0, sizeof(arena_t))


# Places

cdef void _give_units(arena_t* self, reference_t place, size_t units) noexcept nogil:
    # Never more than SMALL_UNITS: the unused end of a chunk is shorter than the piece that did not fit there
    self.free_units += <uint32_t>units
    if self.free_heads == NULL:
        self.free_heads = <reference_t*>allocate_zeroed(1, FREE_HEADS_BYTES)
        if self.free_heads == NULL:
            self.lost_units += <uint32_t>units      # until the next move
            return
        self.memory += footprint(FREE_HEADS_BYTES)
    (<reference_t*>arena_place(self, place))[0] = self.free_heads[units]
    self.free_heads[units] = place


cdef inline reference_t _take_units(arena_t* self, size_t units) noexcept nogil:
    cdef reference_t place
    if self.free_heads != NULL and self.free_heads[units]:
        place = self.free_heads[units]
        self.free_heads[units] = (<reference_t*>arena_place(self, place))[0]
        self.free_units -= <uint32_t>units
        return place
    if self.next_unit + units > _chunk_size(self, self.current) and _open_room(self, units) < 0:
        return 0
    place = self.current * CHUNK_UNITS + self.next_unit
    self.next_unit += <uint32_t>units
    return place


cdef reference_t _take_large(arena_t* self, size_t size) noexcept nogil:
    cdef reference_t place
    cdef char* memory = <char*>allocate(units_of(size) * UNIT)
    if memory == NULL:
        return 0
    place = _take_units(self, 1)
    if place == 0:
        release(memory)
        return 0
    (<char**>arena_place(self, place))[0] = memory
    self.memory += large_footprint(size)
    return place | ~<reference_t>PLACE_MASK


cdef reference_t arena_take(arena_t* self, size_t size) noexcept nogil:
    return _take_units(self, units_of(size)) if _fits_a_place(size) else _take_large(self, size)


cdef void arena_give(arena_t* self, reference_t reference, size_t size) noexcept nogil:
    if is_large(reference):
        release(arena_at(self, reference))
        self.memory -= large_footprint(size)
        size = UNIT
    _give_units(self, reference & PLACE_MASK, units_of(size))


cdef reference_t arena_move(arena_t* self, reference_t reference, size_t size, arena_t* to) noexcept nogil:
    cdef size_t moved = UNIT if is_large(reference) else size
    cdef reference_t place = _take_units(to, units_of(moved))
    memcpy(arena_place(to, place), arena_place(self, reference), moved)
    if is_large(reference):
        self.memory -= large_footprint(size)
        to.memory += large_footprint(size)
    return place | (reference & ~<reference_t>PLACE_MASK)


# Balance

cdef inline size_t _filled_units(const arena_t* self) noexcept nogil:
    """Units up to the end of what was ever taken, without the first one."""
    if self.chunk_count == 0:
        return 0
    if self.current == 0:
        return self.next_unit - 1
    return self.first_units + <size_t>(self.current - 1) * CHUNK_UNITS + self.next_unit - 1


cdef size_t arena_live_units(const arena_t* self) noexcept nogil:
    return _filled_units(self) - self.free_units


cdef bint arena_is_wasteful(const arena_t* self, size_t size) noexcept nogil:
    cdef size_t units = units_of(size) if _fits_a_place(size) else 1
    if self.free_units == 0 or (self.free_heads != NULL and self.free_heads[units]):
        return False
    if self.next_unit + units <= _chunk_size(self, self.current):
        return False
    return <size_t>self.free_units * 4 > _filled_units(self)


cdef const char* arena_check(const arena_t* self, size_t live_units, size_t large_bytes) noexcept nogil:
    cdef size_t memory = large_bytes + _array_footprint(self.chunk_room)
    cdef size_t listed = 0
    cdef uint32_t index
    cdef size_t units
    cdef reference_t place
    for index in range(self.chunk_count):
        memory += footprint(_chunk_size(self, index) * UNIT)
    if self.free_heads != NULL:
        memory += footprint(FREE_HEADS_BYTES)
        for units in range(1, SMALL_UNITS + 1):
            place = self.free_heads[units]
            while place:
                listed += units
                if listed > self.free_units:
                    return "an arena's free lists hold more than is free, or a circle"
                place = (<reference_t*>arena_place(self, place))[0]
    if memory != self.memory:
        return "an arena's memory is not what it counts"
    if listed + self.lost_units != self.free_units:
        return "an arena's free lists have lost a place"
    if arena_live_units(self) != live_units:
        return "an arena's live units are not those of its elements"
    if self.chunk_count and self.next_unit > _chunk_size(self, self.current):
        return "an arena is filled beyond its chunk"
    return NULL
