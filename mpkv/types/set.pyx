"""Sets: integers as a sorted array, a few members as one packed block, many as a table.

The changes from one to another are those of Redis 7.2, and none goes back. A set begins as an intset. A member that
is no integer makes a listpack of it if that is within set-max-listpack-entries and -value, else a hashtable; more
integers than set-max-intset-entries make a hashtable of it at once, and so does anything that a listpack cannot take.
"""

from libc.stdint cimport int64_t
from libc.string cimport memset

from mpkv.types.allocator cimport allocate_zeroed, release
from mpkv.types.chance cimport below, random_bits
from mpkv.types.footprint cimport footprint
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
    BLOCK_SIZE_MAX,
    INTSET,
    PACKED,
    PART_SIZE_BITS,
    TABLE,
    element_size,
    element_t,
    packed_append,
    packed_check,
    packed_cut,
    packed_find,
    packed_nth,
    packed_t,
    read_element,
)
from mpkv.types.table cimport (
    table_check,
    table_delete,
    table_find,
    table_free,
    table_from_packed,
    table_memory,
    table_next,
    table_put,
    table_random,
    table_scan,
    table_slots,
    table_t,
)

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


cdef inline table_t* _table(const set_t* self) noexcept nogil:
    return <table_t*>self.packed.body


cdef set_t* set_new() noexcept nogil:
    cdef set_t* self = <set_t*>allocate_zeroed(1, sizeof(set_t))
    if self != NULL:
        self.packed.kind = INTSET
        self.packed.width = 2
    return self


cdef void set_free(set_t* self) noexcept nogil:
    if self.packed.kind == TABLE:
        table_free(_table(self))
    else:
        release(self.packed.body)
    release(self)


cdef size_t set_len(const set_t* self) noexcept nogil:
    return _table(self).count if self.packed.kind == TABLE else self.packed.count


cdef size_t set_memory(const set_t* self) noexcept nogil:
    cdef size_t body = 0
    if self.packed.kind == TABLE:
        body = table_memory(_table(self))
    elif self.packed.capacity:
        body = footprint(self.packed.capacity)
    return footprint(sizeof(set_t)) + body


cdef int set_encoding(const set_t* self) noexcept nogil:
    return self.packed.kind


# From one representation to the next

cdef void _become(set_t* self, int kind, packed_t* body) noexcept nogil:
    release(self.packed.body)
    self.packed = body[0]
    self.packed.kind = kind


cdef int _intset_to_packed(const set_t* self, packed_t* block) noexcept nogil:
    """All members as text in a block; -1 when there is no memory."""
    cdef char text[INTEGER_TEXT_MAX]
    cdef element_t element = element_t(&text[0], 0, NULL, 0)
    cdef size_t index
    memset(block, 0, sizeof(packed_t))
    for index in range(self.packed.count):
        element.key_size = integer_text(intset_at(&self.packed, index), text)
        if packed_append(block, &element, False) < 0:
            release(block.body)
            return -1
    return 0


cdef int _to_packed(set_t* self) noexcept nogil:
    cdef packed_t block
    if _intset_to_packed(self, &block) < 0:
        return -1
    _become(self, PACKED, &block)
    return 0


cdef int _to_table(set_t* self) noexcept nogil:
    """0, or -1 when there is no memory (unchanged)."""
    cdef packed_t texts
    cdef packed_t body
    cdef table_t* table
    memset(&body, 0, sizeof(packed_t))
    if self.packed.kind == INTSET:
        if _intset_to_packed(self, &texts) < 0:
            return -1
        table = table_from_packed(&texts, False)
        release(texts.body)
    else:
        table = table_from_packed(&self.packed, False)
    if table == NULL:
        return -1
    body.body = table
    _become(self, TABLE, &body)
    return 0


cdef bint _intset_takes_one_more(const set_t* self) noexcept nogil:
    return (
        self.packed.count < _intset_entries_max
        and (<size_t>self.packed.count + 1) * INTEGER_WIDTH_MAX <= BLOCK_SIZE_MAX
    )


cdef bint _packed_takes_one_more(const set_t* self, const element_t* element) noexcept nogil:
    return (
        self.packed.count < _listpack_entries_max
        and element.key_size <= _listpack_value_max
        and self.packed.used + element_size(element, False) <= BLOCK_SIZE_MAX
    )


cdef bint _packed_would_take_all(const set_t* self, const element_t* element) noexcept nogil:
    """The same of an intset that would become text first; the longest text is that of the first or last number."""
    cdef char text[INTEGER_TEXT_MAX]
    if self.packed.count == 0:
        return _packed_takes_one_more(self, element)
    return (
        _packed_takes_one_more(self, element)
        and integer_text(intset_at(&self.packed, 0), text) <= _listpack_value_max
        and integer_text(intset_at(&self.packed, self.packed.count - 1), text) <= _listpack_value_max
        and <size_t>self.packed.count * (INTEGER_TEXT_MAX + 1) + element_size(element, False) <= BLOCK_SIZE_MAX
    )


# Members

cdef int _add_to_intset(set_t* self, const element_t* element, bint* fits) noexcept nogil:
    """Add if it can stay an intset; else it becomes what can take the element, and `fits` says no."""
    cdef int64_t number
    cdef size_t index
    cdef bint is_integer = integer_of(element.key, element.key_size, &number)
    fits[0] = True
    if is_integer and intset_find(&self.packed, number, &index):
        return 0
    if is_integer and _intset_takes_one_more(self):
        return intset_add(&self.packed, number)
    fits[0] = False
    # A full intset becomes a table even if a listpack could take it, unless it is new
    if is_integer and self.packed.count:
        return _to_table(self)
    return _to_packed(self) if _packed_would_take_all(self, element) else _to_table(self)


cdef int _add_to_packed(set_t* self, const element_t* element, bint* fits) noexcept nogil:
    cdef size_t offset
    fits[0] = True
    if packed_find(&self.packed, element.key, element.key_size, False, &offset):
        return 0
    if _packed_takes_one_more(self, element):
        return packed_append(&self.packed, element, False)
    fits[0] = False
    return _to_table(self)


cdef int set_add(set_t* self, const char* member, size_t size) noexcept nogil:
    cdef element_t element = element_t(member, size, NULL, 0)
    cdef bint fits
    cdef int result
    if size >> PART_SIZE_BITS:
        return -1
    if self.packed.kind == INTSET:
        result = _add_to_intset(self, &element, &fits)
        if fits or result < 0:
            return result
    if self.packed.kind == PACKED:
        result = _add_to_packed(self, &element, &fits)
        if fits or result < 0:
            return result
    return table_put(_table(self), &element)


cdef int set_remove(set_t* self, const char* member, size_t size) noexcept nogil:
    cdef element_t element
    cdef const char* at
    cdef size_t offset
    cdef int64_t number
    if self.packed.kind == INTSET:
        return integer_of(member, size, &number) and intset_remove(&self.packed, number)
    if self.packed.kind == TABLE:
        return table_delete(_table(self), member, size)
    if not packed_find(&self.packed, member, size, False, &offset):
        return 0
    at = <char*>self.packed.body + offset
    packed_cut(&self.packed, offset, read_element(at, False, &element) - at)
    self.packed.count -= 1
    return 1


cdef int set_contains(const set_t* self, const char* member, size_t size) noexcept nogil:
    cdef element_t element
    cdef size_t offset
    cdef int64_t number
    if self.packed.kind == INTSET:
        return integer_of(member, size, &number) and intset_find(&self.packed, number, &offset)
    if self.packed.kind == PACKED:
        return packed_find(&self.packed, member, size, False, &offset)
    return table_find(_table(self), member, size, &element)


cdef void _show_integer(const set_t* self, size_t index, element_t* element) noexcept nogil:
    global _next_text
    element.key = &_texts[_next_text][0]
    element.key_size = integer_text(intset_at(&self.packed, index), &_texts[_next_text][0])
    _next_text = (_next_text + 1) % TEXTS


cdef inline bint _next(const set_t* self, size_t* position, element_t* element) noexcept nogil:
    """Positions are indexes of an intset, offsets in a block and slots of a table."""
    cdef const char* block
    if self.packed.kind == TABLE:
        return table_next(_table(self), position, table_slots(_table(self)), element)
    if self.packed.kind == INTSET:
        if position[0] >= self.packed.count:
            return False
        _show_integer(self, position[0], element)
        position[0] += 1
        return True
    if position[0] >= self.packed.used:
        return False
    block = <const char*>self.packed.body
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
    if self.packed.kind == TABLE:
        table_random(_table(self), random, element)
    elif self.packed.kind == INTSET:
        _show_integer(self, below(random, self.packed.count), element)
    else:
        offset = packed_nth(&self.packed, below(random, self.packed.count), False)
        read_element(<const char*>self.packed.body + offset, False, element)


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
        """An empty set that its handle owns and frees."""
        cdef set_t* native = set_new()
        cdef Set self
        if native == NULL:
            raise MemoryError
        self = Set.wrap(native)
        self.owned = True
        return self

    def __dealloc__(self):
        if self.owned:
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
        cdef element_t element
        cdef size_t position
        cdef size_t end
        cdef list found = []
        if self.native.packed.kind != TABLE:
            return 0, self.members()
        if not 0 <= cursor < 1 << 64:
            return 0, found
        cursor = table_scan(_table(self.native), cursor, max(1, min(count, 1 << 32)), &position, &end)
        while table_next(_table(self.native), &position, end, &element):
            found.append(_member(&element))
        return cursor, found

    def encoding(self):
        return ENCODINGS[set_encoding(self.native)]

    def memory(self):
        """Bytes allocated for it."""
        return set_memory(self.native)

    def validate(self):
        """Check every invariant, and the counts against a walk (tests, DEBUG)."""
        cdef const char* broken
        if self.native.packed.kind == TABLE:
            broken = table_check(_table(self.native))
        elif self.native.packed.kind == INTSET:
            broken = intset_check(&self.native.packed)
        else:
            broken = packed_check(&self.native.packed, False)
        assert broken == NULL, (<bytes>broken).decode()
        assert len(self.members()) == len(self), "a walk does not return as many as there are"
