"""Step 10 -- a value becomes reply bytes, RESP2 or RESP3: the encoder, which runs on the shard's core.

What becomes what is the table in `mpkv.resp.replies`. A value is encoded as a whole or not at all: after an exception
the buffer is as it was, so that an error reply can take its place.

Doubles are written as Redis 7.2 does: the shortest digits that read back the same, integers plainly up to 2**62, an
exponent only where many zeroes would stand. (Redis 7.0 wrote up to seventeen digits: 0.10000000000000001. Some powers
of two get one digit more than they need.) One function, `write_double`, serves replies, stored scores and
`mpkv.commands.args.float_text`.
"""

from libc.math cimport fabs, isinf, isnan, llround, signbit
from libc.stdint cimport int64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport atoi, strtod
from libc.string cimport memcpy, memset

from mpkv.buffer cimport Buffer, buffer_append, buffer_free, buffer_reserve
from mpkv.resp.integers cimport write_integer

from mpkv.errors import CommandError
from mpkv.resp.replies import NULL_ARRAY, Pairs, PushReply, Raw, SetReply, Status, Verbatim

cdef enum:
    DIGITS = 17                         # always enough for a double to read back the same
    SURE_DIGITS = 15                    # a decimal of so many digits always survives being a double
    PLACES = 9                          # decimal places that the fast way tries

cdef double SMALLEST_NORMAL = 2.2250738585072014e-308
cdef double PLAIN_BELOW = 2.0**62       # integers below it are written without an exponent
cdef double FAST_BELOW = 2.0**51        # see _few_places
cdef double[PLACES + 1] _powers_of_ten = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9]


def encode_bytes(value: object, int protocol=2) -> bytes:
    """The reply that `value` makes in RESP2 or RESP3.

    :raises TypeError: there is no reply for such a value
    :raises OverflowError: an integer of more than 64 bits
    :raises RecursionError: nested too deep, or in itself
    """
    cdef Buffer out = Buffer(NULL, 0, 0)
    try:
        encode(&out, value, protocol)
        return out.data[:out.size]
    finally:
        buffer_free(&out)


def float_text(double value) -> bytes:
    """A double as Redis 7.2 writes it, in replies and wherever a score is stored as text."""
    cdef char[DOUBLE_CHARS] text
    return text[:write_double(text, value)]


cdef int encode(Buffer* out, object value, int protocol) except -1:
    """Append the reply that `value` makes; an exception leaves `out` as it was."""
    cdef size_t size = out.size
    try:
        return _encode(out, value, protocol, 0)
    except BaseException:
        out.size = size
        raise


cdef int _encode(Buffer* out, object value, int protocol, int depth) except -1:
    """The kinds that make up nearly every reply, by their exact type."""
    cdef object kind = type(value)
    if kind is bytes:
        return _sent(emit_bulk(out, <const char*><bytes>value, len(<bytes>value)))
    if kind is int:
        return _sent(emit_integer(out, value))
    if value is None:
        return _sent(emit_null(out, protocol))
    if kind is list or kind is tuple:
        _sent(emit_array(out, len(value)))
        return _encode_all(out, value, protocol, depth)
    if kind is Status:
        return _sent(emit_status(out, <const char*><bytes>value, len(<bytes>value)))
    return _encode_rare(out, value, protocol, depth)


cdef int _encode_rare(Buffer* out, object value, int protocol, int depth) except -1:
    """Every kind, subclasses before what they derive from."""
    cdef bytes text
    if isinstance(value, bool):
        return _sent(emit_bool(out, value, protocol))
    if isinstance(value, int):
        return _sent(emit_integer(out, value))
    if isinstance(value, float):
        return _sent(emit_double(out, value, protocol))
    if isinstance(value, Raw):
        return _sent(buffer_append(out, <const char*><bytes>value, len(<bytes>value)))
    if isinstance(value, Status):
        return _sent(emit_status(out, <const char*><bytes>value, len(<bytes>value)))
    if isinstance(value, bytes):
        return _sent(emit_bulk(out, <const char*><bytes>value, len(<bytes>value)))
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogateescape")
        if isinstance(value, Verbatim):
            return _sent(emit_verbatim(out, text, len(text), protocol))
        return _sent(emit_bulk(out, text, len(text)))
    if isinstance(value, dict):
        return _encode_map(out, value, protocol, depth)
    if isinstance(value, SetReply):
        _sent(emit_set(out, len(value), protocol))
        return _encode_all(out, value, protocol, depth)
    if isinstance(value, Pairs):
        return _encode_pairs(out, value, protocol, depth)
    if isinstance(value, PushReply):
        _sent(emit_push(out, len(value), protocol))
        return _encode_all(out, value, protocol, depth)
    if isinstance(value, (list, tuple)):
        _sent(emit_array(out, len(value)))
        return _encode_all(out, value, protocol, depth)
    if isinstance(value, CommandError):
        text = value.text.encode("utf-8", "surrogateescape")
        return _sent(emit_error(out, text, len(text)))
    if value is NULL_ARRAY:
        return _sent(emit_null_array(out, protocol))
    raise TypeError(f"no reply can be made of {type(value).__name__}: {value!r:.100}")


cdef int _encode_all(Buffer* out, object values, int protocol, int depth) except -1:
    _go_deeper(depth)
    if isinstance(values, list):
        for value in <list>values:
            _encode(out, value, protocol, depth + 1)
    else:
        for value in <tuple>values:
            _encode(out, value, protocol, depth + 1)
    return 0


cdef int _encode_pairs(Buffer* out, object pairs, int protocol, int depth) except -1:
    """Flat in RESP2; in RESP3 each pair is an array of its own."""
    _go_deeper(depth)
    _sent(emit_array(out, len(pairs) if protocol == 3 else 2 * len(pairs)))
    for first, second in pairs:
        if protocol == 3:
            _sent(emit_array(out, 2))
        _encode(out, first, protocol, depth + 1)
        _encode(out, second, protocol, depth + 1)
    return 0


cdef int _encode_map(Buffer* out, dict pairs, int protocol, int depth) except -1:
    _go_deeper(depth)
    _sent(emit_map(out, len(pairs), protocol))
    for key, value in pairs.items():
        _encode(out, key, protocol, depth + 1)
        _encode(out, value, protocol, depth + 1)
    return 0


cdef inline int _sent(int outcome) except -1:
    if outcome < 0:
        raise MemoryError
    return 0


cdef inline int _go_deeper(int depth) except -1:
    if depth >= MAX_DEPTH:
        raise RecursionError(f"a reply nested more than {MAX_DEPTH} deep")
    return 0


cdef int emit_double(Buffer* out, double value, int protocol) noexcept nogil:
    cdef char[DOUBLE_CHARS] text
    cdef size_t size = write_double(text, value)
    return _emit_line(out, c",", text, size) if protocol == 3 else emit_bulk(out, text, size)


cdef int emit_status(Buffer* out, const char* text, size_t size) noexcept nogil:
    return _emit_line(out, c"+", text, size)


cdef int emit_error(Buffer* out, const char* text, size_t size) noexcept nogil:
    return _emit_line(out, c"-", text, size)


cdef int _emit_line(Buffer* out, char kind, const char* text, size_t size) noexcept nogil:
    cdef char* to
    cdef size_t i
    if size > <size_t>-1 - 3 or buffer_reserve(out, size + 3) < 0:
        return -1
    to = out.data + out.size
    to[0] = kind
    for i in range(size):
        # A line break in the text would begin a reply of the text's own making.
        to[1 + i] = c" " if text[i] == c"\r" or text[i] == c"\n" else text[i]
    memcpy(to + 1 + size, b"\r\n", 2)
    out.size += size + 3
    return 0


cdef int emit_verbatim(Buffer* out, const char* text, size_t size, int protocol) noexcept nogil:
    if protocol != 3:
        return emit_bulk(out, text, size)
    if size > <size_t>-1 - HEAD_CHARS - 6 or buffer_reserve(out, HEAD_CHARS + size + 6) < 0:
        return -1
    _put_head(out, c"=", <int64_t>(size + 4))
    memcpy(out.data + out.size, b"txt:", 4)
    memcpy(out.data + out.size + 4, text, size)
    memcpy(out.data + out.size + 4 + size, b"\r\n", 2)
    out.size += size + 6
    return 0


cdef size_t write_double(char* to, double value) noexcept nogil:
    cdef char[DOUBLE_CHARS] digits
    cdef size_t length, sign
    cdef int exponent = 0
    if isnan(value):
        memcpy(to, b"nan", 3)
        return 3
    sign = 1 if signbit(value) else 0
    to[0] = c"-"
    value = fabs(value)
    if isinf(value):
        memcpy(to + sign, b"inf", 3)
        return sign + 3
    if value < PLAIN_BELOW and value == <double><int64_t>value:
        return sign + write_integer(to + sign, <int64_t>value)
    length = _few_places(digits, value, &exponent)
    if length == 0:
        length = _shortest_digits(digits, value, &exponent)
    return sign + _lay_out(to + sign, digits, length, exponent)


cdef size_t _few_places(char* digits, double value, int* exponent) noexcept nogil:
    """The fast way: the digits of a value with few decimal places, such as 0.1 or 1700000000.123456; 0 if it has more.

    Below 2**51 the scaled value is off by at most 3/8 (half a unit in the last place, times the power of ten, rounded
    once more), so rounding finds the only candidate, and dividing two exact numbers tells whether it reads back as
    `value`. Neighbouring decimals are two units in the last place apart or more, so no other one does.
    """
    cdef int places
    cdef int64_t scaled
    for places in range(1, PLACES + 1):
        if value * _powers_of_ten[places] >= FAST_BELOW:
            return 0
        scaled = llround(value * _powers_of_ten[places])
        if <double>scaled / _powers_of_ten[places] == value:
            exponent[0] = -places
            return write_integer(digits, scaled)
    return 0


cdef size_t _shortest_digits(char* digits, double value, int* exponent) noexcept nogil:
    """The fewest digits that read back as `value` (positive, finite): value = digits * 10**exponent."""
    cdef char[DOUBLE_CHARS] text        # d.ddde-308
    cdef int precision = SURE_DIGITS if value >= SMALLEST_NORMAL else 1
    cdef size_t length
    while True:
        snprintf(text, DOUBLE_CHARS, b"%.*e", precision - 1, value)
        if precision == DIGITS or strtod(text, NULL) == value:
            break
        precision += 1
    digits[0] = text[0]
    if precision > 1:
        memcpy(digits + 1, &text[2], precision - 1)
    length = precision
    while length > 1 and digits[length - 1] == c"0":
        length -= 1
    # The exponent stands behind the digits, their point and the "e".
    exponent[0] = atoi(&text[precision + (2 if precision > 1 else 1)]) - <int>length + 1
    return length


cdef size_t _lay_out(char* to, const char* digits, size_t length, int exponent) noexcept nogil:
    """digits * 10**exponent in the notation that Redis 7.2 chooses."""
    cdef int scientific = exponent + <int>length - 1           # the exponent behind one leading digit
    cdef int magnitude = -scientific if scientific < 0 else scientific
    cdef size_t size, zeroes
    if exponent >= 0 and magnitude < <int>length + 7:
        memcpy(to, digits, length)
        memset(to + length, c"0", exponent)
        return length + exponent
    if exponent < 0 and (exponent > -7 or magnitude < 4):
        if scientific >= 0:
            memcpy(to, digits, scientific + 1)
            to[scientific + 1] = c"."
            memcpy(to + scientific + 2, digits + scientific + 1, length - scientific - 1)
            return length + 1
        zeroes = magnitude - 1
        memcpy(to, b"0.", 2)
        memset(to + 2, c"0", zeroes)
        memcpy(to + 2 + zeroes, digits, length)
        return 2 + zeroes + length
    to[0] = digits[0]
    size = 1
    if length > 1:
        to[1] = c"."
        memcpy(to + 2, digits + 1, length - 1)
        size = length + 1
    to[size] = c"e"
    to[size + 1] = c"-" if scientific < 0 else c"+"
    return size + 2 + write_integer(to + size + 2, magnitude)
