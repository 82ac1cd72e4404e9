"""Short ways of hashes."""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t

from mpkv.buffer cimport Buffer
from mpkv.resp.encoder cimport emit_array, emit_bulk, emit_integer, emit_map, emit_null
from mpkv.resp.integers cimport INTEGER_CHARS, read_integer as read_integer_text, write_integer
from mpkv.resp.parser cimport arg_t
from mpkv.types.allocator cimport settle
from mpkv.types.hash cimport hash_delete, hash_get, hash_len, hash_next, hash_put, hash_t
from mpkv.wire cimport request_t
from mpkv.workers.keyspace cimport HASH, Keyspace
from mpkv.workers.shortcuts.operands cimport (
    changed, create, emit_lone, find_native, promised, protocol_of, read_integer,
)
from mpkv.workers.shortcuts.table cimport enter


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


cdef int hincrby(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef hash_t* native
    cdef const char* value
    cdef size_t size
    cdef int64_t by, total = 0
    cdef char[INTEGER_CHARS] text
    if not read_integer(&words[2], &by) or not find_native(keyspace, request, words, HASH, False, <void**>&native):
        return 0
    if native != NULL and hash_get(native, words[1].data, words[1].size, &value, &size):
        if not read_integer_text(value, size, &total):
            return 0
    if (by > 0 and total > INT64_MAX - by) or (by < 0 and total < INT64_MIN - by):
        return 0
    total += by
    if native == NULL and create(keyspace, request, words, HASH, <void**>&native) < 0:
        return -1
    if hash_put(native, words[1].data, words[1].size, text, write_integer(text, total)) < 0:
        return -1
    changed(keyspace, request, words)
    return emit_integer(out, total) + 1


cdef int hdel(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef hash_t* native
    cdef int64_t deleted = 0
    cdef size_t i
    if not find_native(keyspace, request, words, HASH, False, <void**>&native):
        return 0
    if native != NULL:
        for i in range(1, request.argc):
            deleted += hash_delete(native, words[i].data, words[i].size)
    if deleted:
        changed(keyspace, request, words, deleted)
    return emit_integer(out, deleted) + 1


cdef int hget(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef hash_t* native
    cdef const char* value
    cdef size_t size
    if not find_native(keyspace, request, words, HASH, True, <void**>&native):
        return 0
    if native == NULL or not hash_get(native, words[1].data, words[1].size, &value, &size):
        return emit_null(out, protocol_of(request)) + 1
    return emit_lone(keyspace, out, value, size)


cdef int hmget(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef hash_t* native
    cdef const char* value
    cdef size_t i, size
    cdef int failed
    if not find_native(keyspace, request, words, HASH, True, <void**>&native):
        return 0
    if emit_array(out, request.argc - 1) < 0:
        return -1
    for i in range(1, request.argc):
        if native != NULL and hash_get(native, words[i].data, words[i].size, &value, &size):
            failed = emit_bulk(out, value, size)
        else:
            failed = emit_null(out, protocol_of(request))
        if failed:
            return -1
    return 1


cdef int hexists(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef hash_t* native
    cdef const char* value
    cdef size_t size
    if not find_native(keyspace, request, words, HASH, True, <void**>&native):
        return 0
    return emit_integer(
        out, native != NULL and hash_get(native, words[1].data, words[1].size, &value, &size)
    ) + 1


cdef int hgetall(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef hash_t* native
    cdef size_t position = 0, field_size, value_size
    cdef const char* field
    cdef const char* value
    if not find_native(keyspace, request, words, HASH, True, <void**>&native):
        return 0
    if native == NULL:
        return emit_map(out, 0, protocol_of(request)) + 1
    if emit_map(out, hash_len(native), protocol_of(request)) < 0:
        return -1
    while hash_next(native, &position, &field, &field_size, &value, &value_size):
        if emit_bulk(out, field, field_size) < 0 or emit_bulk(out, value, value_size) < 0:
            return -1
    return 1


cdef int hlen(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef hash_t* native
    if not find_native(keyspace, request, words, HASH, True, <void**>&native):
        return 0
    return emit_integer(out, hash_len(native) if native != NULL else 0) + 1


enter(b"hset", hset)
enter(b"hincrby", hincrby)
enter(b"hdel", hdel)
enter(b"hget", hget)
enter(b"hmget", hmget)
enter(b"hexists", hexists)
enter(b"hgetall", hgetall)
enter(b"hlen", hlen)
