"""The lines of redis-benchmark's default list and two more, and what must be in the server for each to be measured.

redis-benchmark measures its list in one go, and what one line leaves is what the next finds. Here each line is run by
itself, so that the servers can take turns and each line has as many requests as suit its speed; what it would have
found is prepared: keys to be read, and lists, sets and sorted sets with as many elements as there will be pops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

from side_by_side.servers import Session, pack

_BATCH: Final = 1000
_VALUE: Final = b"xxx"  #: redis-benchmark's own, of its default size
_RANGED_ELEMENTS: Final = 10_000
#: What a line of pops is prepared with at most: preparing must not take longer than measuring.
MOST_POPS: Final = 300_000


def send_all(session: Session, commands: Iterable[tuple[bytes | str | int, ...]], batch: int = _BATCH) -> None:
    """Send commands, so many at a time."""
    packed = map(pack, commands)
    while requests := list(islice(packed, batch)):
        session.pipe(requests)


def key_name(number: int) -> bytes:
    """The key that redis-benchmark makes of a random number: 16 bytes."""
    return b"key:%012d" % number


def fill_keyspace(session: Session, keys: int, value: bytes = _VALUE) -> None:
    """A string under each key that redis-benchmark may ask for."""
    send_all(session, ((b"SET", key_name(number), value) for number in range(keys)))


def _many(session: Session, name: bytes, key: bytes, elements: Iterator[bytes]) -> None:
    send_all(session, iter(lambda: (name, key, *islice(elements, _BATCH)), (name, key)), batch=1)


def _list(session: Session, _keyspace: int, elements: int) -> None:
    _many(session, b"RPUSH", b"mylist", iter([_VALUE] * elements))


def _ranged_list(session: Session, keyspace: int, _requests: int) -> None:
    _list(session, keyspace, _RANGED_ELEMENTS)


def _set(session: Session, _keyspace: int, elements: int) -> None:
    _many(session, b"SADD", b"myset", (b"element:%012d" % number for number in range(elements)))


def _sorted_set(session: Session, _keyspace: int, elements: int) -> None:
    # a large prime spreads the scores, so that members do not come in order
    pairs = ((b"%d" % (number * 7919 % elements), b"element:%012d" % number) for number in range(elements))
    _many(session, b"ZADD", b"myzset", chain.from_iterable(pairs))


def _ranged_sorted_set(session: Session, keyspace: int, _requests: int) -> None:
    _sorted_set(session, keyspace, _RANGED_ELEMENTS)


def _hash(session: Session, _keyspace: int, _requests: int) -> None:
    pairs = (b"%s:%d" % (word, number) for number in range(10) for word in (b"field", b"value"))
    session.call("HSET", "myhash", *pairs)


def _keys(session: Session, keyspace: int, _requests: int) -> None:
    fill_keyspace(session, keyspace)


@dataclass(frozen=True)
class Line:
    """`arguments` choose it in redis-benchmark; ``prepare(session, keyspace, requests)`` puts in what it needs.

    `pops`: it takes away what was prepared, so that it is bounded by it and prepared for each run.
    """

    name: str
    arguments: tuple[str, ...]
    prepare: Callable[[Session, int, int], None] | None = None
    pops: bool = False


def _test(name: str, prepare: Callable[[Session, int, int], None] | None = None, *, pops: bool = False) -> Line:
    return Line(name, ("-t", name.lower()), prepare, pops)


def _lrange(elements: int) -> Line:
    # Named by -t it would be preceded by as many LPUSH; given as a command it is the same bytes without them
    return Line(f"LRANGE_{elements}", ("LRANGE", "mylist", "0", str(elements - 1)), _ranged_list)


#: In redis-benchmark's own order, then two reads that its list lacks.
LINES: Final = (
    _test("PING_INLINE"), _test("PING_MBULK"), _test("SET"), _test("GET", _keys), _test("INCR"),
    _test("LPUSH"), _test("RPUSH"), _test("LPOP", _list, pops=True), _test("RPOP", _list, pops=True),
    _test("SADD"), _test("HSET"), _test("SPOP", _set, pops=True),
    _test("ZADD"), _test("ZPOPMIN", _sorted_set, pops=True),
    _lrange(100), _lrange(300), _lrange(500), _lrange(600), _test("MSET"),
    Line("ZRANGE_100", ("ZRANGE", "myzset", "0", "99"), _ranged_sorted_set),
    Line("HGETALL_10", ("HGETALL", "myhash"), _hash),
)  # fmt: skip
