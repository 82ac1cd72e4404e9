"""Hashes: field -> value. Small ones are one packed block that is searched from its beginning, large ones a table.

What is small is what Redis 7.2 keeps as a listpack (hash-max-listpack-entries and -value), and the change is for
good: a hash that has become a table stays one until its key is deleted. In a block ten fields of 7 bytes with values
of 16 take 250 bytes. In a table a field and its value are one piece.
"""

from libc.string cimport memmove

from mpkv.types.allocator cimport HASHES, block_footprint
from mpkv.types.chance cimport below, random_bits
from mpkv.types.packed cimport (
    BLOCK_COUNT_MAX,
    BLOCK_SIZE_MAX,
    PACKED,
    PART_SIZE_BITS,
    TABLE,
    element_size,
    element_t,
    packed_add_count,
    packed_append,
    packed_begin,
    packed_check,
    packed_count,
    packed_cut,
    packed_find,
    packed_free,
    packed_kind,
    packed_nth,
    packed_resize,
    packed_table,
    packed_used,
    read_element,
    write_element,
)
from mpkv.types.elements cimport (
    elements_check,
    elements_delete,
    elements_find,
    elements_free,
    elements_free_some,
    elements_from_packed,
    elements_memory,
    elements_next,
    elements_put,
    elements_random,
    elements_scan,
)
from mpkv.types.table cimport place_t, table_count

cdef size_t _entries_max = 512
cdef size_t _value_max = 64


def set_limits(size_t entries, size_t value):
    """hash-max-listpack-entries and hash-max-listpack-value (bytes); what is a table already stays one."""
    global _entries_max, _value_max
    _entries_max = entries
    _value_max = value


cdef inline bint _is_packed(const hash_t* self) noexcept nogil:
    return packed_kind(self) != TABLE


cdef void hash_begin(hash_t* self) noexcept nogil:
    packed_begin(self, PACKED)


cdef void hash_free(hash_t* self) noexcept nogil:
    if _is_packed(self):
        packed_free(self, HASHES)
    else:
        elements_free(packed_table(self), True)


cdef bint hash_free_some(hash_t* self, size_t* position, size_t fields) noexcept nogil:
    if not _is_packed(self):
        return elements_free_some(packed_table(self), <place_t*>position, fields, True)
    packed_free(self, HASHES)
    return True


cdef size_t hash_len(const hash_t* self) noexcept nogil:
    return packed_count(self) if _is_packed(self) else table_count(packed_table(self))


cdef size_t hash_memory(const hash_t* self, size_t samples) noexcept nogil:
    if _is_packed(self):
        return block_footprint(self.body)
    return elements_memory(packed_table(self), samples, True)


cdef bint hash_is_listpack(const hash_t* self) noexcept nogil:
    return _is_packed(self)


cdef int _convert(hash_t* self) noexcept nogil:
    """From a block to a table; 0, or -1 when there is no memory (unchanged)."""
    cdef hash_t table
    packed_begin(&table, TABLE)
    if elements_from_packed(packed_table(&table), self, True) < 0:
        return -1
    packed_free(self, HASHES)
    self[0] = table
    return 0


cdef int _replace_packed(hash_t* self, size_t offset, const element_t* element) noexcept nogil:
    """The element at `offset` gets a new value and keeps its place."""
    cdef char* at = <char*>self.body + offset
    cdef element_t old
    cdef size_t old_size = read_element(at, True, &old) - at
    cdef size_t size = element_size(element, True)
    cdef size_t used = packed_used(self)
    if size > old_size:
        if packed_resize(self, used + size - old_size, HASHES) < 0:
            return -1
        at = <char*>self.body + offset
        memmove(at + size, at + old_size, used - offset - old_size)
    elif size < old_size:
        packed_cut(self, offset + size, old_size - size, HASHES)
        at = <char*>self.body + offset
    write_element(at, element, True)
    return 0


cdef int _put_packed(hash_t* self, const element_t* element, bint* fits) noexcept nogil:
    """As `hash_put`, if the element fits; else nothing."""
    cdef size_t offset
    fits[0] = (
        element.key_size <= _value_max
        and element.value_size <= _value_max
        and packed_used(self) + element_size(element, True) <= BLOCK_SIZE_MAX
    )
    if not fits[0]:
        return 0
    if packed_find(self, element.key, element.key_size, True, &offset):
        return _replace_packed(self, offset, element)
    fits[0] = packed_count(self) < min(_entries_max, <size_t>BLOCK_COUNT_MAX)
    return packed_append(self, element, True, HASHES) if fits[0] else 0


cdef int hash_put(
    hash_t* self, const char* field, size_t field_size, const char* value, size_t value_size
) noexcept nogil:
    cdef element_t element = element_t(field, field_size, value, value_size)
    cdef bint fits
    cdef int result
    if (field_size | value_size) >> PART_SIZE_BITS:
        return -1
    if _is_packed(self):
        result = _put_packed(self, &element, &fits)
        if fits:
            return result
        if _convert(self) < 0:
            return -1
    return elements_put(packed_table(self), &element, True)


cdef int hash_get(
    const hash_t* self, const char* field, size_t field_size, const char** value, size_t* value_size
) noexcept nogil:
    cdef element_t element
    cdef size_t offset
    if _is_packed(self):
        if not packed_find(self, field, field_size, True, &offset):
            return 0
        read_element(<char*>self.body + offset, True, &element)
    elif not elements_find(packed_table(self), field, field_size, &element, True):
        return 0
    value[0] = element.value
    value_size[0] = element.value_size
    return 1


cdef int hash_delete(hash_t* self, const char* field, size_t field_size) noexcept nogil:
    cdef element_t element
    cdef const char* at
    cdef size_t offset
    if not _is_packed(self):
        return elements_delete(packed_table(self), field, field_size, True)
    if not packed_find(self, field, field_size, True, &offset):
        return 0
    at = <char*>self.body + offset
    packed_cut(self, offset, read_element(at, True, &element) - at, HASHES)
    packed_add_count(self, -1)
    return 1


cdef inline bint _next(const hash_t* self, size_t* position, element_t* element) noexcept nogil:
    """Positions are offsets in a block and places of a table."""
    cdef const char* block
    if not _is_packed(self):
        return elements_next(packed_table(self), <place_t*>position, element, True)
    if position[0] >= packed_used(self):
        return False
    block = <const char*>self.body
    position[0] = read_element(block + position[0], True, element) - block
    return True


cdef int hash_next(
    const hash_t* self, size_t* position, const char** field, size_t* field_size, const char** value, size_t* value_size
) noexcept nogil:
    cdef element_t element
    if not _next(self, position, &element):
        return 0
    field[0], field_size[0] = element.key, element.key_size
    value[0], value_size[0] = element.value, element.value_size
    return 1


cdef inline void _random(const hash_t* self, unsigned long long random, element_t* element) noexcept nogil:
    cdef size_t offset
    if _is_packed(self):
        offset = packed_nth(self, below(random, packed_count(self)), True)
        read_element(<const char*>self.body + offset, True, element)
    else:
        elements_random(packed_table(self), random, element, True)


cdef int hash_random(
    const hash_t* self, unsigned long long random,
    const char** field, size_t* field_size, const char** value, size_t* value_size,
) noexcept nogil:
    cdef element_t element
    if hash_len(self) == 0:
        return 0
    _random(self, random, &element)
    field[0], field_size[0] = element.key, element.key_size
    value[0], value_size[0] = element.value, element.value_size
    return 1


cdef inline bytes _key(const element_t* element):
    return element.key[:element.key_size]


cdef inline bytes _value(const element_t* element):
    return element.value[:element.value_size]


cdef inline tuple _pair(const element_t* element):
    return _key(element), _value(element)


cdef class Hash:
    """See `mpkv.commands.faces.Hash`."""

    @staticmethod
    cdef Hash wrap(hash_t* native):
        cdef Hash self = Hash.__new__(Hash)
        self.native = native
        return self

    @staticmethod
    def standalone():
        """An empty hash that is no key's."""
        cdef Hash self = Hash.__new__(Hash)
        hash_begin(&self.own)
        self.native = &self.own
        return self

    def __dealloc__(self):
        if self.native == &self.own:
            hash_free(self.native)

    def __len__(self):
        return hash_len(self.native)

    def get(self, bytes field not None):
        cdef const char* value
        cdef size_t size
        if hash_get(self.native, <const char*>field, len(field), &value, &size):
            return value[:size]
        return None

    def put(self, bytes field not None, bytes value not None):
        cdef int result = hash_put(self.native, <const char*>field, len(field), <const char*>value, len(value))
        if result < 0:
            raise MemoryError
        return result == 1

    def delete(self, bytes field not None):
        return hash_delete(self.native, <const char*>field, len(field)) == 1

    def items(self):
        cdef element_t element
        cdef size_t position = 0
        cdef list found = []
        while _next(self.native, &position, &element):
            found.append(_pair(&element))
        return found

    def fields(self):
        cdef element_t element
        cdef size_t position = 0
        cdef list found = []
        while _next(self.native, &position, &element):
            found.append(_key(&element))
        return found

    def values(self):
        cdef element_t element
        cdef size_t position = 0
        cdef list found = []
        while _next(self.native, &position, &element):
            found.append(_value(&element))
        return found

    def random(self):
        cdef element_t element
        assert hash_len(self.native), "a random field of an empty hash"
        _random(self.native, random_bits(), &element)
        return _pair(&element)

    def sample(self, count):
        if count * 3 < hash_len(self.native):
            return self._sample_by_rejection(count)
        return self._sample_by_walk(min(count, hash_len(self.native)))

    cdef list _sample_by_rejection(self, size_t count):
        """Few of many: pick until enough different ones are found."""
        cdef element_t element
        cdef dict found = {}
        while <size_t>len(found) < count:
            _random(self.native, random_bits(), &element)
            found[_key(&element)] = _value(&element)
        return list(found.items())

    cdef list _sample_by_walk(self, size_t count):
        """Many of them: one walk that takes each with the right probability (Knuth, TAOCP 2, 3.4.2, algorithm S)."""
        cdef element_t element
        cdef size_t position = 0
        cdef size_t left = hash_len(self.native)
        cdef list found = []
        while count and _next(self.native, &position, &element):
            if below(random_bits(), left) < count:
                found.append(_pair(&element))
                count -= 1
            left -= 1
        return found

    def scan(self, cursor, count):
        if _is_packed(self.native):
            return 0, self.items()
        return elements_scan(packed_table(self.native), cursor, count, True)

    def encoding(self):
        return "listpack" if hash_is_listpack(self.native) else "hashtable"

    def memory(self, size_t samples=0):
        """Bytes allocated for it, judged by so many fields if it is large; 0: by all."""
        return hash_memory(self.native, samples)

    def validate(self):
        """Check every invariant, and the counts against a walk (tests, DEBUG)."""
        cdef const char* broken
        if _is_packed(self.native):
            broken = packed_check(self.native, True)
        else:
            broken = elements_check(packed_table(self.native), True)
        assert broken == NULL, (<bytes>broken).decode()
        assert len(self.items()) == len(self), "a walk does not return as many as there are"
