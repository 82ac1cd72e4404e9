"""What the server takes from the machine, and what of it is whose: for INFO, MEMORY STATS and MEMORY DOCTOR.

Three measures, each part of the next::

    used        what keys, values and what holds them together take to the byte, over all shards: what maxmemory limits
    allocator   active: with what is free between pieces; resident: with pages that are kept (`mpkv.types.allocator`)
    rss         what the kernel says that all processes hold: with the interpreters, clients' buffers, what is under way
                between processes, and the shared segment once
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mpkv.metrics.source import Reading


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes, over all processes."""

    used: int
    tables: int  #: of it: what holds the keys together
    startup: int  #: of it: what there is without any key
    peak: int  #: the most that was ever used
    active: int
    resident: int
    rss: int
    clients: int  #: buffers of clients: of what is resident

    @classmethod
    def of(cls, reading: Reading) -> Memory:
        used = reading.count("used_memory")
        return cls(
            used=used, tables=reading.count("used_memory_overhead"), startup=reading.count("used_memory_startup"),
            peak=max(reading.count("used_memory_peak"), used), active=reading.count("allocator_active"),
            resident=reading.count("allocator_resident"), rss=reading.usage.resident_bytes,
            clients=reading.count("client_memory_bytes"),
        )  # fmt: skip

    @property
    def dataset(self) -> int:
        """Keys and values."""
        return max(0, self.used - self.tables)

    @property
    def net(self) -> int:
        """Without what is there from the start."""
        return max(0, self.used - self.startup)


def ratio(numerator: float, denominator: float) -> float:
    """0 where there is nothing to compare with."""
    return numerator / denominator if denominator else 0.0


def statistics(reading: Reading) -> dict[bytes, Any]:
    """What MEMORY STATS answers: Redis' names in Redis' order."""
    memory, databases = reading.memory, reading.databases
    keys = sum(row.keys for row in databases.values())
    return {
        b"peak.allocated": memory.peak,
        b"total.allocated": memory.used,
        b"startup.allocated": memory.startup,
        b"replication.backlog": 0,
        b"clients.slaves": 0,
        b"clients.normal": memory.clients,
        b"cluster.links": 0,
        b"aof.buffer": 0,
        b"lua.caches": 0,
        b"functions.caches": 0,
        **{
            b"db.%d" % index: {
                b"overhead.hashtable.main": row.table_bytes,
                b"overhead.hashtable.expires": 0,  # an expiry stands in its key's entry
                b"overhead.hashtable.slot-to-keys": 0,  # and the tables are one for each slot
            }
            for index, row in databases.items()
        },
        b"overhead.total": memory.tables,
        b"keys.count": keys,
        b"keys.bytes-per-key": memory.net // keys if keys else 0,
        b"dataset.bytes": memory.dataset,
        b"dataset.percentage": 100 * ratio(memory.dataset, memory.net),
        b"peak.percentage": 100 * ratio(memory.used, memory.peak),
        b"allocator.allocated": memory.used,
        b"allocator.active": memory.active,
        b"allocator.resident": memory.resident,
        b"allocator-fragmentation.ratio": ratio(memory.active, memory.used),
        b"allocator-fragmentation.bytes": memory.active - memory.used,
        b"allocator-rss.ratio": ratio(memory.resident, memory.active),
        b"allocator-rss.bytes": memory.resident - memory.active,
        b"rss-overhead.ratio": ratio(memory.rss, memory.resident),
        b"rss-overhead.bytes": memory.rss - memory.resident,
        b"fragmentation": ratio(memory.rss, memory.used),
        b"fragmentation.bytes": memory.rss - memory.used,
    }


# ---- MEMORY DOCTOR

_MEGABYTE: Final = 1 << 20
#: Less data than this says nothing about how memory is used.
_ENOUGH: Final = 5 * _MEGABYTE
#: Less than this is not worth a word.
_WORTH_A_WORD: Final = 10 * _MEGABYTE
#: What a process may take beside its data: interpreter, libraries, requests and replies under way.
_OF_A_PROCESS: Final = 100 * _MEGABYTE
_OF_A_CLIENT: Final = 200 << 10


def _megabytes(size_bytes: float) -> str:
    return f"{size_bytes / _MEGABYTE:.1f} MB"


def _much_more(part: int, whole: int, times: float) -> bool:
    """Whether one is so many times the other, and the difference is worth a word."""
    return part > times * whole and part - whole > _WORTH_A_WORD


def _was_larger(reading: Reading) -> str | None:
    memory = reading.memory
    if not _much_more(memory.peak, memory.used, 1.5):
        return None
    return (
        f"There was once more: {_megabytes(memory.peak)} at the peak, {_megabytes(memory.used)} now. That is no fault, "
        "but the peak is what the machine must have room for, should it come again."
    )


def _has_holes(reading: Reading) -> str | None:
    memory = reading.memory
    if not _much_more(memory.active, memory.used, 1.1):
        return None
    return (
        f"Between the values {_megabytes(memory.active - memory.used)} are free, which only values of about the same "
        "sizes can use again. Deleting at random does that. It goes as such values are written or the others are "
        "deleted; DEBUG RELOAD or a restart removes it at once. MEMORY MALLOC-STATS says which sizes are concerned."
    )


def _keeps_pages(reading: Reading) -> str | None:
    memory = reading.memory
    if not _much_more(memory.resident, memory.active, 1.1):
        return None
    return (
        f"{_megabytes(memory.resident - memory.active)} are empty and kept for what comes next. The shards give them "
        "back by and by, but not while a snapshot is being written; MEMORY PURGE gives them back now."
    )


def _processes_are_large(reading: Reading) -> str | None:
    memory = reading.memory
    allowed = _OF_A_PROCESS * (2 + len(reading.workers))
    if memory.rss - memory.resident - memory.clients <= allowed:
        return None
    return (
        f"The processes hold {_megabytes(memory.rss - memory.resident)} beside the data: more than interpreters need. "
        "Look for large requests and replies (client_recent_max_output_buffer, mpkv_command_reply_bytes) and for long "
        "queues (mpkv_queue_bytes)."
    )


def _clients_are_large(reading: Reading) -> str | None:
    memory, clients = reading.memory, reading.count("connected_clients")
    if not clients or memory.clients // clients <= _OF_A_CLIENT:
        return None
    return (
        f"Clients' buffers hold {_megabytes(memory.clients)}, {memory.clients // clients >> 10} KB for each of "
        f"{clients}. Who does not read its replies, or sends large requests, shows in CLIENT LIST (omem, qbuf); "
        "client-output-buffer-limit and client-query-buffer-limit bound it."
    )


def _shards_differ(reading: Reading) -> str | None:
    sizes = [block.counter("used_memory") for block in reading.workers]
    largest = max(sizes)
    others = (sum(sizes) - largest) // max(1, len(sizes) - 1)
    if len(sizes) == 1 or not _much_more(largest, others, 2):
        return None
    return (
        f"Shard {sizes.index(largest)} holds {_megabytes(largest)}, the others {_megabytes(others)} on average. A very "
        "large value lies there, or many keys with one {hash tag}: redis-cli --memkeys finds the former."
    )


def _is_near_the_limit(reading: Reading) -> str | None:
    memory, limit = reading.memory, reading.config.maxmemory
    if not limit and memory.rss > 0.75 * reading.system_memory_bytes:
        return (
            f"{_megabytes(memory.rss)} of the machine's {_megabytes(reading.system_memory_bytes)} are in use, and "
            "there is no maxmemory: the kernel may end a process before anybody else notices."
        )
    if limit and reading.config.maxmemory_policy == "noeviction" and memory.used > 0.9 * limit:
        return (
            f"{_megabytes(memory.used)} of {_megabytes(limit)} (maxmemory) are used. Beyond it writes are refused, as "
            "maxmemory-policy is noeviction."
        )
    return None


_LOOKS: Final[tuple[Callable[[Reading], str | None], ...]] = (
    _is_near_the_limit, _was_larger, _has_holes, _keeps_pages, _processes_are_large, _clients_are_large, _shards_differ,
)  # fmt: skip


def _findings(reading: Reading) -> Iterator[str]:
    for look in _LOOKS:
        finding = look(reading)
        if finding is not None:
            yield finding


def report(reading: Reading) -> str:
    """What MEMORY DOCTOR says."""
    if reading.memory.used < _ENOUGH:
        return "There is hardly any data here, so its memory cannot be judged. Ask again when there is more.\n"
    findings = list(_findings(reading))
    if not findings:
        return "Nothing is wrong with this server's memory.\n"
    lines = [f"{number}. {finding}" for number, finding in enumerate(findings, 1)]
    return "\n".join(["What stands out in this server's memory:", "", *lines]) + "\n"
