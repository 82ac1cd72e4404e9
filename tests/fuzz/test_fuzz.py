"""What comes from outside is hostile: mutated requests, replies and snapshots are taken or refused, and nothing else.

On the build for sanitizers (`make fuzz`) a read beyond an end or a sum that wraps ends the process; on any other the
answers are checked: the same however the bytes are cut, a refusal with its reason, a store that is in order.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from mpkv.resp.decoder import IncompleteReply, decode, reply_end
from mpkv.resp.encoder import encode_bytes
from mpkv.resp.parser import Parser, ProtocolError
from mpkv.resp.replies import OK, Pairs, SetReply
from mpkv.snapshot.child import write_inline
from mpkv.snapshot.damage import SnapshotDamaged
from mpkv.snapshot.format import checksum
from mpkv.snapshot.inspect import check
from mpkv.snapshot.reader import load
from mpkv.workers.keyspace import Keyspace
from tests.fuzz.mutations import fuzz, mutated

pytestmark = pytest.mark.timeout(7200)

ROOT = Path(__file__).parents[2]
REQUESTS = [path.read_bytes() for path in sorted((ROOT / "tests" / "corpus" / "resp").glob("*.in"))]
REQUESTS = [data for data in REQUESTS if len(data) < 4096]
REPLIES = [
    encode_bytes(value, protocol)
    for protocol in (2, 3)
    for value in (
        OK, 7, -(2**63), b"", b"value\r\n", None, 1.5, True, [b"a", [1, [b"b", None]], {}], {b"k": [1, 2]},
        SetReply([b"a", b"b"]), Pairs([(b"m", 1.0)]), [b"x" * 300] * 20,
    )
]  # fmt: skip


def requests_in(pieces: list[bytes]) -> tuple[list[list[bytes]], str]:
    """The requests, and the error behind them."""
    parser, found = Parser(), []
    for piece in pieces:
        try:
            found += parser.feed_bytes(piece, max_inline=1024, max_bulk=1 << 20)
        except ProtocolError as error:
            return found + error.requests, str(error)
    return found, ""


def test_mutated_requests_are_the_same_however_they_are_cut() -> None:
    def target(data: bytes, chance: random.Random) -> None:
        cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(8)))
        ends = zip([0, *cuts], [*cuts, len(data)], strict=True)
        assert requests_in([data[begin:end] for begin, end in ends]) == requests_in([data])

    fuzz(REQUESTS, target)


def test_mutated_replies_are_decoded_or_refused() -> None:
    def target(data: bytes, chance: random.Random) -> None:
        try:
            end = reply_end(data)
        except ValueError:
            end = None
        try:
            _, used = decode(data)
        except IncompleteReply:
            assert end is None
        except ValueError as error:
            assert str(error)
        else:
            assert 0 < used <= len(data)
            assert end in (None, used)

    fuzz(REPLIES, target)


def snapshots(folder: Path) -> list[bytes]:
    """Whole files: one of our own with every type in every form, and those of old servers where there are any."""
    keyspace = Keyspace(2)
    for count in (2, 700):
        db = keyspace.database(count == 2)
        db.hash_to_fill(b"").put(b"", b"")  # the first words of the file are empty
        for number in range(count):
            word = b"word:%d" % number
            db.hash_to_fill(b"hash").put(word, b"v" * (number % 90))
            db.list_to_fill(b"list").push_tail(word)
            db.set_to_fill(b"set").add(word)
            db.set_to_fill(b"numbers").add(b"%d" % (number << (number % 50)))
            db.zset_to_fill(b"zset").put(word, number / 3)
        for name in (b"", b"hash", b"list", b"set", b"numbers", b"zset"):
            db.changed(name)
        db.set_string(b"string", b"s" * count)
        db.set_expire_at(b"string", 4_102_444_800_000)
    result = write_inline(keyspace, folder / "part")
    own = b"REDIS0009" + (folder / "part").read_bytes() + b"\xff" + bytes(8)
    assert result.part.keys == 14
    old = ROOT.parent / "shared" / "rdb"
    others = [path.read_bytes() for path in sorted(old.rglob("*.rdb"))] if old.is_dir() else []
    small = [data for data in others if 20 < len(data) < 20_000]
    return [own, *(_without_checksum(data) for data in small)]


def _without_checksum(data: bytes) -> bytes:
    """With zeroes instead, which say that there is none: else nothing but the checksum would be tested."""
    return data[:-8] + bytes(8) if data[5:9] >= b"0005" and data[:5] == b"REDIS" else data


def loaded(path: Path, data: bytes) -> Keyspace | None:
    """What was loaded from a file that may be refused; what is there either way is in order."""
    path.write_bytes(data)
    keyspace = Keyspace(16)
    try:
        load(path, keyspace, 0, 1, 1_700_000_000_000)
    except SnapshotDamaged as damage:
        assert str(damage) and damage.offset <= len(data)
        keyspace.validate()
        return None
    keyspace.validate()
    return keyspace


def test_mutated_snapshots_are_loaded_or_refused(tmp_path: Path) -> None:
    def target(data: bytes, chance: random.Random) -> None:
        path = tmp_path / "fuzzed.rdb"
        keyspace = loaded(path, data)
        if keyspace is not None:
            check(path)

    seeds = snapshots(tmp_path)
    assert loaded(tmp_path / "whole.rdb", seeds[0]) is not None
    fuzz(seeds, target, least=20)


def test_a_checksum_finds_what_would_else_be_loaded(tmp_path: Path) -> None:
    whole = snapshots(tmp_path)[0][:-8]
    guarded = whole + checksum(whole).to_bytes(8, "little")
    assert loaded(tmp_path / "guarded.rdb", guarded) is not None
    chance = random.Random(7)
    for _ in range(50):
        at = chance.randrange(9, len(whole))
        damaged = bytearray(guarded)
        damaged[at] ^= 1 << chance.randrange(8)
        assert loaded(tmp_path / "guarded.rdb", bytes(damaged)) is None


@pytest.mark.parametrize("seeds", [lambda: REQUESTS, lambda: REPLIES], ids=["requests", "replies"])
def test_a_seed_gives_the_same_inputs_again(seeds: Callable[[], list[bytes]]) -> None:
    first, again = (
        [mutated(seeds(), random.Random(f"1/{number}")) for number in range(200)] for _ in range(2)
    )
    assert first == again
    assert len(set(first)) > 150
