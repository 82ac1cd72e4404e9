"""Steps 7 and 11: the worker's end of the way to the frontend.

Batches are numbered and carry the epoch of their link (R2): one of another epoch is dropped – it was sent by a frontend
that is gone –, and a gap is a fault. When a new frontend comes, the worker opens a fresh endpoint for it and executes
nothing more of what is left on the old one: the new frontend learns the last number executed (HELLO) and completes from
the intent ring what must not be torn. An old batch that ran after that would undo newer writes. That none does is what
the epoch decides, and nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import struct
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

import zmq

from mpkv.shm.ring import Ring

logger = logging.getLogger(__name__)

#: Messages that ZeroMQ holds at most: the frontend's limit on bytes in flight bounds them long before.
HIGH_WATER_MARK: Final = 100_000

#: While the ring of replies is full: the frontend empties it as soon as it runs.
WAIT_FOR_ROOM_S: Final = 0.0005

#: What is left on an old link is looked at when its successor has been open for so long: nobody waits for it, while
#: recovery has clients waiting.
LEFTOVERS_AFTER_S: Final = 1.0
#: An empty old link is closed after this long: by then nothing can come any more.
OLD_LINK_CLOSED_AFTER_S: Final = 3.0

_EPOCH_AND_COUNTER: Final = struct.Struct("=4xIQ")


class LinkFault(Exception):
    """A batch is missing or out of order: the stream of requests is not to be trusted."""


@dataclass(slots=True)
class Rings:
    """The way through shared memory: both rings, and the eventfds that wake their readers."""

    requests: Ring
    replies: Ring
    own_bell: int
    frontend_bell: int


class WorkerLink:
    """One PAIR socket per frontend, and a pair of rings beside it; `receive` gives batches in order.

    :param rings: None: everything goes through ZeroMQ
    """

    def __init__(self, rings: Rings | None = None, *, ignore_epoch: bool = False) -> None:
        self._rings = rings
        self._generation = 0
        self._bell = select.poll()
        if rings is not None:
            self._bell.register(rings.own_bell, select.POLLIN)
        self._leftovers: deque[bytes] = deque()  # of the rings
        self._unsent: deque[bytes] = deque()
        self._context = zmq.Context(io_threads=1)
        self._socket: zmq.Socket[bytes] | None = None
        self._old: list[zmq.Socket[bytes]] = []
        self._since = 0.0  # when the link of this epoch was opened
        self._ignore_epoch = ignore_epoch
        self._timeout_ms = -1
        self.epoch = 0
        self.received = 0
        self.sent = 0
        self.discarded = 0  #: batches of earlier frontends, of all links

    def listen(self, endpoint: str, epoch: int, incarnation: int = 0) -> None:
        """Open a fresh endpoint for the frontend of this epoch; from now on no other is listened to."""
        if self._rings is not None:
            if self._rings.requests.generation == self._generation:
                while (left := self._rings.requests.take()) is not None:
                    if left is False:
                        self._rings.requests.drop_marker()
                    else:
                        self._leftovers.append(left)
            self._generation = epoch << 32 | incarnation
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
        self.received = self.sent = 0

    def receive(self, timeout_ms: int) -> bytes | None:
        """The next batch to execute; None when none came in time, or one that is of the past."""
        if (self._old or self._leftovers) and self.received and time.monotonic() - self._since > LEFTOVERS_AFTER_S:
            leftover = self._read_old()
            if leftover is not None and self._is_current(leftover):
                return leftover
        if self._socket is None:
            time.sleep(timeout_ms / 1000)
            return None
        if self._unsent and not self._send_unsent():
            time.sleep(WAIT_FOR_ROOM_S)
            return None
        batch = self._next_from_ring(timeout_ms) if self._rings is not None else self._next_from_socket(timeout_ms)
        if batch is None or not self._is_current(batch):
            return None
        self.received += 1
        _, counter = _EPOCH_AND_COUNTER.unpack_from(batch)
        if counter != self.received:
            raise LinkFault(f"batch {counter} came where {self.received} was due")
        return batch

    def _next_from_ring(self, timeout_ms: int) -> bytes | None:
        """The next batch, waiting beside the ring for the doorbell."""
        rings = self._rings
        assert rings is not None
        while True:
            if rings.requests.generation == self._generation:
                batch = rings.requests.take()
                if batch is False:
                    return self._next_by_marker(timeout_ms)
                if batch is not None:
                    return batch
                if not rings.requests.falls_asleep():
                    continue
            rang = self._bell.poll(timeout_ms)
            rings.requests.is_awake()
            if not rang:
                return None
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(rings.own_bell)

    def _next_by_marker(self, timeout_ms: int) -> bytes | None:
        """A batch that was too large for the ring comes through ZeroMQ; its marker stays until it is there."""
        assert self._rings is not None
        batch = self._next_from_socket(timeout_ms)
        if batch is not None:
            self._rings.requests.drop_marker()
        return batch

    def _next_from_socket(self, timeout_ms: int) -> bytes | None:
        assert self._socket is not None
        if timeout_ms != self._timeout_ms:  # it seldom does, and asking ZeroMQ costs
            self._socket.rcvtimeo = self._timeout_ms = timeout_ms
        try:
            batch: bytes = self._socket.recv()
        except zmq.Again:
            return None
        return batch

    def _is_current(self, batch: bytes) -> bool:
        """Whether a batch was sent by the frontend of this epoch; any other is dropped."""
        epoch, _ = _EPOCH_AND_COUNTER.unpack_from(batch)
        if epoch == self.epoch or self._ignore_epoch:
            return True
        self.discarded += 1
        logger.info("dropped a batch of epoch %d: the link's is %d", epoch, self.epoch)
        return False

    def send(self, batch: bytes) -> None:
        """Send replies, in order. While the frontend has no room they wait, and no new batch is taken."""
        if self._rings is None:
            self._send_by_socket(batch)
            return
        self._unsent.append(batch)
        self._send_unsent()

    def _send_unsent(self) -> bool:
        """Put what waits into the ring, as far as there is room; whether that was all."""
        rings = self._rings
        assert rings is not None
        if rings.replies.generation != self._generation:  # of a frontend that is gone, or has not begun
            self._unsent.clear()
            return True
        while self._unsent:
            batch = self._unsent[0]
            if len(batch) <= rings.replies.most:
                if not rings.replies.put(batch):
                    break
            else:
                if not rings.replies.put_marker():
                    break
                self._send_by_socket(batch)
            self._unsent.popleft()
        if rings.replies.wakes():
            os.eventfd_write(rings.frontend_bell, 1)
        return not self._unsent

    def _send_by_socket(self, batch: bytes) -> None:
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
