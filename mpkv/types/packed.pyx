"""The check of a packed block's invariants. Everything else is inline, see packed.pxd."""


cdef const char* packed_check(const packed_t* self, bint pairs) noexcept nogil:
    """NULL, or which rule is broken."""
    cdef const char* at = <const char*>self.body
    cdef const char* end = at + packed_used(self)
    cdef const char* later
    cdef element_t element
    cdef element_t other
    cdef size_t count = 0
    if packed_used(self) > block_room(self.body):
        return "a block uses more than it has"
    while at < end:
        at = read_element(at, pairs, &element)
        count += 1
        later = at
        while later < end:
            later = read_element(later, pairs, &other)
            if other.key_size == element.key_size and memcmp(other.key, element.key, element.key_size) == 0:
                return "a block has one key twice"
    if at != end:
        return "a block's last element ends outside"
    if count != packed_count(self):
        return "a block's count is wrong"
    return NULL
