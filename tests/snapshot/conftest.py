"""What the snapshot tests share: keyspaces as plain Python data, RDB files made by hand, and a real redis-server."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from mpkv.sharding import shard_of
from mpkv.snapshot.child import write_inline
from mpkv.snapshot.format import checksum
from mpkv.snapshot.join import Joined, join_parts
from mpkv.snapshot.reader import LoadResult, load
from mpkv.workers.database import Database
from mpkv.workers.keyspace import Keyspace
from tests.helpers.sanitizers import foreign_environment

#: (database, key) -> (type, value, expiry in ms or -1); a value is bytes, a list, a set, or a dict to values or scores
Contents = dict[tuple[int, bytes], tuple[str, Any, int]]

FAR_FUTURE_MS = 4_102_444_800_000  #: the year 2100
TYPE_NUMBERS = {"string": 0, "list": 1, "set": 2, "zset": 3, "hash": 4}


def fill(keyspace: Keyspace, contents: Contents) -> Keyspace:
    """Put those keys in that belong to the keyspace's shard."""
    for (index, key), (kind, value, expire_at_ms) in contents.items():
        if shard_of(key, keyspace.shards) != keyspace.shard:
            continue
        db = Database(keyspace, index)
        if kind == "string":
            db.set_string(key, value)
        else:
            _fill_aggregate(db, key, kind, value)
        if expire_at_ms != -1:
            db.set_expire_at(key, expire_at_ms)
    return keyspace


def _fill_aggregate(db: Database, key: bytes, kind: str, value: Any) -> None:
    handle = getattr(db, f"{kind}_to_fill")(key)
    if kind == "list":
        for element in value:
            handle.push_tail(element)
    elif kind == "set":
        for member in value:
            handle.add(member)
    else:
        for name, content in value.items():
            handle.put(name, content)
    db.changed(key)


def contents_of(*keyspaces: Keyspace) -> Contents:
    """Everything that is in these shards; no key may be in two."""
    contents: Contents = {}
    for keyspace in keyspaces:
        for index in range(keyspace.databases):
            db = Database(keyspace, index)
            for key in list(db.keys()):
                assert (index, key) not in contents
                kind = db.type_of(key)
                contents[index, key] = (kind, _value(db, key, kind), db.expire_at(key))
    return contents


def _value(db: Database, key: bytes, kind: str) -> Any:
    value = getattr(db, f"{kind}_for_read")(key)
    if kind == "list":
        return value.range(0, len(value) - 1)
    if kind == "set":
        return set(value.members())
    if kind == "hash":
        return dict(value.items())
    if kind == "zset":
        return dict(value.by_rank(0, len(value) - 1))
    return value


def save(path: Path, *keyspaces: Keyspace) -> Joined:
    """One RDB file of all shards."""
    results = [write_inline(keyspace, path.with_name(f"part-{keyspace.shard}")) for keyspace in keyspaces]
    assert [result.error for result in results] == [0] * len(results)
    parts = [result.part for result in results]
    return join_parts(parts, path, server_version="7.2.0", created_at_s=1_700_000_000, used_memory_bytes=1000)


def load_shards(
    path: Path, shards: int = 1, now_ms: int = 0, **options: Any
) -> tuple[list[Keyspace], list[LoadResult]]:
    keyspaces = [Keyspace(16, shard, shards) for shard in range(shards)]
    results = [load(path, keyspace, keyspace.shard, shards, now_ms, **options) for keyspace in keyspaces]
    return keyspaces, results


def rdb_file(path: Path, *pieces: bytes, version: int = 11) -> Path:
    """A file of these pieces (what stands between the header and the end) with a right checksum."""
    body = b"REDIS%04d" % version + b"".join(pieces) + b"\xff"
    path.write_bytes(body + struct.pack("<Q", checksum(body)))
    return path


def plain(text: bytes) -> bytes:
    """A string of less than 16 KiB in its plain form."""
    if len(text) < 64:
        return bytes([len(text)]) + text
    return bytes([0x40 | len(text) >> 8, len(text) & 0xFF]) + text


# -- DEBUG DIGEST, after the description in Redis' debug.c: SHA-1s, chained where order matters, xored where it does not


def _xor(digest: bytes, data: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(digest, hashlib.sha1(data).digest(), strict=True))


def _mix(digest: bytes, data: bytes) -> bytes:
    return hashlib.sha1(_xor(digest, data)).digest()


def digest(contents: Contents) -> str:
    """What DEBUG DIGEST says of a server that holds exactly this."""
    total = bytes(20)
    for index in sorted({index for index, _ in contents}):
        total = _mix(total, struct.pack(">I", index))
        for (its_index, key), (kind, value, expire_at_ms) in contents.items():
            if its_index == index:
                total = _xor(total, _key_digest(key, kind, value, expire_at_ms))
    return total.hex()


def _key_digest(key: bytes, kind: str, value: Any, expire_at_ms: int) -> bytes:
    total = _mix(_mix(bytes(20), key), struct.pack(">I", TYPE_NUMBERS[kind]))
    if kind == "string":
        total = _mix(total, value)
    elif kind == "list":
        for element in value:
            total = _mix(total, element)
    elif kind == "set":
        for member in value:
            total = _xor(total, member)
    else:
        for name, content in value.items():
            text = content if kind == "hash" else b"%.17g" % content
            total = _xor(total, _mix(_mix(bytes(20), name), text))
    return _xor(total, b"!!expire!!") if expire_at_ms != -1 else total


# ------------------------------------------------------------------------------------------------------- the real thing


def _redis_server() -> str:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server on this machine")
    return program


@contextmanager
def _running_redis(directory: Path, *options: str) -> Iterator[redis.Redis]:
    socket = directory / "redis.sock"
    arguments = ["--port", "0", "--unixsocket", str(socket), "--dir", str(directory), "--save", ""]
    arguments += ["--enable-debug-command", "yes", *options]
    log = (directory / "redis.log").open("wb")
    process = subprocess.Popen([_redis_server(), *arguments], stdout=log, stderr=log, env=foreign_environment())
    client = redis.Redis(unix_socket_path=str(socket))
    try:
        _wait_until_loaded(client, process, directory)
        yield client
    finally:
        client.close()
        process.kill()
        process.wait()
        log.close()


def _wait_until_loaded(client: redis.Redis, process: subprocess.Popen[bytes], directory: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            client.ping()
            return
        except (redis.ConnectionError, redis.BusyLoadingError):
            refused = process.poll() is not None
            if refused or time.monotonic() > deadline:
                pytest.fail(f"redis-server does not start:\n{(directory / 'redis.log').read_text()[-2000:]}")
            time.sleep(0.02)


@pytest.fixture
def running_redis() -> Callable[..., Any]:
    """``with running_redis(directory, *options) as client``: a server that has loaded the directory's dump.rdb."""
    return _running_redis


@pytest.fixture
def check_with_redis() -> Callable[[Path], None]:
    """Let redis-check-rdb judge a file."""
    program = shutil.which("redis-check-rdb")
    if program is None:
        pytest.skip("no redis-check-rdb on this machine")

    def check(path: Path) -> None:
        outcome = subprocess.run(
            [program, str(path)], env=foreign_environment(), capture_output=True, text=True, check=False
        )
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr

    return check


@pytest.fixture
def old_files() -> Path:
    """Files that old servers wrote: not part of the project, found beside it or where MPKV_RDB_SAMPLES says."""
    named = os.environ.get("MPKV_RDB_SAMPLES")
    directory = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "rdb"
    if not directory.is_dir():
        pytest.skip(f"no RDB files of old servers in {directory}")
    return directory


class Snapshots:
    """The functions above, as one fixture: test modules cannot import from here."""

    fill = staticmethod(fill)
    contents_of = staticmethod(contents_of)
    save = staticmethod(save)
    load_shards = staticmethod(load_shards)
    rdb_file = staticmethod(rdb_file)
    plain = staticmethod(plain)
    digest = staticmethod(digest)
    far_future_ms = FAR_FUTURE_MS

    @staticmethod
    def sharded(contents: Contents, shards: int) -> Sequence[Keyspace]:
        return [fill(Keyspace(16, shard, shards), contents) for shard in range(shards)]


@pytest.fixture(scope="session")
def snapshots() -> Snapshots:
    return Snapshots()
