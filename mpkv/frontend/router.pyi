import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from mpkv.commands.spec import Command
from mpkv.frontend.intents import IntentRing
from mpkv.frontend.link import Link
from mpkv.frontend.memory import MemoryWatch
from mpkv.frontend.pending import Exec, Gather, Receiver
from mpkv.shm.blobs import Pool
from mpkv.shm.board import Block

#: Shard -> indexes of its keys among the words of a request.
Shards = dict[int, list[int]]

MERGES: dict[str, int]

class NotNow(Exception): ...

class Router:
    hold: int
    seconds: float
    query_buffer_limit: int
    max_bulk: int
    notes_wanted: bool
    exec_number: int
    client_in_flight_limit: int
    specs: list[Command]
    shards: int
    shards_down: int
    number: int
    intents: IntentRing
    memory: MemoryWatch
    crash_after_parts: int | None
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        table: Mapping[str, Command],
        links: list[Link],
        intents: IntentRing,
        block: Block,
        memory: MemoryWatch,
        pages: Pool | None = None,
        large: int = ...,
    ) -> None: ...
    def use_short_ping(self, on: bool) -> None: ...
    def link_of(self, shard: int) -> Link: ...
    def shards_of(self, spec: Command, words: Sequence[bytes]) -> Shards: ...
    def check(self, spec: Command, words: Sequence[bytes], shards: Shards | None = None) -> None: ...
    def send(
        self,
        receiver: Receiver,
        index: int,
        client: int,
        database: int,
        protocol: int,
        spec: Command,
        words: Sequence[bytes],
    ) -> None: ...
    def split(
        self, receiver: Receiver, index: int, protocol: int, spec: Command, words: Sequence[bytes], shards: Shards
    ) -> tuple[Gather, list[tuple[int, Command, Sequence[bytes]]]]: ...
    def send_exec(
        self,
        receiver: Exec,
        client: int,
        database: int,
        parts: list[tuple[int, list[bytes], Exec, int]],
        *,
        writes: bool,
        watched_shard: int | None = None,
    ) -> None: ...
    def need_intent_room(self, size_bytes: int, parts: int) -> None: ...
    def shard_of(self, key: bytes) -> int: ...
    def slot_of(self, key: bytes) -> int: ...
    def next_number(self) -> int: ...
    def envelope(
        self,
        spec: Command,
        words: Sequence[bytes],
        client: int,
        database: int,
        protocol: int,
        *,
        parts: int = 1,
        first: bool = True,
        part_of: Command | None = None,
    ) -> bytes: ...
    def complete_intent(self, shard: int, number: int, envelope: bytes, receiver: Receiver) -> None: ...
    def control(self, shard: int, message: int, words: Sequence[bytes], receiver: Receiver) -> int: ...
    def control_all(self, message: int, words: Sequence[bytes], receivers: Sequence[Receiver]) -> int: ...
    def flush_soon(self) -> None: ...
    def is_still_full(self) -> bool: ...
    def flush(self) -> None: ...
    def bell_rang(self, bell: int) -> None: ...
    def drain(self) -> int: ...
    def note_links(self) -> None: ...
    def publish_links(self) -> None: ...

def is_whole(spec: Command, shards: Shards) -> bool: ...
def part_words(spec: Command) -> Any: ...
