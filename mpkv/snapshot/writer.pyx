"""Writing one shard's part of a snapshot: the walk over the keyspace.

A part is the inside of an RDB file: for each database that has keys SELECTDB, RESIZEDB and the keys, with neither
header nor end. The parts of all shards, one after another between a header and an end, are one valid file (`join`): a
database may be selected more than once.

The walk runs in the snapshot child. It therefore allocates nothing, writes to nothing but its own stack, takes no
reference, and reports failure as an errno (R9). Keys that have expired but were not deleted yet are written with
their expiry: the reader drops them, and the child needs no clock.
"""

from libc.errno cimport EINTR, errno
from libc.string cimport memset
from libc.stdint cimport int64_t, uint8_t, uint32_t
from posix.unistd cimport fsync

from mpkv.snapshot.format cimport (
    OP_EXPIRETIME_MS,
    OP_FREQ,
    OP_IDLE,
    OP_RESIZEDB,
    OP_SELECTDB,
    Output,
    output_byte,
    output_bytes,
    output_flush,
    output_length,
    output_open,
    output_string,
)
from mpkv.snapshot.values cimport value_type, value_write
from mpkv.workers.keyspace cimport (
    STRING,
    entry_clock,
    entry_expire_at,
    entry_key,
    entry_native,
    entry_string,
    entry_t,
    entry_type,
    frequency_of,
    idle_seconds_of,
    keyspace_position,
    recency_t,
)

cdef extern from "<endian.h>" nogil:
    uint64_t htole64(uint64_t)

cdef enum:
    BUFFER_BYTES = 64 * 1024     # on the stack: large enough for cheap system calls, small enough for any thread
    STRING_SCRATCH_BYTES = 24    # what entry_string asks for
    NEVER = -1


cdef void _write_expiry(Output* output, int64_t at_ms) noexcept nogil:
    cdef uint64_t little = htole64(<uint64_t>at_ms)
    output_byte(output, OP_EXPIRETIME_MS)
    output_bytes(output, <const char*>&little, 8)


cdef void _write_recency(Output* output, const recency_t* recency, uint32_t clock, int64_t now_ms) noexcept nogil:
    """How long ago or how often a key was used, if the policy goes by that: a restart must not make all keys alike."""
    if recency.age:
        output_byte(output, OP_IDLE)
        output_length(output, idle_seconds_of(clock, now_ms))
    elif recency.frequency:
        output_byte(output, OP_FREQ)
        output_byte(output, <uint8_t>frequency_of(recency, clock, now_ms))


cdef int _write_entry(Output* output, Keyspace keyspace, const entry_t* entry) noexcept nogil:
    """One key: its expiry if it has one, what eviction goes by, type, key, value."""
    cdef char[STRING_SCRATCH_BYTES] scratch
    cdef const char* data
    cdef size_t size
    cdef int kind = entry_type(entry)
    cdef int64_t expire_at_ms = entry_expire_at(entry)
    if expire_at_ms != NEVER:
        _write_expiry(output, expire_at_ms)
    _write_recency(output, &keyspace.recency, entry_clock(entry), keyspace.now_ms)
    output_byte(output, value_type(kind))
    entry_key(entry, &data, &size)
    output_string(output, data, size)
    if kind != STRING:
        return value_write(output, kind, entry_native(entry))
    entry_string(entry, scratch, &data, &size)
    return output_string(output, data, size)


cdef uint64_t _write_database(Output* output, Keyspace keyspace, int database) noexcept nogil:
    """One database; how many keys."""
    cdef keyspace_position position
    cdef entry_t* entry
    cdef uint64_t keys = 0
    output_byte(output, OP_SELECTDB)
    output_length(output, database)
    output_byte(output, OP_RESIZEDB)
    output_length(output, keyspace.size(database))
    output_length(output, keyspace.volatile(database))
    memset(&position, 0, sizeof(position))
    while not output.error:
        entry = keyspace.next(database, &position)
        if entry == NULL:
            break
        _write_entry(output, keyspace, entry)
        keys += 1
    return keys


cdef int _sync(int fd) noexcept nogil:
    while fsync(fd) < 0:
        if errno != EINTR:
            return errno
    return 0


cdef int write_part(Keyspace keyspace, int fd, part_result* result) noexcept nogil:
    """Write all databases to `fd` and fsync it; 0, or the errno, which also stands in `result`."""
    cdef char[BUFFER_BYTES] buffer
    cdef Output output
    cdef int database
    memset(result, 0, sizeof(part_result))
    output_open(&output, fd, buffer, BUFFER_BYTES)
    for database in range(keyspace.databases):
        if keyspace.size(database):
            result.keys += _write_database(&output, keyspace, database)
    output_flush(&output)
    result.size_bytes = output.size_bytes
    result.crc64 = output.crc64
    result.status = output.error if output.error else _sync(fd)
    return <int>result.status
