"""Short ways of strings."""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint16_t

from mpkv.buffer cimport Buffer
from mpkv.resp.encoder cimport emit_array, emit_bulk, emit_integer, emit_null, emit_ok
from mpkv.resp.parser cimport arg_t
from mpkv.types.allocator cimport settle
from mpkv.wire cimport request_t
from mpkv.workers.keyspace cimport STRING, Keyspace, entry_string, entry_t, entry_type
from mpkv.workers.shortcuts.operands cimport (
    AHEAD, emit_lone, fetch_keys, find, is_word, promised, protocol_of, read_expiry, read_integer,
    read_ttl,
)
from mpkv.workers.shortcuts.table cimport enter


cdef int emit_string(Buffer* out, const entry_t* entry) noexcept:
    cdef char[24] scratch
    cdef const char* data
    cdef size_t size
    entry_string(entry, scratch, &data, &size)
    return emit_bulk(out, data, size)


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


cdef struct set_options_t:
    bint only_new, only_old, keeps_ttl
    int64_t expire_at           # milliseconds; -1: does not expire


cdef bint read_set_options(
    Keyspace keyspace, const request_t* request, const arg_t* words, set_options_t* options
) noexcept nogil:
    """What follows key and value, each at most once; False leaves it to the handler."""
    cdef size_t i = 2
    cdef int64_t ms
    options.only_new = options.only_old = options.keeps_ttl = False
    options.expire_at = -1
    while i < request.argc:
        if is_word(&words[i], b"nx", 2) and not options.only_old:
            options.only_new = True
        elif is_word(&words[i], b"xx", 2) and not options.only_new:
            options.only_old = True
        elif options.expire_at >= 0 or options.keeps_ttl:
            return False
        elif is_word(&words[i], b"keepttl", 7):
            options.keeps_ttl = True
        elif i + 1 < request.argc and read_expiry(&words[i], &ms):
            options.expire_at = keyspace.now_ms + ms
            i += 1
        else:
            return False
        i += 1
    return True


cdef int store(
    Keyspace keyspace, const request_t* request, const arg_t* words, const arg_t* value, bint keeps_ttl,
    int64_t expire_at
) except -2:
    """Set a string, and when it expires (-1: does not, unless it keeps what it had); 1, -1 no memory."""
    cdef const arg_t* key = &words[0]
    # in place, where the old entry has room for an expiry already
    if expire_at >= 0:
        keeps_ttl = True
        if not promised(request, words):
            return -1
    if keyspace.put_string(
        request.database, request.slot, key.data, key.size, value.data, value.size, keeps_ttl
    ) < 0:
        return -1
    if expire_at >= 0:
        if keyspace.set_expire_at(request.database, find(keyspace, request, words, False), expire_at) < 0:
            return -1
        settle()
    keyspace.string_changed(request.database, key.data, key.size)
    return 1


cdef int set_(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef set_options_t options
    if request.argc == 2:
        if store(keyspace, request, words, &words[1], False, -1) < 0:
            return -1
        return emit_ok(out) + 1
    if not read_set_options(keyspace, request, words, &options):
        return 0
    if options.expire_at >= 0 and keyspace.effects_wanted:      # the effect is an absolute time
        return 0
    if options.only_new or options.only_old:
        if (find(keyspace, request, words, False) != NULL) != options.only_old:
            return emit_null(out, protocol_of(request)) + 1
    if store(keyspace, request, words, &words[1], options.keeps_ttl, options.expire_at) < 0:
        return -1
    return emit_ok(out) + 1


cdef int setnx(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    if find(keyspace, request, words, False) != NULL:
        return emit_integer(out, 0) + 1
    if store(keyspace, request, words, &words[1], False, -1) < 0:
        return -1
    return emit_integer(out, 1) + 1


cdef int getset(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef int done = get(keyspace, request, words, out)
    if done != 1:               # of another type, or so large that it would stay where it is to be replaced
        return 0
    if store(keyspace, request, words, &words[1], False, -1) < 0:
        return -1
    return 1


cdef int getdel(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef int done
    if keyspace.effects_wanted:         # its effect is DEL, if anything was there
        return 0
    done = get(keyspace, request, words, out)
    if done != 1:
        return 0
    keyspace.delete(request.database, request.slot, words[0].data, words[0].size, keyspace.lazy_server_del)
    return 1


cdef int getex(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef int64_t ms
    cdef entry_t* entry
    cdef int done
    if request.argc != 3 or keyspace.effects_wanted or not read_expiry(&words[1], &ms):
        return 0
    done = get(keyspace, request, words, out)
    if done != 1:
        return 0
    entry = find(keyspace, request, words, False)
    if entry != NULL:
        if keyspace.set_expire_at(request.database, entry, keyspace.now_ms + ms) < 0:
            return -1
        keyspace.string_changed(request.database, words[0].data, words[0].size)
    return 1


cdef int set_for(
    Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out, int64_t unit_ms
) except -2:
    cdef int64_t ms
    if keyspace.effects_wanted or not read_ttl(&words[1], unit_ms, &ms):
        return 0
    if store(keyspace, request, words, &words[2], False, keyspace.now_ms + ms) < 0:
        return -1
    return emit_ok(out) + 1


cdef int setex(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return set_for(keyspace, request, words, out, 1000)


cdef int psetex(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    return set_for(keyspace, request, words, out, 1)


cdef int strlen_(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef entry_t* entry = find(keyspace, request, words, True)
    cdef char[24] scratch
    cdef const char* data
    cdef size_t size = 0
    if entry != NULL:
        if entry_type(entry) != STRING:
            return 0
        entry_string(entry, scratch, &data, &size)
    return emit_integer(out, size) + 1


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


cdef int mget(Keyspace keyspace, const request_t* request, const arg_t* words, Buffer* out) except -2:
    cdef uint16_t[AHEAD] slots
    cdef entry_t* entry
    cdef size_t i
    if emit_array(out, request.argc) < 0:
        return -1
    for i in range(request.argc):
        if i % AHEAD == 0:
            fetch_keys(keyspace, request, words, i, 1, slots)
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
            fetch_keys(keyspace, request, words, i, 2, slots)
        if keyspace.put_string(
            request.database, slots[i // 2 % AHEAD], words[i].data, words[i].size, words[i + 1].data,
            words[i + 1].size, False,
        ) < 0:
            return -1
        keyspace.string_changed(request.database, words[i].data, words[i].size)
    settle()
    return emit_ok(out) + 1


enter(b"get", get)
enter(b"set", set_)
enter(b"setnx", setnx)
enter(b"setex", setex)
enter(b"psetex", psetex)
enter(b"strlen", strlen_)
enter(b"incr", incr)
enter(b"decr", decr)
enter(b"incrby", incrby)
enter(b"mget", mget)
enter(b"mset", mset)
enter(b"getset", getset)
enter(b"getdel", getdel)
enter(b"getex", getex)
