"""MULTI … EXEC: commands are queued in the frontend and sent as one message to each shard, at one number (classes 1 and
S).

Arguments are known at EXEC, so a transaction needs no hop per command: the parts of all its commands that concern a
shard travel together, and the shard runs them with nothing in between. What runs in the frontend (PING, PUBLISH, SELECT
…) takes its turn when the parts have answered, except SELECT, which decides where later commands go.

WATCH: the shard of the watched keys knows whether they have changed; EXEC carries the condition to it. Watched keys and
the transaction must be on one shard.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Final

from mpkv import errors
from mpkv.commands.connection import read_hello
from mpkv.commands.spec import NO_KEYS, Command, Flag
from mpkv.errors import CommandError
from mpkv.frontend.pending import Answer, Exec
from mpkv.frontend.router import NotNow, is_whole
from mpkv.resp.encoder import encode_bytes
from mpkv.resp.replies import NO_REPLY, NULL_ARRAY, OK, Messages
from mpkv.wire import CONTROL_NUMBERS

#: `Connection.reply_mode` after CLIENT REPLY OFF.
REPLIES_OFF: Final = 1
EXECABORT = CommandError("EXECABORT Transaction discarded because of previous errors.")
WATCH_ACROSS = CommandError("CROSSSLOT Watched keys and the transaction must be on one shard")


#: What runs at once inside MULTI; everything else is queued.
NOT_QUEUED = frozenset({"exec", "discard", "multi", "watch", "quit", "reset"})


@dataclass(slots=True)
class Transaction:
    """What a connection has queued since MULTI."""

    queue: list[tuple[Command, Sequence[bytes]]] = field(default_factory=list)
    doomed: bool = False
    size_bytes: int = 0

    @property
    def writes(self) -> bool:
        """Whether it can change anything."""
        return any(spec.flags & Flag.WRITE for spec, _ in self.queue)

    @property
    def flags(self) -> Flag:
        """What its commands are, taken together: EXEC is all of that."""
        return reduce(operator.or_, (spec.flags for spec, _ in self.queue), Flag(0))

    @property
    def only_on_shards(self) -> bool:
        """Whether no command of it runs in the frontend."""
        return all(spec.on_shard for spec, _ in self.queue)

    def add(self, spec: Command, words: Sequence[bytes]) -> None:
        self.queue.append((spec, words))
        self.size_bytes += sum(map(len, words)) + 16 * len(words)

    @property
    def memory_bytes(self) -> int:
        """What the queue takes here, objects and all."""
        return self.size_bytes + 128 * len(self.queue)


@dataclass(slots=True)
class Watched:
    """The one shard where a connection watches keys."""

    shard: int
    incarnation: int


def watch(conn: Any, keys: Sequence[bytes]) -> None:
    """Watch keys; the reply comes from their shard."""
    server = conn.server
    shards = {server.router.shard_of(key) for key in keys}
    if conn.watched is not None:
        shards.add(conn.watched.shard)
    if len(shards) > 1:
        raise WATCH_ACROSS
    (shard,) = shards
    link = server.router.link_of(shard)
    if not link.up:
        raise errors.LOADING
    if conn.watched is None:
        conn.watched = Watched(shard, link.incarnation)
    place = conn.take_place()

    def answered(kind: int | None, _: bytes) -> None:
        if kind is None:
            server.outcome_unknown(conn)
        else:
            conn.reply_at(place, OK)

    words = [b"%d" % conn.id, b"%d" % conn.database, *keys]
    server.router.control(shard, CONTROL_NUMBERS["watch"], words, Answer(answered))


def forget_watched(conn: Any) -> None:
    """UNWATCH, DISCARD, the end of the connection."""
    watched, conn.watched = conn.watched, None
    if watched is not None:
        link = conn.server.router.link_of(watched.shard)
        if link.up and link.incarnation == watched.incarnation:
            conn.server.router.control(
                watched.shard, CONTROL_NUMBERS["unwatch"], [b"%d" % conn.id], Answer(lambda *_: None)
            )


def execute(conn: Any) -> None:
    """EXEC. May raise NotNow, before anything was changed."""
    transaction: Transaction = conn.transaction
    if not (transaction.only_on_shards or conn.settle()):
        raise NotNow
    if transaction.doomed:
        end(conn)
        forget_watched(conn)
        raise EXECABORT
    try:
        shards_of_all = _check(conn, transaction)
    except CommandError:
        end(conn)
        forget_watched(conn)
        raise
    watched = conn.watched
    conn.watched = None
    end(conn)
    if watched is not None and conn.server.router.link_of(watched.shard).incarnation != watched.incarnation:
        conn.reply(NULL_ARRAY)  # the shard fell back to its snapshot: what was watched may have changed
        return
    _send(conn, transaction, shards_of_all, watched)


def abort(conn: Any, refusal: CommandError) -> CommandError:
    """EXEC itself was refused, which ends the transaction; the reply."""
    if conn.transaction is not None:
        end(conn)
        forget_watched(conn)
    return CommandError(f"EXECABORT Transaction discarded because of: {refusal.text.removeprefix('ERR ')}")


def end(conn: Any) -> None:
    conn.transaction = None
    conn.server.update_plain(conn)


def _check(conn: Any, transaction: Transaction) -> list[dict[int, list[int]] | None]:
    """For each command its shards; raises what EXEC as a whole is answered."""
    router = conn.server.router
    found: list[dict[int, list[int]] | None] = []
    for spec, words in transaction.queue:
        shards = router.shards_of(spec, words) if spec.on_shard else None
        if shards is not None:
            if len(shards) > 1 and spec.across is None:
                found.append({})  # CROSSSLOT is this command's own reply
                continue
            router.check(spec, words, shards)
        found.append(shards)
    all_shards = {shard for shards in found if shards for shard in shards}
    if conn.watched is not None:
        if not all_shards <= {conn.watched.shard}:
            raise WATCH_ACROSS
        if not router.link_of(conn.watched.shard).up:
            raise errors.LOADING
    if len(all_shards) > 1 and transaction.writes:
        envelopes = len(all_shards) * len(transaction.queue)  # at most: every command on every shard
        router.need_intent_room(transaction.size_bytes + 64 * envelopes, len(all_shards))
    return found


def _send(
    conn: Any, transaction: Transaction, shards_of_all: list[dict[int, list[int]] | None], watched: Watched | None
) -> None:
    """Deal the commands out to their shards and send the parts."""
    router = conn.server.router
    place = conn.take_place()
    gather = Exec(conn, place, conn.protocol, len(transaction.queue), router.exec_number)
    gather.queue = transaction.queue
    router.next_number()
    requests: dict[int, list[bytes]] = {}
    receivers: dict[int, list[tuple[Any, int]]] = {}
    local: dict[int, tuple[Command, Sequence[bytes]]] = {}
    database, protocol = conn.database, conn.protocol
    for index, ((spec, words), shards) in enumerate(zip(transaction.queue, shards_of_all, strict=True)):
        if shards is None:
            local[index] = (spec, words)
            database, protocol = _foresee(conn, spec, words, (database, protocol))
        elif not shards:
            local[index] = (_refusal(errors.CROSSSLOT), words)
        elif is_whole(spec, shards):
            (shard,) = shards
            requests.setdefault(shard, []).append(router.envelope(spec, words, conn.id, database, protocol))
            receivers.setdefault(shard, []).append((None, index))
        else:
            try:
                part_gather, parts = router.split(gather.member(), index, protocol, spec, words, shards)
            except CommandError as error:  # this command's own reply, as CROSSSLOT is
                local[index] = (_refusal(error), words)
                continue
            for number, (shard, part_spec, part_words) in enumerate(parts):
                envelope = router.envelope(
                    part_spec, part_words, conn.id, database, 2, parts=len(parts), first=number == 0, part_of=spec
                )
                requests.setdefault(shard, []).append(envelope)
                receivers.setdefault(shard, []).append((part_gather, number))
    if watched is not None:
        requests.setdefault(watched.shard, [])
        receivers.setdefault(watched.shard, [])
    if local:
        here = Here(conn, local)
        gather.complete, gather.delivered = here.complete, here.delivered
    parts = [(shard, requests[shard], gather, gather.add_part(receivers[shard])) for shard in sorted(requests)]
    if not parts:
        gather.finish_empty()
        return
    watched_shard = None if watched is None else watched.shard
    router.send_exec(gather, conn.id, database, parts, writes=transaction.writes, watched_shard=watched_shard)
    if local:
        conn.settle()  # what they change about the connection holds for what comes behind


def _foresee(conn: Any, spec: Command, words: Sequence[bytes], state: tuple[int, int]) -> tuple[int, int]:
    """Database and protocol of the commands behind one that will run here, later than they are sent."""
    database, protocol = state
    if spec.name == "select" and words[1].isdigit() and int(words[1]) < conn.server.config.databases:
        database = int(words[1])
    elif spec.name == "hello":
        with contextlib.suppress(CommandError):  # it will be its reply, and changes nothing
            wanted, login, _ = read_hello(words[1:], protocol)
            if login is None or conn.server.sessions.knows(*login):
                protocol = wanted
    return database, protocol


class Here:
    """The commands of one transaction that run in the frontend, when those on the shards have answered."""

    def __init__(self, conn: Any, commands: dict[int, tuple[Command, Sequence[bytes]]]) -> None:
        self._conn = conn
        self._commands = commands
        self._reply_mode: int | None = None
        self._ends = False

    def complete(self, members: Sequence[bytes | None]) -> bytes:
        """What is to be sent in reply to EXEC. Head and elements go out if the reply mode lets them when it is their
        turn, as in Redis: a CLIENT REPLY among them silences, or is heard from, what stands behind it."""
        conn = self._conn
        before = conn.reply_mode
        reply = [] if before == REPLIES_OFF else [b"*%d\r\n" % len(members)]
        conn.server.in_transaction = self
        for place, member in enumerate(members):
            ends, value = self._ends, self._run(place) if member is None else member
            if not ends and (conn.reply_mode != REPLIES_OFF or isinstance(value, Messages)):
                reply.append(value if isinstance(value, bytes) else self._encode(value))
        conn.server.in_transaction = None
        if reply or conn.reply_mode != before:
            self._reply_mode, conn.reply_mode = conn.reply_mode, 0 if reply else before
        return b"".join(reply)

    def _run(self, place: int) -> Any:
        """The encoded reply of a command, or messages: these are heard in any mode."""
        conn = self._conn
        value = conn.server.call(conn, *self._commands[place])
        return value if isinstance(value, Messages) else self._encode([] if value is NO_REPLY else [value])

    def _encode(self, values: Sequence[Any]) -> bytes:
        return b"".join(encode_bytes(value, self._conn.protocol) for value in values)

    def end_after_this(self) -> None:
        """The client has killed itself: nothing more is heard, and the connection ends with the reply."""
        self._ends = True

    def delivered(self) -> None:
        """The reply is out: what was put off until then."""
        if self._reply_mode is not None:
            self._conn.reply_mode = self._reply_mode
        self._conn.server.pubsub.push_late(self._conn)
        if self._ends:
            self._conn.close_after_replies()


def _refusal(error: CommandError) -> Command:
    """What stands in a transaction for a command that cannot be sent: its reply is the error."""

    def refuse(conn: Any, *_: bytes) -> None:
        raise error

    return Command(
        "refused", refuse, -1, keys=NO_KEYS, flags=Flag(0), group="", across=None, since="", complexity="", effect=""
    )
