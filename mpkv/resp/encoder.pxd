# Step 10: values -> bytes. See encoder.pyx.
#
# The emitters are for compiled command paths. Each appends one reply, or the head of an aggregate whose elements are to
# follow; `protocol` is 2 or 3. 0, or -1 when there is no memory; then the buffer is as it was.

from libc.stdint cimport int64_t
from libc.string cimport memcpy

from mpkv.buffer cimport Buffer, buffer_append, buffer_reserve
from mpkv.resp.integers cimport INTEGER_CHARS, write_integer

cdef enum:
    MAX_DEPTH = 128                     # aggregates inside one another, of what is encoded and of what is decoded
    DOUBLE_CHARS = 32                   # more than the longest text of a double
    HEAD_CHARS = 1 + INTEGER_CHARS + 2  # :-9223372036854775808\r\n

cdef int encode(Buffer* out, object value, int protocol) except -1
# The text of a double, as Redis 7.2 writes it; returns its length. `to` has DOUBLE_CHARS bytes.
cdef size_t write_double(char* to, double value) noexcept nogil

cdef int emit_double(Buffer* out, double value, int protocol) noexcept nogil
cdef int emit_status(Buffer* out, const char* text, size_t size) noexcept nogil     # CR and LF become spaces
# The text without the "-"; CR and LF become spaces.
cdef int emit_error(Buffer* out, const char* text, size_t size) noexcept nogil
cdef int emit_verbatim(Buffer* out, const char* text, size_t size, int protocol) noexcept nogil

cdef inline void _put_head(Buffer* out, char kind, int64_t number) noexcept nogil:
    """The room is reserved."""
    cdef char* to = out.data + out.size
    cdef size_t length = 1
    to[0] = kind
    if 0 <= number <= 9:
        to[1] = <char>(c"0" + number)
        length = 2
    else:
        length += write_integer(to + 1, number)
    to[length] = c"\r"
    to[length + 1] = c"\n"
    out.size += length + 2

cdef inline int _emit_head(Buffer* out, char kind, int64_t number) noexcept nogil:
    if buffer_reserve(out, HEAD_CHARS) < 0:
        return -1
    _put_head(out, kind, number)
    return 0

cdef inline int emit_integer(Buffer* out, int64_t value) noexcept nogil:
    return _emit_head(out, c":", value)

cdef inline int emit_bulk(Buffer* out, const char* data, size_t size) noexcept nogil:
    if size > <size_t>-1 - HEAD_CHARS - 2 or buffer_reserve(out, HEAD_CHARS + size + 2) < 0:
        return -1
    _put_head(out, c"$", <int64_t>size)
    if size:
        memcpy(out.data + out.size, data, size)
    memcpy(out.data + out.size + size, b"\r\n", 2)
    out.size += size + 2
    return 0

cdef inline int emit_array(Buffer* out, size_t count) noexcept nogil:
    return _emit_head(out, c"*", <int64_t>count)

cdef inline int emit_map(Buffer* out, size_t pairs, int protocol) noexcept nogil:
    """2 * pairs elements follow: key, value, key, value."""
    return _emit_head(out, c"%", <int64_t>pairs) if protocol == 3 else _emit_head(out, c"*", <int64_t>(2 * pairs))

cdef inline int emit_set(Buffer* out, size_t count, int protocol) noexcept nogil:
    return _emit_head(out, c"~" if protocol == 3 else c"*", <int64_t>count)

cdef inline int emit_push(Buffer* out, size_t count, int protocol) noexcept nogil:
    return _emit_head(out, c">" if protocol == 3 else c"*", <int64_t>count)

cdef inline int emit_ok(Buffer* out) noexcept nogil:
    return buffer_append(out, b"+OK\r\n", 5)

cdef inline int emit_null(Buffer* out, int protocol) noexcept nogil:
    return buffer_append(out, b"_\r\n", 3) if protocol == 3 else buffer_append(out, b"$-1\r\n", 5)

cdef inline int emit_null_array(Buffer* out, int protocol) noexcept nogil:
    return buffer_append(out, b"_\r\n", 3) if protocol == 3 else buffer_append(out, b"*-1\r\n", 5)

cdef inline int emit_bool(Buffer* out, bint value, int protocol) noexcept nogil:
    if protocol == 3:
        return buffer_append(out, b"#t\r\n" if value else b"#f\r\n", 4)
    return buffer_append(out, b":1\r\n" if value else b":0\r\n", 4)
