# Requests: fed bytes -> words. See parser.pyx for the essay.

from libc.stdint cimport int64_t

cdef enum:
    PARSE_MORE = 0          # incomplete: feed the same bytes again with at least `wanted` more behind them
    PARSE_REQUEST = 1       # argv, argc and consumed are set
    PARSE_NOTHING = 2       # an empty line or a count below 1: consumed, no request
    PARSE_ERROR = 3         # `error` says why; the connection is to be closed after the reply

cdef struct arg_t:          # one word of a request
    const char* data        # in the fed bytes; of an inline request in the parser. Good until the next call
    size_t size

cdef struct limits_t:
    size_t max_bulk         # proto-max-bulk-len
    size_t max_inline       # the longest inline request, and the longest line of a count or a length (64 KiB)
    bint unauthenticated    # AUTH is still required: at most 10 words of 16 KiB

cdef class Parser:
    """The requests of one connection."""
    cdef arg_t* argv
    cdef size_t argc
    cdef size_t consumed                # bytes of the last request, or of what was ignored
    cdef readonly size_t wanted                  # after PARSE_MORE: at least so many more bytes are needed
    cdef const char* error              # the text after "Protocol error: ", without CR or LF

    # Progress inside an incomplete request; offsets count from its first byte, since the fed buffer may move.
    cdef size_t _slots                  # how many words argv has room for
    cdef size_t _words                  # words found; their `data` are offsets while the request is incomplete
    cdef size_t _expected               # words announced; 0 = the count is not read yet
    cdef size_t _at                     # the first byte not understood yet
    cdef size_t _searched               # the line that begins at _at has no end before here
    cdef int64_t _bulk                  # the length of the word that begins at _at; -1 = its header is not read yet
    cdef char* _line                    # the unescaped words of an inline request
    cdef bytearray _unconsumed          # of feed_bytes() only

    # `data` begins with the first byte that is not consumed yet.
    cdef int feed(self, const char* data, size_t size, const limits_t* limits) noexcept nogil
    # The connection falls idle: give back what a large request took. The last request's words are void.
    cdef void trim(self) noexcept nogil
    # Native bytes that this parser holds beyond its object.
    cdef size_t memory(self) noexcept nogil

    cdef int _leave_fast_way(
        self, const char* data, size_t size, const limits_t* limits, size_t words, size_t count, const char* header
    ) noexcept nogil
    cdef int _resume(self, const char* data, size_t size, const limits_t* limits) noexcept nogil
    cdef int _read_count(self, const char* data, size_t size, const limits_t* limits) noexcept nogil
    cdef int _read_header(self, const char* data, size_t size, const limits_t* limits) noexcept nogil
    cdef int _read_inline(self, const char* data, size_t size, const limits_t* limits) noexcept nogil
    cdef int _split_line(self, const char* line, size_t length) noexcept nogil
    cdef bint _find_line_end(
        self, const char* data, size_t size, char ending, size_t longest, size_t* end
    ) noexcept nogil
    cdef int _grow(self, size_t most) noexcept nogil
    cdef int _more(self) noexcept nogil
    cdef int _finish(self, size_t words, size_t consumed) noexcept nogil
    cdef int _fail(self, const char* error) noexcept nogil
    cdef void _start(self) noexcept nogil
