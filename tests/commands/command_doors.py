"""Replays a family's requests through handlers, on either keyspace, in either protocol, beside a real server."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from mpkv.commands import spec
from mpkv.resp.decoder import decode
from mpkv.resp.encoder import encode_bytes
from mpkv.workers.keyspace import Keyspace
from tests.helpers.doors import HandlerDoor, Request, assert_same_replies, comparable, declared_commands
from tests.helpers.fake_db import FakeKeyspace
from tests.helpers.reference import Connection

KEYSPACES: dict[str, Callable[[], Any]] = {"fake keyspace": FakeKeyspace, "real keyspace": Keyspace}

KEYS = ("k1", "k2", "k3")
NAMES = ("a", "b", "c", "10", "-7", "longer than the others")
#: Halves and quarters: Redis 7.0 and 7.2 print them alike.
NUMBERS = ("0", "1", "2", "-3", "5", "1.5", "-0.25", "1000000", "inf", "-inf", "x")


def replies_agree(requests: Sequence[Request], keyspace: str, protocol: int, reference: Connection) -> None:
    tested = KEYSPACES[keyspace]()
    reference.call([b"HELLO", b"%d" % protocol])
    assert_same_replies(requests, HandlerDoor(tested, protocol=protocol), reference, tested.validate)


def random_requests(templates: Sequence[str], seed: int, count: int = 400) -> list[Request]:
    """Requests made from templates with ``{key}``, ``{name}`` and ``{number}``, each filled anew."""
    chance = random.Random(seed)
    choices = {"{key}": KEYS, "{name}": NAMES, "{number}": NUMBERS}
    return [
        [chance.choice(choices[word]) if word in choices else word for word in chance.choice(templates).split()]
        for _ in range(count)
    ]


def answer_across(
    request: Sequence[bytes], fill: Sequence[Sequence[bytes]], shards: int, chance: random.Random
) -> tuple[object, object]:
    """A request to one shard that has all keys, and dealt out to several that share them: comparable replies of both.

    :param fill: requests, each with its only key as first argument, that make the data
    """
    one, several = HandlerDoor(FakeKeyspace()), [HandlerDoor(FakeKeyspace()) for _ in range(shards)]
    command = declared_commands()[request[0].lower().decode()]
    owners = {request[at]: chance.randrange(shards) for at in command.keys.find(request)}
    for words in fill:
        one.call(words)
        several[owners[words[1]]].call(words)
    return comparable(request, one.call(request)), comparable(request, _dealt_out(command, request, several, owners))


def _dealt_out(
    command: spec.Command, request: Sequence[bytes], doors: Sequence[HandlerDoor], owners: dict[bytes, int]
) -> bytes:
    """What the frontend does with a command of class S that takes only keys or has its own `part`."""
    assert command.across is not None
    parts = []
    found = command.keys.find(request)
    for shard in sorted(set(owners.values())):
        own = [at for at in found if owners[request[at]] == shard]
        words = [request[0], *(request[at] for at in own)]
        if command.across.part is not None:
            words = command.across.part(request, own, own[0] == found[0])
        reply = doors[shard].call(words)
        if reply.startswith(b"-"):
            return reply
        parts.append((words, decode(reply)[0]))
    return encode_bytes(command.across.merge(request, parts))
