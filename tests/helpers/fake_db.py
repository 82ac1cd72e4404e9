"""A keyspace of plain Python: what `mpkv.commands.faces` promises, with dicts and lists, for tests of handlers.

`FakeKeyspace` is one shard with all its databases; `FakeDb` is the view of one database that a handler receives as
`db`. Each write is recorded as in execution: `dirty` counts changes, `effects` holds what handlers said through
``db.effect``. Time stands still until a test moves `FakeKeyspace.now_ms`.
"""

from __future__ import annotations

import bisect
import math
import random
from binascii import crc_hqx
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from mpkv.errors import WRONGTYPE

#: Redis' default limits of the compact encodings.
LISTPACK_ENTRIES = 128
HASH_LISTPACK_ENTRIES = 512
LISTPACK_VALUE_BYTES = 64
LIST_LISTPACK_BYTES = 8192
INTSET_ENTRIES = 512
EMBSTR_BYTES = 44

SLOT_BITS = 14
SLOT_MASK = (1 << SLOT_BITS) - 1

T = TypeVar("T")


def slot_of(key: bytes) -> int:
    """Slot = CRC16 of the key, or of its first non-empty ``{tag}``."""
    opening = key.find(b"{")
    closing = key.find(b"}", opening + 1) if opening >= 0 else -1
    return crc_hqx(key[opening + 1 : closing] if closing > opening + 1 else key, 0) & SLOT_MASK


def is_int64(text: bytes) -> bool:
    digits = text.removeprefix(b"-")
    return len(text) <= 20 and digits.isdigit() and b"%d" % int(text) == text and -(2**63) <= int(text) < 2**63


def scan_step(elements: list[T], cursor: int, count: int) -> tuple[int, list[T]]:
    """A scan of something that does not change between the steps: the cursor is a position."""
    following = cursor + count
    return (following if following < len(elements) else 0), elements[cursor:following]


class FakeHash:
    def __init__(self) -> None:
        self.content: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self.content)

    def get(self, field: bytes) -> bytes | None:
        return self.content.get(field)

    def put(self, field: bytes, value: bytes) -> bool:
        new = field not in self.content
        self.content[field] = value
        return new

    def delete(self, field: bytes) -> bool:
        return self.content.pop(field, None) is not None

    def items(self) -> list[tuple[bytes, bytes]]:
        return list(self.content.items())

    def fields(self) -> list[bytes]:
        return list(self.content)

    def values(self) -> list[bytes]:
        return list(self.content.values())

    def random(self) -> tuple[bytes, bytes]:
        return random.choice(self.items())

    def sample(self, count: int) -> list[tuple[bytes, bytes]]:
        return random.sample(self.items(), min(count, len(self)))

    def scan(self, cursor: int, count: int) -> tuple[int, list[tuple[bytes, bytes]]]:
        if self.encoding() == "listpack":
            return 0, self.items()
        return scan_step(self.items(), cursor, count)

    def encoding(self) -> str:
        longest = max((len(word) for item in self.content.items() for word in item), default=0)
        return "listpack" if len(self) <= HASH_LISTPACK_ENTRIES and longest <= LISTPACK_VALUE_BYTES else "hashtable"


class FakeSet:
    def __init__(self) -> None:
        self.content: dict[bytes, None] = {}  # a dict keeps the order in which members came

    def __len__(self) -> int:
        return len(self.content)

    def add(self, member: bytes) -> bool:
        new = member not in self.content
        self.content[member] = None
        return new

    def remove(self, member: bytes) -> bool:
        present = member in self.content
        self.content.pop(member, None)
        return present

    def contains(self, member: bytes) -> bool:
        return member in self.content

    def members(self) -> list[bytes]:
        return sorted(self.content, key=int) if self.encoding() == "intset" else list(self.content)

    def members_in_all(self, others: list[FakeSet], limit: int = 0) -> list[bytes]:
        found = [member for member in self.members() if all(other.contains(member) for other in others)]
        return found[:limit] if limit else found

    def members_in_none(self, others: list[FakeSet]) -> list[bytes]:
        return [member for member in self.members() if not any(other.contains(member) for other in others)]

    def random(self) -> bytes:
        return random.choice(self.members())

    def sample(self, count: int) -> list[bytes]:
        return random.sample(self.members(), min(count, len(self)))

    def pop(self) -> bytes:
        member = self.random()
        del self.content[member]
        return member

    def scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        if self.encoding() != "hashtable":
            return 0, self.members()
        return scan_step(self.members(), cursor, count)

    def encoding(self) -> str:
        if len(self) <= INTSET_ENTRIES and all(map(is_int64, self.content)):
            return "intset"
        longest = max(map(len, self.content), default=0)
        return "listpack" if len(self) <= LISTPACK_ENTRIES and longest <= LISTPACK_VALUE_BYTES else "hashtable"


class FakeList:
    def __init__(self) -> None:
        self.content: list[bytes] = []

    def __len__(self) -> int:
        return len(self.content)

    def push_head(self, element: bytes) -> None:
        self.content.insert(0, element)

    def push_tail(self, element: bytes) -> None:
        self.content.append(element)

    def pop_head(self) -> bytes | None:
        return self.content.pop(0) if self.content else None

    def pop_tail(self) -> bytes | None:
        return self.content.pop() if self.content else None

    def get(self, index: int) -> bytes | None:
        return self.content[index] if -len(self) <= index < len(self) else None

    def put(self, index: int, element: bytes) -> bool:
        inside = -len(self) <= index < len(self)
        if inside:
            self.content[index] = element
        return inside

    def range(self, start: int, stop: int) -> list[bytes]:
        assert start >= 0 and stop < len(self), "start and stop are the caller's to normalise"
        return self.content[start : stop + 1]

    def find(self, element: bytes, *, rank: int = 1, count: int = 1, limit: int = 0) -> list[int]:
        found: list[int] = []
        seen = 0
        order = range(len(self)) if rank > 0 else range(len(self) - 1, -1, -1)
        for index in order[: limit or None]:
            if self.content[index] == element:
                seen += 1
                if seen >= abs(rank):
                    found.append(index)
                if count and len(found) == count:
                    break
        return found

    def insert(self, pivot: bytes, element: bytes, *, after: bool) -> bool:
        if pivot not in self.content:
            return False
        self.content.insert(self.content.index(pivot) + after, element)
        return True

    def remove(self, element: bytes, count: int) -> int:
        places = [index for index, present in enumerate(self.content) if present == element]
        doomed = set(places if not count else places[:count] if count > 0 else places[count:])
        self.content = [present for index, present in enumerate(self.content) if index not in doomed]
        return len(doomed)

    def trim(self, start: int, stop: int) -> None:
        self.content = self.content[start : stop + 1] if start <= stop else []

    def encoding(self) -> str:
        return "listpack" if sum(map(len, self.content)) <= LIST_LISTPACK_BYTES else "quicklist"


class FakeZSet:
    def __init__(self) -> None:
        self.scores: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self.scores)

    def score(self, member: bytes) -> float | None:
        return self.scores.get(member)

    def put(self, member: bytes, score: float) -> bool:
        assert not math.isnan(score), "NaN is refused by the handler"
        new = member not in self.scores
        self.scores[member] = score
        return new

    def remove(self, member: bytes) -> bool:
        return self.scores.pop(member, None) is not None

    def _ordered(self) -> list[tuple[bytes, float]]:
        return sorted(self.scores.items(), key=lambda item: (item[1], item[0]))

    def rank(self, member: bytes) -> int | None:
        return [present for present, _ in self._ordered()].index(member) if member in self.scores else None

    def by_rank(self, start: int, stop: int, reverse: bool = False) -> list[tuple[bytes, float]]:
        assert start >= 0 and stop < len(self), "start and stop are the caller's to normalise"
        ordered = self._ordered()
        return (ordered[::-1] if reverse else ordered)[start : stop + 1]

    def first_rank_by_score(self, low: float, exclusive: bool) -> int:
        scores = [score for _, score in self._ordered()]
        return bisect.bisect_right(scores, low) if exclusive else bisect.bisect_left(scores, low)

    def last_rank_by_score(self, high: float, exclusive: bool) -> int:
        scores = [score for _, score in self._ordered()]
        return (bisect.bisect_left(scores, high) if exclusive else bisect.bisect_right(scores, high)) - 1

    def first_rank_by_lex(self, low: bytes | None, exclusive: bool) -> int:
        members = [member for member, _ in self._ordered()]
        if low is None:
            return 0
        return bisect.bisect_right(members, low) if exclusive else bisect.bisect_left(members, low)

    def last_rank_by_lex(self, high: bytes | None, exclusive: bool) -> int:
        members = [member for member, _ in self._ordered()]
        if high is None:
            return len(members) - 1
        return (bisect.bisect_left(members, high) if exclusive else bisect.bisect_right(members, high)) - 1

    def random(self) -> tuple[bytes, float]:
        return random.choice(self._ordered())

    def sample(self, count: int) -> list[tuple[bytes, float]]:
        return random.sample(self._ordered(), min(count, len(self)))

    def scan(self, cursor: int, count: int) -> tuple[int, list[tuple[bytes, float]]]:
        if self.encoding() == "listpack":
            return 0, self._ordered()
        return scan_step(list(self.scores.items()), cursor, count)

    def encoding(self) -> str:
        longest = max(map(len, self.scores), default=0)
        return "listpack" if len(self) <= LISTPACK_ENTRIES and longest <= LISTPACK_VALUE_BYTES else "skiplist"


#: The handle that belongs to a type; a string is held as bytes.
KINDS: dict[str, type[Any]] = {"hash": FakeHash, "list": FakeList, "set": FakeSet, "zset": FakeZSet}


@dataclass
class Entry:
    kind: str
    value: Any
    expire_at_ms: int = -1
    touched_ms: int = 0
    raw: bool = False  #: a string that was built in place


class FakeKeyspace:
    """One shard: every database, the clock, and what was recorded."""

    def __init__(self, databases: int = 16, now_ms: int = 1_700_000_000_000) -> None:
        self.now_ms = now_ms
        self.entries: list[dict[bytes, Entry]] = [{} for _ in range(databases)]
        self.dirty = 0
        self.effects: list[tuple[int, tuple[bytes, ...]]] = []  #: (database, words)
        self.hits = self.misses = 0

    def database(self, index: int = 0) -> FakeDb:
        return FakeDb(self, index)

    def take_effects(self) -> list[tuple[int, tuple[bytes, ...]]]:
        """What handlers declared since the last call."""
        taken, self.effects = self.effects, []
        return taken

    def validate(self) -> None:
        """After every command: no empty aggregate, no handle of the wrong kind."""
        for entries in self.entries:
            for key, entry in entries.items():
                assert entry.kind == "string" or len(entry.value), f"{key!r} was left empty"
                assert isinstance(entry.value, KINDS.get(entry.kind, bytes)), f"{key!r} holds no {entry.kind}"


class FakeDb:
    """One database of a `FakeKeyspace`, as a handler sees it."""

    shard = 0
    shards = 1

    def __init__(self, keyspace: FakeKeyspace | None = None, index: int = 0) -> None:
        self.keyspace = keyspace or FakeKeyspace()
        self.index = index
        self.databases = len(self.keyspace.entries)

    @property
    def now_ms(self) -> int:
        return self.keyspace.now_ms

    @property
    def _entries(self) -> dict[bytes, Entry]:
        return self.keyspace.entries[self.index]

    def _find(self, key: bytes, database: int | None = None) -> Entry | None:
        entries = self.keyspace.entries[self.index if database is None else database]
        entry = entries.get(key)
        if entry is not None and 0 <= entry.expire_at_ms <= self.now_ms:
            del entries[key]
            return None
        return entry

    def _value(self, key: bytes, kind: str, *, reading: bool) -> Any:
        entry = self._find(key)
        if reading:
            self.keyspace.hits += entry is not None
            self.keyspace.misses += entry is None
        if entry is None:
            return None
        if entry.kind != kind:
            raise WRONGTYPE
        entry.touched_ms = self.now_ms
        return entry.value

    def _filled(self, key: bytes, kind: str) -> Any:
        value = self._value(key, kind, reading=False)
        if value is None:
            value = KINDS[kind]()
            self._entries[key] = Entry(kind, value, touched_ms=self.now_ms)
        return value

    def string_for_read(self, key: bytes) -> bytes | None:
        return self._value(key, "string", reading=True)

    def string_length_for_read(self, key: bytes) -> int | None:
        value = self.string_for_read(key)
        return None if value is None else len(value)

    def string_length_for_write(self, key: bytes) -> int | None:
        value = self.string_for_write(key)
        return None if value is None else len(value)

    def string_part(self, key: bytes, start: int, end: int) -> bytes:
        found = self._find(key)
        return b"" if found is None else found.value[start:end]

    def patch_string(self, key: bytes, offset: int, value: bytes) -> None:
        found = self._find(key)
        old = b"" if found is None else found.value
        new = old[:offset].ljust(offset, b"\0") + value + old[offset + len(value) :]
        self.set_string(key, new, keep_ttl=True, raw=True)

    def hash_for_read(self, key: bytes) -> FakeHash | None:
        return self._value(key, "hash", reading=True)

    def list_for_read(self, key: bytes) -> FakeList | None:
        return self._value(key, "list", reading=True)

    def set_for_read(self, key: bytes) -> FakeSet | None:
        return self._value(key, "set", reading=True)

    def zset_for_read(self, key: bytes) -> FakeZSet | None:
        return self._value(key, "zset", reading=True)

    def string_for_write(self, key: bytes) -> bytes | None:
        return self._value(key, "string", reading=False)

    def hash_for_write(self, key: bytes) -> FakeHash | None:
        return self._value(key, "hash", reading=False)

    def list_for_write(self, key: bytes) -> FakeList | None:
        return self._value(key, "list", reading=False)

    def set_for_write(self, key: bytes) -> FakeSet | None:
        return self._value(key, "set", reading=False)

    def zset_for_write(self, key: bytes) -> FakeZSet | None:
        return self._value(key, "zset", reading=False)

    def hash_to_fill(self, key: bytes) -> FakeHash:
        return self._filled(key, "hash")

    def list_to_fill(self, key: bytes) -> FakeList:
        return self._filled(key, "list")

    def set_to_fill(self, key: bytes) -> FakeSet:
        return self._filled(key, "set")

    def zset_to_fill(self, key: bytes) -> FakeZSet:
        return self._filled(key, "zset")

    def all_or_nothing(self, words: Sequence[bytes]) -> AbstractContextManager[None]:
        return nullcontext()  # Python's memory is not what is tested here

    def new_set(self) -> FakeSet:
        return FakeSet()

    def new_zset(self) -> FakeZSet:
        return FakeZSet()

    def overwrite(self, key: bytes, value: FakeSet | FakeZSet) -> None:
        self.delete(key)
        self._entries[key] = Entry("set" if isinstance(value, FakeSet) else "zset", value, touched_ms=self.now_ms)
        self.changed(key)

    def set_string(self, key: bytes, value: bytes, *, keep_ttl: bool = False, raw: bool = False) -> None:
        old = self._find(key)
        expire_at_ms = old.expire_at_ms if keep_ttl and old else -1
        self._entries[key] = Entry("string", bytes(value), expire_at_ms, self.now_ms, raw)
        self.changed(key)

    def changed(self, key: bytes, times: int = 1) -> None:
        self.keyspace.dirty += times
        entry = self._find(key)
        if entry is not None and entry.kind != "string" and not len(entry.value):
            del self._entries[key]

    def exists(self, key: bytes) -> bool:
        return self._find(key) is not None

    def seen(self, key: bytes) -> bool:
        return self.exists(key)

    def type_of(self, key: bytes) -> str | None:
        entry = self._find(key)
        return entry.kind if entry else None

    def encoding_of(self, key: bytes) -> str | None:
        entry = self._find(key)
        if entry is None:
            return None
        if entry.kind != "string":
            return entry.value.encoding()  # type: ignore[no-any-return]
        if entry.raw:
            return "raw"
        if is_int64(entry.value):
            return "int"
        return "embstr" if len(entry.value) <= EMBSTR_BYTES else "raw"

    def idle_seconds(self, key: bytes) -> int | None:
        entry = self._find(key)
        return (self.now_ms - entry.touched_ms) // 1000 if entry else None

    def touch(self, key: bytes) -> bool:
        entry = self._find(key)
        if entry is None:
            return False
        entry.touched_ms = self.now_ms
        return True

    counts_frequency = deletes_lazily = flushes_lazily = False

    def frequency_of(self, key: bytes) -> int | None:
        raise NotImplementedError

    def delete(self, key: bytes, lazily: bool | None = None) -> bool:
        if self._find(key) is None:
            return False
        del self._entries[key]
        self.keyspace.dirty += 1
        return True

    def expire_at(self, key: bytes) -> int | None:
        entry = self._find(key)
        return entry.expire_at_ms if entry else None

    def set_expire_at(self, key: bytes, at_ms: int) -> None:
        entry = self._find(key)
        assert entry is not None, "only of a key that is there"
        entry.expire_at_ms = at_ms
        self.changed(key)

    def rename(self, source: bytes, destination: bytes) -> None:
        self._entries[destination] = self._entries.pop(source)
        self.keyspace.dirty += 1

    def copy(self, source: bytes, destination: bytes, database: int) -> None:
        entry = self._entries[source]
        twin = Entry(entry.kind, entry.value, entry.expire_at_ms, self.now_ms)
        if entry.kind != "string":
            twin.value = KINDS[entry.kind]()
            for name, content in vars(entry.value).items():
                setattr(twin.value, name, content.copy())
        self.keyspace.entries[database][destination] = twin
        self.keyspace.dirty += 1

    def move(self, key: bytes, database: int) -> bool:
        if self._find(key) is None or self._find(key, database) is not None:
            return False
        self.keyspace.entries[database][key] = self._entries.pop(key)
        self.keyspace.dirty += 1
        return True

    def size(self) -> int:
        return len(self._entries)

    def random_key(self) -> bytes | None:
        present = list(self.keys())
        return random.choice(present) if present else None

    def keys(self) -> Iterable[bytes]:
        return [key for key in list(self._entries) if self._find(key) is not None]

    def scan(self, cursor: int, count: int) -> tuple[int, list[tuple[bytes, str]]]:
        """Whole slots until `count` keys are found; so a cursor is a slot and nothing else."""
        slots: dict[int, list[bytes]] = {}
        for key in self.keys():
            slots.setdefault(slot_of(key), []).append(key)
        found: list[tuple[bytes, str]] = []
        for slot in sorted(slots):
            if slot < cursor & SLOT_MASK:
                continue
            if len(found) >= count:
                return slot, found
            found += [(key, self._entries[key].kind) for key in slots[slot]]
        return 0, found

    def flush(self, *, everywhere: bool = False, lazily: bool = False) -> None:
        for entries in self.keyspace.entries if everywhere else [self._entries]:
            self.keyspace.dirty += len(entries)
            entries.clear()

    def effect(self, *words: bytes) -> None:
        assert all(isinstance(word, bytes) for word in words), f"an effect is made of bytes: {words!r}"
        self.keyspace.effects.append((self.index, words))

    def memory_of(self, key: bytes) -> int | None:
        return 64 + len(key) if self._find(key) else None
