"""Native values to RDB types and back.

Written are the plain types that every Redis since 5 reads: string 0, list 1, set 2, hash 4, sorted set 5. Read is
everything up to RDB 11 that holds one of the five kinds. The table of types says how each is laid out; a value is
read by the loop of its layout, which hands element after element to the `put` function of its kind. So a new encoding
is a row in the table, and a new kind is a set of functions.

A duplicate member or field is damage, as in Redis: the count would no longer be true. What belongs to another shard
is skipped by its lengths only; its contents are checked by the shard that owns it.
"""

from libc.errno cimport EBADMSG
from libc.string cimport memset

from mpkv.snapshot.containers cimport (
    INTSET,
    LISTPACK,
    ZIPLIST,
    ZIPMAP,
    Container,
    container_next,
    container_open,
)
from mpkv.snapshot.format cimport (
    DAMAGED,
    INTEGER_TEXT_BYTES,
    NO_MEMORY,
    output_bytes,
    output_double,
    output_length,
    output_string,
    parse_double,
    source_ascii_double,
    source_double,
    source_fail,
    source_kept_string,
    source_length,
    source_position,
    source_skip_string,
    source_string,
)
from mpkv.types.hash cimport hash_next, hash_put, hash_t
from mpkv.types.list cimport list_next, list_position, list_push, list_seek, list_t
from mpkv.types.packed cimport packed_t
from mpkv.types.set cimport set_add, set_next, set_t
from mpkv.types.zset cimport zset_next, zset_position, zset_put, zset_seek, zset_t
from mpkv.types.aggregate cimport native_begin, native_free, native_len
from mpkv.workers.keyspace cimport HASH, LIST, SET, STRING, ZSET

from libc.stdint cimport uint64_t

# --------------------------------------------------------------------------------------------------- the table of types

cdef enum Layout:
    UNSUPPORTED
    PLAIN_STRING
    PLAIN              # a count, then strings
    PLAIN_PAIRS        # a count, then two strings each
    PLAIN_ASCII_SCORES # a count, then a string and a score in digits each
    PLAIN_SCORES       # a count, then a string and a binary double each
    PACKED             # one container; pairs in turn for a hash and a sorted set
    PACKED_NODES       # a count, then ziplists
    MARKED_NODES       # a count, then a mark each: 1 an element, 2 a listpack

cdef enum:
    TYPES = 26
    MARK_ELEMENT = 1
    MARK_LISTPACK = 2

cdef struct TypeRow:
    const char* name
    int kind
    Layout layout
    int container

cdef TypeRow[TYPES] _types


cdef void _row(int rdb_type, const char* name, int kind, Layout layout, int container) noexcept:
    _types[rdb_type] = TypeRow(name, kind, layout, container)

_row(0, b"string", STRING, PLAIN_STRING, -1)
_row(1, b"list", LIST, PLAIN, -1)
_row(2, b"set", SET, PLAIN, -1)
_row(3, b"sorted set with scores in digits", ZSET, PLAIN_ASCII_SCORES, -1)
_row(4, b"hash", HASH, PLAIN_PAIRS, -1)
_row(5, b"sorted set", ZSET, PLAIN_SCORES, -1)
_row(6, b"module value of a release candidate", -1, UNSUPPORTED, -1)
_row(7, b"module value", -1, UNSUPPORTED, -1)
_row(9, b"hash in a zipmap", HASH, PACKED, ZIPMAP)
_row(10, b"list in a ziplist", LIST, PACKED, ZIPLIST)
_row(11, b"set in an intset", SET, PACKED, INTSET)
_row(12, b"sorted set in a ziplist", ZSET, PACKED, ZIPLIST)
_row(13, b"hash in a ziplist", HASH, PACKED, ZIPLIST)
_row(14, b"list in a quicklist of ziplists", LIST, PACKED_NODES, ZIPLIST)
_row(15, b"stream", -1, UNSUPPORTED, -1)
_row(16, b"hash in a listpack", HASH, PACKED, LISTPACK)
_row(17, b"sorted set in a listpack", ZSET, PACKED, LISTPACK)
_row(18, b"list in a quicklist of listpacks", LIST, MARKED_NODES, LISTPACK)
_row(19, b"stream (second form)", -1, UNSUPPORTED, -1)
_row(20, b"set in a listpack", SET, PACKED, LISTPACK)
_row(21, b"stream (third form)", -1, UNSUPPORTED, -1)
_row(22, b"hash with field expiry of a release candidate", -1, UNSUPPORTED, -1)
_row(23, b"hash with field expiry in a listpack of a release candidate", -1, UNSUPPORTED, -1)
_row(24, b"hash with field expiry", -1, UNSUPPORTED, -1)
_row(25, b"hash with field expiry in a listpack", -1, UNSUPPORTED, -1)


cdef const char* value_type_name(uint8_t rdb_type) noexcept nogil:
    return _types[rdb_type].name if rdb_type < TYPES else NULL


cdef bint value_type_supported(uint8_t rdb_type) noexcept nogil:
    return rdb_type < TYPES and _types[rdb_type].layout != UNSUPPORTED

# -------------------------------------------------------------------------------------- the functions of the four kinds

# What an encoding yields: an element or member; a field and its value; a member and its score.
cdef struct Element:
    const char* name
    size_t name_size
    const char* value
    size_t value_size
    double score

# 1 = a new element, 0 = it was there, -1 = no memory
ctypedef int (*put_function)(void* native, const Element* element) noexcept nogil


cdef int _put_list(void* native, const Element* element) noexcept nogil:
    return 1 if list_push(<list_t*>native, False, element.name, element.name_size) == 0 else -1


cdef int _put_set(void* native, const Element* element) noexcept nogil:
    return set_add(<set_t*>native, element.name, element.name_size)


cdef int _put_zset(void* native, const Element* element) noexcept nogil:
    return zset_put(<zset_t*>native, element.name, element.name_size, element.score)


cdef int _put_hash(void* native, const Element* element) noexcept nogil:
    return hash_put(<hash_t*>native, element.name, element.name_size, element.value, element.value_size)


cdef put_function[5] _PUT = [NULL, _put_list, _put_set, _put_zset, _put_hash]      # in the order of LIST … HASH


cdef void value_free(Value* value) noexcept nogil:
    if value.kind != STRING:
        native_free(value.kind, &value.native)

# -------------------------------------------------------------------------------------------------------------- writing

cdef uint8_t[5] _WRITTEN_TYPE = [0, 1, 2, 5, 4]       # in the order of STRING … HASH


cdef uint8_t value_type(int kind) noexcept nogil:
    return _WRITTEN_TYPE[kind]


cdef size_t _write_list(Output* output, const list_t* native) noexcept nogil:
    cdef list_position position
    cdef const char* element
    cdef size_t size, written = 0
    list_seek(native, 0, &position)
    while list_next(native, &position, &element, &size) == 1:
        output_string(output, element, size)
        written += 1
    return written


cdef size_t _write_set(Output* output, const set_t* native) noexcept nogil:
    cdef size_t position = 0, size, written = 0
    cdef const char* member
    while set_next(native, &position, &member, &size) == 1:
        output_string(output, member, size)
        written += 1
    return written


cdef size_t _write_zset(Output* output, const zset_t* native) noexcept nogil:
    """From the highest score down: a skip list that is filled so inserts at its head each time."""
    cdef zset_position position
    cdef const char* member
    cdef size_t size, written = 0
    cdef double score
    zset_seek(native, 0, True, &position)
    while zset_next(native, True, &position, &member, &size, &score) == 1:
        output_string(output, member, size)
        output_double(output, score)
        written += 1
    return written


cdef size_t _write_hash(Output* output, const hash_t* native) noexcept nogil:
    cdef size_t position = 0, field_size, value_size, written = 0
    cdef const char* field
    cdef const char* value
    while hash_next(native, &position, &field, &field_size, &value, &value_size) == 1:
        output_string(output, field, field_size)
        output_string(output, value, value_size)
        written += 1
    return written


cdef int value_write(Output* output, int kind, const packed_t* native) noexcept nogil:
    """Count and elements. The errors of single writes stay in `output`, so they are looked at once."""
    cdef size_t announced = native_len(kind, native)
    cdef size_t written
    output_length(output, announced)
    if kind == LIST:
        written = _write_list(output, <const list_t*>native)
    elif kind == SET:
        written = _write_set(output, <const set_t*>native)
    elif kind == ZSET:
        written = _write_zset(output, <const zset_t*>native)
    else:
        written = _write_hash(output, <const hash_t*>native)
    if written != announced and not output.error:
        output.error = EBADMSG              # the value contradicts itself: better no file than one that does not load
    return -1 if output.error else 0

# -------------------------------------------------------------------------------------------------------------- reading


cdef int _put(Source* source, Value* value, const Element* element) noexcept nogil:
    cdef int status = _PUT[value.kind](&value.native, element)
    if status < 0:
        return NO_MEMORY
    if status == 0:
        return source_fail(source, b"an aggregate names the same element twice")
    return 0


cdef int _read_element(Source* source, Element* element, Layout layout) noexcept nogil:
    """One element of a plain layout."""
    cdef int status
    if layout == PLAIN:
        return source_string(source, &element.name, &element.name_size)
    status = source_kept_string(source, &element.name, &element.name_size)
    if status < 0:
        return status
    if layout == PLAIN_PAIRS:
        return source_string(source, &element.value, &element.value_size)
    if layout == PLAIN_SCORES:
        return source_double(source, &element.score)
    return source_ascii_double(source, &element.score)


cdef int _read_plain(Source* source, Value* value, Layout layout) noexcept nogil:
    """A count and so many elements. It is not believed: each takes at least a byte, so a lie runs into the end."""
    cdef uint64_t count
    cdef Element element
    cdef int status = source_length(source, &count)
    memset(&element, 0, sizeof(element))
    while status == 0 and count:
        status = _read_element(source, &element, layout)
        if status == 0:
            status = _put(source, value, &element)
        count -= 1
    return status


cdef int _container_fail(Source* source, const char* reason, uint64_t blob_at) noexcept nogil:
    """What is wrong inside a container is reported at its beginning: it may have been compressed."""
    source_fail(source, reason)
    source.damaged_at = blob_at
    return DAMAGED


cdef int _next_in_container(
    Container* container, int container_kind, int value_kind, char* name_text, char* value_text, Element* element
) noexcept nogil:
    """One element, or a pair for a hash and a sorted set: 1, 0 at the end, -1 with the container's reason."""
    cdef int status = container_next(container, container_kind, name_text, &element.name, &element.name_size)
    if status <= 0 or (value_kind != HASH and value_kind != ZSET):
        return status
    status = container_next(container, container_kind, value_text, &element.value, &element.value_size)
    if status == 0:
        container.reason = b"a container ends in the middle of a pair"
        return -1
    if status == 1 and value_kind == ZSET and parse_double(element.value, element.value_size, &element.score) < 0:
        container.reason = b"a score that is not a number"
        return -1
    return status


cdef int _read_container(Source* source, Value* value, int container_kind) noexcept nogil:
    cdef Container container
    cdef Element element
    cdef const char* blob
    cdef size_t blob_size
    cdef char[INTEGER_TEXT_BYTES] name_text
    cdef char[INTEGER_TEXT_BYTES] value_text
    cdef uint64_t blob_at = source_position(source)
    cdef int status = source_string(source, &blob, &blob_size)
    if status < 0:
        return status
    if container_open(&container, container_kind, blob, blob_size) < 0:
        return _container_fail(source, container.reason, blob_at)
    memset(&element, 0, sizeof(element))
    while True:
        status = _next_in_container(&container, container_kind, value.kind, name_text, value_text, &element)
        if status < 0:
            return _container_fail(source, container.reason, blob_at)
        if status == 0:
            return 0
        status = _put(source, value, &element)
        if status == DAMAGED:
            return _container_fail(source, source.reason, blob_at)
        if status < 0:
            return status


cdef int _read_node(Source* source, Value* value, Layout layout, int container) noexcept nogil:
    """One node of a quicklist."""
    cdef uint64_t mark = MARK_LISTPACK
    cdef Element element
    cdef int status = 0
    if layout == MARKED_NODES:
        status = source_length(source, &mark)
    if status < 0:
        return status
    if mark == MARK_ELEMENT:
        memset(&element, 0, sizeof(element))
        status = _read_element(source, &element, PLAIN)
        return status if status < 0 else _put(source, value, &element)
    if mark == MARK_LISTPACK:
        return _read_container(source, value, container)
    return source_fail(source, b"a quicklist node of an unknown form")


cdef int _read_nodes(Source* source, Value* value, Layout layout, int container) noexcept nogil:
    cdef uint64_t count
    cdef int status = source_length(source, &count)
    while status == 0 and count:
        status = _read_node(source, value, layout, container)
        count -= 1
    return status


cdef int value_read(Source* source, uint8_t rdb_type, Value* value) noexcept nogil:
    """A value of a supported type. On success the aggregate is the caller's; otherwise nothing is left behind."""
    cdef TypeRow* row = &_types[rdb_type]
    cdef int status
    memset(value, 0, sizeof(Value))
    value.kind = row.kind
    if row.layout == PLAIN_STRING:
        status = source_string(source, &value.data, &value.size)
        return VALUE_READ if status == 0 else status
    native_begin(value.kind, &value.native)
    if row.layout == PACKED:
        status = _read_container(source, value, row.container)
    elif row.layout == PACKED_NODES or row.layout == MARKED_NODES:
        status = _read_nodes(source, value, row.layout, row.container)
    else:
        status = _read_plain(source, value, row.layout)
    if status == 0 and native_len(value.kind, &value.native):
        return VALUE_READ
    value_free(value)
    return status


cdef int _skip_element(Source* source, Layout layout) noexcept nogil:
    cdef uint64_t mark
    cdef double score
    cdef int status
    if layout == MARKED_NODES:
        status = source_length(source, &mark)
        if status < 0:
            return status
        if mark != MARK_ELEMENT and mark != MARK_LISTPACK:
            return source_fail(source, b"a quicklist node of an unknown form")
    status = source_skip_string(source)
    if status < 0:
        return status
    if layout == PLAIN_PAIRS:
        return source_skip_string(source)
    if layout == PLAIN_SCORES:
        return source_double(source, &score)
    if layout == PLAIN_ASCII_SCORES:
        return source_ascii_double(source, &score)
    return 0


cdef int value_skip(Source* source, uint8_t rdb_type) noexcept nogil:
    """Go over a value of a supported type by its lengths."""
    cdef Layout layout = _types[rdb_type].layout
    cdef uint64_t count = 1
    cdef int status = 0
    if layout != PLAIN_STRING and layout != PACKED:
        status = source_length(source, &count)
    while status == 0 and count:
        status = _skip_element(source, layout)
        count -= 1
    return status
