"""Keys that have to go when memory is short: maxmemory, and Redis' eight policies over all shards together.

The limit is that of the data of all shards. Each worker knows what it uses itself, to the byte, and reads what the
others use from the board. A worker that is about to execute a command while they are over the limit deletes keys of its
own first, the worst of those that it has sampled, until they are not, or for as long as maxmemory-eviction-tenacity
allows; then it goes on with the next command. So the limit is exceeded by one command a shard, and by what could not be
deleted in time.

Sampling is Redis': of each database some keys are looked at, and the best candidates of these and of earlier samples
are kept in a pool of sixteen, by name, since they may have gone when their turn comes. A pool makes five samples as
good as ten.

Keys are dealt out over shards evenly, so the worst key of one shard is about as bad as that of another. Where it is not
– one shard takes all the writes, another has what nobody uses – the shards tell on the board how bad their best
candidate is, and who finds a much worse one elsewhere leaves it to that shard, up to one part in fifty over the limit.
The frontend sees to it that idle workers hear of the need.

What is being freed (`lazyfree`) still counts, so it is freed first.

Whether a write is refused is not decided here but before it is given a number (`frontend/gate`): of a command over
several shards either all parts run or none.
"""

from libc.stdint cimport UINT64_MAX
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memmove

from mpkv.sharding cimport key_slot
from mpkv.shm.board cimport EVICTED_KEYS, EVICTION_SCORE, USED_MEMORY, Block, monotonic_ms, monotonic_ns
from mpkv.types.allocator cimport used_in_all
from mpkv.types.siphash cimport siphash
from mpkv.workers.entry cimport entry_clock, entry_expire_at, entry_key_size, entry_key_text, entry_t
from mpkv.workers.recency cimport frequency_of, idle_seconds_of

cdef enum:
    NOTHING = 0                 # noeviction
    OLDEST = 1                  # lru
    RAREST = 2                  # lfu
    SOONEST = 3                 # ttl
    ANY = 4                     # random

cdef enum:
    ALMOST = 20                 # the part of the limit from which on shards tell of their candidates
    MOST_OVER = 50              # the part of the limit by which it may be exceeded for another shard's sake
    KEYS_PER_LOOK = 16          # that are deleted between two looks at the clock

RULES = {"noeviction": NOTHING, "lru": OLDEST, "lfu": RAREST, "ttl": SOONEST, "random": ANY}


def budget_ns_of(tenacity: int) -> int:
    """Nanoseconds that making room may take before a command: maxmemory-eviction-tenacity, by Redis' own curve."""
    if tenacity <= 10:
        return 50_000 * tenacity
    if tenacity < 100:
        return int(500_000 * 1.15 ** (tenacity - 10))
    return 1 << 62


cdef class Evictor:
    """One shard's.

    :param blocks: the blocks of all workers in the order of shards
    """

    def __cinit__(self, Keyspace keyspace not None, list blocks):
        cdef Block block
        cdef int shard
        self.keyspace = keyspace
        self.blocks = blocks
        self.others = <int64_t**>calloc(len(blocks) + 1, sizeof(int64_t*))
        self.scores = <int64_t**>calloc(len(blocks) + 1, sizeof(int64_t*))
        if self.others == NULL or self.scores == NULL:
            raise MemoryError
        for shard, block in enumerate(blocks):
            if shard == keyspace.shard:
                self.own_score = &block.counters[EVICTION_SCORE]
            else:
                self.others[self.other_count] = &block.counters[USED_MEMORY]
                self.scores[self.other_count] = &block.counters[EVICTION_SCORE]
                self.other_count += 1

    def __dealloc__(self):
        while self.pooled:
            self._forget(self.pooled - 1)
        free(self.others)
        free(self.scores)

    def configure(self, limit: int, policy: str, samples: int, tenacity: int) -> None:
        """Apply maxmemory and what belongs to it."""
        scope, _, rule = policy.rpartition("-")
        self.limit = limit
        self.rule = RULES[rule]
        self.volatile_only = scope == "volatile"
        self.samples = samples
        self.budget_ns = budget_ns_of(tenacity)
        while self.pooled:
            self._forget(self.pooled - 1)
        self.own_score[0] = 0

    cdef int64_t total(self) noexcept nogil:
        cdef int64_t used = used_in_all()
        cdef int i
        for i in range(self.other_count):
            used += self.others[i][0]
        return used

    @property
    def is_over(self) -> bool:
        """Whether all shards together use more than they may."""
        return self.over()

    cdef bint over(self) noexcept nogil:
        return self.limit != 0 and self.total() > self.limit

    def make_room(self) -> None:
        """For the moments without a command."""
        self.relieve()

    def note_time(self) -> None:
        """From time to time: another shard, or a new limit, may have made an end of being over it.

        That it begins is noted where one has tried to make room in vain: a write may well leave a little too much for
        the next one to find.
        """
        if not self.over():
            self._note_exceeded(False)

    def look_around(self) -> None:
        """Tell the other shards how bad this one's best candidate is, from time to time and before it is needed: who
        hears nothing deletes keys of its own."""
        if self.limit and self.rule not in (NOTHING, ANY) and self.total() > self.limit - self.limit // ALMOST:
            self._sample_all()
            self._tell_score()

    cdef int relieve(self) except -1:
        cdef int64_t end_ns
        cdef int deleted = 0
        if self.limit == 0 or self.total() <= self.limit:
            self._note_exceeded(False)
            return 0
        end_ns = monotonic_ns() + self.budget_ns
        while self.total() > self.limit:
            if self.keyspace.lazy.count:
                self.keyspace.lazy.free_some()
            elif self.rule == NOTHING or not self._evict_one():
                break
            deleted += 1
            if deleted % KEYS_PER_LOOK == 0 and monotonic_ns() >= end_ns:
                break
        self._tell_score()
        self._note_exceeded(self.total() > self.limit)
        return 0

    cdef void _tell_score(self) noexcept nogil:
        self.own_score[0] = <int64_t>min(self.pool[self.pooled - 1].score, UINT64_MAX >> 1) if self.pooled else 0

    cdef void _note_exceeded(self, bint over) noexcept:
        if over and self.over_since_ms == 0:
            self.over_since_ms = monotonic_ms()
        elif not over and self.over_since_ms:
            self.ended_ms += monotonic_ms() - self.over_since_ms
            self.over_since_ms = 0

    @property
    def exceeding_ms(self) -> int:
        """For how long the limit has been exceeded now."""
        return monotonic_ms() - self.over_since_ms if self.over_since_ms else 0

    @property
    def exceeded_ms(self) -> int:
        """… and ever."""
        return self.ended_ms + self.exceeding_ms

    # --- Choosing

    cdef bint _evict_one(self) except -1:
        """Delete the best candidate; False: there is none, or it is another shard's turn."""
        cdef candidate_t best
        cdef bint found
        if self.rule == ANY:
            return self._evict_any()
        while True:
            self._sample_all()
            if self.pooled == 0:
                return False
            while self.pooled:
                best = self.pool[self.pooled - 1]
                if self._others_are_older():
                    return False
                found = self._evict(best.database, best.key, best.size)
                self._forget(self.pooled - 1)
                if found:
                    return True

    cdef bint _evict_any(self) except -1:
        """Any key of the next database that has one."""
        cdef entry_t* entry
        cdef int step, db
        for step in range(self.keyspace.databases):
            db = self.next_database
            self.next_database = (db + 1) % self.keyspace.databases
            entry = self.keyspace._pick(db, self.volatile_only)
            if entry != NULL:
                return self._evict(db, entry_key_text(entry), entry_key_size(entry))
        return False

    cdef bint _evict(self, int db, const char* key, size_t size) except -1:
        """False: it has gone, or has no expiry any more."""
        return self.keyspace.evict(db, key_slot(key, size), siphash(key, size), key, size, self.volatile_only)

    cdef bint _others_are_older(self) noexcept nogil:
        """Whether another shard has a much better candidate, and there is still time for it."""
        cdef uint64_t own = self.pool[self.pooled - 1].score
        cdef uint64_t other
        cdef int64_t left_ms = <int64_t>(UINT64_MAX // 2 - own) - self.keyspace.now_ms  # of a score by time to live
        cdef int i
        if self.total() > self.limit + self.limit // MOST_OVER:
            return False
        for i in range(self.other_count):
            other = <uint64_t>self.scores[i][0]
            if self.rule == OLDEST and other > 2 * own + 5:
                return True
            if self.rule == RAREST and other > own + 16:
                return True
            if self.rule == SOONEST and other > own + max(0, left_ms // 2) + 1000:
                return True
        return False

    cdef int _sample_all(self) except -1:
        """Look at some keys of each database: each time beginning with another one, or of equals those of one would
        always come first."""
        cdef int step, db
        self.next_database = (self.next_database + 1) % self.keyspace.databases
        for step in range(self.keyspace.databases):
            db = (self.next_database + step) % self.keyspace.databases
            if self.keyspace.volatile(db) if self.volatile_only else self.keyspace.size(db):
                self._sample(db)
        return 0

    cdef void _sample(self, int db) noexcept nogil:
        """Look at some keys of a database."""
        cdef int i
        cdef entry_t* entry
        cdef uint64_t score
        for i in range(self.samples):
            entry = self.keyspace._pick(db, self.volatile_only)
            if entry == NULL:
                return
            if self.rule == OLDEST:
                score = idle_seconds_of(entry_clock(entry), self.keyspace.now_ms)
            elif self.rule == RAREST:
                score = 255 - frequency_of(&self.keyspace.recency, entry_clock(entry), self.keyspace.now_ms)
            else:
                score = UINT64_MAX // 2 - <uint64_t>entry_expire_at(entry)
            self._propose(db, entry_key_text(entry), entry_key_size(entry), score + 1)

    cdef void _propose(self, int db, const char* key, size_t size, uint64_t score) noexcept nogil:
        """Put a key into the pool if it is worse than the one that is best off there, or there is room."""
        cdef candidate_t* candidate
        cdef char* copy
        cdef int place = self.pooled
        cdef int i
        while place and self.pool[place - 1].score >= score:
            place -= 1
        if self.pooled == POOL and place == 0:
            return
        for i in range(self.pooled):
            candidate = &self.pool[i]
            if candidate.database == db and candidate.size == size and memcmp(candidate.key, key, size) == 0:
                return
        copy = <char*>malloc(size or 1)
        if copy == NULL:
            return
        memcpy(copy, key, size)
        if self.pooled == POOL:
            self._forget(0)
            place -= 1
        memmove(&self.pool[place + 1], &self.pool[place], (self.pooled - place) * sizeof(candidate_t))
        self.pool[place] = candidate_t(score, db, copy, size)
        self.pooled += 1

    cdef void _forget(self, int at) noexcept nogil:
        free(self.pool[at].key)
        self.pooled -= 1
        memmove(&self.pool[at], &self.pool[at + 1], (self.pooled - at) * sizeof(candidate_t))
