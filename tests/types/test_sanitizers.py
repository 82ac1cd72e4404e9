"""The sanitizers see what they are there for: memory given back, the end of a piece, what was never handed out.

Each misuse runs in a process of its own, which must die of it, and says so in its report. Without the sanitizers there
is nothing to test: `make sanitize`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mpkv
from tests.helpers.sanitizers import only_sanitized

pytestmark = only_sanitized

#: A hash of a key, and a table's one, that are used when their key is gone.
HANDLE = """
from mpkv.workers.keyspace import Keyspace
database = Keyspace().database(0)
value = database.hash_to_fill(b"key")
for number in range({fields}):
    value.put(b"field %d" % number, b"value")
database.delete(b"key", lazily=False)
value.get(b"field 1")
"""
#: A piece read through the C library, which the sanitizer watches too.
PIECE = """
import ctypes
from mpkv.types import allocator
pieces = allocator.Pieces(3)
for at in range(3):
    pieces.take(at, {size})
address = pieces.take(0, {size})
{misuse}
"""
READ = "ctypes.string_at(address + {offset}, 8)"


def report_of(program: str, *, own_memory: bool) -> str:
    """What a process that must not end well has written."""
    settings = {"ASAN_OPTIONS": "detect_leaks=0", "MPKV_OWN_MEMORY": "1" if own_memory else "0"}
    environment = {**os.environ, **settings}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode != 0, "the misuse was not seen"
    return ended.stderr


def test_it_is_the_build_for_sanitizers_that_is_tested() -> None:
    assert "sanitized" in Path(mpkv.__file__).parts


@pytest.mark.parametrize("fields", [3, 3000])
@pytest.mark.parametrize("own_memory", [False, True])
def test_a_value_is_not_used_after_its_key(fields: int, own_memory: bool) -> None:
    report = report_of(HANDLE.format(fields=fields), own_memory=own_memory)
    assert ("use-after-poison" if own_memory else "heap-use-after-free") in report


@pytest.mark.parametrize("size", [64, 600, 5000])
def test_what_was_given_back_is_poisoned(size: int) -> None:
    misuse = f"pieces.give(0, {size})\n{READ.format(offset=0)}"
    assert "use-after-poison" in report_of(PIECE.format(size=size, misuse=misuse), own_memory=True)


def test_the_word_in_front_of_a_block_is_poisoned() -> None:
    assert "use-after-poison" in report_of(PIECE.format(size=600, misuse=READ.format(offset=-8)), own_memory=True)


def test_what_was_never_handed_out_is_poisoned() -> None:
    assert "use-after-poison" in report_of(PIECE.format(size=504, misuse=READ.format(offset=5 * 504)), own_memory=True)


@pytest.mark.parametrize("size", [13, 600])
def test_a_piece_of_mallocs_ends_where_it_was_asked_to(size: int) -> None:
    misuse = READ.format(offset=size - 4 + (16 if size > 512 else 0))
    assert "heap-buffer-overflow" in report_of(PIECE.format(size=size, misuse=misuse), own_memory=False)


def test_undefined_behaviour_ends_the_process() -> None:
    """Every compiled module has been built for it: the handlers are those that do not return."""
    modules = [path for path in Path(mpkv.__file__).parent.rglob("*.so") if b"__ubsan_handle" in path.read_bytes()]
    assert modules
    for module in modules:
        assert b"_abort" in module.read_bytes(), module.name
