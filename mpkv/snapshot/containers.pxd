# Walks over the packed containers of RDB files: ziplist, listpack, zipmap, intset. See containers.pyx.

from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef enum:
    ZIPLIST = 0
    LISTPACK = 1
    ZIPMAP = 2
    INTSET = 3

cdef struct Container:
    const uint8_t* start
    const uint8_t* at            # next entry
    const uint8_t* end           # one beyond the last entry
    uint64_t announced           # entries by the header; UNKNOWN_COUNT if it does not say
    uint64_t seen
    uint64_t previous_size       # ziplist: of the entry before
    uint64_t last_at             # ziplist: where the header says that the last entry is
    int width                    # intset: bytes of an integer
    int64_t previous             # intset: the integer before
    const char* reason           # what is wrong

cdef int container_open(Container* self, int kind, const char* blob, size_t size) noexcept nogil     # 0, -1 damaged
# 1 = one more, 0 = the end, and everything the header says was true; -1 damaged. An integer is put into `text`
# (INTEGER_TEXT_BYTES); anything else is a view into the blob.
cdef int container_next(Container* self, int kind, char* text, const char** data, size_t* size) noexcept nogil
