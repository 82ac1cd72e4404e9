"""What the keyspace needs to know of hashes, lists, sets and sorted sets: one face for all, by the type's number.

Everything else about a type is in its own module, which knows nothing of keys.
"""

from mpkv.types.hash cimport (
    Hash, hash_begin, hash_free, hash_free_some, hash_is_listpack, hash_len, hash_memory, hash_next, hash_put, hash_t,
)
from mpkv.types.list cimport (
    LONE, List, list_begin, list_free, list_free_some, list_is_listpack, list_len, list_memory, list_next,
    list_position, list_push, list_seek, list_t,
)
from mpkv.types.packed cimport TABLE, packed_kind
from mpkv.types.set cimport (
    Set, set_add, set_begin, set_encoding, set_free, set_free_some, set_len, set_memory, set_next, set_t,
)
from mpkv.types.zset cimport (
    ZSet, zset_begin, zset_free, zset_free_some, zset_is_listpack, zset_len, zset_memory, zset_next, zset_position,
    zset_put, zset_seek, zset_t,
)

#: How a type is called, by its number.
cdef tuple TYPE_NAMES = ("string", "list", "set", "zset", "hash")
cdef tuple SET_ENCODINGS = ("intset", "listpack", "hashtable")


cdef str type_name(int kind):
    return TYPE_NAMES[kind]


cdef void native_begin(int kind, packed_t* native) noexcept nogil:
    if kind == HASH:
        hash_begin(native)
    elif kind == LIST:
        list_begin(native)
    elif kind == SET:
        set_begin(native)
    else:
        zset_begin(native)


cdef void native_free(int kind, packed_t* native) noexcept nogil:
    if kind == HASH:
        hash_free(native)
    elif kind == LIST:
        list_free(native)
    elif kind == SET:
        set_free(native)
    else:
        zset_free(native)


cdef bint native_free_some(int kind, packed_t* native, size_t* position, size_t elements) noexcept nogil:
    if kind == HASH:
        return hash_free_some(native, position, elements)
    if kind == LIST:
        return list_free_some(native, position, elements)
    if kind == SET:
        return set_free_some(native, position, elements)
    return zset_free_some(native, position, elements)


cdef bint native_is_one_block(int kind, const packed_t* native) noexcept nogil:
    if kind == LIST:
        return packed_kind(native) == LONE
    if kind == ZSET:
        return zset_is_listpack(native)
    return packed_kind(native) != TABLE


cdef size_t native_len(int kind, const packed_t* native) noexcept nogil:
    if kind == HASH:
        return hash_len(native)
    if kind == LIST:
        return list_len(native)
    return set_len(native) if kind == SET else zset_len(native)


cdef size_t native_memory(int kind, const packed_t* native, size_t samples) noexcept nogil:
    if kind == HASH:
        return hash_memory(native, samples)
    if kind == LIST:
        return list_memory(native)
    return set_memory(native, samples) if kind == SET else zset_memory(native, samples)


cdef int native_copy(int kind, const packed_t* native, packed_t* copy) noexcept nogil:
    """A deep copy; 0, -1 no memory."""
    cdef int failed
    native_begin(kind, copy)
    if kind == HASH:
        failed = _copy_hash(native, copy)
    elif kind == LIST:
        failed = _copy_list(native, copy)
    elif kind == SET:
        failed = _copy_set(native, copy)
    else:
        failed = _copy_zset(native, copy)
    if failed:
        native_free(kind, copy)
        return -1
    return 0


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


cdef object handle_on(int kind, packed_t* native):
    if kind == HASH:
        return Hash.wrap(native)
    if kind == LIST:
        return List.wrap(native)
    return Set.wrap(native) if kind == SET else ZSet.wrap(native)


cdef str native_encoding(int kind, const packed_t* native):
    if kind == HASH:
        return "listpack" if hash_is_listpack(native) else "hashtable"
    if kind == LIST:
        return "listpack" if list_is_listpack(native) else "quicklist"
    if kind == SET:
        return SET_ENCODINGS[set_encoding(native)]
    return "listpack" if zset_is_listpack(native) else "skiplist"


cdef object native_content(int kind, packed_t* native):
    """A dict, a set, a list, or a list of (member, score)."""
    cdef object handle = handle_on(kind, native)
    if kind == HASH:
        return dict(handle.items())
    if kind == SET:
        return set(handle.members())
    if kind == LIST:
        return handle.range(0, len(handle) - 1)
    return handle.by_rank(0, len(handle) - 1)
