"""The bytes of an RDB file: checksum, lengths, strings, and bounded reading and writing.

An RDB file is read as if a stranger had sent it: a length is compared with what is left of the file before anything
is allocated or read, so a damaged file costs an error with an offset and never memory. The file is read through a
window that slides, so that its size does not matter; only a string longer than the window makes it grow for a while.

The checksum is CRC-64/REDIS (polynomial ad93d23594c935a9, reflected, nothing inverted): eight bytes at a time by
eight tables ("slicing-by-8", Kounavis and Berry 2005). As nothing is inverted it is linear: the checksum of A + B is
that of A, shifted over the length of B, xor that of B. The shift is a multiplication by x^(8 n) modulo the
polynomial, which is how parts that were written in parallel are joined without reading them again.

Nothing here touches a Python object after import; the snapshot child runs it (R9).
"""

from libc.errno cimport EINTR, errno
from libc.stdlib cimport free, malloc, realloc, strtod
from libc.string cimport memcpy, memmove, memset
from posix.unistd cimport read, write

from mpkv.buffer cimport buffer_append, buffer_free, buffer_reserve

cdef extern from "<endian.h>" nogil:
    uint16_t htole16(uint16_t)
    uint32_t htole32(uint32_t)
    uint64_t htole64(uint64_t)
    uint32_t htobe32(uint32_t)
    uint64_t htobe64(uint64_t)
    uint16_t le16toh(uint16_t)
    uint32_t le32toh(uint32_t)
    uint64_t le64toh(uint64_t)
    uint32_t be32toh(uint32_t)
    uint64_t be64toh(uint64_t)

cdef extern from "<math.h>" nogil:
    bint isnan(double)
    double INFINITY

cdef enum:
    WINDOW_BYTES = 1 << 20       # the file is read in steps of this
    LZF_LARGEST_RATIO = 88       # three bytes can stand for 264: a length beyond that is a lie
    DOUBLE_TEXT_BYTES = 128      # a double's text is at most 24 bytes; old servers wrote up to 128

cdef enum:                       # the two high bits of a length's first byte
    LENGTH_6_BITS = 0
    LENGTH_14_BITS = 1
    LENGTH_SPECIAL = 3

cdef enum:
    LENGTH_32_BITS = 0x80
    LENGTH_64_BITS = 0x81

cdef enum:                       # a string in another form, named by the low six bits
    ENCODED_INT8 = 0
    ENCODED_INT16 = 1
    ENCODED_INT32 = 2
    ENCODED_LZF = 3

# ------------------------------------------------------------------------------------------------------------- checksum

cdef uint64_t POLYNOMIAL = 0x95AC9329AC4BC9B5ULL      # bits reversed: the lowest bit is the highest power
cdef uint64_t[8][256] _crc_tables


cdef void _fill_tables() noexcept:
    cdef unsigned byte, bit, table
    cdef uint64_t crc
    for byte in range(256):
        crc = byte
        for bit in range(8):
            crc = (crc >> 1) ^ POLYNOMIAL if crc & 1 else crc >> 1
        _crc_tables[0][byte] = crc
    for table in range(1, 8):
        for byte in range(256):
            crc = _crc_tables[table - 1][byte]
            _crc_tables[table][byte] = _crc_tables[0][crc & 0xFF] ^ (crc >> 8)

_fill_tables()


cdef uint64_t crc64(uint64_t crc, const char* data, size_t size) noexcept nogil:
    """The checksum of what `crc` stands for followed by `data`; begin with 0."""
    cdef uint64_t eight
    while size >= 8:
        memcpy(&eight, data, 8)
        crc ^= le64toh(eight)
        crc = (
            _crc_tables[7][crc & 0xFF]
            ^ _crc_tables[6][(crc >> 8) & 0xFF]
            ^ _crc_tables[5][(crc >> 16) & 0xFF]
            ^ _crc_tables[4][(crc >> 24) & 0xFF]
            ^ _crc_tables[3][(crc >> 32) & 0xFF]
            ^ _crc_tables[2][(crc >> 40) & 0xFF]
            ^ _crc_tables[1][(crc >> 48) & 0xFF]
            ^ _crc_tables[0][crc >> 56]
        )
        data += 8
        size -= 8
    while size:
        crc = _crc_tables[0][(crc ^ <uint8_t>data[0]) & 0xFF] ^ (crc >> 8)
        data += 1
        size -= 1
    return crc


cdef uint64_t _multiply(uint64_t a, uint64_t b) noexcept nogil:
    """a · b modulo the polynomial; the highest bit is x^0."""
    cdef uint64_t product = 0
    cdef uint64_t power = 1ULL << 63
    while power:
        if a & power:
            product ^= b
        b = (b >> 1) ^ POLYNOMIAL if b & 1 else b >> 1
        power >>= 1
    return product


cpdef uint64_t crc64_combine(uint64_t crc_a, uint64_t crc_b, uint64_t size_b) noexcept nogil:
    """The checksum of A + B from the checksums of both and the length of B in bytes."""
    cdef uint64_t square = 1ULL << 55      # x^8, then x^16, x^32 …
    while size_b:
        if size_b & 1:
            crc_a = _multiply(crc_a, square)
        square = _multiply(square, square)
        size_b >>= 1
    return crc_a ^ crc_b


def checksum(bytes data not None, uint64_t crc=0) -> int:
    """CRC-64/REDIS of `data`, going on from `crc`."""
    return crc64(crc, data, len(data))

# -------------------------------------------------------------------------------------------------------------- writing


cdef void output_open(Output* self, int fd, char* buffer, size_t capacity) noexcept nogil:
    memset(self, 0, sizeof(Output))
    self.fd = fd
    self.buffer = buffer
    self.capacity = capacity


cdef int _write_all(Output* self, const char* data, size_t size) noexcept nogil:
    cdef ssize_t written
    self.crc64 = crc64(self.crc64, data, size)
    while size:
        written = write(self.fd, data, size)
        if written < 0:
            if errno == EINTR:
                continue
            self.error = errno
            return -1
        data += written
        size -= written
    return 0


cdef int output_flush(Output* self) noexcept nogil:
    """Hand everything to the kernel; 0, or -1 with `error` set."""
    cdef size_t used = self.used
    self.used = 0
    if self.error:
        return -1
    return _write_all(self, self.buffer, used)


cdef int output_bytes(Output* self, const char* data, size_t size) noexcept nogil:
    if size > self.capacity - self.used:
        if output_flush(self) < 0:
            return -1
        if size >= self.capacity:           # would fill the buffer by itself: saves copying it
            self.size_bytes += size
            return _write_all(self, data, size)
    if self.error:
        return -1
    memcpy(self.buffer + self.used, data, size)
    self.used += size
    self.size_bytes += size
    return 0


cdef int output_byte(Output* self, uint8_t byte) noexcept nogil:
    return output_bytes(self, <const char*>&byte, 1)


cdef int output_length(Output* self, uint64_t length) noexcept nogil:
    """A length in its shortest form; those of 32 and 64 bits are big-endian."""
    cdef uint8_t[9] form
    cdef uint32_t big32
    cdef uint64_t big64
    if length < 1 << 6:
        form[0] = <uint8_t>length
        return output_bytes(self, <const char*>form, 1)
    if length < 1 << 14:
        form[0] = <uint8_t>(LENGTH_14_BITS << 6 | length >> 8)
        form[1] = <uint8_t>length
        return output_bytes(self, <const char*>form, 2)
    if length <= 0xFFFFFFFFULL:
        form[0] = LENGTH_32_BITS
        big32 = htobe32(<uint32_t>length)
        memcpy(form + 1, &big32, 4)
        return output_bytes(self, <const char*>form, 5)
    form[0] = LENGTH_64_BITS
    big64 = htobe64(length)
    memcpy(form + 1, &big64, 8)
    return output_bytes(self, <const char*>form, 9)


cdef bint _is_int32(const char* text, size_t size, int64_t* number) noexcept nogil:
    """Whether `text` is exactly how a 32-bit integer is written in digits: no plus sign, no leading zero, no -0."""
    cdef size_t i = 0
    cdef int64_t magnitude = 0
    cdef bint negative
    if size == 0 or size > 11:
        return False
    negative = text[0] == c"-"
    if negative:
        i = 1
    if i == size or (text[i] == c"0" and size > 1):
        return False
    while i < size:
        if text[i] < c"0" or text[i] > c"9":
            return False
        magnitude = magnitude * 10 + (text[i] - c"0")
        i += 1
    number[0] = -magnitude if negative else magnitude
    return -(1LL << 31) <= number[0] < 1LL << 31


cdef int _output_integer(Output* self, int64_t number) noexcept nogil:
    cdef uint8_t[5] form
    cdef uint16_t little16
    cdef uint32_t little32
    if -(1 << 7) <= number < 1 << 7:
        form[0] = LENGTH_SPECIAL << 6 | ENCODED_INT8
        form[1] = <uint8_t>number
        return output_bytes(self, <const char*>form, 2)
    if -(1 << 15) <= number < 1 << 15:
        form[0] = LENGTH_SPECIAL << 6 | ENCODED_INT16
        little16 = htole16(<uint16_t>number)
        memcpy(form + 1, &little16, 2)
        return output_bytes(self, <const char*>form, 3)
    form[0] = LENGTH_SPECIAL << 6 | ENCODED_INT32
    little32 = htole32(<uint32_t>number)
    memcpy(form + 1, &little32, 4)
    return output_bytes(self, <const char*>form, 5)


cdef int output_string(Output* self, const char* data, size_t size) noexcept nogil:
    """A string; what reads as a 32-bit integer takes two to five bytes."""
    cdef int64_t number
    if _is_int32(data, size, &number):
        return _output_integer(self, number)
    if output_length(self, size) < 0:
        return -1
    return output_bytes(self, data, size)


cdef int output_double(Output* self, double number) noexcept nogil:
    cdef uint64_t bits
    memcpy(&bits, &number, 8)
    bits = htole64(bits)
    return output_bytes(self, <const char*>&bits, 8)


def packed_string(bytes data not None) -> bytes:
    """A string (up to 64 bytes) as it stands in a file: for the few that Python writes."""
    cdef char[80] buffer
    cdef Output output
    if len(data) > 64:
        raise ValueError("a string of at most 64 bytes")
    output_open(&output, -1, buffer, sizeof(buffer))
    output_string(&output, data, len(data))
    return buffer[:output.used]

# -------------------------------------------------------------------------------------------------------------- reading


cdef int source_open_file(Source* self, int fd, uint64_t size_bytes) noexcept nogil:
    """Read `size_bytes` from `fd`, from where it stands; the descriptor stays the caller's."""
    memset(self, 0, sizeof(Source))
    self.fd = fd
    self.unread_bytes = size_bytes
    self.capacity = WINDOW_BYTES
    self.window = <char*>malloc(self.capacity)
    # Room for a byte, so that an empty string has a place too
    return 0 if self.window != NULL and buffer_reserve(&self.first, 1) == 0 else NO_MEMORY


cdef void source_close(Source* self) noexcept nogil:
    free(self.window)
    self.window = NULL
    buffer_free(&self.scratch)
    buffer_free(&self.first)


cdef uint64_t source_position(const Source* self) noexcept nogil:
    return self.window_at + self.begin


cdef uint64_t source_left(const Source* self) noexcept nogil:
    return self.end - self.begin + self.unread_bytes


cdef uint64_t source_checksum(Source* self) noexcept nogil:
    self.crc64 = crc64(self.crc64, self.window + self.summed, self.begin - self.summed)
    self.summed = self.begin
    return self.crc64


cdef int source_fail(Source* self, const char* reason) noexcept nogil:
    """Note the damage and where; the first one stays."""
    if self.reason == NULL:
        self.reason = reason
        self.damaged_at = source_position(self)
    return DAMAGED


cdef int _slide(Source* self, size_t size) noexcept nogil:
    """Forget what was consumed and read on until `size` bytes are there: the caller knows that the file has them."""
    cdef ssize_t got
    cdef size_t room
    cdef size_t wanted = size if size > WINDOW_BYTES else WINDOW_BYTES
    cdef char* window
    source_checksum(self)
    self.end -= self.begin
    memmove(self.window, self.window + self.begin, self.end)
    self.window_at += self.begin
    self.begin = 0
    self.summed = 0
    # Grows for a long string, and shrinks again at the first slide after it.
    if self.capacity < wanted or (self.capacity > wanted and self.end <= wanted):
        window = <char*>realloc(self.window, wanted)
        if window == NULL:
            return NO_MEMORY
        self.window = window
        self.capacity = wanted
    while self.end < size:
        room = self.capacity - self.end
        got = read(self.fd, self.window + self.end, room if room < self.unread_bytes else self.unread_bytes)
        if got < 0 and errno == EINTR:
            continue
        if got < 0:
            return source_fail(self, b"the file cannot be read (input/output error)")
        if got == 0:
            return source_fail(self, b"the file became shorter while it was read")
        self.end += got
        self.unread_bytes -= got
    return 0


cdef inline int _need(Source* self, uint64_t size) noexcept nogil:
    """Make the next `size` bytes stand in the window."""
    if self.end - self.begin >= size:
        return 0
    if size > source_left(self):
        return source_fail(self, b"cut short: a length goes beyond the end of the data")
    return _slide(self, size)


cdef int source_take(Source* self, uint64_t size, const char** data) noexcept nogil:
    cdef int status = _need(self, size)
    if status == 0:
        data[0] = self.window + self.begin
        self.begin += size
    return status


cdef int source_skip(Source* self, uint64_t size) noexcept nogil:
    """Go over `size` bytes without holding them all."""
    cdef uint64_t step
    cdef int status
    if size > source_left(self):
        return source_fail(self, b"cut short: a length goes beyond the end of the data")
    while size:
        if self.begin == self.end:
            status = _slide(self, 1)
            if status < 0:
                return status
        step = self.end - self.begin
        if step > size:
            step = size
        self.begin += step
        size -= step
    return 0


cdef int source_byte(Source* self, uint8_t* byte) noexcept nogil:
    cdef int status = _need(self, 1)
    if status == 0:
        byte[0] = <uint8_t>self.window[self.begin]
        self.begin += 1
    return status


cdef int _length_or_form(Source* self, uint64_t* length, bint* is_form) noexcept nogil:
    """A length, or the number of a string's other form."""
    cdef uint8_t first, second
    cdef uint32_t big32
    cdef uint64_t big64
    cdef const char* data
    cdef int status = source_byte(self, &first)
    if status < 0:
        return status
    is_form[0] = first >> 6 == LENGTH_SPECIAL
    if is_form[0] or first >> 6 == LENGTH_6_BITS:
        length[0] = first & 0x3F
        return 0
    if first >> 6 == LENGTH_14_BITS:
        status = source_byte(self, &second)
        length[0] = <uint64_t>(first & 0x3F) << 8 | second
        return status
    if first == LENGTH_32_BITS:
        status = source_take(self, 4, &data)
        if status == 0:
            memcpy(&big32, data, 4)
            length[0] = be32toh(big32)
        return status
    if first == LENGTH_64_BITS:
        status = source_take(self, 8, &data)
        if status == 0:
            memcpy(&big64, data, 8)
            length[0] = be64toh(big64)
        return status
    return source_fail(self, b"a length of an unknown form")


cdef int source_length(Source* self, uint64_t* length) noexcept nogil:
    """A length or count. It is not yet compared with anything: `source_take` does."""
    cdef bint is_form
    cdef int status = _length_or_form(self, length, &is_form)
    if status == 0 and is_form:
        return source_fail(self, b"an encoded string where a length was expected")
    return status


cdef int _integer_size(uint64_t form) noexcept nogil:
    return 1 << form                        # INT8, INT16, INT32 are numbered 0, 1, 2


cdef int _integer_string(Source* self, uint64_t form, const char** text, size_t* size) noexcept nogil:
    cdef const char* data
    cdef uint16_t little16
    cdef uint32_t little32
    cdef int64_t number
    cdef int status = source_take(self, _integer_size(form), &data)
    if status < 0:
        return status
    if buffer_reserve(&self.scratch, INTEGER_TEXT_BYTES) < 0:
        return NO_MEMORY
    if form == ENCODED_INT8:
        number = <signed char>data[0]
    elif form == ENCODED_INT16:
        memcpy(&little16, data, 2)
        number = <short>le16toh(little16)
    else:
        memcpy(&little32, data, 4)
        number = <int>le32toh(little32)
    size[0] = write_integer(number, self.scratch.data)
    text[0] = self.scratch.data
    return 0


cdef int _lzf_decompress(const uint8_t* packed, size_t packed_size, uint8_t* plain, size_t plain_size) noexcept nogil:
    """Undo LZF: 0 if it comes to exactly `plain_size` bytes, else -1.

    A control byte below 32 announces that many literal bytes plus one; any other is a copy of what was written before:
    its high three bits are the length less two (7: one more byte is added), its low five bits and one further byte the
    distance less one.
    """
    cdef size_t i = 0, o = 0, size, distance
    cdef unsigned control
    while i < packed_size:
        control = packed[i]
        i += 1
        if control < 32:
            size = control + 1
            if size > packed_size - i or size > plain_size - o:
                return -1
            memcpy(plain + o, packed + i, size)
            i += size
            o += size
            continue
        size = control >> 5
        if size == 7:
            if i == packed_size:
                return -1
            size += packed[i]
            i += 1
        if i == packed_size:
            return -1
        size += 2
        distance = <size_t>((control & 0x1F) << 8 | packed[i]) + 1
        i += 1
        if distance > o or size > plain_size - o:
            return -1
        while size:                         # byte by byte: the copy may overlap what it writes
            plain[o] = plain[o - distance]
            o += 1
            size -= 1
    return 0 if o == plain_size else -1


cdef int _lzf_lengths(Source* self, uint64_t* packed_size, uint64_t* plain_size) noexcept nogil:
    cdef int status = source_length(self, packed_size)
    if status == 0:
        status = source_length(self, plain_size)
    if status < 0:
        return status
    if packed_size[0] > source_left(self):
        return source_fail(self, b"cut short: a compressed string goes beyond the end of the data")
    if plain_size[0] == 0 or plain_size[0] > packed_size[0] * LZF_LARGEST_RATIO:
        return source_fail(self, b"a compressed string that cannot have the length it announces")
    return 0


cdef int _lzf_string(Source* self, const char** text, size_t* size) noexcept nogil:
    cdef uint64_t packed_size, plain_size
    cdef const char* packed
    cdef int status = _lzf_lengths(self, &packed_size, &plain_size)
    if status == 0:
        status = source_take(self, packed_size, &packed)
    if status < 0:
        return status
    if buffer_reserve(&self.scratch, plain_size) < 0:
        return NO_MEMORY
    if _lzf_decompress(<const uint8_t*>packed, packed_size, <uint8_t*>self.scratch.data, plain_size) < 0:
        return source_fail(self, b"a compressed string is damaged")
    text[0] = self.scratch.data
    size[0] = plain_size
    return 0


cdef int source_string(Source* self, const char** data, size_t* size) noexcept nogil:
    """A string as a view, good until the next call on this source."""
    cdef uint64_t length
    cdef bint is_form
    cdef int status = _length_or_form(self, &length, &is_form)
    if status < 0:
        return status
    if not is_form:
        size[0] = length
        return source_take(self, length, data)
    if length <= ENCODED_INT32:
        return _integer_string(self, length, data, size)
    if length == ENCODED_LZF:
        return _lzf_string(self, data, size)
    return source_fail(self, b"a string of an unknown form")


cdef int source_kept_string(Source* self, const char** data, size_t* size) noexcept nogil:
    """A string that stays good while the rest of its pair is read, until the next call of this function."""
    cdef int status = source_string(self, data, size)
    if status < 0:
        return status
    self.first.size = 0
    if buffer_append(&self.first, data[0], size[0]) < 0:
        return NO_MEMORY
    data[0] = self.first.data
    return 0


cdef int source_skip_string(Source* self) noexcept nogil:
    """Go over a string without making it."""
    cdef uint64_t length, plain_size
    cdef bint is_form
    cdef int status = _length_or_form(self, &length, &is_form)
    if status < 0:
        return status
    if is_form:
        if length <= ENCODED_INT32:
            length = _integer_size(length)
        elif length == ENCODED_LZF:
            status = _lzf_lengths(self, &length, &plain_size)
            if status < 0:
                return status
        else:
            return source_fail(self, b"a string of an unknown form")
    return source_skip(self, length)


cdef int source_double(Source* self, double* number) noexcept nogil:
    """Eight bytes, little-endian; not a NaN."""
    cdef const char* data = NULL
    cdef uint64_t bits
    cdef int status = source_take(self, 8, &data)
    if status < 0:
        return status
    memcpy(&bits, data, 8)
    bits = le64toh(bits)
    memcpy(number, &bits, 8)
    if isnan(number[0]):
        return source_fail(self, b"a score that is not a number")
    return 0


cdef int source_ascii_double(Source* self, double* number) noexcept nogil:
    """A score of the time before RDB 8: a length byte and digits, or 253 NaN, 254 +inf, 255 -inf."""
    cdef uint8_t size = 0
    cdef const char* text = NULL
    cdef int status = source_byte(self, &size)
    if status < 0:
        return status
    if size >= 254:
        number[0] = INFINITY if size == 254 else -INFINITY
        return 0
    if size == 253:
        return source_fail(self, b"a score that is not a number")
    status = source_take(self, size, &text)
    if status < 0:
        return status
    if parse_double(text, size, number) < 0:
        return source_fail(self, b"a score that is not a number")
    return 0

# ------------------------------------------------------------------------------------------------------ numbers as text


cdef size_t write_integer(int64_t number, char* text) noexcept nogil:
    """Write the digits; how many bytes. `text` has INTEGER_TEXT_BYTES."""
    cdef char[INTEGER_TEXT_BYTES] backwards
    cdef uint64_t magnitude = <uint64_t>number
    cdef size_t size = 0, i
    if number < 0:
        magnitude = 0 - magnitude           # unsigned, so that the smallest integer has a magnitude too
    while True:
        backwards[size] = <char>(c"0" + magnitude % 10)
        size += 1
        magnitude //= 10
        if magnitude == 0:
            break
    if number < 0:
        backwards[size] = c"-"
        size += 1
    for i in range(size):
        text[i] = backwards[size - 1 - i]
    return size


cdef int parse_double(const char* text, size_t size, double* number) noexcept nogil:
    """Read a score, ``inf`` included; 0, or -1 if it is not one. Numbers stay in the C locale, as Python keeps them."""
    cdef char[DOUBLE_TEXT_BYTES + 1] copy
    cdef char* end
    if size == 0 or size > DOUBLE_TEXT_BYTES or text[0] <= c" ":       # strtod would skip a blank
        return -1
    memcpy(copy, text, size)
    copy[size] = 0                          # strtod stops at a NUL only
    number[0] = strtod(copy, &end)
    return 0 if end == copy + size and not isnan(number[0]) else -1
