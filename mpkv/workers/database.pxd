# One database of a shard, as handlers see it. See database.pyx.

from libc.stdint cimport uint64_t

from mpkv.workers.entry cimport entry_t
from mpkv.workers.keyspace cimport Keyspace
from mpkv.types.table cimport table_t

cdef class Database:
    """One database of a shard, as handlers see it (`db`)."""
    cdef readonly Keyspace keyspace
    cdef readonly int index
    cdef entry_t* _find(self, bytes key) except? NULL
    cdef entry_t* _for_read(self, bytes key, int kind) except? NULL
    cdef entry_t* _for_write(self, bytes key, int kind) except? NULL
    cdef entry_t* _to_fill(self, bytes key, int kind) except NULL
    cdef bint _is_stale(self, const entry_t* entry) noexcept nogil
    cdef bint _scan_slot(
        self, const table_t* table, uint64_t* prefix, Py_ssize_t count, list found, list stale
    ) except -1
