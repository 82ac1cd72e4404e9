# Native values to RDB types and back. See values.pyx.

from libc.stdint cimport uint8_t

from mpkv.snapshot.format cimport Output, Source
from mpkv.types.packed cimport packed_t

cdef enum:                       # results of value_read besides DAMAGED and NO_MEMORY
    VALUE_EMPTY = 0              # an aggregate without elements: the key does not exist
    VALUE_READ = 1

cdef struct Value:
    int kind                     # STRING … HASH of keyspace.pxd
    packed_t native              # the two words of an aggregate, the caller's to adopt or to free
    const char* data             # a string: a view, good until the next call on the source
    size_t size

cdef uint8_t value_type(int kind) noexcept nogil                     # the RDB type that is written for it
# an aggregate without its type; 0, or -1 with the output's errno
cdef int value_write(Output* output, int kind, const packed_t* native) noexcept nogil
cdef int value_read(Source* source, uint8_t rdb_type, Value* value) noexcept nogil
cdef int value_skip(Source* source, uint8_t rdb_type) noexcept nogil     # 0, DAMAGED, NO_MEMORY
cdef void value_free(Value* value) noexcept nogil
cdef const char* value_type_name(uint8_t rdb_type) noexcept nogil    # NULL: there is no such type
cdef bint value_type_supported(uint8_t rdb_type) noexcept nogil
