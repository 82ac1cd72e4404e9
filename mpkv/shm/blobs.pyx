"""Pages in the shared segment through which large values travel: an envelope names the place, the bytes stay where they
are.

A *pool* is a row of pages with one owner, who alone takes and frees them, and readers in other processes. A *run* is
pages side by side, so that a value is in one piece and whoever reads it needs a pointer and nothing else. Free pages
are found by a bitmap, lowest first: what is used again and again is the same few pages, which are in the cache, and a
burst leaves memory at the end only, from where it goes back to the system (`give_back`).

There are two ways back, as there are two kinds of pools:

- *requests*: one pool, the frontend's. It knows by the answer that a worker has done with a request's pages. A run may
  have several holders: the requests that lie in it, and the connection that still reads into it.
- *replies*: one pool for each worker. The frontend handles replies in order, so a counter in the pool's header is all
  that it has to tell: so many of the runs that were lent are done with.

Deaths: everything but that counter is the owner's private memory, so with the owner all its runs are gone, whatever
was in them. Its successor begins with an empty pool, and only when nobody reads the old values any more. For replies
the frontend says so, by giving the pool the generation of the link that it opens: until then `take` finds no room. For
requests nothing is needed: a frontend takes no page before it serves clients, and it serves none before every worker
has answered its first message, after the batch that it was running (R10).

References come from another process and are checked against the pool's bounds, no more: within them is nothing but
clients' bytes.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef extern from *:
    """
    #include <sys/mman.h>
    #define pool_load(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
    #define pool_store(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
    """
    uint64_t pool_load(const uint64_t* place) nogil
    void pool_store(uint64_t* place, uint64_t value) nogil
    int madvise(void* address, size_t length, int advice) nogil
    int MADV_REMOVE
    int lowest_bit "__builtin_ctzll"(uint64_t word) nogil

cdef enum:
    PAGE_BYTES = 4096

cdef uint64_t ALL = <uint64_t>-1
cdef uint64_t NEVER = <uint64_t>-1


cdef class Pool:
    """:param number: 0 for requests, 1 + shard for the replies of a worker"""

    def __cinit__(self, Segment segment not None, int number):
        cdef char* base = segment.pool_pointer(number)
        self.segment = segment
        self.header = <pool_header_t*>base
        self.area.base = base + PAGE_BYTES
        self.area.size = segment.shape.pool_bytes
        self.pages = self.free_pages = <uint32_t>(self.area.size // PAGE_BYTES)

    def __dealloc__(self):
        free(self._used)
        free(self._holders)
        free(self._length)
        free(self._lent)

    # -- the owner -----------------------------------------------------------------------------------------------------

    def own(self) -> None:
        """Be the one who takes and frees, from when the pool is open to the generation that `listen` says."""
        self._used = <uint64_t*>calloc(self.pages // 64 + 1, sizeof(uint64_t))
        self._holders = <uint32_t*>calloc(self.pages + 1, sizeof(uint32_t))
        self._length = <uint32_t*>calloc(self.pages + 1, sizeof(uint32_t))
        self._lent = <uint32_t*>calloc(self.pages + 1, sizeof(uint32_t))
        if not self._used or not self._holders or not self._length or not self._lent:
            raise MemoryError
        self._generation = NEVER

    def listen(self, generation: int) -> None:
        """Nothing is taken until the reader has opened the link of this generation; then all pages are free."""
        self._generation = generation
        self._begun = False
        self.free_pages = self.pages

    cdef void _begin(self) noexcept nogil:
        """All pages are free, and hold no memory of a predecessor's."""
        memset(self._used, 0, (self.pages // 64 + 1) * sizeof(uint64_t))
        # those behind the last page are never free
        self._used[self.pages // 64] = ALL << (self.pages % 64)
        self.free_pages = self.pages
        self._first_free = self._highest = self._touched = 0
        self._lent_head = self._lent_tail = 0
        if self.pages:
            madvise(<void*>self.area.base, self.area.size, MADV_REMOVE)
        self._begun = True

    cdef uint32_t take(self, size_t size) noexcept nogil:
        """A run for so many bytes, with one holder; 0: there is no room."""
        cdef uint32_t count, page
        if not self._begun:
            if pool_load(&self.header.generation) != self._generation:
                return 0
            self._begin()
        self._collect()
        if size > self.area.size or size == 0:
            self.refused += 1
            return 0
        count = <uint32_t>((size + PAGE_BYTES - 1) // PAGE_BYTES)
        page = self._find(count)
        if page == self.pages:
            self.refused += 1
            return 0
        self._mark(page, count, True)
        self.free_pages -= count
        if page == self._first_free:
            self._first_free = page + count
        if page + count > self._highest:
            self._highest = page + count
            if self._highest > self._touched:
                self._touched = self._highest
        self._holders[page] = 1
        self._length[page] = count
        self.given += 1
        return page + 1

    cdef uint32_t _find(self, uint32_t count) noexcept nogil:
        """The first of so many free pages side by side; `pages` if there are none."""
        cdef uint32_t page = self._first_free
        cdef uint32_t begin
        cdef uint64_t word
        if count > self.free_pages:
            return self.pages
        while page + count <= self.pages:
            # on to the next free page …
            word = ~self._used[page // 64] >> (page % 64)
            if word == 0:
                page = (page // 64 + 1) * 64
                continue
            page += lowest_bit(word)
            begin = page
            # … and to the next used one behind it
            while page - begin < count and page < self.pages:
                word = self._used[page // 64] >> (page % 64)
                if word:
                    page += lowest_bit(word)
                    break
                page = (page // 64 + 1) * 64
            if page - begin >= count and begin + count <= self.pages:
                return begin
        return self.pages

    cdef void _mark(self, uint32_t page, uint32_t count, bint used) noexcept nogil:
        cdef uint32_t end = page + count
        cdef uint32_t step
        cdef uint64_t bits
        while page < end:
            step = min(64 - page % 64, end - page)
            bits = (ALL if step == 64 else (<uint64_t>1 << step) - 1) << (page % 64)
            if used:
                self._used[page // 64] |= bits
            else:
                self._used[page // 64] &= ~bits
            page += step

    cdef void hold(self, uint32_t run) noexcept nogil:
        self._holders[run - 1] += 1

    cdef void drop(self, uint32_t run) noexcept nogil:
        cdef uint32_t page = run - 1
        if run == 0:
            return
        self._holders[page] -= 1
        if self._holders[page] == 0:
            self._mark(page, self._length[page], False)
            self.free_pages += self._length[page]
            self._first_free = min(self._first_free, page)

    cdef char* data_of(self, uint32_t run) noexcept nogil:
        return <char*>self.area.base + <size_t>(run - 1) * PAGE_BYTES

    cdef size_t room_of(self, uint32_t run) noexcept nogil:
        return <size_t>self._length[run - 1] * PAGE_BYTES

    cdef void lend(self, uint32_t run) noexcept nogil:
        # there are never more runs than pages, so the ring has room
        self._lent[self._lent_tail % (self.pages + 1)] = run
        self._lent_tail += 1

    cdef void _collect(self) noexcept nogil:
        """Free what the reader has done with."""
        cdef uint64_t read
        if self._lent_head == self._lent_tail:
            return
        read = min(pool_load(&self.header.read), self._lent_tail)
        while self._lent_head < read:
            self.drop(self._lent[self._lent_head % (self.pages + 1)])
            self._lent_head += 1

    def give_back(self) -> None:
        """Give the memory of pages to the system that have not been used since the last call."""
        cdef uint32_t end
        if not self._begun:
            return
        self._collect()
        end = max(self._highest, self._last_used())
        if self._touched > end:
            madvise(<void*>(self.area.base + <size_t>end * PAGE_BYTES), <size_t>(self._touched - end) * PAGE_BYTES,
                    MADV_REMOVE)
            self._touched = end
        self._highest = self._last_used()

    def _last_used(self) -> int:
        """The highest page in use, plus 1."""
        cdef uint32_t page
        cdef uint32_t word
        if self.free_pages == self.pages:
            return 0
        page = self._touched
        while page and not self._used[(page - 1) // 64] >> ((page - 1) % 64) & 1:
            page -= 1
        return page

    @property
    def used_bytes(self) -> int:
        """Of all runs that are taken, of this owner."""
        if self._begun:
            self._collect()
        return <uint64_t>(self.pages - self.free_pages) * PAGE_BYTES

    # -- the reader ----------------------------------------------------------------------------------------------------

    def reset(self, generation: int) -> None:
        """Open the pool to its owner for a new link. Nothing of what was lent before is read any more."""
        pool_store(&self.header.read, 0)
        pool_store(&self.header.generation, generation)

    cdef void done(self) noexcept nogil:
        pool_store(&self.header.read, self.header.read + 1)

    # -- for tests -----------------------------------------------------------------------------------------------------

    def take_run(self, size_bytes: int) -> int:
        return self.take(size_bytes)

    def hold_run(self, run: int) -> None:
        self.hold(run)

    def drop_run(self, run: int) -> None:
        self.drop(run)

    def lend_run(self, run: int) -> None:
        self.lend(run)

    def read_one(self) -> None:
        self.done()

    def view_of(self, uint32_t run) -> memoryview:
        """A run's bytes."""
        begin = <size_t>(run - 1) * PAGE_BYTES + self._offset()
        return self.segment.area("pools")[begin : begin + self.room_of(run)]

    def _offset(self) -> int:
        return self.area.base - self.segment.area_pointer("pools")

    def resolves(self, uint64_t offset, uint64_t size) -> bool:
        """Whether a reference lies within the pool."""
        return resolve(&self.area, offset, size) != NULL
