"""Compiled ways from a request to its reply, for the commands that dominate real traffic.

A shortcut takes the plain case of its command and nothing else: no options, the right type, numbers in their usual
notation. Whatever differs – and every error – is left to the handler, which is the one authority on semantics: a
shortcut that answers 0 has changed nothing and its output is discarded. One that answers -1 has found no memory, and
has changed nothing either: steps that follow others are taken under a promise (`allocator`), replies to changes are
short enough for the room that every reply has. `Executor.use_shortcuts(False)` switches all of
them off, and a test compares both ways.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint16_t, uint64_t
from libc.stdlib cimport strtod
from libc.string cimport memcpy

from mpkv.buffer cimport Buffer
from mpkv.resp.encoder cimport emit_array, emit_bulk, emit_double, emit_integer, emit_map, emit_null, emit_status
from mpkv.resp.parser cimport arg_t
from mpkv.sharding cimport key_slot
from mpkv.types.allocator cimport promise, settle
from mpkv.types.hash cimport hash_get, hash_len, hash_next, hash_put, hash_t
from mpkv.types.list cimport (
    list_drop, list_len, list_next, list_packed_bytes, list_peek, list_position, list_push, list_seek, list_t,
)
from mpkv.types.set cimport set_add, set_contains, set_len, set_random, set_remove, set_t
from mpkv.types.zset cimport zset_len, zset_next, zset_position, zset_put, zset_remove, zset_score, zset_seek, zset_t
from mpkv.wire cimport FLAG_RESP3, request_t
from mpkv.workers.keyspace cimport (
    HASH, LIST, SET, STRING, ZSET, Keyspace, entry_native, entry_string, entry_t, entry_type,
)

cdef enum:
    LONGEST_NUMBER = 20             # text of a 64-bit integer
    LONGEST_SCORE = 40


cdef inline int protocol_of(const request_t* request) noexcept nogil:
    return 3 if request.flags & FLAG_RESP3 else 2


cdef bint read_integer(const arg_t* word, int64_t* value) noexcept nogil:
    """A canonical decimal integer; False leaves the word to the handler."""
    cdef const char* at = word.data
    cdef size_t size = word.size
    cdef uint64_t number = 0
    cdef bint negative = size > 0 and at[0] == c"-"
    cdef size_t i = 1 if negative else 0
    if size - i == 0 or size - i > 18 or (at[i] == c"0" and size > 1):
        return False
    while i < size:
        if at[i] < c"0" or at[i] > c"9":
            return False
        number = number * 10 + <uint64_t>(at[i] - c"0")
        i += 1
    value[0] = -<int64_t>number if negative else <int64_t>number
    return True


cdef bint read_score(const arg_t* word, double* value) noexcept nogil:
    """A number in plain decimal notation; False leaves the word to the handler."""
    cdef char[LONGEST_SCORE] text
    cdef char* end
    cdef size_t i
    cdef char byte
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


cdef entry_t* find(Keyspace keyspace, const request_t* request, const arg_t* words, bint read) except? NULL:
    if read:
        return keyspace.find_for_read(request.database, request.slot, words[0].data, words[0].size)
    return keyspace.find(request.database, request.slot, words[0].data, words[0].size)


cdef int create(Keyspace keyspace, const request_t* request, const arg_t* words, int kind, void** native) except -2:
    """The aggregate at the key, created if absent: 1; 0 for a wrong type, -1 without memory."""
    cdef entry_t* entry = keyspace.find_or_create(request.database, request.slot, words[0].data, words[0].size, kind)
    if entry == NULL:
        return -1
    native[0] = entry_native(entry)
    return entry_type(entry) == kind


cdef bint promised(const request_t* request, const arg_t* words) noexcept nogil:
    """Whether there is the memory for steps that bring these words in."""
    cdef size_t size = 0
    cdef size_t i
    for i in range(request.argc):
        size += words[i].size
    return promise(size, request.argc)


cdef int changed(Keyspace keyspace, const request_t* request, const arg_t* words, unsigned times=1) except -2:
    return keyspace._changed(request.database, request.slot, words[0].data, words[0].size, times)


# -- strings -----------------------------------------------------------------------------------------------------------

cdef int emit_string(Buffer* out, const entry_t* entry) noexcept:
    cdef char[24] scratch
    cdef const char* data
    cdef size_t size
    entry_string(entry, scratch, &data, &size)
    return emit_bulk(out, data, size)


cdef inline int emit_lone(Keyspace keyspace, Buffer* out, const char* data, size_t size) noexcept:
    """A reply of one word. A large one is left to whoever sends it: it is to be copied once."""
    if size >= keyspace.large:
        keyspace.left.data, keyspace.left.size = data, size
        return LEFT
    return emit_bulk(out, data, size) + 1


cdef int get(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef entry_t* entry = find(keyspace, request, words, True)
    cdef char[24] scratch
    cdef const char* data
    cdef size_t size
    if entry == NULL:
        return emit_null(out, protocol_of(request)) + 1
    if entry_type(entry) != STRING:
        return 0
    entry_string(entry, scratch, &data, &size)
    return emit_lone(keyspace, out, data, size)


cdef int set_(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    if request.argc != 2:
        return 0
    if keyspace.put_string(
        request.database, request.slot, words[0].data, words[0].size, words[1].data, words[1].size, False
    ) < 0:
        return -1
    keyspace.string_changed(request.database, words[0].data, words[0].size)
    return emit_status(out, b"OK", 2) + 1


cdef int add(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out, int64_t by) except -2:
    cdef entry_t* entry = find(keyspace, request, words, False)
    cdef int64_t value = 0
    if entry != NULL and (entry_type(entry) != STRING or not keyspace.get_integer(entry, &value)):
        return 0
    if (by > 0 and value > INT64_MAX - by) or (by < 0 and value < INT64_MIN - by):
        return 0
    value += by
    if keyspace.put_integer(request.database, request.slot, words[0].data, words[0].size, value, True) < 0:
        return -1
    keyspace.string_changed(request.database, words[0].data, words[0].size)
    return emit_integer(out, value) + 1


cdef int incr(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return add(keyspace, request, words, out, 1)


cdef int decr(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return add(keyspace, request, words, out, -1)


cdef int incrby(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef int64_t by
    return add(keyspace, request, words, out, by) if read_integer(&words[1], &by) else 0


# Of a command with many keys the next ones are brought in together: waiting for memory once, not once a key
cdef enum:
    AHEAD = 16


cdef void _fetch_keys(
    Keyspace keyspace, const request_t* request, const arg_t* words, size_t first, size_t step, uint16_t* slots
) noexcept nogil:
    """Find the slots of the next keys, at most AHEAD, and have their places, tables and entries brought in."""
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


cdef int mget(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef uint16_t[AHEAD] slots
    cdef entry_t* entry
    cdef size_t i
    if emit_array(out, request.argc) < 0:
        return -1
    for i in range(request.argc):
        if i % AHEAD == 0:
            _fetch_keys(keyspace, request, words, i, 1, slots)
        entry = keyspace.find_for_read(request.database, slots[i % AHEAD], words[i].data, words[i].size)
        if entry == NULL or entry_type(entry) != STRING:
            if emit_null(out, protocol_of(request)) < 0:
                return -1
        elif emit_string(out, entry) < 0:
            return -1
    return 1


cdef int mset(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef uint16_t[AHEAD] slots
    cdef size_t i
    if request.argc & 1:
        return 0
    if request.argc > 2 and not promised(request, words):
        return -1
    for i in range(0, request.argc, 2):
        if i // 2 % AHEAD == 0:
            _fetch_keys(keyspace, request, words, i, 2, slots)
        if keyspace.put_string(
            request.database, slots[i // 2 % AHEAD], words[i].data, words[i].size, words[i + 1].data,
            words[i + 1].size, False,
        ) < 0:
            return -1
        keyspace.string_changed(request.database, words[i].data, words[i].size)
    settle()
    return emit_status(out, b"OK", 2) + 1


# -- keys --------------------------------------------------------------------------------------------------------------

cdef int delete(
    Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out, bint lazily
) except -2:
    cdef uint16_t[AHEAD] slots
    cdef int64_t deleted = 0
    cdef size_t i
    for i in range(request.argc):
        if i % AHEAD == 0:
            _fetch_keys(keyspace, request, words, i, 1, slots)
        deleted += keyspace.delete(request.database, slots[i % AHEAD], words[i].data, words[i].size, lazily)
    return emit_integer(out, deleted) + 1


cdef int del_(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return delete(keyspace, request, words, out, keyspace.lazy_user_del)


cdef int unlink(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return delete(keyspace, request, words, out, True)


cdef int exists(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef uint16_t[AHEAD] slots
    cdef int64_t found = 0
    cdef size_t i
    for i in range(request.argc):
        if i % AHEAD == 0:
            _fetch_keys(keyspace, request, words, i, 1, slots)
        if keyspace.find(request.database, slots[i % AHEAD], words[i].data, words[i].size) != NULL:
            found += 1
    keyspace.hits += found
    keyspace.misses += request.argc - found
    return emit_integer(out, found) + 1


cdef int expire(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef int64_t seconds
    cdef entry_t* entry
    # its effect is an absolute time, which the handler knows to say
    if (
        request.argc != 2 or keyspace.effects_wanted or not read_integer(&words[1], &seconds)
        or not 0 < seconds < 1 << 40
    ):
        return 0
    entry = find(keyspace, request, words, False)
    if entry == NULL:
        return emit_integer(out, 0) + 1
    if keyspace.set_expire_at(request.database, entry, keyspace.now_ms + seconds * 1000) < 0:
        return -1
    changed(keyspace, request, words)
    return emit_integer(out, 1) + 1


# -- lists -------------------------------------------------------------------------------------------------------------

cdef int push(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out, bint at_head) except -2:
    cdef list_t* native
    cdef size_t i
    cdef size_t more = 0
    cdef int result = create(keyspace, request, words, LIST, <void**>&native)
    if result <= 0:
        return result
    if request.argc > 2:
        if not promised(request, words):
            return -1
        for i in range(1, request.argc):
            more += list_packed_bytes(words[i].size)
    for i in range(1, request.argc):
        if more:
            more -= list_packed_bytes(words[i].size)
        if list_push(native, at_head, words[i].data, words[i].size, more) < 0:
            return -1
    settle()
    if emit_integer(out, list_len(native)) < 0:
        return -1
    changed(keyspace, request, words, request.argc - 1)
    return 1


cdef int lpush(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return push(keyspace, request, words, out, True)


cdef int rpush(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return push(keyspace, request, words, out, False)


cdef int pop(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out, bint at_head) except -2:
    cdef entry_t* entry
    cdef list_t* native
    cdef const char* element
    cdef size_t size
    if request.argc != 1:
        return 0
    entry = find(keyspace, request, words, False)
    if entry == NULL:
        return emit_null(out, protocol_of(request)) + 1
    if entry_type(entry) != LIST:
        return 0
    native = <list_t*>entry_native(entry)
    list_peek(native, at_head, &element, &size)
    if emit_bulk(out, element, size) < 0:
        return -1
    list_drop(native, at_head)
    changed(keyspace, request, words)
    return 1


cdef int lpop(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return pop(keyspace, request, words, out, True)


cdef int rpop(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return pop(keyspace, request, words, out, False)


cdef bint clamp_range(int64_t* start, int64_t* stop, int64_t length) noexcept nogil:
    """Negative indexes count from the end; False when nothing is left."""
    if start[0] < 0:
        start[0] = max(start[0] + length, 0)
    if stop[0] < 0:
        stop[0] += length
    if stop[0] >= length:
        stop[0] = length - 1
    return start[0] <= stop[0] and start[0] < length


cdef int lrange(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef int64_t start, stop
    cdef entry_t* entry
    cdef list_t* native
    cdef list_position position
    cdef const char* element
    cdef size_t size
    if not read_integer(&words[1], &start) or not read_integer(&words[2], &stop):
        return 0
    entry = find(keyspace, request, words, True)
    if entry != NULL and entry_type(entry) != LIST:
        return 0
    native = <list_t*>entry_native(entry) if entry != NULL else NULL
    if native == NULL or not clamp_range(&start, &stop, list_len(native)):
        return emit_array(out, 0) + 1
    if emit_array(out, stop - start + 1) < 0:
        return -1
    list_seek(native, start, &position)
    while start <= stop and list_next(native, &position, &element, &size):
        if emit_bulk(out, element, size) < 0:
            return -1
        start += 1
    return 1


# -- hashes ------------------------------------------------------------------------------------------------------------

cdef int hset(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef hash_t* native
    cdef int64_t added = 0
    cdef int result
    cdef size_t i
    if not request.argc & 1:
        return 0
    result = create(keyspace, request, words, HASH, <void**>&native)
    if result <= 0:
        return result
    if request.argc > 3 and not promised(request, words):
        return -1
    for i in range(1, request.argc, 2):
        result = hash_put(native, words[i].data, words[i].size, words[i + 1].data, words[i + 1].size)
        if result < 0:
            return -1
        added += result
    settle()
    changed(keyspace, request, words, request.argc // 2)
    return emit_integer(out, added) + 1


cdef int hget(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef entry_t* entry = find(keyspace, request, words, True)
    cdef const char* value
    cdef size_t size
    if entry != NULL and entry_type(entry) != HASH:
        return 0
    if entry == NULL or not hash_get(<hash_t*>entry_native(entry), words[1].data, words[1].size, &value, &size):
        return emit_null(out, protocol_of(request)) + 1
    return emit_lone(keyspace, out, value, size)


cdef int hgetall(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef entry_t* entry = find(keyspace, request, words, True)
    cdef hash_t* native
    cdef size_t position = 0, field_size, value_size
    cdef const char* field
    cdef const char* value
    if entry == NULL:
        return emit_map(out, 0, protocol_of(request)) + 1
    if entry_type(entry) != HASH:
        return 0
    native = <hash_t*>entry_native(entry)
    if emit_map(out, hash_len(native), protocol_of(request)) < 0:
        return -1
    while hash_next(native, &position, &field, &field_size, &value, &value_size):
        if emit_bulk(out, field, field_size) < 0 or emit_bulk(out, value, value_size) < 0:
            return -1
    return 1


# -- sets --------------------------------------------------------------------------------------------------------------

cdef int sadd(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef set_t* native
    cdef int64_t added = 0
    cdef size_t i
    cdef int result = create(keyspace, request, words, SET, <void**>&native)
    if result <= 0:
        return result
    if request.argc > 2 and not promised(request, words):
        return -1
    for i in range(1, request.argc):
        result = set_add(native, words[i].data, words[i].size)
        if result < 0:
            return -1
        added += result
    settle()
    if added:
        changed(keyspace, request, words, added)
    return emit_integer(out, added) + 1


cdef int sismember(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef entry_t* entry = find(keyspace, request, words, True)
    if entry != NULL and entry_type(entry) != SET:
        return 0
    return emit_integer(
        out, entry != NULL and set_contains(<set_t*>entry_native(entry), words[1].data, words[1].size)
    ) + 1


cdef int spop(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef entry_t* entry
    cdef set_t* native
    cdef const char* member
    cdef size_t size, begin
    # its effect names the member, which the handler knows to say
    if request.argc != 1 or keyspace.effects_wanted:
        return 0
    entry = find(keyspace, request, words, False)
    if entry == NULL:
        return emit_null(out, protocol_of(request)) + 1
    if entry_type(entry) != SET:
        return 0
    native = <set_t*>entry_native(entry)
    set_random(native, keyspace._random(), &member, &size)
    begin = out.size
    if emit_bulk(out, member, size) < 0:
        return -1
    # the reply holds the bytes: those in the set may move while it shrinks
    set_remove(native, out.data + out.size - size - 2, size)
    changed(keyspace, request, words)
    return 1


# -- sorted sets -------------------------------------------------------------------------------------------------------

cdef int zadd(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef double score, old
    cdef zset_t* native
    cdef int result
    if request.argc != 3 or not read_score(&words[1], &score):
        return 0
    result = create(keyspace, request, words, ZSET, <void**>&native)
    if result <= 0:
        return result
    if zset_score(native, words[2].data, words[2].size, &old) and old == score:
        return emit_integer(out, 0) + 1
    result = zset_put(native, words[2].data, words[2].size, score)
    if result < 0:
        return -1
    changed(keyspace, request, words)
    return emit_integer(out, result) + 1


cdef int zscore(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef entry_t* entry = find(keyspace, request, words, True)
    cdef double score
    if entry != NULL and entry_type(entry) != ZSET:
        return 0
    if entry == NULL or not zset_score(<zset_t*>entry_native(entry), words[1].data, words[1].size, &score):
        return emit_null(out, protocol_of(request)) + 1
    return emit_double(out, score, protocol_of(request)) + 1


cdef int zrange(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef int64_t start, stop
    cdef entry_t* entry
    cdef zset_t* native
    cdef zset_position position
    cdef const char* member
    cdef size_t size
    cdef double score
    if request.argc != 3 or not read_integer(&words[1], &start) or not read_integer(&words[2], &stop):
        return 0
    entry = find(keyspace, request, words, True)
    if entry != NULL and entry_type(entry) != ZSET:
        return 0
    native = <zset_t*>entry_native(entry) if entry != NULL else NULL
    if native == NULL or not clamp_range(&start, &stop, zset_len(native)):
        return emit_array(out, 0) + 1
    if emit_array(out, stop - start + 1) < 0:
        return -1
    zset_seek(native, start, False, &position)
    while start <= stop:
        zset_next(native, False, &position, &member, &size, &score)
        if emit_bulk(out, member, size) < 0:
            return -1
        start += 1
    return 1


cdef int zpop(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out, bint highest) except -2:
    cdef entry_t* entry
    cdef zset_t* native
    cdef zset_position position
    cdef const char* member
    cdef size_t size, begin
    cdef double score
    if request.argc != 1:
        return 0
    entry = find(keyspace, request, words, False)
    if entry == NULL:
        return emit_array(out, 0) + 1
    if entry_type(entry) != ZSET:
        return 0
    native = <zset_t*>entry_native(entry)
    zset_seek(native, 0, highest, &position)
    zset_next(native, highest, &position, &member, &size, &score)
    if emit_array(out, 2) < 0 or emit_bulk(out, member, size) < 0:
        return -1
    begin = out.size - size - 2
    if emit_double(out, score, protocol_of(request)) < 0:
        return -1
    zset_remove(native, out.data + begin, size)
    changed(keyspace, request, words)
    return 1


cdef int zpopmin(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return zpop(keyspace, request, words, out, False)


cdef int zpopmax(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return zpop(keyspace, request, words, out, True)


# -- lengths -----------------------------------------------------------------------------------------------------------

cdef int length(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out, int kind) except -2:
    cdef entry_t* entry = find(keyspace, request, words, True)
    cdef void* native
    if entry == NULL:
        return emit_integer(out, 0) + 1
    if entry_type(entry) != kind:
        return 0
    native = entry_native(entry)
    if kind == LIST:
        return emit_integer(out, list_len(<list_t*>native)) + 1
    if kind == HASH:
        return emit_integer(out, hash_len(<hash_t*>native)) + 1
    if kind == SET:
        return emit_integer(out, set_len(<set_t*>native)) + 1
    return emit_integer(out, zset_len(<zset_t*>native)) + 1


cdef int llen(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return length(keyspace, request, words, out, LIST)


cdef int hlen(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return length(keyspace, request, words, out, HASH)


cdef int scard(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return length(keyspace, request, words, out, SET)


cdef int zcard(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return length(keyspace, request, words, out, ZSET)


cdef struct row_t:
    const char* name
    shortcut_t shortcut

cdef row_t[31] TABLE = [
    row_t(b"get", get), row_t(b"set", set_), row_t(b"incr", incr), row_t(b"decr", decr), row_t(b"incrby", incrby),
    row_t(b"mget", mget), row_t(b"mset", mset), row_t(b"del", del_), row_t(b"unlink", unlink), row_t(b"exists", exists),
    row_t(b"expire", expire), row_t(b"lpush", lpush), row_t(b"rpush", rpush), row_t(b"lpop", lpop),
    row_t(b"rpop", rpop),
    row_t(b"lrange", lrange), row_t(b"llen", llen), row_t(b"hset", hset), row_t(b"hget", hget),
    row_t(b"hgetall", hgetall),
    row_t(b"hlen", hlen), row_t(b"sadd", sadd), row_t(b"sismember", sismember), row_t(b"spop", spop),
    row_t(b"scard", scard),
    row_t(b"zadd", zadd), row_t(b"zscore", zscore), row_t(b"zrange", zrange), row_t(b"zpopmin", zpopmin),
    row_t(b"zpopmax", zpopmax),
    row_t(b"zcard", zcard),
]


cdef shortcut_t find_shortcut(str name):
    """The shortcut of a command; NULL if it has none."""
    cdef int i
    wanted = name.encode()
    for i in range(31):
        if TABLE[i].name == wanted:
            return TABLE[i].shortcut
    return NULL


def names() -> list:
    """The commands that have a shortcut."""
    cdef int i
    return [TABLE[i].name.decode() for i in range(31)]
