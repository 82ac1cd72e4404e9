"""Step 2 -- bytes become the words of a request: the parser, which knows no sockets.

`feed` gets all bytes that are not consumed yet and answers with one request, with "need more", or with a protocol
error in Redis' own words. The words point into the fed bytes; nothing is copied.

There are two ways through. The *fast* one is `feed` itself: a request that is there as a whole and looks as client
libraries send it is read in one pass with no state but local variables. At the first byte that is unusual, wrong or
missing it notes how far it got and hands over to the *careful* one, `_resume`, which alone knows the protocol's
rules, its errors and how to go on later.

Progress is remembered as offsets, because the caller may move its buffer between two calls. So each byte is looked at
once (the header at which the fast way stopped, twice), however small the pieces in which a large request arrives; and
the array of words grows with the words that are there, never with the number that was announced.

Redis' habits that are kept on purpose: the byte after a CR is taken for the LF unseen, and so are the two bytes after
a word; the first byte of a word's header is judged when its whole line is there; a NUL hides the end of the line it
stands in, so that such a line fails by its length. One is not: Redis accepts a longer inline request if it happens to
arrive at once. Here the limit depends on the bytes alone.
"""

from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from mpkv.resp.integers cimport read_integer

cdef enum:
    FEW_SLOTS = 6                       # room for SET key value PX 1000; 96 bytes, which an idle connection keeps
    KEPT_SLOTS = 1024                   # 16 KiB: more is given back before the next request
    MAX_WORDS = 0x7FFFFFFF              # Redis' INT_MAX
    UNAUTHENTICATED_WORDS = 10
    UNAUTHENTICATED_BULK = 16384
    SMALLEST_WORD = 6                   # $0\r\n\r\n
    LINE_FOUND = -1                     # of the careful way: go on; otherwise one of PARSE_…

cdef size_t FAST_DIGITS_BELOW = 10**17  # one digit more still fits; longer numbers are for the careful way

# "expected '$', got 'x'" for every x, so that no connection needs room for its own text.
cdef char[256][24] _unexpected


cdef void _fill_unexpected() noexcept:
    cdef bytes text
    cdef int byte
    for byte in range(256):
        text = b"expected '$', got '%c'" % (b" " if byte in b"\r\n" else byte)
        memcpy(_unexpected[byte], <const char*>text, len(text) + 1)

_fill_unexpected()


class ProtocolError(Exception):
    """What follows ``Protocol error:`` in the reply.

    :ivar requests: the complete requests that stood before it
    """

    def __init__(self, text: str, requests: list[list[bytes]]) -> None:
        super().__init__(text)
        self.requests = requests


cdef class Parser:
    def __cinit__(self) -> None:
        self._start()

    def __dealloc__(self) -> None:
        free(self.argv)
        free(self._line)

    cdef int feed(self, const char* data, size_t size, const limits_t* limits) noexcept nogil:
        cdef const char* end = data + size
        cdef const char* at
        cdef const char* header
        cdef arg_t* argv
        cdef size_t count, bulk
        cdef size_t words = 0
        cdef size_t most = UNAUTHENTICATED_WORDS if limits.unauthenticated else MAX_WORDS
        cdef size_t longest = limits.max_bulk
        cdef unsigned digit
        if self._searched:
            return self._resume(data, size, limits)
        if self._slots > KEPT_SLOTS or self._line != NULL:
            self.trim()

        # *count
        if size < SMALLEST_WORD or data[0] != c"*":
            return self._resume(data, size, limits)
        count = <unsigned char>data[1] - <size_t>c"0"
        if count - 1 > 8:                                   # 0 wraps: only 1 … 9 pass
            return self._resume(data, size, limits)
        at = data + 2
        while at < end:
            digit = <unsigned char>at[0] - <unsigned>c"0"
            if digit > 9 or count >= MAX_WORDS:
                break
            count = count * 10 + digit
            at += 1
        if end - at < 2 or at[0] != c"\r" or count > most:
            return self._resume(data, size, limits)
        at += 2

        # $length word, so many times
        if limits.unauthenticated and longest > UNAUTHENTICATED_BULK:
            longest = UNAUTHENTICATED_BULK
        argv = self.argv
        while words < count:
            header = at
            if end - at < SMALLEST_WORD or at[0] != c"$":
                return self._leave_fast_way(data, size, limits, words, count, header)
            bulk = <unsigned char>at[1] - <size_t>c"0"
            if bulk > 9:
                return self._leave_fast_way(data, size, limits, words, count, header)
            at += 2
            if at[0] != c"\r":
                if bulk == 0:
                    return self._leave_fast_way(data, size, limits, words, count, header)
                while at < end:
                    digit = <unsigned char>at[0] - <unsigned>c"0"
                    if digit > 9 or bulk >= FAST_DIGITS_BELOW:
                        break
                    bulk = bulk * 10 + digit
                    at += 1
                if end - at < 2 or at[0] != c"\r":
                    return self._leave_fast_way(data, size, limits, words, count, header)
            at += 2
            if bulk > longest or <size_t>(end - at) < bulk + 2:
                return self._leave_fast_way(data, size, limits, words, count, header)
            if words == self._slots:
                if self._grow(count) < 0:
                    return self._fail(b"out of memory")
                argv = self.argv
            argv[words].data = at
            argv[words].size = bulk
            words += 1
            at += bulk + 2
        self.argc = count
        self.consumed = at - data
        return PARSE_REQUEST

    cdef int _leave_fast_way(
        self, const char* data, size_t size, const limits_t* limits, size_t words, size_t count, const char* header
    ) noexcept nogil:
        """Note how far the fast way got, `words` of `count` with the next one at `header`, and go on carefully."""
        cdef size_t i
        for i in range(words):
            self.argv[i].data = <const char*><uintptr_t>(self.argv[i].data - data)
        self._words = words
        self._expected = count
        self._at = self._searched = header - data
        return self._resume(data, size, limits)

    cdef int _resume(self, const char* data, size_t size, const limits_t* limits) noexcept nogil:
        """The careful way: go on from where the last call stopped."""
        cdef int outcome
        cdef size_t bulk, i
        if self._expected == 0:
            outcome = self._read_count(data, size, limits)
            if outcome != LINE_FOUND:
                return outcome
        while self._words < self._expected:
            if self._bulk < 0:
                outcome = self._read_header(data, size, limits)
                if outcome != LINE_FOUND:
                    return outcome
            bulk = <size_t>self._bulk
            if size - self._at < bulk + 2:
                self.wanted = bulk + 2 - (size - self._at)
                return PARSE_MORE
            if self._words == self._slots and self._grow(self._expected) < 0:
                return self._fail(b"out of memory")
            self.argv[self._words].data = <const char*><uintptr_t>self._at
            self.argv[self._words].size = bulk
            self._words += 1
            self._at += bulk + 2
            self._searched = self._at
            self._bulk = -1
        for i in range(self._words):
            self.argv[i].data = data + <uintptr_t>self.argv[i].data
        return self._finish(self._words, self._at)

    cdef int _read_count(self, const char* data, size_t size, const limits_t* limits) noexcept nogil:
        cdef size_t end = 0
        cdef int64_t count = 0
        if size == 0:
            return self._more()
        if data[0] != c"*":
            return self._read_inline(data, size, limits)
        if not self._find_line_end(data, size, c"\r", limits.max_inline, &end):
            if size > limits.max_inline:
                return self._fail(b"too big mbulk count string")
            return self._more()
        if end + 1 == size:
            return self._more()
        if not read_integer(data + 1, end - 1, &count) or count > MAX_WORDS:
            return self._fail(b"invalid multibulk length")
        if limits.unauthenticated and count > UNAUTHENTICATED_WORDS:
            return self._fail(b"unauthenticated multibulk length")
        if count <= 0:
            self._finish(0, end + 2)
            return PARSE_NOTHING
        self._expected = <size_t>count
        self._at = self._searched = end + 2
        return LINE_FOUND

    cdef int _read_header(self, const char* data, size_t size, const limits_t* limits) noexcept nogil:
        cdef size_t end = 0
        cdef int64_t bulk = 0
        if not self._find_line_end(data, size, c"\r", limits.max_inline, &end):
            if size - self._at > limits.max_inline:
                return self._fail(b"too big bulk count string")
            return self._more()
        if end + 1 == size:
            return self._more()
        if data[self._at] != c"$":
            return self._fail(_unexpected[<unsigned char>data[self._at]])
        if not read_integer(data + self._at + 1, end - self._at - 1, &bulk):
            return self._fail(b"invalid bulk length")
        if bulk < 0 or <size_t>bulk > limits.max_bulk:
            return self._fail(b"invalid bulk length")
        if limits.unauthenticated and bulk > UNAUTHENTICATED_BULK:
            return self._fail(b"unauthenticated bulk length")
        self._bulk = bulk
        self._at = self._searched = end + 2
        return LINE_FOUND

    cdef int _read_inline(self, const char* data, size_t size, const limits_t* limits) noexcept nogil:
        cdef size_t end = 0
        cdef size_t length
        cdef int outcome
        if not self._find_line_end(data, size, c"\n", limits.max_inline, &end):
            if size > limits.max_inline:
                return self._fail(b"too big inline request")
            return self._more()
        length = end - 1 if end > 0 and data[end - 1] == c"\r" else end
        self._line = <char*>malloc(length + 1)
        if self._line == NULL:
            return self._fail(b"out of memory")
        outcome = self._split_line(data, length)
        if outcome < 0:
            return self._fail(b"out of memory")
        if outcome == 0:
            return self._fail(b"unbalanced quotes in request")
        outcome = self._finish(self._words, end + 1)
        return outcome if self.argc > 0 else PARSE_NOTHING

    cdef int _split_line(self, const char* line, size_t length) noexcept nogil:
        """Unescape a line's words into `_line`, which has room for all; 1, 0 for open quotes, -1 for no memory."""
        cdef const char* at = line
        cdef const char* end = line + length
        cdef char* to = self._line
        cdef arg_t* word
        while True:
            while at < end and _is_blank(at[0]):
                at += 1
            if at == end:
                return 1
            if self._words == self._slots and self._grow(MAX_WORDS) < 0:
                return -1
            word = &self.argv[self._words]
            word.data = to
            if not _unescape_word(&at, end, &to):
                return 0
            word.size = to - word.data
            self._words += 1

    cdef bint _find_line_end(
        self, const char* data, size_t size, char ending, size_t longest, size_t* end
    ) noexcept nogil:
        """Look for the end of the line at `_at`, from where the last search stopped and not beyond the longest line."""
        cdef size_t stop = size if size - self._at <= longest else self._at + longest + 1
        cdef size_t i = self._searched
        while i < stop and data[i] != ending and data[i] != 0:
            i += 1
        self._searched = i
        end[0] = i
        return i < stop and data[i] == ending

    cdef int _grow(self, size_t most) noexcept nogil:
        """Make room for more words, twice as many, but no more than `most`; 0, or -1 when there is no memory."""
        cdef size_t slots = self._slots * 2
        cdef arg_t* argv
        if slots > most:
            slots = most
        if slots < FEW_SLOTS:
            slots = FEW_SLOTS
        argv = <arg_t*>realloc(self.argv, slots * sizeof(arg_t))
        if argv == NULL:
            return -1
        self.argv = argv
        self._slots = slots
        return 0

    cdef int _more(self) noexcept nogil:
        self.wanted = 1
        return PARSE_MORE

    cdef int _finish(self, size_t words, size_t consumed) noexcept nogil:
        self.argc = words
        self.consumed = consumed
        self._start()
        return PARSE_REQUEST

    cdef int _fail(self, const char* error) noexcept nogil:
        self.error = error
        self._finish(0, 0)
        return PARSE_ERROR

    cdef void _start(self) noexcept nogil:
        """Nothing of the next request is known."""
        self._words = 0
        self._expected = 0
        self._at = 0
        self._searched = 0
        self.wanted = 0
        self._bulk = -1

    cdef void trim(self) noexcept nogil:
        if self._searched:
            return
        free(self._line)
        self._line = NULL
        self.argc = 0
        if self._slots > FEW_SLOTS:
            free(self.argv)
            self.argv = NULL
            self._slots = 0

    cdef size_t memory(self) noexcept nogil:
        # Without an inline request's buffer, which lives until the next call and is no longer than `max_inline`.
        return self._slots * sizeof(arg_t)

    def trim_memory(self) -> None:
        """`trim`, for tests."""
        self.trim()

    def __sizeof__(self) -> int:
        return type(self).__basicsize__ + self.memory()

    def feed_bytes(
        self,
        data: bytes | bytearray,
        *,
        size_t max_bulk=512 * 1024 * 1024,
        size_t max_inline=64 * 1024,
        bint unauthenticated=False,
    ) -> list:
        """The complete requests in what came before and `data`; for tests and tools, it copies.

        :raises ProtocolError: the connection is at its end; nothing may be fed after it
        """
        cdef limits_t limits = limits_t(max_bulk, max_inline, unauthenticated)
        cdef bytearray pending = self._unconsumed if self._unconsumed is not None else bytearray()
        cdef size_t offset = 0
        cdef int outcome
        cdef size_t i
        requests = []
        pending += data
        while True:
            outcome = self.feed(<const char*>pending + offset, len(pending) - offset, &limits)
            if outcome == PARSE_ERROR:
                raise ProtocolError(self.error.decode("latin-1"), requests)
            if outcome == PARSE_MORE:
                break
            if outcome == PARSE_REQUEST:
                requests.append([self.argv[i].data[:self.argv[i].size] for i in range(self.argc)])
            offset += self.consumed
        del pending[:offset]
        self._unconsumed = pending if pending else None
        return requests


cdef inline bint _is_blank(char byte) noexcept nogil:
    return byte == c" " or (c"\t" <= byte <= c"\r")


cdef bint _unescape_word(const char** at, const char* end, char** to) noexcept nogil:
    """One word of a line, from `at` to `to`; both are moved on. False if a quote is not closed, or text is glued to it.

    Quotes may begin inside a word (``a"b c"``) but only end one. Vertical tab and form feed part words only where a
    word could begin.
    """
    cdef const char* source = at[0]
    cdef char* target = to[0]
    cdef char quote = 0
    while source < end:
        if quote == 0:
            if source[0] in (c" ", c"\t", c"\r", c"\n"):
                break
            if source[0] == c'"' or source[0] == c"'":
                quote = source[0]
                source += 1
                continue
        elif source[0] == quote:
            source += 1
            quote = 0
            if source < end and not _is_blank(source[0]):
                return False
            break
        elif source[0] == c"\\" and source + 1 < end:
            source += _unescape(source, end, quote, target)
            target += 1
            continue
        target[0] = source[0]
        target += 1
        source += 1
    at[0] = source
    to[0] = target
    return quote == 0


cdef size_t _unescape(const char* source, const char* end, char quote, char* to) noexcept nogil:
    """The byte that a backslash inside quotes stands for; how many bytes of `source` say it."""
    cdef int high, low
    if quote == c"'":
        if source[1] == c"'":
            to[0] = c"'"
            return 2
        to[0] = c"\\"
        return 1
    if source[1] == c"x" and end - source > 3:
        high = _hex_digit(source[2])
        low = _hex_digit(source[3])
        if high >= 0 and low >= 0:
            to[0] = <char>(high << 4 | low)
            return 4
    to[0] = _control_of(source[1])
    return 2


cdef char _control_of(char letter) noexcept nogil:
    if letter == c"n":
        return c"\n"
    if letter == c"r":
        return c"\r"
    if letter == c"t":
        return c"\t"
    if letter == c"b":
        return c"\b"
    if letter == c"a":
        return c"\a"
    return letter


cdef int _hex_digit(char byte) noexcept nogil:
    if c"0" <= byte <= c"9":
        return byte - c"0"
    byte |= 0x20
    return byte - c"a" + 10 if c"a" <= byte <= c"f" else -1
