"""Key -> slot -> shard.

A slot is Redis Cluster's: CRC16 (XMODEM) of the key, or of what stands between its first ``{`` and the first ``}`` after it if that
is not empty, modulo 16384. A shard owns a contiguous range of slots: ``slot * shards // 16384``. The database is not part of it,
so MOVE and COPY between databases stay on one shard.
"""

cdef uint16_t[256] _crc_table


cdef void _fill_table() noexcept:
    cdef unsigned byte, bit, crc
    for byte in range(256):
        crc = byte << 8
        for bit in range(8):
            crc = ((crc << 1) ^ 0x1021) if crc & 0x8000 else crc << 1
        _crc_table[byte] = crc & 0xFFFF

_fill_table()


cdef inline unsigned _crc16(const unsigned char* data, size_t size) noexcept nogil:
    cdef unsigned crc = 0
    cdef size_t i
    for i in range(size):
        crc = ((crc << 8) & 0xFFFF) ^ _crc_table[(crc >> 8) ^ data[i]]
    return crc


cdef unsigned key_slot(const char* key, size_t size) noexcept nogil:
    """The slot of a key, 0 … 16383."""
    cdef size_t opening, closing
    for opening in range(size):
        if key[opening] == c"{":
            for closing in range(opening + 1, size):
                if key[closing] == c"}":
                    if closing > opening + 1:
                        return _crc16(<const unsigned char*>key + opening + 1, closing - opening - 1) & (SLOTS - 1)
                    break
            break
    return _crc16(<const unsigned char*>key, size) & (SLOTS - 1)


def slot_of(bytes key) -> int:
    """The slot of a key, 0 … 16383."""
    return key_slot(key, len(key))


def shard_of(bytes key, int shards) -> int:
    """The shard of a key on a server with so many shards."""
    return slot_shard(key_slot(key, len(key)), shards)


def slot_range(int shard, int shards) -> range:
    """The slots that a shard owns."""
    first = -(-shard * SLOTS // shards)
    return range(first, -(-(shard + 1) * SLOTS // shards))
