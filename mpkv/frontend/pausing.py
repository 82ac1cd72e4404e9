"""CLIENT PAUSE, and whether requests must pass the gate at all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from mpkv.commands.spec import Command, Flag
from mpkv.frontend import gate
from mpkv.frontend.connection import Connection

if TYPE_CHECKING:
    from mpkv.frontend.main import Frontend

#: What CLIENT PAUSE … WRITE holds back.
PAUSED_FLAGS: Final = Flag.WRITE | Flag.MAY_REPLICATE


class Pausing:
    """Holds clients back until a time."""

    def __init__(self, server: Frontend) -> None:
        self._server = server
        self._router = server.router
        self._until = 0.0
        self._everything = False
        self._held: list[Connection] = []

    def begin(self, milliseconds: int, *, everything: bool) -> None:
        self._until = max(self._until, time.monotonic() + milliseconds / 1000)
        self._everything = self._everything or everything
        self.update_hold()

    def end(self) -> None:
        self._until = 0.0
        self._everything = False
        self.update_hold()
        held, self._held = self._held, []
        for conn in held:
            conn.release(32)

    def holds_back(self, conn: Connection, spec: Command) -> bool:
        """Whether a command has to wait for the end; then its connection does."""
        if not self._until or not (self._everything or gate.flags_in_effect(conn, spec) & PAUSED_FLAGS):
            return False
        conn.stop(32)
        self._held.append(conn)
        return True

    def update_hold(self) -> None:
        """Whether writes, or everything, must pass the gate."""
        self._router.hold = (
            2 if self._until and self._everything else 1 if self._until or self._server.saver.refuses_writes else 0
        )

    def end_if_due(self) -> None:
        if self._until and time.monotonic() >= self._until:
            self.end()
