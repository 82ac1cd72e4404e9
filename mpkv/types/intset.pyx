"""A set of integers as one sorted array of 16-, 32- or 64-bit numbers, found by binary search.

All numbers have the width of the widest one that was ever added; a wider number widens the array and, being beyond
all others, goes to one of its ends.
"""

from libc.stdint cimport INT16_MAX, INT16_MIN, INT32_MAX, INT32_MIN
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memmove

from mpkv.types.allocator cimport SETS, block_room
from mpkv.types.packed cimport packed_add_count, packed_count, packed_cut, packed_resize, packed_used

cdef uint64_t INT64_MAX_MAGNITUDE = 0x7FFFFFFFFFFFFFFFULL


# Text

cdef bint integer_of(const char* text, size_t size, int64_t* number) noexcept nogil:
    cdef size_t negative = size > 0 and text[0] == c"-"
    cdef uint64_t magnitude = 0
    cdef uint64_t digit
    cdef size_t index
    if size == 0 or size > INTEGER_TEXT_MAX or size == negative:
        return False
    if text[negative] == c"0":          # no leading zeroes, no "-0"
        number[0] = 0
        return size == 1
    for index in range(negative, size):
        digit = <unsigned char>text[index] - <unsigned char>c"0"
        if digit > 9 or magnitude > (INT64_MAX_MAGNITUDE + negative - digit) // 10:
            return False
        magnitude = magnitude * 10 + digit
    number[0] = <int64_t>(0 - magnitude if negative else magnitude)
    return True


cdef size_t integer_text(int64_t number, char* text) noexcept nogil:
    cdef char digits[INTEGER_TEXT_MAX]
    cdef uint64_t magnitude = 0 - <uint64_t>number if number < 0 else <uint64_t>number
    cdef size_t count = 0
    cdef size_t size = 0
    while True:
        digits[count] = <char>(c"0" + magnitude % 10)
        magnitude //= 10
        count += 1
        if magnitude == 0:
            break
    if number < 0:
        text[0] = c"-"
        size = 1
    while count:
        count -= 1
        text[size] = digits[count]
        size += 1
    return size


# The array

cdef inline uint8_t _width_of(int64_t number) noexcept nogil:
    if INT16_MIN <= number <= INT16_MAX:
        return 2
    return 4 if INT32_MIN <= number <= INT32_MAX else 8


cdef inline int64_t _read(const void* array, uint8_t width, size_t index) noexcept nogil:
    if width == 2:
        return (<const int16_t*>array)[index]
    if width == 4:
        return (<const int32_t*>array)[index]
    return (<const int64_t*>array)[index]


cdef inline void _write(void* array, uint8_t width, size_t index, int64_t number) noexcept nogil:
    if width == 2:
        (<int16_t*>array)[index] = <int16_t>number
    elif width == 4:
        (<int32_t*>array)[index] = <int32_t>number
    else:
        (<int64_t*>array)[index] = number


cdef inline uint8_t _width(const packed_t* self) noexcept nogil:
    """Of its numbers, in bytes: what it holds tells."""
    return <uint8_t>(packed_used(self) // packed_count(self)) if packed_count(self) else 2


cdef int64_t intset_at(const packed_t* self, size_t index) noexcept nogil:
    return _read(self.body, _width(self), index)


cdef bint intset_find(const packed_t* self, int64_t number, size_t* index) noexcept nogil:
    cdef size_t low = 0
    cdef size_t count = packed_count(self)
    cdef size_t high = count
    cdef size_t middle
    cdef uint8_t width = _width(self)
    while low < high:
        middle = (low + high) >> 1
        if _read(self.body, width, middle) < number:
            low = middle + 1
        else:
            high = middle
    index[0] = low
    return low < count and _read(self.body, width, low) == number


cdef int intset_add(packed_t* self, int64_t number) noexcept nogil:
    cdef uint8_t old_width = _width(self)
    cdef uint8_t width = max(_width_of(number), old_width)
    cdef size_t count = packed_count(self)
    cdef size_t index, at
    cdef char* place
    if intset_find(self, number, &index):
        return 0
    if packed_resize(self, (count + 1) * width, SETS) < 0:
        return -1
    if width != old_width:
        at = count
        while at:                       # from the end: the wider numbers overtake only what was read
            at -= 1
            _write(self.body, width, at, _read(self.body, old_width, at))
    place = <char*>self.body + index * width
    memmove(place + width, place, (count - index) * width)
    _write(self.body, width, index, number)
    packed_add_count(self, 1)
    return 1


cdef bint intset_remove(packed_t* self, int64_t number) noexcept nogil:
    cdef uint8_t width = _width(self)
    cdef size_t index
    if not intset_find(self, number, &index):
        return False
    packed_cut(self, index * width, width, SETS)
    packed_add_count(self, -1)
    return True


cdef const char* intset_check(const packed_t* self) noexcept nogil:
    cdef uint8_t width = _width(self)
    cdef size_t index
    if packed_used(self) != packed_count(self) * <size_t>width:
        return "an intset's size is not that of its numbers"
    if packed_used(self) > block_room(self.body):
        return "an intset uses more than it has"
    if width != 2 and width != 4 and width != 8:
        return "an intset's width is none"
    for index in range(1, packed_count(self)):
        if intset_at(self, index - 1) >= intset_at(self, index):
            return "an intset is not in ascending order"
    return NULL
