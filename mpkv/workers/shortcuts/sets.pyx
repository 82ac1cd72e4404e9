"""Short ways of sets."""

from libc.stdint cimport int64_t

from mpkv.buffer cimport Buffer
from mpkv.resp.encoder cimport emit_array, emit_bulk, emit_integer, emit_null
from mpkv.resp.parser cimport arg_t
from mpkv.types.allocator cimport settle
from mpkv.types.set cimport set_add, set_contains, set_len, set_random, set_remove, set_t
from mpkv.wire cimport request_t
from mpkv.workers.keyspace cimport SET, Keyspace
from mpkv.workers.shortcuts.operands cimport changed, create, find_native, promised, protocol_of
from mpkv.workers.shortcuts.table cimport enter


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


cdef int srem(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef set_t* native
    cdef int64_t removed = 0
    cdef size_t i
    if not find_native(keyspace, request, words, SET, False, <void**>&native):
        return 0
    if native != NULL:
        for i in range(1, request.argc):
            removed += set_remove(native, words[i].data, words[i].size)
    if removed:
        changed(keyspace, request, words, removed)
    return emit_integer(out, removed) + 1


cdef int sismember(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef set_t* native
    if not find_native(keyspace, request, words, SET, True, <void**>&native):
        return 0
    return emit_integer(out, native != NULL and set_contains(native, words[1].data, words[1].size)) + 1


cdef int smismember(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef set_t* native
    cdef size_t i
    if not find_native(keyspace, request, words, SET, True, <void**>&native):
        return 0
    if emit_array(out, request.argc - 1) < 0:
        return -1
    for i in range(1, request.argc):
        if emit_integer(out, native != NULL and set_contains(native, words[i].data, words[i].size)) < 0:
            return -1
    return 1


cdef int spop(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef set_t* native
    cdef const char* member
    cdef size_t size
    # its effect names the member, which the handler knows to say
    if request.argc != 1 or keyspace.effects_wanted:
        return 0
    if not find_native(keyspace, request, words, SET, False, <void**>&native):
        return 0
    if native == NULL:
        return emit_null(out, protocol_of(request)) + 1
    set_random(native, keyspace._random(), &member, &size)
    if emit_bulk(out, member, size) < 0:
        return -1
    # the reply holds the bytes: those in the set may move while it shrinks
    set_remove(native, out.data + out.size - size - 2, size)
    changed(keyspace, request, words)
    return 1


cdef int scard(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef set_t* native
    if not find_native(keyspace, request, words, SET, True, <void**>&native):
        return 0
    return emit_integer(out, set_len(native) if native != NULL else 0) + 1


enter(b"sadd", sadd)
enter(b"srem", srem)
enter(b"sismember", sismember)
enter(b"smismember", smismember)
enter(b"spop", spop)
enter(b"scard", scard)
