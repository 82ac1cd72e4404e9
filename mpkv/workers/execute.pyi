from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mpkv.commands.spec import Command
from mpkv.errors import CommandError
from mpkv.shm.blobs import Pool
from mpkv.shm.board import Block
from mpkv.workers.database import Database
from mpkv.workers.evict import Evictor
from mpkv.workers.keyspace import Keyspace

INTERNAL_ERROR: CommandError

class BatchFault(Exception): ...

class Executor:
    keyspace: Keyspace
    databases: list[Database]
    specs: list[Command]
    waiters: Any
    sink: Callable[..., object] | None
    last_number: int
    saved_dirty: int
    epoch: int
    noted_from_ns: int
    def __init__(
        self,
        keyspace: Keyspace,
        databases: list[Database],
        table: Mapping[str, Command],
        block: Block,
        send: Callable[[bytes], object],
        control: Callable[[int, list[bytes], int, int], Any],
        waiters: Any,
        evictor: Evictor,
        pages: Pool | None = None,
        request_pages: Pool | None = None,
        large: int = ...,
    ) -> None: ...
    def use_shortcuts(self, on: bool) -> None: ...
    def start_epoch(self, epoch: int) -> None: ...
    def flush(self) -> int: ...
    def publish(self) -> int: ...
    def run_batch(self, batch: bytes) -> bool: ...
    def watch(self, client: int, database: int, keys: Iterable[bytes]) -> None: ...
    def unwatch(self, client: int) -> None: ...
    def late(self, waiter: Any, value: Any, counts: bool = True) -> None: ...
    def event(self, payload: bytes) -> None: ...
    def want_effects(self, sink: Callable[..., object] | None) -> None: ...
