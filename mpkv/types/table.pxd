# The one hash table of this store: of keys, of a hash's fields, of a set's or sorted set's members. See table.pyx.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    TAG_BITS = 18
    TAG_SHIFT = 46              # 64 - TAG_BITS
    ADDRESS_SHIFT = 3           # pieces are aligned to 8 bytes
    PREFIX_BITS = 38            # of a hash, as many as tags ever know

# Constants of 64 bits, which an enum of Cython does not have
cdef extern from *:
    """
    #define TAG_MASK (~(uint64_t)0 << 46)
    #define FLAG ((uint64_t)1 << 45)
    #define ADDRESS_MASK (FLAG - 1)
    """
    const uint64_t TAG_MASK
    const uint64_t FLAG             # in a word: what the owner wants to know of a piece without looking at it
    const uint64_t ADDRESS_MASK

# What a table must know of the pieces that it finds
ctypedef struct pieces_t:
    bint (*is_named)(const void* piece, const char* name, size_t size) noexcept nogil
    uint64_t (*hash_of)(const void* piece) noexcept nogil
    int account                 # of the allocator

# This head, then `capacity` words
ctypedef struct segment_t:
    uint16_t count
    uint16_t flagged
    uint16_t homes
    uint16_t capacity
    uint8_t depth               # bits of the hash that all in it share …
    uint8_t base                # … of which so many do not stand in the tags
    uint8_t padding[6]

# A large table: `1 << depth` places, in the order of hashes; a segment stands in as many as its depth is smaller
ctypedef struct index_t:
    uint64_t count
    uint64_t flagged
    uint64_t depth
    segment_t* places[1]

# 0: empty; the address of a segment; or that of an index, and 1. All zeroes is a valid empty table.
ctypedef struct table_t:
    size_t root

# A place in a table, for walks; all zeroes is the beginning
ctypedef struct place_t:
    uint32_t segment            # among the places of the index
    uint32_t word

cdef inline bint has_index(const table_t* self) noexcept nogil:
    return self.root & 1

cdef inline index_t* index_of(const table_t* self) noexcept nogil:
    return <index_t*>(self.root - 1)

cdef inline uint64_t* segment_words(const segment_t* segment) noexcept nogil:
    return <uint64_t*>(segment + 1)

cdef inline void* word_piece(uint64_t word) noexcept nogil:
    return <void*>((word & ADDRESS_MASK) << ADDRESS_SHIFT)

cdef inline uint64_t make_word(uint64_t tag, const void* piece, bint flag) noexcept nogil:
    return (tag & TAG_MASK) | (FLAG if flag else 0) | (<uint64_t><size_t>piece >> ADDRESS_SHIFT)

cdef inline uint32_t home_of(const segment_t* segment, uint64_t tag) noexcept nogil:
    """Where a word with this tag belongs: homes are in the order of tags, for any number of homes."""
    return <uint32_t>((tag << (segment.depth - segment.base) >> TAG_SHIFT) * segment.homes >> TAG_BITS)

cdef inline segment_t* segment_for(const table_t* self, uint64_t hash) noexcept nogil:
    """The segment that a hash belongs to; NULL in an empty table."""
    if self.root & 1:
        return index_of(self).places[hash >> (64 - index_of(self).depth)]
    return <segment_t*>self.root

cdef inline uint64_t table_count(const table_t* self) noexcept nogil:
    if self.root & 1:
        return index_of(self).count
    return (<segment_t*>self.root).count if self.root else 0

cdef inline uint64_t table_flagged(const table_t* self) noexcept nogil:
    if self.root & 1:
        return index_of(self).flagged
    return (<segment_t*>self.root).flagged if self.root else 0

cdef inline uint64_t* table_find(
    const table_t* self, const pieces_t* pieces, uint64_t hash, const char* name, size_t size
) noexcept nogil:
    """The word of a piece; NULL if it is not there. Only a piece of the same tag is looked at."""
    cdef segment_t* segment = segment_for(self, hash)
    cdef uint64_t* words
    cdef uint64_t tag, its_tag
    cdef uint32_t index
    if segment == NULL:
        return NULL
    words = segment_words(segment)
    tag = hash << segment.base & TAG_MASK
    index = home_of(segment, tag)
    while index < segment.capacity:
        its_tag = words[index] & TAG_MASK
        if its_tag >= tag:
            if words[index] == 0 or its_tag > tag:
                return NULL
            if pieces.is_named(word_piece(words[index]), name, size):
                return words + index
        elif words[index] == 0:
            return NULL
        index += 1
    return NULL

# Insert a piece whose name is not there; 0, or -1 without memory, and then nothing has changed
cdef int table_insert(
    table_t* self, const pieces_t* pieces, uint64_t hash, const void* piece, bint flag
) noexcept nogil
# Take a word out; words and segments may move, so other pointers into the table are void
cdef void table_remove(table_t* self, const pieces_t* pieces, uint64_t hash, uint64_t* word) noexcept nogil
# Put a piece into the place of another one of the same name, or change its flag
cdef void table_exchange(table_t* self, uint64_t hash, uint64_t* word, const void* piece, bint flag) noexcept nogil
# Free the table itself, not the pieces; it is empty then
cdef void table_close(table_t* self, int account) noexcept nogil
# The next piece of a table that is given up; NULL at its end, and then the table is empty. Segments go as they are
# left, so no turn is long. Begins with a place of zeroes; nothing else may look at the table meanwhile
cdef void* table_drain(table_t* self, place_t* place, int account) noexcept nogil
cdef size_t table_memory(const table_t* self) noexcept nogil

# The flagged word of this rank, less than their number
cdef uint64_t* table_flagged_at(const table_t* self, uint64_t rank) noexcept nogil

# A step of SCAN
ctypedef struct scan_t:
    place_t place
    uint64_t left               # words to be returned
    uint64_t last               # the prefix of the one returned last
    uint32_t segments           # to be looked at
    uint64_t next               # the prefix with which the next step begins; 0: this was the last one

# The words of a table in the order of hashes. Writes nothing but the place (R9). NULL at the end
cdef uint64_t* table_next(const table_t* self, place_t* place) noexcept nogil
# A word of the table, each with the same probability; it is not empty. `random` is 64 random bits
cdef uint64_t* table_random(const table_t* self, uint64_t random) noexcept nogil

# Where a walk from a prefix on begins, that is, from the first PREFIX_BITS bits of a hash. SCAN goes on so
cdef void table_seek(const table_t* self, uint64_t prefix, place_t* place) noexcept nogil
# One step: some `count` words from a prefix on, and not too many empty places; NULL when `scan.next` is known. Words of
# one prefix come together, as no cursor can stand between them. Any prefix is safe
cdef void table_scan(const table_t* self, uint64_t prefix, uint64_t count, scan_t* scan) noexcept nogil
cdef uint64_t* table_scan_next(const table_t* self, scan_t* scan) noexcept nogil
# The prefix of the word that `table_next` has returned last, as far as its tag tells
cdef uint64_t place_prefix(const table_t* self, const place_t* place, uint64_t word) noexcept nogil

cdef inline uint64_t reversed_prefix(uint64_t prefix) noexcept nogil:
    """A prefix as a cursor, and back: the last bits, which only deep segments know, become the highest, so that cursors
    are small numbers (2**18 unless a table has segments)."""
    cdef uint64_t reversed = 0
    cdef int bit
    for bit in range(PREFIX_BITS):
        reversed = reversed << 1 | (prefix >> bit & 1)
    return reversed

# Have brought into the cache what a look-up will need: first the segment, then the piece
cdef void table_fetch_segment(const table_t* self, uint64_t hash) noexcept nogil
cdef void table_fetch_piece(const table_t* self, uint64_t hash) noexcept nogil

# NULL, or which rule is broken (the flags are the owner's to check)
cdef const char* table_check(const table_t* self, const pieces_t* pieces) noexcept nogil
