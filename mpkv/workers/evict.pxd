# Keys that have to go when memory is short. See evict.pyx.

from libc.stdint cimport int64_t, uint64_t

from mpkv.workers.keyspace cimport Keyspace

cdef enum:
    POOL = 16

cdef struct candidate_t:
    uint64_t score              # the higher, the sooner it goes
    int database
    char* key                   # a copy: the entry may have gone when its turn comes
    size_t size

cdef class Evictor:
    cdef Keyspace keyspace
    cdef int64_t limit              # of all shards together; 0: there is none
    cdef int rule, samples
    cdef bint volatile_only
    cdef int64_t budget_ns
    cdef candidate_t[POOL] pool     # ascending by score
    cdef int pooled, next_database
    cdef list blocks                # of all workers, this one's included
    cdef int64_t** others           # what the other shards use
    cdef int64_t** scores           # of their best candidates
    cdef int64_t* own_score
    cdef int other_count
    cdef int64_t over_since_ms, ended_ms

    cdef int64_t total(self) noexcept nogil
    cdef bint over(self) noexcept nogil
    # Make room, if there is need and as far as there is time
    cdef int relieve(self) except -1
    cdef void _tell_score(self) noexcept nogil
    cdef void _note_exceeded(self, bint over) noexcept
    cdef bint _evict_one(self) except -1
    cdef bint _evict_any(self) except -1
    cdef bint _evict(self, int db, const char* key, size_t size) except -1
    cdef int _sample_all(self) except -1
    cdef void _sample(self, int db) noexcept nogil
    cdef void _propose(self, int db, const char* key, size_t size, uint64_t score) noexcept nogil
    cdef void _forget(self, int at) noexcept nogil
    cdef bint _others_are_older(self) noexcept nogil
