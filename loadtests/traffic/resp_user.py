"""A locust user that speaks RESP: one connection of its own, requests due by the clock, latencies in microseconds.

A subclass has tasks, and a task makes one request with `call` or `pipe`; a pipeline is one request. What a task asks
after its first request counts from when the answer before it came. An answer that cannot be right is reported with
`wrong`. Failures end the task, not the user: it goes on with the next, over a new connection if it has to.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any, ClassVar, Final, NoReturn

import hiredis
from locust import User
from locust.exception import RescheduleTask

from traffic.pacing import Pace
from traffic.plan import Plan
from traffic.resp_connection import Address, RespConnection, Word, pack
from traffic.samples import INTERRUPTED, REFUSED, UNSENT, WRONG, Recorder

#: Error codes by which a server says that it, or a part of it, is not there for the moment.
_NOT_THERE: Final = ("LOADING", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN")
_RETRY_S: Final = 0.05
_LONGEST_TEXT: Final = 80


class RespUser(User):  # type: ignore[misc]
    """`plan`, `recorder` and `address` are set by `locustfile.py`, the same for all users of a process."""

    abstract = True
    plan: ClassVar[Plan]
    recorder: ClassVar[Recorder]
    address: ClassVar[Address]
    #: Whether it sends by the clock; if not it waits for what others send.
    paced: ClassVar[bool] = True

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.chance = random.Random()
        self.pace = Pace(self.plan.rate_per_user if self.paced else 0.0, phase=self.chance.random())
        self._connection: RespConnection | None = None
        self._task_begins = True
        self._answered_s = 0.0

    # -- what locust calls ---------------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Connect, and let the first request come due."""
        self.connected()
        time.sleep(self.wait_time())

    def on_stop(self) -> None:
        """Say how long those requests have waited already that will not be sent any more."""
        for late_s in self.pace.unsent():
            self.recorder.answered(UNSENT, int(late_s * 1e6))
        self.disconnect()

    def wait_time(self) -> float:
        """Locust sleeps so long, then begins a task."""
        self._task_begins = True
        return self.pace.wait_s()

    # -- what tasks call -----------------------------------------------------------------------------------------------

    def call(self, name: str, *words: Word) -> Any:
        """One command as one request; its reply."""
        return self.pipe(name, [words])[0]

    def pipe(self, name: str, commands: Sequence[tuple[Word, ...]]) -> list[Any]:
        """Several commands as one request; their replies."""
        begun_s = self._begin_request()
        connection = self.connected()
        before_bytes = connection.received_bytes
        try:
            replies = connection.ask(b"".join(map(pack, commands)), len(commands))
        except (OSError, hiredis.ProtocolError) as error:
            self.lost(name, error)
        self._answered_s = time.perf_counter()
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                self.refused(name, reply)
        self.answered(name, self._answered_s - begun_s, connection.received_bytes - before_bytes)
        return replies

    def wrong(self, name: str, what: str) -> NoReturn:
        """The answer cannot be right: say so, and end the task."""
        self.fail(name, WRONG, what)

    def delivered(self, name: str, sent_ns: int, size_bytes: int) -> None:
        """Something that another user sent at this time of the machine's clock is here."""
        self.answered(name, (time.monotonic_ns() - sent_ns) / 1e9, size_bytes)

    # -- what is made of it --------------------------------------------------------------------------------------------

    def _begin_request(self) -> float:
        """From when its latency counts."""
        if not self._task_begins:
            return self._answered_s
        self._task_begins = False
        begun_s = self.pace.begin()
        if self.pace.overslept_s == self.pace.overslept_s:  # a number: it did wait
            self.recorder.overslept(int(self.pace.overslept_s * 1e6))
        return begun_s

    def answered(self, name: str, took_s: float, size_bytes: int) -> None:
        """A request has got its answer: to our own histogram, and to locust's statistics."""
        self.recorder.answered(name, int(took_s * 1e6), size_bytes)
        self._fire(name, took_s, size_bytes, None)

    def fail(self, name: str, kind: str, text: str) -> NoReturn:
        """A request has failed: the task ends."""
        self.recorder.failed(name, kind, text[:_LONGEST_TEXT])
        self._fire(name, 0.0, 0, RuntimeError(f"{kind}: {text[:_LONGEST_TEXT]}"))
        raise RescheduleTask

    def refused(self, name: str, error: hiredis.ReplyError) -> NoReturn:
        """The server has answered with an error: the task ends."""
        self.fail(name, INTERRUPTED if str(error).startswith(_NOT_THERE) else REFUSED, str(error))

    def lost(self, name: str, error: Exception) -> NoReturn:
        """The connection is of no use any more: the task ends, the next one gets a new one."""
        self.disconnect()
        kind = INTERRUPTED if isinstance(error, OSError) else WRONG
        self.fail(name, kind, str(error) or type(error).__name__)

    def _fire(self, name: str, took_s: float, size_bytes: int, error: Exception | None) -> None:
        self.environment.events.request.fire(
            request_type="RESP", name=name, response_time=took_s * 1000, response_length=size_bytes, exception=error,
            context={},
        )  # fmt: skip

    # -- the connection ------------------------------------------------------------------------------------------------

    def connected(self) -> RespConnection:
        """The user's connection; while there is none, every attempt that fails counts as a failed request."""
        while self._connection is None:
            try:
                self._connection = RespConnection(self.address)
            except OSError as error:
                self.recorder.failed("connect", INTERRUPTED, str(error)[:_LONGEST_TEXT])
                time.sleep(_RETRY_S)
            except hiredis.ReplyError as error:
                self.recorder.failed("connect", REFUSED, str(error)[:_LONGEST_TEXT])
                time.sleep(1)
        return self._connection

    def disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
