"""Files are hostile input: whatever is wrong is refused with place and reason, and nothing crashes."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpkv.snapshot.damage import SnapshotDamaged
from mpkv.snapshot.inspect import check
from mpkv.snapshot.reader import load
from mpkv.workers.keyspace import Keyspace

SMALL = {
    (0, b"string"): ("string", b"value", 4_102_444_800_000),
    (0, b"list"): ("list", [b"a", b"1", b"long" * 20], -1),
    (1, b"set"): ("set", {b"a", b"2"}, -1),
    (1, b"hash"): ("hash", {b"field": b"value", b"n": b"300"}, -1),
    (2, b"zset"): ("zset", {b"a": 1.5, b"b": float("inf")}, -1),
}


# ---- containers made by hand, with room for one lie at a time


def listpack_entry(text: bytes | int) -> bytes:
    if isinstance(text, int):
        body = bytes([text]) if 0 <= text < 128 else b"\xf4" + struct.pack("<q", text)
    else:
        body = bytes([0x80 | len(text)]) + text
    return body + bytes([len(body)])


def listpack(*entries: bytes, count: int | None = None, size: int = 0, end: bytes = b"\xff") -> bytes:
    body = b"".join(entries)
    return struct.pack("<IH", 7 + len(body) + size, len(entries) if count is None else count) + body + end


def listpack_of(*texts: bytes | int) -> bytes:
    return listpack(*map(listpack_entry, texts))


def ziplist(*bodies: bytes, count: int | None = None, last: int = 0, size: int = 0, previous: int = 0) -> bytes:
    """Bodies are form, length and contents; `last`, `size` and `previous` are added to the true numbers."""
    entries = b""
    last_at, last_size = 10, 0
    for body in bodies:
        last_at = 10 + len(entries)
        entry = bytes([last_size + (previous if entries else 0)]) + body
        entries += entry
        last_size = len(entry)
    header = struct.pack("<IIH", 11 + len(entries) + size, last_at + last, len(bodies) if count is None else count)
    return header + entries + b"\xff"


def intset(*numbers: int, width: int = 2, count: int | None = None) -> bytes:
    form = {2: "h", 4: "i", 8: "q"}.get(width, "h")
    return struct.pack(f"<II{len(numbers)}{form}", width, len(numbers) if count is None else count, *numbers)


def read(snapshots: Any, path: Path, *pieces: bytes, version: int = 11) -> dict[Any, Any]:
    loaded, _ = snapshots.load_shards(snapshots.rdb_file(path / "dump.rdb", *pieces, version=version))
    return {key: value for (_, key), (_, value, _) in snapshots.contents_of(*loaded).items()}


@pytest.mark.parametrize(
    ("rdb_type", "blob", "value"),
    [
        (20, listpack_of(b"a", 5, -70_000), {b"a", b"5", b"-70000"}),
        (16, listpack_of(b"a", b"b", b"c", 1), {b"a": b"b", b"c": b"1"}),
        (17, listpack_of(b"a", b"-inf", b"b", 3, b"c", b"1.5"), {b"a": float("-inf"), b"b": 3.0, b"c": 1.5}),
        (20, listpack(b"\xdf\xff\x02", b"\xd0\x00\x02", b"\xf1\x00\x80\x03"), {b"-1", b"-4096", b"-32768"}),
        (20, listpack(b"\xf2\x00\x00\x80\x04", b"\xf3\xff\xff\xff\x7f\x05"), {b"-8388608", b"2147483647"}),
        (20, listpack(b"\xe0\x03abc\x05", b"\xf0\x01\x00\x00\x00z\x06"), {b"abc", b"z"}),
        (20, listpack(listpack_entry(b"a"), count=65535), {b"a"}),
        (10, ziplist(b"\x02ab", b"\xfd", b"\xf1", b"\xfe\xff"), [b"ab", b"12", b"0", b"-1"]),
        (10, ziplist(b"\xc0\x00\x80", b"\xf0\xff\xff\x7f"), [b"-32768", b"8388607"]),
        (10, ziplist(b"\xd0\xff\xff\xff\xff", b"\xe0" + b"\xff" * 7 + b"\x7f"), [b"-1", b"9223372036854775807"]),
        (10, ziplist(b"\x40\x02ab", b"\x80\x00\x00\x00\x01c"), [b"ab", b"c"]),
        (12, ziplist(b"\x01a", b"\xf3"), {b"a": 2.0}),
        (13, ziplist(b"\x01a", b"\xf3"), {b"a": b"2"}),
        (9, b"\x01\x01a\x02\x03bc___\xff", {b"a": b"bc"}),
        (9, b"\xfe\xfe\x01\x00\x00\x00a\xfe\x01\x00\x00\x00\x00b\xff", {b"a": b"b"}),
        (11, intset(-5, 0, 7), {b"-5", b"0", b"7"}),
        (11, intset(-(2**63), 2**63 - 1, width=8), {b"-9223372036854775808", b"9223372036854775807"}),
    ],
)
def test_a_container_is_read(snapshots: Any, tmp_path: Path, rdb_type: int, blob: bytes, value: Any) -> None:
    piece = bytes([rdb_type]) + snapshots.plain(b"key") + snapshots.plain(blob)
    assert read(snapshots, tmp_path, piece) == {b"key": value}


@pytest.mark.parametrize(
    ("rdb_type", "blob", "reason"),
    [
        (20, b"", "listpack that is too short"),
        (20, listpack(listpack_entry(b"a"), size=1), "another size than it announces"),
        (20, listpack(listpack_entry(b"a"), end=b"\xfe"), "listpack without its end"),
        (20, listpack(listpack_entry(b"a"), count=2), "another number of entries"),
        (20, listpack(b"\x84ab\x03"), "goes beyond the end"),
        (20, listpack(b"\xf0\xff\xff\xff\xffab"), "goes beyond the end"),
        (20, listpack(b"\xf4\x01\x02"), "goes beyond the end"),
        (20, listpack(b"\xdf"), "cut short"),
        (20, listpack(b"\xf5\x01"), "unknown form"),
        (20, listpack(b"\xf0\x01"), "unknown form"),
        (20, listpack(b"\x81a\x07"), "backward size is wrong"),
        (20, listpack(b"\x81a"), "backward size is wrong"),
        (20, listpack_of(b"a", b"a"), "same element twice"),
        (16, listpack_of(b"a"), "middle of a pair"),
        (16, listpack_of(b"a", b"b", b"a", b"c"), "same element twice"),
        (17, listpack_of(b"a", b"nan"), "not a number"),
        (17, listpack_of(b"a", b"1x"), "not a number"),
        (17, listpack_of(b"a", b" 1"), "not a number"),
        (17, listpack_of(b"a", b""), "not a number"),
        (17, listpack_of(b"a", b"1\x002"), "not a number"),
        (10, b"\x00" * 10, "ziplist that is too short"),
        (10, ziplist(b"\x01a", size=1), "another size than it announces"),
        (10, ziplist(b"\x01a")[:-1] + b"\x00", "ziplist without its end"),
        (10, ziplist(b"\x01a", last=1), "last entry is not where it announces"),
        (10, ziplist(last=1), "last entry is not where it announces"),
        (10, ziplist(b"\x01a", count=2), "another number of entries"),
        (10, ziplist(b"\x01a", b"\x01b", previous=1), "misstates the size"),
        (10, ziplist(b"\x3fa"), "goes beyond the end"),
        (10, ziplist(b"\x7f"), "cut short"),
        (10, ziplist(b"\x80\xff\xff\xff\xff"), "goes beyond the end"),
        (10, ziplist(b"\xe0\x01"), "goes beyond the end"),
        (10, ziplist(b""), "cut short"),
        (10, ziplist(b"\xc1"), "unknown form"),
        (13, ziplist(b"\x01a"), "middle of a pair"),
        (9, b"\x01", "zipmap that is too short"),
        (9, b"\x01\x01a\x01\x00b", "zipmap without its end"),
        (9, b"\x01\x09a\xff", "goes beyond the end"),
        (9, b"\x01\x01a\xff", "middle of a pair|another number"),
        (9, b"\x02\x01a\x01\x00b\xff", "another number of entries"),
        (9, b"\x01\xfe\x01\xff", "cut short"),
        (9, b"\x01\x01a\x00\xff", "cut short"),
        (11, b"\x02\x00", "intset that is too short"),
        (11, intset(1, 2, width=3), "unknown width"),
        (11, intset(1, 2, count=3), "another size than it announces"),
        (11, intset(1, 2, count=0x80000001), "another size than it announces"),
        (11, intset(2, 1), "not in order"),
        (11, intset(1, 1), "not in order"),
    ],
)
def test_a_damaged_container_is_refused(
    snapshots: Any, tmp_path: Path, rdb_type: int, blob: bytes, reason: str
) -> None:
    piece = bytes([rdb_type]) + snapshots.plain(b"key") + snapshots.plain(blob)
    with pytest.raises(SnapshotDamaged, match=reason) as refusal:
        read(snapshots, tmp_path, piece)
    assert refusal.value.key == b"key"
    assert refusal.value.offset == 9 + 1 + 4


@pytest.mark.parametrize(
    ("rdb_type", "value", "reason"),
    [
        (0, b"\x3fabc", "goes beyond the end"),
        (0, b"\x81" + b"\xff" * 8 + b"abc", "goes beyond the end"),
        (0, b"\x82abc", "length of an unknown form"),
        (0, b"\xc4abc", "string of an unknown form"),
        (0, b"\xc3\x03\x04\x03ab", "compressed string is damaged"),
        (0, b"\xc3\x02\x03\x00a", "compressed string is damaged"),
        (0, b"\xc3\x03\x04\x20\x05a", "compressed string is damaged"),
        (0, b"\xc3\x01\x04\xe0", "compressed string is damaged"),
        (0, b"\xc3\x02\x80\xff\xff\xff\xff\x00a", "cannot have the length"),
        (0, b"\xc3\x3f\x01a", "goes beyond the end"),
        (1, b"\xc0\x01", "encoded string where a length was expected"),
        (1, b"\x81" + b"\xff" * 8 + b"\x01a", "goes beyond the end|unknown form"),
        (2, b"\x02\x01a\x01a", "same element twice"),
        (4, b"\x02\x01a\x01b\x01a\x01c", "same element twice"),
        (5, b"\x01\x01a" + struct.pack("<d", float("nan")), "not a number"),
        (3, b"\x01\x01a\xfd", "not a number"),
        (3, b"\x01\x01a\x02x1", "not a number"),
        (18, b"\x01\x03\x01a", "quicklist node of an unknown form"),
        (18, b"\x01\x02\x01a", "listpack that is too short"),
        (14, b"\x01\x01a", "ziplist that is too short"),
        (15, b"", r"stream \(RDB type 15\)"),
        (19, b"", r"stream .*\(RDB type 19\)"),
        (21, b"", r"stream .*\(RDB type 21\)"),
        (6, b"", r"module value .*\(RDB type 6\)"),
        (7, b"", r"module value \(RDB type 7\)"),
        (24, b"", r"hash with field expiry \(RDB type 24\)"),
        (25, b"", r"hash with field expiry .*\(RDB type 25\)"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_key(
    snapshots: Any, tmp_path: Path, rdb_type: int, value: bytes, reason: str
) -> None:
    with pytest.raises(SnapshotDamaged, match=reason) as refusal:
        read(snapshots, tmp_path, bytes([rdb_type]) + snapshots.plain(b"key") + value)
    assert refusal.value.key == b"key"


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([b"\x08\x01kvalue"], "8 is neither a value type nor an opcode"),
        ([b"\x1a\x01kvalue"], "26 is neither a value type nor an opcode"),
        ([b"\xf4\x01\x01\x01"], "opcode 244 of a later version"),
        ([b"\xf6\x01\x01"], "functions of a release candidate"),
        ([b"\xf7\x05\x01\x01"], "module in an unknown form"),
        ([b"\xf7\x05\x02\x01\x09"], "module in an unknown form"),
        ([b"\xfe\x10"], "database 16"),
        ([b"\x00\x01k\x01v", b"\x00\x01k\x01w"], "database 0 twice"),
        ([b"\x01\x01k\x01\x01v", b"\x01\x01k\x01\x01v"], "database 0 twice"),
    ],
)
def test_a_file_with_a_wrong_piece_is_refused(snapshots: Any, tmp_path: Path, pieces: list[bytes], reason: str) -> None:
    with pytest.raises(SnapshotDamaged, match=reason):
        read(snapshots, tmp_path, *pieces)


def test_what_concerns_others_is_gone_over(snapshots: Any, tmp_path: Path) -> None:
    """LRU and LFU marks, unknown AUX fields, data of modules, expiry in seconds."""
    module_data = (
        b"\xf7\x81" + b"\x01" * 8 + b"\x02\x01" + b"\x01\x05" + b"\x03____" + b"\x04________" + b"\x05\x02ab" + b"\x00"
    )
    expiry_s = b"\xfd" + struct.pack("<I", 2_000_000_000)
    pieces = [
        b"\xfa\x07unknown\x01x",
        module_data,
        b"\xf8\x40\x50",
        b"\xf9\x07",
        expiry_s,
        b"\x00\x01k\x01v",
        b"\x00\x01l\x01v",
    ]
    path = snapshots.rdb_file(tmp_path / "dump.rdb", *pieces)
    loaded, (result,) = snapshots.load_shards(path)
    assert snapshots.contents_of(*loaded) == {
        (0, b"k"): ("string", b"v", 2_000_000_000_000),
        (0, b"l"): ("string", b"v", -1),
    }
    assert result.aux[b"unknown"] == b"x"
    assert "module" in result.warnings[0]


def test_empty_aggregates_of_every_encoding_are_left_out(snapshots: Any, tmp_path: Path) -> None:
    blobs = {20: listpack(), 16: listpack(), 17: listpack(), 10: ziplist(), 13: ziplist(), 9: b"\x00\xff", 11: intset()}
    pieces = [b"%c\x01%c%c" % (kind, 64 + kind, len(blob)) + blob for kind, blob in blobs.items()]
    pieces += [b"%c\x01%c\x00" % (kind, 64 + kind) for kind in (1, 2, 3, 4, 5, 14, 18)]
    pieces += [b"\x12\x02mn\x01\x02\x07" + listpack()]
    _, (result,) = snapshots.load_shards(snapshots.rdb_file(tmp_path / "dump.rdb", *pieces))
    assert (result.keys_loaded, result.keys_empty) == (0, len(pieces))


@pytest.mark.parametrize("version", [b"0000", b"0012", b"00x1", b"9999"])
def test_another_version_is_refused(tmp_path: Path, version: bytes) -> None:
    path = tmp_path / "dump.rdb"
    path.write_bytes(b"REDIS" + version + b"\xff" + bytes(8))
    assert not check(path).is_sound


@pytest.fixture
def small_file(snapshots: Any, tmp_path: Path) -> Path:
    path = tmp_path / "small.rdb"
    snapshots.save(path, snapshots.fill(Keyspace(16), SMALL))
    return path


@pytest.mark.parametrize("shard", [0, 1])
def test_a_file_that_ends_at_any_byte_is_refused_with_an_offset(small_file: Path, tmp_path: Path, shard: int) -> None:
    data = small_file.read_bytes()
    path = tmp_path / "cut.rdb"
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(SnapshotDamaged) as refusal:
            load(path, Keyspace(16, shard, 2), shard, 2, 0)
        assert refusal.value.offset <= size


def test_a_change_of_any_single_byte_is_noticed(small_file: Path, tmp_path: Path) -> None:
    data = small_file.read_bytes()
    path = tmp_path / "changed.rdb"
    source = random.Random(7)
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= source.randrange(1, 256)
        path.write_bytes(changed)
        assert not check(path).is_sound, place


def test_a_long_file_with_a_byte_changed_far_inside_is_refused(snapshots: Any, tmp_path: Path) -> None:
    """The checksum goes over the whole file although the window has slid many times."""
    path = tmp_path / "dump.rdb"
    contents = {(0, b"key:%d" % number): ("string", b"x" * 50_000, -1) for number in range(100)}
    snapshots.save(path, snapshots.fill(Keyspace(16), contents))
    data = bytearray(path.read_bytes())
    data[3_000_000] ^= 1
    path.write_bytes(data)
    with pytest.raises(SnapshotDamaged, match="checksum") as refusal:
        load(path, Keyspace(16, 0, 4), 0, 4, 0)
    assert refusal.value.offset == len(data) - 8


ENCODINGS = [
    b"\x00\x01a\xc3\x06\x0a\x01xx\xe0\x00\x00\x00",
    b"\x14\x01b" + bytes([len(listpack_of(b"a", 5, -70_000))]) + listpack_of(b"a", 5, -70_000),
    b"\x11\x01c" + bytes([len(listpack_of(b"a", b"1.5"))]) + listpack_of(b"a", b"1.5"),
    b"\x0d\x01d" + bytes([len(ziplist(b"\x01a", b"\xf3"))]) + ziplist(b"\x01a", b"\xf3"),
    b"\x0e\x01e\x01" + bytes([len(ziplist(b"\x01a", b"\xf3"))]) + ziplist(b"\x01a", b"\xf3"),
    b"\x09\x01f\x0a\x01\x01a\x02\x03bc___\xff",
    b"\x0b\x01g" + bytes([len(intset(-5, 0, 7))]) + intset(-5, 0, 7),
    b"\x12\x01h\x02\x01\x03abc\x02" + bytes([len(listpack_of(b"a"))]) + listpack_of(b"a"),
    b"\x03\x01i\x01\x01m\x031.5",
]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_no_damage_crashes_where_no_checksum_guards(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Bytes of every old encoding are changed, in a file that says it has no checksum: read or refused, never worse."""
    body = bytearray(b"".join(ENCODINGS))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "fuzzed.rdb"
    path.write_bytes(b"REDIS0011" + body + b"\xff" + bytes(8))
    try:
        load(path, Keyspace(16), 0, 1, 0)
    except SnapshotDamaged as damage:
        assert damage.offset <= path.stat().st_size
