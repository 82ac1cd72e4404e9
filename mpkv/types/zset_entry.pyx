"""The members of large sorted sets: one piece of memory each, which a table finds by name and a tree keeps in order."""

from libc.string cimport memcpy

from mpkv.types.allocator cimport ZSETS, allocate, footprint, release
from mpkv.types.siphash cimport siphash


cdef inline size_t _length_bytes(size_t size) noexcept nogil:
    cdef size_t needed = 1
    while size >= 128:
        size >>= 7
        needed += 1
    return needed


cdef inline size_t _entry_bytes(size_t size) noexcept nogil:
    return sizeof(double) + _length_bytes(size) + size


cdef zset_entry* entry_new(const char* member, size_t size, double score) noexcept nogil:
    cdef zset_entry* entry
    cdef uint8_t* at
    cdef size_t rest = size
    if size > <size_t>1 << 40:
        return NULL
    entry = <zset_entry*>allocate(_entry_bytes(size), ZSETS)
    if entry == NULL:
        return NULL
    entry.score = score
    at = <uint8_t*>entry + sizeof(double)
    while rest >= 128:
        at[0] = <uint8_t>(rest | 128)
        rest >>= 7
        at += 1
    at[0] = <uint8_t>rest
    memcpy(at + 1, member, size)
    return entry


cdef void entry_free(zset_entry* entry) noexcept nogil:
    cdef size_t size
    entry_member(entry, &size)
    release(entry, _entry_bytes(size), ZSETS)


cdef size_t entry_memory(const zset_entry* entry) noexcept nogil:
    cdef size_t size
    entry_member(entry, &size)
    return footprint(entry, _entry_bytes(size))


cdef bint _is_named(const void* piece, const char* name, size_t size) noexcept nogil:
    cdef size_t its_size
    cdef const char* member = entry_member(<const zset_entry*>piece, &its_size)
    return its_size == size and memcmp(member, name, size) == 0


cdef uint64_t _hash_of(const void* piece) noexcept nogil:
    cdef size_t size
    cdef const char* member = entry_member(<const zset_entry*>piece, &size)
    return siphash(member, size)


cdef pieces_t _pieces = pieces_t(_is_named, _hash_of, ZSETS)


cdef const pieces_t* entry_pieces() noexcept nogil:
    return &_pieces
