"""C's ``long double``, in which INCRBYFLOAT and HINCRBYFLOAT add and blocking commands read their timeouts.

Redis computes these in it: on x86 64 bits of mantissa where Python's floats have 53, so that ``0.1`` + ``0.2`` prints
other digits. Where a machine's long double is another one, Redis' results differ there too, and so do these.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc cimport errno
from libc.stdint cimport int64_t
from libc.stdio cimport snprintf

cdef extern from "<stdlib.h>" nogil:
    long double strtold(const char* text, char** end)

cdef extern from "<math.h>" nogil:
    bint isfinite(long double value)
    bint isinf(long double value)
    bint isnan(long double value)
    long double ceill(long double value)

cdef extern from "<ctype.h>" nogil:
    bint isspace(int byte)

cdef enum:
    TEXT_BYTES = 5 * 1024           # the buffer of Redis into which a text must fit; the longest has 4,952

cdef class LongDouble:
    """A number; infinite ones are, NaN is not."""
    cdef long double value

    @property
    def is_finite(self) -> bool:
        return isfinite(self.value)

    def plus(self, LongDouble other not None):
        """The sum, rounded; None if it is infinite or not a number."""
        cdef LongDouble total = LongDouble.__new__(LongDouble)
        total.value = self.value + other.value
        return total if isfinite(total.value) else None

    def thousands(self):
        """A thousand times the number, the next larger integer; None beyond 64 bits."""
        cdef long double product = ceill(self.value * 1000)
        if not -9223372036854775808.0 <= product < 9223372036854775808.0:
            return None
        return <int64_t>product

    def to_text(self) -> bytes:
        """``%.17Lf`` of a finite one, without the zeroes at its end: how Redis stores a sum."""
        cdef char[TEXT_BYTES] text
        cdef int size = snprintf(text, sizeof(text), "%.17Lf", self.value)
        while text[size - 1] == c"0":
            size -= 1
        if text[size - 1] == c".":
            size -= 1
        return b"0" if text[:size] == b"-0" else text[:size]


def parse(bytes text not None):
    """What ``strtold`` makes of the whole of a text; None if it is no number, too large, or so small that it would be
    0."""
    cdef LongDouble number = LongDouble.__new__(LongDouble)
    cdef const char* begin = PyBytes_AS_STRING(text)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(text)
    cdef char* end
    if size == 0 or size >= TEXT_BYTES or isspace(<unsigned char>begin[0]):
        return None
    errno.errno = 0
    number.value = strtold(begin, &end)
    if end != begin + size or isnan(number.value):
        return None
    if errno.errno == errno.ERANGE and (isinf(number.value) or number.value == 0):
        return None
    return number
