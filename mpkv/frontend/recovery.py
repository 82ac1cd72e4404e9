"""The links when workers come and go, and what a new frontend does before it serves (R10).

The supervisor says of every worker where it listens, or that it is down. A frontend that follows one that died asks
each worker for the last number that it executed, takes a number above all of these and above all intents, completes the
intents in order, and only then accepts connections. One that starts with the server has nothing to recover and answers
-LOADING until the shards are there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from mpkv.control import Message
from mpkv.frontend.link import Link
from mpkv.frontend.pending import Answer
from mpkv.resp.decoder import decode
from mpkv.shm.blobs import Pool
from mpkv.shm.ring import Ring

if TYPE_CHECKING:
    from mpkv.frontend.main import Frontend

logger = logging.getLogger(__name__)

#: Above every sequence number.
EVERY_NUMBER: Final = (1 << 64) - 1


class Recovery:
    """Opens and closes the links, and knows whether the past is settled."""

    def __init__(self, server: Frontend) -> None:
        self._server = server
        self._config = server.config
        self._router = server.router
        self._block = server.block
        self._loop = server.loop
        self.done = False
        self._pollers: dict[int, int] = {}
        self.given_up: set[int] = set()  # shards whose worker is not started any more
        self._last_numbers: dict[int, int] = {}

    def nothing_to_recover(self) -> None:
        """This frontend starts with the server."""
        self.done = True
        self._loop.create_task(self._server.listener.serve())

    def link_up(self, message: Message) -> None:
        shard = message["shard"]
        link = self._server.links[shard]
        fd = link.open(message["endpoint"], self._server.epoch, message["incarnation"], *self._way_beside(shard))
        self._pollers[shard] = fd
        self._loop.add_reader(fd, self._socket_stirs, link)
        if self.done:
            count = link.resend()
            if count:
                logger.info("Shard %d is back: %d requests that had waited were sent to it", shard, count)
            self._router.note_links()
        else:
            link.hello(Answer(lambda kind, reply: self._worker_answered(shard, kind, reply)))
        self._server.settings.send_to(shard)
        self._router.flush_soon()
        self._server.channel.send("shard-served", shard=shard)

    def link_down(self, shard: int, last_number: int, *, for_good: bool) -> None:
        """A worker is gone: what it may have executed is lost, the rest waits, unless there will be no other worker."""
        link = self._server.links[shard]
        if shard in self._pollers:
            self._loop.remove_reader(self._pollers.pop(shard))
        was_up = link.up
        if was_up:
            link.drain_rest()
            link.close()
            for connection in self._server.clients.values():
                connection.write_held()
        if was_up or for_good:
            lost = link.forget_executed(EVERY_NUMBER if for_good else last_number)
            logger.warning("Shard %d is down; %d requests that it may have executed are lost", shard, lost)
        if for_good:
            self.given_up.add(shard)
        self._router.note_links()
        self._server.saver.shard_died(shard)
        if not self.done:
            self._last_numbers[shard] = last_number
            self._recover_if_complete()

    def _way_beside(self, shard: int) -> tuple[()] | tuple[Ring, Ring, Pool | None]:
        """The rings of a shard, and the pages of its large replies."""
        if not self._config.link_rings:
            return ()
        segment = self._server.segment
        pages = Pool(segment, 1 + shard) if self._config.large_value_pool else None
        return Ring(segment, 2 * shard), Ring(segment, 2 * shard + 1), pages

    def _worker_answered(self, shard: int, kind: int | None, reply: bytes) -> None:
        if kind is None:
            return  # it died over the question: the supervisor has told what it executed
        self._last_numbers[shard] = decode(reply)[0]
        self._recover_if_complete()

    def _recover_if_complete(self) -> None:
        """When every worker has answered or is known to be down: complete the intents, then serve."""
        if self.done or len(self._last_numbers) < self._server.shards:
            return
        unfinished = self._server.intents.unfinished()
        self._router.number = (
            max([*self._last_numbers.values(), *(number for _, number, _ in unfinished), self._router.number]) + 1
        )
        left = 0
        for handle, number, parts in unfinished:
            missing = [(shard, envelope) for shard, envelope in parts if number > self._last_numbers[shard]]
            if not missing:
                self._server.intents.close(handle)
                continue
            left += 1
            done = _Countdown(len(missing), partial(self._server.intents.close, handle))
            for shard, envelope in missing:
                if shard in self.given_up:
                    done()
                else:  # a shard that is down gets it when it is back, before anything else
                    self._router.complete_intent(shard, number, envelope, Answer(done))
        if unfinished:
            logger.warning(
                "%d writes over several shards were under way when the last frontend died; "
                "%d had parts missing, which are executed now",
                len(unfinished),
                left,
            )
            self._block.count("intents_completed", left)
        self.done = True
        self._router.note_links()
        self._router.flush_soon()
        self._loop.create_task(self._server.listener.serve())

    def _socket_stirs(self, link: Link) -> None:
        link.attend()
        self._router.drain()


class _Countdown:
    """Calls back when it was called so many times."""

    def __init__(self, count: int, callback: Callable[[], None]) -> None:
        self._left = count
        self._callback = callback

    def __call__(self, *_: Any) -> None:
        self._left -= 1
        if self._left == 0:
            self._callback()
