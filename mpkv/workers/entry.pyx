"""An entry of the keyspace: one key with its expiry, its clock and its value, in one block.

An entry is one block. The head has 8 bytes: clock (24 bits, see `recency`), type, encoding, flags, and two 16-bit
sizes. Then, each only if its flag or encoding asks for it: expiry (8), size of a key over 65535 bytes (8), words of
the encoding (8 each), the key, and the value of a string that is not large::

    INLINE   head [expiry] [key size] key value             a string of up to 1 KiB
    INTEGER  head [expiry] [key size] number key            the text of a 64-bit integer, as Redis' `int`
    RAW      head [expiry] [key size] pointer key           a larger string, in its own block
    NATIVE   head [expiry] [key size] value value key       another type: its two words, see `packed`

A 16-byte key with a 32-byte value takes 56 bytes; its word costs about 10 more.

What is known of a value of another type at first sight – how it is kept, its size, where its block is – lies in the
entry, so a small value is reached with one look less. Whoever holds a pointer to these words (a handle) must find them
again when the entry has moved: giving a key an expiry and taking it away moves it, as do renaming and overwriting.
"""

from libc.stdint cimport INT64_MAX
from libc.string cimport memcpy, memmove, memset

from mpkv.types.allocator cimport STRINGS, allocate, block_resize, block_room, reallocate, release
from mpkv.types.aggregate cimport native_copy, native_free

cdef enum:
    INTEGER_TEXT_MAX = 20       # -9223372036854775808
    SPARE_SHARE = 4             # a large string that grows in place gets room for a quarter more …
    SPARE_MAX = 1 << 20         # … but no more than that, as in Redis


# --- Reading --------------------------------------------------------------------------------------------------------


cdef void entry_string(const entry_t* entry, char* scratch, const char** data, size_t* size) noexcept nogil:
    cdef int encoding = entry_encoding(entry)
    if encoding == INLINE:
        data[0] = entry_key_text(entry) + entry_key_size(entry)
        size[0] = entry.value_size
    elif encoding == RAW:
        data[0] = <char*>(entry_raw(entry) + 1)
        size[0] = entry_raw(entry).size
    else:
        _write_integer(<int64_t>entry_words(entry)[0], scratch, data, size)


cdef void _write_integer(int64_t value, char* scratch, const char** data, size_t* size) noexcept nogil:
    """Decimal digits, at the end of `scratch`."""
    cdef uint64_t left = -<uint64_t>value if value < 0 else <uint64_t>value
    cdef char* at = scratch + SCRATCH_SIZE
    while True:
        at -= 1
        at[0] = <char>(48 + left % 10)
        left //= 10
        if left == 0:
            break
    if value < 0:
        at -= 1
        at[0] = c"-"
    data[0] = at
    size[0] = scratch + SCRATCH_SIZE - at


cdef bint read_integer(const char* text, size_t size, int64_t* value) noexcept nogil:
    """Whether `text` is what a 64-bit signed integer is printed as: no blanks, plus sign or leading zeroes."""
    cdef size_t index = 0
    cdef uint64_t number = 0
    cdef uint64_t limit = INT64_MAX
    cdef unsigned digit
    cdef bint negative = size > 1 and text[0] == c"-"
    if size == 0 or size > INTEGER_TEXT_MAX:
        return False
    if negative:
        index = 1
        limit += 1
    if text[index] == c"0" and size > 1:
        return False
    while index < size:
        digit = <unsigned char>text[index] - 48u
        if digit > 9 or number > (limit - digit) // 10:
            return False
        number = number * 10 + digit
        index += 1
    value[0] = <int64_t>(-number if negative else number)
    return True


cdef bytes string_of(const entry_t* entry):
    cdef char[SCRATCH_SIZE] scratch
    cdef const char* data
    cdef size_t size
    entry_string(entry, scratch, &data, &size)
    return data[:size]


# --- Making and freeing ---------------------------------------------------------------------------------------------


cdef raw_t* _new_raw(const char* data, size_t size) noexcept nogil:
    cdef raw_t* raw = <raw_t*>allocate(sizeof(raw_t) + size, STRINGS)
    if raw != NULL:
        raw.size = size
        memcpy(raw + 1, data, size)
    return raw


cdef bint patch_raw(entry_t* entry, size_t offset, const char* patch, size_t size) noexcept nogil:
    cdef raw_t* raw = entry_raw(entry)
    cdef size_t end = max(raw.size, offset + size)
    if sizeof(raw_t) + end > block_room(raw):
        raw = <raw_t*>block_resize(raw, sizeof(raw_t) + end + min(end // SPARE_SHARE, <size_t>SPARE_MAX), STRINGS)
        if raw == NULL:
            return False
        entry_words(entry)[0] = <uint64_t>raw
    if offset > raw.size:
        memset(<char*>(raw + 1) + raw.size, 0, offset - raw.size)
    memcpy(<char*>(raw + 1) + offset, patch, size)
    raw.size = end
    entry.meta |= MODIFIED
    return True


cdef entry_t* _new_entry(uint32_t meta, const char* key, size_t size, size_t value_size) noexcept nogil:
    """A block for `key` with room for what `meta` asks for and for an inline value, all unset; NULL without memory."""
    cdef entry_t* entry
    meta &= ~LONG_KEY
    if size > SHORT_KEY_MAX:
        meta |= LONG_KEY
    entry = <entry_t*>allocate(key_at(meta) + size + value_size, meta >> TYPE_SHIFT & 7)
    if entry == NULL:
        return NULL
    entry.meta = meta
    entry.key_size = 0 if meta & LONG_KEY else <uint16_t>size
    entry.value_size = <uint16_t>value_size
    if meta & LONG_KEY:
        long_key_size(entry)[0] = size
    memcpy(entry_key_text(entry), key, size)
    return entry


cdef entry_t* new_string(uint32_t meta, const char* key, size_t size, const char* value, size_t value_size,
                          int64_t integer) noexcept nogil:
    """An entry for a string of the encoding in `meta`, the expiry unset; NULL without memory."""
    cdef int encoding = encoding_of(meta)
    cdef entry_t* entry = _new_entry(meta, key, size, value_size if encoding == INLINE else 0)
    cdef raw_t* raw
    if entry == NULL:
        return NULL
    if encoding == INLINE:
        memcpy(entry_key_text(entry) + size, value, value_size)
    elif encoding == INTEGER:
        entry_words(entry)[0] = <uint64_t>integer
    else:
        raw = _new_raw(value, value_size)
        if raw == NULL:
            free_block(entry)
            return NULL
        entry_words(entry)[0] = <uint64_t>raw
    return entry


cdef entry_t* new_native(uint32_t meta, const char* key, size_t size, const packed_t* native) noexcept nogil:
    """An entry for an aggregate, whose value it takes over, the expiry unset; NULL without memory."""
    cdef entry_t* entry = _new_entry(meta, key, size, 0)
    if entry != NULL:
        entry_native(entry)[0] = native[0]
    return entry


cdef entry_t* renamed_entry(const entry_t* entry, const char* key, size_t size) noexcept nogil:
    """The same entry under another key. Both have one value until the old block is released."""
    cdef entry_t* fresh = _new_entry(entry.meta, key, size, entry.value_size)
    if fresh == NULL:
        return NULL
    if fresh.meta & EXPIRES:
        entry_expiry(fresh)[0] = entry_expiry(entry)[0]
    memcpy(entry_words(fresh), entry_words(entry), key_at(entry.meta) - words_at(entry.meta))
    memcpy(entry_key_text(fresh) + size, entry_key_text(entry) + entry_key_size(entry), entry.value_size)
    return fresh


cdef entry_t* copied_entry(const entry_t* entry, const char* key, size_t size, uint32_t clock) noexcept nogil:
    """A deep copy under another key."""
    cdef entry_t* fresh = renamed_entry(entry, key, size)
    cdef raw_t* raw
    cdef bint copied = True
    if fresh == NULL:
        return NULL
    set_entry_clock(fresh, clock)
    if entry_encoding(entry) == RAW:
        raw = _new_raw(<char*>(entry_raw(entry) + 1), entry_raw(entry).size)
        entry_words(fresh)[0] = <uint64_t>raw
        copied = raw != NULL
    elif entry_encoding(entry) == NATIVE:
        copied = native_copy(entry_type(entry), entry_native(entry), entry_native(fresh)) == 0
    if not copied:
        free_block(fresh)
        return NULL
    return fresh


cdef void free_block(entry_t* entry) noexcept nogil:
    release(entry, entry_block_size(entry), entry_type(entry))


cdef void free_entry(entry_t* entry) noexcept nogil:
    if entry_encoding(entry) == RAW:
        release(entry_raw(entry), sizeof(raw_t) + entry_raw(entry).size, STRINGS)
    elif entry_encoding(entry) == NATIVE:
        native_free(entry_type(entry), entry_native(entry))
    free_block(entry)


# --- The expiry's room ----------------------------------------------------------------------------------------------


cdef entry_t* with_expiry(entry_t* entry) noexcept nogil:
    """Make room for an expiry; NULL without memory, and nothing changed."""
    cdef size_t size = entry_block_size(entry)
    cdef entry_t* moved = <entry_t*>reallocate(entry, size, size + 8, entry_type(entry))
    if moved != NULL:
        memmove(<char*>moved + sizeof(entry_t) + 8, <char*>moved + sizeof(entry_t), size - sizeof(entry_t))
        moved.meta |= EXPIRES
    return moved


cdef entry_t* without_expiry(entry_t* entry) noexcept nogil:
    """Close the room of the expiry; NULL without memory, and nothing changed."""
    cdef size_t size = entry_block_size(entry)
    cdef int64_t expire_at = entry_expiry(entry)[0]
    cdef entry_t* moved
    memmove(<char*>entry + sizeof(entry_t), <char*>entry + sizeof(entry_t) + 8, size - sizeof(entry_t) - 8)
    entry.meta &= ~EXPIRES
    moved = <entry_t*>reallocate(entry, size, size - 8, entry_type(entry))
    if moved == NULL:           # a smaller block was refused: put it back
        memmove(<char*>entry + sizeof(entry_t) + 8, <char*>entry + sizeof(entry_t), size - sizeof(entry_t) - 8)
        entry.meta |= EXPIRES
        entry_expiry(entry)[0] = expire_at
    return moved
