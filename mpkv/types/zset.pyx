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

from mpkv.types.allocator cimport ZSETS, allocate, block_footprint, block_room, footprint, release
from mpkv.types.packed cimport (
    BLOCK_COUNT_MAX,
    BLOCK_SIZE_MAX,
    packed_add_count,
    packed_begin,
    packed_cut,
    packed_free,
    packed_resize,
    packed_used,
)
from mpkv.types.siphash cimport siphash
from mpkv.types.table cimport (
    PREFIX_BITS,
    place_t,
    reversed_prefix,
    scan_t,
    table_check,
    table_drain,
    table_find,
    table_insert,
    table_memory,
    table_next,
    table_remove,
    table_scan,
    table_scan_next,
    word_piece,
)
from mpkv.types.zset_entry cimport (
    compare_members,
    entry_free,
    entry_member,
    entry_memory,
    entry_new,
    entry_pieces,
    zset_entry,
)
from mpkv.types.zset_tree cimport (
    tree_check,
    tree_close,
    tree_close_some,
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

cdef extern from *:
    void prefetch "__builtin_prefetch"(const void* address) noexcept nogil

# How a packed score is kept: the number of its bytes by kind.
cdef enum:
    DOUBLE = 0
    INT8 = 1
    INT16 = 2
    INT32 = 3

ctypedef struct packed_member:
    const char* member
    size_t size
    double score
    size_t bytes                         # what it takes in the block

cdef size_t _entries_limit = 128
cdef size_t _value_limit = 64


def set_limits(entries: int, value: int) -> None:
    """Apply ``zset-max-listpack-entries`` and ``zset-max-listpack-value`` (bytes). Holds for changes from now on."""
    global _entries_limit, _value_limit
    _entries_limit = entries
    _value_limit = value


cdef void zset_begin(zset_t* self) noexcept nogil:
    packed_begin(self, SMALL)


cdef inline large_t* _large(const zset_t* self) noexcept nogil:
    return <large_t*>self.body


cdef bint _free_members(large_t* large, place_t* place, size_t count) noexcept nogil:
    """Free about so many members, with the last one their table; whether nothing is left."""
    cdef void* member = table_drain(&large.members, place, ZSETS)
    cdef void* following
    while member != NULL:
        # the next one comes into the cache meanwhile
        following = table_drain(&large.members, place, ZSETS) if count else NULL
        if following != NULL:
            prefetch(following)
        entry_free(<zset_entry*>member)
        if count == 0:
            return False
        count -= 1
        member = following
    return True


cdef void _large_free(large_t* large) noexcept nogil:
    cdef place_t place = place_t(0, 0)
    _free_members(large, &place, <size_t>-1)
    tree_close(&large.order)
    release(large, sizeof(large_t), ZSETS)


cdef void zset_free(zset_t* self) noexcept nogil:
    if zset_is_listpack(self):
        packed_free(self, ZSETS)
    else:
        _large_free(_large(self))


cdef bint zset_free_some(zset_t* self, size_t* position, size_t members) noexcept nogil:
    # First the nodes of the tree, then the members
    if not zset_is_listpack(self):
        if not tree_close_some(&_large(self).order, members) or not _free_members(
            _large(self), <place_t*>position, members
        ):
            return False
        release(self.body, sizeof(large_t), ZSETS)
        self.body = NULL
        return True
    packed_free(self, ZSETS)
    return True


cdef size_t zset_memory(const zset_t* self, size_t samples) noexcept nogil:
    cdef place_t place = place_t(0, 0)
    cdef uint64_t* word
    cdef uint64_t looked_at = 0
    cdef size_t memory = 0
    if zset_is_listpack(self):
        return block_footprint(self.body)
    while samples == 0 or looked_at < samples:
        word = table_next(&_large(self).members, &place)
        if word == NULL:
            break
        memory += entry_memory(<zset_entry*>word_piece(word[0]))
        looked_at += 1
    if looked_at and looked_at < zset_len(self):
        memory = <size_t>(<double>memory / looked_at * zset_len(self))
    memory += footprint(self.body, sizeof(large_t)) + _large(self).order.memory
    return memory + table_memory(&_large(self).members)


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
    while offset[0] < packed_used(self):
        _read(block + offset[0], found)
        if found.size == size and memcmp(found.member, member, size) == 0:
            return True
        offset[0] += found.bytes
        rank[0] += 1
    return False


cdef size_t _count_before_in(
    const uint8_t* block, size_t used, const zset_bound* bound, size_t* offset
) noexcept nogil:
    """How many members come before the bound, and where the first one that does not begins."""
    cdef packed_member packed
    cdef size_t count = 0
    offset[0] = 0
    while offset[0] < used:
        _read(block + offset[0], &packed)
        if not _precedes(&packed, bound):
            break
        offset[0] += packed.bytes
        count += 1
    return count


cdef inline void _bound_at(zset_bound* bound, const char* member, size_t size, double score) noexcept nogil:
    """Right before that member under that score."""
    bound.by_score = bound.by_member = True
    bound.after = False
    bound.score = score
    bound.member = member
    bound.size = size


cdef void _packed_insert(zset_t* self, size_t used, const char* member, size_t size, double score) noexcept nogil:
    """Write a member that is not there into a block of which `used` bytes are members, and which has room for it."""
    cdef uint8_t* block = <uint8_t*>self.body
    cdef size_t bytes = _packed_bytes(size, score)
    cdef size_t offset
    cdef zset_bound bound
    _bound_at(&bound, member, size, score)
    _count_before_in(block, used, &bound, &offset)
    memmove(block + offset + bytes, block + offset, used - offset)
    _write(block + offset, member, size, score)


cdef int _packed_add(zset_t* self, const char* member, size_t size, double score) noexcept nogil:
    """Add a member that is not there; 1, -1 no memory."""
    cdef size_t used = packed_used(self)
    if packed_resize(self, used + _packed_bytes(size, score), ZSETS) < 0:
        return -1
    _packed_insert(self, used, member, size, score)
    packed_add_count(self, 1)
    return 1


cdef int _packed_rescore(
    zset_t* self, size_t offset, const packed_member* found, const char* member, double score
) noexcept nogil:
    """Move the member at `offset` to the place of its new score; 0, -1 no memory. `member` lies outside the block."""
    cdef size_t size = found.size
    cdef size_t old_bytes = found.bytes
    cdef size_t bytes = _packed_bytes(size, score)
    cdef size_t used = packed_used(self)
    cdef uint8_t* block
    if found.score == score:
        return 0
    if bytes > old_bytes and packed_resize(self, used + bytes - old_bytes, ZSETS) < 0:
        return -1
    block = <uint8_t*>self.body
    memmove(block + offset, block + offset + old_bytes, used - offset - old_bytes)
    _packed_insert(self, used - old_bytes, member, size, score)
    if bytes < old_bytes:
        packed_resize(self, used + bytes - old_bytes, ZSETS)
    return 0


# -- becoming large ----------------------------------------------------------------------------------------------------

cdef large_t* _large_new() noexcept nogil:
    cdef large_t* large = <large_t*>allocate(sizeof(large_t), ZSETS)
    if large == NULL:
        return NULL
    large.members.root = 0
    if tree_open(&large.order) < 0:
        release(large, sizeof(large_t), ZSETS)
        return NULL
    return large


cdef int _large_add(large_t* large, const char* member, size_t size, double score, uint64_t hash) noexcept nogil:
    """Add a member that is not there; 0, -1 no memory."""
    cdef zset_entry* entry = entry_new(member, size, score)
    if entry == NULL:
        return -1
    if tree_insert(&large.order, score, entry) < 0:
        entry_free(entry)
        return -1
    if table_insert(&large.members, entry_pieces(), hash, entry, False) < 0:
        tree_remove(&large.order, score, entry)
        entry_free(entry)
        return -1
    return 0


cdef inline zset_entry* _large_find(large_t* large, const char* member, size_t size, uint64_t hash) noexcept nogil:
    cdef uint64_t* word = table_find(&large.members, entry_pieces(), hash, member, size)
    return <zset_entry*>word_piece(word[0]) if word != NULL else NULL


cdef int _add_and_enlarge(zset_t* self, const char* member, size_t size, double score) noexcept nogil:
    """Add a member that a packed block may not hold: all move to the large form; 1, -1 no memory."""
    cdef large_t* large = _large_new()
    cdef packed_member packed
    cdef size_t offset = 0
    if large == NULL:
        return -1
    while offset < packed_used(self):
        _read(<const uint8_t*>self.body + offset, &packed)
        offset += packed.bytes
        if _large_add(large, packed.member, packed.size, packed.score, siphash(packed.member, packed.size)) < 0:
            _large_free(large)
            return -1
    if _large_add(large, member, size, score, siphash(member, size)) < 0:
        _large_free(large)
        return -1
    packed_free(self, ZSETS)
    packed_begin(self, LARGE)
    self.body = large
    return 1


cdef int _large_put(zset_t* self, const char* member, size_t size, double score) noexcept nogil:
    cdef large_t* large = _large(self)
    cdef uint64_t hash = siphash(member, size)
    cdef zset_entry* entry = _large_find(large, member, size, hash)
    if entry == NULL:
        return -1 if _large_add(large, member, size, score, hash) < 0 else 1
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

cdef inline bint _takes_one_more(const zset_t* self, size_t size) noexcept nogil:
    """Whether a block may hold a member of this size too."""
    return (
        packed_count(self) < min(_entries_limit, <size_t>BLOCK_COUNT_MAX)
        and size <= _value_limit
        and size < BLOCK_SIZE_MAX - 32 - packed_used(self)
    )


cdef int zset_put(zset_t* self, const char* member, size_t size, double score) noexcept nogil:
    cdef packed_member found
    cdef size_t offset
    cdef size_t rank
    if not zset_is_listpack(self):
        return _large_put(self, member, size, score)
    if _packed_find(self, member, size, &found, &offset, &rank):
        return _packed_rescore(self, offset, &found, member, score)
    if _takes_one_more(self, size):
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
    entry = _large_find(_large(self), member, size, siphash(member, size))
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
    cdef uint64_t* word
    if zset_is_listpack(self):
        if not _packed_find(self, member, size, &found, &offset, &rank):
            return 0
        packed_cut(self, offset, found.bytes, ZSETS)
        packed_add_count(self, -1)
        return 1
    hash = siphash(member, size)
    word = table_find(&_large(self).members, entry_pieces(), hash, member, size)
    if word == NULL:
        return 0
    entry = <zset_entry*>word_piece(word[0])
    table_remove(&_large(self).members, entry_pieces(), hash, word)
    tree_remove(&_large(self).order, entry.score, entry)
    entry_free(entry)
    return 1


# -- ranks -------------------------------------------------------------------------------------------------------------

cdef size_t _count_before(const zset_t* self, const zset_bound* bound) noexcept nogil:
    cdef size_t offset
    if zset_is_listpack(self):
        return _count_before_in(<const uint8_t*>self.body, packed_used(self), bound, &offset)
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
    if rank >= zset_len(self):
        return
    position.left = zset_len(self) - rank
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
        """An empty sorted set that is no key's."""
        cdef ZSet handle = ZSet.__new__(ZSet)
        zset_begin(&handle.own)
        handle.native = &handle.own
        return handle

    def __dealloc__(self):
        if self.native == &self.own:
            zset_free(self.native)

    def __len__(self) -> int:
        return zset_len(self.native)

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
        stop = min(stop, <object>zset_len(self.native) - 1)
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
        cdef object count = zset_len(self.native)
        if high is not None:
            count = zset_upper_lex_rank(self.native, PyBytes_AS_STRING(high), PyBytes_GET_SIZE(high), exclusive)
        return count - 1

    def random(self) -> tuple[bytes, float]:
        """A fair pick from a set that is not empty."""
        return self._walk(randrange(zset_len(self.native)), 1, False)[0]

    def sample(self, count: int) -> list[tuple[bytes, float]]:
        """Up to `count` different members, picked fairly."""
        if count >= zset_len(self.native):
            return self._walk(0, zset_len(self.native), False)
        return [self._walk(rank, 1, False)[0] for rank in _sample(range(zset_len(self.native)), count)]

    def scan(self, cursor: int, count: int) -> tuple[int, list[tuple[bytes, float]]]:
        """One step of ZSCAN with Redis' guarantee; cursor 0 begins and ends. A packed one comes whole."""
        cdef scan_t scan
        cdef const zset_entry* entry
        cdef const char* member
        cdef size_t size
        cdef uint64_t* word
        cdef list pairs = []
        if zset_is_listpack(self.native):
            return 0, self._walk(0, zset_len(self.native), False)
        if not 0 <= cursor < <uint64_t>1 << PREFIX_BITS:
            return 0, pairs
        table_scan(&_large(self.native).members, reversed_prefix(cursor), max(1, min(count, 1 << 32)), &scan)
        while True:
            word = table_scan_next(&_large(self.native).members, &scan)
            if word == NULL:
                return reversed_prefix(scan.next), pairs
            entry = <const zset_entry*>word_piece(word[0])
            member = entry_member(entry, &size)
            pairs.append((PyBytes_FromStringAndSize(member, size), entry.score))

    def encoding(self) -> str:
        """``listpack`` or ``skiplist``."""
        return "listpack" if zset_is_listpack(self.native) else "skiplist"

    def memory(self, size_t samples=0) -> int:
        """Bytes allocated for it, judged by so many members if it is large; 0: by all."""
        return zset_memory(self.native, samples)

    def validate(self) -> None:
        """Check every invariant.

        :raises AssertionError: one does not hold
        """
        cdef const char* broken = NULL
        if zset_is_listpack(self.native):
            broken = _check_packed(self.native)
        else:
            broken = table_check(&_large(self.native).members, entry_pieces())
            if broken == NULL:
                broken = tree_check(&_large(self.native).order, zset_len(self.native))
        assert broken == NULL, broken.decode()


cdef const char* _check_packed(const zset_t* self) noexcept nogil:
    cdef packed_member packed
    cdef packed_member last
    cdef size_t offset = 0
    cdef size_t members = 0
    cdef zset_bound bound
    if packed_used(self) > block_room(self.body):
        return "more used than there is"
    while offset < packed_used(self):
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
    if offset != packed_used(self):
        return "a member ends outside the block"
    if members != packed_count(self):
        return "members in the block"
    return NULL
