"""The worker's end of the way to the frontend.

Batches are numbered and carry the epoch of their link (R2): one of another epoch is dropped – it was sent by a frontend
that is gone –, and a gap is a fault. When a new frontend comes, the worker opens a fresh endpoint for it and discards
what is left on the old one, which is what the epoch decides.
"""

from __future__ import annotations

import logging
import struct
import time
from typing import Final

import zmq

logger = logging.getLogger(__name__)

#: Messages that ZeroMQ holds at most: the frontend's limit on bytes in flight bounds them long before.
HIGH_WATER_MARK: Final = 100_000

#: How long what is left on an old link is read and dropped before its socket is closed, in seconds.
OLD_LINK_SECONDS: Final = 5.0

_EPOCH_AND_COUNTER: Final = struct.Struct("=4xIQ")


class LinkFault(Exception):
    """A batch is missing or out of order: the stream of requests is not to be trusted."""


class WorkerLink:
    """One PAIR socket per frontend; `receive` gives batches in order."""

    def __init__(self, *, ignore_epoch: bool = False) -> None:
        self._context = zmq.Context(io_threads=1)
        self._socket: zmq.Socket[bytes] | None = None
        self._old: list[tuple[zmq.Socket[bytes], float]] = []
        self._ignore_epoch = ignore_epoch
        self._timeout_ms = -1
        self.epoch = 0
        self.received = 0
        self.sent = 0

    def listen(self, endpoint: str, epoch: int) -> None:
        """Open a fresh endpoint for the frontend of this epoch; from now on no other is listened to."""
        socket = self._context.socket(zmq.PAIR)
        socket.linger = 0
        socket.sndhwm = socket.rcvhwm = HIGH_WATER_MARK
        socket.bind(endpoint)
        if self._socket is not None:
            self._old.append((self._socket, time.monotonic()))
        self._socket = socket
        self._timeout_ms = -1
        self.epoch = epoch
        self.received = self.sent = 0

    def receive(self, timeout_ms: int) -> bytes | None:
        """The next batch of the current epoch; None when none came in time."""
        if self._old:
            leftover = self._read_old()
            if leftover is not None:
                return leftover
        if self._socket is None:
            time.sleep(timeout_ms / 1000)
            return None
        if timeout_ms != self._timeout_ms:
            self._timeout_ms = timeout_ms
            self._socket.rcvtimeo = timeout_ms
        try:
            batch: bytes = self._socket.recv()
        except zmq.Again:
            return None
        epoch, counter = _EPOCH_AND_COUNTER.unpack_from(batch)
        if epoch != self.epoch:
            logger.warning("dropped a batch of epoch %d: the link's is %d", epoch, self.epoch)
            return None
        self.received += 1
        if counter != self.received:
            raise LinkFault(f"batch {counter} came where {self.received} was due")
        return batch

    def send(self, batch: bytes) -> None:
        """Send replies; waits while ZeroMQ has no room, since the frontend always reads."""
        assert self._socket is not None
        self._socket.send(batch)

    def _read_old(self) -> bytes | None:
        """Take what an earlier frontend still had on its way: it is dropped, since its clients are gone and what it had
        promised is in the intent ring."""
        # Not before the new frontend has been answered: what is read here is by then certainly of the past
        if self.received == 0:
            return None
        for entry in list(self._old):
            socket, since = entry
            try:
                batch: bytes = socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                if time.monotonic() - since > OLD_LINK_SECONDS:
                    socket.close(linger=0)
                    self._old.remove(entry)
                continue
            epoch, _ = _EPOCH_AND_COUNTER.unpack_from(batch)
            if self._ignore_epoch:
                return batch
            logger.info("dropped a batch of epoch %d, whose frontend is gone", epoch)
        return None

    def close(self) -> None:
        for socket, _ in self._old:
            socket.close(linger=0)
        if self._socket is not None:
            self._socket.close(linger=1000)
        self._context.term()
