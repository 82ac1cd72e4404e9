"""Pieces of memory that change their size: blocks of small values, segments of tables, blocks of lists; and what is too
large for a span of `allocator`.

Size classes are the wrong thing for these. Of a hundred thousand blocks that grow at random times, each class would
see all pass through, and be left with spans of which a few pieces are in use: half as much memory again. Here what is
given back joins what is free beside it and can be taken in any size: two-level segregated fit (M. Masmano, I. Ripoll,
A. Crespo, J. Real, "TLSF: a new dynamic memory allocator for real-time systems", 2004). Taking and giving are a few
instructions each, whatever is there.

Memory comes in regions of 64 MiB of addresses. A region is a row of blocks, each with one word in front::

    | size, flags | piece …                        |        in use
    | size, flags | next | previous | dirty … | size |        free; `dirty` in blocks of a page or more

The flags say that the block is free, and that the one before it is: then the word before this one is its size. So a
block finds its neighbours, and two free blocks are never side by side. A block in use takes 8 bytes more than its
piece, at least 32 in all.

Free blocks are listed by size: 32 lists for each power of two, with a bit for each list that is not empty. A search
rounds up to the next list, whose blocks all fit, and takes the first.

Pages of free blocks go back to the system. Each block knows how much of it may have been touched (`dirty`): at 128 KiB
its pages go at once, and what lies about in smaller blocks goes by and by (`heap_trim`).
"""

from libc.string cimport memcpy

cdef extern from *:
    """
    #include <stdlib.h>
    #include <sys/mman.h>

    static void *heap_map(size_t size) {
        void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        return base == MAP_FAILED ? NULL : base;
    }
    """
    void* heap_map(size_t size) nogil
    int madvise(void* address, size_t length, int advice) nogil
    int MADV_DONTNEED
    void* malloc(size_t size) nogil
    void* calloc(size_t count, size_t size) nogil
    void* realloc(void* memory, size_t size) nogil
    void free(void* memory) nogil
    int highest_bit "63 - __builtin_clzll"(uint64_t word) nogil
    int lowest_bit "__builtin_ctzll"(uint64_t word) nogil

cdef extern from "sanitize.h":
    const bint OWN_MEMORY
    void poison(void* memory, size_t size) nogil
    void unpoison(void* memory, size_t size) nogil

cdef enum:
    REGION_BYTES = 64 << 20
    WORD = 8
    LEAST = 32                  # bytes of a block
    LISTS_BITS = 5              # lists of a power of two: 32
    LISTS = 32
    LINEAR_BITS = 8             # below 256 bytes the lists are 8 bytes apart …
    LEVELS = 20                 # … and from there on there is a level for each power of two, up to a region
    PAGE = 4096
    DIRTY_MAX = 128 << 10       # bytes of a free block that may be touched
    DIRTY_MIN = 16 << 10        # bytes that are worth a system call

cdef enum:
    FREE = 1                    # flags in a block's first word
    BEFORE_FREE = 2
    LARGE = 4                   # it is malloc's; the size is that of the piece
    FLAGS = 7

cdef enum:
    LARGE_HEAD = 16             # in front of a piece that is malloc's; the second word is that of a block
    MMAP_BYTES = 1 << 20        # from here on malloc maps pages of their own: see mpkv.process

cdef struct block_t:
    uint64_t head               # size and flags
    block_t* next               # of a free one: in its list
    block_t* previous
    uint64_t dirty              # of a free one of a page or more: bytes that may have been touched

cdef block_t* _lists[LEVELS][LISTS]
cdef uint64_t[LEVELS] _filled               # a bit for each list that is not empty
cdef uint64_t _filled_levels
cdef size_t _used                           # by blocks in use, their first words included
cdef size_t _large_used, _large_count       # by pieces that are malloc's; how many these are
cdef size_t _mapped, _dirty                 # addresses of all regions; touched bytes of free blocks of a page or more
cdef size_t _small_free                     # bytes in smaller free blocks


cdef inline size_t _size(const block_t* block) noexcept nogil:
    return block.head & ~<uint64_t>FLAGS


cdef inline block_t* _block_of(const void* piece) noexcept nogil:
    return <block_t*>(<char*>piece - WORD)


cdef inline block_t* _behind(const block_t* block) noexcept nogil:
    return <block_t*>(<char*>block + _size(block))


cdef inline block_t* _before(const block_t* block) noexcept nogil:
    """Only if it is free."""
    return <block_t*>(<char*>block - (<uint64_t*>block)[-1])


# Lists


cdef inline void _list_of(size_t size, int* level, int* number) noexcept nogil:
    cdef int bit
    if size < <size_t>1 << LINEAR_BITS:
        level[0] = 0
        number[0] = <int>(size // WORD)
    else:
        bit = highest_bit(size)
        level[0] = bit - LINEAR_BITS + 1
        number[0] = <int>(size >> (bit - LISTS_BITS)) & (LISTS - 1)


cdef inline size_t _rounded_up(size_t size) noexcept nogil:
    """The size with which a list begins whose blocks all have this size or more."""
    if size < <size_t>1 << LINEAR_BITS:
        return size
    return size + ((<size_t>1 << (highest_bit(size) - LISTS_BITS)) - 1)


cdef inline void _count_free(const block_t* block, int sign) noexcept nogil:
    global _dirty, _small_free
    if _size(block) >= PAGE:
        _dirty += sign * block.dirty
    else:
        _small_free += sign * _size(block)


cdef inline void _enlist(block_t* block) noexcept nogil:
    """Make a block free: its size is in its head, its `dirty` is set if it has one."""
    global _filled_levels
    cdef int level, number
    _list_of(_size(block), &level, &number)
    block.head |= FREE
    block.next = _lists[level][number]
    block.previous = NULL
    if block.next != NULL:
        block.next.previous = block
    _lists[level][number] = block
    _filled[level] |= <uint64_t>1 << number
    _filled_levels |= <uint64_t>1 << level
    (<uint64_t*>_behind(block))[-1] = _size(block)
    _behind(block).head |= BEFORE_FREE
    _count_free(block, 1)


cdef inline void _delist(block_t* block) noexcept nogil:
    global _filled_levels
    cdef int level, number
    _list_of(_size(block), &level, &number)
    if block.next != NULL:
        block.next.previous = block.previous
    if block.previous != NULL:
        block.previous.next = block.next
    else:
        _lists[level][number] = block.next
        if block.next == NULL:
            _filled[level] &= ~(<uint64_t>1 << number)
            if _filled[level] == 0:
                _filled_levels &= ~(<uint64_t>1 << level)
    block.head &= ~<uint64_t>FREE
    _behind(block).head &= ~<uint64_t>BEFORE_FREE
    _count_free(block, -1)


cdef inline uint64_t _dirty_of(const block_t* block) noexcept nogil:
    return block.dirty if _size(block) >= PAGE else _size(block)


cdef inline void _set_dirty(block_t* block, uint64_t dirty) noexcept nogil:
    if _size(block) >= PAGE:
        block.dirty = min(dirty, <uint64_t>_size(block))


cdef void _clean(block_t* block) noexcept nogil:
    """Give the pages of a free block to the system, but for those with its words."""
    global _dirty
    cdef size_t begin = (<size_t>(block + 1) + PAGE - 1) & ~<size_t>(PAGE - 1)
    cdef size_t end = (<size_t>_behind(block) - WORD) & ~<size_t>(PAGE - 1)
    if begin < end:
        madvise(<void*>begin, end - begin, MADV_DONTNEED)
    _dirty -= block.dirty
    block.dirty = 0


# Blocks


cdef bint _map_region() noexcept nogil:
    """One more region, as one free block; False without memory."""
    global _mapped
    cdef char* base = <char*>heap_map(REGION_BYTES)
    cdef block_t* block = <block_t*>base
    if base == NULL:
        return False
    _mapped += REGION_BYTES
    block.head = REGION_BYTES - WORD
    block.dirty = 0
    _behind(block).head = WORD          # the end: in use, for ever
    _enlist(block)
    poison(base, REGION_BYTES)
    return True


cdef block_t* _find(size_t size) noexcept nogil:
    """A free block of at least this size, out of its list; NULL without memory."""
    cdef int level, number
    cdef uint64_t lists, levels
    cdef block_t* block
    while True:
        _list_of(_rounded_up(size), &level, &number)
        lists = _filled[level] & (~<uint64_t>0 << number)
        if lists == 0:
            levels = _filled_levels & (~<uint64_t>0 << (level + 1))
            if levels:
                level = lowest_bit(levels)
                lists = _filled[level]
        if lists:
            block = _lists[level][lowest_bit(lists)]
            _delist(block)
            return block
        if not _map_region():
            return NULL


cdef inline void _cut_off(block_t* block, size_t size, uint64_t dirty) noexcept nogil:
    """Let a block that is in no list have this size, and what is behind it be free; `dirty`: of all of it."""
    cdef size_t rest = _size(block) - size
    cdef block_t* free_
    if rest < LEAST:
        return
    block.head = size | (block.head & FLAGS)
    free_ = _behind(block)
    free_.head = rest
    _set_dirty(free_, dirty - size if dirty > size else 0)
    _join_behind(free_)
    _enlist(free_)


cdef inline void _join_behind(block_t* block) noexcept nogil:
    """Add the free block behind to one that is about to be free."""
    cdef block_t* behind = _behind(block)
    cdef uint64_t dirty
    if behind.head & FREE:
        dirty = _dirty_of(block) + _dirty_of(behind)
        _delist(behind)
        block.head += _size(behind)
        _set_dirty(block, dirty)


cdef inline size_t _block_size(size_t size) noexcept nogil:
    """Of a block whose piece has room for `size` bytes."""
    size = (size + WORD + WORD - 1) & ~<size_t>(WORD - 1)
    return size if size > LEAST else LEAST


cdef inline void* _large(void* base, size_t size) noexcept nogil:
    global _large_used, _large_count
    if base == NULL:
        return NULL
    (<uint64_t*>base)[1] = ((size + WORD - 1) & ~<uint64_t>FLAGS) | LARGE
    _large_used += heap_footprint(<char*>base + LARGE_HEAD)
    _large_count += 1
    return <char*>base + LARGE_HEAD


cdef inline void _forget_large(const void* piece) noexcept nogil:
    """It is about to be malloc's again."""
    global _large_used, _large_count
    _large_used -= heap_footprint(piece)
    _large_count -= 1


cdef inline bint _is_large(const void* piece) noexcept nogil:
    return (_block_of(piece).head & LARGE) != 0


cdef void* heap_take_zeroed(size_t size) noexcept nogil:
    # of pages that are never touched there need be none
    return _large(calloc(1, size + WORD + LARGE_HEAD), size)


cdef void* heap_take(size_t size) noexcept nogil:
    global _used
    cdef block_t* block
    cdef uint64_t dirty
    if size > HEAP_MAX or not OWN_MEMORY:
        return _large(malloc(size + WORD + LARGE_HEAD), size)
    size = _block_size(size)
    block = _find(size)
    if block == NULL:
        return NULL
    dirty = _dirty_of(block)
    _cut_off(block, size, dirty)
    _used += _size(block)
    unpoison(<char*>block + WORD, _size(block) - WORD)
    return <char*>block + WORD


cdef void heap_give(void* piece) noexcept nogil:
    global _used
    cdef block_t* block = _block_of(piece)
    cdef block_t* before
    cdef uint64_t dirty
    if block.head & LARGE:
        _forget_large(piece)
        free(<char*>piece - LARGE_HEAD)
        return
    _used -= _size(block)
    poison(piece, _size(block) - WORD)
    dirty = _size(block)
    if block.head & BEFORE_FREE:
        before = _before(block)
        dirty += _dirty_of(before)
        _delist(before)
        before.head += _size(block)
        block = before
    _set_dirty(block, dirty)
    _join_behind(block)
    _enlist(block)
    if _size(block) >= PAGE and block.dirty >= DIRTY_MAX:
        _clean(block)


cdef void* _resize_large(void* piece, size_t size) noexcept nogil:
    """Of a piece that is malloc's, or will be."""
    global _large_used, _large_count
    cdef size_t had = heap_room(piece)
    cdef size_t took = heap_footprint(piece)
    cdef void* moved
    if _is_large(piece) and (size > HEAP_MAX or not OWN_MEMORY):
        moved = _large(realloc(<char*>piece - LARGE_HEAD, size + WORD + LARGE_HEAD), size)
        if moved != NULL:           # the old one is no more
            _large_used -= took
            _large_count -= 1
    else:
        moved = heap_take(size)
        if moved != NULL:
            memcpy(moved, piece, min(had, heap_room(moved)))
            heap_give(piece)
    return moved if moved != NULL or size > had else piece


cdef void* heap_resize(void* piece, size_t size) noexcept nogil:
    global _used
    cdef block_t* block = _block_of(piece)
    cdef block_t* behind
    cdef void* moved
    cdef size_t wanted = _block_size(size)
    cdef size_t had
    cdef uint64_t dirty
    if block.head & LARGE or size > HEAP_MAX:
        return _resize_large(piece, size)
    had = _size(block)
    if wanted > had:
        behind = _behind(block)
        if not behind.head & FREE or had + _size(behind) < wanted:
            moved = heap_take(size)
            if moved != NULL:
                memcpy(moved, piece, had - WORD)
                heap_give(piece)
            return moved
        dirty = had + _dirty_of(behind)
        _delist(behind)
        block.head += _size(behind)
    else:
        dirty = had
    _cut_off(block, wanted, dirty)
    _used += _size(block) - had
    if _size(block) > had:
        unpoison(<char*>block + had, _size(block) - had)
    else:
        poison(<char*>block + _size(block), had - _size(block))
    return piece


cdef size_t heap_room(const void* piece) noexcept nogil:
    return _size(_block_of(piece)) - (0 if _is_large(piece) else WORD)


cdef size_t heap_footprint(const void* piece) noexcept nogil:
    cdef size_t size = _size(_block_of(piece))
    if not _is_large(piece):
        return size
    size += LARGE_HEAD + 2 * WORD           # its own word too, and one of malloc's
    return (size + PAGE - 1) & ~<size_t>(PAGE - 1) if size >= MMAP_BYTES else (size + WORD) & ~<size_t>15


cdef void heap_forget(void* piece, size_t begin, size_t end) noexcept nogil:
    cdef size_t first = (<size_t>piece + begin + PAGE - 1) & ~<size_t>(PAGE - 1)
    cdef size_t last = (<size_t>piece + end) & ~<size_t>(PAGE - 1)
    if first < last:
        madvise(<void*>first, last - first, MADV_DONTNEED)


# What is there


cdef heap_totals_t heap_totals() noexcept nogil:
    cdef heap_totals_t totals
    totals.used = _used
    totals.large = _large_used
    totals.large_count = _large_count
    totals.mapped = _mapped
    totals.active = _used + _small_free
    totals.resident = totals.active + _dirty
    return totals


cdef void heap_trim(size_t blocks, bint thoroughly) noexcept nogil:
    cdef size_t least = 2 * PAGE if thoroughly else DIRTY_MIN   # smaller ones may have no whole page
    cdef int level = LEVELS - 1, number
    cdef block_t* block
    while level > 4 and blocks:             # from the largest ones down to those of a page
        if _filled[level]:
            for number in range(LISTS - 1, -1, -1):
                block = _lists[level][number]
                while block != NULL and blocks:
                    if _size(block) >= least and block.dirty >= least // 2:
                        _clean(block)
                        blocks -= 1
                    block = block.next
        level -= 1


cdef const char* heap_check() noexcept nogil:
    """Of the lists and of every free block's neighbours."""
    cdef int level, number, its_level, its_number
    cdef size_t dirty = 0, small = 0
    cdef block_t* block
    for level in range(LEVELS):
        if (_filled[level] != 0) != ((_filled_levels >> level & 1) != 0):
            return "a level's bit is wrong"
        for number in range(LISTS):
            block = _lists[level][number]
            if (block != NULL) != ((_filled[level] >> number & 1) != 0):
                return "a list's bit is wrong"
            while block != NULL:
                _list_of(_size(block), &its_level, &its_number)
                if its_level != level or its_number != number:
                    return "a block is in a wrong list"
                if not block.head & FREE:
                    return "a block in use is in a list"
                if not _behind(block).head & BEFORE_FREE or _before(_behind(block)) != block:
                    return "the block behind does not know of a free one"
                if _behind(block).head & FREE or block.head & BEFORE_FREE:
                    return "two free blocks are side by side"
                if block.next != NULL and block.next.previous != block:
                    return "a list is broken"
                if _size(block) >= PAGE:
                    dirty += block.dirty
                else:
                    small += _size(block)
                block = block.next
    if dirty != _dirty or small != _small_free:
        return "what is free is miscounted"
    return NULL
