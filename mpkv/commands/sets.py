"""Step 9, sets: a key that holds members, and the algebra between several of them.

The algebra never copies a set that it only asks about: an intersection walks the smallest one, a difference the
first, and both ask the others member by member.

Over shards (class S) each shard answers with the algebra of its own keys, and these answers are joined: an
intersection of intersections, a union of unions. A difference takes from the shard that holds the first key its
difference, from the others their unions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from mpkv import errors
from mpkv.commands import args, sampling, scanning
from mpkv.commands.across import Parts
from mpkv.commands.args import Arguments
from mpkv.commands.faces import Db, Set
from mpkv.commands.spec import (
    ALL_KEYS,
    DENYOOM,
    FAST,
    FIRST_KEY,
    FIRST_TWO_KEYS,
    MOVABLEKEYS,
    READONLY,
    WRITE,
    Across,
    Keys,
    command,
)
from mpkv.errors import CommandError
from mpkv.resp.replies import SetReply

TOO_MANY_KEYS = CommandError("ERR Number of keys can't be greater than number of args")

INTERSECTION_COMPLEXITY = (
    "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets."
)
TOTAL_COMPLEXITY = "O(N) where N is the total number of elements in all given sets."

# Members


@command(
    "SADD", arity=-3, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST,
    complexity="O(1) for each element added, so O(N) to add N elements when the command is called with "
    "multiple arguments.",
)  # fmt: skip
def sadd(db: Db, key: bytes, *members: bytes) -> int:
    """SADD key member [member ...] -- add members; reply with how many are new."""
    value = db.set_to_fill(key)
    with db.all_or_nothing(members):
        added = sum(value.add(member) for member in members)
    if added:
        db.changed(key, added)
    return added


@command(
    "SREM",
    arity=-3,
    keys=FIRST_KEY,
    flags=WRITE | FAST,
    complexity="O(N) where N is the number of members to be removed.",
)
def srem(db: Db, key: bytes, *members: bytes) -> int:
    """SREM key member [member ...] -- remove members, and the key with its last one; reply with how many were there."""
    value = db.set_for_write(key)
    removed = 0 if value is None else sum(value.remove(member) for member in members)
    if removed:
        db.changed(key, removed)
    return removed


@command("SMOVE", arity=4, keys=FIRST_TWO_KEYS, flags=WRITE | FAST)
def smove(db: Db, source_key: bytes, destination_key: bytes, member: bytes) -> int:
    """SMOVE source destination member -- move a member from one set to another; reply 1 if it was in the source."""
    source = db.set_for_write(source_key)
    if source is None:
        return 0
    db.set_for_write(destination_key)  # refuses another type before anything is changed
    if source_key == destination_key:
        return int(source.contains(member))
    if not source.contains(member):
        return 0
    is_new = db.set_to_fill(destination_key).add(member)  # first what may fail, then what cannot
    source.remove(member)
    db.changed(source_key)
    if is_new:
        db.changed(destination_key)
    return 1


@command("SCARD", arity=2, keys=FIRST_KEY, flags=READONLY | FAST)
def scard(db: Db, key: bytes) -> int:
    """SCARD key -- the number of members."""
    value = db.set_for_read(key)
    return 0 if value is None else len(value)


@command("SISMEMBER", arity=3, keys=FIRST_KEY, flags=READONLY | FAST)
def sismember(db: Db, key: bytes, member: bytes) -> int:
    """SISMEMBER key member -- 1 if it is a member."""
    value = db.set_for_read(key)
    return int(value is not None and value.contains(member))


@command(
    "SMISMEMBER", arity=-3, keys=FIRST_KEY, flags=READONLY | FAST, since="6.2.0",
    complexity="O(N) where N is the number of elements being checked for membership",
)  # fmt: skip
def smismember(db: Db, key: bytes, *members: bytes) -> list[int]:
    """SMISMEMBER key member [member ...] -- 1 for each that is a member, 0 for each that is not."""
    value = db.set_for_read(key)
    return [int(value is not None and value.contains(member)) for member in members]


@command("SMEMBERS", arity=2, keys=FIRST_KEY, flags=READONLY, complexity="O(N) where N is the set cardinality.")
def smembers(db: Db, key: bytes) -> SetReply:
    """SMEMBERS key -- every member."""
    value = db.set_for_read(key)
    return SetReply(() if value is None else value.members())


@command(
    "SPOP", arity=-2, keys=FIRST_KEY, flags=WRITE | FAST, effect="own",
    complexity="Without the count argument O(1), otherwise O(N) where N is the value of the passed count.",
)  # fmt: skip
def spop(db: Db, key: bytes, *options: bytes) -> bytes | SetReply | None:
    """SPOP key [count] -- remove random members and reply with them."""
    if len(options) > 1:
        raise errors.SYNTAX
    if options:
        count = args.integer_between(options[0], 0, args.INT64_MAX, errors.NOT_POSITIVE)
        return SetReply(_pop(db, key, count))
    popped = _pop(db, key, 1)
    return popped[0] if popped else None


def _pop(db: Db, key: bytes, count: int) -> list[bytes]:
    value = db.set_for_write(key)
    if value is None or not count:
        return []
    if count >= len(value):
        popped = value.members()
        db.delete(key)
        db.effect(b"DEL", key)
        return popped
    popped = [value.pop() for _ in range(count)]
    db.changed(key, count)
    db.effect(b"SREM", key, *popped)
    return popped


@command(
    "SRANDMEMBER", arity=-2, keys=FIRST_KEY, flags=READONLY,
    complexity="Without the count argument O(1), otherwise O(N) where N is the absolute value of the passed count.",
)  # fmt: skip
def srandmember(db: Db, key: bytes, *options: bytes) -> bytes | list[bytes] | None:
    """SRANDMEMBER key [count] -- random members; a negative count allows repeats."""
    if len(options) > 1:
        raise errors.SYNTAX
    if not options:
        value = db.set_for_read(key)
        return None if value is None else value.random()
    wanted = sampling.count(options[0])
    value = db.set_for_read(key)
    return [] if value is None else sampling.picks(value, wanted)


@command("SSCAN", arity=-3, keys=FIRST_KEY, flags=READONLY, since="2.8.0", complexity=scanning.COMPLEXITY)
def sscan(db: Db, key: bytes, cursor: bytes, *options: bytes) -> Any:
    """SSCAN key cursor [MATCH pattern] [COUNT count] -- one step over the members."""
    position = scanning.cursor(cursor)
    value = db.set_for_read(key)
    if value is None:
        return scanning.NOTHING
    wanted = scanning.Options.parse(options)
    following, found = value.scan(position, wanted.count)
    return scanning.reply(following, [member for member in found if wanted.wants(member)])


# Algebra of handles: None stands for a key that is not there

Operation = Callable[[Sequence[Set | None]], Collection[bytes]]


def intersection(sets: Sequence[Set | None], limit: int = 0) -> Collection[bytes]:
    present = sorted((value for value in sets if value is not None), key=len)
    if len(present) < len(sets):
        return ()
    smallest, *others = present
    return smallest.members_in_all(others, limit)


def union(sets: Sequence[Set | None]) -> Collection[bytes]:
    present = [value for value in sets if value is not None]
    if len(present) == 1:
        return present[0].members()
    return {member for value in present for member in value.members()}


def difference(sets: Sequence[Set | None]) -> Collection[bytes]:
    first, *rest = sets
    if first is None:
        return ()
    # The largest rules out the most members: it is asked first.
    others = sorted((value for value in rest if value is not None), key=len, reverse=True)
    return first.members_in_none(others)


def _of(operation: Operation, db: Db, keys: Sequence[bytes]) -> Collection[bytes]:
    return operation([db.set_for_read(key) for key in keys])


def _store(operation: Operation, db: Db, destination_key: bytes, keys: Sequence[bytes]) -> int:
    """Overwrite whatever is at the destination; nothing is left there by an empty result."""
    result = db.new_set()  # complete before the destination, which may be a source, is overwritten
    for member in _of(operation, db, keys):
        result.add(member)
    length = len(result)
    if length:
        db.overwrite(destination_key, result)
    else:
        db.delete(destination_key)
    return length


# Algebra over shards


def _join_intersections(request: Sequence[bytes], parts: Parts) -> SetReply:
    replies = sorted((reply for _, reply in parts), key=len)
    return SetReply(set(replies[0]).intersection(*replies[1:]))


def _join_unions(request: Sequence[bytes], parts: Parts) -> SetReply:
    return SetReply(set().union(*(reply for _, reply in parts)))


def _join_difference(request: Sequence[bytes], parts: Parts) -> SetReply:
    left = next(reply for words, reply in parts if words[0] == b"SDIFF")
    return SetReply(set(left).difference(*(reply for words, reply in parts if words[0] != b"SDIFF")))


def _join_cardinality(request: Sequence[bytes], parts: Parts) -> int | CommandError:
    try:
        _, limit = _cardinality_arguments(request[1:])
    except CommandError as error:
        return error
    found = len(_join_intersections(request, parts))
    return min(found, limit) if limit else found


def _part_of_difference(request: Sequence[bytes], keys: list[int], holds_first: bool) -> list[bytes]:
    return [b"SDIFF" if holds_first else b"SUNION", *(request[at] for at in keys)]


def _part_of_cardinality(request: Sequence[bytes], keys: list[int], holds_first: bool) -> list[bytes]:
    try:
        _cardinality_arguments(request[1:])
    except CommandError:
        return list(request)  # the shard finds the same fault, before it looks at any key
    return [b"SINTER", *(request[at] for at in keys)]


@command(
    "SINTER",
    arity=-2,
    keys=ALL_KEYS,
    flags=READONLY,
    across=Across(_join_intersections),
    complexity=INTERSECTION_COMPLEXITY,
)
def sinter(db: Db, *keys: bytes) -> SetReply:
    """SINTER key [key ...] -- the members that all sets have."""
    return SetReply(_of(intersection, db, keys))


@command("SUNION", arity=-2, keys=ALL_KEYS, flags=READONLY, across=Across(_join_unions), complexity=TOTAL_COMPLEXITY)
def sunion(db: Db, *keys: bytes) -> SetReply:
    """SUNION key [key ...] -- the members that any of the sets has."""
    return SetReply(_of(union, db, keys))


@command(
    "SDIFF", arity=-2, keys=ALL_KEYS, flags=READONLY, across=Across(_join_difference, part=_part_of_difference),
    complexity=TOTAL_COMPLEXITY,
)  # fmt: skip
def sdiff(db: Db, *keys: bytes) -> SetReply:
    """SDIFF key [key ...] -- the members of the first set that none of the others has."""
    return SetReply(_of(difference, db, keys))


@command("SINTERSTORE", arity=-3, keys=ALL_KEYS, flags=WRITE | DENYOOM, complexity=INTERSECTION_COMPLEXITY)
def sinterstore(db: Db, destination: bytes, *keys: bytes) -> int:
    """SINTERSTORE destination key [key ...] -- store what all sets have; reply with the number of members."""
    return _store(intersection, db, destination, keys)


@command("SUNIONSTORE", arity=-3, keys=ALL_KEYS, flags=WRITE | DENYOOM, complexity=TOTAL_COMPLEXITY)
def sunionstore(db: Db, destination: bytes, *keys: bytes) -> int:
    """SUNIONSTORE destination key [key ...] -- store what any of the sets has; reply with the number of members."""
    return _store(union, db, destination, keys)


@command("SDIFFSTORE", arity=-3, keys=ALL_KEYS, flags=WRITE | DENYOOM, complexity=TOTAL_COMPLEXITY)
def sdiffstore(db: Db, destination: bytes, *keys: bytes) -> int:
    """SDIFFSTORE destination key [key ...] -- store what only the first set has; reply with the number of members."""
    return _store(difference, db, destination, keys)


@command(
    "SINTERCARD", arity=-3, keys=Keys(count_at=1), flags=READONLY | MOVABLEKEYS, since="7.0.0",
    across=Across(_join_cardinality, part=_part_of_cardinality), complexity=INTERSECTION_COMPLEXITY,
)  # fmt: skip
def sintercard(db: Db, *words: bytes) -> int:
    """SINTERCARD numkeys key [key ...] [LIMIT limit] -- how many members all sets have; counting stops at the limit."""
    keys, limit = _cardinality_arguments(words)
    return len(intersection([db.set_for_read(key) for key in keys], limit))


def _cardinality_arguments(words: Sequence[bytes]) -> tuple[Sequence[bytes], int]:
    """The keys and the limit, 0 for none, of the words after the name."""
    key_count = args.integer_between(words[0], 1, args.INT64_MAX, errors.NUMKEYS_NOT_POSITIVE)
    if key_count >= len(words):
        raise TOO_MANY_KEYS
    limit = 0
    options = Arguments(words[1 + key_count :])
    while options.left:
        if not options.take(b"limit", needs=1):
            raise errors.SYNTAX
        limit = args.integer_between(options.word(), 0, args.INT64_MAX, errors.LIMIT_NEGATIVE)
    return words[1 : 1 + key_count], limit
