"""The everyday part of a worker's loop: one batch after the other, without Python while nothing else is due.

A lone request waits for all that lies between two waits of this loop, so it is compiled. What else a worker does,
and when, is in main.py, which comes back here when that is done.
"""

from libc.stdint cimport int64_t

from mpkv.crash.handler cimport watch
from mpkv.shm.board cimport monotonic_ns
from mpkv.types.allocator cimport surplus
from mpkv.workers.execute cimport Executor
from mpkv.workers.link cimport WorkerLink


def serve(WorkerLink link not None, Executor executor not None, int timeout_ms, double until) -> bool:
    """Receive, execute and answer until there is something else to do; False if no batch came in time.

    :param timeout_ms: how long to wait for a batch; :param until: a time of `time.monotonic`
    """
    cdef int64_t until_ns = <int64_t>(until * 1_000_000_000)
    cdef bytes batch
    while True:
        batch = link.receive(timeout_ms)
        watch(batch)
        if batch is None:
            return False
        if executor.run_batch(batch) or _has_chores(executor) or monotonic_ns() >= until_ns:
            return True


cdef bint _has_chores(Executor executor) noexcept:
    """Whether memory is to be freed, or given back."""
    return executor.keyspace.lazy.count != 0 or executor.evictor.over() or surplus() != 0
