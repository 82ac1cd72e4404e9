"""A queue of messages in the shared segment, from one process to one other.

The way of a batch through ZeroMQ is a chain of four threads, and waking each costs more than what is done with a
small batch. So batches travel here, and the other side is woken only when it sleeps: a worker, which waits for nothing
else, sleeps on the ring itself (a futex); the frontend has an eventfd in its event loop.

A ring has one producer and one consumer. A message is its size (8 bytes) and its bytes, whole and in one piece: one
that does not fit before the end is preceded by a filler. It is there when `tail` has moved over it, after its bytes
(release), and its room is free when `head` has. Two sizes mean something else: FILLER, go on at the beginning;
MARKER, the next message comes another way (it is too large for the ring).

Sleeping: the consumer says so, then looks once more; the producer publishes, then looks whether the consumer sleeps.
With a full fence between the two steps on both sides, one of them sees the other, and no message is left lying.

Deaths: a producer that dies before it moves `tail` has published nothing; a consumer that dies leaves its messages,
which nobody wants: whoever opens the link anew resets the ring and gives it a new generation. A consumer takes
messages of its own generation only, so what was published for a dead one is not taken for its successor's.
"""

from libc.string cimport memcpy

cdef extern from *:
    """
    #include <linux/futex.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>

    /* Not the private kind: the word is seen by two processes. Every way to return is a reason to look again. */
    static void ring_wait(uint32_t *word, uint32_t value, int timeout_ms) {
        struct timespec most = {timeout_ms / 1000, timeout_ms % 1000 * 1000000L};
        syscall(SYS_futex, word, FUTEX_WAIT, value, &most, NULL, 0);
    }

    static void ring_wake(uint32_t *word) {
        syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
    }

    #define ring_load(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
    #define ring_store(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
    #define ring_exchange(p, v) __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)
    #define ring_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
    """
    uint64_t ring_load(const uint64_t* place) nogil
    uint32_t ring_load32 "ring_load"(const uint32_t* place) nogil
    void ring_store(uint64_t* place, uint64_t value) nogil
    void ring_store32 "ring_store"(uint32_t* place, uint32_t value) nogil
    uint32_t ring_exchange(uint32_t* place, uint32_t value) nogil
    void ring_fence() nogil
    void ring_wait(uint32_t* word, uint32_t value, int timeout_ms) nogil
    void ring_wake(uint32_t* word) nogil

cdef uint64_t FILLER = <uint64_t>-1
cdef uint64_t MARKER = <uint64_t>-2


cdef class Ring:
    """:param number: which of the segment's rings"""

    def __init__(self, Segment segment not None, int number):
        cdef char* base = segment.ring_pointer(number)
        self.segment = segment
        self.header = <ring_header_t*>base
        self.data = base + sizeof(ring_header_t)
        self.room = segment.shape.ring_bytes - sizeof(ring_header_t)
        # Half of it, so that in an empty ring there is always room, filler included
        self.most = self.room // 2 - 16

    cdef uint64_t of_generation(self) noexcept nogil:
        return ring_load(&self.header.generation)

    # -- the producer --------------------------------------------------------------------------------------------------

    cdef bint publish(self, const char* message, size_t size) noexcept nogil:
        cdef uint64_t tail = self.header.tail
        cdef uint64_t head = ring_load(&self.header.head)
        cdef uint64_t at = tail % self.room
        cdef uint64_t to_end = self.room - at
        cdef uint64_t bytes = 8 + ((size + 7) & ~<uint64_t>7)
        cdef uint64_t filler = to_end if to_end < bytes else 0
        if tail - head + filler + bytes > self.room:
            return False
        if filler:
            (<uint64_t*>(self.data + at))[0] = FILLER
            tail += filler
            at = 0
        (<uint64_t*>(self.data + at))[0] = size
        memcpy(self.data + at + 8, message, size)
        ring_store(&self.header.tail, tail + bytes)
        return True

    cdef bint must_wake(self) noexcept nogil:
        ring_fence()
        return ring_load32(&self.header.sleeping) != 0 and ring_exchange(&self.header.sleeping, 0) != 0

    cdef void ring_bell(self) noexcept nogil:
        if self.must_wake():
            ring_wake(&self.header.sleeping)

    # -- the consumer --------------------------------------------------------------------------------------------------

    cdef int look(self, const char** message, size_t* size) noexcept nogil:
        cdef uint64_t head = self.header.head
        cdef uint64_t at, length
        while head != ring_load(&self.header.tail):
            at = head % self.room
            length = (<uint64_t*>(self.data + at))[0]
            if length == FILLER:
                head += self.room - at
                ring_store(&self.header.head, head)
                continue
            if length == MARKER:
                return 2
            message[0] = self.data + at + 8
            size[0] = length
            return 1
        return 0

    cdef void drop(self) noexcept nogil:
        cdef uint64_t head = self.header.head
        cdef uint64_t length = (<uint64_t*>(self.data + head % self.room))[0]
        if length == MARKER:
            length = 0
        ring_store(&self.header.head, head + 8 + ((length + 7) & ~<uint64_t>7))

    cdef bint doze(self) noexcept nogil:
        ring_store32(&self.header.sleeping, 1)
        ring_fence()
        if self.header.head == ring_load(&self.header.tail):
            return True
        self.wake()
        return False

    cdef void wake(self) noexcept nogil:
        ring_store32(&self.header.sleeping, 0)

    cdef void sleep(self, int timeout_ms) noexcept nogil:
        if self.doze():
            ring_wait(&self.header.sleeping, 1, timeout_ms)
            self.wake()

    # -- both, from Python ---------------------------------------------------------------------------------------------

    def reset(self, generation: int) -> None:
        """Empty it for a new link; neither side uses it at that moment, but for a consumer that may sleep."""
        self.header.sleeping = 0
        ring_store(&self.header.head, self.header.tail)
        ring_store(&self.header.generation, generation)
        ring_wake(&self.header.sleeping)

    @property
    def generation(self) -> int:
        return self.of_generation()

    def put(self, bytes message not None) -> bool:
        """Publish a message of at most `most` bytes; False when there is no room."""
        return self.publish(message, len(message))

    def takes_marker(self) -> bool:
        """Whether `put_marker` has room: only this process can take it away."""
        return self.header.tail - ring_load(&self.header.head) + 8 <= self.room

    def put_marker(self) -> bool:
        """Say that the next message comes another way; False when there is no room."""
        cdef uint64_t tail = self.header.tail
        cdef uint64_t at = tail % self.room
        if not self.takes_marker():
            return False
        (<uint64_t*>(self.data + at))[0] = MARKER
        ring_store(&self.header.tail, tail + 8)
        return True

    def take(self):
        """The oldest message; None if there is none, False if it comes another way (`drop_marker` when it has)."""
        cdef const char* message
        cdef size_t size
        cdef int found = self.look(&message, &size)
        if found == 0:
            return None
        if found == 2:
            return False
        taken = message[:size]
        self.drop()
        return taken

    def drop_marker(self) -> None:
        self.drop()

    def wakes(self) -> bool:
        """After `put`: whether the other side sleeps and must be woken."""
        return self.must_wake()

    def falls_asleep(self) -> bool:
        """Before waiting for the doorbell: False if something has come meanwhile."""
        return self.doze()

    def is_awake(self) -> None:
        self.wake()

    def rings_bell(self) -> None:
        """After `put`: wake a consumer that `sleeps`."""
        self.ring_bell()

    def sleeps(self, int timeout_ms) -> None:
        """Wait until something comes, the time is up, or a signal."""
        with nogil:
            self.sleep(timeout_ms)
