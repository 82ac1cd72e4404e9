# Random numbers for fair picks (SRANDMEMBER, SPOP, HRANDFIELD). Not for secrets.

from libc.stdint cimport uint64_t

# The next of a sequence of 64-bit numbers that is seeded from the system at import
cdef uint64_t random_bits() noexcept nogil

cdef inline uint64_t mix(uint64_t state) noexcept nogil:
    """One output of splitmix64: turns a counter, or one random number, into the next."""
    state += 0x9E3779B97F4A7C15ULL
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9ULL
    state = (state ^ (state >> 27)) * 0x94D049BB133111EBULL
    return state ^ (state >> 31)

cdef inline uint64_t below(uint64_t random, uint64_t bound) noexcept nogil:
    """A number under `bound` (< 2**32), uniform but for 2**-32."""
    return ((random >> 32) * bound) >> 32
