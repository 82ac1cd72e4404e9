# The shared segment: one mapping, its areas.

from libc.stddef cimport size_t

cdef class Segment:
    cdef readonly int fd
    cdef readonly object shape          # mpkv.shm.layout.Shape
    cdef readonly tuple command_names   # by number
    cdef readonly bytes hash_seed       # 16 bytes
    cdef readonly str run_id            # 40 hexadecimal digits
    cdef readonly long long start_time_ms
    cdef object _map
    cdef dict _areas
    cdef char* _base

    cdef char* area_pointer(self, name) except NULL
    cdef char* block_pointer(self, Py_ssize_t number) except NULL
    cdef char* ring_pointer(self, Py_ssize_t number) except NULL
    cdef char* pool_pointer(self, Py_ssize_t number) except NULL
