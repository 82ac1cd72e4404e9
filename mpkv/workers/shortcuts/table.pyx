"""The shortcuts by the names of their commands; the families' modules fill it."""

cdef enum:
    MOST = 128

cdef struct row_t:
    const char* name
    shortcut_t shortcut

cdef row_t[MOST] _rows
cdef int _count = 0


cdef int enter(const char* name, shortcut_t shortcut) except -1:
    """:param name: in lower case; kept"""
    global _count
    assert _count < MOST, "the table of shortcuts is full"
    _rows[_count] = row_t(name, shortcut)
    _count += 1
    return 0


cdef shortcut_t find_shortcut(str name):
    """The shortcut of a command; NULL if it has none."""
    cdef int i
    wanted = name.encode()
    for i in range(_count):
        if _rows[i].name == wanted:
            return _rows[i].shortcut
    return NULL


def names() -> list:
    """The commands that have a shortcut."""
    cdef int i
    return [_rows[i].name.decode() for i in range(_count)]
