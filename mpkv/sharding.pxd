# Key -> slot -> shard.

from libc.stdint cimport uint16_t

cdef enum:
    SLOTS = 16384

cdef unsigned key_slot(const char* key, size_t size) noexcept nogil
cdef inline unsigned slot_shard(unsigned slot, unsigned shards) noexcept nogil:
    return slot * shards // SLOTS
