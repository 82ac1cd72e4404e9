"""What a link does with requests when its worker dies: what may have run is not sent again, the rest is, in order."""

from __future__ import annotations

import gc
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import zmq

from mpkv.commands import spec as commands
from mpkv.crash.report import name_of
from mpkv.frontend.intents import IntentRing
from mpkv.frontend.link import Clock, Link, LinkFault, link_generation
from mpkv.frontend.memory import MemoryWatch
from mpkv.frontend.pending import Answer
from mpkv.frontend.router import Router
from mpkv.shm.blobs import Pool
from mpkv.shm.board import Block
from mpkv.shm.layout import FRONTEND
from mpkv.shm.segment import Segment
from mpkv.wire import CONTROL_NUMBERS
from mpkv.workers.execute import BatchFault
from tests.faults.token_load import wait_until
from tests.helpers.envelopes import Shard

#: Of a batch: epoch, counter, number of envelopes; of an envelope: size, number, kind, flags (see wire.pxd).
BATCH = struct.Struct("=4xIQ8x8xI4x")
ENVELOPE = struct.Struct("=I4xQ8x4x2x2xBB6x")
REPLY = struct.Struct("=QQII")
EPOCH = 7
BLOCKED = 1
FLAG_RESENT = 16


class FakeWorker:
    """The other end of a link: sees what is sent, answers what a test says."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self.socket = context.socket(zmq.PAIR)
        self.socket.linger = 0
        self.socket.rcvtimeo = 5_000
        self.socket.bind(endpoint)
        self._sent = 0

    def receive(self) -> list[tuple[int, bool]]:
        """The next batch: (number, whether it was sent to somebody before) of each envelope."""
        batch = self.socket.recv()
        _, _, count = BATCH.unpack_from(batch)
        at, found = BATCH.size, []
        for _ in range(count):
            size, number, _, flags = ENVELOPE.unpack_from(batch, at)
            found.append((number, bool(flags & FLAG_RESENT)))
            at += size
        assert at == len(batch)
        return found

    def answer(self, number: int, kind: int = 0, payload: bytes = b"+OK\r\n\0\0\0") -> None:
        self._sent += 1
        head = struct.pack("=IIQqQII", 0x6D706B76, EPOCH, self._sent, 0, number, 1, 0)
        self.socket.send(head + REPLY.pack(number, len(payload), kind, 0) + payload)


class Frontend:
    """A router with one link, and what became of each request: its reply's kind, or None if it was lost."""

    def __init__(self, folder: Path) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.folder = folder
        self.link = Link(0, Clock(), lambda *_: None)
        self.table = commands.load()
        loop = SimpleNamespace(call_soon=lambda callback: None)
        intents = IntentRing(bytearray(1 << 16), str(folder))
        self.segment = Segment.create(1, list(self.table))
        block = Block(self.segment, FRONTEND)
        memory = MemoryWatch([block])
        self.router = Router(loop, self.table, [self.link], intents, block, memory)  # type: ignore[arg-type]
        self.outcomes: dict[int, int | None] = {}
        self.incarnation = 0

    def connect(self, pages: Pool | None = None) -> FakeWorker:
        self.incarnation += 1
        endpoint = f"ipc://{self.folder}/w{self.incarnation}"
        self.worker = FakeWorker(self.context, endpoint)
        self.link.open(endpoint, EPOCH, self.incarnation, None, None, pages)
        return self.worker

    def request(self) -> int:
        """Give the link a command; its number."""
        number = self.router.number + 1
        receiver = Answer(lambda kind, _: self.outcomes.__setitem__(number, kind))
        self.router.send(receiver, 0, 1, 0, 2, self.table["get"], [b"GET", b"x"])
        return number

    def control(self) -> int:
        """Give it a message of the frontend's own; its number."""
        number = self.router.number + 1
        receiver = Answer(lambda kind, _: self.outcomes.__setitem__(number, kind))
        return self.router.control(0, CONTROL_NUMBERS["saved"], [b"0"], receiver)

    def flush(self) -> None:
        """Send what has gathered, also when the connection takes a moment."""
        self.link.flush_now()
        wait_until(self._sent, "the batch has left", 5)

    def _sent(self) -> bool:
        self.link.retry()
        return self.link.queue_bytes == 0

    def take_replies(self, *numbers: int) -> None:
        wait_until(lambda: self.link.drain_rest() or self.outcomes.keys() >= set(numbers), "the replies come", 5)

    def lose_worker(self, worker: FakeWorker, executing: int) -> int:
        worker.socket.close()
        self.link.close()
        return self.link.forget_executed(executing)


@pytest.fixture
def frontend(tmp_path: Path) -> Iterator[Frontend]:
    made = Frontend(tmp_path)
    yield made
    made.link.close()
    made.context.destroy(linger=0)
    made.segment.close()
    del made
    gc.collect()  # the mapping goes with the last reference: tests of real servers count mappings


def test_what_a_dead_worker_may_have_run_is_lost_and_the_rest_is_sent_to_its_successor_in_order(
    frontend: Frontend,
) -> None:
    worker = frontend.connect()
    answered, died_in, *waiting = [frontend.request() for _ in range(5)]
    frontend.flush()
    assert [number for number, _ in worker.receive()] == [answered, died_in, *waiting]
    worker.answer(answered)
    frontend.take_replies(answered)
    gathering = frontend.request()  # in a batch that was never sent
    assert frontend.lose_worker(worker, executing=died_in) == 1
    assert frontend.outcomes == {answered: 0, died_in: None}

    successor = frontend.connect()
    assert frontend.link.resend() == 4
    frontend.flush()
    assert successor.receive() == [(number, True) for number in [*waiting, gathering]]
    for number in [*waiting, gathering]:
        successor.answer(number)
    frontend.take_replies(*waiting, gathering)
    assert frontend.link.waiting == 0
    assert frontend.link.in_flight_bytes == 0


def test_a_request_whose_reply_was_still_on_its_way_is_lost_not_repeated(frontend: Frontend) -> None:
    worker = frontend.connect()
    executed = frontend.request()
    frontend.flush()
    worker.receive()
    assert frontend.lose_worker(worker, executing=executed) == 1
    frontend.connect()
    assert frontend.link.resend() == 0
    assert frontend.outcomes == {executed: None}


def test_the_frontends_own_messages_are_for_one_worker_only(frontend: Frontend) -> None:
    worker = frontend.connect()
    control, request = frontend.control(), frontend.request()
    frontend.flush()
    worker.receive()
    assert frontend.lose_worker(worker, executing=0) == 1
    successor = frontend.connect()
    frontend.link.resend()
    frontend.flush()
    assert successor.receive() == [(request, True)]
    assert frontend.outcomes == {control: None}


def test_a_blocked_request_waits_again_before_younger_ones(frontend: Frontend) -> None:
    worker = frontend.connect()
    blocked, executed, waiting = [frontend.request() for _ in range(3)]
    frontend.flush()
    worker.receive()
    worker.answer(blocked, BLOCKED, struct.pack("=qQq", 0, blocked, 0))
    worker.answer(executed)
    frontend.take_replies(executed)
    frontend.lose_worker(worker, executing=executed)
    successor = frontend.connect()
    frontend.link.resend()
    frontend.flush()
    assert successor.receive() == [(blocked, True), (waiting, True)]


def test_a_second_death_before_anything_was_run_changes_nothing(frontend: Frontend) -> None:
    frontend.connect()
    request = frontend.request()
    frontend.flush()
    for _ in range(3):
        frontend.link.close()
        assert frontend.link.forget_executed(0) == 0
        successor = frontend.connect()
        frontend.link.resend()
        frontend.flush()
        assert successor.receive() == [(request, True)]
    assert frontend.outcomes == {}


def test_a_request_that_its_worker_refuses_is_lost_alone_and_not_sent_to_the_next(frontend: Frontend) -> None:
    """A worker dies of a command that it does not know: it must not be given to its successor, which would die too."""
    first = frontend.connect()
    before, get = frontend.request(), frontend.table["get"]
    frontend.table["get"] = replace(get, number=60_000)
    wrong = frontend.request()
    frontend.table["get"] = get
    after = frontend.request()
    frontend.flush()
    shard = Shard(frontend.segment)
    with pytest.raises(BatchFault, match="command 60000"):
        shard.run(first.socket.recv())
    executing = shard.block.executing
    assert executing is not None and executing[0] == wrong
    assert name_of(executing[1], list(frontend.table)) == "no command: 60000"

    assert frontend.lose_worker(first, wrong) == 2  # the one before had been run, and its answer died with the worker
    assert frontend.outcomes == {before: None, wrong: None}
    second = frontend.connect()
    frontend.link.resend()
    frontend.flush()
    assert [answer.number for answer in Shard(frontend.segment).run(second.socket.recv())] == [after]


def test_an_intent_given_to_a_link_that_is_down_is_the_first_that_its_worker_hears(frontend: Frontend) -> None:
    worker = frontend.connect()
    number = frontend.request()
    frontend.flush()
    worker.receive()
    frontend.link.close()
    frontend.link.forget_executed(1_000)
    envelope = frontend.router.envelope(frontend.table["set"], [b"SET", b"x", b"1"], 1, 0, 2)
    frontend.router.complete_intent(0, number, envelope, Answer(lambda *_: None))
    successor = frontend.connect()
    frontend.link.resend()
    later = frontend.request()
    frontend.flush()
    heard = successor.receive()
    if len(heard) == 1:
        heard += successor.receive()
    assert [told for told, _ in heard] == [number, later]


@pytest.mark.parametrize(
    ("reference", "has_pages"),
    [((0, 100), False), ((1 << 40, 100), True), ((0, 1 << 40), True), (((1 << 64) - 8, 16), True)],
)
def test_a_reply_that_refers_to_what_is_not_there_is_a_fault(
    frontend: Frontend, reference: tuple[int, int], has_pages: bool
) -> None:
    worker = frontend.connect(Pool(frontend.segment, 1) if has_pages else None)
    number = frontend.request()
    frontend.flush()
    worker.receive()
    worker.answer(number, kind=1 << 16, payload=struct.pack("=QQ", *reference))
    with pytest.raises(LinkFault, match="does not add up"):
        wait_until(frontend.link.drain_rest, "the reply comes", 5)
    assert number not in frontend.outcomes


def test_a_reply_by_reference_is_what_lies_there(frontend: Frontend) -> None:
    pages = Pool(frontend.segment, 1)
    pages.own()
    worker = frontend.connect(Pool(frontend.segment, 1))
    pages.listen(link_generation(EPOCH, frontend.incarnation))
    run = pages.take_run(100_000)
    pages.view_of(run)[:100_000] = b"+" + b"x" * 99_999
    pages.lend_run(run)
    number = frontend.request()
    frontend.flush()
    worker.receive()
    worker.answer(number, kind=1 << 16, payload=struct.pack("=QQ", 0, 100_000))
    frontend.take_replies(number)
    assert pages.used_bytes == 0, "it is free when it has been delivered"
