"""SipHash-1-3 under a secret key: the hash of everything that clients name.

Whoever knows a table's hash function can send keys that all collide and make every lookup a walk. So client data is
only ever hashed with a key that is random per process (J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast short-input
PRF", 2012). One compression round and three for finalisation are what CPython and Rust use for their tables too.

The keyspace and the values share the key. It is set before the first value is made: a table under another key is
garbage.
"""

import os

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef uint64_t _key0
cdef uint64_t _key1

KEY_BYTES = 16


cdef inline uint64_t _rotate(uint64_t word, int bits) noexcept nogil:
    return (word << bits) | (word >> (64 - bits))


cdef inline void _round(uint64_t* v) noexcept nogil:
    v[0] += v[1]
    v[2] += v[3]
    v[1] = _rotate(v[1], 13) ^ v[0]
    v[3] = _rotate(v[3], 16) ^ v[2]
    v[0] = _rotate(v[0], 32)
    v[2] += v[1]
    v[0] += v[3]
    v[1] = _rotate(v[1], 17) ^ v[2]
    v[3] = _rotate(v[3], 21) ^ v[0]
    v[2] = _rotate(v[2], 32)


cdef inline uint64_t _last_word(const char* data, size_t size) noexcept nogil:
    """The bytes after the last whole word, and the size modulo 256 in the top byte."""
    cdef size_t left = size & 7
    cdef uint64_t word = 0
    cdef size_t index
    if size >= 8 and left:              # the last 8 bytes in one load; what was hashed already is shifted out
        memcpy(&word, data + size - 8, 8)
        word >>= 8 * (8 - left)
    else:
        for index in range(left):
            word |= <uint64_t><unsigned char>data[size - left + index] << (8 * index)
    return word | (<uint64_t>size << 56)


cdef uint64_t siphash(const char* data, size_t size) noexcept nogil:
    cdef uint64_t v[4]
    cdef uint64_t word
    cdef size_t offset = 0
    v[0] = _key0 ^ 0x736F6D6570736575ULL
    v[1] = _key1 ^ 0x646F72616E646F6DULL
    v[2] = _key0 ^ 0x6C7967656E657261ULL
    v[3] = _key1 ^ 0x7465646279746573ULL
    while offset + 8 <= size:
        memcpy(&word, data + offset, 8)
        v[3] ^= word
        _round(v)
        v[0] ^= word
        offset += 8
    word = _last_word(data, size)
    v[3] ^= word
    _round(v)
    v[0] ^= word
    v[2] ^= 0xFF
    _round(v)
    _round(v)
    _round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def seed(bytes key not None):
    """Set the secret, 16 bytes; only while no table exists."""
    global _key0, _key1
    if len(key) != KEY_BYTES:
        raise ValueError(f"the key of SipHash has {KEY_BYTES} bytes, not {len(key)}")
    memcpy(&_key0, <const char*>key, 8)
    memcpy(&_key1, <const char*>key + 8, 8)


def hash_of(bytes data not None):
    """The 64-bit hash of `data`, for tests and DEBUG commands."""
    return siphash(<const char*>data, len(data))


seed(os.urandom(KEY_BYTES))
