"""Files that a real redis-server and this writer make are read by one another."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from mpkv.workers.keyspace import Keyspace

FAR_FUTURE_MS = 4_102_444_800_000


def some_of_everything() -> dict[Any, Any]:
    """All types, small and large, in several databases."""
    contents: dict[Any, Any] = {}
    for index in (0, 1, 15):
        for number in (0, 7, -7, 200, -200, 70_000, -70_000, 2**31, -(2**31) - 1, 2**63 - 1, -(2**63)):
            contents[index, b"integer:%d" % number] = ("string", b"%d" % number, -1)
        contents[index, b"empty"] = ("string", b"", -1)
        contents[index, b"compressible"] = ("string", b"abcabc" * 5000, FAR_FUTURE_MS + index)
        contents[index, bytes(range(256))] = ("string", random.Random(index).randbytes(20_000), -1)
        for size in (1, 20, 3000):
            words = [b"%d" % n if n % 3 else b"word %d " % n + b"a" * (n % 90) for n in range(size)]
            contents[index, b"list:%d" % size] = ("list", [*words, b"long " * 3000], -1)
            contents[index, b"set:%d" % size] = ("set", set(words), -1)
            contents[index, b"integers:%d" % size] = (
                "set",
                {b"%d" % (n << n % 60) for n in range(size)},
                FAR_FUTURE_MS,
            )
            contents[index, b"hash:%d" % size] = ("hash", {word: word * 2 for word in words}, -1)
            scores = {word: (n - size / 2) / 3 for n, word in enumerate(words)}
            contents[index, b"zset:%d" % size] = ("zset", scores | {b"up": float("inf"), b"down": float("-inf")}, -1)
    return contents


def test_redis_loads_what_several_shards_wrote_and_sees_the_same(
    snapshots: Any, tmp_path: Path, running_redis: Any, check_with_redis: Any
) -> None:
    contents = some_of_everything()
    joined = snapshots.save(tmp_path / "dump.rdb", *snapshots.sharded(contents, 3))
    check_with_redis(tmp_path / "dump.rdb")
    with running_redis(tmp_path) as client:
        assert client.execute_command("DEBUG", "DIGEST").decode() == snapshots.digest(contents)
        assert client.info("persistence")["rdb_last_load_keys_loaded"] == joined.keys == len(contents)
        assert client.pexpiretime(b"compressible") == FAR_FUTURE_MS


@pytest.mark.parametrize("shards", [1, 3, 4])
def test_what_redis_wrote_is_loaded_by_any_number_of_shards(
    snapshots: Any, tmp_path: Path, running_redis: Any, shards: int
) -> None:
    """Redis turns the plain types into listpacks, intsets, quicklists and compressed strings and writes these."""
    contents = some_of_everything()
    snapshots.save(tmp_path / "dump.rdb", snapshots.fill(Keyspace(16), contents))
    with running_redis(tmp_path) as client:
        client.function_load("#!lua name=library\nredis.register_function('f', function() return 1 end)")
        client.save()
        digest = client.execute_command("DEBUG", "DIGEST").decode()
    loaded, results = snapshots.load_shards(tmp_path / "dump.rdb", shards)
    assert snapshots.contents_of(*loaded) == contents
    assert snapshots.digest(snapshots.contents_of(*loaded)) == digest
    assert {
        "hash in a listpack",
        "sorted set in a listpack",
        "set in an intset",
        "list in a quicklist of listpacks",
    } <= {name for result in results for name in result.types}
    assert all("function library" in result.warnings[0] for result in results)
    assert results[0].aux[b"redis-ver"].startswith(b"7.")
