# Redis' glob matching, for compiled callers.

# Whether the whole text matches. Linear in the text for each `*` of the pattern: never exponential.
cdef bint glob_match(
    const char* pattern, size_t pattern_size, const char* text, size_t text_size, bint nocase
) noexcept nogil
