"""Whether there is memory for a write: maxmemory, decided before a command is given a number.

A write over several shards runs on all of them or on none, so no worker may refuse a part of it; and a worker that is
full may go on if another one is not. So this is asked here, of all shards together, once a turn: what they use stands
on the board, and to it is added what is on its way to them. Workers tell what they use before their replies leave, so
nothing is missing in between.

With a policy that evicts nothing is refused while there is a key that may go: the workers make room themselves
(`workers/evict`), and those who have nothing else to do are woken for it.
"""

from mpkv.shm.board cimport USED_MEMORY, Block, monotonic_ns

cdef enum:
    NUDGE_NS = 2_000_000        # between two wakings of idle workers


cdef class MemoryWatch:
    """:param blocks: of all workers"""

    def __init__(self, list blocks not None):
        self.blocks = blocks

    def configure(self, limit: int, policy: str) -> None:
        """Apply maxmemory and maxmemory-policy."""
        self.limit = limit
        self.evicts = policy != "noeviction"
        self.volatile_only = policy.startswith("volatile")
        self.is_full = self.is_over = False
        if limit:
            self.look(0)

    cdef bint _can_evict(self) noexcept:
        """Whether any shard has a key that the policy lets go."""
        cdef Block block
        cdef int db
        if not self.evicts:
            return False
        for block in self.blocks:
            for db in range(block.databases):
                if block.database_rows[db].expires if self.volatile_only else block.database_rows[db].keys:
                    return True
        return False

    cdef void look(self, int64_t in_flight) noexcept:
        cdef Block block
        cdef int64_t used = 0
        self.unseen = 0
        for block in self.blocks:
            used += block.counters[USED_MEMORY]
        self.is_over = used > self.limit
        self.is_full = used + in_flight > self.limit and not self._can_evict()

    cdef bint wants_nudge(self) noexcept:
        cdef int64_t now
        if not self.is_over or not self.evicts:
            return False
        now = monotonic_ns()
        if now - self.nudged_ns < NUDGE_NS:
            return False
        self.nudged_ns = now
        return True
