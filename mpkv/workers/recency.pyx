"""How long ago, or how often, a key was used: the 24 bits of its entry that eviction goes by, as Redis has them.

Under an LRU policy they are seconds. Under an LFU policy the lower 8 are a counter that grows ever more slowly the
larger it is (R. Morris, "Counting large numbers of events in small registers", 1978), and the upper 16 the minute of
its last change, so that what is no longer used is forgotten: see lfu-log-factor and lfu-decay-time.
"""

from mpkv.types.chance cimport random_bits


cdef uint32_t used_again(const recency_t* self, uint32_t clock, int64_t now_ms) noexcept nogil:
    cdef uint32_t counter = frequency_of(self, clock, now_ms)
    cdef uint32_t above = counter - LFU_INITIAL if counter > LFU_INITIAL else 0
    cdef double chance = 1.0 / (<double>above * self.log_factor + 1)
    if counter < LFU_MAX and <double>(random_bits() >> 11) * (1.0 / 9007199254740992.0) < chance:
        counter += 1
    return _minutes(now_ms) << 8 | counter


cdef uint32_t told_clock(const recency_t* self, int64_t now_ms, int64_t idle_s, int counter) noexcept nogil:
    if self.frequency:
        return fresh_clock(self, now_ms) if counter < 0 else _minutes(now_ms) << 8 | <uint32_t>counter
    if idle_s < 0:
        return fresh_clock(self, now_ms)
    return (<uint32_t>(now_ms // 1000) - <uint32_t>min(idle_s, <int64_t>CLOCK_BITS)) & CLOCK_BITS
