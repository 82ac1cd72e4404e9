"""Reading an RDB file into one shard's keyspace.

Every worker reads the whole file and keeps the keys whose slot is its own, so that a file from any number of shards,
or from a Redis, can be loaded by any number. What is not its own is gone over by its lengths; together the shards
have checked every value. `check` reads all values and keeps none.

The loop is a table: what stands where a value type may stand is an opcode with a function, or a key. A function that
finds damage raises `SnapshotDamaged` with the offset. The checksum is compared at the end, when the keys are already
in: whoever gets an exception must throw the keyspace away.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from mpkv.snapshot.damage import SnapshotDamaged

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from mpkv.buffer cimport Buffer, buffer_append, buffer_free, buffer_reserve
from mpkv.sharding cimport key_slot, slot_shard
from mpkv.snapshot.format cimport (
    NO_MEMORY,
    OP_AUX,
    OP_EOF,
    OP_EXPIRETIME,
    OP_EXPIRETIME_MS,
    OP_FREQ,
    OP_FUNCTION2,
    OP_FUNCTION_PRE_GA,
    OP_IDLE,
    OP_MODULE_AUX,
    OP_RESIZEDB,
    OP_SELECTDB,
    OP_SLOT_INFO,
    RDB_VERSION_READ,
    Source,
    source_byte,
    source_checksum,
    source_close,
    source_left,
    source_length,
    source_open_file,
    source_position,
    source_skip,
    source_skip_string,
    source_string,
    source_take,
)
from mpkv.snapshot.values cimport (
    VALUE_EMPTY,
    Value,
    value_free,
    value_read,
    value_skip,
    value_type_name,
    value_type_supported,
)
from mpkv.workers.keyspace cimport STRING, Keyspace, told_clock

cdef extern from "<endian.h>" nogil:
    uint32_t le32toh(uint32_t)
    uint64_t le64toh(uint64_t)

cdef enum:
    NEVER = -1
    UNTOLD = -1                  # how long ago, or how often, a key was used
    MAGIC_BYTES = 9              # REDIS and four digits
    CHECKSUM_BYTES = 8
    FIRST_VERSION_WITH_CHECKSUM = 5
    PROGRESS_BYTES = 2 << 20     # between two calls of the progress callback
    KEPT_AUX_FIELDS = 64         # a file names eight; more than this is somebody's joke
    KEPT_AUX_BYTES = 1024        # of a field's text: old servers put whole scripts there

cdef enum:                       # what a module's auxiliary data is made of
    MODULE_EOF = 0
    MODULE_SINT = 1
    MODULE_UINT = 2
    MODULE_FLOAT = 3
    MODULE_DOUBLE = 4
    MODULE_STRING = 5


@dataclass(slots=True)
class LoadResult:
    """What was in a file and what became of it."""

    version: int = 0
    size_bytes: int = 0  #: of the RDB file or preamble: where it ends
    keys_loaded: int = 0
    keys_expired: int = 0  #: of this shard, dropped
    keys_empty: int = 0  #: aggregates without elements, dropped
    keys_skipped: int = 0  #: of other shards
    keys_with_expiry: int = 0  #: of those loaded
    checksum_verified: bool = False
    aux: dict = field(default_factory=dict)  #: bytes -> bytes
    types: dict = field(default_factory=dict)  #: name of the encoding in the file -> values of it that were read
    databases: dict = field(default_factory=dict)  #: index -> keys loaded
    warnings: list = field(default_factory=list)


cdef class _Reader:
    """One pass over one file."""

    cdef Source source
    cdef Buffer key
    cdef bint in_key                 # whether `key` is the one being read
    cdef object path
    cdef Keyspace keyspace           # None: check only
    cdef int shard, shards
    cdef int64_t now_ms
    cdef bint keep_expired
    cdef int database, databases
    cdef int64_t expire_at_ms        # of the key that follows
    cdef int64_t idle_s              # its seconds since it was used, and its counter: see recency.pxd
    cdef int frequency
    cdef uint64_t size_bytes
    cdef uint64_t keys_in_database
    cdef uint64_t[256] values_read   # by RDB type
    cdef object result
    cdef object progress
    cdef uint64_t next_progress_at

    def __dealloc__(self):
        source_close(&self.source)
        buffer_free(&self.key)

    # ---- failure

    cdef _raise(self, int status):
        """Turn a status into its exception."""
        if status == NO_MEMORY:
            raise MemoryError(f"out of memory at offset {source_position(&self.source)} of {self.path}")
        raise self._damage((<bytes>self.source.reason).decode(), self.source.damaged_at)

    cdef _damage(self, str reason, uint64_t offset):
        key = self.key.data[:self.key.size] if self.in_key and self.key.size else None
        return SnapshotDamaged(self.path, offset, reason, key)

    cdef inline int _check(self, int status) except -1:
        if status < 0:
            self._raise(status)
        return 0

    # ---- single pieces

    cdef uint64_t _length(self) except? 0xFFFFFFFFFFFFFFFF:
        cdef uint64_t length = 0
        self._check(source_length(&self.source, &length))
        return length

    cdef bytes _string(self):
        cdef const char* data = NULL
        cdef size_t size = 0
        self._check(source_string(&self.source, &data, &size))
        return data[:size]

    # ---- the file

    cdef _read_file(self, bint preamble):
        self._read_header()
        while self._read_one():
            if source_position(&self.source) >= self.next_progress_at:
                self._report_progress()
        self._end_database()
        self._verify_checksum()
        self.result.size_bytes = source_position(&self.source)
        if not preamble and source_left(&self.source):
            raise self._damage("bytes follow the end of the file", source_position(&self.source))
        self._count_types()
        self._report_progress()

    cdef _read_header(self):
        cdef const char* magic = NULL
        if source_left(&self.source) < MAGIC_BYTES:
            raise self._damage("too short to be an RDB file", 0)
        self._check(source_take(&self.source, MAGIC_BYTES, &magic))
        header = magic[:MAGIC_BYTES]
        if not header.startswith(b"REDIS") or not header[5:].isdigit():
            raise self._damage("not an RDB file: it does not begin with REDIS and a version", 0)
        self.result.version = int(header[5:])
        if not 1 <= self.result.version <= RDB_VERSION_READ:
            raise self._damage(f"RDB version {self.result.version}; up to {RDB_VERSION_READ} can be read", 5)

    cdef bint _read_one(self) except -1:
        """An opcode with its data, or a key; False at the end."""
        cdef uint8_t what = 0
        self._check(source_byte(&self.source, &what))
        if what == OP_EOF:
            return False
        if what < OP_SLOT_INFO:
            self._read_key(what)
        elif what == OP_EXPIRETIME_MS:
            self._read_expiry_ms()
        elif what == OP_EXPIRETIME:
            self._read_expiry_s()
        elif what == OP_IDLE:
            self.idle_s = <int64_t>min(self._length(), <uint64_t>INT64_MAX)
        elif what == OP_FREQ:
            self._check(source_byte(&self.source, &what))
            self.frequency = what
        elif what == OP_SELECTDB:
            self._select_database()
        elif what == OP_RESIZEDB:
            self._length()
            self._length()
        elif what == OP_AUX:
            self._read_aux()
        elif what == OP_FUNCTION2:
            self._skip_function()
        elif what == OP_MODULE_AUX:
            self._skip_module_aux()
        elif what == OP_FUNCTION_PRE_GA:
            raise self._damage("functions of a release candidate of Redis 7.0", source_position(&self.source) - 1)
        else:
            raise self._damage(f"opcode {what} of a later version", source_position(&self.source) - 1)
        return True

    cdef _verify_checksum(self):
        cdef uint64_t computed = source_checksum(&self.source)
        cdef uint64_t at = source_position(&self.source)
        cdef uint64_t stored = 0
        cdef const char* data = NULL
        if self.result.version < FIRST_VERSION_WITH_CHECKSUM:
            return
        self._check(source_take(&self.source, CHECKSUM_BYTES, &data))
        memcpy(&stored, data, CHECKSUM_BYTES)
        stored = le64toh(stored)
        if stored and stored != computed:        # 0: it was written without one
            raise self._damage(f"the checksum is {stored:016x} and should be {computed:016x}", at)
        self.result.checksum_verified = stored != 0

    cdef _report_progress(self):
        self.next_progress_at = source_position(&self.source) + PROGRESS_BYTES
        if self.progress is not None:
            self.progress(source_position(&self.source), self.size_bytes)

    cdef _count_types(self):
        cdef int rdb_type
        for rdb_type in range(256):
            if self.values_read[rdb_type]:
                self.result.types[(<bytes>value_type_name(rdb_type)).decode()] = self.values_read[rdb_type]

    # ---- opcodes

    cdef _select_database(self):
        cdef uint64_t at = source_position(&self.source)
        cdef uint64_t index = self._length()
        if index >= <uint64_t>self.databases:
            raise self._damage(f"database {index}, but only {self.databases} are configured", at)
        self._end_database()
        self.database = <int>index

    cdef _end_database(self):
        if self.keys_in_database:
            self.result.databases[self.database] = self.result.databases.get(self.database, 0) + self.keys_in_database
            self.result.keys_loaded += self.keys_in_database
        self.keys_in_database = 0

    cdef _read_expiry_ms(self):
        cdef const char* data = NULL
        cdef uint64_t little = 0
        self._check(source_take(&self.source, 8, &data))
        memcpy(&little, data, 8)
        self.expire_at_ms = <int64_t>le64toh(little)

    cdef _read_expiry_s(self):
        cdef const char* data = NULL
        cdef uint32_t little = 0
        self._check(source_take(&self.source, 4, &data))
        memcpy(&little, data, 4)
        self.expire_at_ms = <int64_t><int>le32toh(little) * 1000

    cdef _read_aux(self):
        name = self._string()
        text = self._string()
        if len(self.result.aux) < KEPT_AUX_FIELDS and len(name) + len(text) <= KEPT_AUX_BYTES:
            self.result.aux[name] = text

    cdef _skip_function(self):
        at = source_position(&self.source) - 1
        self._check(source_skip_string(&self.source))
        self.result.warnings.append(f"a function library was left out (offset {at})")

    cdef _skip_module_aux(self):
        """Identifier, then marked values up to an end mark: the same for every module."""
        cdef uint64_t mark
        at = source_position(&self.source) - 1
        self._length()
        mark = self._length()                    # when it was written: a marked integer too
        if mark != MODULE_UINT:
            raise self._damage("auxiliary data of a module in an unknown form", at)
        self._length()
        while True:
            mark = self._length()
            if mark == MODULE_EOF:
                break
            if mark == MODULE_SINT or mark == MODULE_UINT:
                self._length()
            elif mark == MODULE_FLOAT:
                self._check(source_skip(&self.source, 4))
            elif mark == MODULE_DOUBLE:
                self._check(source_skip(&self.source, 8))
            elif mark == MODULE_STRING:
                self._check(source_skip_string(&self.source))
            else:
                raise self._damage("auxiliary data of a module in an unknown form", at)
        self.result.warnings.append(f"auxiliary data of a module was left out (offset {at})")

    # ---- keys

    cdef _read_key(self, uint8_t rdb_type):
        cdef uint64_t at = source_position(&self.source) - 1
        cdef const char* data = NULL
        cdef size_t size = 0
        cdef int64_t expire_at_ms = self.expire_at_ms
        cdef int64_t idle_s = self.idle_s
        cdef int frequency = self.frequency
        self.expire_at_ms = NEVER
        self.idle_s = self.frequency = UNTOLD
        if value_type_name(rdb_type) == NULL:
            raise self._damage(f"{rdb_type} is neither a value type nor an opcode", at)
        self._check(source_string(&self.source, &data, &size))
        self.key.size = 0                        # the view ends with the next read
        if buffer_append(&self.key, data, size) < 0:
            self._raise(NO_MEMORY)
        self.in_key = True
        if not value_type_supported(rdb_type):
            name = (<bytes>value_type_name(rdb_type)).decode()
            raise self._damage(f"a value of a type that is not supported: {name} (RDB type {rdb_type})", at)
        if slot_shard(key_slot(self.key.data, size), self.shards) != <unsigned>self.shard:
            self._check(value_skip(&self.source, rdb_type))
            self.result.keys_skipped += 1
        elif expire_at_ms != NEVER and expire_at_ms < self.now_ms and not self.keep_expired:
            self._check(value_skip(&self.source, rdb_type))
            self.result.keys_expired += 1
        else:
            self._read_value(rdb_type, expire_at_ms, idle_s, frequency, at)
        self.in_key = False

    cdef _read_value(self, uint8_t rdb_type, int64_t expire_at_ms, int64_t idle_s, int frequency, uint64_t at):
        cdef Value value
        cdef int status = value_read(&self.source, rdb_type, &value)
        if status == VALUE_EMPTY:
            self.result.keys_empty += 1
            return
        self._check(status)
        self.values_read[rdb_type] += 1
        if self.keyspace is None:
            value_free(&value)
        else:
            self._keep(&value, expire_at_ms, idle_s, frequency, at)
        self.keys_in_database += 1
        if expire_at_ms != NEVER:
            self.result.keys_with_expiry += 1

    cdef _keep(self, Value* value, int64_t expire_at_ms, int64_t idle_s, int frequency, uint64_t at):
        """Give the value to the keyspace, or free it."""
        cdef uint32_t clock = told_clock(&self.keyspace.recency, self.keyspace.now_ms, idle_s, frequency)
        cdef int status
        if value.kind == STRING:
            status = self.keyspace.adopt_string(
                self.database, self.key.data, self.key.size, value.data, value.size, expire_at_ms, clock
            )
        else:
            status = self.keyspace.adopt(
                self.database, self.key.data, self.key.size, value.kind, &value.native, expire_at_ms, clock
            )
        if status == 0:
            return
        value_free(value)
        if status == 1:
            raise self._damage(f"a key that stands in database {self.database} twice", at)
        self._raise(NO_MEMORY)


cdef _read(
    object path, Keyspace keyspace, int shard, int shards, int databases, int64_t now_ms, bint keep_expired,
    bint preamble, object progress,
):
    cdef _Reader reader = _Reader()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        reader.path = Path(path)
        reader.keyspace = keyspace
        reader.shard, reader.shards = shard, shards
        reader.databases = databases
        reader.now_ms = now_ms
        reader.keep_expired = keep_expired
        reader.expire_at_ms = NEVER
        reader.idle_s = reader.frequency = UNTOLD
        reader.progress = progress
        reader.next_progress_at = PROGRESS_BYTES
        reader.result = LoadResult()
        reader.size_bytes = os.fstat(fd).st_size
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        # Room for a byte, so that an empty key has a place too
        if source_open_file(&reader.source, fd, reader.size_bytes) < 0 or buffer_reserve(&reader.key, 1) < 0:
            raise MemoryError("no memory for reading a snapshot")
        reader._read_file(preamble)
        return reader.result
    finally:
        os.close(fd)


def load(
    path, Keyspace keyspace not None, int shard, int shards, int64_t now_ms, progress=None, *,
    bint keep_expired=False, bint preamble=False,
) -> LoadResult:
    """Load the keys of one shard from the RDB file at `path`.

    `progress(bytes_read, bytes_in_all)` is called every two megabytes and may raise to give up. `keep_expired` is for
    the base of an append-only file, where the log decides about expiry. With `preamble` bytes may follow the end: the
    result's `size_bytes` says where. Raises SnapshotDamaged (the keyspace is then half full and must be thrown away),
    MemoryError, OSError.
    """
    if not 0 <= shard < shards:
        raise ValueError(f"shard {shard} of {shards}")
    return _read(path, keyspace, shard, shards, keyspace.databases, now_ms, keep_expired, preamble, progress)


def check(path, *, bint preamble=False, progress=None) -> LoadResult:
    """Read every value of the RDB file at `path`, keep none. Raises SnapshotDamaged, MemoryError, OSError."""
    return _read(path, None, 0, 1, 1 << 30, 0, True, preamble, progress)
