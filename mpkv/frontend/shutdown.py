"""SHUTDOWN, SIGTERM and the end of the supervisor: save if wanted, then stop in order, or stay if it could not be
saved.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mpkv.errors import CommandError
from mpkv.frontend.connection import Connection
from mpkv.frontend.pending import Answer
from mpkv.frontend.saving import SaveFailed
from mpkv.resp.replies import NO_REPLY
from mpkv.shm.layout import State
from mpkv.wire import CONTROL_NUMBERS

if TYPE_CHECKING:
    from mpkv.frontend.main import Frontend

logger = logging.getLogger(__name__)


class Shutdown:
    """Ends this process, at most once."""

    def __init__(self, server: Frontend) -> None:
        self._server = server
        self._config = server.config
        self._router = server.router
        self._block = server.block
        self._loop = server.loop
        self.under_way = False
        self.done = asyncio.Event()

    def begin(
        self, *, save: bool | None, force: bool = False, on_failure: Callable[[CommandError], None] | None = None
    ) -> None:
        """Stop in order. `save`: True, False, or None = if there are save points."""
        if not self.under_way:
            self.under_way = True
            task = self._loop.create_task(self._run(save, force, on_failure))
            self._server.tasks.add(task)

    async def _run(self, save: bool | None, force: bool, on_failure: Callable[[CommandError], None] | None) -> None:
        self._server.channel.send("stopping")
        self._block.enter(State.STOPPING)
        self._server.pausing.begin(3_600_000, everything=True)
        wanted = bool(self._config.save) if save is None else save
        if save is None and self._router.shards_down and not self._server.dirty():
            wanted = False  # stopped while it loads: there is nothing that the snapshot has not
        if wanted:
            try:
                logger.info("Saving the final RDB snapshot before exiting.")
                await self._server.saver.save_now()
            except SaveFailed as error:
                logger.critical("Error trying to save the DB: %s", error)
                if not force:
                    self._stay(str(error), on_failure)
                    return
        for shard, link in enumerate(self._server.links):
            if link.up:
                self._router.control(shard, CONTROL_NUMBERS["stop"], [], Answer(lambda *_: None))
                link.flush_now()
        self._server.listener.close()
        for conn in list(self._server.clients.values()):
            conn.kill()
        await asyncio.sleep(0.05)
        self.done.set()

    def _stay(self, reason: str, on_failure: Callable[[CommandError], None] | None) -> None:
        """Not saved, so not stopped: nothing is lost without anybody's word."""
        self.under_way = False
        self._block.enter(State.READY)
        self._server.pausing.end()
        self._server.channel.send("stop-refused", reason=reason)
        if on_failure is not None:
            on_failure(CommandError("ERR Errors trying to SHUTDOWN. Check logs."))

    def on_request(self, conn: Connection, *, save: bool | None, force: bool) -> Any:
        """SHUTDOWN: no reply, unless it fails."""
        place = conn.take_place()
        self.begin(save=save, force=force, on_failure=lambda error: conn.reply_at(place, error))
        return NO_REPLY
