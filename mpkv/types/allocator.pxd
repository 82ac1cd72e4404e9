# Where values get their memory: the one place to change the allocator, or to let it fail in a test.

cdef void* allocate(size_t size) noexcept nogil
cdef void* allocate_zeroed(size_t count, size_t size) noexcept nogil
cdef void* reallocate(void* memory, size_t size) noexcept nogil
cdef void release(void* memory) noexcept nogil
