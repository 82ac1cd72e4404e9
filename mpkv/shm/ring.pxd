# A queue of messages in the shared segment: one producer, one consumer, in different processes. See ring.pyx.

from libc.stdint cimport uint32_t, uint64_t

from mpkv.shm.segment cimport Segment

cdef struct ring_header_t:
    uint64_t generation         # of the link that uses the ring: the producer's word for «these messages are yours»
    uint64_t padding0[7]
    uint64_t tail               # bytes ever published; written by the producer
    uint64_t padding1[7]
    uint64_t head               # bytes ever taken; written by the consumer
    uint64_t padding2[7]
    uint32_t sleeping           # the consumer's word for «ring the doorbell»
    uint32_t padding3[15]

cdef class Ring:
    cdef readonly Segment segment   # keeps the mapping
    cdef ring_header_t* header
    cdef char* data
    cdef uint64_t room
    cdef readonly uint64_t most     # the largest message

    cdef uint64_t of_generation(self) noexcept nogil
    cdef bint publish(self, const char* message, size_t size) noexcept nogil    # False: there is no room
    cdef bint must_wake(self) noexcept nogil                    # after publishing: the consumer sleeps
    cdef void ring_bell(self) noexcept nogil                    # after publishing, where the consumer uses `sleep`
    # the oldest message: 1, or 2 if it is a marker; 0 if there is none
    cdef int look(self, const char** message, size_t* size) noexcept nogil
    cdef void drop(self) noexcept nogil                         # the oldest message was used
    cdef bint doze(self) noexcept nogil                         # about to sleep: False if something has come meanwhile
    cdef void wake(self) noexcept nogil
    cdef void sleep(self, int timeout_ms) noexcept nogil        # until something comes, the time is up, or a signal
