import os
from collections.abc import Callable
from dataclasses import dataclass

from mpkv.workers.keyspace import Keyspace

@dataclass(slots=True)
class LoadResult:
    version: int = 0
    size_bytes: int = 0
    keys_loaded: int = 0
    keys_expired: int = 0
    keys_empty: int = 0
    keys_skipped: int = 0
    keys_with_expiry: int = 0
    checksum_verified: bool = False
    aux: dict[bytes, bytes] = ...
    types: dict[str, int] = ...
    databases: dict[int, int] = ...
    warnings: list[str] = ...

def load(
    path: str | os.PathLike[str],
    keyspace: Keyspace,
    shard: int,
    shards: int,
    now_ms: int,
    progress: Callable[[int, int], None] | None = None,
    *,
    keep_expired: bool = False,
    preamble: bool = False,
) -> LoadResult: ...
def check(
    path: str | os.PathLike[str],
    *,
    preamble: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> LoadResult: ...
