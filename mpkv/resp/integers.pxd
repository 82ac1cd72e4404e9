# 64-bit integers as text, both ways, in Redis' one canonical notation: no plus sign, no leading zeroes, no "-0".

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    INTEGER_CHARS = 20                          # the longest: -9223372036854775808

cdef inline bint read_integer(const char* text, size_t size, int64_t* value) noexcept nogil:
    """Whether the whole text is such an integer; if so, its value."""
    cdef bint negative
    cdef uint64_t total
    cdef unsigned digit
    cdef size_t i
    if size == 0 or size > INTEGER_CHARS:
        return False
    negative = text[0] == c"-"
    i = 1 if negative else 0
    if i == size:
        return False
    if text[i] == c"0":
        value[0] = 0
        return size == 1
    total = 0
    while i < size:
        digit = <unsigned char>text[i] - <unsigned>c"0"
        # Nineteen digits never wrap; the twentieth could, and no 64-bit signed number has twenty.
        if digit > 9 or total > (<uint64_t>1 << 63) // 10:
            return False
        total = total * 10 + digit
        i += 1
    if total > <uint64_t>0x7FFFFFFFFFFFFFFF + negative:
        return False
    value[0] = <int64_t>(0 - total) if negative else <int64_t>total
    return True

cdef inline size_t write_integer(char* to, int64_t value) noexcept nogil:
    """Write the text of `value` to `to`, which has INTEGER_CHARS bytes; its length."""
    cdef char[INTEGER_CHARS] digits
    cdef size_t at = INTEGER_CHARS
    cdef size_t sign = 0
    cdef uint64_t left = <uint64_t>value
    if value < 0:
        left = 0 - left
        to[0] = c"-"
        sign = 1
    while left >= 10:
        at -= 1
        digits[at] = <char>(c"0" + left % 10)
        left //= 10
    at -= 1
    digits[at] = <char>(c"0" + left)
    memcpy(to + sign, &digits[at], INTEGER_CHARS - at)
    return sign + INTEGER_CHARS - at
