"""Short ways of commands on keys, whatever is at them."""

from libc.stdint cimport int64_t, uint16_t

from mpkv.buffer cimport Buffer
from mpkv.resp.encoder cimport emit_integer
from mpkv.resp.parser cimport arg_t
from mpkv.wire cimport request_t
from mpkv.workers.keyspace cimport Keyspace, entry_expire_at, entry_t
from mpkv.workers.shortcuts.operands cimport AHEAD, changed, fetch_keys, find, read_ttl
from mpkv.workers.shortcuts.table cimport enter


cdef int delete(
    Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out, bint lazily
) except -2:
    cdef uint16_t[AHEAD] slots
    cdef int64_t deleted = 0
    cdef size_t i
    for i in range(request.argc):
        if i % AHEAD == 0:
            fetch_keys(keyspace, request, words, i, 1, slots)
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
            fetch_keys(keyspace, request, words, i, 1, slots)
        if keyspace.find(request.database, slots[i % AHEAD], words[i].data, words[i].size) != NULL:
            found += 1
    keyspace.hits += found
    keyspace.misses += request.argc - found
    return emit_integer(out, found) + 1


cdef int expire_after(
    Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out, int64_t unit_ms
) except -2:
    cdef int64_t ms
    cdef entry_t* entry
    # its effect is an absolute time, which the handler knows to say
    if request.argc != 2 or keyspace.effects_wanted or not read_ttl(&words[1], unit_ms, &ms):
        return 0
    entry = find(keyspace, request, words, False)
    if entry == NULL:
        return emit_integer(out, 0) + 1
    if keyspace.set_expire_at(request.database, entry, keyspace.now_ms + ms) < 0:
        return -1
    changed(keyspace, request, words)
    return emit_integer(out, 1) + 1


cdef int expire(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return expire_after(keyspace, request, words, out, 1000)


cdef int pexpire(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return expire_after(keyspace, request, words, out, 1)


cdef int persist(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef entry_t* entry = find(keyspace, request, words, False)
    if entry == NULL or entry_expire_at(entry) < 0:
        return emit_integer(out, 0) + 1
    if keyspace.set_expire_at(request.database, entry, -1) < 0:
        return -1
    changed(keyspace, request, words)
    return emit_integer(out, 1) + 1


cdef int time_left(
    Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out, int64_t unit_ms
) except -2:
    cdef entry_t* entry = find(keyspace, request, words, False)      # asking is no use of it: its clock stays
    cdef int64_t at_ms
    keyspace.hits += entry != NULL
    keyspace.misses += entry == NULL
    if entry == NULL:
        return emit_integer(out, -2) + 1
    at_ms = entry_expire_at(entry)
    if at_ms < 0:
        return emit_integer(out, -1) + 1
    return emit_integer(out, (max(at_ms - keyspace.now_ms, 0) + unit_ms // 2) // unit_ms) + 1


cdef int ttl(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return time_left(keyspace, request, words, out, 1000)


cdef int pttl(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return time_left(keyspace, request, words, out, 1)


enter(b"del", del_)
enter(b"unlink", unlink)
enter(b"exists", exists)
enter(b"expire", expire)
enter(b"pexpire", pexpire)
enter(b"ttl", ttl)
enter(b"pttl", pttl)
enter(b"persist", persist)
