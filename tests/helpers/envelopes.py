"""Batches of envelopes as `mpkv/wire.pxd` lays them out, made and read without mpkv; and a worker that they are fed to.

Every field of a header can be said, wrong ones too: that is what tests of damaged batches need.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from mpkv.commands import spec
from mpkv.resp.replies import OK
from mpkv.sharding import slot_of
from mpkv.shm.blobs import Pool
from mpkv.shm.board import Block
from mpkv.shm.layout import FIRST_WORKER
from mpkv.shm.segment import Segment
from mpkv.workers.blocking import Waiters
from mpkv.workers.evict import Evictor
from mpkv.workers.execute import Executor
from mpkv.workers.keyspace import Keyspace

MAGIC = 0x6D706B76
#: magic, epoch, counter, now_ms, last_number, count, sent_us
BATCH = struct.Struct("=IIQqQII")
#: size, command, slot, number, client, argc, database, parts, kind, flags, counted_as, queued_us
REQUEST = struct.Struct("=IHHQQIHHBBHI")
#: number, size, kind, refers, note_size
REPLY = struct.Struct("=QQHHI")
#: offset and size of what lies in pages
REFERENCE = struct.Struct("=QQ")

KIND_REQUEST, KIND_EXEC, KIND_CONTROL = range(3)
KIND_REPLY, KIND_BLOCKED, KIND_LATE, KIND_ABORTED, KIND_EVENT = range(5)
FLAG_RESP3, FLAG_NO_BLOCK, FLAG_FIRST, FLAG_REFERS = 1, 2, 32, 64
REFERRED = 0x80000000

POOL_BYTES = 1 << 20
LARGE_BYTES = 16 * 1024


class InPages(NamedTuple):
    """A word that lies in shared pages."""

    offset: int
    size: int


class Answer(NamedTuple):
    number: int
    kind: int
    payload: bytes


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def envelope(words: Sequence[bytes | InPages], body: bytes | None = None, **fields: int) -> bytes:
    """An envelope of any kind; `body` instead of words for a transaction."""
    if body is None:
        sizes = [word.size | REFERRED if isinstance(word, InPages) else len(word) for word in words]
        body = struct.pack(f"={len(words)}I", *sizes)
        body += b"".join(struct.pack("=Q", word.offset) if isinstance(word, InPages) else word for word in words)
        body = padded(body)
    said = {
        "size": REQUEST.size + len(body), "command": 0, "slot": 0, "number": 1, "client": 7, "argc": len(words),
        "database": 0, "parts": 1, "kind": KIND_REQUEST, "flags": FLAG_FIRST, "counted_as": fields.get("command", 0),
        "queued_us": 0,
    } | fields  # fmt: skip
    return REQUEST.pack(*said.values()) + body


def request(text: str | Sequence[bytes | InPages], **fields: int) -> bytes:
    """A request for a command, whose name is the first word."""
    words = text.encode().split() if isinstance(text, str) else list(text)
    name = words[0].decode() if isinstance(words[0], bytes) else ""
    command = spec.load()[name.replace("|", " ").lower().replace(" ", "|")]
    slot = slot_of(words[1]) if len(words) > 1 and isinstance(words[1], bytes) else 0
    flags = FLAG_FIRST | (FLAG_REFERS if any(isinstance(word, InPages) for word in words) else 0)
    return envelope(words[1:], **{"command": command.number, "slot": slot, "flags": flags} | fields)


def transaction(requests: Sequence[bytes], **fields: int) -> bytes:
    """Requests that are run as one; those that may not wait are not asked whether they would."""
    number = spec.load()["exec"].number
    said = {"command": number, "kind": KIND_EXEC, "argc": len(requests)} | fields
    return envelope((), b"".join(requests), **said)


def batch(envelopes: Sequence[bytes], **fields: int) -> bytes:
    said = {
        "magic": MAGIC, "epoch": 1, "counter": 1, "now_ms": 1_700_000_000_000, "last_number": 0,
        "count": len(envelopes), "sent_us": 0,
    } | fields  # fmt: skip
    return BATCH.pack(*said.values()) + b"".join(envelopes)


def reply(number: int, payload: bytes, kind: int = KIND_REPLY, refers: int = 0, note: bytes = b"") -> bytes:
    return REPLY.pack(number, len(payload), kind, refers, len(note)) + padded(payload) + note


def answers_in(data: bytes) -> list[Answer]:
    """Reply envelopes back to back; they must add up."""
    at, found = 0, []
    while at < len(data):
        number, size, kind, refers, note_size = REPLY.unpack_from(data, at)
        at += REPLY.size
        assert at + size <= len(data) and not refers
        found.append(Answer(number, kind, data[at : at + size]))
        at += -(-size // 8) * 8 + note_size
    assert at == len(data)
    return found


class Shard:
    """What a worker is made of, without process and link: `run` gives it a batch."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.block = Block(segment, FIRST_WORKER)
        self.keyspace = Keyspace(16)
        databases = [self.keyspace.database(index) for index in range(16)]
        self.batches: list[bytes] = []
        self.executor = Executor(
            self.keyspace, databases, spec.load(), self.block, self.batches.append, lambda *_: OK,
            Waiters(self.keyspace, databases), Evictor(self.keyspace, [self.block]), request_pages=Pool(segment, 0),
        )  # fmt: skip

    def run(self, data: bytes) -> list[Answer]:
        """The answers to a batch; raises what the worker's process would die of."""
        self.batches.clear()
        self.executor.run_batch(data)
        return [answer for sent in self.batches for answer in answers_in(sent[BATCH.size :])]


@contextmanager
def segment_for_shards() -> Iterator[Segment]:
    """Shared memory with pages for requests."""
    segment = Segment.create(1, list(spec.load()), pool_bytes=POOL_BYTES)
    try:
        yield segment
    finally:
        segment.close()


def fill_pages(segment: Segment, content: bytes) -> None:
    """Bring these bytes to the beginning of the frontend's pages; behind them are zeroes."""
    pool = Pool(segment, 0)
    pool.own()
    pool.reset(1)
    pool.listen(1)
    pool.view_of(pool.take_run(POOL_BYTES))[: len(content)] = content
