"""The shared segment: what one process writes another reads, and what is not ours is refused."""

import os
import subprocess
import sys

import pytest

from mpkv.shm import layout
from mpkv.shm.segment import Segment, SegmentError


@pytest.fixture
def segment():
    made = Segment.create(3, ["get", "object|encoding", "set"], databases=20, intents_bytes=1 << 16)
    yield made
    made.close()


def test_who_attaches_sees_what_was_created(segment):
    other = Segment.attach(segment.fd)
    for name in ("shape", "command_names", "hash_seed", "run_id", "start_time_ms"):
        assert getattr(other, name) == getattr(segment, name)
    assert other.command_names == ("get", "object|encoding", "set")
    assert len(other.hash_seed) == 16
    assert len(other.run_id) == 40
    assert int(other.run_id, 16) >= 0


def test_two_segments_have_seeds_and_run_ids_of_their_own(segment):
    other = Segment.create(1, [])
    assert other.hash_seed != segment.hash_seed
    assert other.run_id != segment.run_id
    assert other.command_names == ()
    other.close()


def test_areas_are_shared_and_do_not_overlap(segment):
    other = Segment.attach(segment.fd)
    sizes = {"intents": 1 << 16, "slots": layout.SLOTS_BYTES}
    for number, (name, size) in enumerate(sizes.items(), 1):
        area = segment.area(name)
        assert len(area) == size
        assert bytes(area) == bytes(size)
        area[:] = bytes([number]) * size
    for number, (name, size) in enumerate(sizes.items(), 1):
        assert bytes(other.area(name)) == bytes([number]) * size
    assert Segment.attach(segment.fd).run_id == segment.run_id


def test_areas_follow_each_other_on_pages():
    shape = layout.Shape(workers=5, commands=391, databases=16, names_bytes=5000)
    end = 0
    for offset, size in shape.areas().values():
        assert offset % layout.PAGE == 0
        assert offset >= end
        end = offset + size
    assert end == shape.total_bytes
    assert shape.commands_offset % 64 == 0
    assert shape.block_bytes >= shape.commands_offset + 391 * 256


def test_nobody_can_change_the_size(segment):
    for size in (0, segment.shape.total_bytes * 2):
        with pytest.raises(PermissionError):
            os.ftruncate(segment.fd, size)


def test_a_child_process_inherits_it(segment):
    code = (
        "import sys; from mpkv.shm.segment import Segment; segment = Segment.attach(int(sys.argv[1]));"
        "segment.area('slots')[0] = 7; print(segment.run_id)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(segment.fd)], close_fds=False, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == segment.run_id
    assert segment.area("slots")[0] == 7


def test_what_is_no_segment_is_refused(tmp_path):
    for content in (b"", b"x" * 10_000):
        (tmp_path / "file").write_bytes(content)
        with open(tmp_path / "file", "r+b") as file, pytest.raises(SegmentError, match="no shared segment"):
            Segment.attach(file.fileno())


def test_a_segment_of_another_layout_is_refused(segment):
    words = segment.area("header").cast("q")
    for name in ("version", "counters", "block_bytes", "total_bytes", "workers"):
        index = layout.HEADER.index(name)
        right, words[index] = words[index], words[index] + 1
        with pytest.raises(SegmentError, match="another layout"):
            Segment.attach(segment.fd)
        words[index] = right
    assert Segment.attach(segment.fd).run_id == segment.run_id


def test_there_is_no_area_of_another_name(segment):
    with pytest.raises(KeyError):
        segment.area("nothing")
