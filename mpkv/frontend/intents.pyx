"""The intent ring: writes with several parts that are under way, in the shared segment, so that they outlive the
frontend.

A multi-part write stands here, payload included, before its first part is sent and until all its parts have answered
(R1). A new frontend completes what it finds, in order (R10): a part whose number is above the last one its worker
executed is sent again.

Layout of the area: `head` and `tail` (offsets that only grow), then a ring of records. A record is published by moving
`tail` after it is whole; it is dropped by moving `head` over it when it and all before it are closed. One writer, the
frontend; one reader, its successor. A record that does not fit before the end of the ring is preceded by a filler. As
long as little is under way, which is the rule, the end is not waited for: then the same megabyte is written again and
again, and stays in the processor's caches.

Two things would fill the ring. A write whose payload would take more than a quarter of it goes into a file of its own
in the runtime folder, and its record names the file; the room on the disk is taken before the write is given a number,
so that a full disk refuses it. And a write that waits for long, since one of its shards loads, would hold `head` and
with it the room of all that came later: `relieve` moves what waits into a file, several writes in one, and a record
without payload takes their place at the end of the ring. That record is there before `head` moves over the writes, so
whenever the frontend dies each of them is found, at times twice; closed ones in a file are found again as well, which
costs a look at their number and nothing else.
"""

from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport int64_t, uint32_t, uint64_t
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

from mpkv.errors import CommandError

cdef struct record_t:
    uint64_t size           # of the record, a multiple of 8
    uint64_t number
    uint32_t state
    uint32_t parts

cdef struct part_t:
    uint32_t shard
    uint32_t size           # of the envelope that follows, padded to 8

cdef enum:
    OPEN = 1
    CLOSED = 2
    FILLER = 3
    SPILLED = 4             # the payload is in the file intent-<number>
    MOVED = 5               # stands for the `parts` records in the file moved-<number>

cdef enum:
    HEADERS_BYTES = 4096    # kept free for records without payload, which make room
    SMALL_ROUND = 1 << 20   # bytes of the area that are gone round in while little is under way

cdef int64_t UNKNOWN = <int64_t>1 << 62             # of what a predecessor left

cdef uint64_t MOVED_HANDLE = <uint64_t>1 << 63      # of a write that a predecessor moved: and its number

#: Room on the disk for the next payload that the ring does not take.
RESERVED = "intent-reserved"


class _MovedFile:
    """Writes that were moved out of the ring: the first one's number, the handle of the record that stands for them,
    and how many are open."""

    __slots__ = ("number", "path", "place", "left")

    def __init__(self, number, path, place, left):
        self.number = number
        self.path = path
        self.place = place
        self.left = left


cdef class IntentRing:
    """:param area: the segment's area, writable; :param folder: where large payloads go"""

    def __init__(self, area, folder, *, enabled: bool = True):
        cdef unsigned char[::1] view = area
        self._area = area
        self._header = <header_t*>&view[0]
        self._base = <char*>&view[0] + 64
        self._room = (view.shape[0] - 64) & ~<uint64_t>7
        self._small_round = min(<uint64_t>SMALL_ROUND, self._room // 4)
        self._folder = Path(folder)
        self._moved = {}
        self._passable = 0 if self._header.head == self._header.tail else UNKNOWN
        self.enabled = enabled

    @property
    def open_bytes(self) -> int:
        return self._header.tail - self._header.head

    @property
    def oldest_number(self) -> int:
        """Of the oldest write under way; 0 = there is none."""
        cdef uint64_t at = self._header.head
        numbers = [file.number for file, *_ in self._moved.values()]
        while at != self._header.tail and self._is_passed(at):
            at += (<record_t*>(self._base + at % self._room)).size
        if at != self._header.tail:
            numbers.append((<record_t*>(self._base + at % self._room)).number)
        return min(numbers, default=0)

    cdef bint _is_passed(self, uint64_t at) noexcept:
        """Whether `head` may move over what stands here."""
        cdef uint64_t place = at % self._room
        cdef record_t* record = <record_t*>(self._base + place)
        # a filler may be too short to carry a state: it is what reaches exactly to the end
        if self._room - place < sizeof(record_t):
            return True
        return record.state == CLOSED or record.state == FILLER

    cdef bint spills(self, uint64_t size_bytes, uint64_t parts) noexcept:
        return self.enabled and sizeof(record_t) + size_bytes + parts * 128 > self._room // 4

    cdef bint takes(self, uint64_t size_bytes, uint64_t parts) noexcept:
        cdef uint64_t size = sizeof(record_t) + size_bytes + parts * 128
        cdef uint64_t used = self._header.tail - self._header.head
        if self.spills(size_bytes, parts):
            size = sizeof(record_t)
        return not self.enabled or used + 2 * size + HEADERS_BYTES <= self._room

    cdef uint64_t begin(self, uint64_t number, const piece_t* pieces, size_t parts) except? 0:
        cdef uint64_t size = sizeof(record_t)
        cdef uint64_t at
        cdef record_t* record
        cdef part_t part
        cdef char* to
        cdef bint spilled
        cdef size_t i
        if not self.enabled:
            return 0
        for i in range(parts):
            size += sizeof(part_t) + padded(pieces[i].size)
        spilled = self._reserved or size > self._room // 4
        if spilled:
            self._spill(number, [_part_of(&pieces[i]) for i in range(parts)])
            size = sizeof(record_t)
        at = self._place(size)
        record = <record_t*>(self._base + at % self._room)
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
        self._header.tail = at + size
        self.total += 1
        self.open_count += 1
        return at + 1

    cdef list parts_of(self, uint64_t handle):
        cdef const record_t* record = <const record_t*>(self._base + (handle - 1) % self._room)
        if handle in self._moved:
            return self._parts_moved(*self._moved[handle])
        if handle == 0 or record.state == SPILLED:
            return []
        return _parts_behind(<const char*>record + sizeof(record_t), record.parts)

    cdef uint64_t _place(self, uint64_t size) except? 0:
        """Where a record of this size goes, in one piece: behind a filler if it does not fit before the end, or if the
        round ends here."""
        cdef uint64_t tail = self._header.tail
        cdef uint64_t place = tail % self._room
        cdef uint64_t to_end = self._room - place
        cdef record_t* record
        if tail - self._header.head + size + (to_end if to_end < size else 0) > self._room:
            raise RuntimeError("the intent ring is full: room in it is asked for before a write is given a number")
        if to_end < size or (place >= self._small_round and self._may_go_round(to_end, size)):
            record = <record_t*>(self._base + place)
            record.size = to_end
            if to_end >= sizeof(record_t):
                record.state = FILLER
            settle_writes()
            tail += to_end
            self._header.tail = tail
            self._passable += 1
            self._pass_closed()
        return tail

    cdef bint _may_go_round(self, uint64_t to_end, uint64_t size) noexcept:
        """Whether to begin again before the end of the area: what is left of it is lost until `head` has followed, so
        not while a write stays where it is, or what comes next would wait for it."""
        cdef uint64_t used = self._header.tail - self._header.head
        return (
            2 * used <= self._small_round and not self._moved
            and used + to_end + 2 * size + HEADERS_BYTES <= self._room
        )

    cdef int finish(self, uint64_t handle) except -1:
        cdef record_t* record
        cdef bint spilled
        if handle == 0:
            return 0
        self.open_count -= 1
        if self._moved and handle in self._moved:
            self._finish_moved(handle)
            return 0
        record = <record_t*>(self._base + (handle - 1) % self._room)
        spilled = record.state == SPILLED
        # In this order: a record that names a file has one, whenever this process dies
        record.state = CLOSED
        if spilled:
            self._payload_of(record.number).unlink(missing_ok=True)
        if self._header.head != handle - 1:         # an older one is still open
            self._passable += 1
            return 0
        self._header.head += record.size
        if self._passable:
            self._pass_closed()
        return 0

    cdef void _pass_closed(self) noexcept:
        """Drop what is closed, up to the oldest write that is open: `head` never stays on anything else."""
        while self._header.head != self._header.tail and self._is_passed(self._header.head):
            self._header.head += (<record_t*>(self._base + self._header.head % self._room)).size
            self._passable -= 1
        if self._header.head == self._header.tail:
            self._passable = 0

    def _finish_moved(self, uint64_t handle) -> None:
        file, payload, _ = self._moved.pop(handle)
        if payload is not None:
            payload.unlink(missing_ok=True)
        file.left -= 1
        if not file.left:
            (<record_t*>(self._base + (<uint64_t>file.place - 1) % self._room)).state = CLOSED
            file.path.unlink(missing_ok=True)
            self._passable += 1
            self._pass_closed()

    def has_room(self, size_bytes: int, parts: int) -> bool:
        """Whether a write of so many bytes in its words can be opened."""
        return self.takes(size_bytes, parts)

    def prepare(self, size_bytes: int, parts: int) -> None:
        """Take the room on the disk that a write needs if the ring is too small for it. Raises what is to be replied
        if there is none."""
        if not self.spills(size_bytes, parts):
            return
        path = self._folder / RESERVED
        try:
            with open(path, "wb", opener=_private) as file:
                os.posix_fallocate(file.fileno(), 0, sizeof(record_t) + size_bytes + parts * 128)
                self._reserved = True
        except OSError as error:
            self._reserved = False
            path.unlink(missing_ok=True)
            raise CommandError(f"MISCONF Errors writing to the runtime folder: {error.strerror}") from None

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

    def relieve(self, before: int) -> int:
        """If the ring is more than half full, move the writes out of its front that have lower numbers than `before`;
        how many. Raises OSError if they cannot be written; then nothing has changed."""
        cdef uint64_t at = self._header.head
        cdef uint64_t used = self._header.tail - at
        cdef uint64_t headers = (self._room - used) // sizeof(record_t)
        cdef record_t* record
        if not self.enabled or 2 * used <= self._room:
            return 0
        places, files, records = [], [], []
        while at != self._header.tail:
            record = <record_t*>(self._base + at % self._room)
            if not self._is_passed(at):
                if record.number >= <uint64_t>before or <uint64_t>len(files) + 4 > headers:
                    break
                if record.state == MOVED:
                    files.append(next(file for file, *_ in self._moved.values() if file.place == at + 1))
                else:
                    places.append(at + 1)
                    records.append(PyBytes_FromStringAndSize(<char*>record, record.size))
            at += record.size
        if records:
            self._move(places, records)
        for file in files:
            record = <record_t*>(self._base + (<uint64_t>file.place - 1) % self._room)
            file.place = self._stand_for(record.number, record.parts)
        self._header.head = at
        self._pass_closed()
        return len(records)

    def _move(self, list places, list records) -> None:
        """Write records into a file and one that stands for them into the ring."""
        cdef record_t first
        cdef record_t record
        cdef size_t at = 0
        memcpy(&first, PyBytes_AS_STRING(records[0]), sizeof(first))
        file = _MovedFile(first.number, self._file_of(first.number), 0, len(records))
        try:
            with open(file.path, "wb", opener=_private) as stream:
                stream.writelines(records)
        except OSError:
            file.path.unlink(missing_ok=True)
            raise
        file.place = self._stand_for(first.number, <uint32_t>len(records))
        for handle, data in zip(places, records, strict=True):
            memcpy(&record, PyBytes_AS_STRING(data), sizeof(record))
            self._moved[handle] = file, self._payload_of(record.number) if record.state == SPILLED else None, at
            at += record.size

    cdef uint64_t _stand_for(self, uint64_t number, uint32_t parts) except? 0:
        """A record without payload, for the writes in a file; its handle."""
        cdef uint64_t at = self._place(sizeof(record_t))
        cdef record_t* record = <record_t*>(self._base + at % self._room)
        record.size = sizeof(record_t)
        record.number = number
        record.state = MOVED
        record.parts = parts
        settle_writes()
        self._header.tail = at + sizeof(record_t)
        return at + 1

    def unfinished(self) -> list:
        """Every open write, in the order of their numbers: [(handle, number, [(shard, envelope bytes)])]."""
        cdef uint64_t at = self._header.head
        cdef record_t* record
        cdef dict found = {}
        cdef dict files = {}
        while at != self._header.tail:
            record = <record_t*>(self._base + at % self._room)
            if self._is_passed(at):
                pass
            elif record.state != MOVED:
                self._find(found, at + 1, <char*>record)
            elif record.number in files:        # its maker died before the older one of the two was dropped
                record.state = CLOSED
            else:
                files[record.number] = self._find_moved(found, at + 1, record.number)
                if not files[record.number].left:
                    record.state = CLOSED
                    self._file_of(record.number).unlink(missing_ok=True)
            at += record.size
        self._pass_closed()
        self._remove_abandoned()
        self.open_count = len(found)
        return [found[number] for number in sorted(found)]

    cdef bint _find(self, dict found, uint64_t handle, const char* data) except -1:
        """Add the write of a record; whether it is open and was not known."""
        cdef record_t record
        memcpy(&record, data, sizeof(record))
        if record.number in found:
            return False
        if record.state == SPILLED:
            payload = self._payload_of(record.number)
            if not payload.exists():            # closed after it was moved
                return False
            content = payload.read_bytes()
            data = PyBytes_AS_STRING(content)
        else:
            data += sizeof(record_t)
        found[record.number] = handle, record.number, _parts_behind(data, record.parts)
        return True

    def _find_moved(self, dict found, uint64_t place, uint64_t number):
        """Add the writes of a file."""
        cdef record_t record
        cdef size_t at = 0
        file = _MovedFile(number, self._file_of(number), place, 0)
        content = file.path.read_bytes()
        while at < <size_t>len(content):
            memcpy(&record, PyBytes_AS_STRING(content) + at, sizeof(record))
            if self._find(found, MOVED_HANDLE | record.number, PyBytes_AS_STRING(content) + at):
                payload = self._payload_of(record.number) if record.state == SPILLED else None
                self._moved[MOVED_HANDLE | record.number] = file, payload, at
                file.left += 1
            at += record.size
        return file

    def _parts_moved(self, file, payload, at) -> list:
        """The parts of a write that stands in a file."""
        cdef record_t record
        if payload is not None:
            return []
        try:
            with open(file.path, "rb") as stream:
                stream.seek(at)
                head = stream.read(sizeof(record_t))
                if <size_t>len(head) < sizeof(record_t):
                    return []
                memcpy(&record, PyBytes_AS_STRING(head), sizeof(record_t))
                content = stream.read(record.size - sizeof(record_t))
        except OSError:         # as a file that is cut off, somebody else's doing: no reason to stop serving
            return []
        if <size_t>len(content) < record.size - sizeof(record_t):
            return []
        return _parts_behind(PyBytes_AS_STRING(content), record.parts)

    def _remove_abandoned(self) -> None:
        """Files that a predecessor had begun to write, or not yet removed."""
        cdef uint64_t at = self._header.head
        cdef record_t* record
        used = {path for file, payload, _ in self._moved.values() for path in (file.path, payload)}
        while at != self._header.tail:
            record = <record_t*>(self._base + at % self._room)
            if not self._is_passed(at) and record.state == SPILLED:
                used.add(self._payload_of(record.number))
            at += record.size
        for pattern in ("intent-*", "moved-*"):
            for path in self._folder.glob(pattern):
                if path not in used:
                    path.unlink()

    def _spill(self, number: int, parts: list) -> None:
        """Write a payload that the ring is too small for, into the room that was taken for it."""
        cdef part_t part
        reserved = self._folder / RESERVED
        with open(reserved, "r+b" if reserved.exists() else "wb", opener=_private) as file:
            for shard, envelope in parts:
                part.shard = shard
                part.size = len(envelope)
                file.write(PyBytes_FromStringAndSize(<char*>&part, sizeof(part)))
                file.write(envelope)
                file.write(bytes(padded(part.size) - part.size))
            file.truncate()
        reserved.rename(self._payload_of(number))
        self._reserved = False

    def _payload_of(self, number: int) -> Path:
        """The file of a write that the ring was too small for."""
        return self._folder / f"intent-{number}"

    def _file_of(self, number: int) -> Path:
        """The file of several writes that were moved, of which the first has this number."""
        return self._folder / f"moved-{number}"


cdef list _parts_behind(const char* data, uint32_t count):
    """A record's payload: [(shard, envelope bytes)]."""
    cdef part_t part
    parts = []
    for _ in range(count):
        memcpy(&part, data, sizeof(part))
        parts.append((part.shard, PyBytes_FromStringAndSize(data + sizeof(part), part.size)))
        data += sizeof(part) + padded(part.size)
    return parts


cdef tuple _part_of(const piece_t* piece):
    return piece.shard, PyMemoryView_FromMemory(<char*>piece.envelope, piece.size, PyBUF_READ)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
