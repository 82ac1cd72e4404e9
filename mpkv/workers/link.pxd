# The worker's end of the way to the frontend. See link.pyx.

from libc.stdint cimport uint32_t, uint64_t

from mpkv.shm.ring cimport Ring


cdef class WorkerLink:
    cdef Ring _requests, _replies       # None: everything goes through ZeroMQ
    cdef int _frontend_bell
    cdef uint64_t _generation           # of the rings, as far as they are this link's
    cdef object _leftovers              # of the rings
    cdef object _unsent
    cdef object _context, _socket
    cdef list _old
    cdef double _since                  # when the link of this epoch was opened
    cdef bint _ignore_epoch
    cdef int _timeout_ms
    cdef readonly uint32_t epoch
    cdef readonly uint64_t received
    cdef readonly uint64_t discarded    # batches of earlier frontends, of all links

    cpdef bytes receive(self, int timeout_ms)
    cpdef int send(self, bytes batch) except -1
    cdef bytes _next_from_ring(self, int timeout_ms)
    cdef bytes _next_by_marker(self, int timeout_ms)
    cdef bytes _next_from_socket(self, int timeout_ms)
    cdef bint _is_current(self, bytes batch) except -1
    cdef bint _send_unsent(self) except -1
    cdef bint _put(self, bytes batch) except -1
