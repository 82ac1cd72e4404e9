"""The elements of a large hash or set: pieces of a table, in the form that they have in a packed block.

A set's member, or a hash's field with its value, is one piece of memory. A new value takes the old one's place where it
has the same size class.
"""

from libc.stdint cimport uint64_t

from mpkv.types.allocator cimport HASHES, SETS, allocate, fits_in_place, footprint, release
from mpkv.types.packed cimport element_size, has_key, packed_used, write_element
from mpkv.types.siphash cimport siphash
from mpkv.types.table cimport (
    PREFIX_BITS, pieces_t, reversed_prefix, scan_t, table_check, table_count, table_drain, table_exchange, table_find,
    table_insert, table_memory, table_random, table_remove, table_scan, table_scan_next,
)

cdef extern from *:
    void prefetch "__builtin_prefetch"(const void* address) noexcept nogil

cdef bint _is_named(const void* piece, const char* name, size_t size) noexcept nogil:
    return has_key(<const char*>piece, name, size)


cdef uint64_t _hash_of(const void* piece) noexcept nogil:
    cdef element_t element
    read_element(<const char*>piece, False, &element)       # of a pair the key comes first too
    return siphash(element.key, element.key_size)


cdef pieces_t _pairs = pieces_t(_is_named, _hash_of, HASHES)
cdef pieces_t _members = pieces_t(_is_named, _hash_of, SETS)


cdef inline const pieces_t* _of(bint pairs) noexcept nogil:
    return &_pairs if pairs else &_members


cdef inline int _account(bint pairs) noexcept nogil:
    return HASHES if pairs else SETS


cdef inline size_t _size_of(const char* piece, bint pairs) noexcept nogil:
    cdef element_t element
    return read_element(piece, pairs, &element) - piece


cdef int elements_from_packed(table_t* self, const packed_t* packed, bint pairs) noexcept nogil:
    cdef const char* at = <const char*>packed.body
    cdef const char* end = at + packed_used(packed)
    cdef element_t element
    self.root = 0
    while at < end:
        at = read_element(at, pairs, &element)
        if elements_put(self, &element, pairs) < 0:
            elements_free(self, pairs)
            return -1
    return 0


cdef void elements_free(table_t* self, bint pairs) noexcept nogil:
    cdef place_t place = place_t(0, 0)
    elements_free_some(self, &place, <size_t>-1, pairs)


cdef bint elements_free_some(table_t* self, place_t* place, size_t count, bint pairs) noexcept nogil:
    cdef int account = _account(pairs)
    cdef char* piece = <char*>table_drain(self, place, account)
    cdef char* following
    while piece != NULL:
        # the next one comes into the cache meanwhile
        following = <char*>table_drain(self, place, account) if count else NULL
        if following != NULL:
            prefetch(following)
        release(piece, _size_of(piece, pairs), account)
        if count == 0:
            return False
        count -= 1
        piece = following
    return True


cdef size_t elements_memory(const table_t* self, size_t samples, bint pairs) noexcept nogil:
    cdef place_t place = place_t(0, 0)
    cdef uint64_t* word
    cdef uint64_t looked_at = 0
    cdef size_t memory = 0
    while samples == 0 or looked_at < samples:
        word = table_next(self, &place)
        if word == NULL:
            break
        memory += footprint(word_piece(word[0]), _size_of(<char*>word_piece(word[0]), pairs))
        looked_at += 1
    if looked_at:
        memory = <size_t>(<double>memory / looked_at * table_count(self)) if looked_at < table_count(self) else memory
    return memory + table_memory(self)


cdef bint elements_find(
    const table_t* self, const char* key, size_t size, element_t* element, bint pairs
) noexcept nogil:
    cdef uint64_t* word = table_find(self, _of(pairs), siphash(key, size), key, size)
    if word == NULL:
        return False
    read_element(<const char*>word_piece(word[0]), pairs, element)
    return True


cdef char* _new_piece(const element_t* element, bint pairs) noexcept nogil:
    cdef char* piece = <char*>allocate(element_size(element, pairs), _account(pairs))
    if piece != NULL:
        write_element(piece, element, pairs)
    return piece


cdef int _replace(table_t* self, uint64_t hash, uint64_t* word, const element_t* element) noexcept nogil:
    """Give the field of this word a new value: in place if it takes as much memory."""
    cdef char* piece = <char*>word_piece(word[0])
    cdef size_t old_size = _size_of(piece, True)
    cdef char* fresh
    if fits_in_place(piece, old_size, element_size(element, True)):
        write_element(piece, element, True)
        return 0
    fresh = _new_piece(element, True)
    if fresh == NULL:
        return -1
    table_exchange(self, hash, word, fresh, False)
    release(piece, old_size, HASHES)
    return 0


cdef int elements_put(table_t* self, const element_t* element, bint pairs) noexcept nogil:
    cdef uint64_t hash = siphash(element.key, element.key_size)
    cdef uint64_t* word = table_find(self, _of(pairs), hash, element.key, element.key_size)
    cdef char* piece
    if word != NULL:
        return _replace(self, hash, word, element) if pairs else 0
    piece = _new_piece(element, pairs)
    if piece == NULL:
        return -1
    if table_insert(self, _of(pairs), hash, piece, False) < 0:
        release(piece, element_size(element, pairs), _account(pairs))
        return -1
    return 1


cdef bint elements_delete(table_t* self, const char* key, size_t size, bint pairs) noexcept nogil:
    cdef uint64_t hash = siphash(key, size)
    cdef uint64_t* word = table_find(self, _of(pairs), hash, key, size)
    cdef char* piece
    if word == NULL:
        return False
    piece = <char*>word_piece(word[0])
    table_remove(self, _of(pairs), hash, word)
    release(piece, _size_of(piece, pairs), _account(pairs))
    return True


cdef void elements_random(const table_t* self, uint64_t random, element_t* element, bint pairs) noexcept nogil:
    read_element(<const char*>word_piece(table_random(self, random)[0]), pairs, element)


cdef tuple elements_scan(const table_t* self, cursor, count, bint pairs):
    cdef element_t element
    cdef scan_t scan
    cdef uint64_t* word
    cdef list found = []
    if not 0 <= cursor < <uint64_t>1 << PREFIX_BITS:
        return 0, found
    table_scan(self, reversed_prefix(cursor), max(1, min(count, 1 << 32)), &scan)
    while True:
        word = table_scan_next(self, &scan)
        if word == NULL:
            return reversed_prefix(scan.next), found
        read_element(<const char*>word_piece(word[0]), pairs, &element)
        if pairs:
            found.append((element.key[:element.key_size], element.value[:element.value_size]))
        else:
            found.append(element.key[:element.key_size])


cdef const char* elements_check(const table_t* self, bint pairs) noexcept nogil:
    return table_check(self, _of(pairs))
