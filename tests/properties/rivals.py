"""Three servers that are sent the same commands: redis-server first, mpkv with one and with four shards after it.

`Rivals.compete` is a whole example: empty them, play, compare the replies, then the digests of all data, then let mpkv
check its own invariants. What four shards must refuse because it crosses slots is sent to nobody else and not counted
(`tests.server.test_differential` holds the refusal itself to its words), so that all three hold the same data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.helpers.differential import CROSSSLOT, Words, agree, crosses_slots, play
from tests.helpers.reference import Connection

OK = b"+OK\r\n"


@dataclass(frozen=True)
class Rival:
    """One of them."""

    name: str
    connection: Connection
    shards: int

    def digest(self) -> bytes:
        """Of all data in all databases."""
        return self.connection.call([b"DEBUG", b"DIGEST"])


class Rivals:
    """:param reference: the one that is always right; :param tested: the others, of which the last has most shards"""

    def __init__(self, reference: Rival, *tested: Rival) -> None:
        self.reference = reference
        self.tested = tested

    def empty(self, protocol: int) -> None:
        """No data, no transaction, database 0."""
        for rival in (self.reference, *self.tested):
            rival.connection.call_all([[b"RESET"], [b"FLUSHALL"], [b"HELLO", b"%d" % protocol]])

    def compete(self, requests: Sequence[Words], keys: Sequence[bytes], protocol: int = 2) -> None:
        """Play an example on all of them.

        :param keys: every key that the requests may touch: redis-server counts a key whose time is over into its
            digest until somebody asks for it, so each is asked for
        """
        self.empty(protocol)
        self.play(requests)
        self.compare_data(keys)

    def play(self, requests: Sequence[Words]) -> None:
        """Send requests to all and compare the replies."""
        shards = max(rival.shards for rival in self.tested)
        shared = [words for words in requests if not crosses_slots(words, shards)]
        expected = self._play(self.reference, shared)
        for rival in self.tested:
            for words, reply, wanted in zip(shared, self._play(rival, shared), expected, strict=True):
                agree(words, reply, wanted, rival.shards)

    def _play(self, rival: Rival, requests: Sequence[Words]) -> list[bytes]:
        replies = play(rival.connection, requests)
        assert CROSSSLOT not in replies, "what crosses slots should have been left out"
        return replies

    def compare_data(self, keys: Sequence[bytes]) -> None:
        """The same digest everywhere, and a store in order."""
        asked = [[b"SELECT", b"1"], [b"EXISTS", *keys], [b"SELECT", b"0"], [b"EXISTS", *keys]]
        for rival in (self.reference, *self.tested):
            rival.connection.call_all(asked)
        expected = self.reference.digest()
        for rival in self.tested:
            assert rival.digest() == expected, f"{rival.name} holds other data"
            assert rival.connection.call([b"DEBUG", b"VALIDATE"]) == OK
