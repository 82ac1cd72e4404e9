"""The one hash table of this store: of keys, of the fields of a large hash, of the members of large sets and sorted
sets.

What a table holds are pieces of memory (`allocator`) that carry their own names. It knows three things of each, in a
word of 8 bytes::

    63            46   45    44            0
    | tag: 18 bits  | flag | address >> 3   |

The tag is a part of the name's SipHash. A word's *home* is its tag scaled to the number of homes, so homes are in the
order of tags for any number of homes. A collision goes to the next free word, and words are kept in the order of their
tags (O. Amble, D. E. Knuth, "Ordered hash tables", 1974). There is no wrapping round: behind the homes there are some
words more, and they become more when they are used up. What must stay true:

* words that are not 0 stand in ascending order of tags, none before its home;
* there is no 0 between a word and its home.

From this follows the rest. A search ends at a 0 or a larger tag; a name is only looked at if all bits of the tag
agree. Deletion shifts what follows back by one, up to a word at its home: no tombstones. Growing and shrinking read
words only, never a piece: they run at the speed of memory. Up to 15 words are the same with a single home, that is, a
sorted array without gaps.

**Segments.** Rebuilding a table of a million words takes milliseconds, in which nobody is served. So a table consists
of segments of at most `SEGMENT_MAX` words; one that is full is split in two by the next bit of the hash, and an index
of segments by the first bits of the hash is doubled when it must be (R. Fagin et al., "Extendible Hashing", 1979). A
small table is a segment and nothing else. Segments that together have become small are joined again.

Tags know the first bits of the hash at first. Deeper down these are the same for all in a segment, and say nothing;
so at every third splitting the tags move on by three bits (`base`), for which the names of that segment are hashed
again: some hundred microseconds. At any depth at least 16 bits of the tag count, against some three thousand words.

**The order of all words is that of their hashes**, whatever has been split, joined or rebuilt. So SCAN needs no
reversed-bit counter: a cursor is the first bits of the hash of the next word. Who stays is returned, and returned once
unless segments are joined in between.

Considered: chains as in Redis (16 bytes more for each), one large table that is rehashed in steps (two tables to look
into while it lasts, and a step is due at every command), 16 bits of tag and 48 of address (an extra look at a piece for
every eighth search), elements in an arena of their table, named by 32 bits (a table of elements of changing size must
be compacted as a whole).
"""

from libc.string cimport memcpy, memmove, memset

from mpkv.types.allocator cimport allocate, block_footprint, block_release, block_resize, block_room, footprint, release
from mpkv.types.chance cimport below, mix

cdef extern from *:
    void __builtin_prefetch(const void* address) noexcept nogil

cdef enum:
    DENSE_MAX = 15              # words in a segment with a single home
    SEGMENT_WORDS = 4094        # and the head: half a span of the allocator
    SEGMENT_MAX = 3480          # 85 % of these
    SPARE_WORDS = 2             # behind the last home, at least
    BASE_STEP = 3
    DEPTH_MAX = 20              # PREFIX_BITS - TAG_BITS: three thousand million words
    JOINED_MAX = SEGMENT_MAX // 3       # two segments that are joined have no more together
    SPARSE = JOINED_MAX // 8    # words for each place of an index, or fewer: much of it is empty
    SCANNED_SEGMENTS = 16       # in one step of SCAN: they may be nearly empty
    AHEAD = 8                   # names that are on their way from memory while words are hashed again

cdef bint _keep_still = False
# In a test small tables have many segments.
cdef uint32_t _segment_max = SEGMENT_MAX


def keep_still(bint still) -> None:
    """Do not move what need not be moved: while a snapshot child lives, every page that is written is copied."""
    global _keep_still
    _keep_still = still


def set_segment_limit(int words) -> None:
    """How many words make a segment split (tests); SEGMENT_MAX is the rule. Only while no table is large."""
    global _segment_max
    if not 1 <= words <= SEGMENT_MAX:
        raise ValueError(words)
    _segment_max = words


# --- Segments


cdef inline size_t _segment_bytes(uint32_t capacity) noexcept nogil:
    return sizeof(segment_t) + 8 * <size_t>capacity


cdef inline uint32_t _count_limit(uint32_t homes) noexcept nogil:
    """How many words a segment takes before it is rebuilt: seven of eight homes, more while nothing should move."""
    if homes == 1:
        return DENSE_MAX
    return homes - homes // (16 if _keep_still else 8)


cdef inline uint32_t _capacity_of(const segment_t* segment) noexcept nogil:
    """As many words as its memory has room for, and no more than a segment may have."""
    return <uint32_t>min((block_room(segment) - sizeof(segment_t)) // 8, <size_t>SEGMENT_WORDS)


cdef segment_t* _new_segment(uint32_t homes, uint32_t capacity, uint8_t depth, int account) noexcept nogil:
    cdef segment_t* segment = <segment_t*>block_resize(NULL, _segment_bytes(capacity), account)
    if segment == NULL:
        return NULL
    memset(segment, 0, block_room(segment))
    segment.homes = <uint16_t>homes
    segment.capacity = <uint16_t>_capacity_of(segment)
    segment.depth = depth
    segment.base = depth // BASE_STEP * BASE_STEP
    return segment


cdef inline void _free_segment(segment_t* segment, int account) noexcept nogil:
    block_release(segment, account)


cdef inline uint32_t _homes_for(uint32_t count) noexcept nogil:
    """For a segment that is laid out anew: seven tenths full, so that a quarter more fits before the next time."""
    if count < DENSE_MAX:
        return 1
    return min(count + count * 3 // 7 + 1, <uint32_t>(SEGMENT_WORDS - 64))


cdef segment_t* _rebuilt(const segment_t* old, uint32_t more, int account) noexcept nogil:
    """A copy of a segment, laid out for `more` words than it has; NULL without memory, or when it would be too long."""
    cdef uint64_t* words = segment_words(old)
    cdef segment_t* fresh
    cdef segment_t plan = old[0]
    cdef uint32_t end = 0, index, home
    plan.homes = <uint16_t>_homes_for(old.count + more)
    for index in range(old.capacity):           # how far will it reach?
        if words[index]:
            home = home_of(&plan, words[index] & TAG_MASK)
            end = (home if home > end else end) + 1
    end = max(end, <uint32_t>plan.homes) + SPARE_WORDS
    if end > SEGMENT_WORDS:
        return NULL
    fresh = _new_segment(plan.homes, end, old.depth, account)
    if fresh == NULL:
        return NULL
    fresh.count = old.count
    fresh.flagged = old.flagged
    end = 0
    for index in range(old.capacity):
        if words[index]:
            home = home_of(fresh, words[index] & TAG_MASK)
            end = home if home > end else end
            segment_words(fresh)[end] = words[index]
            end += 1
    return fresh


cdef segment_t* _resized_end(segment_t* old, uint32_t capacity, int account) noexcept nogil:
    """The segment with more words after its last home, or without unused ones; it may have moved. NULL without memory,
    and then nothing has changed."""
    cdef uint32_t kept = min(capacity, <uint32_t>old.capacity)
    cdef segment_t* segment = <segment_t*>block_resize(old, _segment_bytes(capacity), account)
    if segment == NULL:
        return NULL
    segment.capacity = <uint16_t>_capacity_of(segment)
    if segment.capacity > kept:
        memset(segment_words(segment) + kept, 0, 8 * <size_t>(segment.capacity - kept))
    return segment


cdef inline bint _insert_word(segment_t* segment, uint64_t word) noexcept nogil:
    """Put a word into its place; False: there is no free word behind it."""
    cdef uint64_t* words = segment_words(segment)
    cdef uint64_t tag = word & TAG_MASK
    cdef uint32_t index = home_of(segment, tag)
    cdef uint32_t gap
    while index < segment.capacity and words[index] and (words[index] & TAG_MASK) <= tag:
        index += 1
    gap = index
    while gap < segment.capacity and words[gap]:
        gap += 1
    if gap == segment.capacity:
        return False
    memmove(words + index + 1, words + index, <size_t>(gap - index) * 8)
    words[index] = word
    segment.count += 1
    segment.flagged += (word & FLAG) != 0
    return True


# --- The index


cdef inline size_t _index_bytes(uint64_t depth) noexcept nogil:
    return sizeof(index_t) + (((<size_t>1 << depth) - 1) * sizeof(segment_t*))


cdef void _place(table_t* self, uint64_t hash, segment_t* segment) noexcept nogil:
    """Let a segment stand where its hashes lead."""
    cdef index_t* index
    cdef uint64_t first, at
    if not has_index(self):
        self.root = <size_t>segment
        return
    index = index_of(self)
    first = (hash >> (64 - segment.depth)) << (index.depth - segment.depth) if segment.depth else 0
    for at in range(first, first + (<uint64_t>1 << (index.depth - segment.depth))):
        index.places[at] = segment


cdef int _deepen(table_t* self, int account) noexcept nogil:
    """An index for a lone segment, or one of twice as many places; -1 without memory."""
    cdef uint64_t depth = index_of(self).depth + 1 if has_index(self) else 1
    cdef index_t* old = index_of(self) if has_index(self) else NULL
    cdef index_t* fresh = <index_t*>allocate(_index_bytes(depth), account)
    cdef uint64_t at
    if fresh == NULL:
        return -1
    fresh.depth = depth
    fresh.count, fresh.flagged = table_count(self), table_flagged(self)
    for at in range(<uint64_t>1 << depth):
        fresh.places[at] = old.places[at >> 1] if old != NULL else <segment_t*>self.root
    if old != NULL:
        release(old, _index_bytes(old.depth), account)
    self.root = <size_t>fresh | 1
    return 0


cdef void _flatten(table_t* self, int account) noexcept nogil:
    """Halve the index as often as no segment needs its full depth; without memory for it it stays."""
    cdef index_t* old
    cdef index_t* fresh
    cdef uint64_t at
    while has_index(self):
        old = index_of(self)
        for at in range(<uint64_t>1 << old.depth):
            if old.places[at].depth == old.depth:
                return
        if old.depth == 1:
            self.root = <size_t>old.places[0]
        else:
            fresh = <index_t*>allocate(_index_bytes(old.depth - 1), account)
            if fresh == NULL:
                return
            fresh.depth = old.depth - 1
            fresh.count, fresh.flagged = old.count, old.flagged
            for at in range(<uint64_t>1 << fresh.depth):
                fresh.places[at] = old.places[at << 1]
            self.root = <size_t>fresh | 1
        release(old, _index_bytes(old.depth), account)


cdef int _deal_out(
    const segment_t* old, const pieces_t* pieces, segment_t* low, segment_t* high
) noexcept nogil:
    """Put a segment's words into its two halves; -1 if one of them is too short."""
    cdef uint64_t* words = segment_words(old)
    cdef uint64_t hash, word
    cdef uint32_t index
    cdef bint rebased = low.base != old.base
    cdef segment_t* half
    for index in range(old.capacity):
        word = words[index]
        if rebased and index + AHEAD < old.capacity and words[index + AHEAD]:
            __builtin_prefetch(word_piece(words[index + AHEAD]))
        if word == 0:
            continue
        if rebased:
            hash = pieces.hash_of(word_piece(word))
            half = high if hash >> (63 - old.depth) & 1 else low
            word = (word & ~TAG_MASK) | (hash << half.base & TAG_MASK)
        else:
            half = high if word << (old.depth - old.base) >> 63 else low
        if not _insert_word(half, word):
            return -1
    return 0


cdef int _split(table_t* self, const pieces_t* pieces, segment_t* old, uint64_t hash) noexcept nogil:
    """Divide a segment by the next bit of the hash; 0, or -1 without memory, and then nothing has changed."""
    cdef uint32_t capacity = min(<uint32_t>SEGMENT_WORDS, old.capacity + 64)
    cdef uint32_t homes
    cdef segment_t* low
    cdef segment_t* high
    cdef uint64_t prefix
    if old.depth >= DEPTH_MAX:
        return -1
    if (not has_index(self) or index_of(self).depth == old.depth) and _deepen(self, pieces.account) < 0:
        return -1
    homes = _homes_for(old.count // 2 + old.count // 8)
    # Generously: in which half a word belongs is known when it has been hashed
    low = _new_segment(homes, capacity, old.depth + 1, pieces.account)
    high = _new_segment(homes, capacity, old.depth + 1, pieces.account)
    if low == NULL or high == NULL or _deal_out(old, pieces, low, high) < 0:
        if low != NULL:
            _free_segment(low, pieces.account)
        if high != NULL:
            _free_segment(high, pieces.account)
        _flatten(self, pieces.account)
        return -1
    low = _tightened(low, pieces.account)
    high = _tightened(high, pieces.account)
    prefix = hash >> (63 - old.depth) << (63 - old.depth)
    _place(self, prefix & ~(<uint64_t>1 << (63 - old.depth)), low)
    _place(self, prefix | (<uint64_t>1 << (63 - old.depth)), high)
    _free_segment(old, pieces.account)
    return 0


cdef segment_t* _tightened(segment_t* segment, int account) noexcept nogil:
    """The same words in as much memory as they need; without memory for that the segment itself."""
    cdef segment_t* fresh = _rebuilt(segment, 0, account)
    if fresh == NULL:
        return segment
    _free_segment(segment, account)
    return fresh


cdef segment_t* _joined(const segment_t* low, const segment_t* high, uint64_t first, int account) noexcept nogil:
    """One segment of two neighbours; `first`: the bits of the hash that the low one shares. NULL without memory."""
    cdef const segment_t* half = low
    cdef uint32_t count = <uint32_t>low.count + high.count
    cdef uint32_t homes = _homes_for(count)
    cdef segment_t* fresh = _new_segment(
        homes, max(homes + 64, count + SPARE_WORDS), low.depth - 1, account
    )
    cdef uint64_t word, known
    cdef uint32_t index
    if fresh == NULL:
        return NULL
    while True:
        # what the tags of both leave out and that of the joined segment has: the bits before them
        known = (first | (half == high)) << (64 - half.depth) << fresh.base & TAG_MASK
        for index in range(half.capacity):
            word = segment_words(half)[index]
            if word and half.base != fresh.base:
                word = (word & ~TAG_MASK) | known | ((word & TAG_MASK) >> BASE_STEP & TAG_MASK)
            if word and not _insert_word(fresh, word):
                _free_segment(fresh, account)
                return NULL
        if half == high:
            return fresh
        half = high


# --- Putting in and taking out


cdef int table_insert(
    table_t* self, const pieces_t* pieces, uint64_t hash, const void* piece, bint flag
) noexcept nogil:
    cdef segment_t* segment = segment_for(self, hash)
    cdef segment_t* fresh
    cdef uint64_t word
    if segment == NULL:
        segment = _new_segment(1, 1, 0, pieces.account)
        if segment == NULL:
            return -1
        self.root = <size_t>segment
    while segment.count >= _segment_max:
        if _split(self, pieces, segment, hash) < 0:
            return -1
        segment = segment_for(self, hash)
    if segment.count >= _count_limit(segment.homes):
        fresh = _rebuilt(segment, 1, pieces.account)
        if fresh != NULL:
            _free_segment(segment, pieces.account)
            _place(self, hash, fresh)
        elif _split(self, pieces, segment, hash) < 0:       # it would be too long, or there is no memory
            return -1
        segment = segment_for(self, hash)
    word = make_word(hash << segment.base, piece, flag)
    while not _insert_word(segment, word):
        segment = _lengthened(self, pieces, segment, hash)
        if segment == NULL:
            return -1
        word = make_word(hash << segment.base, piece, flag)
    if has_index(self):
        index_of(self).count += 1
        index_of(self).flagged += flag
    return 0


cdef segment_t* _lengthened(table_t* self, const pieces_t* pieces, segment_t* segment, uint64_t hash) noexcept nogil:
    """The segment for this hash with more words behind its last home, or divided; NULL without memory."""
    cdef uint32_t extra = 1 if segment.homes == 1 else 2 * SPARE_WORDS + segment.capacity // 64
    cdef segment_t* fresh
    if segment.capacity == SEGMENT_WORDS:
        if _split(self, pieces, segment, hash) < 0:
            return NULL
        return segment_for(self, hash)
    fresh = _resized_end(segment, min(<uint32_t>SEGMENT_WORDS, segment.capacity + extra), pieces.account)
    if fresh != NULL:
        _place(self, hash, fresh)
    return fresh


cdef void table_remove(table_t* self, const pieces_t* pieces, uint64_t hash, uint64_t* word) noexcept nogil:
    cdef segment_t* segment = segment_for(self, hash)
    cdef uint64_t* words = segment_words(segment)
    cdef uint32_t index = <uint32_t>(word - words)
    cdef uint32_t end = index + 1
    cdef bint flag = (word[0] & FLAG) != 0
    while end < segment.capacity and words[end] and home_of(segment, words[end] & TAG_MASK) < end:
        end += 1
    memmove(words + index, words + index + 1, <size_t>(end - index - 1) * 8)
    words[end - 1] = 0
    segment.count -= 1
    segment.flagged -= flag
    if has_index(self):
        index_of(self).count -= 1
        index_of(self).flagged -= flag
        if index_of(self).count == 0:
            table_close(self, pieces.account)
        elif not _keep_still:
            _join(self, pieces, segment, hash)
            if has_index(self) and index_of(self).count < (<uint64_t>1 << index_of(self).depth) * SPARSE:
                _join_another(self, pieces)
    elif segment.count == 0:
        _free_segment(segment, pieces.account)
        self.root = 0
    elif not _keep_still:
        _shrink(self, segment, hash, pieces.account)


cdef void _shrink(table_t* self, segment_t* segment, uint64_t hash, int account) noexcept nogil:
    """Give memory back when a segment has become much too large; without memory for a smaller one it stays."""
    cdef segment_t* fresh
    if segment.homes == 1:
        if segment.capacity > segment.count + 6:        # a dense one is empty at its end
            _place(self, hash, _resized_end(segment, segment.count, account))
    elif segment.count < segment.homes // 3:
        fresh = _rebuilt(segment, 0, account)
        if fresh != NULL:
            _free_segment(segment, account)
            _place(self, hash, fresh)


cdef void _join(table_t* self, const pieces_t* pieces, segment_t* segment, uint64_t hash) noexcept nogil:
    """Join a segment with its other half if both have become small, or let it shrink."""
    cdef index_t* index = index_of(self)
    cdef uint64_t own = hash >> (64 - segment.depth)
    cdef uint64_t first = own & ~<uint64_t>1                # the low half's bits
    cdef segment_t* other = index.places[(own ^ 1) << (index.depth - segment.depth)]
    cdef segment_t* low
    cdef segment_t* high
    cdef segment_t* fresh
    if other.depth != segment.depth or <uint32_t>segment.count + other.count > min(
        <uint32_t>JOINED_MAX, _segment_max // 3
    ):
        _shrink(self, segment, hash, pieces.account)
        return
    low, high = (segment, other) if own == first else (other, segment)
    fresh = _joined(low, high, first, pieces.account)
    if fresh == NULL:
        return
    _place(self, hash, _tightened(fresh, pieces.account))
    _free_segment(low, pieces.account)
    _free_segment(high, pieces.account)
    _flatten(self, pieces.account)


cdef void _join_another(table_t* self, const pieces_t* pieces) noexcept nogil:
    """Of a table that is nearly empty join segments from which nothing more may ever be deleted, one at a time."""
    cdef uint64_t at = mix(index_of(self).count) >> (64 - index_of(self).depth)
    _join(self, pieces, index_of(self).places[at], at << (64 - index_of(self).depth))


cdef void table_exchange(table_t* self, uint64_t hash, uint64_t* word, const void* piece, bint flag) noexcept nogil:
    cdef segment_t* segment = segment_for(self, hash)
    cdef int change = <int>flag - <int>((word[0] & FLAG) != 0)
    segment.flagged = <uint16_t>(segment.flagged + change)
    if has_index(self):
        index_of(self).flagged += change
    word[0] = make_word(word[0], piece, flag)


cdef void table_close(table_t* self, int account) noexcept nogil:
    cdef index_t* index
    cdef segment_t* segment
    cdef uint64_t at = 0, places
    if not has_index(self):
        if self.root:
            _free_segment(<segment_t*>self.root, account)
        self.root = 0
        return
    index = index_of(self)
    while at < <uint64_t>1 << index.depth:
        segment = index.places[at]
        places = <uint64_t>1 << (index.depth - segment.depth)
        _free_segment(segment, account)
        at += places
    release(index, _index_bytes(index.depth), account)
    self.root = 0


cdef size_t table_memory(const table_t* self) noexcept nogil:
    cdef index_t* index
    cdef size_t memory
    cdef uint64_t at = 0
    if not has_index(self):
        return block_footprint(<void*>self.root)
    index = index_of(self)
    memory = footprint(index, _index_bytes(index.depth))
    while at < <uint64_t>1 << index.depth:
        memory += block_footprint(index.places[at])
        at += <uint64_t>1 << (index.depth - index.places[at].depth)
    return memory


# --- Walks


cdef inline segment_t* _segment_at(const table_t* self, uint32_t at) noexcept nogil:
    """NULL behind the last one."""
    if has_index(self):
        return index_of(self).places[at] if at < <uint64_t>1 << index_of(self).depth else NULL
    return <segment_t*>self.root if at == 0 else NULL


cdef inline uint32_t _places_of(const table_t* self, const segment_t* segment) noexcept nogil:
    return <uint32_t>1 << (index_of(self).depth - segment.depth) if has_index(self) else 1


cdef inline uint64_t* _next_in_segment(const segment_t* segment, place_t* place) noexcept nogil:
    cdef uint64_t* words = segment_words(segment)
    while place.word < segment.capacity:
        place.word += 1
        if words[place.word - 1]:
            return words + place.word - 1
    return NULL


cdef uint64_t* table_next(const table_t* self, place_t* place) noexcept nogil:
    cdef segment_t* segment = _segment_at(self, place.segment)
    cdef uint64_t* word
    while segment != NULL:
        word = _next_in_segment(segment, place)
        if word != NULL:
            return word
        place.segment += _places_of(self, segment)
        place.word = 0
        segment = _segment_at(self, place.segment)
    return NULL


cdef void* table_drain(table_t* self, place_t* place, int account) noexcept nogil:
    cdef segment_t* segment = _segment_at(self, place.segment)
    cdef uint64_t* word
    while segment != NULL:
        word = _next_in_segment(segment, place)
        if word != NULL:
            return word_piece(word[0])
        place.segment += _places_of(self, segment)
        place.word = 0
        _free_segment(segment, account)
        segment = _segment_at(self, place.segment)
    if has_index(self):
        release(index_of(self), _index_bytes(index_of(self).depth), account)
    self.root = 0
    return NULL


cdef void table_scan(const table_t* self, uint64_t prefix, uint64_t count, scan_t* scan) noexcept nogil:
    scan.left = count
    scan.last = 0
    scan.segments = SCANNED_SEGMENTS
    scan.next = 0
    scan.place = place_t(0, 0)
    if self.root:
        table_seek(self, prefix, &scan.place)


cdef uint64_t* table_scan_next(const table_t* self, scan_t* scan) noexcept nogil:
    cdef segment_t* segment = _segment_at(self, scan.place.segment)
    cdef uint64_t* word
    cdef uint64_t prefix
    while segment != NULL:
        word = _next_in_segment(segment, &scan.place)
        if word != NULL:
            prefix = place_prefix(self, &scan.place, word[0])
            if scan.left == 0 and prefix != scan.last:
                scan.next = prefix
                return NULL
            scan.last = prefix
            scan.left -= scan.left != 0
            return word
        scan.place.segment += _places_of(self, segment)
        scan.place.word = 0
        segment = _segment_at(self, scan.place.segment)
        scan.segments -= 1
        if segment != NULL and scan.segments == 0:
            scan.next = <uint64_t>scan.place.segment << (PREFIX_BITS - index_of(self).depth)
            return NULL
    return NULL


cdef void table_seek(const table_t* self, uint64_t prefix, place_t* place) noexcept nogil:
    cdef uint64_t hash = prefix << (64 - PREFIX_BITS)
    cdef segment_t* segment = segment_for(self, hash)
    cdef uint64_t tag
    place.segment = place.word = 0
    if segment == NULL:
        return
    if has_index(self):
        place.segment = <uint32_t>(hash >> (64 - index_of(self).depth))
        place.segment -= place.segment & (_places_of(self, segment) - 1)
    tag = hash << segment.base & TAG_MASK
    place.word = home_of(segment, tag)
    while place.word < segment.capacity and segment_words(segment)[place.word] and (
        segment_words(segment)[place.word] & TAG_MASK
    ) < tag:
        place.word += 1


cdef uint64_t place_prefix(const table_t* self, const place_t* place, uint64_t word) noexcept nogil:
    cdef segment_t* segment = _segment_at(self, place.segment)
    cdef uint64_t prefix = word >> TAG_SHIFT << (PREFIX_BITS - TAG_BITS) >> segment.base
    if segment.base:
        prefix |= <uint64_t>place.segment >> (index_of(self).depth - segment.base) << (PREFIX_BITS - segment.base)
    return prefix


cdef uint64_t* table_random(const table_t* self, uint64_t random) noexcept nogil:
    # Words of a segment, or segments, that are empty are not passed over but drawn again: only this is fair. A segment
    # that stands in more places is drawn as many times as often, so its words are drawn out of as many times more.
    cdef segment_t* segment
    cdef uint64_t at, range_
    while True:
        if has_index(self):
            segment = index_of(self).places[below(random, <uint64_t>1 << index_of(self).depth)]
            range_ = <uint64_t>SEGMENT_WORDS << (index_of(self).depth - segment.depth)
            random = mix(random)
        else:
            segment = <segment_t*>self.root
            range_ = segment.capacity
        at = below(random, range_)
        if at < segment.capacity and segment_words(segment)[at]:
            return segment_words(segment) + at
        random = mix(random)


cdef uint64_t* table_flagged_at(const table_t* self, uint64_t rank) noexcept nogil:
    cdef uint32_t at = 0
    cdef segment_t* segment = _segment_at(self, 0)
    cdef uint64_t* word
    while rank >= segment.flagged:
        rank -= segment.flagged
        at += _places_of(self, segment)
        segment = _segment_at(self, at)
    word = segment_words(segment)
    while True:
        if word[0] & FLAG:
            if rank == 0:
                return word
            rank -= 1
        word += 1


cdef void table_fetch_segment(const table_t* self, uint64_t hash) noexcept nogil:
    cdef segment_t* segment = segment_for(self, hash)
    if segment != NULL:
        __builtin_prefetch(segment)
        __builtin_prefetch(<char*>segment + 64)


cdef void table_fetch_piece(const table_t* self, uint64_t hash) noexcept nogil:
    cdef segment_t* segment = segment_for(self, hash)
    cdef uint64_t* words
    cdef uint64_t tag
    cdef uint32_t index
    if segment == NULL:
        return
    words = segment_words(segment)
    tag = hash << segment.base & TAG_MASK
    index = home_of(segment, tag)
    while index < segment.capacity and words[index] and (words[index] & TAG_MASK) < tag:
        index += 1
    if index < segment.capacity and (words[index] & TAG_MASK) == tag:
        __builtin_prefetch(word_piece(words[index]))


# --- Invariants


cdef const char* _check_segment(const segment_t* segment, const pieces_t* pieces, uint64_t first) noexcept nogil:
    """`first`: the bits of the hash that its words share."""
    cdef uint64_t* words = segment_words(segment)
    cdef uint64_t last_tag = 0, hash
    cdef uint32_t index, home, last_gap = 0, count = 0, flagged = 0
    if segment.base != segment.depth // BASE_STEP * BASE_STEP:
        return "a segment's tags begin at a wrong bit"
    for index in range(segment.capacity):
        if words[index] == 0:
            last_gap = index + 1
            continue
        home = home_of(segment, words[index] & TAG_MASK)
        if (words[index] & TAG_MASK) < last_tag:
            return "words are not in order of their tags"
        if home > index:
            return "a word stands before its home"
        if home < last_gap:
            return "there is a gap between a word and its home"
        hash = pieces.hash_of(word_piece(words[index]))
        if (hash << segment.base & TAG_MASK) != (words[index] & TAG_MASK):
            return "a word has another tag than its piece's name"
        if segment.depth and hash >> (64 - segment.depth) != first:
            return "a word stands in a wrong segment"
        last_tag = words[index] & TAG_MASK
        count += 1
        flagged += (words[index] & FLAG) != 0
    if count != segment.count or flagged != segment.flagged:
        return "a segment's counts are wrong"
    if segment.homes == 1 and count > DENSE_MAX:
        return "a segment has too many words for a single home"
    return NULL


cdef const char* table_check(const table_t* self, const pieces_t* pieces) noexcept nogil:
    cdef const char* broken
    cdef index_t* index
    cdef segment_t* segment
    cdef uint64_t at = 0, other, count = 0, flagged = 0
    if not has_index(self):
        if self.root == 0:
            return NULL
        segment = <segment_t*>self.root
        if segment.depth or segment.count == 0:
            return "a lone segment is not the whole table"
        return _check_segment(segment, pieces, 0)
    index = index_of(self)
    while at < <uint64_t>1 << index.depth:
        segment = index.places[at]
        if segment.depth > index.depth or segment.depth == 0:
            return "a segment is deeper than the index, or spans it"
        for other in range(<uint64_t>1 << (index.depth - segment.depth)):
            if index.places[at + other] != segment:
                return "a segment does not stand in all of its places"
        broken = _check_segment(segment, pieces, at >> (index.depth - segment.depth))
        if broken != NULL:
            return broken
        count += segment.count
        flagged += segment.flagged
        at += <uint64_t>1 << (index.depth - segment.depth)
    if count != index.count or flagged != index.flagged:
        return "the counts of an index are wrong"
    return NULL
