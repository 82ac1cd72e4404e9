"""Sets: integers as a sorted array, a few members as one packed block, many as a table.

The changes from one to another are those of Redis 7.2, and none goes back. A set begins as an intset. A member that
is no integer makes a listpack of it if that is within set-max-listpack-entries and -value, else a hashtable; more
integers than set-max-intset-entries make a hashtable of it at once, and so does anything that a listpack cannot take.
"""

from libc.stdint cimport int64_t

from mpkv.types.allocator cimport SETS, block_footprint
from mpkv.types.chance cimport below, random_bits
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
from mpkv.types.intset cimport (
    INTEGER_TEXT_MAX,
    integer_of,
    integer_text,
    intset_add,
    intset_at,
    intset_check,
    intset_find,
    intset_remove,
)
from mpkv.types.packed cimport (
    BLOCK_COUNT_MAX,
    BLOCK_SIZE_MAX,
    INTSET,
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
    packed_t,
    packed_table,
    packed_used,
    read_element,
)
from mpkv.types.table cimport place_t, table_count

cdef enum:
    INTEGER_WIDTH_MAX = 8
    TEXTS = 8               # places for integers shown as text

ENCODINGS = ("intset", "listpack", "hashtable")

cdef size_t _intset_entries_max = 512
cdef size_t _listpack_entries_max = 128
cdef size_t _listpack_value_max = 64

cdef char _texts[TEXTS][INTEGER_TEXT_MAX]
cdef size_t _next_text


def set_limits(size_t intset_entries, size_t listpack_entries, size_t listpack_value):
    """set-max-intset-entries, set-max-listpack-entries, set-max-listpack-value (bytes); what has changed stays so."""
    global _intset_entries_max, _listpack_entries_max, _listpack_value_max
    _intset_entries_max = intset_entries
    _listpack_entries_max = listpack_entries
    _listpack_value_max = listpack_value


cdef void set_begin(set_t* self) noexcept nogil:
    packed_begin(self, INTSET)


cdef void set_free(set_t* self) noexcept nogil:
    if packed_kind(self) == TABLE:
        elements_free(packed_table(self), False)
    else:
        packed_free(self, SETS)


cdef bint set_free_some(set_t* self, size_t* position, size_t members) noexcept nogil:
    if packed_kind(self) == TABLE:
        return elements_free_some(packed_table(self), <place_t*>position, members, False)
    packed_free(self, SETS)
    return True


cdef size_t set_len(const set_t* self) noexcept nogil:
    return table_count(packed_table(self)) if packed_kind(self) == TABLE else packed_count(self)


cdef size_t set_memory(const set_t* self, size_t samples) noexcept nogil:
    if packed_kind(self) == TABLE:
        return elements_memory(packed_table(self), samples, False)
    return block_footprint(self.body)


cdef int set_encoding(const set_t* self) noexcept nogil:
    return packed_kind(self)


# From one representation to the next

cdef int _intset_to_packed(const set_t* self, packed_t* block) noexcept nogil:
    """All members as text in a block; -1 when there is no memory."""
    cdef char text[INTEGER_TEXT_MAX]
    cdef element_t element = element_t(&text[0], 0, NULL, 0)
    cdef size_t index
    packed_begin(block, PACKED)
    for index in range(packed_count(self)):
        element.key_size = integer_text(intset_at(self, index), text)
        if packed_append(block, &element, False, SETS) < 0:
            packed_free(block, SETS)
            return -1
    return 0


cdef int _to_packed(set_t* self) noexcept nogil:
    cdef packed_t block
    if _intset_to_packed(self, &block) < 0:
        return -1
    packed_free(self, SETS)
    self[0] = block
    return 0


cdef int _to_table(set_t* self) noexcept nogil:
    """0, or -1 when there is no memory (unchanged)."""
    cdef packed_t texts
    cdef packed_t body
    cdef int status
    packed_begin(&body, TABLE)
    if packed_kind(self) == INTSET:
        if _intset_to_packed(self, &texts) < 0:
            return -1
        status = elements_from_packed(packed_table(&body), &texts, False)
        packed_free(&texts, SETS)
    else:
        status = elements_from_packed(packed_table(&body), self, False)
    if status < 0:
        return -1
    packed_free(self, SETS)
    self[0] = body
    return 0


cdef bint _intset_takes_one_more(const set_t* self) noexcept nogil:
    return (
        packed_count(self) < min(_intset_entries_max, <size_t>BLOCK_COUNT_MAX)
        and (<size_t>packed_count(self) + 1) * INTEGER_WIDTH_MAX <= BLOCK_SIZE_MAX
    )


cdef bint _packed_takes_one_more(const set_t* self, const element_t* element) noexcept nogil:
    return (
        packed_count(self) < min(_listpack_entries_max, <size_t>BLOCK_COUNT_MAX)
        and element.key_size <= _listpack_value_max
        and packed_used(self) + element_size(element, False) <= BLOCK_SIZE_MAX
    )


cdef bint _packed_would_take_all(const set_t* self, const element_t* element) noexcept nogil:
    """The same of an intset that would become text first; the longest text is that of the first or last number."""
    cdef char text[INTEGER_TEXT_MAX]
    cdef size_t count = packed_count(self)
    if count == 0:
        return _packed_takes_one_more(self, element)
    return (
        _packed_takes_one_more(self, element)
        and integer_text(intset_at(self, 0), text) <= _listpack_value_max
        and integer_text(intset_at(self, count - 1), text) <= _listpack_value_max
        and count * (INTEGER_TEXT_MAX + 1) + element_size(element, False) <= BLOCK_SIZE_MAX
    )


# Members

cdef int _add_to_intset(set_t* self, const element_t* element, bint* fits) noexcept nogil:
    """Add if it can stay an intset; else it becomes what can take the element, and `fits` says no."""
    cdef int64_t number
    cdef size_t index
    cdef bint is_integer = integer_of(element.key, element.key_size, &number)
    fits[0] = True
    if is_integer and intset_find(self, number, &index):
        return 0
    if is_integer and _intset_takes_one_more(self):
        return intset_add(self, number)
    fits[0] = False
    # A full intset becomes a table even if a listpack could take it, unless it is new
    if is_integer and packed_count(self):
        return _to_table(self)
    return _to_packed(self) if _packed_would_take_all(self, element) else _to_table(self)


cdef int _add_to_packed(set_t* self, const element_t* element, bint* fits) noexcept nogil:
    cdef size_t offset
    fits[0] = True
    if packed_find(self, element.key, element.key_size, False, &offset):
        return 0
    if _packed_takes_one_more(self, element):
        return packed_append(self, element, False, SETS)
    fits[0] = False
    return _to_table(self)


cdef int set_add(set_t* self, const char* member, size_t size) noexcept nogil:
    cdef element_t element = element_t(member, size, NULL, 0)
    cdef bint fits
    cdef int result
    if size >> PART_SIZE_BITS:
        return -1
    if packed_kind(self) == INTSET:
        result = _add_to_intset(self, &element, &fits)
        if fits or result < 0:
            return result
    if packed_kind(self) == PACKED:
        result = _add_to_packed(self, &element, &fits)
        if fits or result < 0:
            return result
    return elements_put(packed_table(self), &element, False)


cdef int set_remove(set_t* self, const char* member, size_t size) noexcept nogil:
    cdef element_t element
    cdef const char* at
    cdef size_t offset
    cdef int64_t number
    if packed_kind(self) == INTSET:
        return integer_of(member, size, &number) and intset_remove(self, number)
    if packed_kind(self) == TABLE:
        return elements_delete(packed_table(self), member, size, False)
    if not packed_find(self, member, size, False, &offset):
        return 0
    at = <char*>self.body + offset
    packed_cut(self, offset, read_element(at, False, &element) - at, SETS)
    packed_add_count(self, -1)
    return 1


cdef int set_contains(const set_t* self, const char* member, size_t size) noexcept nogil:
    cdef element_t element
    cdef size_t offset
    cdef int64_t number
    if packed_kind(self) == INTSET:
        return integer_of(member, size, &number) and intset_find(self, number, &offset)
    if packed_kind(self) == PACKED:
        return packed_find(self, member, size, False, &offset)
    return elements_find(packed_table(self), member, size, &element, False)


cdef void _show_integer(const set_t* self, size_t index, element_t* element) noexcept nogil:
    global _next_text
    element.key = &_texts[_next_text][0]
    element.key_size = integer_text(intset_at(self, index), &_texts[_next_text][0])
    _next_text = (_next_text + 1) % TEXTS


cdef inline bint _next(const set_t* self, size_t* position, element_t* element) noexcept nogil:
    """Positions are indexes of an intset, offsets in a block and places of a table."""
    cdef const char* block
    if packed_kind(self) == TABLE:
        return elements_next(packed_table(self), <place_t*>position, element, False)
    if packed_kind(self) == INTSET:
        if position[0] >= packed_count(self):
            return False
        _show_integer(self, position[0], element)
        position[0] += 1
        return True
    if position[0] >= packed_used(self):
        return False
    block = <const char*>self.body
    position[0] = read_element(block + position[0], False, element) - block
    return True


cdef int set_next(const set_t* self, size_t* position, const char** member, size_t* size) noexcept nogil:
    cdef element_t element
    if not _next(self, position, &element):
        return 0
    member[0], size[0] = element.key, element.key_size
    return 1


cdef void _random(const set_t* self, unsigned long long random, element_t* element) noexcept nogil:
    cdef size_t offset
    if packed_kind(self) == TABLE:
        elements_random(packed_table(self), random, element, False)
    elif packed_kind(self) == INTSET:
        _show_integer(self, below(random, packed_count(self)), element)
    else:
        offset = packed_nth(self, below(random, packed_count(self)), False)
        read_element(<const char*>self.body + offset, False, element)


cdef int set_random(const set_t* self, unsigned long long random, const char** member, size_t* size) noexcept nogil:
    cdef element_t element
    if set_len(self) == 0:
        return 0
    _random(self, random, &element)
    member[0], size[0] = element.key, element.key_size
    return 1


cdef inline bytes _member(const element_t* element):
    return element.key[:element.key_size]


cdef class Set:
    """See `mpkv.commands.faces.Set`."""

    @staticmethod
    cdef Set wrap(set_t* native):
        cdef Set self = Set.__new__(Set)
        self.native = native
        return self

    @staticmethod
    def standalone():
        """An empty set that is no key's."""
        cdef Set self = Set.__new__(Set)
        set_begin(&self.own)
        self.native = &self.own
        return self

    def __dealloc__(self):
        if self.native == &self.own:
            set_free(self.native)

    def __len__(self):
        return set_len(self.native)

    def add(self, bytes member not None):
        cdef int result = set_add(self.native, <const char*>member, len(member))
        if result < 0:
            raise MemoryError
        return result == 1

    def remove(self, bytes member not None):
        return set_remove(self.native, <const char*>member, len(member)) == 1

    def contains(self, bytes member not None):
        return set_contains(self.native, <const char*>member, len(member)) == 1

    def members(self):
        cdef element_t element
        cdef size_t position = 0
        cdef list found = []
        while _next(self.native, &position, &element):
            found.append(_member(&element))
        return found

    def members_in_all(self, list others not None, size_t limit=0):
        return self._members_asked(others, True, limit)

    def members_in_none(self, list others not None):
        return self._members_asked(others, False, 0)

    cdef list _members_asked(self, list others, bint wanted, size_t limit):
        """The members of which each of the others says that it has them, or has not; `limit` 0: all."""
        cdef const char* member
        cdef size_t size, position = 0
        cdef Set other
        cdef list found = []
        while set_next(self.native, &position, &member, &size):
            for other in others:
                if set_contains(other.native, member, size) != wanted:
                    break
            else:
                found.append(member[:size])
                if <size_t>len(found) == limit:
                    break
        return found

    def random(self):
        cdef element_t element
        assert set_len(self.native), "a random member of an empty set"
        _random(self.native, random_bits(), &element)
        return _member(&element)

    def sample(self, count):
        if count * 3 < set_len(self.native):
            return self._sample_by_rejection(count)
        return self._sample_by_walk(min(count, set_len(self.native)))

    cdef list _sample_by_rejection(self, size_t count):
        """Few of many: pick until enough different ones are found."""
        cdef element_t element
        cdef dict found = {}
        while <size_t>len(found) < count:
            _random(self.native, random_bits(), &element)
            found[_member(&element)] = None
        return list(found)

    cdef list _sample_by_walk(self, size_t count):
        """Many of them: one walk that takes each with the right probability (Knuth, TAOCP 2, 3.4.2, algorithm S)."""
        cdef element_t element
        cdef size_t position = 0
        cdef size_t left = set_len(self.native)
        cdef list found = []
        while count and _next(self.native, &position, &element):
            if below(random_bits(), left) < count:
                found.append(_member(&element))
                count -= 1
            left -= 1
        return found

    def pop(self):
        member = self.random()
        self.remove(member)
        return member

    def scan(self, cursor, count):
        if packed_kind(self.native) != TABLE:
            return 0, self.members()
        return elements_scan(packed_table(self.native), cursor, count, False)

    def encoding(self):
        return ENCODINGS[set_encoding(self.native)]

    def memory(self, size_t samples=0):
        """Bytes allocated for it, judged by so many members if it is large; 0: by all."""
        return set_memory(self.native, samples)

    def validate(self):
        """Check every invariant, and the counts against a walk (tests, DEBUG)."""
        cdef const char* broken
        if packed_kind(self.native) == TABLE:
            broken = elements_check(packed_table(self.native), False)
        elif packed_kind(self.native) == INTSET:
            broken = intset_check(self.native)
        else:
            broken = packed_check(self.native, False)
        assert broken == NULL, (<bytes>broken).decode()
        assert len(self.members()) == len(self), "a walk does not return as many as there are"
