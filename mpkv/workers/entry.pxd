# One key with its value: the block that holds them, and what is done with it. The layout is explained in entry.pyx.
#
# The primitives are inline, because a look-up consists of them.

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memmove

from mpkv.types.allocator cimport fits_in_place, footprint
from mpkv.types.packed cimport packed_t
from mpkv.types.aggregate cimport native_memory

# Constants that need an unsigned type: an enum of Cython has none.
cdef extern from *:
    """
    #define EXPIRES ((uint32_t)1 << 29)
    #define LONG_KEY ((uint32_t)1 << 30)
    #define MODIFIED ((uint32_t)1 << 31)
    #define CLOCK_MASK ((uint32_t)0xFFFFFF)
    #define KIND_MASK ((uint32_t)0x1F << 24)
    """
    const uint32_t EXPIRES
    const uint32_t LONG_KEY
    const uint32_t MODIFIED         # by APPEND or SETRANGE: «raw» to OBJECT ENCODING
    const uint32_t CLOCK_MASK
    const uint32_t KIND_MASK        # type and encoding

cdef enum:
    # entry_t.meta: 24 bits of what eviction goes by (see recency.pxd), then
    TYPE_SHIFT = 24             # 3 bits
    ENCODING_SHIFT = 27         # 2 bits
    EXPIRES_SHIFT = 29
    LONG_KEY_SHIFT = 30

    # Encodings, in bits 27 and 28
    INLINE = 0
    INTEGER = 1
    RAW = 2
    NATIVE = 3

    INLINE_MAX = 1024           # bytes of a string in its entry; above, changing an expiry or renaming must not copy it
    SHORT_KEY_MAX = 0xFFFF
    SCRATCH_SIZE = 24           # for the text of an integer

# The fixed head of an entry
ctypedef struct entry_t:
    uint32_t meta
    uint16_t key_size       # 0 if the key is too long for it
    uint16_t value_size     # of a string that lives in the entry

cdef struct raw_t:
    size_t size     # then so many bytes

cdef inline int encoding_of(uint32_t meta) noexcept nogil:
    return (meta >> ENCODING_SHIFT) & 3

cdef inline int entry_encoding(const entry_t* entry) noexcept nogil:
    return encoding_of(entry.meta)

cdef inline int entry_type(const entry_t* entry) noexcept nogil:
    return (entry.meta >> TYPE_SHIFT) & 7

cdef inline uint32_t kind_bits(int kind, int encoding) noexcept nogil:
    return <uint32_t>kind << TYPE_SHIFT | <uint32_t>encoding << ENCODING_SHIFT

cdef inline size_t words_at(uint32_t meta) noexcept nogil:
    """Where the words of the encoding begin."""
    return sizeof(entry_t) + 8 * ((meta >> EXPIRES_SHIFT & 1) + (meta >> LONG_KEY_SHIFT & 1))

cdef inline size_t key_at(uint32_t meta) noexcept nogil:
    cdef size_t words = 0x2110 >> (4 * (meta >> ENCODING_SHIFT & 3)) & 3
    return words_at(meta) + 8 * words

cdef inline uint64_t* entry_words(const entry_t* entry) noexcept nogil:
    return <uint64_t*>(<char*>entry + words_at(entry.meta))

cdef inline char* entry_key_text(const entry_t* entry) noexcept nogil:
    return <char*>entry + key_at(entry.meta)

cdef inline uint64_t* long_key_size(const entry_t* entry) noexcept nogil:
    """The size of a long key, before the words of the encoding."""
    return entry_words(entry) - 1

cdef inline size_t entry_key_size(const entry_t* entry) noexcept nogil:
    if entry.meta & LONG_KEY:
        return long_key_size(entry)[0]
    return entry.key_size

cdef inline size_t entry_block_size(const entry_t* entry) noexcept nogil:
    """Bytes that were asked for its block. (value_size is 0 unless it is INLINE.)"""
    return key_at(entry.meta) + entry_key_size(entry) + entry.value_size

cdef inline raw_t* entry_raw(const entry_t* entry) noexcept nogil:
    return <raw_t*>entry_words(entry)[0]

cdef inline int64_t* entry_expiry(const entry_t* entry) noexcept nogil:
    """Of an entry that has one."""
    return <int64_t*>(<char*>entry + sizeof(entry_t))

# The two words of a value of another type than string; NULL: it is a string
cdef inline packed_t* entry_native(const entry_t* entry) noexcept nogil:
    return <packed_t*>entry_words(entry) if entry_encoding(entry) == NATIVE else NULL

cdef inline size_t entry_value_memory(const entry_t* entry, size_t samples) noexcept nogil:
    """Bytes allocated for the value beside the entry, of a large one judged by so many elements; 0: by all."""
    cdef int encoding = entry_encoding(entry)
    if encoding == RAW:
        return footprint(entry_raw(entry), sizeof(raw_t) + entry_raw(entry).size)
    return native_memory(entry_type(entry), entry_native(entry), samples) if encoding == NATIVE else 0

# What snapshots and shortcuts read

cdef inline void entry_key(const entry_t* entry, const char** data, size_t* size) noexcept nogil:
    data[0] = entry_key_text(entry)
    size[0] = entry_key_size(entry)

cdef inline int64_t entry_expire_at(const entry_t* entry) noexcept nogil:
    return entry_expiry(entry)[0] if entry.meta & EXPIRES else -1

cdef inline uint32_t entry_clock(const entry_t* entry) noexcept nogil:
    """See recency.pxd."""
    return entry.meta & CLOCK_MASK

cdef inline void set_entry_clock(entry_t* entry, uint32_t clock) noexcept nogil:
    entry.meta = (entry.meta & ~CLOCK_MASK) | clock

cdef inline size_t entry_memory(const entry_t* entry, size_t samples) noexcept nogil:
    return footprint(entry, entry_block_size(entry)) + entry_value_memory(entry, samples)

# A string's bytes as a view. An integer is written to `scratch`, of SCRATCH_SIZE bytes.
cdef void entry_string(const entry_t* entry, char* scratch, const char** data, size_t* size) noexcept nogil
# Whether a text is that of a 64-bit integer, and which
cdef bint read_integer(const char* text, size_t size, int64_t* value) noexcept nogil

# Copied out
cdef inline bytes key_of(const entry_t* entry):
    return entry_key_text(entry)[:entry_key_size(entry)]

cdef bytes string_of(const entry_t* entry)

# Making, changing and freeing. NULL: no memory, and nothing changed
cdef entry_t* new_string(uint32_t meta, const char* key, size_t size, const char* value, size_t value_size,
                          int64_t integer) noexcept nogil
cdef entry_t* new_native(uint32_t meta, const char* key, size_t size, const packed_t* native) noexcept nogil
cdef entry_t* renamed_entry(const entry_t* entry, const char* key, size_t size) noexcept nogil
cdef entry_t* copied_entry(const entry_t* entry, const char* key, size_t size, uint32_t clock) noexcept nogil
cdef entry_t* with_expiry(entry_t* entry) noexcept nogil
cdef entry_t* without_expiry(entry_t* entry) noexcept nogil
cdef void free_entry(entry_t* entry) noexcept nogil
cdef void free_block(entry_t* entry) noexcept nogil         # without its value, which lives on

# Overwrite a RAW string from an offset on, which may be behind its end; what is between becomes zeroes. False without
# memory, and nothing changed
cdef bint patch_raw(entry_t* entry, size_t offset, const char* patch, size_t size) noexcept nogil

cdef inline bint rewrite_entry(entry_t* entry, uint32_t meta, const char* value, size_t value_size,
                          int64_t integer) noexcept nogil:
    """Give an entry a new value where the old one is; False if it does not have the shape and size for it."""
    cdef size_t block_size
    cdef raw_t* raw
    if (entry.meta ^ meta) & (KIND_MASK | EXPIRES) or encoding_of(meta) > RAW:
        return False
    if encoding_of(meta) == INTEGER:
        entry_words(entry)[0] = <uint64_t>integer
    elif encoding_of(meta) == RAW:
        raw = entry_raw(entry)
        if not fits_in_place(raw, sizeof(raw_t) + raw.size, sizeof(raw_t) + value_size):
            return False
        memmove(raw + 1, value, value_size)
        raw.size = value_size
    else:
        block_size = entry_block_size(entry)
        if not fits_in_place(entry, block_size, block_size - entry.value_size + value_size):
            return False
        memmove(entry_key_text(entry) + entry_key_size(entry), value, value_size)
        entry.value_size = <uint16_t>value_size
    entry.meta = meta | (entry.meta & LONG_KEY)
    return True
