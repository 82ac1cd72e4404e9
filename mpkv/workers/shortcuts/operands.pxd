# What shortcuts of all families work with: words read as numbers and options, values found or created.

from libc.stdint cimport int64_t, uint16_t
from libc.stdlib cimport strtod

from mpkv.buffer cimport Buffer
from mpkv.resp.encoder cimport emit_bulk, emit_integer
from mpkv.resp.integers cimport read_integer as read_integer_text
from mpkv.resp.parser cimport arg_t
from mpkv.sharding cimport key_slot
from mpkv.types.allocator cimport promise
from mpkv.wire cimport FLAG_RESP3, request_t
from mpkv.workers.keyspace cimport Keyspace, entry_native, entry_t, entry_type
from mpkv.workers.shortcuts.table cimport LEFT

cdef enum:
    LONGEST_SCORE = 40
    EXACT_DIGITS = 15               # integers of so many digits are doubles
    AHEAD = 16                      # see fetch_keys


# -- words

cdef inline int protocol_of(const request_t* request) noexcept nogil:
    return 3 if request.flags & FLAG_RESP3 else 2


cdef inline bint read_integer(const arg_t* word, int64_t* value) noexcept nogil:
    """A canonical decimal integer; False leaves the word to the handler."""
    return read_integer_text(word.data, word.size, value)


cdef inline bint read_score(const arg_t* word, double* value) noexcept nogil:
    """A number in plain decimal notation; False leaves the word to the handler."""
    cdef char[LONGEST_SCORE] text
    cdef char* end
    cdef size_t i
    cdef char byte
    cdef int64_t integer
    if word.size <= EXACT_DIGITS and read_integer_text(word.data, word.size, &integer):
        value[0] = <double>integer
        return True
    if word.size == 0 or word.size >= LONGEST_SCORE:
        return False
    for i in range(word.size):
        byte = word.data[i]
        if not (c"0" <= byte <= c"9" or byte == c"." or byte == c"-"):
            return False
        text[i] = byte
    text[word.size] = 0
    value[0] = strtod(text, &end)
    return end == text + word.size


cdef inline bint is_word(const arg_t* word, const char* lower_case, size_t size) noexcept nogil:
    """Whether a word is this keyword of letters, in whatever case."""
    cdef size_t i
    if word.size != size:
        return False
    for i in range(size):
        if word.data[i] | 0x20 != lower_case[i]:
            return False
    return True


cdef inline bint read_ttl(const arg_t* word, int64_t unit_ms, int64_t* ms) noexcept nogil:
    """A time to live, in milliseconds; False leaves the word to the handler: errors, and what may not fit 64 bits."""
    cdef int64_t number
    if not read_integer(word, &number) or not 0 < number < <int64_t>1 << 50:
        return False
    ms[0] = number * unit_ms
    return True


cdef inline bint read_expiry(const arg_t* words, int64_t* ms) noexcept nogil:
    """``EX seconds`` or ``PX milliseconds``, two words; False leaves them to the handler."""
    if is_word(&words[0], b"ex", 2):
        return read_ttl(&words[1], 1000, ms)
    return is_word(&words[0], b"px", 2) and read_ttl(&words[1], 1, ms)


# -- values

cdef inline entry_t* find(
    Keyspace keyspace, const request_t* request, const arg_t* words, bint read
) except? NULL:
    if read:
        return keyspace.find_for_read(request.database, request.slot, words[0].data, words[0].size)
    return keyspace.find(request.database, request.slot, words[0].data, words[0].size)


cdef inline int find_native(
    Keyspace keyspace, const request_t* request, const arg_t* words, int kind, bint read, void** native
) except -2:
    """1 and the aggregate at the key, NULL if there is none; 0 for a wrong type."""
    cdef entry_t* entry = find(keyspace, request, words, read)
    if entry == NULL:
        native[0] = NULL
        return 1
    native[0] = entry_native(entry)
    return entry_type(entry) == kind


cdef inline int create(
    Keyspace keyspace, const request_t* request, const arg_t* words, int kind, void** native
) except -2:
    """The aggregate at the key, created if absent: 1; 0 for a wrong type, -1 without memory."""
    cdef entry_t* entry = keyspace.find_or_create(request.database, request.slot, words[0].data, words[0].size, kind)
    if entry == NULL:
        return -1
    native[0] = entry_native(entry)
    return entry_type(entry) == kind


cdef inline bint promised(const request_t* request, const arg_t* words) noexcept nogil:
    """Whether there is the memory for steps that bring these words in."""
    cdef size_t size = 0
    cdef size_t i
    for i in range(request.argc):
        size += words[i].size
    return promise(size, request.argc)


cdef inline int changed(Keyspace keyspace, const request_t* request, const arg_t* words, unsigned times=1) except -2:
    return keyspace._changed(request.database, request.slot, words[0].data, words[0].size, times)


cdef inline int emit_lone(Keyspace keyspace, Buffer* out, const char* data, size_t size) noexcept:
    """A reply of one word. A large one is left to whoever sends it: it is to be copied once."""
    if size >= keyspace.large:
        keyspace.left.data, keyspace.left.size = data, size
        return LEFT
    return emit_bulk(out, data, size) + 1


cdef inline bint clamp_range(int64_t* start, int64_t* stop, int64_t length) noexcept nogil:
    """Negative indexes count from the end; False when nothing is left."""
    if start[0] < 0:
        start[0] = max(start[0] + length, 0)
    if stop[0] < 0:
        stop[0] += length
    if stop[0] >= length:
        stop[0] = length - 1
    return start[0] <= stop[0] and start[0] < length


cdef inline void fetch_keys(
    Keyspace keyspace, const request_t* request, const arg_t* words, size_t first, size_t step, uint16_t* slots
) noexcept nogil:
    """Find the slots of the next keys, at most AHEAD, and have their places, tables and entries brought in.

    Of a command with many keys the next ones are brought in together: waiting for memory once, not once a key.
    """
    cdef size_t count = min(<size_t>AHEAD, (request.argc - first + step - 1) // step)
    cdef const arg_t* key
    cdef size_t i
    for i in range(count):
        key = &words[first + i * step]
        slots[i] = key_slot(key.data, key.size)
        keyspace.fetch_place(request.database, slots[i])
    for i in range(count):
        keyspace.fetch_table(request.database, slots[i])
    for i in range(count):
        key = &words[first + i * step]
        keyspace.fetch_entry(request.database, slots[i], key.data, key.size)
