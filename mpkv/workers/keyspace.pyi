from collections.abc import Iterator
from typing import Any

from mpkv.workers.database import Database
from mpkv.workers.lazyfree import LazyFree

class Keyspace:
    databases: int
    shard: int
    shards: int
    first_slot: int
    end_slot: int
    now_ms: int
    dirty: int
    hits: int
    misses: int
    expired: int
    evicted: int
    lazy: LazyFree
    lazy_expire: bool
    lazy_server_del: bool
    lazy_user_del: bool
    lazy_user_flush: bool
    lazy_eviction: bool
    may_expire: bool
    snapshot_running: bool
    watched: dict[tuple[int, bytes], set[int]]
    dirty_clients: set[int]
    waiting: dict[tuple[int, bytes], Any]
    ready: list[tuple[int, bytes]]
    effects_wanted: bool
    effects: list[tuple[int, tuple[bytes, ...]]]
    expired_effects: list[tuple[int, tuple[bytes, ...]]]
    def __init__(self, databases: int = 16, shard: int = 0, shards: int = 1) -> None: ...
    def database(self, index: int) -> Database: ...
    def counts(self, db: int) -> tuple[int, int, int]: ...
    def slot_size(self, db: int, slot: int) -> int: ...
    def used_memory(self) -> int: ...
    def walk(self, db: int) -> Iterator[tuple[bytes, str, Any, int]]: ...
    def set_recency(
        self, *, frequency: bool, age: bool = False, log_factor: int = 10, decay_minutes: int = 1
    ) -> None: ...
    def flush(self, db: int = -1, *, lazily: bool = False) -> None: ...
    def swap(self, first: int, second: int) -> None: ...
    def volatile_databases(self) -> list[int]: ...
    def expire_some(self, db: int, max_checked: int) -> tuple[int, int]: ...
    def validate(self, *, alone: bool = False) -> int: ...
