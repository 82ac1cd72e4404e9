"""The intent ring: writes with several parts that are under way, in the shared segment, so that they outlive the
frontend.

A multi-part write stands here, payload included, before its first part is sent and until all its parts have answered
(R1). A new frontend completes what it finds, in order (R10): a part whose number is above the last one its worker
executed is sent again.

Layout of the area: `head` and `tail` (offsets that only grow), then a ring of records. A record is published by moving
`tail` after it is whole; it is dropped by moving `head` over it when it and all before it are closed. One writer, the
frontend; one reader, its successor. A record that does not fit before the end of the ring is preceded by a filler. A
write whose payload would take more than a quarter of the ring goes into a file of its own in the runtime folder, and
its record names the file.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

from mpkv.buffer cimport Buffer
from mpkv.wire cimport padded

cdef extern from *:
    """
    #define settle_writes() __atomic_thread_fence(__ATOMIC_RELEASE)
    """
    void settle_writes() noexcept nogil     # a record is whole before it is there, for whoever reads it after a death

import os
from collections import deque
from pathlib import Path

cdef struct record_t:
    uint64_t size           # of the record, a multiple of 8
    uint64_t number
    uint32_t state          # OPEN, CLOSED, FILLER
    uint32_t parts

cdef struct part_t:
    uint32_t shard
    uint32_t size           # of the envelope that follows, padded to 8

cdef enum:
    OPEN = 1
    CLOSED = 2
    FILLER = 3
    SPILLED = 4             # the payload is in the file intent-<number>


cdef class IntentRing:
    """:param area: the segment's area, writable; :param folder: where large payloads go"""

    def __init__(self, area, folder, *, enabled: bool = True):
        cdef unsigned char[::1] view = area
        self._area = area
        self._header = <header_t*>&view[0]
        self._base = <char*>&view[0] + 64
        self._room = (view.shape[0] - 64) & ~<uint64_t>7
        self._folder = Path(folder)
        self.enabled = enabled

    @property
    def open_bytes(self) -> int:
        return self._header.tail - self._header.head

    cdef bint takes(self, uint64_t size_bytes, uint64_t parts) noexcept:
        cdef uint64_t size = sizeof(record_t) + size_bytes + parts * 128
        cdef uint64_t used = self._header.tail - self._header.head
        if size > self._room // 4:
            size = sizeof(record_t)
        return not self.enabled or used + 2 * size <= self._room

    cdef uint64_t begin(self, uint64_t number, const piece_t* pieces, size_t parts) except? 0:
        cdef uint64_t size = sizeof(record_t)
        cdef uint64_t tail = self._header.tail
        cdef uint64_t to_end = self._room - tail % self._room
        cdef record_t* record
        cdef part_t part
        cdef char* to
        cdef bint spilled
        cdef size_t i
        if not self.enabled:
            return 0
        for i in range(parts):
            size += sizeof(part_t) + padded(pieces[i].size)
        spilled = size > self._room // 4
        if spilled:
            self._spill(number, [_part_of(&pieces[i]) for i in range(parts)])
            size = sizeof(record_t)
        if tail - self._header.head + size + (to_end if to_end < size else 0) > self._room:
            raise RuntimeError("the intent ring is full: room in it is asked for before a write is given a number")
        if to_end < size:
            record = <record_t*>(self._base + tail % self._room)
            record.size = to_end
            if to_end >= sizeof(record_t):
                record.state = FILLER
            settle_writes()
            tail += to_end
            self._header.tail = tail
        record = <record_t*>(self._base + tail % self._room)
        record.size = size
        record.number = number
        record.state = SPILLED if spilled else OPEN
        record.parts = <uint32_t>parts
        if not spilled:
            to = <char*>record + sizeof(record_t)
            for i in range(parts):
                part.shard = pieces[i].shard
                part.size = <uint32_t>pieces[i].size
                memcpy(to, &part, sizeof(part))
                memcpy(to + sizeof(part), pieces[i].envelope, part.size)
                to += sizeof(part) + padded(part.size)
        settle_writes()
        self._header.tail = tail + size
        self.total += 1
        self.open_count += 1
        return tail + 1

    cdef int finish(self, uint64_t handle) except -1:
        cdef record_t* record
        cdef bint spilled
        if handle == 0:
            return 0
        record = <record_t*>(self._base + (handle - 1) % self._room)
        spilled = record.state == SPILLED
        # In this order: a record that names a file has one, whenever this process dies
        record.state = CLOSED
        if spilled:
            (self._folder / f"intent-{record.number}").unlink(missing_ok=True)
        self.open_count -= 1
        while self._header.head != self._header.tail:
            record = <record_t*>(self._base + self._header.head % self._room)
            # a filler may be too short to carry a state: it is what reaches exactly to the end
            if self._room - self._header.head % self._room >= sizeof(record_t) and (
                record.state != CLOSED and record.state != FILLER
            ):
                break
            self._header.head += record.size
        return 0

    def has_room(self, size_bytes: int, parts: int) -> bool:
        """Whether a write of so many bytes in its words can be opened."""
        return self.takes(size_bytes, parts)

    def open(self, number: int, list parts) -> int:
        """Put a write in: `parts` = [(shard, envelope bytes)]. Returns what `close` takes."""
        cdef piece_t[256] pieces
        cdef size_t i
        if len(parts) > 256:
            raise ValueError(f"{len(parts)} parts: there are at most 256 shards")
        for i in range(<size_t>len(parts)):
            shard, envelope = parts[i]
            pieces[i].shard = shard
            pieces[i].envelope = PyBytes_AS_STRING(envelope)
            pieces[i].size = PyBytes_GET_SIZE(envelope)
        return self.begin(number, pieces, len(parts))

    def close(self, handle: int) -> None:
        """All parts have answered."""
        self.finish(handle)

    def unfinished(self) -> list:
        """Every open write, oldest first: [(handle, number, [(shard, envelope bytes)])]."""
        cdef uint64_t at = self._header.head
        cdef record_t* record
        cdef part_t part
        cdef char* data
        found = []
        while at != self._header.tail:
            record = <record_t*>(self._base + at % self._room)
            if self._room - at % self._room >= sizeof(record_t) and record.state in (OPEN, SPILLED):
                parts = []
                content = self._read_spilled(record.number) if record.state == SPILLED else None
                if content is None:
                    data = <char*>record + sizeof(record_t)
                else:
                    data = <char*><bytes>content
                for _ in range(record.parts):
                    memcpy(&part, data, sizeof(part))
                    parts.append((part.shard, PyBytes_FromStringAndSize(data + sizeof(part), part.size)))
                    data += sizeof(part) + padded(part.size)
                found.append((at + 1, record.number, parts))
            at += record.size
        self.open_count = len(found)
        return found

    def _spill(self, number: int, parts: list) -> None:
        cdef part_t part
        with open(self._folder / f"intent-{number}", "wb", opener=_private) as file:
            for shard, envelope in parts:
                part.shard = shard
                part.size = len(envelope)
                file.write(PyBytes_FromStringAndSize(<char*>&part, sizeof(part)))
                file.write(envelope)
                file.write(bytes(padded(part.size) - part.size))

    def _read_spilled(self, number: int) -> bytes:
        return (self._folder / f"intent-{number}").read_bytes()


cdef tuple _part_of(const piece_t* piece):
    return piece.shard, PyBytes_FromStringAndSize(piece.envelope, piece.size)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
