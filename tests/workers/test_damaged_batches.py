"""A batch that is not as the frontend makes them ends the worker before anything is read that is not there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mpkv.commands import spec
from mpkv.shm.segment import Segment
from mpkv.workers.execute import BatchFault
from tests.helpers.envelopes import (
    BATCH,
    FLAG_FIRST,
    FLAG_NO_BLOCK,
    FLAG_REFERS,
    KIND_BLOCKED,
    POOL_BYTES,
    InPages,
    Shard,
    answers_in,
    batch,
    envelope,
    fill_pages,
    request,
    segment_for_shards,
    transaction,
)

INSIDE = FLAG_FIRST | FLAG_NO_BLOCK
NUMBER = 5


@pytest.fixture
def segment() -> Iterator[Segment]:
    with segment_for_shards() as segment:
        yield segment


@pytest.fixture
def shard(segment: Segment) -> Iterator[Shard]:
    shard = Shard(segment)
    yield shard
    shard.keyspace.validate()


def number_of(name: str) -> int:
    return spec.load()[name].number


#: Each a request or a transaction with one thing wrong.
WRONG = {
    "an unknown command": lambda: request("GET a", command=60_000, number=NUMBER),
    "the command behind the last": lambda: request("GET a", command=len(spec.load()), number=NUMBER),
    "a command of the frontend": lambda: request("PING", number=NUMBER),
    "a container": lambda: request("GET a", command=number_of("object"), number=NUMBER),
    "counted as an unknown command": lambda: request("GET a", counted_as=60_000, number=NUMBER),
    "a database behind the last": lambda: request("GET a", database=16, number=NUMBER),
    "a slot behind the last": lambda: request("GET a", slot=16_384, number=NUMBER),
    "an unknown kind": lambda: request("GET a", kind=3, number=NUMBER),
    "a transaction in a transaction": lambda: transaction(
        [transaction([request("GET a", flags=INSIDE)], flags=INSIDE)], number=NUMBER
    ),
    "a message of the frontend's in a transaction": lambda: transaction(
        [envelope([b"a"], command=1, kind=2, flags=INSIDE)], number=NUMBER
    ),
    "an unknown command in a transaction": lambda: transaction(
        [request("GET a", flags=INSIDE), request("GET a", command=60_000, flags=INSIDE)], number=NUMBER
    ),
    "a request in a transaction that is too short": lambda: transaction(
        [request("GET a", size=8, flags=INSIDE)], number=NUMBER
    ),
    "a request in a transaction that is too long": lambda: transaction(
        [request("GET a", size=4096, flags=INSIDE)], number=NUMBER
    ),
    "a transaction of fewer requests than it says": lambda: transaction(
        [request("GET a", flags=INSIDE)], argc=2, number=NUMBER
    ),
    "a transaction of more requests than it says": lambda: transaction(
        [request("GET a", flags=INSIDE)] * 2, argc=1, number=NUMBER
    ),
    "a transaction that refers to pages": lambda: transaction(
        [request("GET a", flags=INSIDE)], flags=FLAG_REFERS, number=NUMBER
    ),
    "a request in a transaction that might wait": lambda: transaction([request("BLPOP a 0")], number=NUMBER),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_request_with_a_wrong_number_is_a_fault_and_counts_as_begun(shard: Shard, wrong: str) -> None:
    """Whoever looks at the board sees which request it was: it is not sent to the next worker."""
    with pytest.raises(BatchFault):
        shard.run(batch([WRONG[wrong]()]))
    executing = shard.block.executing
    assert executing is not None and executing[0] == NUMBER


@pytest.mark.parametrize("wrong", WRONG)
def test_what_comes_before_a_wrong_request_is_run_however_far_it_looks_ahead(shard: Shard, wrong: str) -> None:
    shard.run(batch([request(f"SET key:{place} x") for place in range(50)]))
    with pytest.raises(BatchFault):
        shard.run(batch([*(request(f"APPEND key:{place} y") for place in range(12)), WRONG[wrong]()]))
    db = shard.keyspace.database(0)
    assert [db.string_for_read(b"key:%d" % place) for place in (0, 11, 12)] == [b"xy", b"xy", b"x"]


@pytest.mark.parametrize("name", sorted(name for name, command in spec.load().items() if command.on_shard))
def test_a_command_with_too_few_words_is_a_fault(shard: Shard, name: str) -> None:
    command = spec.load()[name]
    least = abs(command.arity) - command.words
    for argc in {least - 1, 0} if least > 0 else ():
        with pytest.raises(BatchFault, match=f"on {argc} words"):
            shard.run(batch([envelope([b"1"] * argc, command=command.number)]))
    if command.arity > 0:
        with pytest.raises(BatchFault, match=f"on {least + 1} words"):
            shard.run(batch([envelope([b"1"] * (least + 1), command=command.number)]))


@pytest.mark.parametrize(
    "broken",
    [
        lambda data: data[:-8], lambda data: data[:-1], lambda data: data + bytes(8), lambda data: data + bytes(100),
        lambda data: data[: BATCH.size + 30], lambda data: data[: BATCH.size - 1], lambda data: b"",
        lambda data: bytes(80),
    ],
)  # fmt: skip
def test_a_batch_that_does_not_add_up_is_a_fault(shard: Shard, broken: object) -> None:
    whole = batch([request(f"SET key:{place} value") for place in range(12)])
    with pytest.raises(BatchFault):
        shard.run(broken(whole))  # type: ignore[operator]


def test_sizes_that_lead_beyond_a_request_are_a_fault(shard: Shard) -> None:
    for fields in ({"argc": 3}, {"argc": 1 << 31}, {"argc": (1 << 32) - 1}, {"size": 44}, {"size": 0}):
        with pytest.raises(BatchFault):
            shard.run(batch([request("SET a 1", **fields)]))


def test_a_number_that_is_none_does_not_stand_on_the_board_for_the_next_worker(segment: Segment) -> None:
    with pytest.raises(BatchFault):
        Shard(segment).run(batch([request("GET a", number=1), request("GET a", number=(1 << 64) - 2)]))
    assert Shard(segment).run(batch([request("GET a", number=2)]))[0].number == 2


# Words in shared pages


@pytest.mark.parametrize(
    "place",
    [
        InPages(POOL_BYTES, 1), InPages(POOL_BYTES + 1, 0), InPages(POOL_BYTES - 1, 2), InPages(0, POOL_BYTES + 1),
        InPages(1 << 63, 20_000), InPages((1 << 64) - 8, 20_000),
    ],
)  # fmt: skip
def test_a_reference_that_leads_out_of_the_pages_is_a_fault(segment: Segment, place: InPages) -> None:
    fill_pages(segment, b"x" * 20_000)
    shard = Shard(segment)
    with pytest.raises(BatchFault):
        shard.run(batch([request([b"SET", b"key", place])]))
    assert shard.keyspace.counts(0)[0] == 0


@pytest.mark.parametrize(
    ("place", "word"),
    [
        (InPages(0, 20_000), bytes(range(250)) * 80), (InPages(5, 4), b"\5\6\7\10"), (InPages(0, 0), b""),
        (InPages(POOL_BYTES, 0), b""), (InPages(19_999, 2), b"\xf9\0"),
    ],
)  # fmt: skip
def test_a_reference_within_the_pages_is_what_lies_there(segment: Segment, place: InPages, word: bytes) -> None:
    """Wherever it begins: the words of a pipeline lie one behind the other, and nothing is there but clients' bytes."""
    fill_pages(segment, bytes(range(250)) * 80)
    shard = Shard(segment)
    stored = shard.run(batch([request([b"SET", b"key", place]), request("GET key")]))[1]
    assert stored.payload == b"$%d\r\n%b\r\n" % (len(word), word)


def test_a_reference_without_its_place_or_without_pages_is_a_fault(segment: Segment) -> None:
    fill_pages(segment, b"x" * 20_000)
    shard = Shard(segment)
    cut = request([b"SET", b"key", InPages(0, 20_000)])
    with pytest.raises(BatchFault):
        shard.run(batch([cut[:-8]], count=1))
    with pytest.raises(BatchFault):
        shard.run(batch([envelope((), bytes(8), command=number_of("dbsize"), argc=2, flags=FLAG_REFERS)]))


def test_the_envelopes_of_these_tests_are_as_the_worker_reads_them(shard: Shard) -> None:
    """What is right about them is not refused, or none of the above would prove anything."""
    answers = shard.run(
        batch([
            request("SET a 1", number=1), request("OBJECT|ENCODING a", number=2), request("BLPOP q 0", number=3),
            transaction([request("INCR a", flags=INSIDE), request("GET a", flags=INSIDE)], number=4),
        ])
    )  # fmt: skip
    assert [answer.number for answer in answers] == [1, 2, 3, 4]
    assert [answer.payload for answer in answers[:2]] == [b"+OK\r\n", b"$3\r\nint\r\n"]
    assert answers[2].kind == KIND_BLOCKED
    assert [answer.payload for answer in answers_in(answers[3].payload)] == [b":2\r\n", b"$1\r\n2\r\n"]
