"""The kinds of value that a handler can return beyond Python's own.

What the encoder makes of a value (RESP2 / RESP3):

===================  ==========================  ==========================
value                RESP2                       RESP3
===================  ==========================  ==========================
``None``             ``$-1``                     ``_``
``int``              ``:1``                      ``:1``
``bool``             ``:1`` / ``:0``             ``#t`` / ``#f``
``float``            bulk, shortest round-trip   ``,1.5``
``bytes``, ``str``   bulk                        bulk
``list``, ``tuple``  array                       array
``dict``             flat array                  map ``%``
``SetReply``         array                       set ``~``
``Pairs``            flat array                  array of arrays of two
``PushReply``        array                       push ``>``
``Status``           ``+OK``                     ``+OK``
``Verbatim``         bulk                        ``=``
``NULL_ARRAY``       ``*-1``                     ``_``
``CommandError``     ``-ERR …``                  ``-ERR …``
``Raw``              its bytes as they are       its bytes as they are
===================  ==========================  ==========================
"""

from collections.abc import Iterable


class Status(bytes):
    """A simple string."""

    __slots__ = ()


class SetReply(list):  # type: ignore[type-arg]
    """An unordered collection: an array in RESP2, a set in RESP3."""

    __slots__ = ()


class PushReply(list):  # type: ignore[type-arg]
    """An out-of-band message: an array in RESP2, a push in RESP3."""

    __slots__ = ()


class Pairs(list):  # type: ignore[type-arg]
    """Tuples of two, such as (member, score): one flat array in RESP2, an array of two-element arrays in RESP3."""

    __slots__ = ()


class Messages(list):  # type: ignore[type-arg]
    """Several pushes that together answer one command (SUBSCRIBE); sent by the frontend, never encoded as a whole."""

    __slots__ = ()


class Verbatim(str):
    """Text for a person, of format `txt`."""

    __slots__ = ()


class Raw(bytes):
    """Bytes that are RESP already."""

    __slots__ = ()


class _NullArray:
    __slots__ = ()

    def __repr__(self) -> str:
        return "NULL_ARRAY"


OK = Status(b"OK")
QUEUED = Status(b"QUEUED")
PONG = Status(b"PONG")
NULL_ARRAY = _NullArray()
#: What a handler in the frontend returns when it has replied, or will reply, in another way.
NO_REPLY = object()


class Blocked:
    """What a blocking handler returns when no key could serve it: it is called again with the same arguments when one
    of `keys` may.

    :param keys: the keys waited for, in order of priority
    :param kind: ``"list"`` or ``"zset"``: only a key of this type wakes the client
    :param timeout_ms: 0 waits for ever
    :param on_timeout: the reply when the time is over
    :param in_transaction: the reply where nothing may block
    """

    __slots__ = ("in_transaction", "keys", "kind", "on_timeout", "timeout_ms")

    def __init__(
        self,
        keys: Iterable[bytes],
        kind: str,
        timeout_ms: int,
        on_timeout: object = NULL_ARRAY,
        in_transaction: object = NULL_ARRAY,
    ) -> None:
        self.keys = tuple(keys)
        self.kind = kind
        self.timeout_ms = timeout_ms
        self.on_timeout = on_timeout
        self.in_transaction = in_transaction
