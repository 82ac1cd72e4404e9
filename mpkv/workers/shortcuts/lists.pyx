"""Short ways of lists."""

from libc.stdint cimport int64_t

from mpkv.buffer cimport Buffer
from mpkv.resp.encoder cimport emit_array, emit_bulk, emit_integer, emit_null, emit_ok
from mpkv.resp.parser cimport arg_t
from mpkv.types.allocator cimport settle
from mpkv.types.list cimport (
    list_drop, list_len, list_next, list_packed_bytes, list_peek, list_position, list_push, list_seek, list_t,
)
from mpkv.wire cimport request_t
from mpkv.workers.keyspace cimport LIST, Keyspace
from mpkv.workers.shortcuts.operands cimport (
    changed, clamp_range, create, emit_lone, find_native, promised, protocol_of, read_integer,
)
from mpkv.workers.shortcuts.table cimport enter

cdef enum:
    DROPPED_MOST = 100          # elements that a trim drops one by one


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
    cdef list_t* native
    cdef const char* element
    cdef size_t size
    if request.argc != 1:
        return 0
    if not find_native(keyspace, request, words, LIST, False, <void**>&native):
        return 0
    if native == NULL:
        return emit_null(out, protocol_of(request)) + 1
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


cdef int lrange(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef int64_t start, stop
    cdef list_t* native
    cdef list_position position
    cdef const char* element
    cdef size_t size
    if not read_integer(&words[1], &start) or not read_integer(&words[2], &stop):
        return 0
    if not find_native(keyspace, request, words, LIST, True, <void**>&native):
        return 0
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


cdef int lindex(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef int64_t index
    cdef list_t* native
    cdef list_position position
    cdef const char* element
    cdef size_t size
    if not read_integer(&words[1], &index) or not find_native(keyspace, request, words, LIST, True, <void**>&native):
        return 0
    if native != NULL and index < 0:
        index += list_len(native)
    if native == NULL or index < 0 or <size_t>index >= list_len(native):
        return emit_null(out, protocol_of(request)) + 1
    list_seek(native, index, &position)
    return emit_lone(keyspace, out, element, size) if list_next(native, &position, &element, &size) else 0


cdef int ltrim(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef int64_t start, stop, length
    cdef list_t* native
    cdef int64_t i
    if not read_integer(&words[1], &start) or not read_integer(&words[2], &stop):
        return 0
    if not find_native(keyspace, request, words, LIST, False, <void**>&native):
        return 0
    if native == NULL:
        return emit_ok(out) + 1
    length = list_len(native)
    # of many the handler drops whole blocks
    if not clamp_range(&start, &stop, length) or length - (stop - start + 1) > DROPPED_MOST:
        return 0
    for i in range(start):
        list_drop(native, True)
    for i in range(length - 1 - stop):
        list_drop(native, False)
    changed(keyspace, request, words, <unsigned>(length - (stop - start + 1)))
    return emit_ok(out) + 1


cdef int llen(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef list_t* native
    if not find_native(keyspace, request, words, LIST, True, <void**>&native):
        return 0
    return emit_integer(out, list_len(native) if native != NULL else 0) + 1


enter(b"lpush", lpush)
enter(b"rpush", rpush)
enter(b"lpop", lpop)
enter(b"rpop", rpop)
enter(b"lrange", lrange)
enter(b"llen", llen)
enter(b"lindex", lindex)
enter(b"ltrim", ltrim)
