"""Questions to all shards, for DEBUG: digests, statistics, reloading, and where a command would go."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mpkv import errors
from mpkv.crash import handler as crash_handler
from mpkv.errors import CommandError
from mpkv.frontend.pending import Answer
from mpkv.resp.decoder import decode
from mpkv.resp.replies import Status
from mpkv.wire import CONTROL_NUMBERS

if TYPE_CHECKING:
    from mpkv.frontend.main import Frontend


class Questions:
    """Asks shards and puts their answers together."""

    def __init__(self, server: Frontend) -> None:
        self._server = server
        self._config = server.config
        self._router = server.router
        self._loop = server.loop

    async def ask_shards(
        self, question: str, *words: bytes, shards: list[int] | None = None, message: str = "debug"
    ) -> list[Any]:
        """Ask all shards, or some, at one number; their answers in order."""
        asked = list(range(self._server.shards)) if shards is None else shards
        if any(not 0 <= shard < self._server.shards for shard in asked):
            raise errors.OUT_OF_RANGE
        if any(not self._server.links[shard].up for shard in asked):
            raise errors.LOADING
        futures = [self._loop.create_future() for _ in asked]
        number = self._router.next_number()
        for shard, future in zip(asked, futures, strict=True):
            content = [question.encode(), *words] if message == "debug" else list(words)
            self._server.links[shard].control(CONTROL_NUMBERS[message], number, content, Answer(_resolver(future)))
        self._router.flush_soon()
        answers = await asyncio.gather(*futures)
        for answer in answers:
            if isinstance(answer, CommandError):
                raise answer
        return answers

    async def digest(self) -> bytes:
        """All shards' digests as one: what redis-server's DEBUG DIGEST says of the same data."""
        per_shard = await self.ask_shards("digest")
        total = bytes(20)
        for index in range(self._config.databases):
            keys = bytes(20)
            for digests in per_shard:
                keys = _xor(keys, digests[index])
            if any(self._server.board.workers[shard].database(index).keys for shard in range(self._server.shards)):
                number = hashlib.sha1(struct.pack(">I", index), usedforsecurity=False).digest()
                total = hashlib.sha1(_xor(total, number), usedforsecurity=False).digest()
                total = _xor(total, keys)
        return Status(total.hex().encode())

    async def reload(self, *, save: bool) -> bool:
        """DEBUG RELOAD."""
        if save and not await self._server.save():
            return False
        await self.ask_shards("", message="reload")
        return True

    def explain(self, words: Sequence[bytes]) -> list[Any]:
        """Which shards would run a command, and its class."""
        spec = self._server.dispatcher.find(words)
        if isinstance(spec, CommandError):
            raise spec
        if not spec.on_shard:
            return [b"class", 0, b"shards", []]
        shards = self._router.shards_of(spec, words)
        kind: Any = 1 if len(shards) == 1 else b"S" if spec.across is not None else b"H"
        slots = [self._router.slot_of(words[at]) for indexes in shards.values() for at in indexes]
        return [b"class", kind, b"shards", list(shards), b"slots", slots]

    def segfault(self) -> None:
        """DEBUG SEGFAULT."""
        crash_handler.segfault()


def _resolver(future: asyncio.Future[Any]) -> Callable[[int | None, bytes], None]:
    """Puts an answer into a future."""

    def resolve(kind: int | None, reply: bytes) -> None:
        if not future.done():
            future.set_result(errors.LOADING if kind is None else decode(reply)[0])

    return resolve


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))
