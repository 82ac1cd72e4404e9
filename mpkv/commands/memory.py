"""MEMORY: what keys and the whole server take, and giving back what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from mpkv import errors, process
from mpkv.commands import across, help_texts
from mpkv.commands.args import Arguments
from mpkv.commands.faces import Db
from mpkv.commands.spec import INTERNAL, LOADING, READONLY, SECOND_KEY, SETTLED, STALE, Across, command
from mpkv.resp.replies import OK, Status, Verbatim
from mpkv.types import allocator

#: Elements by which a large value is judged, unless the client says otherwise; 0 = all.
DEFAULT_SAMPLES: Final = 5

_OF_ALL_MEMORY: Final = "Depends on how much memory is allocated, could be slow"


@command(
    "MEMORY USAGE", arity=-3, keys=SECOND_KEY, flags=READONLY, since="4.0.0",
    complexity="O(N) where N is the number of samples.",
)  # fmt: skip
def memory_usage(db: Db, key: bytes, *options: bytes) -> int | None:
    """MEMORY USAGE key [SAMPLES count] -- Returns the bytes that a key and its value take."""
    samples = DEFAULT_SAMPLES
    args = Arguments(options)
    while args.left:
        if not args.take(b"samples", needs=1):
            raise errors.SYNTAX
        samples = args.integer()
        if samples < 0:
            raise errors.SYNTAX
    return db.memory_of(key, samples)


@command("MEMORY STATS", arity=2, flags=SETTLED, since="4.0.0")
def memory_stats(conn: Any) -> dict[bytes, Any]:
    """MEMORY STATS -- Returns details about the memory of the server."""
    return conn.server.memory_statistics()  # type: ignore[no-any-return]


@command("MEMORY DOCTOR", arity=2, flags=SETTLED, since="4.0.0")
def memory_doctor(conn: Any) -> Verbatim:
    """MEMORY DOCTOR -- Returns a report about what is wrong with the memory, for a person to read."""
    return Verbatim(conn.server.memory_report())


# ---- the allocators of all shards


def _one_text(request: Sequence[bytes], parts: across.Parts) -> Verbatim:
    return Verbatim("\n".join(text.decode() for _, text in parts))


@command(
    "MEMORY MALLOC-STATS", arity=2, since="4.0.0", complexity=_OF_ALL_MEMORY,
    across=Across(_one_text, everywhere=True),
)  # fmt: skip
def memory_malloc_stats(db: Db) -> Verbatim:
    """MEMORY MALLOC-STATS -- Returns what the allocator of each shard has, for a person to read."""
    return Verbatim(f"shard {db.shard}\n{allocator.report()}")


_PURGE_SHARD: Final = b"_MEMORY_PURGE"


def _purge_part(request: Sequence[bytes], keys: Sequence[int], holds_first: bool) -> list[bytes]:
    return [_PURGE_SHARD]


def _purged(request: Sequence[bytes], parts: across.Parts) -> Status:
    """The shards have done it; what is left is the process that puts their answers together."""
    process.trim_heap()
    return OK


@command(
    "MEMORY PURGE", arity=2, since="4.0.0", complexity=_OF_ALL_MEMORY,
    across=Across(_purged, everywhere=True, part=_purge_part),
)  # fmt: skip
def memory_purge(db: Db) -> Status:
    """MEMORY PURGE -- Gives memory that is kept for what comes next to the system."""
    allocator.give_back()
    return OK


@command(_PURGE_SHARD.decode(), arity=1, flags=INTERNAL)
def purge_shard(db: Db) -> Status:
    """_MEMORY_PURGE -- a shard's part of MEMORY PURGE."""
    allocator.give_back()
    return OK


@command("MEMORY HELP", arity=2, flags=LOADING | STALE, since="4.0.0")
def memory_help(conn: Any) -> list[Status]:
    """MEMORY HELP -- Returns helpful text about the different subcommands."""
    return help_texts.lines_of("memory")
