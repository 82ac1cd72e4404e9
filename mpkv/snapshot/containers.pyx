"""Walks over the packed containers of RDB files: ziplist, listpack, zipmap, intset.

Redis wrote small aggregates as one blob, the very bytes it held in memory. A blob is input from outside: every length
is compared with what is left, every redundant statement (total size, count, sizes to walk backwards by, the place of
the last entry, the order of integers) is compared with what was found, and the last entry must end where the
terminator stands. Sources: the comments at the head of ziplist.c, listpack.c, zipmap.c and intset.c of Redis 7.0
describe the layouts.

A walk allocates nothing and is safe without the GIL.
"""

from libc.string cimport memcpy

from mpkv.snapshot.format cimport write_integer

from libc.stdint cimport uint16_t, uint32_t

cdef extern from "<endian.h>" nogil:
    uint16_t le16toh(uint16_t)
    uint32_t le32toh(uint32_t)
    uint64_t le64toh(uint64_t)
    uint32_t be32toh(uint32_t)

cdef uint64_t UNKNOWN_COUNT = 0xFFFFFFFFFFFFFFFFULL

cdef enum:
    TERMINATOR = 0xFF
    COUNT_OVERFLOWED = 0xFFFF    # a 16-bit count that no longer tells
    ZIPLIST_HEADER_BYTES = 10    # total size, place of the last entry, count
    LISTPACK_HEADER_BYTES = 6    # total size, count
    INTSET_HEADER_BYTES = 8      # width, count
    ZIPMAP_COUNT_OVERFLOWED = 254
    LONG_SIZE = 254              # ziplist, zipmap: the size follows in four bytes

ctypedef int (*open_function)(Container* self, const uint8_t* blob, size_t size) noexcept nogil
ctypedef int (*next_function)(Container* self, char* text, const char** data, size_t* size) noexcept nogil


cdef int _fail(Container* self, const char* reason) noexcept nogil:
    self.reason = reason
    return -1


cdef int64_t _little_endian(const uint8_t* data, int width) noexcept nogil:
    """A signed integer of 1 to 8 bytes."""
    cdef uint64_t bits = 0
    cdef int i
    for i in range(width):
        bits |= <uint64_t>data[i] << (8 * i)
    cdef int unused_bits = 64 - 8 * width
    return <int64_t>(bits << unused_bits) >> unused_bits


cdef uint32_t _unsigned32(const uint8_t* data) noexcept nogil:
    cdef uint32_t number
    memcpy(&number, data, 4)
    return le32toh(number)


cdef uint16_t _unsigned16(const uint8_t* data) noexcept nogil:
    cdef uint16_t number
    memcpy(&number, data, 2)
    return le16toh(number)


cdef void _integer(const uint8_t* at, int width, char* text, const char** data, size_t* size) noexcept nogil:
    size[0] = write_integer(_little_endian(at, width), text)
    data[0] = text


cdef uint64_t _count16(uint16_t count) noexcept nogil:
    return UNKNOWN_COUNT if count == COUNT_OVERFLOWED else count


cdef int _at_the_end(Container* self) noexcept nogil:
    if self.announced != UNKNOWN_COUNT and self.announced != self.seen:
        return _fail(self, b"a container holds another number of entries than it announces")
    return 0

# -------------------------------------------------------------------------------------------------------------- ziplist


cdef int _ziplist_open(Container* self, const uint8_t* blob, size_t size) noexcept nogil:
    if size < ZIPLIST_HEADER_BYTES + 1:
        return _fail(self, b"a ziplist that is too short")
    if _unsigned32(blob) != size:
        return _fail(self, b"a ziplist of another size than it announces")
    if blob[size - 1] != TERMINATOR:
        return _fail(self, b"a ziplist without its end")
    self.last_at = _unsigned32(blob + 4)
    self.announced = _count16(_unsigned16(blob + 8))
    self.at = blob + ZIPLIST_HEADER_BYTES
    return 0


cdef int _ziplist_next(Container* self, char* text, const char** data, size_t* size) noexcept nogil:
    """One entry: size of the entry before (1 or 5 bytes), form and length, contents."""
    cdef const uint8_t* entry = self.at
    cdef const uint8_t* at = entry
    cdef size_t left = self.end - at
    cdef uint64_t previous, length
    cdef uint32_t big32
    cdef uint8_t form
    cdef int width
    if left == 0:
        # the header names the place of the last entry, or of the terminator when there is none
        if self.last_at != <uint64_t>(self.end - self.start) - self.previous_size:
            return _fail(self, b"a ziplist whose last entry is not where it announces")
        return _at_the_end(self)
    if at[0] < LONG_SIZE:
        previous = at[0]
        at += 1
    else:
        if at[0] != LONG_SIZE or left < 5:
            return _fail(self, b"a ziplist entry that is cut short")
        previous = _unsigned32(at + 1)
        at += 5
    if previous != self.previous_size:
        return _fail(self, b"a ziplist entry that misstates the size of the one before")
    left = self.end - at
    if left == 0:
        return _fail(self, b"a ziplist entry that is cut short")
    form = at[0]
    if form < 0xC0:                         # a string, with a length of 6, 14 or 32 bits
        if form < 0x40:
            length = form
            width = 1
        elif form < 0x80:
            if left < 2:
                return _fail(self, b"a ziplist entry that is cut short")
            length = <uint64_t>(form & 0x3F) << 8 | at[1]
            width = 2
        else:
            if left < 5 or form != 0x80:
                return _fail(self, b"a ziplist entry of an unknown form")
            memcpy(&big32, at + 1, 4)
            length = be32toh(big32)
            width = 5
        if length > left - width:
            return _fail(self, b"a ziplist entry that goes beyond the end")
        data[0] = <const char*>at + width
        size[0] = length
        at += width + length
    elif 0xF1 <= form <= 0xFD:              # the number itself, 0 … 12
        size[0] = write_integer(form - 0xF1, text)
        data[0] = text
        at += 1
    else:
        width = _ziplist_integer_width(form)
        if width == 0:
            return _fail(self, b"a ziplist entry of an unknown form")
        if <size_t>width > left - 1:
            return _fail(self, b"a ziplist entry that goes beyond the end")
        _integer(at + 1, width, text, data, size)
        at += 1 + width
    self.previous_size = at - entry
    self.at = at
    self.seen += 1
    return 1


cdef int _ziplist_integer_width(uint8_t form) noexcept nogil:
    if form == 0xFE:
        return 1
    if form == 0xC0:
        return 2
    if form == 0xF0:
        return 3
    if form == 0xD0:
        return 4
    if form == 0xE0:
        return 8
    return 0

# ------------------------------------------------------------------------------------------------------------- listpack


cdef int _listpack_open(Container* self, const uint8_t* blob, size_t size) noexcept nogil:
    if size < LISTPACK_HEADER_BYTES + 1:
        return _fail(self, b"a listpack that is too short")
    if _unsigned32(blob) != size:
        return _fail(self, b"a listpack of another size than it announces")
    if blob[size - 1] != TERMINATOR:
        return _fail(self, b"a listpack without its end")
    self.announced = _count16(_unsigned16(blob + 4))
    self.at = blob + LISTPACK_HEADER_BYTES
    return 0


cdef int _listpack_string_head(const uint8_t* at, size_t left, uint64_t* length) noexcept nogil:
    """Bytes before a string and its length; 0: not a string, or cut short."""
    cdef uint8_t form = at[0]
    if form & 0xC0 == 0x80:
        length[0] = form & 0x3F
        return 1
    if form & 0xF0 == 0xE0 and left >= 2:
        length[0] = <uint64_t>(form & 0x0F) << 8 | at[1]
        return 2
    if form == 0xF0 and left >= 5:
        length[0] = _unsigned32(at + 1)
        return 5
    return 0


cdef int _listpack_integer_width(uint8_t form) noexcept nogil:
    if form == 0xF1:
        return 2
    if form == 0xF2:
        return 3
    if form == 0xF3:
        return 4
    if form == 0xF4:
        return 8
    return 0


cdef int _backward_size(const uint8_t* at, size_t left, uint64_t entry_size) noexcept nogil:
    """Bytes of the size that follows an entry, seven bits each, the highest first and unmarked; 0: it is wrong."""
    cdef int width = 1, i
    cdef uint64_t rest = entry_size >> 7
    cdef uint8_t byte
    while rest:
        width += 1
        rest >>= 7
    if width > 5 or <size_t>width > left:
        return 0
    for i in range(width):
        byte = entry_size >> (7 * (width - 1 - i)) & 0x7F
        if i:
            byte |= 0x80
        if at[i] != byte:
            return 0
    return width


cdef int _listpack_next(Container* self, char* text, const char** data, size_t* size) noexcept nogil:
    """One entry: form and length, contents, the size of both to walk backwards by."""
    cdef const uint8_t* at = self.at
    cdef size_t left = self.end - at
    cdef uint64_t length = 0, entry_size
    cdef int width
    if left == 0:
        return _at_the_end(self)
    if at[0] < 0x80:                        # 0 … 127
        size[0] = write_integer(at[0], text)
        data[0] = text
        entry_size = 1
    elif at[0] & 0xE0 == 0xC0:              # 13 bits, signed
        if left < 2:
            return _fail(self, b"a listpack entry that is cut short")
        size[0] = write_integer(<int64_t>((<uint64_t>(at[0] & 0x1F) << 8 | at[1]) << 51) >> 51, text)
        data[0] = text
        entry_size = 2
    else:
        width = _listpack_integer_width(at[0])
        if width:
            entry_size = 1 + width
            if entry_size > left:
                return _fail(self, b"a listpack entry that goes beyond the end")
            _integer(at + 1, width, text, data, size)
        else:
            width = _listpack_string_head(at, left, &length)
            if width == 0:
                return _fail(self, b"a listpack entry of an unknown form")
            if length > left - width:
                return _fail(self, b"a listpack entry that goes beyond the end")
            data[0] = <const char*>at + width
            size[0] = length
            entry_size = width + length
    width = _backward_size(at + entry_size, left - entry_size, entry_size)
    if width == 0:
        return _fail(self, b"a listpack entry whose backward size is wrong")
    self.at = at + entry_size + width
    self.seen += 1
    return 1

# --------------------------------------------------------------------------------------------------------------- zipmap


cdef int _zipmap_open(Container* self, const uint8_t* blob, size_t size) noexcept nogil:
    if size < 2:
        return _fail(self, b"a zipmap that is too short")
    if blob[size - 1] != TERMINATOR:
        return _fail(self, b"a zipmap without its end")
    self.announced = UNKNOWN_COUNT if blob[0] >= ZIPMAP_COUNT_OVERFLOWED else blob[0] * 2
    self.at = blob + 1
    return 0


cdef int _zipmap_next(Container* self, char* text, const char** data, size_t* size) noexcept nogil:
    """A field or a value in turn: length (1 or 5 bytes), before a value also how many bytes behind it are unused."""
    cdef const uint8_t* at = self.at
    cdef size_t left = self.end - at
    cdef bint is_value = self.seen & 1
    cdef uint64_t length, unused_bytes = 0
    if left == 0:
        return _at_the_end(self)
    if at[0] < LONG_SIZE:
        length = at[0]
        at += 1
    elif at[0] == LONG_SIZE and left >= 5:
        length = _unsigned32(at + 1)
        at += 5
    else:
        return _fail(self, b"a zipmap entry that is cut short")
    if is_value:
        if at == self.end:
            return _fail(self, b"a zipmap entry that is cut short")
        unused_bytes = at[0]
        at += 1
    if length + unused_bytes > <uint64_t>(self.end - at):
        return _fail(self, b"a zipmap entry that goes beyond the end")
    data[0] = <const char*>at
    size[0] = length
    self.at = at + length + unused_bytes
    self.seen += 1
    return 1

# --------------------------------------------------------------------------------------------------------------- intset


cdef int _intset_open(Container* self, const uint8_t* blob, size_t size) noexcept nogil:
    cdef uint32_t width
    if size < INTSET_HEADER_BYTES:
        return _fail(self, b"an intset that is too short")
    width = _unsigned32(blob)
    if width != 2 and width != 4 and width != 8:
        return _fail(self, b"an intset of an unknown width")
    self.width = width
    self.announced = _unsigned32(blob + 4)
    if self.announced * width != size - INTSET_HEADER_BYTES:
        return _fail(self, b"an intset of another size than it announces")
    self.at = blob + INTSET_HEADER_BYTES
    self.end = blob + size                  # has no terminator
    return 0


cdef int _intset_next(Container* self, char* text, const char** data, size_t* size) noexcept nogil:
    cdef int64_t number
    if self.at == self.end:
        return 0
    number = _little_endian(self.at, self.width)
    if self.seen and number <= self.previous:
        return _fail(self, b"an intset that is not in order")
    self.previous = number
    self.at += self.width
    self.seen += 1
    size[0] = write_integer(number, text)
    data[0] = text
    return 1

# ------------------------------------------------------------------------------------------------------------------ any

cdef open_function[4] _OPEN = [_ziplist_open, _listpack_open, _zipmap_open, _intset_open]
cdef next_function[4] _NEXT = [_ziplist_next, _listpack_next, _zipmap_next, _intset_next]


cdef int container_open(Container* self, int kind, const char* blob, size_t size) noexcept nogil:
    """Check the header of a blob and stand before its first entry."""
    self.start = <const uint8_t*>blob
    self.end = self.start + size - 1 if size else self.start
    self.seen = 0
    self.previous_size = 0
    self.reason = NULL
    return _OPEN[kind](self, self.start, size)


cdef int container_next(Container* self, int kind, char* text, const char** data, size_t* size) noexcept nogil:
    return _NEXT[kind](self, text, data, size)
