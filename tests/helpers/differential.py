"""The same requests to several servers over TCP, and their raw replies compared.

Where a server has several shards, a command that would need keys of two of them in one step (class H) is refused with
CROSSSLOT: `crosses_slots` tells by the declaration and the keys. Such a request goes to that server only, where the
refusal must be exact, and never to the reference, so that both keep holding the same data.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Final

from mpkv import errors
from mpkv.commands import spec
from mpkv.sharding import shard_of
from tests.helpers.doors import comparable
from tests.helpers.known_differences import known_difference
from tests.helpers.reference import AGGREGATES, Connection, read_reply

Words = list[bytes]

CROSSSLOT: Final = b"-%b\r\n" % errors.CROSSSLOT.text.encode()
TAG: Final = b"{t}"
#: Requests sent before replies are read: few enough that both directions' buffers hold them.
PIPELINE: Final = 64


def command_of(words: Sequence[bytes]) -> spec.Command | None:
    """The declaration behind a request, if there is one that accepts so many words."""
    table = spec.load()
    names = [word.lower().decode(errors="replace") for word in words[:2]]
    command = table.get("|".join(names)) or table.get(names[0])
    return command if command is not None and command.accepts(len(words)) else None


def crosses_slots(words: Sequence[bytes], shards: int) -> bool:
    """Whether a server of so many shards must refuse a request because its keys lie on several."""
    command = command_of(words)
    if command is None or not command.on_shard or command.across is not None:
        return False
    return len({shard_of(words[at], shards) for at in command.keys.find(words)}) > 1


def tagged(words: Sequence[bytes]) -> Words:
    """A request whose keys are all on one shard, wherever that is."""
    command = command_of(words)
    keys = command.keys.find(words) if command is not None else []
    return [word + TAG if at in keys else word for at, word in enumerate(words)]


def play(connection: Connection, requests: Sequence[Words]) -> list[bytes]:
    """Send requests in pipelines; their raw replies. A SCAN goes on until its cursor is back at 0."""
    replies: list[bytes] = []
    for run in _runs(requests):
        if run[0][0].upper() == b"SCAN":
            replies.append(_whole_scan(connection, run[0]))
        else:
            replies += connection.call_all(run)
    return replies


def _runs(requests: Sequence[Words]) -> Iterator[list[Words]]:
    """Requests that can be sent together."""
    run: list[Words] = []
    for words in requests:
        is_scan = words[0].upper() == b"SCAN"
        if run and (is_scan or len(run) == PIPELINE):
            yield run
            run = []
        if is_scan:
            yield [words]
        else:
            run.append(words)
    if run:
        yield run


def _whole_scan(connection: Connection, words: Words) -> bytes:
    """One reply that holds everything: how a scan is cut into steps is a server's own business."""
    found: list[bytes] = []
    cursor = b"0"
    while True:
        reply = connection.call(words)
        if not reply.startswith(b"*2\r\n"):
            return reply
        stream = io.BytesIO(reply)
        stream.readline()
        cursor = read_reply(stream).split(b"\r\n")[1]
        found += elements(read_reply(stream))
        if cursor == b"0":
            return b"*2\r\n$1\r\n0\r\n*%d\r\n" % len(found) + b"".join(found)
        words = [words[0], cursor, *words[2:]]


def elements(reply: bytes) -> list[bytes]:
    """The raw replies that an aggregate consists of."""
    stream = io.BytesIO(reply)
    mark, size = reply[:1], int(stream.readline()[1:])
    return [read_reply(stream) for _ in range(size * AGGREGATES[mark])]


def assert_replies_agree(
    requests: Sequence[Words], tested: Connection, reference: Connection, shards: int, protocol: int = 2
) -> None:
    """Play requests on two servers, both empty, in a protocol of choice."""
    refused = [crosses_slots(words, shards) for words in requests]
    shared = [words for words, is_refused in zip(requests, refused, strict=True) if not is_refused]
    for connection in (tested, reference):
        connection.call([b"HELLO", b"%d" % protocol])
    expected = iter(play(reference, shared))
    for words, is_refused, reply in zip(requests, refused, play(tested, requests), strict=True):
        wanted = CROSSSLOT if is_refused else next(expected)
        agree(words, reply, wanted, shards)


def agree(words: Words, reply: bytes, wanted: bytes, shards: int) -> None:
    """Fail unless two replies to a request mean the same."""
    same = comparable(words, reply) == comparable(words, wanted) or known_difference(words, wanted, reply, shards)
    assert same, f"{b' '.join(words)[:200]!r}: {reply[:400]!r} instead of {wanted[:400]!r}"
