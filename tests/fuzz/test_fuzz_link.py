"""What travels between the frontend and a worker: damaged batches are a fault, or mean something else, and never more.

Both ends are this machine's own processes; a batch is damaged when one of them has gone wrong. The other must then end
for it – its shard is loaded again, or its clients connect anew – and not store, answer or read what nobody sent.
"""

from __future__ import annotations

import logging
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpkv.commands import spec
from mpkv.frontend.link import Clock, Link, LinkFault
from mpkv.frontend.pending import Answer, Exec, Receiver
from mpkv.resp.decoder import decode
from mpkv.sharding import slot_of
from mpkv.shm.blobs import Pool
from mpkv.shm.ring import Ring
from mpkv.shm.segment import Segment
from mpkv.wire import CONTROL_NUMBERS
from mpkv.workers.execute import BatchFault
from tests.fuzz.mutations import fuzz
from tests.helpers.envelopes import (
    BATCH,
    FLAG_FIRST,
    FLAG_NO_BLOCK,
    FLAG_REFERS,
    FLAG_RESP3,
    KIND_ABORTED,
    KIND_BLOCKED,
    KIND_EVENT,
    KIND_EXEC,
    KIND_LATE,
    KIND_REPLY,
    POOL_BYTES,
    REFERENCE,
    REFERRED,
    REQUEST,
    InPages,
    Shard,
    answers_in,
    batch,
    fill_pages,
    reply,
    request,
    segment_for_shards,
    transaction,
)

pytestmark = pytest.mark.timeout(7200)

INSIDE = FLAG_FIRST | FLAG_NO_BLOCK
PAGES = (bytes(range(256)) * 80).ljust(POOL_BYTES, b"\0")

#: A worker's data before each input.
FILLED = batch([
    request("SET string text"), request("SET number 41"), request("RPUSH list a b c 1 2"), request("SADD set a b c"),
    request("SADD numbers 1 2 300"), request("HSET hash f v g 2"), request("ZADD zset 1 a 2.5 b"),
    request([b"SET", b"large", b"x" * 20_000]), request("HSET large-hash " + " ".join(f"f{n} v" for n in range(600))),
])  # fmt: skip

BATCHES = [
    batch([
        request("GET string"), request("SET string other"), request("INCR number"), request("MGET string number none"),
        request("MSET a 1 b 2"), request("DEL a b"), request("EXISTS string"), request("EXPIRE string 100"),
        request("GET large"), request("LPOP list"), request("RPUSH list d"), request("LRANGE list 0 -1"),
    ]),
    batch([
        request("HSET hash f w h 3"), request("HGET hash f"), request("HGETALL hash", flags=FLAG_FIRST | FLAG_RESP3),
        request("SADD set d"), request("SISMEMBER set a"), request("SPOP numbers"), request("ZADD zset 3 c"),
        request("ZSCORE zset a"), request("ZRANGE zset 0 -1"), request("ZPOPMIN zset"), request("HGETALL large-hash"),
    ]),
    batch([
        request("APPEND string more"), request("GETRANGE string 1 3"), request("LINSERT list BEFORE b x"),
        request("SINTERSTORE to set numbers"), request("ZUNIONSTORE sum 2 zset zset WEIGHTS 2 3"),
        request("RENAME string moved"), request("COPY hash copied"), request("SCAN 0"), request("OBJECT|ENCODING list"),
        request("BLPOP none list 0"), request("BLPOP none 0", number=9), request("TYPE set"), request("TTL number"),
    ]),
    batch([
        request("SET string v EX 100 NX"), request("SET string v XX GET KEEPTTL"),
        request("ZADD zset GT CH 5 a 6 b 7 c"), request("SETEX string 10 x"), request("GETSET number 5"),
        request("ZRANGEBYSCORE zset -inf (3 WITHSCORES LIMIT 0 2"), request("ZREVRANGE zset 0 -1 WITHSCORES"),
        request("ZINCRBY zset 1.5 a"), request("HMGET hash f g none"), request("HDEL hash f none"),
        request("HINCRBY hash g 3"), request("LINDEX list 1"), request("LTRIM list 1 2"), request("SREM set a none"),
        request("SMISMEMBER set a b"), request("STRLEN large"),
    ]),
    batch([
        request("TOUCH string"),
        transaction([
            request("GET string", flags=INSIDE), request("LPUSH none x", flags=INSIDE),
            request("INCR set", flags=INSIDE), request("BLPOP list 0", flags=INSIDE),
        ]),
        transaction([]), request("DBSIZE"),
    ]),
    batch([
        request([b"SET", b"key", InPages(0, 20_000)]),
        request([b"MSET", b"a", InPages(16, 4), b"b", InPages(4096, 64)]),
        request([b"HSET", b"hash", InPages(0, 100), InPages(100, 100)]),
        transaction([request([b"SET", b"key", InPages(0, 17_000)], flags=INSIDE | FLAG_REFERS)]), request("GET key"),
    ]),
]  # fmt: skip

#: What a client may ask for as well, and takes gigabytes or minutes.
COSTLY = {spec.load()[name].number for name in ("setrange", "srandmember", "hrandfield", "zrandmember", "lcs")}


@pytest.fixture
def segment() -> Iterator[Segment]:
    with segment_for_shards() as segment:
        yield segment


def filed(data: bytes) -> bytes | None:
    """The batch with every key in its own slot, as far as its envelopes can be read; None if it costs too much.

    The slot is the frontend's word, and a worker does not compute it again: another one that exists would store the key
    where it is not found.
    """
    mended = bytearray(data)
    commands = list(spec.load().values())
    ends = [len(mended)]
    at = BATCH.size
    while at + REQUEST.size <= ends[-1]:
        size, command, slot, *_, argc, _, _, kind, flags, _, _ = REQUEST.unpack_from(mended, at)
        if not REQUEST.size <= size <= ends[-1] - at or size & 7:
            break
        if kind == KIND_EXEC:
            at += REQUEST.size  # its requests follow one another as others do
            continue
        if command in COSTLY:
            return None
        if slot < 1 << 14 and command < len(commands):
            words = [b"", *_words(mended, at, size, argc, flags)]
            keys = commands[command].keys.find(words)
            struct.pack_into("=H", mended, at + 6, slot_of(words[keys[0]]) if keys else 0)
        at += size
    return bytes(mended)


def _words(data: bytearray, at: int, size: int, argc: int, flags: int) -> Iterator[bytes]:
    sizes_at, place, end = at + REQUEST.size, at + REQUEST.size + 4 * argc, at + size
    for word_at in range(sizes_at, min(place, end - 3), 4):
        (word_size,) = struct.unpack_from("=I", data, word_at)
        if flags & FLAG_REFERS and word_size & REFERRED and place + 8 <= end:
            (offset,) = struct.unpack_from("=Q", data, place)
            yield PAGES[offset : offset + (word_size ^ REFERRED)]
            place += 8
        else:
            yield bytes(data[place : place + word_size])
            place += word_size


class _Failures(logging.Handler):
    """Handlers that have failed: on a client's words that is a bug; on what only the frontend sends it may happen."""

    def emit(self, record: logging.LogRecord) -> None:
        assert isinstance(record.args, tuple)
        name = str(record.args[0])
        assert spec.load()[name].flags & spec.Flag.INTERNAL, record.getMessage()


@pytest.fixture
def failures() -> Iterator[None]:
    logger, handler = logging.getLogger("mpkv.workers.execute"), _Failures()
    logger.addHandler(handler)
    logger.propagate = False
    yield
    logger.propagate = True
    logger.removeHandler(handler)


def is_whole(payload: bytes) -> bool:
    """Whether it is a reply, or those of a transaction, of which the first has the number 0."""
    if payload[:1] in (b"", b"\0"):
        return all(is_whole(answer.payload) for answer in answers_in(payload))
    return decode(payload)[1] == len(payload)


@pytest.mark.usefixtures("failures")
def test_mutated_batches_are_run_or_a_fault(segment: Segment) -> None:
    fill_pages(segment, PAGES)
    outcomes = {"run": 0, "fault": 0}

    def target(data: bytes, chance: random.Random) -> None:
        mended = filed(data)
        if mended is None:
            return
        shard = Shard(segment)
        shard.executor.use_shortcuts(chance.random() < 0.8)
        shard.run(FILLED)
        try:
            answers = shard.run(mended)
        except BatchFault:
            outcomes["fault"] += 1
        else:
            outcomes["run"] += 1
            for answer in answers:
                assert answer.kind not in (KIND_REPLY, KIND_LATE) or is_whole(answer.payload)
        shard.keyspace.validate()

    fuzz(BATCHES, target, least=300)
    assert min(outcomes.values()) > 10


# -- the other way -----------------------------------------------------------------------------------------------------

NOTE = struct.pack("=qqIHH", 1_000, 2_000, 3, 0, 0)
#: Two commands, answered inside the reply to their EXEC.
MEMBERS = reply(0, b"+OK\r\n") + reply(1, b"*2\r\n:1\r\n:2\r\n", note=NOTE)
REPLIES = [
    batch([
        reply(1, b"+OK\r\n"), reply(2, b"$5\r\nhello\r\n", note=NOTE), reply(3, b":7\r\n"), reply(4, MEMBERS),
        reply(5, b""),
    ]),
    batch([
        reply(1, struct.pack("=qqq", 100, 1, 0), KIND_BLOCKED), reply(0, b"news", KIND_EVENT),
        reply(1, b"$1\r\na\r\n", KIND_LATE), reply(2, b"+OK\r\n"), reply(3, b"-ERR no\r\n", note=NOTE),
        reply(4, b"", KIND_ABORTED),
    ]),
    batch([reply(1, REFERENCE.pack(0, 20_000), refers=1), reply(2, REFERENCE.pack(64, 100), refers=1, note=NOTE)]),
]  # fmt: skip
REQUESTS = range(1, 6)
EXEC = 4


class Frontend:
    """One link with a few requests on their way, of which one is a transaction; and what was delivered."""

    def __init__(self, segment: Segment, folder: Path) -> None:
        self.delivered: list[tuple[int, int | None]] = []
        self.link = Link(0, Clock(), lambda *_: None)
        rings = Ring(segment, 0), Ring(segment, 1)
        self.link.open(f"ipc://{folder}/nobody", 1, 1, *rings, Pool(segment, 1))
        self.replies = rings[1]
        for number in REQUESTS:
            receiver: Receiver = Answer(lambda kind, _, number=number: self.delivered.append((number, kind)))
            if number == EXEC:
                whole = Exec(receiver, 0, 2, 2)
                whole.queue = [(spec.load()["get"], [b"GET", b"key"])] * 2
                whole.add_part([(None, 0), (None, 1)])
                receiver = whole
            self.link.control(CONTROL_NUMBERS["saved"], number, [b"0"], receiver)
        self.link.flush_now()

    def take(self, data: bytes) -> None:
        assert self.replies.put(data)
        self.link.drain_rest()


@pytest.mark.parametrize("data", REPLIES)
def test_replies_that_are_whole_are_delivered(segment: Segment, tmp_path: Path, data: bytes) -> None:
    frontend = Frontend(segment, tmp_path)
    frontend.take(data)
    kinds = {2: [0, 0], 5: [0, 0, 0, 0, 0], 6: [1, 2, 0, 0, 0]}[struct.unpack_from("=I", data, 32)[0]]
    assert [kind for _, kind in frontend.delivered] == kinds
    frontend.link.close()


def test_mutated_replies_are_delivered_in_order_or_a_fault(segment: Segment, tmp_path: Path) -> None:
    outcomes = {"delivered": 0, "fault": 0}

    def target(data: bytes, chance: random.Random) -> None:
        frontend = Frontend(segment, tmp_path)
        try:
            frontend.take(data)
            outcomes["delivered"] += 1
        except LinkFault:
            outcomes["fault"] += 1
        finally:
            frontend.link.close()
        answered = [number for number, kind in frontend.delivered if kind != KIND_LATE]
        assert answered == list(REQUESTS)[: len(answered)]
        late = [number for number, kind in frontend.delivered if kind == KIND_LATE]
        assert len(late) == len(set(late))
        assert all((number, KIND_BLOCKED) in frontend.delivered for number in late)
        assert {kind for _, kind in frontend.delivered} <= {KIND_REPLY, KIND_BLOCKED, KIND_LATE, KIND_ABORTED}

    fuzz(REPLIES, target)
    assert min(outcomes.values()) > 10


@pytest.mark.parametrize(
    "members",
    [
        MEMBERS[:-8], MEMBERS + MEMBERS, MEMBERS + bytes(8), b"", reply(0, b"+OK\r\n"),
        reply(0, b"+OK\r\n") + reply(1, b"x", kind=9),
    ],
)  # fmt: skip
def test_a_transaction_that_is_answered_in_part_or_twice_is_a_fault(
    segment: Segment, tmp_path: Path, members: bytes
) -> None:
    frontend = Frontend(segment, tmp_path)
    with pytest.raises(LinkFault):
        frontend.take(batch([*(reply(number, b"+OK\r\n") for number in (1, 2, 3)), reply(EXEC, members)]))
    assert len(frontend.delivered) == 3
    frontend.link.close()
