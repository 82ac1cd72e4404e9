# Writing one shard's part of a snapshot. See writer.pyx.

from libc.stdint cimport uint64_t

from mpkv.workers.keyspace cimport Keyspace

# What became of a part; the snapshot child sends these very bytes through its pipe.
cdef struct part_result:
    uint64_t status              # 0, or the errno of what failed
    uint64_t keys
    uint64_t size_bytes
    uint64_t crc64
    uint64_t private_dirty_bytes     # of the process that wrote: what copy-on-write has cost

cdef int write_part(Keyspace keyspace, int fd, part_result* result) noexcept nogil
