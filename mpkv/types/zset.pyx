"""Sorted sets: one packed block while small, an index and a counted tree when large.

Small (up to `zset-max-listpack-entries` members of up to `zset-max-listpack-value` bytes): the members lie in order
in one block, as

    size * 4 + kind (7 bits per byte, lowest first) | the member | the score

where kind says how the score is kept: as a double, or as an integer of 1, 2 or 4 bytes where that is the same number.
Every operation walks the block; it fits a few cache lines.

Large: each member is one allocation that holds its score; `zset_index` finds it by name, `zset_tree` keeps the order.
A set that has become large stays large until its key is deleted, as in Redis.

The order is by score, then by the member's bytes. -0.0 equals 0.0. Every change allocates before it touches anything:
-1 (no memory) leaves the set as it was. Walks and searches write nothing (R9).
"""

from random import randrange
from random import sample as _sample

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int8_t, int16_t, int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove

from mpkv.types.allocator cimport allocate, allocate_zeroed, reallocate, release
from mpkv.types.footprint cimport MALLOC_HEADER_BYTES, footprint
from mpkv.types.siphash cimport siphash
from mpkv.types.zset_index cimport (
    CURSOR_BITS,
    SEGMENT_SLOTS,
    compare_members,
    entry_free,
    entry_member,
    entry_new,
    index_add,
    index_check,
    index_close,
    index_find,
    index_open,
    index_remove,
    index_reserve,
    index_scan,
    zset_entry,
    zset_index,
)
from mpkv.types.zset_tree cimport (
    tree_check,
    tree_close,
    tree_count_before,
    tree_insert,
    tree_open,
    tree_remove,
    tree_rescore,
    tree_select,
    zset_bound,
    zset_leaf,
    zset_tree,
)

cdef enum:
    PACKED_BYTES_MAX = 1 << 30           # Redis' safety limit of a listpack
    HEADROOM_SHIFT = 4                   # a packed block is allocated with a sixteenth to spare

# How a packed score is kept: the number of its bytes by kind.
cdef enum:
    DOUBLE = 0
    INT8 = 1
    INT16 = 2
    INT32 = 3

ctypedef struct large_t:
    zset_index members
    zset_tree order

ctypedef struct packed_member:
    const char* member
    size_t size
    double score
    size_t bytes                         # what it takes in the block

_CURSOR_MASK = 2**48 - 1

cdef size_t _entries_limit = 128
cdef size_t _value_limit = 64


def set_limits(entries: int, value: int) -> None:
    """Apply ``zset-max-listpack-entries`` and ``zset-max-listpack-value`` (bytes). Holds for changes from now on."""
    global _entries_limit, _value_limit
    _entries_limit = entries
    _value_limit = value


cdef zset_t* zset_new() noexcept nogil:
    return <zset_t*>allocate_zeroed(1, sizeof(zset_t))


cdef inline large_t* _large(const zset_t* self) noexcept nogil:
    return <large_t*>self.body


cdef void _large_free(large_t* large) noexcept nogil:
    tree_close(&large.order)
    index_close(&large.members)
    release(large)


cdef void zset_free(zset_t* self) noexcept nogil:
    if self == NULL:
        return
    if zset_is_listpack(self):
        release(self.body)
    else:
        _large_free(_large(self))
    release(self)


cdef size_t zset_memory(const zset_t* self) noexcept nogil:
    cdef size_t memory = footprint(sizeof(zset_t))
    if self.body == NULL:
        return memory
    if zset_is_listpack(self):
        return memory + footprint(self.capacity)
    memory += footprint(sizeof(large_t)) + _large(self).order.memory
    return memory + _large(self).members.memory + _large(self).members.entry_memory


# -- one packed member -------------------------------------------------------------------------------------------------

cdef inline size_t _score_bytes(unsigned kind) noexcept nogil:
    return 8 if kind == DOUBLE else <size_t>1 << (kind - 1)


cdef inline unsigned _kind_of(double score) noexcept nogil:
    """The shortest form that gives back the same number; -0 becomes 0, as in Redis' small sorted sets."""
    cdef int32_t integer
    if not -2147483648.0 <= score <= 2147483647.0:
        return DOUBLE
    integer = <int32_t>score
    if integer != score:
        return DOUBLE
    if -128 <= integer <= 127:
        return INT8
    return INT16 if -32768 <= integer <= 32767 else INT32


cdef inline double _read_score(const uint8_t* at, unsigned kind) noexcept nogil:
    cdef double score
    cdef int16_t short_integer
    cdef int32_t integer
    if kind == DOUBLE:
        memcpy(&score, at, sizeof(score))
        return score
    if kind == INT8:
        return <int8_t>at[0]
    if kind == INT16:
        memcpy(&short_integer, at, sizeof(short_integer))
        return short_integer
    memcpy(&integer, at, sizeof(integer))
    return integer


cdef inline void _write_score(uint8_t* at, unsigned kind, double score) noexcept nogil:
    cdef int16_t short_integer
    cdef int32_t integer
    if kind == DOUBLE:
        memcpy(at, &score, sizeof(score))
    elif kind == INT8:
        at[0] = <uint8_t><int8_t>score
    elif kind == INT16:
        short_integer = <int16_t>score
        memcpy(at, &short_integer, sizeof(short_integer))
    else:
        integer = <int32_t>score
        memcpy(at, &integer, sizeof(integer))


cdef inline void _read(const uint8_t* at, packed_member* packed) noexcept nogil:
    cdef size_t header = 1
    cdef uint64_t number = at[0] & 127
    cdef unsigned shift = 7
    while at[header - 1] & 128:
        number |= <uint64_t>(at[header] & 127) << shift
        shift += 7
        header += 1
    packed.size = number >> 2
    packed.member = <const char*>(at + header)
    packed.score = _read_score(at + header + packed.size, number & 3)
    packed.bytes = header + packed.size + _score_bytes(number & 3)


cdef inline size_t _packed_bytes(size_t size, double score) noexcept nogil:
    cdef uint64_t number = <uint64_t>size << 2
    cdef size_t bytes = 1 + size + _score_bytes(_kind_of(score))
    while number >= 128:
        number >>= 7
        bytes += 1
    return bytes


cdef void _write(uint8_t* at, const char* member, size_t size, double score) noexcept nogil:
    cdef unsigned kind = _kind_of(score)
    cdef uint64_t number = <uint64_t>size << 2 | kind
    while number >= 128:
        at[0] = <uint8_t>(number | 128)
        number >>= 7
        at += 1
    at[0] = <uint8_t>number
    memcpy(at + 1, member, size)
    _write_score(at + 1 + size, kind, score)


# -- a packed block ----------------------------------------------------------------------------------------------------

cdef inline bint _precedes(const packed_member* packed, const zset_bound* bound) noexcept nogil:
    cdef int order
    if bound.by_score and packed.score != bound.score:
        return packed.score < bound.score
    if bound.by_member:
        order = compare_members(packed.member, packed.size, bound.member, bound.size)
        if order:
            return order < 0
    return bound.after


cdef bint _packed_find(
    const zset_t* self, const char* member, size_t size, packed_member* found, size_t* offset, size_t* rank
) noexcept nogil:
    cdef const uint8_t* block = <const uint8_t*>self.body
    offset[0] = 0
    rank[0] = 0
    while offset[0] < self.used:
        _read(block + offset[0], found)
        if found.size == size and memcmp(found.member, member, size) == 0:
            return True
        offset[0] += found.bytes
        rank[0] += 1
    return False


cdef size_t _packed_count_before(const zset_t* self, const zset_bound* bound, size_t* offset) noexcept nogil:
    """How many members come before the bound, and where the first one that does not begins."""
    cdef packed_member packed
    cdef size_t count = 0
    offset[0] = 0
    while offset[0] < self.used:
        _read(<const uint8_t*>self.body + offset[0], &packed)
        if not _precedes(&packed, bound):
            break
        offset[0] += packed.bytes
        count += 1
    return count


cdef inline size_t _capacity_for(size_t used) noexcept nogil:
    """Room for that many bytes and a little more, up to the end of what malloc would hand out anyway."""
    return footprint(used + (used >> HEADROOM_SHIFT)) - MALLOC_HEADER_BYTES


cdef int _packed_reserve(zset_t* self, size_t extra) noexcept nogil:
    cdef size_t capacity
    cdef void* body
    if self.used + extra <= self.capacity:
        return 0
    capacity = _capacity_for(self.used + extra)
    body = reallocate(self.body, capacity)
    if body == NULL:
        return -1
    self.body = body
    self.capacity = <uint32_t>capacity
    return 0


cdef void _packed_cut(zset_t* self, size_t offset, size_t bytes) noexcept nogil:
    cdef uint8_t* block = <uint8_t*>self.body
    memmove(block + offset, block + offset + bytes, self.used - offset - bytes)
    self.used -= <uint32_t>bytes


cdef void _packed_shrink(zset_t* self) noexcept nogil:
    """Give memory back when half of the block is unused. Without memory for it nothing is lost."""
    cdef size_t capacity = _capacity_for(self.used)
    cdef void* body
    if self.capacity < 2 * capacity:
        return
    body = reallocate(self.body, capacity)
    if body != NULL:
        self.body = body
        self.capacity = <uint32_t>capacity


cdef inline void _bound_at(zset_bound* bound, const char* member, size_t size, double score) noexcept nogil:
    """Right before that member under that score."""
    bound.by_score = bound.by_member = True
    bound.after = False
    bound.score = score
    bound.member = member
    bound.size = size


cdef void _packed_insert(zset_t* self, const char* member, size_t size, double score) noexcept nogil:
    """Write a member that is not there; room has been made."""
    cdef uint8_t* block = <uint8_t*>self.body
    cdef size_t bytes = _packed_bytes(size, score)
    cdef size_t offset
    cdef zset_bound bound
    _bound_at(&bound, member, size, score)
    _packed_count_before(self, &bound, &offset)
    memmove(block + offset + bytes, block + offset, self.used - offset)
    _write(block + offset, member, size, score)
    self.used += <uint32_t>bytes


cdef int _packed_add(zset_t* self, const char* member, size_t size, double score) noexcept nogil:
    """Add a member that is not there; 1, -1 no memory."""
    if _packed_reserve(self, _packed_bytes(size, score)) < 0:
        return -1
    _packed_insert(self, member, size, score)
    self.length += 1
    return 1


cdef int _packed_rescore(
    zset_t* self, size_t offset, const packed_member* found, const char* member, double score
) noexcept nogil:
    """Move the member at `offset` to the place of its new score; 0, -1 no memory. `member` lies outside the block."""
    cdef size_t bytes = _packed_bytes(found.size, score)
    if found.score == score:
        return 0
    if bytes > found.bytes and _packed_reserve(self, bytes - found.bytes) < 0:
        return -1
    _packed_cut(self, offset, found.bytes)
    _packed_insert(self, member, found.size, score)
    return 0


# -- becoming large ----------------------------------------------------------------------------------------------------

cdef large_t* _large_new() noexcept nogil:
    cdef large_t* large = <large_t*>allocate(sizeof(large_t))
    if large == NULL:
        return NULL
    if index_open(&large.members) < 0:
        release(large)
        return NULL
    if tree_open(&large.order) < 0:
        index_close(&large.members)
        release(large)
        return NULL
    return large


cdef int _large_add(large_t* large, const char* member, size_t size, double score, uint64_t hash) noexcept nogil:
    """Add a member that is not there; 0, -1 no memory."""
    cdef zset_entry* entry = entry_new(&large.members, member, size, score)
    if entry == NULL:
        return -1
    if index_reserve(&large.members, hash) < 0 or tree_insert(&large.order, score, entry) < 0:
        entry_free(&large.members, entry)
        return -1
    index_add(&large.members, entry, hash)
    return 0


cdef int _add_and_enlarge(zset_t* self, const char* member, size_t size, double score) noexcept nogil:
    """Add a member that a packed block may not hold: all move to the large form; 1, -1 no memory."""
    cdef large_t* large = _large_new()
    cdef packed_member packed
    cdef size_t offset = 0
    if large == NULL:
        return -1
    while offset < self.used:
        _read(<const uint8_t*>self.body + offset, &packed)
        offset += packed.bytes
        if _large_add(large, packed.member, packed.size, packed.score, siphash(packed.member, packed.size)) < 0:
            _large_free(large)
            return -1
    if _large_add(large, member, size, score, siphash(member, size)) < 0:
        _large_free(large)
        return -1
    release(self.body)
    self.body = large
    self.used = self.capacity = 0
    self.length += 1
    return 1


cdef int _large_put(zset_t* self, const char* member, size_t size, double score) noexcept nogil:
    cdef large_t* large = _large(self)
    cdef uint64_t hash = siphash(member, size)
    cdef zset_entry* entry = index_find(&large.members, member, size, hash)
    if entry == NULL:
        if _large_add(large, member, size, score, hash) < 0:
            return -1
        self.length += 1
        return 1
    if entry.score == score:
        return 0
    if not tree_rescore(&large.order, entry.score, entry, score):
        # The new place first, because that may fail; the tree tells the two apart by their scores.
        if tree_insert(&large.order, score, entry) < 0:
            return -1
        tree_remove(&large.order, entry.score, entry)
    entry.score = score
    return 0


# -- members -----------------------------------------------------------------------------------------------------------

cdef int zset_put(zset_t* self, const char* member, size_t size, double score) noexcept nogil:
    cdef packed_member found
    cdef size_t offset
    cdef size_t rank
    if not zset_is_listpack(self):
        return _large_put(self, member, size, score)
    if _packed_find(self, member, size, &found, &offset, &rank):
        return _packed_rescore(self, offset, &found, member, score)
    if self.length < _entries_limit and size <= _value_limit and size < PACKED_BYTES_MAX - self.used:
        return _packed_add(self, member, size, score)
    return _add_and_enlarge(self, member, size, score)


cdef int zset_score(const zset_t* self, const char* member, size_t size, double* score) noexcept nogil:
    cdef packed_member found
    cdef size_t offset
    cdef size_t rank
    cdef zset_entry* entry
    if zset_is_listpack(self):
        if not _packed_find(self, member, size, &found, &offset, &rank):
            return 0
        score[0] = found.score
        return 1
    entry = index_find(&_large(self).members, member, size, siphash(member, size))
    if entry == NULL:
        return 0
    score[0] = entry.score
    return 1


cdef int zset_remove(zset_t* self, const char* member, size_t size) noexcept nogil:
    cdef packed_member found
    cdef size_t offset
    cdef size_t rank
    cdef zset_entry* entry
    cdef uint64_t hash
    if zset_is_listpack(self):
        if not _packed_find(self, member, size, &found, &offset, &rank):
            return 0
        _packed_cut(self, offset, found.bytes)
        _packed_shrink(self)
        self.length -= 1
        return 1
    hash = siphash(member, size)
    entry = index_find(&_large(self).members, member, size, hash)
    if entry == NULL:
        return 0
    index_remove(&_large(self).members, entry, hash)
    tree_remove(&_large(self).order, entry.score, entry)
    entry_free(&_large(self).members, entry)
    self.length -= 1
    return 1


# -- ranks -------------------------------------------------------------------------------------------------------------

cdef size_t _count_before(const zset_t* self, const zset_bound* bound) noexcept nogil:
    cdef size_t offset
    if zset_is_listpack(self):
        return _packed_count_before(self, bound, &offset)
    return tree_count_before(&_large(self).order, bound)


cdef int zset_rank_of(const zset_t* self, const char* member, size_t size, size_t* rank) noexcept nogil:
    cdef packed_member found
    cdef size_t offset
    cdef zset_bound bound
    cdef double score
    if zset_is_listpack(self):
        return _packed_find(self, member, size, &found, &offset, rank)
    if not zset_score(self, member, size, &score):
        return 0
    _bound_at(&bound, member, size, score)
    rank[0] = tree_count_before(&_large(self).order, &bound)
    return 1


cdef size_t _rank_of_score(const zset_t* self, double score, bint after) noexcept nogil:
    cdef zset_bound bound
    bound.by_score = True
    bound.by_member = False
    bound.after = after
    bound.score = score
    return _count_before(self, &bound)


cdef size_t _rank_of_lex(const zset_t* self, const char* member, size_t size, bint after) noexcept nogil:
    cdef zset_bound bound
    bound.by_score = False
    bound.by_member = True
    bound.after = after
    bound.member = member
    bound.size = size
    return _count_before(self, &bound)


cdef size_t zset_lower_rank(const zset_t* self, double low, bint exclusive) noexcept nogil:
    return _rank_of_score(self, low, exclusive)


cdef size_t zset_upper_rank(const zset_t* self, double high, bint exclusive) noexcept nogil:
    return _rank_of_score(self, high, not exclusive)


cdef size_t zset_lower_lex_rank(const zset_t* self, const char* low, size_t size, bint exclusive) noexcept nogil:
    return _rank_of_lex(self, low, size, exclusive)


cdef size_t zset_upper_lex_rank(const zset_t* self, const char* high, size_t size, bint exclusive) noexcept nogil:
    return _rank_of_lex(self, high, size, not exclusive)


# -- walking -----------------------------------------------------------------------------------------------------------

cdef void _packed_look_back(const zset_t* self, zset_position* position) noexcept nogil:
    """Remember where the members just below the place of a reverse walk begin: a block can only be read forward."""
    cdef packed_member packed
    cdef size_t offset = 0
    cdef size_t first = position.left - RECENT_PLACES if position.left > RECENT_PLACES else 0
    cdef size_t i
    for i in range(position.left):
        if i >= first:
            position.recent[i - first] = <uint32_t>offset
        _read(<const uint8_t*>self.body + offset, &packed)
        offset += packed.bytes
    position.recent_count = <uint32_t>(position.left - first)


cdef void zset_seek(const zset_t* self, size_t rank, bint reverse, zset_position* position) noexcept nogil:
    cdef packed_member packed
    cdef size_t i
    position.node = self.body
    position.index = 0
    position.recent_count = 0
    position.left = 0
    if rank >= self.length:
        return
    position.left = self.length - rank
    if not zset_is_listpack(self):
        position.node = tree_select(&_large(self).order, position.left - 1 if reverse else rank, &position.index)
    elif not reverse:
        for i in range(rank):
            _read(<const uint8_t*>self.body + position.index, &packed)
            position.index += packed.bytes


cdef int _packed_next(
    const zset_t* self, bint reverse, zset_position* position, const char** member, size_t* size, double* score
) noexcept nogil:
    cdef packed_member packed
    if reverse:
        if position.recent_count == 0:
            _packed_look_back(self, position)
        position.recent_count -= 1
        position.index = position.recent[position.recent_count]
    _read(<const uint8_t*>self.body + position.index, &packed)
    position.index += packed.bytes
    position.left -= 1
    member[0] = packed.member
    size[0] = packed.size
    score[0] = packed.score
    return 1


cdef int zset_next(
    const zset_t* self, bint reverse, zset_position* position, const char** member, size_t* size, double* score
) noexcept nogil:
    cdef zset_leaf* leaf = <zset_leaf*>position.node
    if position.left == 0:
        return 0
    if zset_is_listpack(self):
        return _packed_next(self, reverse, position, member, size, score)
    score[0] = leaf.scores[position.index]
    member[0] = entry_member(leaf.entries[position.index], size)
    position.left -= 1
    if reverse:
        if position.index == 0 and position.left:
            position.node = leaf.prev
            position.index = leaf.prev.count
        position.index -= 1
    else:
        position.index += 1
        if position.index == leaf.count:
            position.node = leaf.next
            position.index = 0
    return 1


# -- the handle --------------------------------------------------------------------------------------------------------

cdef class ZSet:
    """A handle on a native sorted set that the keyspace owns: valid until its key is deleted or overwritten."""

    @staticmethod
    cdef ZSet wrap(zset_t* native):
        cdef ZSet handle = ZSet.__new__(ZSet)
        handle.native = native
        return handle

    @staticmethod
    def standalone() -> ZSet:
        """An empty sorted set of its own, freed with the handle."""
        cdef zset_t* native = zset_new()
        if native == NULL:
            raise MemoryError
        cdef ZSet handle = ZSet.wrap(native)
        handle.owned = True
        return handle

    def __dealloc__(self):
        if self.owned:
            zset_free(self.native)

    def __len__(self) -> int:
        return self.native.length

    def score(self, bytes member not None) -> float | None:
        cdef double score
        if not zset_score(self.native, PyBytes_AS_STRING(member), PyBytes_GET_SIZE(member), &score):
            return None
        return score

    def put(self, bytes member not None, double score) -> bool:
        """True if the member is new. The score is not NaN."""
        cdef int new = zset_put(self.native, PyBytes_AS_STRING(member), PyBytes_GET_SIZE(member), score)
        if new < 0:
            raise MemoryError
        return new == 1

    def remove(self, bytes member not None) -> bool:
        return zset_remove(self.native, PyBytes_AS_STRING(member), PyBytes_GET_SIZE(member)) == 1

    def rank(self, bytes member not None) -> int | None:
        """Place in ascending order of (score, member)."""
        cdef size_t rank
        if not zset_rank_of(self.native, PyBytes_AS_STRING(member), PyBytes_GET_SIZE(member), &rank):
            return None
        return rank

    cdef list _walk(self, size_t start, size_t count, bint reverse):
        """(member, score) pairs from rank `start` on, counted from the end that `reverse` names."""
        cdef zset_position position
        cdef const char* member
        cdef size_t size
        cdef double score
        cdef list pairs = []
        zset_seek(self.native, start, reverse, &position)
        while count and zset_next(self.native, reverse, &position, &member, &size, &score):
            pairs.append((PyBytes_FromStringAndSize(member, size), score))
            count -= 1
        return pairs

    def by_rank(self, start: int, stop: int, reverse: bool = False) -> list[tuple[bytes, float]]:
        """Members of ranks start … stop (both included), counted from the end that `reverse` names."""
        start = max(start, 0)
        stop = min(stop, <object>self.native.length - 1)
        return self._walk(start, stop - start + 1, reverse) if start <= stop else []

    def first_rank_by_score(self, double low, bint exclusive) -> int:
        """How many members come before the first one with score >= low (> low if exclusive)."""
        return zset_lower_rank(self.native, low, exclusive)

    def last_rank_by_score(self, double high, bint exclusive) -> int:
        """The rank of the last one with score <= high (< high if exclusive); -1 if none."""
        return <object>zset_upper_rank(self.native, high, exclusive) - 1

    def first_rank_by_lex(self, bytes low, bint exclusive) -> int:
        """The same by member, for sets whose scores are all equal; None = from the very beginning (``-``)."""
        if low is None:
            return 0
        return zset_lower_lex_rank(self.native, PyBytes_AS_STRING(low), PyBytes_GET_SIZE(low), exclusive)

    def last_rank_by_lex(self, bytes high, bint exclusive) -> int:
        """None = to the very end (``+``)."""
        cdef object count = self.native.length
        if high is not None:
            count = zset_upper_lex_rank(self.native, PyBytes_AS_STRING(high), PyBytes_GET_SIZE(high), exclusive)
        return count - 1

    def random(self) -> tuple[bytes, float]:
        """A fair pick from a set that is not empty."""
        return self._walk(randrange(self.native.length), 1, False)[0]

    def sample(self, count: int) -> list[tuple[bytes, float]]:
        """Up to `count` different members, picked fairly."""
        if count >= self.native.length:
            return self._walk(0, self.native.length, False)
        return [self._walk(rank, 1, False)[0] for rank in _sample(range(self.native.length), count)]

    def scan(self, cursor: int, count: int) -> tuple[int, list[tuple[bytes, float]]]:
        """One step of ZSCAN with Redis' guarantee; cursor 0 begins and ends. A packed one comes whole."""
        cdef zset_entry* found[SEGMENT_SLOTS]
        cdef size_t found_count
        cdef size_t i
        cdef size_t size
        cdef const char* member
        cdef uint64_t threshold
        cdef list pairs = []
        if zset_is_listpack(self.native):
            return 0, self._walk(0, self.native.length, False)
        threshold = cursor & _CURSOR_MASK
        count = max(count, 1)
        while True:
            threshold = index_scan(
                &_large(self.native).members, threshold, min(count - len(pairs), SEGMENT_SLOTS), found, &found_count
            )
            for i in range(found_count):
                member = entry_member(found[i], &size)
                pairs.append((PyBytes_FromStringAndSize(member, size), found[i].score))
            if threshold == 0 or len(pairs) >= count:
                return threshold, pairs

    def encoding(self) -> str:
        """``listpack`` or ``skiplist``."""
        return "listpack" if zset_is_listpack(self.native) else "skiplist"

    def memory(self) -> int:
        """Bytes allocated."""
        return zset_memory(self.native)

    def validate(self) -> None:
        """Check every invariant.

        :raises AssertionError: one does not hold
        """
        cdef const char* broken = NULL
        if zset_is_listpack(self.native):
            broken = _check_packed(self.native)
        else:
            broken = index_check(&_large(self.native).members, self.native.length)
            if broken == NULL:
                broken = tree_check(&_large(self.native).order, self.native.length)
        assert broken == NULL, broken.decode()


cdef const char* _check_packed(const zset_t* self) noexcept nogil:
    cdef packed_member packed
    cdef packed_member last
    cdef size_t offset = 0
    cdef size_t members = 0
    cdef zset_bound bound
    if self.used > self.capacity:
        return "more used than there is"
    while offset < self.used:
        _read(<const uint8_t*>self.body + offset, &packed)
        if packed.bytes != _packed_bytes(packed.size, packed.score):
            return "a score is not in its shortest form"
        if members:
            _bound_at(&bound, packed.member, packed.size, packed.score)
            if not _precedes(&last, &bound):
                return "order in the block"
        last = packed
        offset += packed.bytes
        members += 1
    if offset != self.used:
        return "a member ends outside the block"
    if members != self.length:
        return "members in the block"
    return NULL
