"""How the replies of several shards become one: the merges that several commands share.

Each takes what `Across.merge` takes: the words of the whole request, and per shard the words of its part with its
reply. The frontend, to whom the replies come, merges small ones; large ones it sends to a worker (`pack_merge`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mpkv.errors import CommandError
from mpkv.resp import replies
from mpkv.resp.decoder import decode
from mpkv.resp.encoder import encode_bytes

if TYPE_CHECKING:
    from mpkv.commands.spec import Command

Parts = list[tuple[Sequence[bytes], Any]]


def pack_merge(
    command: int, protocol: int, request: Sequence[bytes], parts: Sequence[tuple[Sequence[bytes], bytes]]
) -> list[bytes]:
    """What a worker needs to merge the replies, in words: each count stands before what it counts.

    :param parts: the words of each with its reply in RESP2
    """
    packed = [b"%d" % number for number in (command, protocol, len(request))] + list(request)
    for words, reply in parts:
        packed += [b"%d" % len(words), *words, reply]
    return packed


def merge_packed(words: Sequence[bytes], table: Sequence[Command]) -> bytes:
    """The reply that was asked for by `pack_merge`, encoded.

    :param table: the commands by number
    """
    command, protocol, count = (int(word) for word in words[:3])
    request, rest = words[3 : 3 + count], list(words[3 + count :])
    parts: Parts = []
    while rest:
        end = 1 + int(rest[0])
        parts.append((rest[1:end], decode(rest[end])[0]))
        rest = rest[end + 1 :]
    across = table[command].across
    assert across is not None
    value: Any
    try:
        value = across.merge(request, parts)
    except CommandError as error:
        value = error
    return encode_bytes(value, protocol)


def total(request: Sequence[bytes], parts: Parts) -> int:
    """The sum of counts (DEL, EXISTS, DBSIZE …)."""
    return sum(reply for _, reply in parts)


def all_done(request: Sequence[bytes], parts: Parts) -> replies.Status:
    """OK: an error of one part never comes here."""
    return replies.OK


def joined(request: Sequence[bytes], parts: Parts) -> list[Any]:
    """One list of all (KEYS)."""
    return [element for _, reply in parts for element in reply]


def by_key(request: Sequence[bytes], parts: Parts) -> list[Any]:
    """One element per key of the request, in its order, where all words after the name are keys (MGET)."""
    values = {key: value for words, reply in parts for key, value in zip(words[1:], reply, strict=True)}
    return [values[key] for key in request[1:]]
