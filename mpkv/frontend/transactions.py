"""MULTI … EXEC: commands are queued in the frontend and sent as one message to each shard, at one number (classes 1 and
S).

Arguments are known at EXEC, so a transaction needs no hop per command: the parts of all its commands that concern a
shard travel together, and the shard runs them with nothing in between. What runs in the frontend (PING, PUBLISH, SELECT
…) takes its turn when the parts have answered, except SELECT, which decides where later commands go.

WATCH: the shard of the watched keys knows whether they have changed; EXEC carries the condition to it. Watched keys and
the transaction must be on one shard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mpkv import errors
from mpkv.commands.spec import Command, Flag
from mpkv.errors import CommandError
from mpkv.frontend.pending import Answer, Exec
from mpkv.frontend.router import is_whole
from mpkv.resp.replies import NULL_ARRAY, OK
from mpkv.wire import CONTROL_NUMBERS

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

    def add(self, spec: Command, words: Sequence[bytes]) -> None:
        self.queue.append((spec, words))
        self.size_bytes += sum(map(len, words))


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
    words = [b"%d" % conn.id, b"%d" % conn.database, *keys]
    server.router.control(
        shard, CONTROL_NUMBERS["watch"], words, Answer(lambda kind, _: kind is not None and conn.reply_at(place, OK))
    )


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
    if len(all_shards) > 1 and any(spec.flags & Flag.WRITE for spec, _ in transaction.queue):
        router.need_intent_room(transaction.size_bytes + 256 * len(transaction.queue), len(all_shards))
    return found


def _send(
    conn: Any, transaction: Transaction, shards_of_all: list[dict[int, list[int]] | None], watched: Watched | None
) -> None:
    """Deal the commands out to their shards and send the parts."""
    router = conn.server.router
    place = conn.take_place()
    gather = Exec(conn, place, conn.protocol, len(transaction.queue))
    router.next_number()
    requests: dict[int, list[bytes]] = {}
    receivers: dict[int, list[tuple[Any, int]]] = {}
    local: dict[int, tuple[Command, Sequence[bytes]]] = {}
    database = conn.database
    for index, ((spec, words), shards) in enumerate(zip(transaction.queue, shards_of_all, strict=True)):
        if shards is None:
            local[index] = (spec, words)
            if spec.name == "select":  # decides where later commands go
                database = _selected(conn, words, database)
        elif not shards:
            local[index] = (_CROSSSLOT, words)
        elif is_whole(spec, shards):
            (shard,) = shards
            requests.setdefault(shard, []).append(router.envelope(spec, words, conn.id, database, conn.protocol))
            receivers.setdefault(shard, []).append((None, index))
        else:
            part_gather, parts = router.split(gather.member(), index, conn.protocol, spec, words, shards)
            for number, (shard, part_spec, part_words) in enumerate(parts):
                envelope = router.envelope(
                    part_spec, part_words, conn.id, database, 2, parts=len(parts), first=number == 0, scattered=True
                )
                requests.setdefault(shard, []).append(envelope)
                receivers.setdefault(shard, []).append((part_gather, number))
    if watched is not None:
        requests.setdefault(watched.shard, [])
        receivers.setdefault(watched.shard, [])
    gather.run_local = lambda index: conn.server.call(conn, *local[index])
    parts = [(shard, requests[shard], gather, gather.add_part(receivers[shard])) for shard in sorted(requests)]
    if not parts:
        gather.finish_empty()
        return
    router.send_exec(gather, conn.id, database, parts, watched_shard=None if watched is None else watched.shard)


def _selected(conn: Any, words: Sequence[bytes], database: int) -> int:
    try:
        index = int(words[1])
    except ValueError:
        return database
    return index if 0 <= index < conn.server.config.databases else database


def _crossslot(conn: Any, *_: bytes) -> None:
    raise errors.CROSSSLOT


_CROSSSLOT = Command(
    "crossslot", _crossslot, -1, keys=None, flags=Flag(0), group="", across=None, since="", complexity="", effect=""
)  # type: ignore[arg-type]
