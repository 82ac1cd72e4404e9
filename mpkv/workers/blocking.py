"""Clients that wait for a key (BLPOP and its like), first come, first served.

A blocking command that finds nothing is kept here with its words. When a message has changed one of its keys, its
handler is called again, at the end of that message – so nobody sees the middle of a transaction. Time is kept by the
frontend, which tells when a client's is over: a waiter has no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mpkv.commands.spec import Command
from mpkv.errors import CommandError
from mpkv.resp.replies import Blocked

UNBLOCKED = CommandError("UNBLOCKED client unblocked via CLIENT UNBLOCK")


@dataclass(slots=True, eq=False)
class Waiter:
    """One blocked request."""

    number: int
    spec: Command
    words: list[bytes]
    database: int
    protocol: int
    blocked: Blocked


class Waiters:
    """All blocked requests of a shard."""

    def __init__(self, keyspace: Any, databases: list[Any]) -> None:
        self._keyspace = keyspace
        self._databases = databases
        self._by_number: dict[int, Waiter] = {}

    def __len__(self) -> int:
        return len(self._by_number)

    def numbers(self) -> list[int]:
        return list(self._by_number)

    def add(  # noqa: PLR0917 -- called from compiled code
        self, number: int, spec: Command, words: list[bytes], database: int, protocol: int, blocked: Blocked
    ) -> None:
        waiter = Waiter(number, spec, words, database, protocol, blocked)
        self._by_number[number] = waiter
        for key in blocked.keys:
            self._keyspace.waiting.setdefault((database, key), {})[number] = waiter

    def remove(self, number: int) -> Waiter | None:
        """Forget a waiter; None if it has been served already."""
        waiter = self._by_number.pop(number, None)
        if waiter is None:
            return None
        for key in waiter.blocked.keys:
            place = (waiter.database, key)
            queue = self._keyspace.waiting.get(place)
            if queue is not None:
                queue.pop(number, None)
                if not queue:
                    del self._keyspace.waiting[place]
        return waiter

    def serve(self, call: Callable[[Waiter], Any]) -> Iterator[tuple[Waiter, Any]]:
        """Serve from the keys that are ready, which may make others ready; yields each waiter with its reply."""
        ready = self._keyspace.ready
        while ready:
            database, key = ready.pop(0)
            for waiter in list(self._keyspace.waiting.get((database, key), {}).values()):
                if self._databases[database].type_of(key) != waiter.blocked.kind:
                    break
                value = call(waiter)
                if isinstance(value, Blocked):
                    continue
                self.remove(waiter.number)
                yield waiter, value

    def end(self, number: int, reason: str) -> tuple[Waiter, Any] | None:
        """A wait is over without having been served: `timeout`, `error` (CLIENT UNBLOCK … ERROR) or `gone`; the reply
        that it gets."""
        waiter = self.remove(number)
        if waiter is None:
            return None
        return waiter, UNBLOCKED if reason == "error" else waiter.blocked.on_timeout
