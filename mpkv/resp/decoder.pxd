# Replies: bytes -> values, and where a reply ends. See decoder.pyx.

# The end of the one reply that begins at `data`: 1 found, 0 incomplete, -1 malformed (`end` is then where the bad
# element begins). Allocates nothing.
cdef int skip_reply(const char* data, size_t size, size_t* end) noexcept nogil
