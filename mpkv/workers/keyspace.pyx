"""The keyspace of one shard: every key it owns, in native memory.

Layout
------
A database has one small hash table per slot, reached through a directory of 16384 pointers that is allocated with the
first key (untouched pages of it cost nothing). Tables per slot rather than one per database, because a slot is what a
SCAN cursor names and what moves when the number of shards changes: it can be counted, walked and dropped alone. It
also cuts resizing into pieces: with millions of keys a table still has about a hundred, and rebuilding it takes a
microsecond, so nothing needs to be rehashed in steps.

A table is one block: a head and `capacity` words of 8 bytes. A word is 0 or says three things about one entry::

    63            45  44        43             0
    | tag: 19 bits  | volatile | address >> 4   |

The tag is the top of the key's SipHash, and all that a table ever knows of a hash. A word's *home* is
``tag * homes >> 19``, so homes are in the order of tags for any number of homes. Collisions go to the next free word,
keeping words in order of their tags (O. Amble, D. E. Knuth, "Ordered hash tables", 1974). There is no wrapping round:
a table has some words more than it has homes, and gets more when they are used up. What must stay true:

* words that are not 0 stand in ascending order of tags, none before its home;
* there is no 0 between a word and its home.

From this follows the rest. A search ends at a 0 or a larger tag. Deletion shifts what follows back by one, up to a
word at its home, so there are no tombstones. Growing, shrinking and deleting read words only, never an entry or a
key: they run at the speed of memory. A table of up to 15 keys is the same with a single home, that is, a dense sorted
array.

And SCAN keeps its guarantee without Redis' reversed-bit counter: the order of keys in a slot is that of their tags,
whatever the size of the table, so a cursor is ``tag << 14 | slot`` of the first key not yet returned. A key that
stays is returned exactly once. Keys of one tag are returned together; they are few until a slot has millions of keys.
(In such a slot a lookup also gets slower, by one comparison per half a million keys.) Cursors stay below 2**33, which
every client can hold.

Counts of keys and of volatile keys per group of 128 slots stand before the directory. A random key is drawn by rank
through them, exactly fairly and in bounded time, and walks pass over what is empty.

Entries
-------
An entry is one block. The head has 8 bytes: LRU clock (24 bits, seconds), type, encoding, flags, and two 16-bit
sizes. Then, each only if its flag or encoding asks for it: expiry (8), size of a key over 65535 bytes (8), words of
the encoding (8 each), the key, and the value of a string that is not large::

    INLINE   head [expiry] [key size] key value             a string of up to 1 KiB
    INTEGER  head [expiry] [key size] number key            the text of a 64-bit integer, as Redis' `int`
    RAW      head [expiry] [key size] pointer key           a larger string, in its own block
    NATIVE   head [expiry] [key size] pointer bytes key     another type, and what it took when last changed

A 16-byte key with a 32-byte value fits one 64-byte chunk of glibc's malloc; its word costs about 12 bytes more.

Memory is counted as what malloc takes for a block (its own 8 bytes and the rounding included), incrementally.
Aggregates are measured in `changed`, that is once per command, and the size is remembered in the entry: deleting one
needs no measuring, and the sum never drifts.

Time
----
A key is expired when `now_ms` is past its expiry (not at it: as Redis). While `may_expire` is off, such a key is
there like any other: keys that a held operation has looked at must not vanish under it, and a log is replayed with
the keys it names.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN
from libc.string cimport memcmp, memcpy, memmove

from mpkv.sharding cimport SLOTS, key_slot
from mpkv.types.allocator cimport allocate, allocate_zeroed, reallocate, release
from mpkv.types.chance cimport below, random_bits
from mpkv.types.hash cimport (
    Hash, hash_free, hash_is_listpack, hash_len, hash_memory, hash_new, hash_next, hash_put, hash_t,
)
from mpkv.types.list cimport (
    List, list_free, list_is_listpack, list_len, list_memory, list_new, list_next, list_position,
    list_push, list_seek, list_t,
)
from mpkv.types.set cimport Set, set_add, set_encoding, set_free, set_len, set_memory, set_new, set_next, set_t
from mpkv.types.siphash cimport siphash
from mpkv.types.zset cimport (
    ZSet, zset_free, zset_is_listpack, zset_len, zset_memory, zset_new, zset_next, zset_position,
    zset_put, zset_seek, zset_t,
)

from mpkv import errors, sharding

cdef enum:
    TAG_BITS = 19
    TAG_SHIFT = 45              # 64 - TAG_BITS
    ADDRESS_SHIFT = 4           # malloc aligns to 16 bytes

    SLOTS_PER_GROUP = 128
    GROUPS = 128                # SLOTS / SLOTS_PER_GROUP

    DENSE_MAX = 15              # keys in a table with a single home
    DENSE_STEP = 2              # words that such a table grows by: one malloc size class

    # entry_t.meta: 24 bits of LRU clock, then
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
    EMBSTR_MAX = 44             # Redis' OBJ_ENCODING_EMBSTR_SIZE_LIMIT
    INTEGER_TEXT_MAX = 20       # -9223372036854775808
    SCRATCH_SIZE = 24
    LOOKS_PER_VOLATILE = 64     # words the expiry cycle passes over, on average, per volatile key it may check
    RANDOM_TRIES = 100          # of RANDOMKEY to find a key that has not expired, as Redis

# Constants of 64 bits, and those that need an unsigned type: an enum of Cython has neither.
cdef extern from *:
    """
    #define TAG_MASK (~(uint64_t)0 << 45)
    #define VOLATILE ((uint64_t)1 << 44)
    #define ADDRESS_MASK (VOLATILE - 1)
    #define EXPIRES ((uint32_t)1 << 29)
    #define LONG_KEY ((uint32_t)1 << 30)
    #define MODIFIED ((uint32_t)1 << 31)
    #define CLOCK_MASK ((uint32_t)0xFFFFFF)
    #define KIND_MASK ((uint32_t)0x1F << 24)
    """
    const uint64_t TAG_MASK
    const uint64_t VOLATILE         # in a word: the entry has an expiry
    const uint64_t ADDRESS_MASK
    const uint32_t EXPIRES          # in entry_t.meta: the same
    const uint32_t LONG_KEY
    const uint32_t MODIFIED         # by APPEND or SETRANGE: «raw» to OBJECT ENCODING
    const uint32_t CLOCK_MASK
    const uint32_t KIND_MASK        # type and encoding

#: How a type is called, by its number.
cdef tuple TYPE_NAMES = ("string", "list", "set", "zset", "hash")
cdef tuple SET_ENCODINGS = ("intset", "listpack", "hashtable")


cdef extern from *:
    void __builtin_prefetch(const void* address) nogil


cdef inline size_t _allocated(size_t size) noexcept nogil:
    """What glibc's malloc takes for a block of `size` bytes."""
    return 32 if size <= 24 else (size + 8 + 15) & ~<size_t>15


# --- Entries --------------------------------------------------------------------------------------------------------


cdef inline int _encoding_of(uint32_t meta) noexcept nogil:
    return (meta >> ENCODING_SHIFT) & 3


cdef inline int _encoding(const entry_t* entry) noexcept nogil:
    return _encoding_of(entry.meta)


cdef inline uint32_t _kind_bits(int kind, int encoding) noexcept nogil:
    return <uint32_t>kind << TYPE_SHIFT | <uint32_t>encoding << ENCODING_SHIFT


cdef inline size_t _words_at(uint32_t meta) noexcept nogil:
    """Where the words of the encoding begin."""
    return sizeof(entry_t) + 8 * ((meta >> EXPIRES_SHIFT & 1) + (meta >> LONG_KEY_SHIFT & 1))


cdef inline size_t _key_at(uint32_t meta) noexcept nogil:
    cdef size_t words = 0x2110 >> (4 * (meta >> ENCODING_SHIFT & 3)) & 3
    return _words_at(meta) + 8 * words


cdef inline uint64_t* _words(const entry_t* entry) noexcept nogil:
    return <uint64_t*>(<char*>entry + _words_at(entry.meta))


cdef inline char* _key(const entry_t* entry) noexcept nogil:
    return <char*>entry + _key_at(entry.meta)


cdef inline uint64_t* _long_size(const entry_t* entry) noexcept nogil:
    """The size of a long key, before the words of the encoding."""
    return _words(entry) - 1


cdef inline size_t _key_size(const entry_t* entry) noexcept nogil:
    if entry.meta & LONG_KEY:
        return _long_size(entry)[0]
    return entry.key_size


cdef inline size_t _block_size(const entry_t* entry) noexcept nogil:
    """Bytes that were asked for its block. (value_size is 0 unless it is INLINE.)"""
    return _key_at(entry.meta) + _key_size(entry) + entry.value_size


cdef struct raw_t:
    size_t size     # then so many bytes


cdef inline raw_t* _raw(const entry_t* entry) noexcept nogil:
    return <raw_t*>_words(entry)[0]


cdef raw_t* _new_raw(const char* data, size_t size) noexcept nogil:
    cdef raw_t* raw = <raw_t*>allocate(sizeof(raw_t) + size)
    if raw != NULL:
        raw.size = size
        memcpy(raw + 1, data, size)
    return raw


cdef entry_t* _new_entry(uint32_t meta, const char* key, size_t size, size_t value_size) noexcept nogil:
    """A block for `key` with room for what `meta` asks for and for an inline value, all unset; NULL without memory."""
    cdef entry_t* entry
    meta &= ~LONG_KEY
    if size > SHORT_KEY_MAX:
        meta |= LONG_KEY
    entry = <entry_t*>allocate(_key_at(meta) + size + value_size)
    if entry == NULL:
        return NULL
    entry.meta = meta
    entry.key_size = 0 if meta & LONG_KEY else <uint16_t>size
    entry.value_size = <uint16_t>value_size
    if meta & LONG_KEY:
        _long_size(entry)[0] = size
    memcpy(_key(entry), key, size)
    return entry


cdef inline int64_t* _expiry(const entry_t* entry) noexcept nogil:
    """Of an entry that has one."""
    return <int64_t*>(<char*>entry + sizeof(entry_t))


cdef inline size_t _value_memory(const entry_t* entry) noexcept nogil:
    """Bytes allocated for the value beside the entry."""
    cdef int encoding = _encoding(entry)
    if encoding == RAW:
        return _allocated(sizeof(raw_t) + _raw(entry).size)
    return _words(entry)[1] if encoding == NATIVE else 0


cdef void _free_value(entry_t* entry) noexcept nogil:
    cdef int encoding = _encoding(entry)
    if encoding == RAW:
        release(_raw(entry))
    elif encoding == NATIVE:
        _native_free(entry_type(entry), <void*>_words(entry)[0])


cdef void _free_entry(entry_t* entry) noexcept nogil:
    _free_value(entry)
    release(entry)


cdef void entry_key(const entry_t* entry, const char** data, size_t* size) noexcept nogil:
    data[0] = _key(entry)
    size[0] = _key_size(entry)


cdef int entry_type(const entry_t* entry) noexcept nogil:
    return (entry.meta >> TYPE_SHIFT) & 7


cdef void* entry_native(const entry_t* entry) noexcept nogil:
    return <void*>_words(entry)[0] if _encoding(entry) == NATIVE else NULL


cdef int64_t entry_expire_at(const entry_t* entry) noexcept nogil:
    return _expiry(entry)[0] if entry.meta & EXPIRES else -1


cdef uint32_t entry_idle_seconds(const entry_t* entry, int64_t now_ms) noexcept nogil:
    return (_clock(now_ms) - entry.meta) & CLOCK_MASK


cdef size_t entry_memory(const entry_t* entry) noexcept nogil:
    return _allocated(_block_size(entry)) + _value_memory(entry)


cdef void entry_string(const entry_t* entry, char* scratch, const char** data, size_t* size) noexcept nogil:
    cdef int encoding = _encoding(entry)
    if encoding == INLINE:
        data[0] = _key(entry) + _key_size(entry)
        size[0] = entry.value_size
    elif encoding == RAW:
        data[0] = <char*>(_raw(entry) + 1)
        size[0] = _raw(entry).size
    else:
        _write_integer(<int64_t>_words(entry)[0], scratch, data, size)


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


cdef bint _read_integer(const char* text, size_t size, int64_t* value) noexcept nogil:
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


cdef inline uint32_t _clock(int64_t now_ms) noexcept nogil:
    return <uint32_t>(now_ms // 1000) & CLOCK_MASK


# --- Tables ---------------------------------------------------------------------------------------------------------


cdef inline uint64_t _tag(const char* key, size_t size) noexcept nogil:
    """A key's tag, where a word has it."""
    return siphash(key, size) & TAG_MASK


cdef inline uint64_t _make_word(uint64_t tag, const entry_t* entry) noexcept nogil:
    return (tag & TAG_MASK) | (VOLATILE if entry.meta & EXPIRES else 0) | (<uint64_t>entry >> ADDRESS_SHIFT)


cdef inline entry_t* _entry(uint64_t word) noexcept nogil:
    return <entry_t*>((word & ADDRESS_MASK) << ADDRESS_SHIFT)


cdef inline uint64_t* _table_words(const table_t* table) noexcept nogil:
    return <uint64_t*>(table + 1)


cdef inline size_t _table_memory(const table_t* table) noexcept nogil:
    return 0 if table == NULL else _allocated(sizeof(table_t) + 8 * <size_t>table.capacity)


cdef inline uint32_t _home(uint64_t word, uint32_t homes) noexcept nogil:
    return <uint32_t>((word >> TAG_SHIFT) * homes >> TAG_BITS)


cdef inline uint32_t _load_limit(uint32_t homes, bint sparing) noexcept nogil:
    """How many keys a table takes before it is rebuilt. `sparing`: while a snapshot child shares the pages."""
    if homes == 1:
        return DENSE_MAX
    return homes - (homes // 16 if sparing else homes // 5)


cdef inline uint32_t _whole_chunk(uint64_t capacity) noexcept nogil:
    """An odd number of words fills a malloc chunk to the end."""
    return <uint32_t>(capacity | 1)


cdef table_t* _new_table(uint32_t homes, uint32_t capacity) noexcept nogil:
    cdef table_t* table = <table_t*>allocate_zeroed(1, sizeof(table_t) + 8 * <size_t>capacity)
    if table != NULL:
        table.homes = homes
        table.capacity = capacity
    return table


cdef int _rebuild(table_t** place) noexcept nogil:
    """Lay a table out anew for the number of keys it has: about half full. -1 without memory, and nothing changed."""
    cdef table_t* old = place[0]
    cdef table_t* fresh
    cdef uint64_t* words = _table_words(old)
    cdef uint64_t homes = 1 if old.count < DENSE_MAX else <uint64_t>old.count + old.count - old.count // 8
    cdef uint64_t end = 0
    cdef uint32_t index, home
    if homes >> 31:
        return -1
    for index in range(old.capacity):           # how far will it reach?
        if words[index]:
            home = _home(words[index], <uint32_t>homes)
            end = (home if home > end else end) + 1
    fresh = _new_table(<uint32_t>homes, _whole_chunk((homes if homes > end else end) + DENSE_STEP))
    if fresh == NULL:
        return -1
    fresh.count = old.count
    fresh.volatiles = old.volatiles
    end = 0
    for index in range(old.capacity):
        if words[index]:
            home = _home(words[index], <uint32_t>homes)
            end = home if home > end else end
            _table_words(fresh)[end] = words[index]
            end += 1
    release(old)
    place[0] = fresh
    return 0


cdef int _resize_end(table_t** place, uint32_t capacity) noexcept nogil:
    """Give a table more words after its last home, or take unused ones away. -1 without memory, and nothing changed."""
    cdef uint32_t old_capacity = place[0].capacity
    cdef table_t* table
    if capacity < old_capacity and place[0].homes != 1:     # only a dense one is known to be empty at its end
        return -1
    table = <table_t*>reallocate(place[0], sizeof(table_t) + 8 * <size_t>capacity)
    if table == NULL:
        return -1
    while old_capacity < capacity:
        _table_words(table)[old_capacity] = 0
        old_capacity += 1
    table.capacity = capacity
    place[0] = table
    return 0


cdef uint64_t* _table_find(const table_t* table, uint64_t tag, const char* key, size_t size) noexcept nogil:
    """The word of a key; NULL if it is not there. Only an entry of the same tag is looked at."""
    cdef uint64_t* words = _table_words(table)
    cdef uint32_t index = _home(tag, table.homes)
    cdef uint64_t its_tag
    cdef entry_t* entry
    while index < table.capacity:
        its_tag = words[index] & TAG_MASK
        if its_tag >= tag:
            if words[index] == 0 or its_tag > tag:
                return NULL
            entry = _entry(words[index])
            if _key_size(entry) == size and memcmp(_key(entry), key, size) == 0:
                return words + index
        elif words[index] == 0:
            return NULL
        index += 1
    return NULL


cdef int _table_insert(table_t** place, uint64_t word, bint sparing) noexcept nogil:
    """Insert a word whose key is not there; 0, or -1 without memory, and then the table holds what it held."""
    cdef table_t* table
    cdef uint64_t* words
    cdef uint32_t index, gap, extra
    if place[0] == NULL:
        place[0] = _new_table(1, 1)
        if place[0] == NULL:
            return -1
    elif place[0].count >= _load_limit(place[0].homes, sparing) and _rebuild(place) < 0:
        return -1
    table = place[0]
    words = _table_words(table)
    index = _home(word, table.homes)
    while index < table.capacity and words[index] and (words[index] & TAG_MASK) <= (word & TAG_MASK):
        index += 1
    gap = index
    while gap < table.capacity and words[gap]:
        gap += 1
    if gap == table.capacity:
        extra = DENSE_STEP if table.homes == 1 else 2 * DENSE_STEP + table.capacity // 64 * 2
        if _resize_end(place, table.capacity + extra) < 0:
            return -1
        table = place[0]
        words = _table_words(table)
    memmove(words + index + 1, words + index, (gap - index) * 8)
    words[index] = word
    table.count += 1
    return 0


cdef void _table_remove(table_t** place, uint64_t* word, bint sparing) noexcept nogil:
    """Take one word out; the table may move, shrink or go."""
    cdef table_t* table = place[0]
    cdef uint64_t* words = _table_words(table)
    cdef uint32_t index = <uint32_t>(word - words)
    cdef uint32_t end = index + 1
    while end < table.capacity and words[end] and _home(words[end], table.homes) < end:
        end += 1
    memmove(words + index, words + index + 1, (end - index - 1) * 8)
    words[end - 1] = 0
    table.count -= 1
    if table.count == 0:
        release(table)
        place[0] = NULL
    elif not sparing:
        _shrink(place)


cdef void _shrink(table_t** place) noexcept nogil:
    """Give memory back when a table has become much too large; without memory for a smaller one it stays as it is."""
    cdef table_t* table = place[0]
    if table.homes == 1:
        if table.capacity > table.count + 3 * DENSE_STEP:
            _resize_end(place, _whole_chunk(table.count))
    elif table.count < table.homes // 5:
        _rebuild(place)


cdef const char* _table_check(const table_t* table) noexcept nogil:
    """NULL, or which rule is broken."""
    cdef uint64_t* words = _table_words(table)
    cdef uint64_t last_tag = 0
    cdef uint32_t index, home, last_gap = 0
    cdef uint32_t count = 0, volatiles = 0
    for index in range(table.capacity):
        if words[index] == 0:
            last_gap = index + 1
            continue
        home = _home(words[index], table.homes)
        if (words[index] & TAG_MASK) < last_tag:
            return "words are not in order of their tags"
        if home > index:
            return "a word stands before its home"
        if home < last_gap:
            return "there is a gap between a word and its home"
        last_tag = words[index] & TAG_MASK
        count += 1
        volatiles += (words[index] & VOLATILE) != 0
        if ((words[index] & VOLATILE) != 0) != ((_entry(words[index]).meta & EXPIRES) != 0):
            return "a word and its entry disagree about the expiry"
    if count == 0 or count != table.count:
        return "a table's count of keys is wrong"
    if volatiles != table.volatiles:
        return "a table's count of volatile keys is wrong"
    return NULL


# --- Aggregates: what the keyspace needs to know of the other types -------------------------------------------------


cdef void* _native_new(int kind) noexcept nogil:
    if kind == HASH:
        return hash_new()
    if kind == LIST:
        return list_new()
    return <void*>set_new() if kind == SET else <void*>zset_new()


cdef void _native_free(int kind, void* native) noexcept nogil:
    if kind == HASH:
        hash_free(<hash_t*>native)
    elif kind == LIST:
        list_free(<list_t*>native)
    elif kind == SET:
        set_free(<set_t*>native)
    else:
        zset_free(<zset_t*>native)


cdef size_t _native_len(int kind, const void* native) noexcept nogil:
    if kind == HASH:
        return hash_len(<const hash_t*>native)
    if kind == LIST:
        return list_len(<const list_t*>native)
    return set_len(<const set_t*>native) if kind == SET else zset_len(<const zset_t*>native)


cdef size_t _native_memory(int kind, const void* native) noexcept nogil:
    if kind == HASH:
        return hash_memory(<const hash_t*>native)
    if kind == LIST:
        return list_memory(<const list_t*>native)
    return set_memory(<const set_t*>native) if kind == SET else zset_memory(<const zset_t*>native)


cdef void* _native_copy(int kind, const void* native) noexcept nogil:
    """A deep copy; NULL without memory."""
    cdef void* copy = _native_new(kind)
    cdef int failed
    if copy == NULL:
        return NULL
    if kind == HASH:
        failed = _copy_hash(<const hash_t*>native, <hash_t*>copy)
    elif kind == LIST:
        failed = _copy_list(<const list_t*>native, <list_t*>copy)
    elif kind == SET:
        failed = _copy_set(<const set_t*>native, <set_t*>copy)
    else:
        failed = _copy_zset(<const zset_t*>native, <zset_t*>copy)
    if failed:
        _native_free(kind, copy)
        return NULL
    return copy


cdef int _copy_hash(const hash_t* source, hash_t* copy) noexcept nogil:
    cdef size_t position = 0, field_size, value_size
    cdef const char* field
    cdef const char* value
    while hash_next(source, &position, &field, &field_size, &value, &value_size):
        if hash_put(copy, field, field_size, value, value_size) < 0:
            return -1
    return 0


cdef int _copy_list(const list_t* source, list_t* copy) noexcept nogil:
    cdef list_position position
    cdef const char* element
    cdef size_t size
    list_seek(source, 0, &position)
    while list_next(source, &position, &element, &size):
        if list_push(copy, False, element, size) < 0:
            return -1
    return 0


cdef int _copy_set(const set_t* source, set_t* copy) noexcept nogil:
    cdef size_t position = 0, size
    cdef const char* member
    while set_next(source, &position, &member, &size):
        if set_add(copy, member, size) < 0:
            return -1
    return 0


cdef int _copy_zset(const zset_t* source, zset_t* copy) noexcept nogil:
    cdef zset_position position
    cdef const char* member
    cdef size_t size
    cdef double score
    zset_seek(source, 0, False, &position)
    while zset_next(source, False, &position, &member, &size, &score):
        if zset_put(copy, member, size, score) < 0:
            return -1
    return 0


cdef object _handle(const entry_t* entry):
    """The Python handle on an aggregate."""
    cdef int kind = entry_type(entry)
    cdef void* native = entry_native(entry)
    if kind == HASH:
        return Hash.wrap(<hash_t*>native)
    if kind == LIST:
        return List.wrap(<list_t*>native)
    return Set.wrap(<set_t*>native) if kind == SET else ZSet.wrap(<zset_t*>native)


cdef str _encoding_name(const entry_t* entry):
    """What OBJECT ENCODING answers."""
    cdef int kind = entry_type(entry)
    cdef void* native = entry_native(entry)
    if kind == STRING:
        if _encoding(entry) == INTEGER:
            return "int"
        return "raw" if _encoding(entry) == RAW or entry.meta & MODIFIED or entry.value_size > EMBSTR_MAX else "embstr"
    if kind == HASH:
        return "listpack" if hash_is_listpack(<hash_t*>native) else "hashtable"
    if kind == LIST:
        return "listpack" if list_is_listpack(<list_t*>native) else "quicklist"
    if kind == SET:
        return SET_ENCODINGS[set_encoding(<set_t*>native)]
    return "listpack" if zset_is_listpack(<zset_t*>native) else "skiplist"


cdef object _python_value(const entry_t* entry):
    """The whole value, copied out."""
    cdef object handle
    if entry_type(entry) == STRING:
        return _string_of(entry)
    handle = _handle(entry)
    if entry_type(entry) == HASH:
        return dict(handle.items())
    if entry_type(entry) == SET:
        return set(handle.members())
    if entry_type(entry) == LIST:
        return handle.range(0, len(handle) - 1)
    return handle.by_rank(0, len(handle) - 1)


# --- Making entries -------------------------------------------------------------------------------------------------


cdef inline bint _rewrite(entry_t* entry, uint32_t meta, const char* value, size_t value_size,
                          int64_t integer) noexcept nogil:
    """Give an entry a new small value where it stands; False if it does not have the shape and size for it."""
    cdef size_t block_size
    if (entry.meta ^ meta) & (KIND_MASK | EXPIRES) or _encoding_of(meta) > INTEGER:
        return False
    if _encoding_of(meta) == INTEGER:
        _words(entry)[0] = <uint64_t>integer
    else:
        block_size = _block_size(entry)
        if _allocated(block_size) != _allocated(block_size - entry.value_size + value_size):
            return False
        memmove(_key(entry) + _key_size(entry), value, value_size)
        entry.value_size = <uint16_t>value_size
    entry.meta = meta | (entry.meta & LONG_KEY)
    return True


cdef entry_t* _new_string(uint32_t meta, const char* key, size_t size, const char* value, size_t value_size,
                          int64_t integer) noexcept nogil:
    """An entry for a string of the encoding in `meta`, the expiry unset; NULL without memory."""
    cdef int encoding = _encoding_of(meta)
    cdef entry_t* entry = _new_entry(meta, key, size, value_size if encoding == INLINE else 0)
    cdef raw_t* raw
    if entry == NULL:
        return NULL
    if encoding == INLINE:
        memcpy(_key(entry) + size, value, value_size)
    elif encoding == INTEGER:
        _words(entry)[0] = <uint64_t>integer
    else:
        raw = _new_raw(value, value_size)
        if raw == NULL:
            release(entry)
            return NULL
        _words(entry)[0] = <uint64_t>raw
    return entry


cdef entry_t* _new_native(uint32_t meta, const char* key, size_t size, void* native) noexcept nogil:
    """An entry for an aggregate, not yet measured, the expiry unset; NULL without memory."""
    cdef entry_t* entry = _new_entry(meta, key, size, 0)
    if entry != NULL:
        _words(entry)[0] = <uint64_t>native
        _words(entry)[1] = 0
    return entry


cdef entry_t* _renamed(const entry_t* entry, const char* key, size_t size) noexcept nogil:
    """The same entry under another key. Both have one value until the old block is released."""
    cdef entry_t* fresh = _new_entry(entry.meta, key, size, entry.value_size)
    if fresh == NULL:
        return NULL
    if fresh.meta & EXPIRES:
        _expiry(fresh)[0] = _expiry(entry)[0]
    memcpy(_words(fresh), _words(entry), _key_at(entry.meta) - _words_at(entry.meta))
    memcpy(_key(fresh) + size, _key(entry) + _key_size(entry), entry.value_size)
    return fresh


cdef entry_t* _copied(const entry_t* entry, const char* key, size_t size, uint32_t clock) noexcept nogil:
    """A deep copy under another key."""
    cdef entry_t* fresh = _renamed(entry, key, size)
    cdef void* value
    if fresh == NULL:
        return NULL
    fresh.meta = (fresh.meta & ~CLOCK_MASK) | clock
    if _encoding(entry) < RAW:
        return fresh
    if _encoding(entry) == RAW:
        value = _new_raw(<char*>(_raw(entry) + 1), _raw(entry).size)
    else:
        value = _native_copy(entry_type(entry), entry_native(entry))
    if value == NULL:
        release(fresh)
        return NULL
    _words(fresh)[0] = <uint64_t>value
    if _encoding(entry) == NATIVE:
        _words(fresh)[1] = _native_memory(entry_type(entry), value)
    return fresh


cdef entry_t* _with_expiry(entry_t* entry) noexcept nogil:
    """Make room for an expiry; NULL without memory, and nothing changed."""
    cdef size_t size = _block_size(entry)
    cdef entry_t* moved = <entry_t*>reallocate(entry, size + 8)
    if moved != NULL:
        memmove(<char*>moved + sizeof(entry_t) + 8, <char*>moved + sizeof(entry_t), size - sizeof(entry_t))
        moved.meta |= EXPIRES
    return moved


cdef entry_t* _without_expiry(entry_t* entry) noexcept nogil:
    """Close the room of the expiry; NULL without memory, and nothing changed."""
    cdef size_t size = _block_size(entry)
    cdef int64_t expire_at = _expiry(entry)[0]
    cdef entry_t* moved
    memmove(<char*>entry + sizeof(entry_t), <char*>entry + sizeof(entry_t) + 8, size - sizeof(entry_t) - 8)
    entry.meta &= ~EXPIRES
    moved = <entry_t*>reallocate(entry, size - 8)
    if moved == NULL:           # a smaller block was refused: put it back
        memmove(<char*>entry + sizeof(entry_t) + 8, <char*>entry + sizeof(entry_t), size - sizeof(entry_t) - 8)
        entry.meta |= EXPIRES
        _expiry(entry)[0] = expire_at
    return moved


# --- The place of the expiry cycle ----------------------------------------------------------------------------------


cdef uint64_t* _next_volatile(database_t* base, int64_t* looks) noexcept nogil:
    """The next volatile key of the expiry cycle from the place in `base` on, which moves to its slot.

    NULL at the end (then the slot is SLOTS), or when no looks are left; each word and each slot takes one.
    """
    cdef directory_t* directory = base.directory
    cdef table_t* table
    cdef uint64_t* words
    cdef uint64_t tag
    cdef uint32_t index, skipped = 0
    while base.expire_slot < SLOTS and looks[0] > 0:
        looks[0] -= 1
        table = directory.tables[base.expire_slot]
        if directory.groups[base.expire_slot // SLOTS_PER_GROUP].volatiles == 0:
            base.expire_slot |= SLOTS_PER_GROUP - 1     # nothing in the rest of the group
        elif table != NULL and table.volatiles:
            words = _table_words(table)
            for index in range(_home(base.expire_tag, table.homes), table.capacity):
                looks[0] -= 1
                tag = words[index] & TAG_MASK
                if tag > base.expire_tag and looks[0] <= 0:     # only here, so that every call gets on
                    _step_to(base, tag, False)
                    return NULL
                if not words[index] & VOLATILE or tag < base.expire_tag:
                    continue
                if tag > base.expire_tag or skipped == base.expire_skip:
                    return words + index
                skipped += 1
        base.expire_slot += 1
        base.expire_tag = 0
        base.expire_skip = 0
        skipped = 0
    return NULL


cdef inline void _step_to(database_t* base, uint64_t tag, bint over) noexcept nogil:
    """Let the expiry cycle stand at a tag; `over`: behind one more of its keys. (Equal tags keep their order.)"""
    if tag != base.expire_tag:
        base.expire_tag = tag
        base.expire_skip = 0
    base.expire_skip += over


cdef inline void _average(database_t* base, double sample_ms) noexcept nogil:
    """Redis' running estimate: a new sample weighs 2 %."""
    base.average_ttl_ms = sample_ms if base.average_ttl_ms == 0 else base.average_ttl_ms * 0.98 + sample_ms * 0.02


# --- The keyspace ---------------------------------------------------------------------------------------------------


cdef inline bytes _key_of(const entry_t* entry):
    return _key(entry)[:_key_size(entry)]


cdef bytes _string_of(const entry_t* entry):
    cdef char[SCRATCH_SIZE] scratch
    cdef const char* data
    cdef size_t size
    entry_string(entry, scratch, &data, &size)
    return data[:size]


def _validate_entry(uint64_t word, unsigned slot):
    """Check one entry on its own; returns its key."""
    cdef entry_t* entry = _entry(word)
    cdef bytes key = _key_of(entry)
    cdef int encoding = _encoding(entry)
    cdef void* native = entry_native(entry)
    assert key_slot(key, len(key)) == slot, f"{key!r} is in slot {slot}"
    assert _tag(key, len(key)) == word & TAG_MASK, f"{key!r} has another tag than its hash"
    assert (entry_type(entry) == STRING) == (encoding != NATIVE), f"{key!r} has an encoding of another type"
    assert encoding == INLINE or entry.value_size == 0, f"{key!r} has an inline value and is not INLINE"
    assert encoding != RAW or _raw(entry).size > INLINE_MAX, f"{key!r} has a block for a small string"
    assert (len(key) > SHORT_KEY_MAX) == ((entry.meta & LONG_KEY) != 0), f"{key!r:.100} has a wrong form of size"
    assert not entry.meta & EXPIRES or _expiry(entry)[0] != -1, f"{key!r} expires at -1"
    if native != NULL:
        assert _native_len(entry_type(entry), native), f"{key!r} is empty and still there"
        assert _native_memory(entry_type(entry), native) == _words(entry)[1], f"{key!r} was changed and not declared so"
    return key


cdef object _again(object error):
    """A shared error, without the traceback of its last use: that would grow with every raise."""
    return error.with_traceback(None)


cdef class Keyspace:
    """All databases of one shard.

    :param databases: how many
    :param shard: which shard of `shards` this is; it decides the range of slots that SCAN walks
    """

    def __cinit__(self, int databases=16, int shard=0, int shards=1):
        if databases < 1 or not 0 <= shard < shards:
            raise ValueError(f"no such shard or databases: {databases=} {shard=} {shards=}")
        cdef object slots = sharding.slot_range(shard, shards)
        self.databases = databases
        self.shard = shard
        self.shards = shards
        self.first_slot = slots.start
        self.end_slot = slots.stop
        self.may_expire = True
        self.watched = {}
        self.dirty_clients = set()
        self.waiting = {}
        self.ready = []
        self.effects = []
        self.expired_effects = []
        self._bases = <database_t*>allocate_zeroed(databases, sizeof(database_t))
        if self._bases == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef int db
        if self._bases == NULL:
            return
        for db in range(self.databases):
            self._clear_one(db)
        release(self._bases)

    def database(self, int index):
        """The database of this number, as handlers see it."""
        return Database(self, index)

    # --- Finding

    cdef uint64_t* _peek(self, int db, unsigned slot, uint64_t tag, const char* key, size_t size) noexcept nogil:
        """The word of a key, expired or not; NULL if absent."""
        cdef directory_t* directory = self._bases[db].directory
        if directory == NULL or directory.tables[slot] == NULL:
            return NULL
        return _table_find(directory.tables[slot], tag, key, size)

    # A batch of requests tells what will be looked up soon. Each step of a look-up is a cache miss when there are many keys; taken early, one by one
    # for several requests to come, the misses overlap.

    cdef void fetch_place(self, int db, unsigned slot) noexcept nogil:
        """First step: have the directory's word brought in."""
        if self._bases[db].directory != NULL:
            __builtin_prefetch(&self._bases[db].directory.tables[slot])

    cdef void fetch_table(self, int db, unsigned slot) noexcept nogil:
        """Second step: the slot's table, as far as it fits two cache lines."""
        cdef directory_t* directory = self._bases[db].directory
        if directory != NULL and directory.tables[slot] != NULL:
            __builtin_prefetch(directory.tables[slot])
            __builtin_prefetch(<char*>directory.tables[slot] + 64)

    cdef void fetch_entry(self, int db, unsigned slot, const char* key, size_t size) noexcept nogil:
        """Third step: the entry whose tag is the key's."""
        cdef directory_t* directory = self._bases[db].directory
        cdef table_t* table
        cdef uint64_t* words
        cdef uint64_t tag
        cdef uint32_t index
        if directory == NULL or directory.tables[slot] == NULL:
            return
        table = directory.tables[slot]
        words = _table_words(table)
        tag = _tag(key, size)
        index = _home(tag, table.homes)
        while index < table.capacity and words[index] and (words[index] & TAG_MASK) < tag:
            index += 1
        if index < table.capacity and (words[index] & TAG_MASK) == tag:
            __builtin_prefetch(_entry(words[index]))

    cdef uint64_t* _locate(self, int db, unsigned slot, uint64_t tag, const char* key, size_t size) except? NULL:
        """The word of a key that has not expired; one that has is deleted."""
        cdef uint64_t* word = self._peek(db, slot, tag, key, size)
        if word != NULL and word[0] & VOLATILE and self.may_expire and self.now_ms > _expiry(_entry(word[0]))[0]:
            self._expire(db, slot, word)
            return NULL
        return word

    cdef entry_t* find(self, int db, unsigned slot, const char* key, size_t size):
        cdef uint64_t* word = self._locate(db, slot, _tag(key, size), key, size)
        return NULL if word == NULL else _entry(word[0])

    cdef entry_t* find_for_read(self, int db, unsigned slot, const char* key, size_t size):
        cdef entry_t* entry = self.find(db, slot, key, size)
        if entry == NULL:
            self.misses += 1
        else:
            self.hits += 1
            self.touch(entry)
        return entry

    cdef void touch(self, entry_t* entry) noexcept nogil:
        """Move the LRU clock on, unless that would copy a page for the sake of a snapshot child."""
        if not self.snapshot_running:
            entry.meta = (entry.meta & ~CLOCK_MASK) | _clock(self.now_ms)

    # --- Putting in and taking out: the only places where tables, counts and the sum of memory change

    cdef int _insert(self, int db, unsigned slot, uint64_t tag, entry_t* entry) noexcept nogil:
        """Of a key that is not there. 0; -1 without memory, and the entry is still the caller's."""
        cdef database_t* base = &self._bases[db]
        cdef table_t** place
        cdef size_t before
        if base.directory == NULL:
            base.directory = <directory_t*>allocate_zeroed(1, sizeof(directory_t))
            if base.directory == NULL:
                return -1
            self._memory += _allocated(sizeof(directory_t))
        place = &base.directory.tables[slot]
        before = _table_memory(place[0])
        if _table_insert(place, _make_word(tag, entry), self.snapshot_running) < 0:
            self._memory += _table_memory(place[0]) - before        # it may have been rebuilt
            return -1
        self._memory += _table_memory(place[0]) - before + entry_memory(entry)
        base.keys += 1
        base.directory.groups[slot // SLOTS_PER_GROUP].keys += 1
        if entry.meta & EXPIRES:
            self._count_volatile(db, slot, 1)
        return 0

    cdef entry_t* _detach(self, int db, unsigned slot, uint64_t* word) noexcept nogil:
        """Take an entry out of its table; it is the caller's from here on."""
        cdef database_t* base = &self._bases[db]
        cdef table_t** place = &base.directory.tables[slot]
        cdef entry_t* entry = _entry(word[0])
        cdef size_t before = _table_memory(place[0])
        if entry.meta & EXPIRES:
            self._count_volatile(db, slot, -1)
        _table_remove(place, word, self.snapshot_running)
        self._memory += _table_memory(place[0]) - before - entry_memory(entry)
        base.keys -= 1
        base.directory.groups[slot // SLOTS_PER_GROUP].keys -= 1
        return entry

    cdef void _exchange(self, int db, unsigned slot, uint64_t* word, entry_t* fresh) noexcept nogil:
        """Put another entry in the place of one with the same key, which is freed."""
        cdef entry_t* old = _entry(word[0])
        self._memory += entry_memory(fresh) - entry_memory(old)
        self._count_volatile(db, slot, <int>(fresh.meta >> EXPIRES_SHIFT & 1) - <int>(old.meta >> EXPIRES_SHIFT & 1))
        word[0] = _make_word(word[0], fresh)
        _free_entry(old)

    cdef void _count_volatile(self, int db, unsigned slot, int change) noexcept nogil:
        cdef database_t* base = &self._bases[db]
        base.volatiles += change
        base.directory.groups[slot // SLOTS_PER_GROUP].volatiles += change
        base.directory.tables[slot].volatiles += change

    # --- Strings

    cdef int put_string(self, int db, unsigned slot, const char* key, size_t size, const char* value, size_t value_size,
                        bint keep_ttl) except -2:
        cdef int64_t integer = 0
        cdef int encoding = INLINE if value_size <= INLINE_MAX else RAW
        if _read_integer(value, value_size, &integer):
            encoding = INTEGER
        return self._store(db, slot, key, size, _kind_bits(STRING, encoding), value, value_size, integer, keep_ttl)

    cdef int put_raw_string(self, int db, unsigned slot, const char* key, size_t size, const char* value,
                            size_t value_size, bint keep_ttl) except -2:
        cdef int encoding = INLINE if value_size <= INLINE_MAX else RAW
        return self._store(db, slot, key, size, _kind_bits(STRING, encoding) | MODIFIED, value, value_size, 0, keep_ttl)

    cdef int put_integer(self, int db, unsigned slot, const char* key, size_t size, int64_t value,
                         bint keep_ttl) except -2:
        return self._store(db, slot, key, size, _kind_bits(STRING, INTEGER), NULL, 0, value, keep_ttl)

    cdef int _store(self, int db, unsigned slot, const char* key, size_t size, uint32_t meta,
                    const char* value, size_t value_size, int64_t integer, bint keep_ttl) except -2:
        """Make `key` a string of the encoding in `meta`, whatever it was."""
        cdef uint64_t tag = _tag(key, size)
        cdef uint64_t* word = self._locate(db, slot, tag, key, size)
        cdef entry_t* old = NULL if word == NULL else _entry(word[0])
        cdef entry_t* fresh
        cdef size_t inline_size = value_size if _encoding_of(meta) == INLINE else 0
        meta |= _clock(self.now_ms)
        if old != NULL:
            if keep_ttl:
                meta |= old.meta & EXPIRES
            if _rewrite(old, meta, value, inline_size, integer):
                return 0
        fresh = _new_string(meta, key, size, value, value_size, integer)
        if fresh == NULL:
            return -1
        if fresh.meta & EXPIRES:
            _expiry(fresh)[0] = _expiry(old)[0]
        if old != NULL:
            self._exchange(db, slot, word, fresh)
        elif self._insert(db, slot, tag, fresh) < 0:
            _free_entry(fresh)
            return -1
        return 0

    cdef int get_integer(self, const entry_t* entry, int64_t* value) noexcept nogil:
        if _encoding(entry) == INTEGER:
            value[0] = <int64_t>_words(entry)[0]
            return 1
        if _encoding(entry) == INLINE:      # a RAW one is too long to be an integer
            return _read_integer(_key(entry) + _key_size(entry), entry.value_size, value)
        return 0

    # --- Aggregates

    cdef entry_t* find_or_create(self, int db, unsigned slot, const char* key, size_t size, int kind):
        cdef entry_t* entry = self.find(db, slot, key, size)
        cdef void* native
        if entry != NULL:
            return entry
        native = _native_new(kind)
        if native == NULL:
            return NULL
        entry = _new_native(_kind_bits(kind, NATIVE) | _clock(self.now_ms), key, size, native)
        if entry == NULL:
            _native_free(kind, native)
        elif self._insert(db, slot, _tag(key, size), entry) < 0:
            _free_entry(entry)
            return NULL
        return entry

    # --- Changes and who hears of them

    cdef int changed(self, int db, unsigned slot, const char* key, size_t size) except -2:
        return self._changed(db, slot, key, size, 1)

    cdef int string_changed(self, int db, const char* key, size_t size) except -2:
        self.dirty += 1
        self._tell(db, key, size, True)
        return 0

    cdef int _changed(self, int db, unsigned slot, const char* key, size_t size, unsigned times) except -2:
        cdef uint64_t* word = self._peek(db, slot, _tag(key, size), key, size)
        cdef entry_t* entry = NULL if word == NULL else _entry(word[0])
        cdef void* native = NULL if entry == NULL else entry_native(entry)
        cdef size_t memory
        cdef int emptied = 0
        if native != NULL:
            if _native_len(entry_type(entry), native) == 0:
                _free_entry(self._detach(db, slot, word))
                emptied = 1
            else:
                memory = _native_memory(entry_type(entry), native)
                self._memory += memory - _words(entry)[1]
                _words(entry)[1] = memory
        self.dirty += times
        self._tell(db, key, size, entry != NULL and not emptied)
        return emptied

    cdef int _tell(self, int db, const char* key, size_t size, bint exists) except -1:
        """Watchers and waiters of a key that was changed; two tests when there are none."""
        cdef object name
        if self.watched:
            name = (db, key[:size])
            if name in self.watched:
                self.dirty_clients.update(self.watched[name])
        if exists and self.waiting:
            name = (db, key[:size])
            if name in self.waiting:
                self.ready.append(name)
        return 0

    cdef bint delete(self, int db, unsigned slot, const char* key, size_t size):
        cdef uint64_t* word = self._locate(db, slot, _tag(key, size), key, size)
        if word == NULL:
            return False
        _free_entry(self._detach(db, slot, word))
        self.dirty += 1
        self._tell(db, key, size, False)
        return True

    cdef int _expire(self, int db, unsigned slot, uint64_t* word) except -1:
        """Delete a key because of its time. No change in the sense of `dirty`: a read can cause it."""
        cdef entry_t* entry = self._detach(db, slot, word)
        self.expired += 1
        try:
            if self.effects_wanted:
                self.expired_effects.append((db, (b"UNLINK", _key_of(entry))))
            self._tell(db, _key(entry), _key_size(entry), False)
        finally:
            _free_entry(entry)
        return 0

    cdef int set_expire_at(self, int db, entry_t* entry, int64_t at_ms) noexcept:
        cdef size_t size = _key_size(entry)
        cdef unsigned slot = key_slot(_key(entry), size)
        cdef bint wanted = at_ms != -1
        cdef uint64_t* word
        cdef entry_t* moved
        cdef size_t before
        if wanted != ((entry.meta & EXPIRES) != 0):
            before = entry_memory(entry)
            word = self._peek(db, slot, _tag(_key(entry), size), _key(entry), size)
            moved = _with_expiry(entry) if wanted else _without_expiry(entry)
            if moved == NULL:
                return -1
            entry = moved
            word[0] = _make_word(word[0], entry)
            self._memory += entry_memory(entry) - before
            self._count_volatile(db, slot, 1 if wanted else -1)
        if wanted:
            _expiry(entry)[0] = at_ms
        return 0

    # --- Whole entries under another name or in another database

    cdef void _rename(self, int db, bytes source, bytes destination) except *:
        cdef unsigned slot = key_slot(source, len(source)), other_slot = key_slot(destination, len(destination))
        cdef uint64_t tag = _tag(source, len(source)), other_tag = _tag(destination, len(destination))
        cdef uint64_t* word = self._locate(db, slot, tag, source, len(source))
        cdef uint64_t* other
        cdef entry_t* fresh
        if word == NULL:
            raise _again(errors.NO_SUCH_KEY)
        if source == destination:
            return
        # Let the destination expire before it is overwritten; that may move words
        self._locate(db, other_slot, other_tag, destination, len(destination))
        word = self._peek(db, slot, tag, source, len(source))
        fresh = _renamed(_entry(word[0]), destination, len(destination))
        if fresh == NULL:
            raise _again(errors.OUT_OF_MEMORY)
        other = self._peek(db, other_slot, other_tag, destination, len(destination))
        if other != NULL:
            self._exchange(db, other_slot, other, fresh)
        elif self._insert(db, other_slot, other_tag, fresh) < 0:
            release(fresh)
            raise _again(errors.OUT_OF_MEMORY)
        release(self._detach(db, slot, self._peek(db, slot, tag, source, len(source))))     # its value has moved on
        self.dirty += 1
        self._tell(db, source, len(source), False)
        self._tell(db, destination, len(destination), True)

    cdef bint _copy(self, int db, bytes source, int other_db, bytes destination) except -1:
        cdef entry_t* entry = self.find(db, key_slot(source, len(source)), source, len(source))
        cdef unsigned slot = key_slot(destination, len(destination))
        cdef uint64_t tag = _tag(destination, len(destination))
        cdef entry_t* fresh
        cdef uint64_t* word
        if entry == NULL:
            return False
        if db == other_db and source == destination:
            return True
        fresh = _copied(entry, destination, len(destination), _clock(self.now_ms))
        if fresh == NULL:
            raise _again(errors.OUT_OF_MEMORY)
        word = self._locate(other_db, slot, tag, destination, len(destination))
        if word != NULL:
            self._exchange(other_db, slot, word, fresh)
        elif self._insert(other_db, slot, tag, fresh) < 0:
            _free_entry(fresh)
            raise _again(errors.OUT_OF_MEMORY)
        self.dirty += 1
        self._tell(other_db, destination, len(destination), True)
        return True

    cdef bint _move(self, int db, bytes key, int other_db) except -1:
        cdef unsigned slot = key_slot(key, len(key))
        cdef uint64_t tag = _tag(key, len(key))
        cdef uint64_t* word = self._locate(db, slot, tag, key, len(key))
        if word == NULL or db == other_db or self._locate(other_db, slot, tag, key, len(key)) != NULL:
            return False
        if self._insert(other_db, slot, tag, _entry(word[0])) < 0:
            raise _again(errors.OUT_OF_MEMORY)
        self._detach(db, slot, word)
        self.dirty += 1
        self._tell(db, key, len(key), False)
        self._tell(other_db, key, len(key), True)
        return True

    cdef int adopt(self, int db, const char* key, size_t size, int kind, void* native, int64_t expire_at) except -2:
        cdef unsigned slot = key_slot(key, size)
        cdef uint64_t tag = _tag(key, size)
        cdef uint32_t meta = _kind_bits(kind, NATIVE) | _clock(self.now_ms) | (EXPIRES if expire_at != -1 else 0)
        cdef entry_t* entry
        if kind not in (LIST, SET, ZSET, HASH):
            raise ValueError(f"a value of type {kind} cannot be adopted")
        if self._peek(db, slot, tag, key, size) != NULL:
            return 1
        entry = _new_native(meta, key, size, native)
        if entry == NULL:
            return -1
        if expire_at != -1:
            _expiry(entry)[0] = expire_at
        _words(entry)[1] = _native_memory(kind, native)
        if self._insert(db, slot, tag, entry) < 0:
            release(entry)
            return -1
        return 0

    cdef int adopt_string(self, int db, const char* key, size_t size, const char* value, size_t value_size,
                          int64_t expire_at) except -2:
        cdef unsigned slot = key_slot(key, size)
        cdef uint64_t tag = _tag(key, size)
        cdef int64_t integer = 0
        cdef int encoding = INLINE if value_size <= INLINE_MAX else RAW
        cdef entry_t* entry
        if self._peek(db, slot, tag, key, size) != NULL:
            return 1
        if _read_integer(value, value_size, &integer):
            encoding = INTEGER
        entry = _new_string(_kind_bits(STRING, encoding) | _clock(self.now_ms) | (EXPIRES if expire_at != -1 else 0),
                            key, size, value, value_size, integer)
        if entry == NULL:
            return -1
        if expire_at != -1:
            _expiry(entry)[0] = expire_at
        if self._insert(db, slot, tag, entry) < 0:
            _free_entry(entry)
            return -1
        return 0

    # --- Sizes

    cdef size_t size(self, int db) noexcept nogil:
        return self._bases[db].keys

    cdef size_t volatile(self, int db) noexcept nogil:
        return self._bases[db].volatiles

    def counts(self, int db):
        """(keys, keys with an expiry, average time to live of these in ms, estimated) as INFO keyspace reports them."""
        self._check_database(db)
        return self._bases[db].keys, self._bases[db].volatiles, int(self._bases[db].average_ttl_ms)

    def slot_size(self, int db, unsigned slot):
        """How many keys a slot has."""
        self._check_database(db)
        cdef directory_t* directory = self._bases[db].directory
        if directory == NULL or slot >= SLOTS or directory.tables[slot] == NULL:
            return 0
        return directory.tables[slot].count

    def used_memory(self):
        """Bytes allocated for tables, entries and values, malloc's own overhead included."""
        return self._memory

    def _check_database(self, int db):
        if not 0 <= db < self.databases:
            raise IndexError(f"no database {db}")

    # --- Walks

    cdef entry_t* next(self, int db, keyspace_position* position) noexcept nogil:
        cdef directory_t* directory = self._bases[db].directory
        cdef entry_t* entry
        if directory == NULL:
            return NULL
        while position.slot < SLOTS:
            if position.index == 0 and directory.groups[position.slot // SLOTS_PER_GROUP].keys == 0:
                position.slot = (position.slot // SLOTS_PER_GROUP + 1) * SLOTS_PER_GROUP
                continue
            entry = self.next_in_slot(db, position)
            if entry != NULL:
                return entry
            position.slot += 1
            position.index = 0
        return NULL

    cdef entry_t* next_in_slot(self, int db, keyspace_position* position) noexcept nogil:
        cdef directory_t* directory = self._bases[db].directory
        cdef table_t* table = NULL if directory == NULL else directory.tables[position.slot]
        cdef uint64_t word
        if table == NULL:
            return NULL
        while position.index < table.capacity:
            word = _table_words(table)[position.index]
            position.index += 1
            if word:
                return _entry(word)
        return NULL

    def walk(self, int db):
        """Every key: (key, type name, value, expiry in ms or -1); a sorted set as a list of (member, score)."""
        cdef keyspace_position position
        cdef entry_t* entry
        cdef list found
        cdef unsigned slot
        self._check_database(db)
        for slot in range(SLOTS):
            position.slot = slot
            position.index = 0
            found = []      # of one slot, so that the caller may change keys between two of them
            while True:
                entry = self.next_in_slot(db, &position)
                if entry == NULL:
                    break
                kind = TYPE_NAMES[entry_type(entry)]
                found.append((_key_of(entry), kind, _python_value(entry), entry_expire_at(entry)))
            yield from found

    cdef uint64_t _random(self) noexcept nogil:
        return random_bits()

    cdef entry_t* _pick(self, int db) noexcept nogil:
        """Any key with the same probability: by rank through groups and tables, by rejection among a table's words."""
        cdef directory_t* directory = self._bases[db].directory
        cdef table_t* table
        cdef uint64_t rank, word
        cdef unsigned group = 0, slot
        if self._bases[db].keys == 0:
            return NULL
        rank = random_bits() % self._bases[db].keys
        while rank >= directory.groups[group].keys:
            rank -= directory.groups[group].keys
            group += 1
        slot = group * SLOTS_PER_GROUP
        while directory.tables[slot] == NULL or rank >= directory.tables[slot].count:
            if directory.tables[slot] != NULL:
                rank -= directory.tables[slot].count
            slot += 1
        table = directory.tables[slot]
        while True:
            word = _table_words(table)[below(random_bits(), table.capacity)]
            if word:
                return _entry(word)

    # --- Emptying

    cdef int clear(self, int db) except -2:
        cdef int which
        self._dirty_watchers(db)
        for which in range(self.databases):
            if db == -1 or which == db:
                self.dirty += self._bases[which].keys
                self._clear_one(which)
        return 0

    cdef int _clear_one(self, int db) noexcept nogil:
        """Free all that a database has."""
        cdef database_t* base = &self._bases[db]
        cdef keyspace_position position
        cdef entry_t* entry
        cdef unsigned slot
        if base.directory == NULL:
            return 0
        position.slot = 0
        position.index = 0
        while True:
            entry = self.next(db, &position)
            if entry == NULL:
                break
            self._memory -= entry_memory(entry)
            _free_entry(entry)
        for slot in range(SLOTS):
            self._memory -= _table_memory(base.directory.tables[slot])
            release(base.directory.tables[slot])
        self._memory -= _allocated(sizeof(directory_t))
        release(base.directory)
        base.directory = NULL
        base.keys = 0
        base.volatiles = 0
        base.average_ttl_ms = 0
        base.expire_slot = 0
        base.expire_tag = 0
        base.expire_skip = 0
        return 0

    def flush(self, int db=-1):
        """Delete every key of a database, or of all (-1); each counts as a change, those who watch one hear of it."""
        if db != -1:
            self._check_database(db)
        self.clear(db)

    def _dirty_watchers(self, int db):
        """Mark the clients that watch a key that exists in `db` (-1: in any)."""
        cdef int which
        cdef bytes key
        for (which, key), clients in self.watched.items():
            if db not in (-1, which):
                continue
            if self._peek(which, key_slot(key, len(key)), _tag(key, len(key)), key, len(key)) != NULL:
                self.dirty_clients.update(clients)

    def swap(self, int first, int second):
        """SWAPDB: exchange two databases. Watchers of a key that exists in either are marked, waiters woken."""
        cdef database_t held
        self._check_database(first)
        self._check_database(second)
        if first == second:
            return
        self._dirty_watchers(first)
        self._dirty_watchers(second)
        held = self._bases[first]
        self._bases[first] = self._bases[second]
        self._bases[second] = held
        self._dirty_watchers(first)
        self._dirty_watchers(second)
        self.dirty += 1
        for which, key in self.waiting:
            if which in (first, second) and Database(self, which).exists(key):
                self.ready.append((which, key))

    # --- Expiry cycle

    def expire_some(self, int db, int max_checked):
        """Go on with the expiry cycle of a database: delete what has expired among the next volatile keys.

        Looks at up to `max_checked` of them, beginning where the last call stopped, and at no more than 64 words or
        slots for each, so that the work is bounded where few keys are volatile. Keeps the estimate of the average
        time to live.

        :returns: (volatile keys looked at, how many of them were deleted)
        """
        cdef database_t* base
        cdef int64_t left_ms, sum_ms = 0
        cdef int checked = 0, expired = 0
        cdef int64_t looks
        cdef uint64_t* word
        self._check_database(db)
        base = &self._bases[db]
        if not self.may_expire or base.volatiles == 0 or max_checked <= 0:
            return 0, 0
        looks = LOOKS_PER_VOLATILE * <int64_t>max_checked
        while checked < max_checked and base.volatiles:
            word = _next_volatile(base, &looks)
            if word == NULL:
                base.expire_slot %= SLOTS       # from the end to the beginning, for the next call
                break
            checked += 1
            left_ms = _expiry(_entry(word[0]))[0] - self.now_ms
            _step_to(base, word[0] & TAG_MASK, left_ms >= 0)
            if left_ms < 0:
                self._expire(db, base.expire_slot, word)
                expired += 1
            else:
                sum_ms += left_ms
        if checked > expired:
            _average(base, <double>sum_ms / (checked - expired))
        return checked, expired

    # --- Invariants

    def validate(self):
        """Check every invariant of every database; AssertionError names the one that is broken."""
        cdef int db
        cdef size_t memory = 0
        for db in range(self.databases):
            memory += self._validate_database(db)
        assert memory == self._memory, f"{memory} bytes are allocated, {self._memory} are accounted for"

    def _validate_database(self, int db):
        cdef database_t* base = &self._bases[db]
        cdef uint64_t keys = 0, volatiles = 0, group_keys, group_volatiles
        cdef size_t memory
        cdef unsigned group, slot
        if base.directory == NULL:
            assert base.keys == 0 and base.volatiles == 0, f"database {db} has a count and no directory"
            return 0
        memory = _allocated(sizeof(directory_t))
        for group in range(GROUPS):
            group_keys = group_volatiles = 0
            for slot in range(group * SLOTS_PER_GROUP, (group + 1) * SLOTS_PER_GROUP):
                if base.directory.tables[slot] != NULL:
                    group_keys += base.directory.tables[slot].count
                    group_volatiles += base.directory.tables[slot].volatiles
                    memory += self._validate_table(db, slot)
            assert group_keys == base.directory.groups[group].keys, f"keys of group {group} of database {db}"
            assert group_volatiles == base.directory.groups[group].volatiles, f"volatile keys of group {group}, {db=}"
            keys += group_keys
            volatiles += group_volatiles
        assert keys == base.keys, f"database {db} has {keys} keys and counts {base.keys}"
        assert volatiles == base.volatiles, f"database {db} has {volatiles} volatile keys and counts {base.volatiles}"
        return memory

    def _validate_table(self, int db, unsigned slot):
        cdef table_t* table = self._bases[db].directory.tables[slot]
        cdef const char* problem = _table_check(table)
        cdef size_t memory = _table_memory(table)
        cdef uint64_t word
        cdef uint32_t index
        cdef set seen = set()
        assert problem == NULL, f"database {db} slot {slot}: {problem}"
        assert table.count <= DENSE_MAX or table.homes > 1, f"{db=} {slot=}: {table.count} keys in a dense table"
        for index in range(table.capacity):
            word = _table_words(table)[index]
            if word:
                key = _validate_entry(word, slot)
                assert key not in seen, f"{key!r} is there twice"
                seen.add(key)
                memory += entry_memory(_entry(word))
        return memory


# --- What handlers see ----------------------------------------------------------------------------------------------


cdef class Database:
    """One database of a shard as handlers see it: `mpkv.commands.faces.Db`, which says what each method does."""

    def __init__(self, Keyspace keyspace not None, int index):
        keyspace._check_database(index)
        self.keyspace = keyspace
        self.index = index

    @property
    def databases(self):
        return self.keyspace.databases

    @property
    def now_ms(self):
        return self.keyspace.now_ms

    @property
    def shard(self):
        return self.keyspace.shard

    @property
    def shards(self):
        return self.keyspace.shards

    # --- Look up

    cdef entry_t* _find(self, bytes key) except? NULL:
        return self.keyspace.find(self.index, key_slot(key, len(key)), key, len(key))

    cdef entry_t* _for_read(self, bytes key, int kind) except? NULL:
        cdef entry_t* entry = self.keyspace.find_for_read(self.index, key_slot(key, len(key)), key, len(key))
        if entry != NULL and entry_type(entry) != kind:
            raise _again(errors.WRONGTYPE)
        return entry

    cdef entry_t* _for_write(self, bytes key, int kind) except? NULL:
        cdef entry_t* entry = self._find(key)
        if entry != NULL:
            if entry_type(entry) != kind:
                raise _again(errors.WRONGTYPE)
            self.keyspace.touch(entry)
        return entry

    cdef entry_t* _to_fill(self, bytes key, int kind) except NULL:
        cdef entry_t* entry = self.keyspace.find_or_create(self.index, key_slot(key, len(key)), key, len(key), kind)
        if entry == NULL:
            raise _again(errors.OUT_OF_MEMORY)
        if entry_type(entry) != kind:
            raise _again(errors.WRONGTYPE)
        self.keyspace.touch(entry)
        return entry

    def string_for_read(self, bytes key not None):
        cdef entry_t* entry = self._for_read(key, STRING)
        return None if entry == NULL else _string_of(entry)

    def hash_for_read(self, bytes key not None):
        cdef entry_t* entry = self._for_read(key, HASH)
        return None if entry == NULL else _handle(entry)

    def list_for_read(self, bytes key not None):
        cdef entry_t* entry = self._for_read(key, LIST)
        return None if entry == NULL else _handle(entry)

    def set_for_read(self, bytes key not None):
        cdef entry_t* entry = self._for_read(key, SET)
        return None if entry == NULL else _handle(entry)

    def zset_for_read(self, bytes key not None):
        cdef entry_t* entry = self._for_read(key, ZSET)
        return None if entry == NULL else _handle(entry)

    def string_for_write(self, bytes key not None):
        cdef entry_t* entry = self._for_write(key, STRING)
        return None if entry == NULL else _string_of(entry)

    def hash_for_write(self, bytes key not None):
        cdef entry_t* entry = self._for_write(key, HASH)
        return None if entry == NULL else _handle(entry)

    def list_for_write(self, bytes key not None):
        cdef entry_t* entry = self._for_write(key, LIST)
        return None if entry == NULL else _handle(entry)

    def set_for_write(self, bytes key not None):
        cdef entry_t* entry = self._for_write(key, SET)
        return None if entry == NULL else _handle(entry)

    def zset_for_write(self, bytes key not None):
        cdef entry_t* entry = self._for_write(key, ZSET)
        return None if entry == NULL else _handle(entry)

    def hash_to_fill(self, bytes key not None):
        return _handle(self._to_fill(key, HASH))

    def list_to_fill(self, bytes key not None):
        return _handle(self._to_fill(key, LIST))

    def set_to_fill(self, bytes key not None):
        return _handle(self._to_fill(key, SET))

    def zset_to_fill(self, bytes key not None):
        return _handle(self._to_fill(key, ZSET))

    # --- Write

    def set_string(self, bytes key not None, bytes value not None, *, bint keep_ttl=False, bint raw=False):
        cdef unsigned slot = key_slot(key, len(key))
        cdef int failed
        if raw:
            failed = self.keyspace.put_raw_string(self.index, slot, key, len(key), value, len(value), keep_ttl)
        else:
            failed = self.keyspace.put_string(self.index, slot, key, len(key), value, len(value), keep_ttl)
        if failed:
            raise _again(errors.OUT_OF_MEMORY)
        self.keyspace.string_changed(self.index, key, len(key))

    def changed(self, bytes key not None, unsigned times=1):
        self.keyspace._changed(self.index, key_slot(key, len(key)), key, len(key), times)

    def effect(self, *words):
        self.keyspace.effects.append((self.index, words))

    # --- Keys

    def exists(self, bytes key not None):
        return self._find(key) != NULL

    def type_of(self, bytes key not None):
        cdef entry_t* entry = self._find(key)
        return None if entry == NULL else TYPE_NAMES[entry_type(entry)]

    def encoding_of(self, bytes key not None):
        cdef entry_t* entry = self._find(key)
        return None if entry == NULL else _encoding_name(entry)

    def idle_seconds(self, bytes key not None):
        cdef entry_t* entry = self._find(key)
        return None if entry == NULL else entry_idle_seconds(entry, self.keyspace.now_ms)

    def touch(self, bytes key not None):
        return self.keyspace.find_for_read(self.index, key_slot(key, len(key)), key, len(key)) != NULL

    def delete(self, bytes key not None):
        return self.keyspace.delete(self.index, key_slot(key, len(key)), key, len(key))

    def expire_at(self, bytes key not None):
        cdef entry_t* entry = self._find(key)
        return None if entry == NULL else entry_expire_at(entry)

    def set_expire_at(self, bytes key not None, int64_t at_ms):
        cdef entry_t* entry = self._find(key)
        if entry == NULL:
            raise KeyError(key)
        if self.keyspace.set_expire_at(self.index, entry, at_ms) < 0:
            raise _again(errors.OUT_OF_MEMORY)
        self.keyspace.string_changed(self.index, key, len(key))     # the value is what it was

    def rename(self, bytes source not None, bytes destination not None):
        self.keyspace._rename(self.index, source, destination)

    def copy(self, bytes source not None, bytes destination not None, int database):
        self.keyspace._check_database(database)
        if not self.keyspace._copy(self.index, source, database, destination):
            raise _again(errors.NO_SUCH_KEY)

    def move(self, bytes key not None, int database):
        self.keyspace._check_database(database)
        return self.keyspace._move(self.index, key, database)

    def memory_of(self, bytes key not None):
        cdef entry_t* entry = self._find(key)
        return None if entry == NULL else entry_memory(entry) + sizeof(uint64_t)     # and its word

    # --- Many keys

    def size(self):
        return self.keyspace.size(self.index)

    cdef bint _is_stale(self, const entry_t* entry) noexcept nogil:
        return entry.meta & EXPIRES and self.keyspace.may_expire and self.keyspace.now_ms > _expiry(entry)[0]

    def random_key(self):
        cdef entry_t* entry
        cdef bytes key
        for _ in range(RANDOM_TRIES):
            entry = self.keyspace._pick(self.index)
            if entry == NULL:
                return None
            key = _key_of(entry)
            if not self._is_stale(entry):
                return key
            self._find(key)         # deletes it
        return None

    def keys(self):
        cdef keyspace_position position
        cdef entry_t* entry
        cdef list found = []
        position.slot = 0
        position.index = 0
        while True:
            entry = self.keyspace.next(self.index, &position)
            if entry == NULL:
                return found
            if not self._is_stale(entry):
                found.append(_key_of(entry))

    def scan(self, uint64_t cursor, Py_ssize_t count):
        cdef directory_t* directory = self.keyspace._bases[self.index].directory
        cdef unsigned end = self.keyspace.end_slot
        cdef unsigned slot = cursor & (SLOTS - 1)
        cdef uint64_t tag = (cursor // SLOTS) << TAG_SHIFT
        cdef list found = [], stale = []
        cdef uint64_t next_cursor
        if slot < self.keyspace.first_slot:
            slot = self.keyspace.first_slot
            tag = 0
        next_cursor = end % SLOTS
        while directory != NULL and slot < end:
            if directory.tables[slot] != NULL and self._scan_slot(directory.tables[slot], &tag, count, found, stale):
                next_cursor = (tag >> TAG_SHIFT) * SLOTS + slot
                break
            tag = 0
            slot += 1
            if slot % SLOTS_PER_GROUP == 0:
                while slot < end and directory.groups[slot // SLOTS_PER_GROUP].keys == 0:
                    slot += SLOTS_PER_GROUP
        for key in stale:
            self._find(key)         # deletes it, now that nobody stands in the table
        return next_cursor, found

    cdef bint _scan_slot(self, const table_t* table, uint64_t* tag, Py_ssize_t count, list found, list stale) except -1:
        """Take the keys of a slot from `tag` on; True if `count` is reached first, and `tag` is where to go on."""
        cdef uint64_t* words = _table_words(table)
        cdef uint64_t first = tag[0]
        cdef uint32_t index = _home(first, table.homes)
        cdef entry_t* entry
        while index < table.capacity:
            if words[index] and (words[index] & TAG_MASK) >= first:
                if len(found) + len(stale) >= count and (words[index] & TAG_MASK) != tag[0]:
                    tag[0] = words[index] & TAG_MASK
                    return True
                tag[0] = words[index] & TAG_MASK
                entry = _entry(words[index])
                if self._is_stale(entry):
                    stale.append(_key_of(entry))
                else:
                    found.append((_key_of(entry), TYPE_NAMES[entry_type(entry)]))
            index += 1
        return False

    def flush(self, *, bint everywhere=False):
        self.keyspace.clear(-1 if everywhere else self.index)
