# An arena: the memory of one table's elements. See arena.pyx.

from libc.stdint cimport uint32_t

from mpkv.types.footprint cimport footprint

cdef enum:
    UNIT = 8                    # bytes: the step of sizes
    UNIT_BITS = 3
    CHUNK_BITS = 13
    CHUNK_UNITS = 1 << CHUNK_BITS       # 64 KiB: under malloc's mmap threshold, and a chunk's unused end does not count
    SMALL_UNITS = 64            # 512 bytes: what is larger has a malloc of its own

# 31 bits of chunk and unit; the top bit says that a pointer to the element lies there. 0 is no reference.
ctypedef uint32_t reference_t

ctypedef struct arena_t:
    char** chunks
    reference_t* free_heads     # the first free place of each size in units; NULL until something is freed
    size_t memory               # bytes allocated, malloc's headers included: chunks, large elements and both arrays
    uint32_t chunk_count
    uint32_t chunk_room         # length of the array `chunks`
    uint32_t current            # the chunk that is being filled
    uint32_t next_unit          # where in it
    uint32_t first_units        # size of chunk 0: it grows, all others are CHUNK_UNITS long
    uint32_t free_units         # that were taken and given back
    uint32_t lost_units         # those of them for which there was no memory to list them

cdef inline bint is_large(reference_t reference) noexcept nogil:
    return reference >> 31

cdef inline size_t units_of(size_t size) noexcept nogil:
    """An element that keeps its units can grow and shrink in its place, large or not."""
    return (size + UNIT - 1) >> UNIT_BITS

cdef inline size_t large_footprint(size_t size) noexcept nogil:
    return footprint(units_of(size) * UNIT)

cdef inline char* arena_place(const arena_t* self, reference_t reference) noexcept nogil:
    return self.chunks[(reference << 1) >> (CHUNK_BITS + 1)] + ((reference & (CHUNK_UNITS - 1)) << UNIT_BITS)

cdef inline char* arena_at(const arena_t* self, reference_t reference) noexcept nogil:
    """The memory that a reference stands for."""
    cdef char* place = arena_place(self, reference)
    return (<char**>place)[0] if is_large(reference) else place

# An arena that is all zeroes is a valid empty one. `arena_open` prepares an empty one for `units` so that as many can
# be taken, in pieces of any size, without failing; 0, or -1 when there is no memory.
cdef int arena_open(arena_t* self, size_t units) noexcept nogil
# Frees chunks and arrays. Large elements are their owner's to give back first.
cdef void arena_close(arena_t* self) noexcept nogil
# A place for `size` bytes; 0 when there is no memory
cdef reference_t arena_take(arena_t* self, size_t size) noexcept nogil
cdef void arena_give(arena_t* self, reference_t reference, size_t size) noexcept nogil
# Move an element to another arena that `arena_open` has made large enough; of a large one only the pointer moves
cdef reference_t arena_move(arena_t* self, reference_t reference, size_t size, arena_t* to) noexcept nogil
# Give back the chunks that were opened and not needed
cdef void arena_trim(arena_t* self) noexcept nogil
cdef size_t arena_live_units(const arena_t* self) noexcept nogil
# Whether taking `size` bytes means asking for another chunk, while a quarter of the arena lies free
cdef bint arena_is_wasteful(const arena_t* self, size_t size) noexcept nogil
# NULL, or which rule is broken. The owner has counted the units and bytes of the elements.
cdef const char* arena_check(const arena_t* self, size_t live_units, size_t large_bytes) noexcept nogil
