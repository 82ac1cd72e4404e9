"""What DEBUG asks of one shard: digests, filling, tracing effects, switching mechanisms off."""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable
from typing import Any

from mpkv.commands.args import float_text
from mpkv.crash import handler
from mpkv.resp.replies import OK
from mpkv.sharding import shard_of
from mpkv.types import allocator


def run(worker: Any, words: list[bytes]) -> Any:
    """Answer one question; `words` are its name and arguments."""
    return QUESTIONS[words[0].decode()](worker, *words[1:])


def sleep(worker: Any, seconds: bytes) -> Any:
    """Do nothing for a while. The shard hangs, but its heart beats: the supervisor must not end it."""
    end = time.monotonic() + float(seconds)
    while (left_s := end - time.monotonic()) > 0:
        worker.block.heartbeat()
        time.sleep(min(left_s, 0.5))
    return OK


def digest(worker: Any) -> list[bytes]:
    """For each database the XOR of its keys' digests, as Redis computes them: shards' digests XOR to the whole one."""
    worker.publish()  # which databases are empty the frontend reads from the board
    return [_database_digest(worker.keyspace, index) for index in range(worker.keyspace.databases)]


def digest_value(worker: Any, database: bytes, key: bytes) -> bytes:
    """The digest of one key's value; zeroes if it is absent."""
    for found, kind, value, expire_at in worker.keyspace.walk(int(database)):
        if found == key:
            return _value_digest(bytes(20), kind, value, expire_at)
    return bytes(20)


def populate(worker: Any, database: bytes, count: bytes, prefix: bytes, size: bytes) -> Any:
    """This shard's share of `count` string keys ``prefix:n``; what is there stays."""
    db = worker.databases[int(database)]
    for number in range(int(count)):
        key = b"%s:%d" % (prefix, number)
        if shard_of(key, worker.shards) == worker.shard and not db.exists(key):
            value = b"value:%d" % number
            db.set_string(key, value.ljust(int(size), b"\x00")[: int(size)] if int(size) else value)
    return OK


def set_active_expire(worker: Any, on: bytes) -> Any:
    """The expiry cycle on or off."""
    worker.expire_cycle.enabled = on == b"1"
    return OK


def shortcuts(worker: Any, on: bytes) -> Any:
    """The compiled short ways on or off."""
    worker.executor.use_shortcuts(on == b"1")
    return OK


def fail_allocations(worker: Any, left: bytes, unpromised: bytes) -> Any:
    """The store finds no memory after so many allocations; -1 ends it."""
    allocator.promise_nothing(unpromised == b"1")
    allocator.drop_reserve()
    allocator.fail_after(None if left == b"-1" else int(left))
    return OK


def effects(worker: Any, what: bytes) -> Any:
    """``on``: keep every effect; ``off``; ``get``: those kept since, as [number, parts, [[database, word, …], …]]."""
    if what == b"on":
        worker.kept_effects = []
        worker.executor.want_effects(lambda *record: worker.kept_effects.append(record))
    elif what == b"off":
        worker.executor.want_effects(None)
    else:
        kept, worker.kept_effects = worker.kept_effects, []
        return [[number, parts, [[database, *words] for database, words in record]] for number, parts, record in kept]
    return OK


def validate(worker: Any) -> Any:
    """Check every invariant of the store."""
    worker.keyspace.validate(alone=True)
    allocator.validate()
    return OK


def statistics(worker: Any) -> list[Any]:
    """Figures of this shard, as name, value pairs."""
    keyspace = worker.keyspace
    return [
        b"shard", worker.shard, b"keys", sum(keyspace.counts(index)[0] for index in range(keyspace.databases)),
        b"used_memory", keyspace.used_memory(), b"dirty", keyspace.dirty, b"blocked", len(worker.waiters),
        b"epoch", worker.link.epoch, b"batches", worker.link.received, b"last_number", worker.executor.last_number,
        b"incarnation", worker.incarnation,
    ]  # fmt: skip


def segfault(worker: Any) -> Any:
    """Crash."""
    handler.segfault()


QUESTIONS: dict[str, Callable[..., Any]] = {
    "sleep": sleep, "digest": digest, "digest-value": digest_value, "populate": populate,
    "set-active-expire": set_active_expire, "shortcuts": shortcuts, "effects": effects, "validate": validate,
    "fail-allocations": fail_allocations,
    "statistics": statistics, "segfault": segfault,
}  # fmt: skip


# -- digests: the algorithm of redis-server's DEBUG DIGEST, so that both can be compared -------------------------------


def _sha(*parts: bytes) -> bytes:
    return hashlib.sha1(b"".join(parts), usedforsecurity=False).digest()


def _xor(a: bytes, b: bytes) -> bytes:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).to_bytes(20, "big")


def _mix(digest: bytes, data: bytes) -> bytes:
    """Order matters."""
    return _sha(_xor(digest, _sha(data)))


def _xor_in(digest: bytes, data: bytes) -> bytes:
    """Order does not matter."""
    return _xor(digest, _sha(data))


def _value_digest(digest: bytes, kind: str, value: Any, expire_at: int) -> bytes:
    digest = _mix(digest, struct.pack(">I", KIND_NUMBERS[kind]))
    if kind == "string":
        digest = _mix(digest, value)
    elif kind == "list":
        for element in value:
            digest = _mix(digest, element)
    elif kind == "set":
        for member in value:
            digest = _xor_in(digest, member)
    elif kind == "hash":
        for field, content in value.items() if isinstance(value, dict) else value:
            digest = _xor_in(digest, _mix(_mix(bytes(20), field), content))
    else:
        for member, score in value.items() if isinstance(value, dict) else value:
            digest = _xor_in(digest, _mix(_mix(bytes(20), member), float_text(score)))
    if expire_at != -1:
        digest = _xor_in(digest, b"!!expire!!")
    return digest


KIND_NUMBERS = {"string": 0, "list": 1, "set": 2, "zset": 3, "hash": 4}


def _database_digest(keyspace: Any, index: int) -> bytes:
    total = bytes(20)
    for key, kind, value, expire_at in keyspace.walk(index):
        total = _xor_in(total, _value_digest(_mix(bytes(20), key), kind, value, expire_at))
    return total
