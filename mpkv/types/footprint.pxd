# What an allocation costs: the size of glibc's piece, its own header included. Memory is accounted in these.

cdef enum:
    MALLOC_HEADER_BYTES = 8
    MALLOC_STEP_BYTES = 16
    MALLOC_LEAST_BYTES = 32

cdef inline size_t footprint(size_t size) noexcept nogil:
    cdef size_t bytes = (size + MALLOC_HEADER_BYTES + MALLOC_STEP_BYTES - 1) & ~<size_t>(MALLOC_STEP_BYTES - 1)
    return bytes if bytes > MALLOC_LEAST_BYTES else MALLOC_LEAST_BYTES
