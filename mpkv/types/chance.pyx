"""Random numbers for fair picks (SRANDMEMBER, SPOP, HRANDFIELD): splitmix64. Not for secrets."""

import os

from libc.stdint cimport uint64_t

cdef uint64_t _state = int.from_bytes(os.urandom(8), "little")


cdef uint64_t random_bits() noexcept nogil:
    global _state
    _state += 0x9E3779B97F4A7C15ULL
    return mix(_state)


def seed(unsigned long long state):
    """Begin the sequence at a known place (tests)."""
    global _state
    _state = state
