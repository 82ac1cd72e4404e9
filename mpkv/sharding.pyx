"""Key -> slot -> shard.

A slot is Redis Cluster's: CRC16 (XMODEM) of the key, or of what stands between its first ``{`` and the first ``}``
after it if that is not empty, modulo 16384. A shard owns a contiguous range of slots: ``slot * shards // 16384``. The
database is not part of it, so MOVE and COPY between databases stay on one shard.
"""

from libc.stdint cimport uint16_t
from libc.string cimport memchr

# Slicing by 8: table k holds the CRC of a byte that k more bytes follow, so eight bytes are taken at a time.
cdef uint16_t[8][256] _crc_tables


cdef void _fill_tables() noexcept:
    cdef unsigned byte, bit, crc, k
    for byte in range(256):
        crc = byte << 8
        for bit in range(8):
            crc = ((crc << 1) ^ 0x1021) if crc & 0x8000 else crc << 1
        _crc_tables[0][byte] = crc & 0xFFFF
    for k in range(1, 8):
        for byte in range(256):
            crc = _crc_tables[k - 1][byte]
            _crc_tables[k][byte] = ((crc << 8) ^ _crc_tables[0][crc >> 8]) & 0xFFFF

_fill_tables()


cdef inline unsigned _crc16(const unsigned char* data, size_t size) noexcept nogil:
    cdef unsigned crc = 0
    while size >= 8:
        crc = (
            _crc_tables[7][data[0] ^ (crc >> 8)] ^ _crc_tables[6][data[1] ^ (crc & 0xFF)]
            ^ _crc_tables[5][data[2]] ^ _crc_tables[4][data[3]] ^ _crc_tables[3][data[4]]
            ^ _crc_tables[2][data[5]] ^ _crc_tables[1][data[6]] ^ _crc_tables[0][data[7]]
        )
        data += 8
        size -= 8
    while size:
        crc = ((crc << 8) & 0xFFFF) ^ _crc_tables[0][(crc >> 8) ^ data[0]]
        data += 1
        size -= 1
    return crc


cdef unsigned key_slot(const char* key, size_t size) noexcept nogil:
    """The slot of a key, 0 … 16383."""
    cdef const char* opening = <const char*>memchr(key, c"{", size)
    cdef const char* closing
    if opening != NULL:
        opening += 1
        closing = <const char*>memchr(opening, c"}", size - (opening - key))
        if closing > opening:
            return _crc16(<const unsigned char*>opening, closing - opening) & (SLOTS - 1)
    return _crc16(<const unsigned char*>key, size) & (SLOTS - 1)


def slot_of(bytes key) -> int:
    """The slot of a key, 0 … 16383."""
    return key_slot(key, len(key))


def shard_of(bytes key, int shards) -> int:
    """The shard of a key on a server with so many shards."""
    return slot_shard(key_slot(key, len(key)), shards)


def slot_range(int shard, int shards) -> range:
    """The slots that a shard owns."""
    # Rounded up by hand: a compiled division truncates towards zero, and -(-a // b) would round down
    return range((shard * SLOTS + shards - 1) // shards, ((shard + 1) * SLOTS + shards - 1) // shards)
