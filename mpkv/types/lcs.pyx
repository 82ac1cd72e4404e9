"""The longest common subsequence of two byte strings, by dynamic programming over a table of lengths.

Row i, column j of the table holds the length for the first i bytes of `a` and the first j of `b`; the subsequence is
then read backwards from its last cell. Where both ways back are equally long the walk drops a byte of `b`: that choice
decides which of several solutions LCS replies with, so it is Redis'. Only the walk needs the whole table; the length
alone needs two rows.
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free

CELL_BYTES = sizeof(uint32_t)


def runs(bytes a, bytes b):
    """The subsequence as runs ``(start in a, start in b, length)`` of bytes together in both, the last run first."""
    cdef const char* first = a
    cdef const char* second = b
    cdef size_t i = len(a), j = len(b), width = j + 1
    cdef size_t row, size = 0
    cdef uint32_t* table = <uint32_t*>calloc((i + 1) * width, sizeof(uint32_t))
    if table == NULL:
        raise MemoryError
    found = []
    try:
        with nogil:
            for row in range(1, i + 1):
                _fill_row(table + (row - 1) * width, table + row * width, first[row - 1], second, j)
        while i > 0 and j > 0:
            if first[i - 1] == second[j - 1]:
                i -= 1
                j -= 1
                size += 1
                continue
            if size:
                found.append((i, j, size))
                size = 0
            if table[(i - 1) * width + j] > table[i * width + j - 1]:
                i -= 1
            else:
                j -= 1
        if size:
            found.append((i, j, size))
        return found
    finally:
        free(table)


def length(bytes a, bytes b):
    """How long the subsequence is."""
    cdef const char* first = a
    cdef const char* second = b
    cdef size_t row, rows = len(a), columns = len(b)
    cdef uint32_t* above = <uint32_t*>calloc(2 * (columns + 1), sizeof(uint32_t))
    cdef uint32_t* current
    cdef uint32_t* filled = above
    if above == NULL:
        raise MemoryError
    try:
        current = above + columns + 1
        with nogil:
            for row in range(rows):
                _fill_row(filled, current, first[row], second, columns)
                filled, current = current, filled
        return filled[columns]
    finally:
        free(above)


cdef void _fill_row(
    const uint32_t* above, uint32_t* current, char byte, const char* second, size_t columns
) noexcept nogil:
    cdef size_t column
    current[0] = 0
    for column in range(1, columns + 1):
        if byte == second[column - 1]:
            current[column] = above[column - 1] + 1
        elif above[column] > current[column - 1]:
            current[column] = above[column]
        else:
            current[column] = current[column - 1]
