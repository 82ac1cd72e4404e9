"""DEBUG: for developers and tests; refused unless `enable-debug-command` allows it."""

from __future__ import annotations

import os
import signal
from typing import Any

from mpkv import errors
from mpkv.commands import help_texts
from mpkv.commands.args import floating, integer
from mpkv.commands.spec import ADMIN, LOADING, NO_MULTI, NOSCRIPT, PROTECTED, SETTLED, STALE, command
from mpkv.errors import CommandError
from mpkv.resp.replies import OK, Status

_CONTAINER = ADMIN | NOSCRIPT | LOADING | STALE | PROTECTED
#: In a transaction there is nobody who could wait for what takes its time.
_DEBUG = _CONTAINER | SETTLED | NO_MULTI


@command("DEBUG", arity=-2, flags=_CONTAINER)
def debug(conn: Any, subcommand: bytes, *words: bytes) -> Any:
    """DEBUG -- A container for debugging commands."""
    raise errors.subcommand_syntax("debug", subcommand)


@command("DEBUG HELP", arity=2, flags=_CONTAINER)
def debug_help(conn: Any) -> list[Status]:
    """DEBUG HELP -- Returns helpful text about the different subcommands."""
    return help_texts.lines_of("debug")


@command("DEBUG SLEEP", arity=-3, flags=_DEBUG)
async def debug_sleep(conn: Any, seconds: bytes, *shard: bytes) -> Any:
    """DEBUG SLEEP seconds [shard] -- All shards, or one, do nothing for a while."""
    floating(seconds)
    shards = [integer(shard[0])] if shard else None
    await conn.server.ask_shards("sleep", seconds, shards=shards)
    return OK


@command("DEBUG DIGEST", arity=2, flags=_DEBUG)
async def debug_digest(conn: Any) -> Any:
    """DEBUG DIGEST -- A digest of all data, the same as redis-server's of the same data."""
    return await conn.server.digest()


@command("DEBUG POPULATE", arity=-3, flags=_DEBUG)
async def debug_populate(conn: Any, count: bytes, *options: bytes) -> Any:
    """DEBUG POPULATE count [prefix] [size] -- Creates string keys `prefix:n`."""
    if len(options) > 2 or integer(count) < 0:
        raise errors.SYNTAX
    prefix = options[0] if options else b"key"
    size = options[1] if len(options) > 1 else b"0"
    integer(size)
    await conn.server.ask_shards("populate", b"%d" % conn.database, count, prefix, size)
    return OK


@command("DEBUG RELOAD", arity=-2, flags=_DEBUG)
async def debug_reload(conn: Any, *options: bytes) -> Any:
    """DEBUG RELOAD [NOSAVE] -- Saves, empties the memory and loads the snapshot."""
    if not await conn.server.reload(save=b"nosave" not in {option.lower() for option in options}):
        raise CommandError("ERR Error trying to load the RDB dump, check server logs")
    return OK


@command("DEBUG ROUTE", arity=-3, flags=_DEBUG)
def debug_route(conn: Any, *words: bytes) -> list[Any]:
    """DEBUG ROUTE command [argument ...] -- Which shards would run a command, and its class."""
    return conn.server.explain(words)  # type: ignore[no-any-return]


@command("DEBUG SET-ACTIVE-EXPIRE", arity=3, flags=_DEBUG)
async def debug_set_active_expire(conn: Any, on: bytes) -> Any:
    """DEBUG SET-ACTIVE-EXPIRE 0|1 -- The expiry cycle off or on; keys still expire when they are asked for."""
    await conn.server.ask_shards("set-active-expire", on)
    return OK


@command("DEBUG SHORTCUTS", arity=3, flags=_DEBUG)
async def debug_shortcuts(conn: Any, on: bytes) -> Any:
    """DEBUG SHORTCUTS 0|1 -- The compiled short ways off or on."""
    await conn.server.ask_shards("shortcuts", on)
    return OK


@command("DEBUG FAIL-ALLOCATIONS", arity=-3, flags=_DEBUG)
async def debug_fail_allocations(conn: Any, after: bytes, *options: bytes) -> Any:
    """DEBUG FAIL-ALLOCATIONS after|OFF [SHARD shard] [UNPROMISED] -- Let the store of all shards, or of one, find no
    memory after so many allocations; UNPROMISED in the middle of a change too, which else has its memory beforehand."""
    words = [option.lower() for option in options]
    shards = [integer(words[words.index(b"shard") + 1])] if b"shard" in words[:-1] else None
    left = b"-1" if after.lower() == b"off" else b"%d" % integer(after)
    await conn.server.ask_shards("fail-allocations", left, b"%d" % (b"unpromised" in words), shards=shards)
    return OK


@command("DEBUG EFFECTS", arity=3, flags=_DEBUG)
async def debug_effects(conn: Any, what: bytes) -> Any:
    """DEBUG EFFECTS ON|OFF|GET -- Keep what every write did to the data; of each shard a list of [number, parts,
    [[database, word ...] ...]]."""
    answers = await conn.server.ask_shards("effects", what.lower())
    return answers if what.lower() == b"get" else OK


@command("DEBUG VALIDATE", arity=2, flags=_DEBUG)
async def debug_validate(conn: Any) -> Any:
    """DEBUG VALIDATE -- Checks every invariant of the store on all shards."""
    await conn.server.ask_shards("validate")
    return OK


@command("DEBUG SHARDS", arity=2, flags=_DEBUG)
async def debug_shards(conn: Any) -> Any:
    """DEBUG SHARDS -- Figures of every shard."""
    return await conn.server.ask_shards("statistics")


@command("DEBUG CRASH-WORKER", arity=3, flags=_DEBUG)
def debug_crash_worker(conn: Any, shard: bytes) -> Any:
    """DEBUG CRASH-WORKER shard -- Kill the worker of a shard."""
    number = integer(shard)
    if not 0 <= number < conn.server.shards:
        raise errors.OUT_OF_RANGE
    os.kill(conn.server.board.workers[number].pid, signal.SIGKILL)
    return OK


@command("DEBUG SEGFAULT", arity=-2, flags=_DEBUG)
async def debug_segfault(conn: Any, *shard: bytes) -> Any:
    """DEBUG SEGFAULT [shard] -- Crash the frontend, or the worker of a shard, with an invalid memory access."""
    if not shard:
        conn.server.segfault()
    await conn.server.ask_shards("segfault", shards=[integer(shard[0])])
    return OK


@command("DEBUG CRASH-FRONTEND", arity=-2, flags=_DEBUG)
def debug_crash_frontend(conn: Any, *after_parts: bytes) -> Any:
    """DEBUG CRASH-FRONTEND [parts] -- Kill this process, at once or when so many batches of a coming turn have been
    sent."""
    if after_parts:
        conn.server.router.crash_after_parts = integer(after_parts[0])
        return OK
    os.kill(os.getpid(), signal.SIGKILL)
    return OK


@command("DEBUG JMAP", arity=2, flags=_DEBUG)
async def debug_jmap(conn: Any) -> Any:
    """DEBUG JMAP -- The same as DEBUG SHARDS."""
    return await conn.server.ask_shards("statistics")
