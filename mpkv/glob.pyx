"""Redis' glob patterns, for KEYS, SCAN, PSUBSCRIBE, CONFIG GET and ACL rules.

``*`` any run of bytes · ``?`` one byte · ``[abc]`` ``[a-z]`` ``[^a]`` one byte of a class · ``\\x`` the byte x itself.
A class that is not closed reaches to the end of the pattern, a range may be given backwards, ``[]`` matches nothing.

A pattern needs no recursion: when something after a ``*`` fails, only the *last* star has to take one byte more. An
earlier star taking more could never help, because whatever followed it has matched already at the earliest possible
place. So the cost is at most (length of pattern) x (length of text), and ``a*a*a*...b`` is harmless.
"""

cdef inline unsigned char _lower(unsigned char byte) noexcept nogil:
    return byte + 32 if 65 <= byte <= 90 else byte


cdef bint _class_match(
    const char* pattern, size_t size, size_t* position, unsigned char byte, bint nocase
) noexcept nogil:
    """Whether `byte` is in the class that begins after ``[`` at `position`, which is moved behind its ``]``."""
    cdef size_t at = position[0]
    cdef bint negated = at < size and pattern[at] == b"^"
    cdef bint found = False
    cdef unsigned char low, high, swap
    if negated:
        at += 1
    if nocase:
        byte = _lower(byte)
    while at < size and pattern[at] != b"]":
        if pattern[at] == b"\\" and at + 1 < size:
            low = high = <unsigned char>pattern[at + 1]
            at += 2
        elif at + 2 < size and pattern[at + 1] == b"-":
            low = <unsigned char>pattern[at]
            high = <unsigned char>pattern[at + 2]
            at += 3
        else:
            low = high = <unsigned char>pattern[at]
            at += 1
        if low > high:
            swap = low
            low = high
            high = swap
        if nocase:
            low = _lower(low)
            high = _lower(high)
        if low <= byte <= high:
            found = True
    position[0] = at + 1 if at < size else at
    return found != negated


cdef bint _one_match(
    const char* pattern, size_t size, size_t* position, unsigned char byte, bint nocase
) noexcept nogil:
    """Whether `byte` matches the one-byte item at `position`, which is moved behind the item."""
    cdef size_t at = position[0]
    cdef unsigned char wanted = <unsigned char>pattern[at]
    position[0] = at + 1
    if wanted == b"?":
        return True
    if wanted == b"[":
        return _class_match(pattern, size, position, byte, nocase)
    if wanted == b"\\" and at + 1 < size:
        wanted = <unsigned char>pattern[at + 1]
        position[0] = at + 2
    if nocase:
        return _lower(wanted) == _lower(byte)
    return wanted == byte


cdef bint glob_match(
    const char* pattern, size_t pattern_size, const char* text, size_t text_size, bint nocase
) noexcept nogil:
    cdef size_t at = 0
    cdef size_t here = 0
    cdef bint starred = False
    cdef size_t after_star = 0          # where the pattern goes on behind the last star
    cdef size_t taken = 0               # up to where that star has taken text
    while here < text_size:
        if at < pattern_size and pattern[at] == b"*":
            at += 1
            if at == pattern_size:      # a star at the end takes the rest, whatever it is
                return True
            starred = True
            after_star = at
            taken = here
        elif at < pattern_size and _one_match(pattern, pattern_size, &at, <unsigned char>text[here], nocase):
            here += 1
        elif starred:
            taken += 1
            here = taken
            at = after_star
        else:
            return False
    while at < pattern_size and pattern[at] == b"*":
        at += 1
    return at == pattern_size


def matches(pattern: bytes, text: bytes, ignore_case: bool = False) -> bool:
    """Whether the whole of `text` matches `pattern`."""
    return glob_match(pattern, len(pattern), text, len(text), ignore_case)
