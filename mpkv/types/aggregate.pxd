# What the keyspace needs to know of the types that have their own modules: one face for all, by the type's number.

from mpkv.types.packed cimport packed_t

# Redis' object types, which are also their numbers in an RDB file's plain encodings except zset and hash
cdef enum:
    STRING = 0
    LIST = 1
    SET = 2
    ZSET = 3
    HASH = 4

cdef str type_name(int kind)                            # of strings too
# `native` is the two words that an entry has for its value
cdef void native_begin(int kind, packed_t* native) noexcept nogil                  # an empty one
cdef void native_free(int kind, packed_t* native) noexcept nogil
# Free about so many elements, *position starts at 0; whether nothing is left. In between it is good for nothing else
cdef bint native_free_some(int kind, packed_t* native, size_t* position, size_t elements) noexcept nogil
# Whether it is small enough to be one block, which is freed at once
cdef bint native_is_one_block(int kind, const packed_t* native) noexcept nogil
cdef size_t native_len(int kind, const packed_t* native) noexcept nogil
# Bytes allocated beside the two words, of a large one judged by `samples` elements; 0: by all
cdef size_t native_memory(int kind, const packed_t* native, size_t samples) noexcept nogil
cdef int native_copy(int kind, const packed_t* native, packed_t* copy) noexcept nogil
cdef object handle_on(int kind, packed_t* native)           # the Python handle
cdef str native_encoding(int kind, const packed_t* native)  # as OBJECT ENCODING names it
cdef object native_content(int kind, packed_t* native)      # the whole value, copied out
