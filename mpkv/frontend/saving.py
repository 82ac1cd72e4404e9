"""Snapshots: one point in the sequence, a child in every worker, one file.

A marker goes to all shards at one number; each forks (or, at shutdown, writes in place) and its part holds exactly what
was executed up to the marker. When all parts are there, a worker joins them into `dbfilename`. Nothing is started, and
no file is renamed, while a shard is down: the file would lack its keys. Any failure removes the parts and leaves the
old file as it was.

A shard whose worker is not started any more would keep the others from ever being saved. So at the shutdown, and only
then, another worker stands in for it: that shard's part is what the last snapshot has of it, which is what it would
have been given as well. Until then its save points fail, for all to see.

The schedule is Redis': `save <seconds> <changes>` points, looked at with every tick; after a failure not before
`RETRY_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from mpkv import REDIS_VERSION
from mpkv.errors import CommandError
from mpkv.frontend.pending import Answer
from mpkv.resp.decoder import decode
from mpkv.snapshot.join import remove_abandoned
from mpkv.wire import CONTROL_NUMBERS

logger = logging.getLogger(__name__)

#: After a failed attempt the schedule waits so long.
RETRY_S: Final = 5.0

#: A shard that dies right after the snapshot does not keep anybody waiting for longer.
TELL_S: Final = 1.0

IN_PROGRESS: Final = CommandError("ERR Background save already in progress")
SHARD_DOWN: Final = CommandError("ERR a shard is down or loading: a snapshot would lack its keys")


class SaveFailed(Exception):
    """A snapshot was not made; the text says why."""


class Saver:
    """Makes snapshots and keeps the schedule.

    :param server: the frontend
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        self._task: asyncio.Task[None] | None = None
        self._parts: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._joined: asyncio.Future[dict[str, Any]] | None = None
        self._joiner = 0
        self._last_try = 0.0
        # What the board remembers of the time before this frontend
        self.failed = bool(server.block.counter("snapshot_last_failed"))
        self.last_save_s = server.block.counter("snapshot_last_save_seconds") or int(time.time())
        self.scheduled = False

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def refuses_writes(self) -> bool:
        """Whether writes are refused because the last snapshot failed."""
        config = self._server.config
        return bool(self.failed and config.save and config.stop_writes_on_bgsave_error)

    def check(self) -> None:
        """Whether a snapshot may start now: raises what is to be replied."""
        if self.running:
            raise IN_PROGRESS
        if self._server.router.shards_down:
            raise SHARD_DOWN

    def start(self) -> asyncio.Task[None]:
        """Start a snapshot in the background."""
        self.check()
        self._task = asyncio.get_running_loop().create_task(self._save("fork"))
        self._task.add_done_callback(_swallow)
        return self._task

    async def save_now(self) -> None:
        """A snapshot without children, for the shutdown; raises SaveFailed."""
        while self.running:
            assert self._task is not None
            with contextlib.suppress(SaveFailed):
                await asyncio.shield(self._task)
        await self._save("inline")

    def tick(self) -> None:
        """Start a snapshot if a save point has been reached."""
        if self.running:
            return
        if self._server.router.shards_down:
            self._note_hopeless()
            return
        if self.scheduled:
            self.scheduled = False
            self.start()
            return
        reached = self._save_point()
        if reached is not None:
            logger.info("%d changes in %d seconds. Saving...", reached[1], reached[0])
            self.start()

    def _save_point(self) -> tuple[int, int] | None:
        """A save point that has been reached, in seconds and changes, unless it failed just now."""
        now = time.time()
        if self.failed and now - self._last_try < RETRY_S:
            return None
        dirty = self._server.dirty()
        for seconds, changes in self._server.config.save:
            if dirty >= changes and now - self.last_save_s >= seconds:
                return seconds, changes
        return None

    def _note_hopeless(self) -> None:
        """A save point that is missed since a shard is down for good has failed; one that waits for a shard waits."""
        given_up = self._server.recovery.given_up
        if given_up and self._save_point() is not None:
            self._last_try = time.time()
            self._note_failure([], f"shard {min(given_up)} is down for good; what the others hold is saved at the end")

    # -- one snapshot --------------------------------------------------------------------------------------------------

    async def _save(self, mode: str) -> None:
        server = self._server
        folder = Path(server.config.dir).resolve()
        path = folder / server.config.dbfilename
        started = time.monotonic()
        self._last_try = time.time()
        server.block.put("snapshot_started_ms", int(time.time() * 1000))
        names = [folder / f"temp-{os.getpid()}-{shard}.part" for shard in range(server.shards)]
        try:
            parts = await self._write_parts(mode, names)
            if self._lacks_shards(mode):
                raise SaveFailed("a shard died meanwhile")
            await self._join(parts, path)
        except SaveFailed as error:
            self._note_failure(names, str(error))
            raise
        finally:
            self._parts.clear()
            server.block.put("snapshot_started_ms", 0)
            server.block.put("snapshot_last_duration_ms", int((time.monotonic() - started) * 1000))
        self._note_success()
        await self._tell_saved(parts)
        logger.info(
            "DB saved on disk: %d keys in %.3f seconds", sum(part["keys"] for part in parts), time.monotonic() - started
        )

    async def _write_parts(self, mode: str, names: list[Path]) -> list[dict[str, Any]]:
        """Send the marker to all shards at one number and wait for their parts."""
        loop = asyncio.get_running_loop()
        server = self._server
        if self._lacks_shards(mode):  # since it was asked for
            raise SaveFailed("a shard is down or loading")
        self._parts = {shard: loop.create_future() for shard in range(server.shards)}
        down = self._shards_down()
        number = server.router.next_number()
        for shard, future in self._parts.items():
            if shard not in down:
                answer = Answer(partial(self._answered, future, mode))
                words = [mode.encode(), os.fsencode(names[shard])]
                server.router.link_of(shard).control(CONTROL_NUMBERS["snapshot"], number, words, answer)
        for shard in down:
            logger.warning("Shard %d is down for good: of its keys the last snapshot is kept", shard)
            answer = Answer(partial(self._answered, self._parts[shard], mode))
            words = [b"stand-in", os.fsencode(names[shard]), b"%d" % shard]
            server.router.control(self._first_shard_up(), CONTROL_NUMBERS["snapshot"], words, answer)
        server.router.flush_soon()
        # To the end of the last of them, even if one has failed: a child that still writes would be in the next one's
        # way
        parts = []
        for shard, part in enumerate(await asyncio.gather(*self._parts.values(), return_exceptions=True)):
            if isinstance(part, BaseException):
                raise part
            if part["error"]:
                raise SaveFailed(f"shard {shard}: {os.strerror(part['error'])}")
            parts.append(part)
        return parts

    def _shards_down(self) -> set[int]:
        router = self._server.router
        return {shard for shard in range(self._server.shards) if not router.link_of(shard).up}

    def _first_shard_up(self) -> int:
        return min(set(range(self._server.shards)) - self._shards_down())

    def _lacks_shards(self, mode: str) -> bool:
        """Whether a shard is down that nobody can stand in for."""
        down = self._shards_down()
        covered = mode == "inline" and down <= self._server.recovery.given_up and len(down) < self._server.shards
        return bool(down) and not covered

    def _answered(self, future: asyncio.Future[dict[str, Any]], mode: str, kind: int | None, reply: bytes) -> None:
        """A worker's answer to the marker: its part, or that its child is under way."""
        if future.done():
            return
        if kind is None:
            future.set_exception(SaveFailed("a shard died meanwhile"))
            return
        value = decode(reply)[0]
        if mode == "inline" and isinstance(value, bytes) and value.startswith(b"{"):
            future.set_result(msgspec.json.decode(value))
        elif value != b"OK":
            future.set_exception(SaveFailed(str(value)))

    async def _join(self, parts: list[dict[str, Any]], path: Path) -> None:
        server = self._server
        joiner = self._joiner = self._first_shard_up()
        self._joined = asyncio.get_running_loop().create_future()
        joined = self._joined
        request = {
            "parts": [{name: part[name] for name in ("path", "keys", "size_bytes", "crc64")} for part in parts],
            "path": str(path), "server_version": REDIS_VERSION, "created_at_s": int(time.time()),
            "used_memory_bytes": server.board.total("used_memory"), "with_checksum": server.config.rdbchecksum,
        }  # fmt: skip

        def answered(kind: int | None, reply: bytes) -> None:
            if kind is None and not joined.done():
                joined.set_exception(SaveFailed(f"shard {joiner} died while it joined the parts"))

        server.router.control(joiner, CONTROL_NUMBERS["join"], [msgspec.json.encode(request)], Answer(answered))
        news = await joined
        if news["error"]:
            raise SaveFailed(news["error"])

    def take_news(self, shard: int, news: dict[str, Any]) -> None:
        """An event of a worker's."""
        if news["event"] == "snapshot":
            future = self._parts.get(shard)
        else:
            future = self._joined
        if future is not None and not future.done():
            future.set_result(news)

    def shard_died(self, shard: int) -> None:
        """What was expected of this shard will not come."""
        for future in (self._parts.get(shard), self._joined if shard == self._joiner else None):
            if future is not None and not future.done():
                future.set_exception(SaveFailed(f"shard {shard} died meanwhile"))

    def remove_abandoned(self) -> None:
        """What dead processes had begun to write."""
        remove_abandoned(Path(self._server.config.dir))

    def _note_success(self) -> None:
        server = self._server
        self.failed = False
        self.last_save_s = int(time.time())
        block = server.block
        block.count("snapshot_saves")
        block.put("snapshot_last_failed", 0)
        block.put("snapshot_last_save_seconds", self.last_save_s)
        server.update_hold()

    async def _tell_saved(self, parts: list[dict[str, Any]]) -> None:
        """Every shard learns how many of its changes are on disk, before SAVE is answered: INFO shows the rest."""
        router = self._server.router
        told = []
        for shard, part in enumerate(parts):
            if router.link_of(shard).up:
                told.append(asyncio.get_running_loop().create_future())
                router.control(
                    shard, CONTROL_NUMBERS["saved"], [b"%d" % part["dirty"]], Answer(partial(_settle, told[-1]))
                )
        if told:
            await asyncio.wait(told, timeout=TELL_S)

    def _note_failure(self, names: list[Path], reason: str) -> None:
        logger.warning("Background saving error: %s", reason)
        for name in names:
            with contextlib.suppress(OSError):
                name.unlink()
        self.remove_abandoned()
        self.failed = True
        self._server.block.count("snapshot_failures")
        self._server.block.put("snapshot_last_failed", 1)
        self._server.update_hold()


def _settle(future: asyncio.Future[None], *_: Any) -> None:
    if not future.done():
        future.set_result(None)


def _swallow(task: asyncio.Task[None]) -> None:
    """A failed save in the background was logged and counted; anything else is ours."""
    if not task.cancelled():
        error = task.exception()
        if error is not None and not isinstance(error, SaveFailed):
            logger.critical("the snapshot failed in a way it must not", exc_info=error)
