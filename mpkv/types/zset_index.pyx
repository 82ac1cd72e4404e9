"""The members of a large sorted set by name: extendible hashing over segments of 256 slots.

One large table would have to be rehashed as a whole when it grows – a pause of 100 ms at a million members. Here a
directory, indexed by the highest bits of the hash (SipHash, keyed), points to segments; a segment that is full splits
in two by the next bit (R. Fagin et al., "Extendible Hashing", 1979), which moves some two hundred members, and
neighbours that empty are joined again.

Within a segment: open addressing, linear probing, deletion by shifting back. A slot is 8 bytes: the address of the
entry, its home slot (so that shifting needs no hash) and 8 more bits of the hash (so that a probe rarely looks at
another member).

Home slots follow the bits that the segment stands for, so segments and home slots together are ordered by hash. A
scan cursor is a threshold in that order: whatever splits or joins in between, what is at or above the threshold is
still to come and what is below has been returned.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from mpkv.types.allocator cimport allocate, allocate_zeroed, release
from mpkv.types.siphash cimport siphash

cdef enum:
    SLOT_MASK = SEGMENT_SLOTS - 1
    ADDRESS_BITS = 48            # user space addresses on every platform that Linux gives without being asked for more
    SEGMENT_FULL = 224           # of 256: beyond it, probes grow long

cdef uint32_t _segment_limit = SEGMENT_FULL


def set_segment_limit(members: int) -> None:
    """How many members make a segment split: tests choose a few, so that small sets have many segments."""
    global _segment_limit
    if not 1 <= members <= SEGMENT_FULL:
        raise ValueError(members)
    _segment_limit = members


# -- entries -----------------------------------------------------------------------------------------------------------

cdef inline size_t _length_bytes(size_t size) noexcept nogil:
    cdef size_t needed = 1
    while size >= 128:
        size >>= 7
        needed += 1
    return needed


cdef inline size_t _entry_bytes(size_t size) noexcept nogil:
    return sizeof(double) + _length_bytes(size) + size


cdef zset_entry* entry_new(zset_index* index, const char* member, size_t size, double score) noexcept nogil:
    cdef zset_entry* entry
    cdef uint8_t* at
    cdef size_t rest = size
    if size > <size_t>1 << 40:
        return NULL
    entry = <zset_entry*>allocate(_entry_bytes(size))
    if entry == NULL:
        return NULL
    index.entry_memory += footprint(_entry_bytes(size))
    entry.score = score
    at = entry.packed
    while rest >= 128:
        at[0] = <uint8_t>(rest | 128)
        rest >>= 7
        at += 1
    at[0] = <uint8_t>rest
    memcpy(at + 1, member, size)
    return entry


cdef void entry_free(zset_index* index, zset_entry* entry) noexcept nogil:
    cdef size_t size
    entry_member(entry, &size)
    index.entry_memory -= footprint(_entry_bytes(size))
    release(entry)


cdef inline uint64_t _hash_of(const zset_entry* entry) noexcept nogil:
    cdef size_t size
    cdef const char* member = entry_member(entry, &size)
    return siphash(member, size)


# -- slots -------------------------------------------------------------------------------------------------------------

cdef inline zset_entry* _address(uint64_t slot) noexcept nogil:
    return <zset_entry*><size_t>(slot & ((<uint64_t>1 << ADDRESS_BITS) - 1))


cdef inline uint32_t _home(uint64_t slot) noexcept nogil:
    return <uint32_t>(slot >> 56)


cdef inline uint64_t _label(uint32_t depth, uint64_t hash) noexcept nogil:
    """The upper 16 bits of a slot for this hash, in a segment of this depth."""
    return ((hash << depth) >> 56) << 8 | (hash & 255)


cdef inline size_t _directory_place(const zset_index* self, uint64_t hash) noexcept nogil:
    return <size_t>((hash >> 1) >> (63 - self.depth))        # in two steps, because depth may be 0


cdef inline zset_segment* _segment_at(const zset_index* self, size_t place) noexcept nogil:
    return <zset_segment*><size_t>(self.directory[place] & ((<uint64_t>1 << ADDRESS_BITS) - 1))


cdef inline zset_segment* _segment_of(const zset_index* self, uint64_t hash) noexcept nogil:
    return _segment_at(self, _directory_place(self, hash))


cdef void _put_slot(zset_segment* segment, zset_entry* entry, uint64_t hash) noexcept nogil:
    cdef uint64_t label = _label(segment.depth, hash)
    cdef uint32_t place = <uint32_t>(label >> 8)
    while segment.slots[place]:
        place = (place + 1) & SLOT_MASK
    segment.slots[place] = label << ADDRESS_BITS | <uint64_t><size_t>entry
    segment.count += 1


cdef void _take_slot(zset_segment* segment, uint32_t place) noexcept nogil:
    """Free a slot and move back what had to make way for it."""
    cdef uint32_t next = place
    while True:
        next = (next + 1) & SLOT_MASK
        if segment.slots[next] == 0:
            break
        # A member may move back to `place` unless its home lies behind it.
        if ((next - _home(segment.slots[next])) & SLOT_MASK) >= ((next - place) & SLOT_MASK):
            segment.slots[place] = segment.slots[next]
            place = next
    segment.slots[place] = 0
    segment.count -= 1


# -- segments and their directory --------------------------------------------------------------------------------------

cdef zset_segment* _segment_new(zset_index* self, uint32_t depth) noexcept nogil:
    cdef zset_segment* segment = <zset_segment*>allocate_zeroed(1, sizeof(zset_segment))
    if segment != NULL:
        segment.depth = depth
        self.memory += footprint(sizeof(zset_segment))
    return segment


cdef int index_open(zset_index* self) noexcept nogil:
    cdef zset_segment* segment
    memset(self, 0, sizeof(zset_index))
    self.directory = <uint64_t*>allocate(sizeof(uint64_t))
    if self.directory == NULL:
        return -1
    segment = _segment_new(self, 0)
    if segment == NULL:
        release(self.directory)
        return -1
    _point(self, segment, 0)
    self.memory += footprint(sizeof(uint64_t))
    return 0


cdef void index_close(zset_index* self) noexcept nogil:
    cdef size_t place = 0
    cdef size_t slot
    cdef zset_segment* segment
    while place < <size_t>1 << self.depth:
        segment = _segment_at(self, place)
        place += <size_t>1 << (self.depth - segment.depth)
        for slot in range(<size_t>SEGMENT_SLOTS):
            if segment.slots[slot]:
                release(_address(segment.slots[slot]))
        release(segment)
    release(self.directory)


cdef void _point(zset_index* self, zset_segment* segment, size_t place) noexcept nogil:
    """Let every directory entry that `segment` stands for, `place` being one, point to it."""
    cdef size_t count = <size_t>1 << (self.depth - segment.depth)
    cdef size_t first = place & ~(count - 1)
    cdef size_t i
    for i in range(count):
        self.directory[first + i] = <uint64_t>segment.depth << ADDRESS_BITS | <uint64_t><size_t>segment


cdef int _double_directory(zset_index* self) noexcept nogil:
    cdef size_t count = <size_t>1 << self.depth
    cdef uint64_t* doubled
    cdef size_t i
    if self.depth == DEPTH_MAX:
        return -1
    doubled = <uint64_t*>allocate(2 * count * sizeof(uint64_t))
    if doubled == NULL:
        return -1
    for i in range(count):
        doubled[2 * i] = doubled[2 * i + 1] = self.directory[i]
    release(self.directory)
    self.directory = doubled
    self.depth += 1
    self.memory += footprint(2 * count * sizeof(uint64_t)) - footprint(count * sizeof(uint64_t))
    return 0


cdef int _split(zset_index* self, size_t place) noexcept nogil:
    """Split the segment at this place of the directory by one more bit; 0, -1 no memory."""
    cdef zset_segment* lower = _segment_at(self, place)
    cdef zset_segment* upper
    cdef uint64_t slots[SEGMENT_SLOTS]
    cdef uint64_t hash
    cdef size_t i
    if lower.depth == self.depth:
        if _double_directory(self) < 0:
            return -1
        place *= 2
    upper = _segment_new(self, lower.depth + 1)
    if upper == NULL:
        return -1
    place &= ~((<size_t>1 << (self.depth - lower.depth)) - 1)
    memcpy(slots, lower.slots, sizeof(slots))
    memset(lower.slots, 0, sizeof(slots))
    lower.depth += 1
    lower.count = 0
    for i in range(<size_t>SEGMENT_SLOTS):
        if slots[i]:
            hash = _hash_of(_address(slots[i]))
            _put_slot(upper if (hash >> (64 - lower.depth)) & 1 else lower, _address(slots[i]), hash)
    _point(self, lower, place)
    _point(self, upper, place + (<size_t>1 << (self.depth - lower.depth)))
    return 0


cdef void _join(zset_index* self, size_t place) noexcept nogil:
    """Join the segment at this place with the one it was split from, when together they fill less than a quarter."""
    cdef zset_segment* segment = _segment_at(self, place)
    cdef zset_segment* other
    cdef uint64_t slots[SEGMENT_SLOTS]
    cdef size_t i
    if segment.depth == 0:
        return
    other = _segment_at(self, place ^ (<size_t>1 << (self.depth - segment.depth)))
    if other.depth != segment.depth or segment.count + other.count > _segment_limit / 4:
        return
    memcpy(slots, segment.slots, sizeof(slots))
    memset(segment.slots, 0, sizeof(slots))
    segment.depth -= 1
    segment.count = 0
    for i in range(<size_t>SEGMENT_SLOTS):
        if slots[i]:
            _put_slot(segment, _address(slots[i]), _hash_of(_address(slots[i])))
        if other.slots[i]:
            _put_slot(segment, _address(other.slots[i]), _hash_of(_address(other.slots[i])))
    _point(self, segment, place)
    self.memory -= footprint(sizeof(zset_segment))
    release(other)


# -- members -----------------------------------------------------------------------------------------------------------

cdef zset_entry* index_find(const zset_index* self, const char* member, size_t size, uint64_t hash) noexcept nogil:
    # The directory knows the depth too: the slot does not wait for the segment's first cache line.
    cdef size_t directory_place = _directory_place(self, hash)
    cdef zset_segment* segment = _segment_at(self, directory_place)
    cdef uint64_t label = _label(<uint32_t>(self.directory[directory_place] >> ADDRESS_BITS), hash)
    cdef uint32_t place = <uint32_t>(label >> 8)
    cdef uint64_t slot
    cdef const char* found
    cdef size_t found_size
    while True:
        slot = segment.slots[place]
        if slot == 0:
            return NULL
        if slot >> ADDRESS_BITS == label:
            found = entry_member(_address(slot), &found_size)
            if found_size == size and memcmp(found, member, size) == 0:
                return _address(slot)
        place = (place + 1) & SLOT_MASK


cdef int index_reserve(zset_index* self, uint64_t hash) noexcept nogil:
    while _segment_of(self, hash).count >= _segment_limit:
        if _split(self, _directory_place(self, hash)) < 0:
            return -1
    return 0


cdef void index_add(zset_index* self, zset_entry* entry, uint64_t hash) noexcept nogil:
    _put_slot(_segment_of(self, hash), entry, hash)


cdef void index_remove(zset_index* self, zset_entry* entry, uint64_t hash) noexcept nogil:
    cdef size_t directory_place = _directory_place(self, hash)
    cdef zset_segment* segment = _segment_at(self, directory_place)
    cdef uint32_t place = <uint32_t>(_label(segment.depth, hash) >> 8)
    while _address(segment.slots[place]) != entry:
        place = (place + 1) & SLOT_MASK
    _take_slot(segment, place)
    _join(self, directory_place)


cdef uint64_t index_scan(
    const zset_index* self, uint64_t cursor, size_t count, zset_entry** found, size_t* found_count
) noexcept nogil:
    cdef uint64_t hash = cursor << (64 - CURSOR_BITS)
    cdef zset_segment* segment = _segment_of(self, hash)
    cdef uint32_t first = <uint32_t>(_label(segment.depth, hash) >> 8)
    cdef uint32_t last = first
    cdef uint32_t members_at[SEGMENT_SLOTS]
    cdef size_t seen = 0
    cdef uint64_t prefix
    cdef size_t i
    memset(members_at, 0, sizeof(members_at))
    for i in range(<size_t>SEGMENT_SLOTS):
        if segment.slots[i]:
            members_at[_home(segment.slots[i])] += 1
    # As many home slots as it takes to have `count` members.
    seen = members_at[first]
    while last < SLOT_MASK and seen < count:
        last += 1
        seen += members_at[last]
    found_count[0] = 0
    for i in range(<size_t>SEGMENT_SLOTS):
        if segment.slots[i] and first <= _home(segment.slots[i]) <= last:
            found[found_count[0]] = _address(segment.slots[i])
            found_count[0] += 1
    # The next threshold: the bits of the segment and 8 of the home slot after the last one; past the highest, 0.
    prefix = (hash >> 1) >> (63 - segment.depth)
    return ((prefix << 8 | last) + 1) << (CURSOR_BITS - 8 - segment.depth) & ((<uint64_t>1 << CURSOR_BITS) - 1)


cdef const char* _check_segment(const zset_index* self, const zset_segment* segment, size_t first) noexcept nogil:
    cdef size_t members = 0
    cdef size_t i
    cdef size_t size
    cdef const char* member
    cdef uint64_t hash
    for i in range(<size_t>1 << (self.depth - segment.depth)):
        if _segment_at(self, first + i) != segment:
            return "the directory does not point to a segment everywhere it should"
        if self.directory[first + i] >> ADDRESS_BITS != segment.depth:
            return "the directory knows another depth"
    for i in range(<size_t>SEGMENT_SLOTS):
        if segment.slots[i] == 0:
            continue
        members += 1
        hash = _hash_of(_address(segment.slots[i]))
        if _segment_at(self, _directory_place(self, hash)) != segment:
            return "a member is in a segment of other hashes"
        if segment.slots[i] >> ADDRESS_BITS != _label(segment.depth, hash):
            return "a slot's label is not its member's"
        member = entry_member(_address(segment.slots[i]), &size)
        if index_find(self, member, size, hash) != _address(segment.slots[i]):
            return "a member is not found"
    if members != segment.count:
        return "count of a segment"
    return NULL


cdef const char* index_check(const zset_index* self, size_t length) noexcept nogil:
    cdef size_t place = 0
    cdef size_t members = 0
    cdef size_t memory = footprint((<size_t>1 << self.depth) * sizeof(uint64_t))
    cdef size_t entry_memory = 0
    cdef size_t i
    cdef size_t size
    cdef zset_segment* segment
    cdef const char* broken
    while place < <size_t>1 << self.depth:
        segment = _segment_at(self, place)
        if segment.depth > self.depth:
            return "a segment is deeper than the directory"
        broken = _check_segment(self, segment, place)
        if broken != NULL:
            return broken
        for i in range(<size_t>SEGMENT_SLOTS):
            if segment.slots[i]:
                entry_member(_address(segment.slots[i]), &size)
                entry_memory += footprint(_entry_bytes(size))
        members += segment.count
        memory += footprint(sizeof(zset_segment))
        place += <size_t>1 << (self.depth - segment.depth)
    if members != length:
        return "members in the index"
    if memory != self.memory or entry_memory != self.entry_memory:
        return "memory of the index"
    return NULL
