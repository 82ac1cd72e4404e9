# What the keyspace needs to know of the types that have their own modules: one face for all, by the type's number.

# Redis' object types, which are also their numbers in an RDB file's plain encodings except zset and hash
cdef enum:
    STRING = 0
    LIST = 1
    SET = 2
    ZSET = 3
    HASH = 4

cdef str type_name(int kind)                            # of strings too
cdef void* native_new(int kind) noexcept nogil
cdef void native_free(int kind, void* native) noexcept nogil
cdef size_t native_len(int kind, const void* native) noexcept nogil
cdef size_t native_memory(int kind, const void* native) noexcept nogil
cdef void* native_copy(int kind, const void* native) noexcept nogil
cdef object handle_on(int kind, void* native)           # the Python handle
cdef str native_encoding(int kind, void* native)       # as OBJECT ENCODING names it
cdef object native_content(int kind, void* native)     # the whole value, copied out
