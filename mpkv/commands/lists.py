"""List commands, the blocking ones included.

A blocking handler tries what its plain twin does. If no key could serve it, it replies with `Blocked` and is called
again with the same arguments when one may; so it has no second path. In the log stands what it did, never that it
waited.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mpkv import errors
from mpkv.commands.args import INT64_MAX, INT64_MIN, Arguments, integer, integer_between, timeout_ms
from mpkv.commands.faces import Db, List
from mpkv.commands.spec import (
    ALL_BUT_LAST,
    BLOCKING,
    DENYOOM,
    FAST,
    FIRST_KEY,
    FIRST_TWO_KEYS,
    MOVABLEKEYS,
    NOSCRIPT,
    READONLY,
    WRITE,
    Keys,
    command,
)  # fmt: skip
from mpkv.errors import CommandError
from mpkv.resp import replies

RANK_IS_ZERO: Final = CommandError(
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start "
    "from the end of the list"
)
RANK_TOO_LOW: Final = CommandError(
    f"ERR value is out of range, value must between {-INT64_MAX} and {INT64_MAX}"  # sic
)
COUNT_NEGATIVE: Final = CommandError("ERR COUNT can't be negative")
MAXLEN_NEGATIVE: Final = CommandError("ERR MAXLEN can't be negative")

PUSH_COMPLEXITY: Final = (
    "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments."
)
POP_COMPLEXITY: Final = "O(N) where N is the number of elements returned"
BLOCKING_POP_COMPLEXITY: Final = "O(N) where N is the number of provided keys."
MULTI_POP_COMPLEXITY: Final = "O(N+M) where N is the number of provided keys and M is the number of elements returned."

Popped = bytes | list[bytes] | object | None

# ---- ends


#: The word for an end -> whether it is the head.
_ENDS: Final = {b"left": True, b"right": False}
_END_WORDS: Final = {True: b"LEFT", False: b"RIGHT"}
_POP_NAMES: Final = {True: b"LPOP", False: b"RPOP"}


def _is_head(word: bytes) -> bool:
    head = _ENDS.get(word.lower())
    if head is None:
        raise errors.SYNTAX
    return head


def _push(elements: List, head: bool, element: bytes) -> None:
    if head:
        elements.push_head(element)
    else:
        elements.push_tail(element)


def _pop(elements: List, head: bool) -> bytes:
    element = elements.pop_head() if head else elements.pop_tail()
    assert element is not None, "a list that is stored is never empty"
    return element


def _clamped(start: int, stop: int, length: int) -> tuple[int, int]:
    """Indexes as the client counts them -> 0 <= start, stop < length; an empty range has stop < start."""
    start = max(start + length, 0) if start < 0 else start
    stop = stop + length if stop < 0 else min(stop, length - 1)
    return (start, stop) if start <= stop else (0, -1)


# ---- pushing


@command("LPUSH", arity=-3, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST, complexity=PUSH_COMPLEXITY)
def lpush(db: Db, key: bytes, *elements: bytes) -> int:
    """LPUSH key element [element ...] -- push at the head; reply with the new length."""
    return _push_all(db, key, db.list_to_fill(key), True, elements)


@command("RPUSH", arity=-3, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST, complexity=PUSH_COMPLEXITY)
def rpush(db: Db, key: bytes, *elements: bytes) -> int:
    """RPUSH key element [element ...] -- push at the tail; reply with the new length."""
    return _push_all(db, key, db.list_to_fill(key), False, elements)


@command("LPUSHX", arity=-3, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST, since="2.2.0", complexity=PUSH_COMPLEXITY)
def lpushx(db: Db, key: bytes, *elements: bytes) -> int:
    """LPUSHX key element [element ...] -- push at the head of a list that exists."""
    return _push_all(db, key, db.list_for_write(key), True, elements)


@command("RPUSHX", arity=-3, keys=FIRST_KEY, flags=WRITE | DENYOOM | FAST, since="2.2.0", complexity=PUSH_COMPLEXITY)
def rpushx(db: Db, key: bytes, *elements: bytes) -> int:
    """RPUSHX key element [element ...] -- push at the tail of a list that exists."""
    return _push_all(db, key, db.list_for_write(key), False, elements)


def _push_all(db: Db, key: bytes, values: List | None, head: bool, elements: Sequence[bytes]) -> int:
    if values is None:
        return 0
    with db.all_or_nothing(elements):
        for element in elements:
            _push(values, head, element)
    length = len(values)
    db.changed(key, len(elements))
    return length


@command(
    "LINSERT", arity=5, keys=FIRST_KEY, flags=WRITE | DENYOOM, since="2.2.0",
    complexity="O(N) where N is the number of elements to traverse before seeing the value pivot. This means that "
    "inserting somewhere on the left end on the list (head) can be considered O(1) and inserting "
    "somewhere on the right end (tail) is O(N).",
)  # fmt: skip
def linsert(db: Db, key: bytes, where: bytes, pivot: bytes, element: bytes) -> int:
    """LINSERT key <BEFORE | AFTER> pivot element -- insert beside another element."""
    side = where.lower()
    if side not in (b"before", b"after"):
        raise errors.SYNTAX
    values = db.list_for_write(key)
    if values is None:
        return 0
    if not values.insert(pivot, element, after=side == b"after"):
        return -1
    length = len(values)
    db.changed(key)
    return length


# ---- popping


@command("LPOP", arity=-2, keys=FIRST_KEY, flags=WRITE | FAST, complexity=POP_COMPLEXITY)
def lpop(db: Db, key: bytes, *count: bytes) -> Popped:
    """LPOP key [count] -- remove elements from the head and reply with them."""
    return _pop_some(db, "lpop", key, True, count)


@command("RPOP", arity=-2, keys=FIRST_KEY, flags=WRITE | FAST, complexity=POP_COMPLEXITY)
def rpop(db: Db, key: bytes, *count: bytes) -> Popped:
    """RPOP key [count] -- remove elements from the tail and reply with them."""
    return _pop_some(db, "rpop", key, False, count)


def _pop_some(db: Db, name: str, key: bytes, head: bool, words: Sequence[bytes]) -> Popped:
    if len(words) > 1:
        raise errors.wrong_arity(name)
    count = integer_between(words[0], 0, INT64_MAX, errors.NOT_POSITIVE) if words else None
    values = db.list_for_write(key)
    if values is None:
        return None if count is None else replies.NULL_ARRAY
    if count is None:
        return _pop_up_to(db, key, values, head, 1)[0]
    return _pop_up_to(db, key, values, head, count)


def _pop_up_to(db: Db, key: bytes, values: List, head: bool, count: int) -> list[bytes]:
    popped = [_pop(values, head) for _ in range(min(count, len(values)))]
    if popped:
        db.changed(key, len(popped))
    return popped


@command(
    "LMPOP", arity=-4, keys=Keys(count_at=1), flags=WRITE | MOVABLEKEYS, since="7.0.0", complexity=MULTI_POP_COMPLEXITY,
    effect="own",
)  # fmt: skip
def lmpop(db: Db, *words: bytes) -> object:
    """LMPOP numkeys key [key ...] <LEFT | RIGHT> [COUNT count] -- pop from the first list that has an element."""
    keys, head, count = _read_multi_pop(words)
    return _pop_from_first(db, keys, head, count)


@command(
    "BLMPOP", arity=-5, keys=Keys(count_at=2), flags=WRITE | BLOCKING | MOVABLEKEYS, since="7.0.0",
    complexity=MULTI_POP_COMPLEXITY, effect="own",
)  # fmt: skip
def blmpop(db: Db, timeout: bytes, *words: bytes) -> object:
    """BLMPOP timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count] -- LMPOP that waits for an element."""
    keys, head, count = _read_multi_pop(words)
    wait_ms = timeout_ms(timeout, db.now_ms)
    reply = _pop_from_first(db, keys, head, count)
    return replies.Blocked(keys, "list", wait_ms) if reply is replies.NULL_ARRAY else reply


def _read_multi_pop(words: Sequence[bytes]) -> tuple[Sequence[bytes], bool, int]:
    """The keys, whether to pop at the head, and how many at most."""
    numkeys = integer_between(words[0], 1, INT64_MAX, errors.NUMKEYS_NOT_POSITIVE)
    if numkeys + 1 >= len(words):
        raise errors.SYNTAX
    args = Arguments(words[numkeys + 1 :])
    head = _is_head(args.word())
    count = 1
    if args.take(b"count", needs=1):
        count = integer_between(args.word(), 1, INT64_MAX, errors.COUNT_NOT_POSITIVE)
    args.end()
    return words[1 : numkeys + 1], head, count


def _pop_from_first(db: Db, keys: Sequence[bytes], head: bool, count: int) -> object:
    for key in keys:
        values = db.list_for_write(key)
        if values is not None:
            popped = _pop_up_to(db, key, values, head, count)
            db.effect(_POP_NAMES[head], key, b"%d" % len(popped))
            return [key, popped]
    return replies.NULL_ARRAY


@command(
    "BLPOP", arity=-3, keys=ALL_BUT_LAST, flags=WRITE | NOSCRIPT | BLOCKING, since="2.0.0",
    complexity=BLOCKING_POP_COMPLEXITY, effect="own",
)  # fmt: skip
def blpop(db: Db, *words: bytes) -> replies.Blocked | list[bytes]:
    """BLPOP key [key ...] timeout -- pop at the head of the first list that has an element, waiting for one."""
    return _blocking_pop(db, words, True)


@command(
    "BRPOP", arity=-3, keys=ALL_BUT_LAST, flags=WRITE | NOSCRIPT | BLOCKING, since="2.0.0",
    complexity=BLOCKING_POP_COMPLEXITY, effect="own",
)  # fmt: skip
def brpop(db: Db, *words: bytes) -> replies.Blocked | list[bytes]:
    """BRPOP key [key ...] timeout -- pop at the tail of the first list that has an element, waiting for one."""
    return _blocking_pop(db, words, False)


def _blocking_pop(db: Db, words: Sequence[bytes], head: bool) -> replies.Blocked | list[bytes]:
    keys, wait_ms = words[:-1], timeout_ms(words[-1], db.now_ms)
    for key in keys:
        values = db.list_for_write(key)
        if values is not None:
            element = _pop_up_to(db, key, values, head, 1)[0]
            db.effect(_POP_NAMES[head], key)
            return [key, element]
    return replies.Blocked(keys, "list", wait_ms)


# ---- moving from list to list


@command("LMOVE", arity=5, keys=FIRST_TWO_KEYS, flags=WRITE | DENYOOM, since="6.2.0")
def lmove(db: Db, source: bytes, destination: bytes, where_from: bytes, where_to: bytes) -> bytes | None:
    """LMOVE source destination <wherefrom: LEFT | RIGHT> <whereto: LEFT | RIGHT> -- pop at an end of a list, push at
    an end of another."""
    from_head, to_head = _is_head(where_from), _is_head(where_to)
    return _move(db, source, destination, (from_head, to_head))


@command("RPOPLPUSH", arity=3, keys=FIRST_TWO_KEYS, flags=WRITE | DENYOOM, since="1.2.0")
def rpoplpush(db: Db, source: bytes, destination: bytes) -> bytes | None:
    """RPOPLPUSH source destination -- pop at the tail of a list, push at the head of another."""
    return _move(db, source, destination, (False, True))


@command(
    "BLMOVE", arity=6, keys=FIRST_TWO_KEYS, flags=WRITE | DENYOOM | NOSCRIPT | BLOCKING, since="6.2.0", effect="own",
)  # fmt: skip
def blmove(  # noqa: PLR0917 -- the command has so many words
    db: Db, source: bytes, destination: bytes, where_from: bytes, where_to: bytes, timeout: bytes
) -> replies.Blocked | bytes:
    """BLMOVE source destination <wherefrom: LEFT | RIGHT> <whereto: LEFT | RIGHT> timeout -- LMOVE that waits for an
    element."""
    from_head, to_head = _is_head(where_from), _is_head(where_to)
    return _blocking_move(db, source, destination, (from_head, to_head), timeout)


@command(
    "BRPOPLPUSH", arity=4, keys=FIRST_TWO_KEYS, flags=WRITE | DENYOOM | NOSCRIPT | BLOCKING, since="2.2.0",
    effect="own",
)  # fmt: skip
def brpoplpush(db: Db, source: bytes, destination: bytes, timeout: bytes) -> replies.Blocked | bytes:
    """BRPOPLPUSH source destination timeout -- RPOPLPUSH that waits for an element."""
    return _blocking_move(db, source, destination, (False, True), timeout)


def _move(db: Db, source: bytes, destination: bytes, heads: tuple[bool, bool]) -> bytes | None:
    """None if there is nothing at the source; then the destination's type does not matter.

    :param heads: whether to pop, and whether to push, at the head
    """
    from_head, to_head = heads
    origin = db.list_for_write(source)
    if origin is None:
        return None
    target = db.list_to_fill(destination)
    element = origin.get(0 if from_head else -1)
    assert element is not None, "a list that is stored is never empty"
    _push(target, to_head, element)  # first what may fail, then what cannot
    _pop(origin, from_head)
    db.changed(source)
    if destination != source:
        db.changed(destination, 0)  # one change in all, as Redis counts it
    return element


def _blocking_move(
    db: Db, source: bytes, destination: bytes, heads: tuple[bool, bool], timeout: bytes
) -> replies.Blocked | bytes:
    wait_ms = timeout_ms(timeout, db.now_ms)
    element = _move(db, source, destination, heads)
    if element is None:
        return replies.Blocked([source], "list", wait_ms, in_transaction=None)
    db.effect(b"LMOVE", source, destination, *(_END_WORDS[head] for head in heads))
    return element


# ---- reading


@command("LLEN", arity=2, keys=FIRST_KEY, flags=READONLY | FAST)
def llen(db: Db, key: bytes) -> int:
    """LLEN key -- the number of elements."""
    values = db.list_for_read(key)
    return 0 if values is None else len(values)


@command(
    "LINDEX", arity=3, keys=FIRST_KEY, flags=READONLY,
    complexity="O(N) where N is the number of elements to traverse to get to the element at index. This makes asking"
    " for the first or the last element of the list O(1).",
)  # fmt: skip
def lindex(db: Db, key: bytes, index: bytes) -> bytes | None:
    """LINDEX key index -- the element at an index, negative ones counted from the tail."""
    values = db.list_for_read(key)
    return None if values is None else values.get(integer(index))


@command(
    "LRANGE", arity=4, keys=FIRST_KEY, flags=READONLY,
    complexity="O(S+N) where S is the distance of start offset from HEAD for small lists, from nearest end (HEAD or "
    "TAIL) for large lists; and N is the number of elements in the specified range.",
)  # fmt: skip
def lrange(db: Db, key: bytes, start: bytes, stop: bytes) -> list[bytes]:
    """LRANGE key start stop -- the elements between two indexes, both included."""
    first, last = integer(start), integer(stop)
    values = db.list_for_read(key)
    if values is None:
        return []
    first, last = _clamped(first, last, len(values))
    return values.range(first, last)


@command(
    "LPOS", arity=-3, keys=FIRST_KEY, flags=READONLY, since="6.0.6",
    complexity="O(N) where N is the number of elements in the list, for the average case. When searching for "
    "elements near the head or the tail of the list, or when the MAXLEN option is provided, the command "
    "may run in constant time.",
)  # fmt: skip
def lpos(db: Db, key: bytes, element: bytes, *words: bytes) -> int | list[int] | None:
    """LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len] -- where an element stands in a list."""
    rank, count, limit = 1, None, 0
    args = Arguments(words)
    while args.left:
        if args.take(b"rank", needs=1):
            rank = args.integer()
            if rank == 0:
                raise RANK_IS_ZERO
            if rank == INT64_MIN:  # has no opposite in 64 bits
                raise RANK_TOO_LOW
        elif args.take(b"count", needs=1):
            count = integer_between(args.word(), 0, INT64_MAX, COUNT_NEGATIVE)
        elif args.take(b"maxlen", needs=1):
            limit = integer_between(args.word(), 0, INT64_MAX, MAXLEN_NEGATIVE)
        else:
            raise errors.SYNTAX
    values = db.list_for_read(key)
    found = [] if values is None else values.find(element, rank=rank, count=1 if count is None else count, limit=limit)
    if count is not None:
        return found
    return found[0] if found else None


# ---- changing elements


@command(
    "LSET", arity=4, keys=FIRST_KEY, flags=WRITE | DENYOOM,
    complexity="O(N) where N is the length of the list. Setting either the first or the last element of the list is "
    "O(1).",
)  # fmt: skip
def lset(db: Db, key: bytes, index: bytes, element: bytes) -> replies.Status:
    """LSET key index element -- replace the element at an index."""
    values = db.list_for_write(key)
    if values is None:
        raise errors.NO_SUCH_KEY
    if not values.put(integer(index), element):
        raise errors.OUT_OF_RANGE
    db.changed(key)
    return replies.OK


@command(
    "LREM", arity=4, keys=FIRST_KEY, flags=WRITE,
    complexity="O(N+M) where N is the length of the list and M is the number of elements removed.",
)  # fmt: skip
def lrem(db: Db, key: bytes, count: bytes, element: bytes) -> int:
    """LREM key count element -- remove equal elements: the first, for a negative count the last, for 0 all."""
    most = integer(count)
    values = db.list_for_write(key)
    removed = 0 if values is None else values.remove(element, most)
    if removed:
        db.changed(key, removed)
    return removed


@command(
    "LTRIM", arity=4, keys=FIRST_KEY, flags=WRITE,
    complexity="O(N) where N is the number of elements to be removed by the operation.",
)  # fmt: skip
def ltrim(db: Db, key: bytes, start: bytes, stop: bytes) -> replies.Status:
    """LTRIM key start stop -- keep only the elements between two indexes, both included."""
    first, last = integer(start), integer(stop)
    values = db.list_for_write(key)
    if values is not None:
        length = len(values)
        first, last = _clamped(first, last, length)
        values.trim(first, last)
        db.changed(key, length - len(values))
    return replies.OK
