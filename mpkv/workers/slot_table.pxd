# One slot's table of keys: the words that name entries, and what is done with them. See slot_table.pyx.

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp

from mpkv.types.siphash cimport siphash
from mpkv.workers.entry cimport EXPIRES, allocated_bytes, entry_key_text, entry_key_size, entry_t

cdef enum:
    TAG_BITS = 19
    TAG_SHIFT = 45              # 64 - TAG_BITS
    ADDRESS_SHIFT = 4           # malloc aligns to 16 bytes
    DENSE_MAX = 15              # keys in a table with a single home

# Constants of 64 bits, which an enum of Cython does not have
cdef extern from *:
    """
    #define TAG_MASK (~(uint64_t)0 << 45)
    #define VOLATILE ((uint64_t)1 << 44)
    #define ADDRESS_MASK (VOLATILE - 1)
    """
    const uint64_t TAG_MASK
    const uint64_t VOLATILE         # in a word: the entry has an expiry
    const uint64_t ADDRESS_MASK

# This head, then `capacity` words
ctypedef struct table_t:
    uint32_t count
    uint32_t volatiles      # of them with an expiry
    uint32_t homes
    uint32_t capacity

cdef inline uint64_t key_tag(const char* key, size_t size) noexcept nogil:
    """A key's tag, where a word has it."""
    return siphash(key, size) & TAG_MASK

cdef inline uint64_t make_word(uint64_t tag, const entry_t* entry) noexcept nogil:
    return (tag & TAG_MASK) | (VOLATILE if entry.meta & EXPIRES else 0) | (<uint64_t>entry >> ADDRESS_SHIFT)

cdef inline entry_t* word_entry(uint64_t word) noexcept nogil:
    return <entry_t*>((word & ADDRESS_MASK) << ADDRESS_SHIFT)

cdef inline uint64_t* table_words(const table_t* table) noexcept nogil:
    return <uint64_t*>(table + 1)

cdef inline size_t table_memory(const table_t* table) noexcept nogil:
    return 0 if table == NULL else allocated_bytes(sizeof(table_t) + 8 * <size_t>table.capacity)

cdef inline uint32_t word_home(uint64_t word, uint32_t homes) noexcept nogil:
    return <uint32_t>((word >> TAG_SHIFT) * homes >> TAG_BITS)

cdef inline uint64_t* table_find(const table_t* table, uint64_t tag, const char* key, size_t size) noexcept nogil:
    """The word of a key; NULL if it is not there. Only an entry of the same tag is looked at."""
    cdef uint64_t* words = table_words(table)
    cdef uint32_t index = word_home(tag, table.homes)
    cdef uint64_t its_tag
    cdef entry_t* entry
    while index < table.capacity:
        its_tag = words[index] & TAG_MASK
        if its_tag >= tag:
            if words[index] == 0 or its_tag > tag:
                return NULL
            entry = word_entry(words[index])
            if entry_key_size(entry) == size and memcmp(entry_key_text(entry), key, size) == 0:
                return words + index
        elif words[index] == 0:
            return NULL
        index += 1
    return NULL

cdef int table_insert(table_t** place, uint64_t word, bint sparing) noexcept nogil
cdef void table_remove(table_t** place, uint64_t* word, bint sparing) noexcept nogil
cdef const char* table_check(const table_t* table) noexcept nogil
