"""Values that are freed by and by, so that nobody waits for it.

Freeing a value of a million elements takes some forty milliseconds: each is a piece of memory of its own. So who
deletes, overwrites, expires or evicts a large value hands its entry over; the worker frees a piece of it between two
batches, never longer than a command may take, and goes on when it has nothing else to do. A database that is flushed
is handed over whole.

Until then its memory counts as used. Where that matters – over maxmemory – the worker frees before it evicts.

A thread would not be of use: the store's memory belongs to one thread, which needs no locks for that reason.
"""

from libc.stdlib cimport free, malloc
from libc.string cimport memset

from mpkv.shm.board cimport monotonic_ns
from mpkv.types.aggregate cimport STRING, native_free_some, native_is_one_block, native_len
from mpkv.types.allocator cimport TABLES, release
from mpkv.types.heap cimport heap_forget
from mpkv.types.table cimport table_drain
from mpkv.workers.entry cimport (
    RAW, entry_encoding, entry_native, entry_raw, entry_type, free_block, free_entry,
)

cdef enum:
    LARGE_ELEMENTS = 64         # fewer are freed faster than they are noted down, as in Redis
    LARGE_STRING = 8 << 20      # bytes: giving its pages back takes half a millisecond
    ELEMENTS = 512              # that are freed between two looks at the clock, some 20 µs
    STRING_STEP = 4 << 20


cdef bint _is_large(const entry_t* entry) noexcept nogil:
    if entry_type(entry) == STRING:
        return entry_encoding(entry) == RAW and entry_raw(entry).size >= LARGE_STRING
    if native_is_one_block(entry_type(entry), entry_native(entry)):
        return False
    return native_len(entry_type(entry), entry_native(entry)) > LARGE_ELEMENTS


cdef bint _free_entry_some(job_t* job) noexcept nogil:
    """Whether all of an entry has been freed."""
    cdef entry_t* entry = job.entry
    cdef size_t end
    if entry_type(entry) == STRING:
        end = job.position + STRING_STEP
        if end < entry_raw(entry).size:
            heap_forget(entry_raw(entry), job.position, end)
            job.position = end
            return False
        free_entry(entry)
        return True
    if not native_free_some(entry_type(entry), entry_native(entry), &job.position, ELEMENTS):
        return False
    free_block(entry)
    return True


cdef class LazyFree:
    """A queue of what has been deleted and is still there."""

    def __dealloc__(self):
        while self.free_some():
            pass
        free(self.jobs)

    @property
    def pending(self) -> int:
        """Values and keys that wait to be freed."""
        return self.count + self.keys

    cdef bint _push(self, const job_t* job) noexcept nogil:
        cdef job_t* grown
        cdef size_t room = self.room * 2 if self.room else 16
        cdef size_t at
        if self.count == self.room:
            grown = <job_t*>malloc(room * sizeof(job_t))
            if grown == NULL:
                return False
            for at in range(self.count):
                grown[at] = self.jobs[(self.first + at) % self.room]
            free(self.jobs)
            self.jobs, self.room, self.first = grown, room, 0
        self.jobs[(self.first + self.count) % self.room] = job[0]
        self.count += 1
        return True

    cdef void _pop(self) noexcept nogil:
        self.first = (self.first + 1) % self.room
        self.count -= 1

    cdef void add(self, entry_t* entry) noexcept nogil:
        cdef job_t job
        if not _is_large(entry):
            free_entry(entry)
            return
        memset(&job, 0, sizeof(job))
        job.entry = entry
        if not self._push(&job):
            free_entry(entry)

    cdef void add_directory(self, void* directory, size_t bytes, table_t* tables, uint64_t keys) noexcept nogil:
        cdef job_t job
        memset(&job, 0, sizeof(job))
        job.directory, job.directory_bytes, job.tables, job.keys = directory, bytes, tables, keys
        self.keys += keys
        if not self._push(&job):
            while not self._free_directory_some(&job):
                pass

    cdef bint free_some(self) noexcept nogil:
        cdef job_t job
        if self.count:
            job = self.jobs[self.first]         # the queue may move when more is added to it
            if self._work_off(&job):
                self._pop()
            else:
                self.jobs[self.first] = job
        return self.count != 0

    cdef bint _work_off(self, job_t* job) noexcept nogil:
        if job.entry == NULL:
            return self._free_directory_some(job)
        if not _free_entry_some(job):
            return False
        self.freed += 1
        return True

    cdef bint _free_directory_some(self, job_t* job) noexcept nogil:
        """Free the next entries of a database; whether it is done. What is large among them waits in the queue."""
        cdef entry_t* entry
        cdef size_t left = ELEMENTS
        while job.slot < SLOTS_OF_TABLES:
            entry = <entry_t*>table_drain(&job.tables[job.slot], &job.place, TABLES)
            if entry == NULL:
                job.place = place_t(0, 0)
                job.slot += 1
                continue
            job.keys -= 1
            self.keys -= 1
            self.freed += 1
            self.add(entry)
            left -= 1
            if left == 0:
                return False
        release(job.directory, job.directory_bytes, TABLES)
        return True

    def run(self, long budget_us) -> bool:
        """Free for so long; whether something is left."""
        cdef long long end = monotonic_ns() + budget_us * 1000
        while self.free_some():
            if monotonic_ns() >= end:
                return True
        return False
