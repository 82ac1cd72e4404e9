# How long ago, or how often, a key was used: the 24 bits of its entry that eviction goes by. See recency.pyx.

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum:
    LFU_INITIAL = 5             # of the counter: a new key must have time to be used
    LFU_MAX = 255
    CLOCK_BITS = 0xFFFFFF

cdef struct recency_t:
    bint frequency              # an LFU policy: minutes (16 bits) and a counter (8 bits); else seconds (24 bits)
    bint age                    # an LRU policy: snapshots tell the seconds; under neither policy they tell nothing
    uint32_t log_factor         # lfu-log-factor
    uint32_t decay_minutes      # lfu-decay-time

cdef inline uint32_t _minutes(int64_t now_ms) noexcept nogil:
    return <uint32_t>(now_ms // 60_000) & 0xFFFF

cdef inline uint32_t fresh_clock(const recency_t* self, int64_t now_ms) noexcept nogil:
    """Of a new key."""
    if self.frequency:
        return _minutes(now_ms) << 8 | LFU_INITIAL
    return <uint32_t>(now_ms // 1000) & CLOCK_BITS

cdef inline uint32_t frequency_of(const recency_t* self, uint32_t clock, int64_t now_ms) noexcept nogil:
    """The counter as it is now: one less for every decay time that has passed."""
    cdef uint32_t counter = clock & 0xFF
    cdef uint32_t passed
    if self.decay_minutes == 0:
        return counter
    passed = (_minutes(now_ms) - (clock >> 8) & 0xFFFF) // self.decay_minutes
    return counter - passed if passed < counter else 0

cdef inline uint32_t idle_seconds_of(uint32_t clock, int64_t now_ms) noexcept nogil:
    return (<uint32_t>(now_ms // 1000) - clock) & CLOCK_BITS

# Of a key that a snapshot tells of: seconds since its last use, or its counter; -1: it does not say. What does not fit
# the policy is passed over, as in Redis.
cdef uint32_t told_clock(const recency_t* self, int64_t now_ms, int64_t idle_s, int counter) noexcept nogil
cdef uint32_t used_again(const recency_t* self, uint32_t clock, int64_t now_ms) noexcept nogil

cdef inline uint32_t used_clock(const recency_t* self, uint32_t clock, int64_t now_ms) noexcept nogil:
    """Of a key that is used now."""
    if self.frequency:
        return used_again(self, clock, now_ms)
    return <uint32_t>(now_ms // 1000) & CLOCK_BITS
