"""SipHash-1-3 against CPython's own, which hashes bytes with the same function."""

import os
import subprocess
import sys

import pytest

from mpkv.types import siphash

COMPARE = """
import sys
from mpkv.types import siphash
assert sys.hash_info.algorithm == "siphash13", sys.hash_info
siphash.seed(bytes.fromhex(sys.argv[1]))
for size in range(1, 200):
    data = bytes(index * 7 % 256 for index in range(size))
    ours, theirs = siphash.hash_of(data), hash(data) % 2**64
    assert ours == theirs, (size, ours, theirs)
"""


def cpython_key(hash_seed: int) -> bytes:
    """The key that PYTHONHASHSEED makes: all zero for 0, else from a linear congruential generator."""
    state, key = hash_seed, bytearray()
    for _ in range(siphash.KEY_BYTES):
        state = (state * 214013 + 2531011) % 2**32
        key.append(state >> 16 & 0xFF)
    return bytes(key) if hash_seed else bytes(siphash.KEY_BYTES)


def compare(hash_seed: int, key: bytes) -> int:
    command = [sys.executable, "-c", COMPARE, key.hex()]
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": ":".join(sys.path)}
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


@pytest.mark.skipif(sys.hash_info.algorithm != "siphash13", reason="this Python hashes with another function")
@pytest.mark.parametrize("hash_seed", [0, 1, 4242])
def test_it_is_the_function_that_cpython_uses(hash_seed: int) -> None:
    assert compare(hash_seed, cpython_key(hash_seed)) == 0


@pytest.mark.skipif(sys.hash_info.algorithm != "siphash13", reason="this Python hashes with another function")
def test_another_key_gives_other_hashes() -> None:
    assert compare(1, cpython_key(2)) != 0


def test_a_key_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        siphash.seed(b"short")
