"""Where values get their memory: the one place to change the allocator, or to let it fail in a test.

Every allocation of a value goes through here, a few per table and one per large element, so a call and a counter cost
nothing that shows. `fail_after` makes "no memory" an ordinary case that tests reach at every single allocation.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc, realloc

cdef int64_t _left = -1     # allocations until they fail; negative = never


cdef inline bint _refused() noexcept nogil:
    global _left
    if _left < 0:
        return False
    if _left == 0:
        return True
    _left -= 1
    return False


cdef void* allocate(size_t size) noexcept nogil:
    return NULL if _refused() else malloc(size)


cdef void* allocate_zeroed(size_t count, size_t size) noexcept nogil:
    return NULL if _refused() else calloc(count, size)


cdef void* reallocate(void* memory, size_t size) noexcept nogil:
    return NULL if _refused() else realloc(memory, size)


cdef void release(void* memory) noexcept nogil:
    free(memory)


def fail_after(allocations):
    """Let `allocations` more succeed and then none (tests); None ends it."""
    global _left
    _left = -1 if allocations is None else allocations
