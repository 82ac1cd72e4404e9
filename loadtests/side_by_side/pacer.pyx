# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False
"""Sends requests by the clock and times the answers: the inner loop of `open_loop`, without the interpreter.

In Python one request costs 20 to 50 µs, more than it costs the servers, and the client's own queue is all that would
be measured. One thread waits in epoll for answers and for a timer that ticks; nothing is allocated while it runs.
"""

from libc.errno cimport EAGAIN, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, itimerspec, timespec
from posix.unistd cimport close, read

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint32_t u32
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int maxevents, int timeout)
    enum: EPOLLIN, EPOLL_CTL_ADD

cdef extern from "<sys/timerfd.h>" nogil:
    int timerfd_create(int clockid, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec* new_value, itimerspec* old_value)
    enum: TFD_TIMER_ABSTIME

cdef extern from "<sys/socket.h>" nogil:
    ssize_t send(int fd, const void* data, size_t size, int flags)
    ssize_t recv(int fd, void* data, size_t size, int flags)
    enum: MSG_DONTWAIT, MSG_NOSIGNAL

cdef enum:
    MOST_UNANSWERED = 1 << 14       # of one connection; a power of two
    TIMER = 0xFFFFFFFF              # the timer among epoll's numbers of connections
    EVENTS = 64
    BUFFER = 64 * 1024

cpdef enum Ended:                   # a drive
    ANSWERED
    LATE                            # answers were due so long ago that the load is not carried
    OVERRUN                         # a socket, or the ring of unanswered requests, is full
    CLOSED                          # by the server
    REFUSED                         # the server answered with an error

cdef struct unanswered_t:
    double due
    uint32_t size           # of its answer

cdef struct request_t:
    const char* data
    size_t size
    uint32_t answer_size

cdef struct connection_t:
    int fd
    uint64_t head, tail
    size_t unread           # bytes of an answer that has not come whole
    unanswered_t* ring


cdef double _now() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


cdef class Pacer:
    """A client on connected sockets.

    :param requests: (bytes, size of the answer), sent in turn, each on the next of the sockets
    """

    cdef list texts             # keeps the requests' bytes alive
    cdef request_t* requests
    cdef uint64_t different
    cdef connection_t* connections
    cdef uint64_t count
    cdef uint64_t sent, answers
    cdef double* taken
    cdef int poll, timer

    def __cinit__(self, list fds, list requests):
        self.poll = epoll_create1(0)
        self.timer = timerfd_create(CLOCK_MONOTONIC, 0)
        self.texts = [text for text, _ in requests]
        self.requests = <request_t*>calloc(len(requests), sizeof(request_t))
        self.connections = <connection_t*>calloc(len(fds), sizeof(connection_t))
        if self.requests == NULL or self.connections == NULL or self.poll < 0 or self.timer < 0:
            raise MemoryError
        for text, answer_size in requests:
            self.requests[self.different] = request_t(text, len(text), answer_size)
            self.different += 1
        for fd in fds:
            self._add(fd)
        self._watch(self.timer, TIMER)

    def __dealloc__(self):
        cdef uint64_t i
        for i in range(self.count):
            free(self.connections[i].ring)
        free(self.connections)
        free(self.requests)
        close(self.poll)
        close(self.timer)

    cdef int _add(self, int fd) except -1:
        cdef connection_t* connection = &self.connections[self.count]
        connection.fd = fd
        connection.ring = <unanswered_t*>calloc(MOST_UNANSWERED, sizeof(unanswered_t))
        if connection.ring == NULL:
            raise MemoryError
        self._watch(fd, self.count)
        self.count += 1
        return 0

    cdef int _watch(self, int fd, uint32_t number) except -1:
        cdef epoll_event event
        event.events = EPOLLIN
        event.data.u32 = number
        if epoll_ctl(self.poll, EPOLL_CTL_ADD, fd, &event) < 0:
            raise OSError(errno, "epoll_ctl")
        return 0

    def drive(self, const uint32_t[::1] schedule, double tick_s, double patience_s, double[::1] taken):
        """Send ``schedule[i]`` requests in tick i and take all answers, if they come within the patience.

        :param taken: filled with seconds from when each request was due until its answer came, in the order of answers
        :returns: (how it ended, answers, seconds from the first tick to the last answer)
        """
        cdef int ended
        cdef double elapsed
        self.sent = self.answers = 0
        self.taken = &taken[0]
        with nogil:
            ended = self._drive(schedule, tick_s, patience_s, taken.shape[0], &elapsed)
        return ended, self.answers, elapsed

    cdef int _drive(
        self, const uint32_t[::1] schedule, double tick_s, double patience_s, uint64_t wanted, double* elapsed
    ) noexcept nogil:
        cdef Py_ssize_t tick = 0, ticks = schedule.shape[0]
        cdef double now, start = _now() + 0.01
        cdef int ended
        self._start_timer(start, tick_s)
        while self.answers < wanted:
            ended = self._take_answers()
            if ended != ANSWERED:
                return ended
            now = _now()
            elapsed[0] = now - start
            if elapsed[0] > ticks * tick_s + patience_s:
                return LATE
            while tick < ticks and start + tick * tick_s <= now:
                ended = self._send(schedule[tick], start + tick * tick_s)
                if ended != ANSWERED:
                    return ended
                tick += 1
        return ANSWERED

    cdef void _start_timer(self, double start, double tick_s) noexcept nogil:
        cdef itimerspec beat
        beat.it_value.tv_sec = <long>start
        beat.it_value.tv_nsec = <long>((start - <long>start) * 1e9)
        beat.it_interval.tv_sec = 0
        beat.it_interval.tv_nsec = <long>(tick_s * 1e9)
        timerfd_settime(self.timer, TFD_TIMER_ABSTIME, &beat, NULL)

    cdef int _send(self, uint32_t count, double due) noexcept nogil:
        """Send what came due at once."""
        cdef connection_t* connection
        cdef request_t* request
        cdef uint32_t i
        for i in range(count):
            connection = &self.connections[self.sent % self.count]
            request = &self.requests[self.sent % self.different]
            self.sent += 1
            if connection.tail - connection.head == MOST_UNANSWERED:
                return OVERRUN
            if send(connection.fd, request.data, request.size, MSG_DONTWAIT | MSG_NOSIGNAL) != <ssize_t>request.size:
                return OVERRUN
            connection.ring[connection.tail & (MOST_UNANSWERED - 1)] = unanswered_t(due, request.answer_size)
            connection.tail += 1
        return ANSWERED

    cdef int _take_answers(self) noexcept nogil:
        """Wait for answers, or the timer."""
        cdef epoll_event[EVENTS] events
        cdef uint64_t expirations
        cdef int i, ended
        for i in range(epoll_wait(self.poll, events, EVENTS, 100)):
            if events[i].data.u32 == TIMER:
                read(self.timer, &expirations, sizeof(expirations))
                continue
            ended = self._receive(&self.connections[events[i].data.u32])
            if ended != ANSWERED:
                return ended
        return ANSWERED

    cdef int _receive(self, connection_t* connection) noexcept nogil:
        cdef char[BUFFER] buffer
        cdef unanswered_t* oldest
        cdef double now
        cdef ssize_t size = recv(connection.fd, buffer, BUFFER, MSG_DONTWAIT)
        if size <= 0:
            return ANSWERED if size < 0 and errno == EAGAIN else CLOSED
        if connection.unread == 0 and buffer[0] == c"-":
            return REFUSED
        now = _now()
        connection.unread += size
        while connection.head != connection.tail:
            oldest = &connection.ring[connection.head & (MOST_UNANSWERED - 1)]
            if oldest.size > connection.unread:
                break
            connection.unread -= oldest.size
            connection.head += 1
            self.taken[self.answers] = now - oldest.due
            self.answers += 1
        return ANSWERED
