# The bytes of an RDB file: checksum, lengths, strings, and bounded reading and writing. See format.pyx.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from mpkv.buffer cimport Buffer

cdef enum:
    RDB_VERSION_WRITTEN = 10     # with plain value types: loads in Redis 7.0 and later and in every Valkey
    RDB_VERSION_READ = 11        # Redis 7.2

cdef enum:                       # what stands where a value type would stand
    OP_SLOT_INFO = 244
    OP_FUNCTION2 = 245
    OP_FUNCTION_PRE_GA = 246
    OP_MODULE_AUX = 247
    OP_IDLE = 248
    OP_FREQ = 249
    OP_AUX = 250
    OP_RESIZEDB = 251
    OP_EXPIRETIME_MS = 252
    OP_EXPIRETIME = 253
    OP_SELECTDB = 254
    OP_EOF = 255

cdef uint64_t crc64(uint64_t crc, const char* data, size_t size) noexcept nogil
cpdef uint64_t crc64_combine(uint64_t crc_a, uint64_t crc_b, uint64_t size_b) noexcept nogil

# ---- writing

# `buffer` belongs to the caller. After the first error (an errno) nothing more is written and every call returns -1.
cdef struct Output:
    int fd
    char* buffer
    size_t capacity
    size_t used
    uint64_t crc64
    uint64_t size_bytes          # handed over so far
    int error

cdef void output_open(Output* self, int fd, char* buffer, size_t capacity) noexcept nogil
cdef int output_flush(Output* self) noexcept nogil
cdef int output_bytes(Output* self, const char* data, size_t size) noexcept nogil
cdef int output_byte(Output* self, uint8_t byte) noexcept nogil
cdef int output_length(Output* self, uint64_t length) noexcept nogil
cdef int output_string(Output* self, const char* data, size_t size) noexcept nogil
cdef int output_double(Output* self, double number) noexcept nogil

# ---- reading

cdef enum:
    DAMAGED = -1                 # `reason` and `damaged_at` say what and where
    NO_MEMORY = -2

# A window that slides over a file; all zeroes is a valid closed one. What a `source_…` function hands out as a view is
# good until the next call on the same source.
cdef struct Source:
    int fd
    char* window
    size_t capacity
    size_t begin                 # next byte to be read
    size_t end                   # one beyond the last byte that is there
    size_t summed                # the checksum covers the window up to here
    uint64_t window_at           # where in the file the window starts
    uint64_t unread_bytes        # of the file, beyond the window
    uint64_t crc64
    const char* reason
    uint64_t damaged_at
    Buffer scratch               # room for a string that had to be decompressed or put into digits; its size stays 0
    Buffer first                 # the first string of a pair, kept while the second is read

cdef int source_open_file(Source* self, int fd, uint64_t size_bytes) noexcept nogil
cdef void source_close(Source* self) noexcept nogil
cdef uint64_t source_position(const Source* self) noexcept nogil
cdef uint64_t source_left(const Source* self) noexcept nogil
cdef uint64_t source_checksum(Source* self) noexcept nogil       # of everything consumed so far
cdef int source_fail(Source* self, const char* reason) noexcept nogil
# 0, or DAMAGED or NO_MEMORY
cdef int source_take(Source* self, uint64_t size, const char** data) noexcept nogil
cdef int source_skip(Source* self, uint64_t size) noexcept nogil
cdef int source_byte(Source* self, uint8_t* byte) noexcept nogil
cdef int source_length(Source* self, uint64_t* length) noexcept nogil
cdef int source_string(Source* self, const char** data, size_t* size) noexcept nogil
cdef int source_kept_string(Source* self, const char** data, size_t* size) noexcept nogil
cdef int source_skip_string(Source* self) noexcept nogil
cdef int source_double(Source* self, double* number) noexcept nogil
cdef int source_ascii_double(Source* self, double* number) noexcept nogil

# ---- numbers as text

cdef enum:
    INTEGER_TEXT_BYTES = 24      # room for any 64-bit integer

cdef size_t write_integer(int64_t number, char* text) noexcept nogil
cdef int parse_double(const char* text, size_t size, double* number) noexcept nogil      # 0; -1: not a number
