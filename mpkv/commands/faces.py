"""What a handler sees: `Db` on a shard, and the handles on values that it hands out.

The compiled classes (`mpkv.workers.database.Database`, `mpkv.types.*`) have these methods; handlers and tests are
written against this page. A handle is valid until its key is deleted or overwritten: never keep one.

The rhythm of a handler that writes: look up for writing, check everything, change, ``db.changed(key)``, return. Nothing
may be changed before the last check that can fail, and that there is memory is such a check: one step changes all or
nothing, several are taken within ``db.all_or_nothing(words)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol


class Hash(Protocol):
    def __len__(self) -> int: ...
    def get(self, field: bytes) -> bytes | None: ...
    def put(self, field: bytes, value: bytes) -> bool:
        """True if the field is new."""

    def delete(self, field: bytes) -> bool: ...
    def items(self) -> list[tuple[bytes, bytes]]: ...
    def fields(self) -> list[bytes]: ...
    def values(self) -> list[bytes]: ...
    def random(self) -> tuple[bytes, bytes]:
        """A fair pick from a hash that is not empty."""

    def sample(self, count: int) -> list[tuple[bytes, bytes]]:
        """Up to `count` different fields, picked fairly."""

    def scan(self, cursor: int, count: int) -> tuple[int, list[tuple[bytes, bytes]]]:
        """One step of HSCAN with Redis' guarantee; cursor 0 begins and ends. A packed one comes whole."""

    def encoding(self) -> str:
        """``listpack`` or ``hashtable``."""


class Set(Protocol):
    def __len__(self) -> int: ...
    def add(self, member: bytes) -> bool: ...
    def remove(self, member: bytes) -> bool: ...
    def contains(self, member: bytes) -> bool: ...
    def members(self) -> list[bytes]: ...
    def members_in_all(self, others: list[Set], limit: int = 0) -> list[bytes]:
        """The members that all others have too, not more than `limit` (0: no limit)."""

    def members_in_none(self, others: list[Set]) -> list[bytes]:
        """The members that none of the others has."""

    def random(self) -> bytes: ...
    def sample(self, count: int) -> list[bytes]: ...
    def pop(self) -> bytes:
        """Remove and return a fair pick."""

    def scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]: ...
    def encoding(self) -> str:
        """``intset``, ``listpack`` or ``hashtable``."""


class List(Protocol):
    def __len__(self) -> int: ...
    def push_head(self, element: bytes) -> None: ...
    def push_tail(self, element: bytes) -> None: ...
    def pop_head(self) -> bytes | None: ...
    def pop_tail(self) -> bytes | None: ...
    def get(self, index: int) -> bytes | None:
        """The element at `index` (negative counts from the tail), None outside."""

    def put(self, index: int, element: bytes) -> bool:
        """Replace; False outside."""

    def range(self, start: int, stop: int) -> list[bytes]:
        """Elements start … stop, both included, 0 <= start, stop < length; empty if stop < start."""

    def find(self, element: bytes, *, rank: int = 1, count: int = 1, limit: int = 0) -> list[int]:
        """Indexes of matches as LPOS counts them: rank < 0 searches from the tail, count 0 = all, limit (MAXLEN) 0 = no
        limit on comparisons."""

    def insert(self, pivot: bytes, element: bytes, *, after: bool) -> bool:
        """Insert beside the first `pivot`; False if there is none."""

    def remove(self, element: bytes, count: int) -> int:
        """As LREM: count < 0 from the tail, 0 = all; how many were removed."""

    def trim(self, start: int, stop: int) -> None:
        """Keep start … stop (normalised as for `range`; empty keeps nothing)."""

    def encoding(self) -> str:
        """``listpack`` or ``quicklist``."""


class ZSet(Protocol):
    def __len__(self) -> int: ...
    def score(self, member: bytes) -> float | None: ...
    def put(self, member: bytes, score: float) -> bool:
        """True if the member is new. The score is not NaN."""

    def remove(self, member: bytes) -> bool: ...
    def rank(self, member: bytes) -> int | None:
        """Place in ascending order of (score, member)."""

    def by_rank(self, start: int, stop: int, reverse: bool = False) -> list[tuple[bytes, float]]:
        """Members of ranks start … stop (both included, within the length), counted from the end that `reverse`
        names."""

    def first_rank_by_score(self, low: float, exclusive: bool) -> int:
        """How many members come before the first one with score >= low (> low if exclusive)."""

    def last_rank_by_score(self, high: float, exclusive: bool) -> int:
        """The rank of the last one with score <= high (< high if exclusive); -1 if none."""

    def first_rank_by_lex(self, low: bytes | None, exclusive: bool) -> int:
        """The same by member, for sets whose scores are all equal; None = from the very beginning (``-``)."""

    def last_rank_by_lex(self, high: bytes | None, exclusive: bool) -> int:
        """None = to the very end (``+``)."""

    def random(self) -> tuple[bytes, float]: ...
    def sample(self, count: int) -> list[tuple[bytes, float]]: ...
    def scan(self, cursor: int, count: int) -> tuple[int, list[tuple[bytes, float]]]: ...
    def encoding(self) -> str:
        """``listpack`` or ``skiplist``."""


class Databases(Protocol):
    """All databases of the shard."""

    def database(self, index: int) -> Db: ...


class Db(Protocol):
    """One database of the shard that runs the command."""

    keyspace: Databases  #: for what concerns another database than this one (COPY … DB)
    index: int  #: which database
    databases: int  #: how many there are
    now_ms: int  #: the time of this command: the only clock a handler may use
    shard: int
    shards: int

    # Look up. `…_for_read` counts a hit or a miss and touches the LRU clock; a key that holds another type raises
    # WRONGTYPE; an expired key is absent. Strings come as bytes.
    def string_for_read(self, key: bytes) -> bytes | None: ...
    def hash_for_read(self, key: bytes) -> Hash | None: ...
    def list_for_read(self, key: bytes) -> List | None: ...
    def set_for_read(self, key: bytes) -> Set | None: ...
    def zset_for_read(self, key: bytes) -> ZSet | None: ...

    # Look up to change what is there; None if absent.
    def string_for_write(self, key: bytes) -> bytes | None: ...
    def hash_for_write(self, key: bytes) -> Hash | None: ...
    def list_for_write(self, key: bytes) -> List | None: ...
    def set_for_write(self, key: bytes) -> Set | None: ...
    def zset_for_write(self, key: bytes) -> ZSet | None: ...

    # Look up, or create an empty one that must be filled and confirmed with `changed` before the handler returns.
    def hash_to_fill(self, key: bytes) -> Hash: ...
    def list_to_fill(self, key: bytes) -> List: ...
    def set_to_fill(self, key: bytes) -> Set: ...
    def zset_to_fill(self, key: bytes) -> ZSet: ...

    def all_or_nothing(self, words: Sequence[bytes]) -> AbstractContextManager[None]:
        """Around a change of several steps that brings these words in: it has the memory for all of them, or raises
        OUT_OF_MEMORY before the first. A change of one step does so by itself."""

    # An aggregate that is no key's yet, and its way to a key, whatever is there
    def new_set(self) -> Set: ...
    def new_zset(self) -> ZSet: ...
    def overwrite(self, key: bytes, value: Set | ZSet) -> None:
        """Calls `changed` itself. `value` is empty afterwards, and may not have been so before."""

    def set_string(self, key: bytes, value: bytes, *, keep_ttl: bool = False, raw: bool = False) -> None:
        """Create or overwrite (any type). Calls `changed` itself. `raw`: built in place (APPEND, SETRANGE), which
        OBJECT ENCODING shows."""

    def string_length_for_read(self, key: bytes) -> int | None: ...
    def string_length_for_write(self, key: bytes) -> int | None: ...
    def string_part(self, key: bytes, start: int, end: int) -> bytes:
        """Of a string that has been looked up: the bytes from `start` up to `end`."""

    def patch_string(self, key: bytes, offset: int, value: bytes) -> None:
        """Overwrite a string, or an absent one, from an offset on, in place if it is large; what is between its end and
        the offset becomes zeroes. Keeps the expiry and calls `changed` itself."""

    def changed(self, key: bytes, times: int = 1) -> None:
        """The value at `key` was changed: counts it, marks its watchers, wakes its waiters, deletes an aggregate that
        has become empty."""

    # Keys.
    def exists(self, key: bytes) -> bool: ...
    def seen(self, key: bytes) -> bool:
        """Whether the key is there, which counts as a hit or a miss and leaves the LRU clock where it is."""

    def type_of(self, key: bytes) -> str | None:
        """``string``, ``list``, ``set``, ``zset``, ``hash``; does not count as a read."""

    def encoding_of(self, key: bytes) -> str | None: ...
    def idle_seconds(self, key: bytes) -> int | None: ...
    def touch(self, key: bytes) -> bool:
        """Move the LRU clock on; whether the key is there."""

    def frequency_of(self, key: bytes) -> int | None:
        """How often it is used, 0 … 255 on a logarithmic scale; only while `counts_frequency`."""

    #: An LFU policy is in force: how often keys are used is known, and when they were not.
    counts_frequency: bool
    #: What lazyfree-lazy-user-del and lazyfree-lazy-user-flush say.
    deletes_lazily: bool
    flushes_lazily: bool

    def delete(self, key: bytes, lazily: bool | None = None) -> bool:
        """Delete; counts as a change. `lazily`: a large value is freed by and by; None: as the server frees what it
        overwrites."""

    def expire_at(self, key: bytes) -> int | None:
        """When it expires, in ms since 1970; -1 never; None if there is no such key."""

    def set_expire_at(self, key: bytes, at_ms: int) -> None:
        """Of a key that is there; -1 removes it. Calls `changed`. A time that is past is the handler's to turn into
        `delete`."""

    def rename(self, source: bytes, destination: bytes) -> None:
        """Move value and expiry, over whatever is at the destination."""

    def copy(self, source: bytes, destination: bytes, database: int) -> None:
        """A deep copy with its expiry, over whatever is there."""

    def move(self, key: bytes, database: int) -> bool:
        """To the same name in another database; False if it is there already or absent here."""

    def size(self) -> int: ...
    def random_key(self) -> bytes | None: ...
    def keys(self) -> Iterable[bytes]:
        """Every key that has not expired."""

    def scan(self, cursor: int, count: int) -> tuple[int, list[tuple[bytes, str]]]:
        """One step: the next cursor and (key, type) pairs. The cursor carries the slot (low 14 bits); at the end of the
        shard's slots it names the first slot of the next shard, or is 0 after the last."""

    def flush(self, *, everywhere: bool = False, lazily: bool = False) -> None:
        """Delete every key of this database, or of all; `lazily`: their memory is freed by and by."""

    # Effects: what the log and the replicas will be told. By default a command that changed something is its own
    # effect.
    def effect(self, *words: bytes) -> None:
        """Say it in these words instead; called several times, they follow one another. For what is random, relative in
        time or computed in floating point."""

    def memory_of(self, key: bytes, samples: int = 0) -> int | None:
        """Bytes allocated for a key and its value; of a large value judged by `samples` elements, 0 = by all."""


class Words(Protocol):
    """The words of a request."""

    def __getitem__(self, index: int) -> bytes: ...
    def __len__(self) -> int: ...


Argv = Sequence[bytes]
