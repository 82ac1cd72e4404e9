"""Replies, RESP2 and RESP3, become values again: the decoder, for merging parts of scattered commands, and for tests.

`skip_reply` knows the grammar and finds where a reply ends; `decode` builds values from what `skip_reply` has found
to be whole, so it checks nothing twice. What comes out is what `mpkv.resp.replies` calls it, so that encoding it
again gives the same bytes, but for three things: every null is None, an attribute is skipped, and a big number
becomes an int, which only fits a reply again if 64 bits hold it.
"""

from libc.stdint cimport int64_t
from libc.string cimport memchr

from mpkv.resp.encoder cimport MAX_DEPTH
from mpkv.resp.integers cimport read_integer

from mpkv.errors import CommandError
from mpkv.resp.replies import PushReply, SetReply, Status, Verbatim

cdef enum:
    MAX_ELEMENTS = 0x7FFFFFFF           # of one aggregate, as in Redis

# What the elements of an aggregate are gathered in.
cdef dict _collections = {b"*": list, b"~": SetReply, b">": PushReply}


class IncompleteReply(ValueError):
    """The bytes end before the reply does."""


def decode(bytes data not None, Py_ssize_t offset=0) -> tuple[object, int]:
    """The reply that begins at `offset`, and the offset behind it.

    An error reply is returned as a `CommandError`, not raised. A map whose keys cannot be hashed becomes a flat list.

    :raises IncompleteReply: more bytes are needed
    :raises ValueError: this is not RESP
    """
    cdef size_t at = 0
    end = reply_end(data, offset)
    if end is None:
        raise IncompleteReply(f"incomplete reply at byte {offset}")
    return _read(<const char*>data + offset, end - offset, &at), end


def reply_end(bytes data not None, Py_ssize_t offset=0) -> int | None:
    """The offset behind the reply that begins at `offset`, None if it is incomplete; `skip_reply` for Python.

    :raises ValueError: this is not RESP
    """
    cdef size_t end = 0
    cdef int outcome
    if not 0 <= offset <= len(data):
        raise ValueError(f"offset {offset} is outside of {len(data)} bytes")
    outcome = skip_reply(<const char*>data + offset, len(data) - offset, &end)
    if outcome < 0:
        raise ValueError(f"malformed reply at byte {offset + end}: {data[offset + end:offset + end + 20]!r}")
    return offset + end if outcome else None


cdef int skip_reply(const char* data, size_t size, size_t* end) noexcept nogil:
    cdef int64_t[MAX_DEPTH + 1] left        # how many elements are to come, per aggregate around us
    cdef int depth = 0
    cdef int outcome
    cdef int64_t inside
    cdef size_t at = 0
    left[0] = 1
    while True:
        while left[depth] == 0:
            if depth == 0:
                end[0] = at
                return 1
            depth -= 1
        end[0] = at
        inside = 0
        outcome = _skip_element(data, size, &at, &inside)
        if outcome != 1:
            return outcome
        # An attribute stands before an element and is none itself.
        if data[end[0]] != c"|":
            left[depth] -= 1
        if inside:
            if depth == MAX_DEPTH:
                return -1
            depth += 1
            left[depth] = inside


cdef int _skip_element(const char* data, size_t size, size_t* at, int64_t* inside) noexcept nogil:
    """Move over one element, of an aggregate over its head; tell how many stand inside. 1, 0 cut off, -1 malformed."""
    cdef size_t start = at[0]
    cdef size_t line_end, length
    cdef int64_t number = 0
    cdef char kind
    if start == size:
        return 0
    kind = data[start]
    if not _is_kind(kind):
        return -1
    if not _find_line_end(data, size, start, &line_end):
        return 0
    if data[line_end + 1] != c"\n":
        return -1
    length = line_end - start - 1
    at[0] = line_end + 2
    if kind in (c"+", c"-", c",", c"("):
        return 1
    if kind == c"_":
        return 1 if length == 0 else -1
    if kind == c"#":
        return 1 if length == 1 and data[start + 1] in (c"t", c"f") else -1
    if not read_integer(data + start + 1, length, &number):
        return -1
    if kind == c":":
        return 1
    if number < 0:
        return 1 if number == -1 and kind in (c"$", c"*") else -1
    if kind in (c"$", c"!", c"="):
        return _skip_text(data, size, at, kind, <size_t>number)
    if number > MAX_ELEMENTS:
        return -1
    inside[0] = 2 * number if kind in (c"%", c"|") else number
    return 1


cdef int _skip_text(const char* data, size_t size, size_t* at, char kind, size_t length) noexcept nogil:
    cdef size_t text_end
    if kind == c"=" and length < 4:         # three letters of format and a colon
        return -1
    if size - at[0] < length + 2:
        return 0
    text_end = at[0] + length
    if data[text_end] != c"\r" or data[text_end + 1] != c"\n":
        return -1
    at[0] = text_end + 2
    return 1


cdef bint _is_kind(char kind) noexcept nogil:
    return kind != 0 and kind in (
        c"+", c"-", c":", c"$", c"*", c"_", c"#", c",", c"(", c"!", c"=", c"%", c"~", c">", c"|"
    )


cdef bint _find_line_end(const char* data, size_t size, size_t start, size_t* end) noexcept nogil:
    """The CR behind `start` that has at least one byte after it."""
    cdef const char* found = <const char*>memchr(data + start, c"\r", size - start)
    if found == NULL:
        return False
    end[0] = found - data
    return end[0] + 1 < size


cdef object _read(const char* data, size_t size, size_t* at):
    """The value at `at`, in bytes that `skip_reply` has found to be whole."""
    cdef char kind
    cdef bytes text
    _pass_attributes(data, size, at)
    kind = data[at[0]]
    text = _read_line(data, size, at)
    if kind == c"$":
        return None if text == b"-1" else _read_text(data, at, int(text))
    if kind == c":":
        return int(text)
    if kind == c"+":
        return Status(text)
    if kind == c"-":
        return CommandError(text.decode("utf-8", "surrogateescape"))
    if kind in (c"*", c"~", c">"):
        return None if text == b"-1" else _read_all(data, size, at, _collections[bytes([kind])], int(text))
    if kind == c"%":
        return _read_map(data, size, at, int(text))
    if kind == c"_":
        return None
    if kind == c"#":
        return text == b"t"
    if kind == c",":
        return float(text)
    if kind == c"(":
        return int(text)
    if kind == c"=":
        return Verbatim(_read_text(data, at, int(text))[4:].decode("utf-8", "surrogateescape"))
    return CommandError(_read_text(data, at, int(text)).decode("utf-8", "surrogateescape"))    # "!"


cdef int _pass_attributes(const char* data, size_t size, size_t* at) except -1:
    """Any number of attributes may stand before a value. A loop: they would nest without a bound."""
    while data[at[0]] == c"|":
        for _ in range(2 * int(_read_line(data, size, at))):
            _read(data, size, at)
    return 0


cdef object _read_all(const char* data, size_t size, size_t* at, object collection, int64_t count):
    values = collection()
    for _ in range(count):
        values.append(_read(data, size, at))
    return values


cdef object _read_map(const char* data, size_t size, size_t* at, int64_t pairs):
    cdef list flat = _read_all(data, size, at, list, 2 * pairs)
    try:
        return dict(zip(flat[::2], flat[1::2]))
    except TypeError:
        return flat


cdef bytes _read_line(const char* data, size_t size, size_t* at):
    """What stands between the first byte of the line at `at` and its end."""
    cdef size_t start = at[0]
    cdef size_t end = start
    _find_line_end(data, size, start, &end)
    at[0] = end + 2
    return data[start + 1:end]


cdef bytes _read_text(const char* data, size_t* at, size_t length):
    cdef size_t start = at[0]
    at[0] = start + length + 2
    return data[start:start + length]
