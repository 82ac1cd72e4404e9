# A growable byte buffer in native memory: what the encoder, the wire format and the connections append to.
#
# A Buffer that is all zeroes is a valid empty one. Growth doubles, so appending is amortised O(1). Every function that
# can run out of memory returns -1 and leaves the buffer as it was.

from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

cdef struct Buffer:
    char* data
    size_t size
    size_t capacity

cdef inline int _buffer_grow(Buffer* buffer, size_t extra) noexcept nogil:
    cdef size_t needed = buffer.size + extra
    cdef size_t capacity = buffer.capacity * 2
    cdef char* data
    if needed < extra:                      # the sum wrapped
        return -1
    if capacity < 256:
        capacity = 256
    if capacity < needed:
        capacity = needed
    data = <char*>realloc(buffer.data, capacity)
    if data == NULL:
        return -1
    buffer.data = data
    buffer.capacity = capacity
    return 0

cdef inline int buffer_reserve(Buffer* buffer, size_t extra) noexcept nogil:
    """Make room for `extra` more bytes; 0, or -1 when there is no memory."""
    if buffer.capacity - buffer.size >= extra:
        return 0
    return _buffer_grow(buffer, extra)

cdef inline int buffer_append(Buffer* buffer, const char* data, size_t size) noexcept nogil:
    """Append `size` bytes; 0, or -1 when there is no memory."""
    if buffer_reserve(buffer, size) < 0:
        return -1
    if size:                                # else either may be NULL, which memcpy may not be given
        memcpy(buffer.data + buffer.size, data, size)
    buffer.size += size
    return 0

cdef inline void buffer_free(Buffer* buffer) noexcept nogil:
    free(buffer.data)
    buffer.data = NULL
    buffer.size = 0
    buffer.capacity = 0
