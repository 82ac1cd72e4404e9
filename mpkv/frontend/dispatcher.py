"""Steps 3, 4 and 5 the general way: name, gate, shard or handler, for all that the compiled short way in `Connection`
leaves to it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from mpkv import errors
from mpkv.commands.spec import Command, Flag
from mpkv.errors import CommandError
from mpkv.frontend import gate, transactions
from mpkv.frontend.connection import Connection, release_task
from mpkv.frontend.router import NotNow
from mpkv.resp.encoder import encode_bytes
from mpkv.resp.replies import NO_REPLY, QUEUED, Messages

if TYPE_CHECKING:
    from mpkv.frontend.main import Frontend

logger = logging.getLogger(__name__)

CROSS_PROTOCOL: Final = (b"post", b"host:")


class Dispatcher:
    """Finds a request's command and has it run: in this process, on its shards, or not at all."""

    def __init__(self, server: Frontend) -> None:
        self._server = server
        self._config = server.config
        self._router = server.router
        self._block = server.block
        self._slow = server.slow
        self._loop = server.loop
        self._pubsub = server.pubsub
        self._pausing = server.pausing
        self._by_name = {
            name.encode(): spec
            for name, spec in server.table.items()
            if "|" not in name and not spec.flags & Flag.INTERNAL
        }
        self._attack_noted = -60.0

    def find(self, words: Sequence[bytes]) -> Command | CommandError:
        """Step 3: the command that a request names with the right number of words, or why there is none."""
        spec = self._named(words)
        return spec if isinstance(spec, CommandError) or spec.accepts(len(words)) else _wrong_arity(spec, words)

    def _named(self, words: Sequence[bytes]) -> Command | CommandError:
        spec = self._by_name.get(words[0].lower())
        if spec is None:
            return errors.unknown_command(words)
        if spec.subcommands and len(words) > 1:
            member = spec.subcommands.get(words[1].lower())
            if member is not None:
                return member
            if not spec.flags & Flag.PROTECTED:
                return errors.unknown_subcommand(spec.name, words[1])
        return spec

    def _note_attack(self) -> None:
        """A browser was made to talk to us; said once a minute, or the log would be the attack."""
        if time.monotonic() - self._attack_noted < 60:
            return
        self._attack_noted = time.monotonic()
        logger.warning(
            "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands. "
            "Connection aborted."
        )

    def perform(self, conn: Connection, words: list[bytes]) -> bool:
        """Steps 3 to 5 for one request; True: not now, it will be parsed again. Raises NotNow likewise."""
        if words[0].lower() in CROSS_PROTOCOL:
            self._note_attack()
            conn.kill()
            return False
        spec = self._named(words)
        if isinstance(spec, CommandError):
            self._refuse(conn, words, None, spec)
            return False
        if not spec.accepts(len(words)):
            self._refuse(conn, words, spec, _wrong_arity(spec, words))
            return False
        refusal = gate.admit(conn, spec, words)
        if refusal is gate.OOM and not conn.settle():
            return True  # what this client has asked for before may make room
        if refusal is not None:
            self._refuse(conn, words, spec, refusal)
            return False
        if self._pausing.holds_back(conn, spec):
            return True
        conn.last_command = spec.name
        if conn.transaction is not None and spec.name not in transactions.NOT_QUEUED:
            conn.transaction.add(spec, words)
            if conn.transaction.memory_bytes > self._config.client_query_buffer_limit:
                self._server.limits.query_buffer_exceeded(conn)
                return False
            conn.reply(QUEUED)
            return False
        if spec.on_shard:
            return self._send(conn, spec, words)
        # What a subscriber publishes may come back to it: the message follows the reply, which follows all earlier ones
        settled = spec.flags & Flag.SETTLED or (spec.flags & Flag.PUBSUB and conn.subscriptions is not None)
        if settled and not conn.settle():
            return True
        self._run_here(conn, spec, words)
        return False

    def _refuse(self, conn: Connection, words: Sequence[bytes], spec: Command | None, refusal: CommandError) -> None:
        """A command that did not get as far as running; inside MULTI it dooms the transaction."""
        if conn.transaction is not None:
            conn.transaction.doomed = True
        if words[0].lower() == b"exec":
            refusal = transactions.abort(conn, refusal)
        if spec is not None:
            self._block.count_rejected(spec.number)
        self._block.count_error(refusal.prefix)
        conn.reply(refusal)

    def _send(self, conn: Connection, spec: Command, words: Sequence[bytes]) -> bool:
        place = conn.take_place()
        try:
            self._router.send(conn, place, conn.id, conn.database, conn.protocol, spec, words)
        except CommandError as error:
            error.__traceback__ = None
            self._block.count_rejected(spec.number)
            self._block.count_error(error.prefix)
            conn.reply_at(place, error)
        except NotNow:
            conn.give_back_place()
            raise
        if spec.flags & Flag.BLOCKING:
            conn.settle()  # whether it waits its shard will say: until then nothing behind it may run
        return False

    def _run_here(self, conn: Connection, spec: Command, words: Sequence[bytes]) -> None:
        """A command of class 0: its handler runs in this process; a coroutine holds its connection until it is done."""
        started_ns = time.perf_counter_ns()
        value = self.call(conn, spec, words)
        if asyncio.iscoroutine(value):
            conn.stop(16)
            place = conn.take_place()
            task = self._loop.create_task(value)
            self._server.tasks.add(task)
            count = partial(self._count, conn, spec, words, started_ns)
            task.add_done_callback(partial(self._task_done, conn, place, count))
        elif isinstance(value, Messages):
            for message in value:
                conn.push(encode_bytes(message, conn.protocol))
            self._server.sessions.no_reply_came(conn)
        elif value is not NO_REPLY:
            conn.reply(value)
        self._pubsub.push_late(conn)

    def _task_done(
        self, conn: Connection, place: int, count: Callable[[Any], None], task: asyncio.Task[Any]
    ) -> None:
        self._server.tasks.discard(task)
        error = task.exception()
        if isinstance(error, CommandError):
            value: Any = error
        elif error is not None:
            logger.critical("a command failed in a way it must not", exc_info=error)
            value = CommandError("ERR internal error: the server's log has the details")
        else:
            value = task.result()
        count(value)
        conn.reply_at(place, value)
        release_task(conn)
        self._router.flush_soon()

    def call(self, conn: Connection, spec: Command, words: Sequence[bytes]) -> Any:
        """Call a handler of this process: its value, or the error that it raised. NotNow passes through."""
        started = time.perf_counter_ns()
        try:
            value = spec.handler(conn, *words[spec.words :])
        except errors.Misused:
            value = errors.subcommand_syntax(spec.name.partition("|")[0], words[1])
        except CommandError as error:
            error.__traceback__ = None  # shared instances would gather a frame at every raise
            value = error
        except NotNow:
            raise
        except Exception:
            logger.critical("%s failed on %r", spec.name, list(words)[:3], exc_info=True)
            value = CommandError("ERR internal error: the server's log has the details")
        if not asyncio.iscoroutine(value):
            self._count(conn, spec, words, started, value)
        return value

    def _count(self, conn: Connection, spec: Command, words: Sequence[bytes], started_ns: int, value: Any) -> None:
        """A command of this process has been done."""
        failed = isinstance(value, CommandError)
        if failed:
            self._block.count_error(value.prefix)
        if spec.number >= 0:
            elapsed_ns = time.perf_counter_ns() - started_ns
            self._block.count_command(spec.number, elapsed_ns, failed)
            self._slow.note_here(conn, spec, words, elapsed_ns)


def _wrong_arity(spec: Command, words: Sequence[bytes]) -> CommandError:
    """DEBUG is no container in Redis: it looks at its words itself."""
    if spec.flags & Flag.PROTECTED and len(words) > 1:
        return errors.subcommand_syntax("debug", words[1])
    return errors.wrong_arity(spec.name)
