"""Steps 7 and 11: the worker's end of the way to the frontend.

Batches are numbered and carry the epoch of their link (R2): one of another epoch is dropped – it was sent by a frontend
that is gone –, and a gap is a fault. When a new frontend comes, the worker opens a fresh endpoint for it and executes
nothing more of what is left on the old one: the new frontend learns the last number executed (HELLO) and completes from
the intent ring what must not be torn. An old batch that ran after that would undo newer writes. That none does is what
the epoch decides, and nothing else.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport errno
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy
from posix.unistd cimport write

from mpkv.wire cimport batch_t

import contextlib
import logging
import time
from collections import deque
from dataclasses import dataclass

import zmq

logger = logging.getLogger(__name__)

#: Messages that ZeroMQ holds at most: the frontend's limit on bytes in flight bounds them long before.
HIGH_WATER_MARK = 100_000

#: While the ring of replies is full: the frontend empties it as soon as it runs.
WAIT_FOR_ROOM_S = 0.0005
#: While the frontend has been told of a new link and has not opened its end.
WAIT_FOR_FRONTEND_S = 0.002

#: What is left on an old link is looked at when its successor has been open for so long: nobody waits for it, while
#: recovery has clients waiting.
LEFTOVERS_AFTER_S = 1.0
#: An empty old link is closed after this long: by then nothing can come any more.
OLD_LINK_CLOSED_AFTER_S = 3.0


class LinkFault(Exception):
    """A batch is missing or out of order: the stream of requests is not to be trusted."""


@dataclass(slots=True)
class Rings:
    """The way through shared memory: both rings, and the eventfd that wakes the frontend."""

    requests: Ring
    replies: Ring
    frontend_bell: int


cdef class WorkerLink:
    """One PAIR socket per frontend, and a pair of rings beside it; `receive` gives batches in order.

    :param rings: None: everything goes through ZeroMQ
    """

    def __init__(self, rings: Rings | None = None, *, bint ignore_epoch=False):
        if rings is not None:
            self._requests, self._replies, self._frontend_bell = rings.requests, rings.replies, rings.frontend_bell
        self._generation = 0
        self._leftovers = deque()
        self._unsent = deque()
        self._context = zmq.Context(io_threads=1)
        self._old = []
        self._ignore_epoch = ignore_epoch
        self._timeout_ms = -1

    def listen(self, str endpoint not None, uint32_t epoch, incarnation=0) -> None:
        """Open a fresh endpoint for the frontend of this epoch; from now on no other is listened to."""
        if self._requests is not None:
            if self._requests.of_generation() == self._generation:
                while (left := self._requests.take()) is not None:
                    if left is False:
                        self._requests.drop_marker()
                    else:
                        self._leftovers.append(left)
            self._generation = <uint64_t>epoch << 32 | <uint64_t>incarnation
        self._unsent.clear()
        socket = self._context.socket(zmq.PAIR)
        socket.linger = 0
        socket.sndhwm = socket.rcvhwm = HIGH_WATER_MARK
        socket.bind(endpoint)
        if self._socket is not None:
            self._old.append(self._socket)
        self._socket = socket
        self._since = time.monotonic()
        self._timeout_ms = -1
        self.epoch = epoch
        self.received = 0

    cpdef bytes receive(self, int timeout_ms):
        """The next batch to execute; None when none came in time, or one that is of the past."""
        cdef bytes batch
        if self.received and (self._old or self._leftovers) and time.monotonic() - self._since > LEFTOVERS_AFTER_S:
            leftover = self._read_old()
            if leftover is not None and self._is_current(leftover):
                return leftover
        if self._socket is None:
            time.sleep(timeout_ms / 1000)
            return None
        if self._unsent and not self._send_unsent():
            time.sleep(WAIT_FOR_ROOM_S)
            return None
        if self._requests is not None:
            batch = self._next_from_ring(timeout_ms)
        else:
            batch = self._next_from_socket(timeout_ms)
        if batch is None or not self._is_current(batch):
            return None
        self.received += 1
        if _head_of(batch).counter != self.received:
            raise LinkFault(f"batch {_head_of(batch).counter} came where {self.received} was due")
        return batch

    cdef bytes _next_from_ring(self, int timeout_ms):
        """The next batch, waiting once for it."""
        cdef const char* message
        cdef size_t size
        cdef int found
        cdef bint waited = False
        if self._requests.of_generation() != self._generation:
            time.sleep(WAIT_FOR_FRONTEND_S)
            return None
        while True:
            found = self._requests.look(&message, &size)
            if found == 1:
                batch = PyBytes_FromStringAndSize(message, size)
                self._requests.drop()
                return batch
            if found == 2:
                return self._next_by_marker(timeout_ms)
            if waited:
                return None
            waited = True
            with nogil:
                self._requests.sleep(timeout_ms)

    cdef bytes _next_by_marker(self, int timeout_ms):
        """A batch that was too large for the ring comes through ZeroMQ; its marker stays until it is there."""
        batch = self._next_from_socket(timeout_ms)
        if batch is not None:
            self._requests.drop()
        return batch

    cdef bytes _next_from_socket(self, int timeout_ms):
        if timeout_ms != self._timeout_ms:  # it seldom does, and asking ZeroMQ costs
            self._socket.rcvtimeo = self._timeout_ms = timeout_ms
        try:
            return self._socket.recv()
        except zmq.Again:
            return None

    cdef bint _is_current(self, bytes batch) except -1:
        """Whether a batch was sent by the frontend of this epoch; any other is dropped."""
        cdef uint32_t epoch = _head_of(batch).epoch
        if epoch == self.epoch or self._ignore_epoch:
            return True
        self.discarded += 1
        logger.info("dropped a batch of epoch %d: the link's is %d", epoch, self.epoch)
        return False

    cpdef int send(self, bytes batch) except -1:
        """Send replies, in order. While the frontend has no room they wait, and no new batch is taken."""
        if self._requests is None:
            self._send_by_socket(batch)
        elif self._unsent or not self._put(batch):
            self._unsent.append(batch)
        return 0

    cdef bint _send_unsent(self) except -1:
        """Put what waits into the ring, as far as there is room; whether that was all."""
        while self._unsent:
            if not self._put(self._unsent[0]):
                return False
            self._unsent.popleft()
        return True

    cdef bint _put(self, bytes batch) except -1:
        """Put a batch into the ring, or a marker of it if it is too large for that; False: there is no room."""
        cdef uint64_t rings = 1
        if self._replies.of_generation() != self._generation:   # of a frontend that is gone, or has not begun
            return True
        if <uint64_t>PyBytes_GET_SIZE(batch) <= self._replies.most:
            if not self._replies.publish(PyBytes_AS_STRING(batch), PyBytes_GET_SIZE(batch)):
                return False
        else:
            if not self._replies.put_marker():
                return False
            self._send_by_socket(batch)
        if self._replies.must_wake() and write(self._frontend_bell, &rings, sizeof(rings)) < 0:
            raise OSError(errno, "the frontend's bell does not ring")
        return True

    def _send_by_socket(self, bytes batch) -> None:
        """Without a peer they are dropped: the frontend that they were for is gone, its successor waits.

        Should ZeroMQ ever have no room instead, the gap in the counters is a fault that the frontend sees.
        """
        assert self._socket is not None
        with contextlib.suppress(zmq.Again):
            self._socket.send(batch, zmq.NOBLOCK)

    def _read_old(self) -> bytes | None:
        """The next batch that an earlier frontend had still sent; an old link is closed when that was all."""
        if self._leftovers:
            return self._leftovers.popleft()
        over = time.monotonic() - self._since > OLD_LINK_CLOSED_AFTER_S
        for socket in list(self._old):
            try:
                batch: bytes = socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                if over:
                    socket.close(linger=0)
                    self._old.remove(socket)
                continue
            return batch
        return None

    def close(self) -> None:
        for socket in self._old:
            socket.close(linger=0)
        if self._socket is not None:
            self._socket.close(linger=1000)
        self._context.term()


cdef inline batch_t _head_of(bytes batch) noexcept:
    """What a batch begins with; zeros if it is too short to be one."""
    cdef batch_t head
    head.epoch = 0
    head.counter = 0
    if <size_t>PyBytes_GET_SIZE(batch) >= sizeof(head):
        memcpy(&head, PyBytes_AS_STRING(batch), sizeof(head))
    return head
