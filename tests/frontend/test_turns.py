"""When requests leave the frontend: a lone one with the read that has brought it, several at the end of their turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from mpkv.commands import spec
from mpkv.frontend.connection import Connection
from mpkv.frontend.intents import IntentRing
from mpkv.frontend.link import Clock, Link
from mpkv.frontend.memory import MemoryWatch
from mpkv.frontend.router import Router
from mpkv.sharding import shard_of
from mpkv.shm.board import Block
from mpkv.shm.layout import FIRST_WORKER, FRONTEND
from mpkv.shm.ring import Ring
from mpkv.shm.segment import Segment
from tests.helpers.envelopes import BATCH, REQUEST, batch, padded, reply

SHARDS = 2
GET = b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n"


class Loop:
    """Holds what is to be called in the next turn."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def turn(self) -> None:
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()


class Frontend:
    """A router and its links, with the workers' ends of the rings in the hands of the test."""

    def __init__(self, segment: Segment, folder: Path) -> None:
        self.loop = Loop()
        self.requests = [Ring(segment, 2 * shard) for shard in range(SHARDS)]
        self.replies = [Ring(segment, 2 * shard + 1) for shard in range(SHARDS)]
        self.sent = [0] * SHARDS
        links = [Link(shard, Clock(), lambda *_: None) for shard in range(SHARDS)]
        self.block = Block(segment, FRONTEND)
        blocks = [Block(segment, FIRST_WORKER + shard) for shard in range(SHARDS)]
        self.router = Router(
            self.loop, spec.load(), links, IntentRing(segment.area("intents"), str(folder)),  # type: ignore[arg-type]
            self.block, MemoryWatch(blocks),
        )  # fmt: skip
        for shard, link in enumerate(links):
            link.open(f"ipc://{folder}/nobody-{shard}", 1, 1, self.requests[shard], self.replies[shard])
        self.router.note_links()
        self.settle()

    def settle(self) -> None:
        """Turn after turn until there is nothing to do: the frontend waits for a bell then."""
        for _ in range(5):
            self.loop.turn()
        assert not self.loop.soon

    def client(self) -> Client:
        return Client(self)

    def arrived(self, shard: int = 0) -> list[int]:
        """The numbers of the requests in the next batch that a worker finds."""
        message = self.requests[shard].take()
        numbers, at = [], BATCH.size
        while message and at < len(message):
            size, _, _, number, *_ = REQUEST.unpack_from(message, at)
            numbers.append(number)
            at += size
        return numbers

    def answer(self, *numbers: int, shard: int = 0) -> None:
        self.sent[shard] += 1
        answers = [reply(number, b"$-1\r\n") for number in numbers]
        assert self.replies[shard].put(batch(answers, counter=self.sent[shard]))


class Client:
    """A connection and what it was sent."""

    def __init__(self, frontend: Frontend) -> None:
        self.received = b""
        server = SimpleNamespace(opened=lambda _: None, closed=lambda _: None)
        self.connection = Connection(server, frontend.router, 1)
        transport = SimpleNamespace(
            get_extra_info=lambda name: True if name == "sslcontext" else None, write=self._take,
            get_write_buffer_size=lambda: 0, is_closing=lambda: False,
        )  # fmt: skip
        self.connection.connection_made(transport)  # type: ignore[arg-type]
        self.connection.plain = self.connection.authenticated = True

    def _take(self, data: bytes) -> None:
        self.received += data

    def sends(self, *keys: bytes) -> None:
        """GETs, in one read."""
        self.says(b"".join(GET % (len(key), key) for key in keys))

    def says(self, data: bytes) -> None:
        self.connection.get_buffer(-1)[: len(data)] = data
        self.connection.buffer_updated(len(data))


@pytest.fixture
def frontend(tmp_path: Path) -> Iterator[Frontend]:
    segment = Segment.create(SHARDS, list(spec.load()))
    yield Frontend(segment, tmp_path)


KEYS = [b"%d" % number for number in range(99)]
HERE, THERE = (next(key for key in KEYS if shard_of(key, SHARDS) == shard) for shard in range(SHARDS))


def test_a_lone_request_goes_with_the_read_and_its_worker_is_to_ring(frontend: Frontend) -> None:
    client = frontend.client()
    for number in range(1, 4):
        client.sends(HERE)
        assert frontend.arrived() == [number]
        assert not frontend.loop.soon  # no turn is spent on it
        frontend.answer(number)
        assert frontend.replies[0].wakes()
        frontend.router.drain()
        assert client.received == b"$-1\r\n" * number
        assert not frontend.loop.soon


def test_an_answer_that_is_there_before_the_frontend_waits_needs_no_bell(frontend: Frontend) -> None:
    client = frontend.client()
    frontend.answer(1)
    client.sends(HERE)
    assert frontend.loop.soon
    frontend.loop.turn()
    assert client.received == b"$-1\r\n"


def test_requests_that_were_read_together_go_together_at_the_end_of_the_turn(frontend: Frontend) -> None:
    frontend.client().sends(HERE, HERE)
    assert frontend.arrived() == []
    frontend.loop.turn()
    assert frontend.arrived() == [1, 2]


def test_a_request_for_several_shards_goes_to_all_at_the_end_of_the_turn(frontend: Frontend) -> None:
    keys = b"".join(b"$%d\r\n%b\r\n" % (len(key), key) for key in (HERE, THERE))
    frontend.client().says(b"*3\r\n$4\r\nMGET\r\n" + keys)
    assert (frontend.arrived(0), frontend.arrived(1)) == ([], [])
    frontend.loop.turn()
    assert (frontend.arrived(0), frontend.arrived(1)) == ([1], [1])


def test_a_second_request_waits_for_the_answer_to_the_first_but_not_for_another_shard(frontend: Frontend) -> None:
    client, second, third = frontend.client(), frontend.client(), frontend.client()
    client.sends(HERE)
    second.sends(HERE)
    assert frontend.arrived() == [1]
    frontend.settle()
    assert frontend.arrived() == []
    third.sends(THERE)
    frontend.settle()
    assert frontend.arrived(1) == [3]
    frontend.answer(1)
    frontend.router.drain()
    assert frontend.arrived() == [2]
    assert (client.received, second.received) == (b"$-1\r\n", b"")


def test_after_a_turn_of_several_requests_the_next_is_expected_to_have_company(frontend: Frontend) -> None:
    client, other = frontend.client(), frontend.client()
    client.sends(HERE, HERE)
    frontend.loop.turn()
    assert frontend.arrived() == [1, 2]
    frontend.answer(1, 2)
    frontend.settle()
    client.sends(HERE)
    assert frontend.arrived() == []
    other.sends(HERE)
    frontend.loop.turn()
    assert frontend.arrived() == [3, 4]


def test_a_batch_that_is_too_large_for_the_ring_is_left_to_the_turn(frontend: Frontend) -> None:
    """It goes through ZeroMQ, which may take the news of replies while it sends: the turn looks for these."""
    frontend.client().sends(HERE + padded(b"x" * frontend.requests[0].most))
    assert frontend.loop.soon


def test_a_link_that_goes_down_or_up_stands_on_the_board_at_once(frontend: Frontend) -> None:
    """A load balancer that asks whether the server is ready does not wait for the next tick but one."""
    link = frontend.router.link_of(1)
    link.close()
    frontend.router.note_links()
    assert [frontend.block.link(shard).up for shard in range(SHARDS)] == [True, False]
