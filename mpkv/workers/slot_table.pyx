"""The table of one slot's keys.

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
"""

from libc.string cimport memmove

from mpkv.types.allocator cimport allocate_zeroed, reallocate, release

cdef enum:
    DENSE_STEP = 2              # words that a dense table grows by: one malloc size class


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
    cdef uint64_t* words = table_words(old)
    cdef uint64_t homes = 1 if old.count < DENSE_MAX else <uint64_t>old.count + old.count - old.count // 8
    cdef uint64_t end = 0
    cdef uint32_t index, home
    if homes >> 31:
        return -1
    for index in range(old.capacity):           # how far will it reach?
        if words[index]:
            home = word_home(words[index], <uint32_t>homes)
            end = (home if home > end else end) + 1
    fresh = _new_table(<uint32_t>homes, _whole_chunk((homes if homes > end else end) + DENSE_STEP))
    if fresh == NULL:
        return -1
    fresh.count = old.count
    fresh.volatiles = old.volatiles
    end = 0
    for index in range(old.capacity):
        if words[index]:
            home = word_home(words[index], <uint32_t>homes)
            end = home if home > end else end
            table_words(fresh)[end] = words[index]
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
        table_words(table)[old_capacity] = 0
        old_capacity += 1
    table.capacity = capacity
    place[0] = table
    return 0


cdef int table_insert(table_t** place, uint64_t word, bint sparing) noexcept nogil:
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
    words = table_words(table)
    index = word_home(word, table.homes)
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
        words = table_words(table)
    memmove(words + index + 1, words + index, (gap - index) * 8)
    words[index] = word
    table.count += 1
    return 0


cdef void table_remove(table_t** place, uint64_t* word, bint sparing) noexcept nogil:
    """Take one word out; the table may move, shrink or go."""
    cdef table_t* table = place[0]
    cdef uint64_t* words = table_words(table)
    cdef uint32_t index = <uint32_t>(word - words)
    cdef uint32_t end = index + 1
    while end < table.capacity and words[end] and word_home(words[end], table.homes) < end:
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


cdef const char* table_check(const table_t* table) noexcept nogil:
    """NULL, or which rule is broken."""
    cdef uint64_t* words = table_words(table)
    cdef uint64_t last_tag = 0
    cdef uint32_t index, home, last_gap = 0
    cdef uint32_t count = 0, volatiles = 0
    for index in range(table.capacity):
        if words[index] == 0:
            last_gap = index + 1
            continue
        home = word_home(words[index], table.homes)
        if (words[index] & TAG_MASK) < last_tag:
            return "words are not in order of their tags"
        if home > index:
            return "a word stands before its home"
        if home < last_gap:
            return "there is a gap between a word and its home"
        last_tag = words[index] & TAG_MASK
        count += 1
        volatiles += (words[index] & VOLATILE) != 0
        if ((words[index] & VOLATILE) != 0) != ((word_entry(words[index]).meta & EXPIRES) != 0):
            return "a word and its entry disagree about the expiry"
    if count == 0 or count != table.count:
        return "a table's count of keys is wrong"
    if volatiles != table.volatiles:
        return "a table's count of volatile keys is wrong"
    return NULL
