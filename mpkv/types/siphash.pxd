# SipHash-1-3 under this process' secret key: the hash of everything that clients name.

from libc.stdint cimport uint64_t

cdef uint64_t siphash(const char* data, size_t size) noexcept nogil
