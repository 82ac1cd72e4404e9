"""Where everything that the store holds gets its memory: entries, values, tables.

Most of it is small and there is a lot of it. malloc would add 8 bytes to each piece and round to 16, which of a small
string is a tenth, and it gives a heap back only from its end. So pieces of up to 512 bytes come from *spans*:

    region   64 MiB of addresses, aligned to their size: 1024 spans. The first holds a head for each of the others.
    span     64 KiB of pieces of one size class, or empty
    piece    what `allocate` hands out: nothing is stored beside it

A piece's span and the span's head are found by masking its address; its class follows from its size, which whoever
releases it knows. Classes go in steps of 8 bytes. A released piece goes to the front of its span's list, and its span
to the front of its class's list of spans that have room: the next piece of that size is one whose memory is still in
the cache. Pieces that were never handed out are taken from a span's end, so a page is touched when it is used.

An empty span can serve any class. Some are kept as they are, for what comes next, and fewer as time goes on (`decay`);
the pages of the others go back to the system (`madvise`) between commands (`trim`), not where they become empty: of a
value that is deleted in the order of its hashes all spans become empty at its end, and giving back five hundred takes
four milliseconds. One empty span a class stays, or a lone value that comes and goes would take and give back a span
every time.

The heads lie apart from the pieces: taking and giving back writes to a page of heads, which describes 4 MiB, and to the
piece itself, and to nothing else. While a snapshot child lives, every page that is written to is copied.

What grows and shrinks – *blocks* – and larger pieces are the `heap`'s.

Everything is counted by what it takes (`footprint`), on the account of the type that it belongs to, so the sum is exact
at any time. One process has one store, and one thread that changes it: there are no locks.

**Promises.** A change of one step takes its memory before it touches anything, and can be refused. A change of several
– fields of a hash, keys of an MSET – must not be refused between two of them, so it asks first whether all will be
there (`promise`). Behind a promise stand addresses that are mapped and used for nothing (`_reserve`; no page of them is
ever touched): when the system has no more, they go back to it, and there is room for regions and large pieces until the
change is done. The next promise needs them back first. What cannot be kept then, because a change takes many times more
than its words, ends the process: a shard that is loaded again is better than half a change.

`fail_after` makes "no memory" an ordinary case that tests reach at every single allocation. Under a sanitizer
every piece is malloc's, so that it sees the bounds of each, or what is free is poisoned (sanitize.h); what is counted
stays about the same.

Considered: jemalloc (classes of 16 bytes, and its bookkeeping is where the pieces are), classes for blocks too (half as
much again is lost while many of them grow), an arena for each large table (its elements can be freed as a whole and
named by 32 bits, but when their sizes change it must be compacted as a whole).
"""

from libc.stdlib cimport abort, free, malloc
from libc.string cimport memcpy, memset

from mpkv.types.heap cimport (
    heap_check, heap_footprint, heap_give, heap_resize, heap_room, heap_take, heap_take_zeroed, heap_totals,
    heap_totals_t, heap_trim,
)

cdef extern from *:
    """
    #include <malloc.h>
    #include <sys/mman.h>

    /* Addresses aligned to their size: twice as many are asked for, and what is left and right of them goes back. */
    static void *map_aligned(size_t size) {
        char *base = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        char *begin = (char *)(((size_t)base + size - 1) & ~(size - 1));
        if (base == MAP_FAILED)
            return NULL;
        if (begin != base)
            munmap(base, begin - base);
        munmap(begin + size, base + size - begin);
        return begin;
    }

    static void *map_reserve(size_t size) {
        void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        return base == MAP_FAILED ? NULL : base;
    }
    """
    void* map_aligned(size_t size) nogil
    int madvise(void* address, size_t length, int advice) nogil
    int MADV_DONTNEED
    void* map_reserve(size_t size) nogil
    int munmap(void* address, size_t length) nogil
    int malloc_trim(size_t pad) nogil

cdef extern from "sanitize.h":
    const bint OWN_MEMORY           # always true, but for a build for sanitizers
    void poison(void* memory, size_t size) nogil
    void unpoison(void* memory, size_t size) nogil
    size_t bytes_of_piece(const void* piece) nogil

cdef enum:
    SPAN_BITS = 16
    SPAN_BYTES = 1 << 16
    REGION_SPANS = 1024
    REGION_BYTES = REGION_SPANS << SPAN_BITS
    STEP = 8
    CLASSES = 64                # SMALL_MAX // STEP
    LEAST_WASTE = 64            # bytes that a smaller piece must save to be worth moving to
    KEPT_SPANS = 32             # empty spans whose pages stay, at least …
    KEPT_SHARE = 16             # … and at least one for so many in use …
    DECAY_SHARE = 8             # … of which one in eight goes every tenth of a second
    BARED_MOST = 64             # spans whose pages are given back in one go: half a millisecond
    TRIMMED_BLOCKS = 16         # of the heap, in the same time
    RESERVE_BYTES = 256 << 20   # a region of spans while it is aligned, one of the heap, and as much for large pieces
    RESERVE_SHARE = 4           # what a change may take, as a multiple of its words …
    RESERVE_WORD = 256          # … with so many bytes more for each

# The head of a span: one cache line
cdef struct span_t:
    span_t* next                # in the list of its class's spans that have room, or of empty ones
    span_t* previous
    void* free                  # pieces that were given back, linked
    uint32_t live               # pieces that are in use
    uint32_t fresh              # pieces that were ever handed out: those from here on are untouched
    uint32_t number             # of its class
    uint32_t padding[7]

cdef struct class_t:
    span_t* open                # spans that have room, linked
    uint32_t size               # of a piece
    uint32_t count              # pieces in a span
    size_t spans                # that it has, with room or without

#: The accounts, in order.
ACCOUNT_NAMES = ("strings", "lists", "sets", "sorted sets", "hashes", "tables")

cdef class_t[CLASSES] _classes
cdef char* _region                                  # the newest one …
cdef uint32_t _next_span = REGION_SPANS             # … and its first span that was never used
cdef span_t* _kept                                  # empty spans whose pages are there
cdef span_t* _bare                                  # … and those whose pages are not
cdef size_t _spans_used, _spans_kept, _used_in_spans
cdef size_t[ACCOUNTS] _used
cdef int64_t _left = -1                             # allocations until they fail; negative = never
cdef void* _reserve                                 # what stands behind a promise
cdef size_t _reserve_bytes
cdef bint _is_promised
cdef bint _promises_nothing = False                 # in a test: every change may be refused anywhere


cdef void _make_classes() noexcept:
    cdef int number
    for number in range(CLASSES):
        _classes[number] = class_t(NULL, (number + 1) * STEP, SPAN_BYTES // ((number + 1) * STEP), 0)

_make_classes()


cdef inline uint32_t _class_of(size_t size) noexcept nogil:
    """The class of pieces of up to SMALL_MAX bytes."""
    return <uint32_t>((size - 1) // STEP) if size else 0


cdef size_t footprint(const void* piece, size_t size) noexcept nogil:
    if piece == NULL:
        return 0
    return heap_footprint(piece) if size > SMALL_MAX else _classes[_class_of(size)].size


cdef bint fits_in_place(const void* piece, size_t old_size, size_t size) noexcept nogil:
    if not OWN_MEMORY and old_size <= SMALL_MAX and size > bytes_of_piece(piece):
        return False                    # the same class, but not the same bounds
    if old_size <= SMALL_MAX or size <= SMALL_MAX:
        return old_size <= SMALL_MAX and size <= SMALL_MAX and _class_of(old_size) == _class_of(size)
    return size <= heap_room(piece) <= size + size // 8 + LEAST_WASTE


# Spans

cdef inline span_t* _span_of(const void* piece) noexcept nogil:
    cdef size_t address = <size_t>piece
    return <span_t*>(address & ~<size_t>(REGION_BYTES - 1)) + (address >> SPAN_BITS & (REGION_SPANS - 1))


cdef inline char* _pieces_of(const span_t* span) noexcept nogil:
    cdef size_t region = <size_t>span & ~<size_t>(REGION_BYTES - 1)
    return <char*>(region + ((<size_t>span - region) // sizeof(span_t) << SPAN_BITS))


cdef inline void _link(class_t* its, span_t* span) noexcept nogil:
    span.previous = NULL
    span.next = its.open
    if its.open != NULL:
        its.open.previous = span
    its.open = span


cdef inline void _unlink(class_t* its, span_t* span) noexcept nogil:
    if span.previous != NULL:
        span.previous.next = span.next
    else:
        its.open = span.next
    if span.next != NULL:
        span.next.previous = span.previous


cdef span_t* _new_span() noexcept nogil:
    """An empty span that belongs to no class; NULL without memory."""
    global _kept, _bare, _spans_kept, _region, _next_span
    cdef span_t* span = _kept
    cdef char* region
    if span != NULL:
        _kept = span.next
        _spans_kept -= 1
        return span
    span = _bare
    if span != NULL:
        _bare = span.next
        return span
    if _next_span == REGION_SPANS:
        region = <char*>map_aligned(REGION_BYTES)
        if region == NULL:
            return NULL
        poison(region + SPAN_BYTES, REGION_BYTES - SPAN_BYTES)
        _region = region
        _next_span = 1                  # the first holds the heads
    span = <span_t*>_region + _next_span
    _next_span += 1
    return span


cdef span_t* _open_span(uint32_t number) noexcept nogil:
    global _spans_used
    cdef span_t* span = _new_span()
    if span == NULL:
        return NULL
    span.free = NULL
    span.live = span.fresh = 0
    span.number = number
    _spans_used += 1
    _classes[number].spans += 1
    _link(&_classes[number], span)
    return span


cdef inline void _bare_span(span_t* span) noexcept nogil:
    global _bare
    madvise(_pieces_of(span), SPAN_BYTES, MADV_DONTNEED)
    span.next = _bare
    _bare = span


cdef void _close_span(class_t* its, span_t* span) noexcept nogil:
    """An empty span becomes anybody's."""
    global _kept, _spans_used, _spans_kept
    _unlink(its, span)
    _spans_used -= 1
    its.spans -= 1
    span.next = _kept
    _kept = span
    _spans_kept += 1


# Promises

cdef void _drop_reserve() noexcept nogil:
    global _reserve, _reserve_bytes
    if _reserve != NULL:
        munmap(_reserve, _reserve_bytes)
    _reserve = NULL
    _reserve_bytes = 0


cdef bint promise(size_t size, size_t words) noexcept nogil:
    global _reserve, _reserve_bytes, _is_promised
    cdef size_t wanted = RESERVE_BYTES
    if _promises_nothing:
        return True
    if size > RESERVE_BYTES // 8 or words > RESERVE_BYTES // 8 // RESERVE_WORD:
        wanted += RESERVE_SHARE * (size + words * RESERVE_WORD)
    if _reserve_bytes < wanted:
        if _refused():
            return False
        _drop_reserve()
        _reserve = map_reserve(wanted)
        if _reserve == NULL:
            return False
        _reserve_bytes = wanted
    _is_promised = True
    return True


cdef void settle() noexcept nogil:
    global _reserve_bytes, _is_promised
    _is_promised = False
    if _reserve_bytes > RESERVE_BYTES:
        munmap(<char*>_reserve + RESERVE_BYTES, _reserve_bytes - RESERVE_BYTES)
        _reserve_bytes = RESERVE_BYTES


cdef bint _falls_back() noexcept nogil:
    """The system has no more: whether it may be asked again, since it got the reserve back."""
    if not _is_promised:
        return False
    if _reserve == NULL:
        abort()                 # a broken promise
    _drop_reserve()
    return True


# Pieces

cdef inline bint _refused() noexcept nogil:
    global _left
    if _left < 0:
        return False
    if _left == 0:
        if _is_promised:        # what is missing is taken from the reserve
            _drop_reserve()
            return False
        return True
    _left -= 1
    return False


cdef inline void* _take(uint32_t number) noexcept nogil:
    global _used_in_spans
    cdef class_t* its = &_classes[number]
    cdef span_t* span = its.open
    cdef void* piece
    if span == NULL:
        span = _open_span(number)
        if span == NULL:
            return NULL
    piece = span.free
    if piece != NULL:
        span.free = (<void**>piece)[0]
    else:
        piece = _pieces_of(span) + <size_t>span.fresh * its.size
        span.fresh += 1
    unpoison(piece, its.size)
    span.live += 1
    _used_in_spans += its.size
    if span.live == its.count:
        _unlink(its, span)
    return piece


cdef inline void _give(uint32_t number, void* piece) noexcept nogil:
    global _used_in_spans
    cdef class_t* its = &_classes[number]
    cdef span_t* span = _span_of(piece)
    if span.live == its.count:
        _link(its, span)
    (<void**>piece)[0] = span.free
    span.free = piece
    poison(piece, its.size)
    span.live -= 1
    _used_in_spans -= its.size
    if span.live == 0:
        if its.open == span and span.next == NULL:
            span.free = NULL            # the last one stays, as if new
            span.fresh = 0
        else:
            _close_span(its, span)


cdef inline void* _counted(void* piece, size_t size, int account) noexcept nogil:
    _used[account] += footprint(piece, size)
    return piece


cdef inline void* _obtain(size_t size) noexcept nogil:
    if size > SMALL_MAX:
        return heap_take(size)
    return _take(_class_of(size)) if OWN_MEMORY else malloc(size)


cdef void* allocate(size_t size, int account) noexcept nogil:
    cdef void* piece
    if _refused():
        return NULL
    piece = _obtain(size)
    while piece == NULL and _falls_back():
        piece = _obtain(size)
    return _counted(piece, size, account)


cdef void* allocate_zeroed(size_t size, int account) noexcept nogil:
    cdef void* piece
    if size > SPAN_BYTES:
        if _refused():
            return NULL
        piece = heap_take_zeroed(size)
        while piece == NULL and _falls_back():
            piece = heap_take_zeroed(size)
        return _counted(piece, size, account)
    piece = allocate(size, account)
    if piece != NULL:
        memset(piece, 0, size)
    return piece


cdef void release(void* memory, size_t size, int account) noexcept nogil:
    if memory == NULL:
        return
    _used[account] -= footprint(memory, size)
    if size > SMALL_MAX:
        heap_give(memory)
    elif OWN_MEMORY:
        _give(_class_of(size), memory)
    else:
        free(memory)


cdef void* reallocate(void* memory, size_t old_size, size_t size, int account) noexcept nogil:
    cdef void* moved
    if old_size > SMALL_MAX and size > SMALL_MAX:
        return block_resize(memory, size, account)
    if OWN_MEMORY and memory != NULL and old_size <= SMALL_MAX and size <= SMALL_MAX:
        if _class_of(old_size) == _class_of(size):
            return memory
    moved = allocate(size, account)
    if moved != NULL and memory != NULL:
        memcpy(moved, memory, min(old_size, size))
        release(memory, old_size, account)
    return moved


# Blocks

cdef void* block_resize(void* block, size_t size, int account) noexcept nogil:
    cdef size_t had = 0 if block == NULL else heap_footprint(block)
    cdef void* moved
    if _refused():
        return block if block != NULL and size <= heap_room(block) else NULL
    moved = heap_take(size) if block == NULL else heap_resize(block, size)
    while moved == NULL and _falls_back():
        moved = heap_take(size) if block == NULL else heap_resize(block, size)
    if moved != NULL:
        _used[account] += heap_footprint(moved) - had
    return moved


cdef void block_release(void* block, int account) noexcept nogil:
    if block != NULL:
        _used[account] -= heap_footprint(block)
        heap_give(block)


cdef size_t block_room(const void* block) noexcept nogil:
    return heap_room(block) if block != NULL else 0


cdef size_t block_footprint(const void* block) noexcept nogil:
    return heap_footprint(block) if block != NULL else 0


# What is there

cdef size_t used_by(int account) noexcept nogil:
    return _used[account]


cdef size_t used_in_all() noexcept nogil:
    cdef int account
    cdef size_t total = 0
    for account in range(ACCOUNTS):
        total += _used[account]
    return total


cdef void usage(usage_t* totals) noexcept nogil:
    cdef heap_totals_t heap = heap_totals()
    totals.used = used_in_all()
    # What is malloc's is no more than what it holds
    totals.active = totals.used + (_spans_used << SPAN_BITS) - _used_in_spans + heap.active - heap.used
    totals.resident = totals.active + (_spans_kept << SPAN_BITS) + heap.resident - heap.active


cdef size_t purge() noexcept nogil:
    global _kept, _spans_kept
    cdef usage_t before, after
    cdef int number
    cdef span_t* span
    usage(&before)
    for number in range(CLASSES):
        span = _classes[number].open
        if span != NULL and span.live == 0:
            _close_span(&_classes[number], span)
    _bare_some(<size_t>-1)
    heap_trim(<size_t>-1, True)
    malloc_trim(0)
    usage(&after)
    return before.resident - after.resident


cdef void _bare_some(size_t count) noexcept nogil:
    global _kept, _spans_kept
    cdef span_t* span
    while count and _kept != NULL:
        span = _kept
        _kept = span.next
        _spans_kept -= 1
        _bare_span(span)
        count -= 1


cdef size_t surplus() noexcept nogil:
    cdef size_t most = max(<size_t>KEPT_SPANS, _spans_used // KEPT_SHARE)
    return _spans_kept - most if _spans_kept > most else 0


def trim() -> bool:
    """Give pages of some empty spans to the system, for half a millisecond; whether it must be called again."""
    _bare_some(min(surplus(), <size_t>BARED_MOST))
    return surplus() != 0


def decay() -> None:
    """Give some of what is kept to the system: called ten times a second, it has given nearly all back after three."""
    _bare_some(min(_spans_kept // DECAY_SHARE + (_spans_kept != 0), <size_t>BARED_MOST))
    heap_trim(TRIMMED_BLOCKS, False)


# For tests

def fail_after(allocations):
    """Let `allocations` more succeed and then none (tests); None ends it."""
    global _left
    _left = -1 if allocations is None else allocations


def promise_nothing(bint so) -> None:
    """Let changes of several steps fail between two of them (tests): what promises are there to prevent."""
    global _promises_nothing
    _promises_nothing = so


def drop_reserve() -> None:
    """As if a promise had been kept out of the reserve (tests): the next one must have it back first."""
    _drop_reserve()


def used(account=None) -> int:
    """Bytes that are allocated, on one account or in all."""
    return used_in_all() if account is None else used_by(account)


def totals() -> tuple[int, int, int]:
    """(used, active, resident) bytes."""
    cdef usage_t found
    usage(&found)
    return found.used, found.active, found.resident


def give_back() -> int:
    """MEMORY PURGE: bytes that were kept and went to the system."""
    return purge()


def report() -> str:
    """MEMORY MALLOC-STATS: what there is of each kind of memory, for a person to read."""
    cdef usage_t found
    cdef heap_totals_t heap = heap_totals()
    cdef int number
    cdef class_t* its
    usage(&found)
    lines = [
        f"used {found.used} bytes, active {found.active}, resident {found.resident}",
        "used by " + ", ".join(f"{name} {_used[<int>at]}" for at, name in enumerate(ACCOUNT_NAMES)),
        f"spans of {SPAN_BYTES} bytes: {_spans_used} in use, {_spans_kept} empty and kept",
        f"heap: {heap.used} bytes used, {heap.active - heap.used} free between pieces, "
        f"{heap.resident - heap.active} free in pages that are kept, of {heap.mapped} mapped",
        f"pages of their own: {heap.large_count} pieces, {heap.large} bytes",
        f"{'size':>8}{'spans':>10}{'pieces':>12}{'in use':>9}",
    ]
    for number in range(CLASSES):
        its = &_classes[number]
        if its.spans:
            pieces = _pieces_in_use(its)
            lines.append(f"{its.size:>8}{its.spans:>10}{pieces:>12}{pieces / (its.spans * its.count):>9.1%}")
    return "\n".join(lines) + "\n"


cdef size_t _pieces_in_use(const class_t* its) noexcept nogil:
    """Of a class: what its spans have, less what is free in those that have room."""
    cdef size_t pieces = its.spans * its.count
    cdef const span_t* span = its.open
    while span != NULL:
        pieces -= its.count - span.live
        span = span.next
    return pieces


def validate() -> None:
    """Check what the heads of spans say of each other, and that what is counted is the sum of its parts."""
    cdef span_t* span
    cdef void* piece
    cdef uint32_t listed
    cdef int number
    cdef size_t spans = 0, in_spans = 0
    cdef heap_totals_t heap = heap_totals()
    for number in range(CLASSES):
        spans += _classes[number].spans
        in_spans += _pieces_in_use(&_classes[number]) * _classes[number].size
    assert not OWN_MEMORY or spans == _spans_used, f"{spans} spans are in use, {_spans_used} counted"
    assert not OWN_MEMORY or in_spans == _used_in_spans, \
        f"{in_spans} bytes of spans are in use, {_used_in_spans} counted"
    assert not OWN_MEMORY or used_in_all() == in_spans + heap.used + heap.large, \
        f"{used_in_all()} bytes are counted, {in_spans} + {heap.used} + {heap.large} are there"
    for number in range(CLASSES):
        span = _classes[number].open
        while span != NULL:
            assert span.number == <uint32_t>number, "a span is in the list of another class"
            assert span.live < _classes[number].count, "a span without room is listed"
            assert span.next == NULL or span.next.previous == span, "the list of a class is broken"
            listed, piece = 0, span.free
            while piece != NULL:
                assert _span_of(piece) == span, "a piece is in the list of another span"
                listed += 1
                assert listed <= span.fresh, "a span lists more pieces than it had"
                piece = (<void**>piece)[0]
            assert listed + span.live == span.fresh, "a span has lost a piece"
            span = span.next
    listed, span = 0, _kept
    while span != NULL:
        listed, span = listed + 1, span.next
    assert listed == _spans_kept, "empty spans are miscounted"
    assert heap_check() == NULL, heap_check().decode()


cdef class Pieces:
    """Pieces for a test to take and give back by number."""

    cdef void** places
    cdef size_t count

    def __cinit__(self, size_t count):
        self.places = <void**>malloc(count * sizeof(void*))
        if self.places == NULL:
            raise MemoryError
        memset(self.places, 0, count * sizeof(void*))
        self.count = count

    def __dealloc__(self):
        free(self.places)

    def take(self, size_t at, size_t size, int account=STRINGS) -> int:
        """Take a piece and fill it with the low byte of `at`; its address, 0 without memory."""
        self.places[at] = allocate(size, account)
        if self.places[at] != NULL:
            memset(self.places[at], <int>(at & 0xFF), size)
        return <size_t>self.places[at]

    def resize(self, size_t at, size_t old_size, size_t size, int account=STRINGS) -> bool:
        moved = reallocate(self.places[at], old_size, size, account)
        return self._keep(at, <size_t>moved, old_size, size)

    def _keep(self, size_t at, size_t moved, size_t old_size, size_t size):
        if moved == 0:
            return False
        self.places[at] = <void*>moved
        if size > old_size:
            memset(<char*>moved + old_size, <int>(at & 0xFF), size - old_size)
        return True

    def footprint(self, size_t at, size_t size) -> int:
        return footprint(self.places[at], size)

    def resize_block(self, size_t at, size_t size, int account=STRINGS) -> bool:
        """Take a block, or let it have room for another size: what is new is filled."""
        cdef size_t had = self.room(at)
        cdef void* moved = block_resize(self.places[at], size, account)
        if moved == NULL:
            return False
        self.places[at] = moved
        if block_room(moved) > had:
            memset(<char*>moved + had, <int>(at & 0xFF), block_room(moved) - had)
        return True

    def room(self, size_t at) -> int:
        return block_room(self.places[at])

    def block_footprint(self, size_t at) -> int:
        return block_footprint(self.places[at])

    def release_block(self, size_t at, int account=STRINGS) -> None:
        block_release(self.places[at], account)
        self.places[at] = NULL

    def holds(self, size_t at, size_t size) -> bool:
        """Whether nobody else has written into the piece."""
        cdef const unsigned char* piece = <const unsigned char*>self.places[at]
        cdef size_t index
        for index in range(size):
            if piece[index] != (at & 0xFF):
                return False
        return True

    def give(self, size_t at, size_t size, int account=STRINGS) -> None:
        release(self.places[at], size, account)
        self.places[at] = NULL
