"""The shared segment: one anonymous file in memory that every process maps.

The supervisor creates it and passes its descriptor on; its size is sealed, so no process can cut it off under another's
feet. It has no name: when the last process is gone, however it went, so is the segment. Nothing in it is data of
clients (a forked child would see the parent's later writes), except requests under way in the intents.
"""

from libc.stdint cimport int64_t

import fcntl
import mmap
import os
import secrets
import time

from mpkv.shm import layout


class SegmentError(Exception):
    """The descriptor is not a segment that this version can use."""


cdef class Segment:
    """Made by `create` or `attach` only. Pointers and views into it are good as long as the object lives."""

    def __init__(self, int fd, shape):
        cdef unsigned char[::1] view
        self.fd = fd
        self.shape = shape
        self._map = mmap.mmap(fd, shape.total_bytes)
        view = self._map
        self._base = <char*>&view[0]
        self._areas = shape.areas()

    @staticmethod
    def create(
        workers: int, commands, *, databases: int = 16, intents_bytes: int = layout.INTENTS_BYTES,
        pool_bytes: int = layout.POOL_BYTES,
    ) -> Segment:
        """A new one, all zero but for its header.

        :param commands: the commands' names in order of their numbers
        :param pool_bytes: of each pool of pages for large values; 0 = there are none
        """
        names = "\n".join(commands).encode()
        shape = layout.Shape(
            workers, len(commands), databases, len(names), intents_bytes, pool_bytes=layout.pages(pool_bytes)
        )
        fd = os.memfd_create("mpkv", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, shape.total_bytes)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
            os.set_inheritable(fd, True)
            segment = Segment(fd, shape)
        except BaseException:
            os.close(fd)
            raise
        segment._fill_header(names)
        segment._read_header()
        return segment

    @staticmethod
    def attach(fd: int) -> Segment:
        """The one that another process created; SegmentError if it is none, or one of another layout."""
        head = os.pread(fd, len(layout.HEADER) * layout.WORD, 0)
        if len(head) < len(layout.HEADER) * layout.WORD:
            raise SegmentError("the descriptor is no shared segment")
        words = dict(zip(layout.HEADER, memoryview(head).cast("q")))
        if words["magic"] != layout.MAGIC:
            raise SegmentError("the descriptor is no shared segment")
        shape = layout.Shape(
            words["workers"], words["commands"], words["databases"], words["names_bytes"], words["intents_bytes"],
            words["slots_bytes"], words["pool_bytes"],
        )
        same = (layout.VERSION, len(layout.COUNTERS), shape.block_bytes, shape.total_bytes)
        if (words["version"], words["counters"], words["block_bytes"], words["total_bytes"]) != same:
            raise SegmentError("the shared segment has another layout than this version of mpkv")
        if os.fstat(fd).st_size != shape.total_bytes:
            raise SegmentError("the shared segment has not the size that its header says")
        segment = Segment(fd, shape)
        segment._read_header()
        return segment

    def _fill_header(self, bytes names):
        shape = self.shape
        values = {
            "version": layout.VERSION, "total_bytes": shape.total_bytes, "workers": shape.workers,
            "commands": shape.commands,
            "databases": shape.databases, "counters": len(layout.COUNTERS), "names_bytes": shape.names_bytes,
            "intents_bytes": shape.intents_bytes, "slots_bytes": shape.slots_bytes, "pool_bytes": shape.pool_bytes,
            "block_bytes": shape.block_bytes,
            "start_time_ms": time.time_ns() // 1_000_000,
        }
        words = self.area("header").cast("q")
        for index, name in enumerate(layout.HEADER):
            words[index] = values.get(name, 0)
        behind = len(layout.HEADER) * layout.WORD
        header = self.area("header")
        header[behind : behind + layout.SEED_BYTES] = secrets.token_bytes(layout.SEED_BYTES)
        behind += layout.SEED_BYTES
        header[behind : behind + layout.RUN_ID_BYTES] = secrets.token_hex(layout.RUN_ID_BYTES // 2).encode()
        self.area("names")[:] = names
        # Last: a segment with this word is whole.
        words[0] = layout.MAGIC

    def _read_header(self):
        header = bytes(self.area("header"))
        behind = len(layout.HEADER) * layout.WORD
        self.hash_seed = header[behind : behind + layout.SEED_BYTES]
        behind += layout.SEED_BYTES
        self.run_id = header[behind : behind + layout.RUN_ID_BYTES].decode()
        self.start_time_ms = memoryview(header).cast("q")[layout.HEADER.index("start_time_ms")]
        names = bytes(self.area("names")).decode()
        self.command_names = tuple(names.split("\n")) if names else ()

    def area(self, name: str) -> memoryview:
        """``intents``, ``slots`` … as bytes that can be written."""
        offset, size = self._areas[name]
        return memoryview(self._map)[offset : offset + size]

    cdef char* area_pointer(self, name) except NULL:
        offset, _ = self._areas[name]
        return self._base + <Py_ssize_t>offset

    cdef char* block_pointer(self, Py_ssize_t number) except NULL:
        if not 0 <= number < self.shape.blocks:
            raise IndexError(f"there is no block {number}")
        return self.area_pointer("blocks") + number * <Py_ssize_t>self.shape.block_bytes

    cdef char* ring_pointer(self, Py_ssize_t number) except NULL:
        if not 0 <= number < 2 * self.shape.workers:
            raise IndexError(f"there is no ring {number}")
        return self.area_pointer("rings") + number * <Py_ssize_t>self.shape.ring_bytes

    cdef char* pool_pointer(self, Py_ssize_t number) except NULL:
        if not 0 <= number < 1 + self.shape.workers:
            raise IndexError(f"there is no pool {number}")
        return self.area_pointer("pools") + number * <Py_ssize_t>self.shape.pool_stride

    def close(self):
        """Close the descriptor. The mapping goes with the object and the last view of it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
