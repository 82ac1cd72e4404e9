"""Requests of every command with words at random: too few, too many, of the wrong kind, options in any order.

Unlike `families`, which knows what makes sense, this draws from the syntax that a command declares and from a pool of
words that servers stumble over. Most of the replies are errors, and their texts are what is compared.
"""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from mpkv.commands import spec
from mpkv.commands.arguments import Argument, arguments_of
from mpkv.commands.spec import Command, Flag
from mpkv.sharding import shard_of
from tests.helpers.differential import Words, command_of

MOST_SHARDS: Final = 4

#: One of each type, and one that is missing; on one shard, so that every command may take any two.
SETUP: Final[list[Words]] = [
    line.encode().split()
    for line in (
        "SET {t}string value", "SET {t}number 10", "SET {t}float 3.5", "RPUSH {t}list a b c a 1", "SADD {t}set a b c",
        "SADD {t}ints 1 2 3", "HSET {t}hash field 1 other text", "ZADD {t}zset 1 a 2 b 2 c 3.5 d",
        "MSET {t}k1 1 {t}k2 x",
    )
]  # fmt: skip
KEYS: Final = sorted({words[1] for words in SETUP} | {b"{t}k2", b"{t}missing"})

_WORDS: Final = [
    b"a", b"b", b"field", b"other", b"", b"*", b"[a", b"(b", b"(1", b"-", b"+", b"x\r\ny", b"0", b"1", b"2", b"3",
    b"-1", b"-2", b"10", b"100", b"1.5", b"-0", b"+1", b" 1", b"1 ", b"0x10", b"1e3", b"inf", b"-inf", b"+inf", b"nan",
    b"(inf",
    b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808", b"-9223372036854775807", b"4294967296",
    b"2147483647", b"18446744073709551616", b"99999999999999999999", b"1e400", b"99999999999999",
]  # fmt: skip
#: 7.2 prints these otherwise where they are scores, and a key that lives so long may be gone before it is asked for.
_NOT_A_SCORE: Final = {word for word in _WORDS if word.lstrip(b"-").isdigit() and len(word) > 16}
_TIMES: Final = {"seconds", "milliseconds", "unix-time-seconds", "unix-time-milliseconds"}
_NOT_A_TIME: Final = {b"1", b"2", b"3", b"10", b"100", b"+1", b"1.5"}
#: Options of other commands, which this one should not take.
_STRAY: Final = [b"NX", b"LIMIT", b"COUNT", b"WITHSCORES", b"GET", b"MATCH", b"IDX", b"BYLEX"]

#: Not drawn: what answers at random or by the clock, speaks of the process, waits, or would end or change the session.
_LEFT_OUT_FLAGS: Final = Flag.INTERNAL | Flag.PROTECTED | Flag.BLOCKING | Flag.PUBSUB | Flag.ADMIN
_LEFT_OUT: Final = {
    "spop", "srandmember", "hrandfield", "zrandmember", "randomkey", "scan", "sscan", "hscan", "zscan", "keys",
    "dbsize", "time", "ttl", "pttl", "expiretime", "pexpiretime", "info", "role", "lastsave", "monitor", "object|help",
    "object|idletime", "object|freq", "object|encoding", "object|refcount", "quit", "reset", "auth", "hello", "select",
    "multi", "exec", "discard", "watch", "unwatch", "move", "copy", "flushall", "flushdb",
}  # fmt: skip
#: Families that tell of the server and its clients rather than of data.
_LEFT_OUT_FAMILIES: Final = ("client", "command", "config", "latency", "slowlog", "memory", "acl")


def commands() -> list[Command]:
    """Those whose replies follow from the data."""
    return [
        command
        for name, command in spec.load().items()
        if not command.flags & _LEFT_OUT_FLAGS
        and name not in _LEFT_OUT
        and name.partition("|")[0] not in _LEFT_OUT_FAMILIES
        and command.handler is not spec.container_handler
    ]


def _tokens(arguments: tuple[Argument, ...] | list[Argument]) -> list[bytes]:
    return [
        token for one in arguments for token in [*([one.token.encode()] if one.token else []), *_tokens(one.members)]
    ]


def _pool(command: Command, arguments: tuple[Argument, ...]) -> list[bytes]:
    """The words that may stand anywhere in a request."""
    if command.group == "sorted-set":
        return [word for word in _WORDS if word not in _NOT_A_SCORE]
    if _names(arguments) & _TIMES:
        return [word for word in _WORDS if word not in _NOT_A_TIME]
    return _WORDS


def _names(arguments: tuple[Argument, ...] | list[Argument]) -> set[str]:
    return {one.name for one in arguments}.union(*(_names(one.members) for one in arguments))


@st.composite
def requests_of(draw: st.DrawFn, command: Command) -> Words:
    """One request: the name, mostly a key, and a few words more or less than it takes."""
    arguments = arguments_of(command.syntax, command.words)
    tokens = _tokens(arguments)
    keys = st.sampled_from(KEYS)
    words = st.one_of(st.sampled_from(tokens) if tokens else keys, st.sampled_from(_pool(command, arguments)), keys)
    any_words = st.one_of(words, words, words, st.sampled_from(_STRAY))
    least = abs(command.arity) - command.words
    count = draw(st.integers(max(0, least - 1), least + (0 if command.arity > 0 else 6)))
    drawn = [draw(any_words) for _ in range(count)]
    if drawn and command.keys != spec.NO_KEYS and draw(st.integers(0, 9)):
        at = max(0, (command.keys.first or command.keys.count_at + 1) - command.words)
        drawn[min(at, count - 1)] = draw(keys)
        if command.keys.count_at and at and draw(st.booleans()):
            drawn[command.keys.count_at - command.words] = draw(st.sampled_from([b"1", b"2"]))
    return [*command.name.encode().split(b"|"), *drawn]


def is_refused_once(words: Words) -> bool:
    """Not if several shards would each find an error of their own, of which the first to come is the reply."""
    command = command_of(words)
    keys = command.keys.find(words) if command is not None and command.keys.count_at else []
    return len({shard_of(words[at], MOST_SHARDS) for at in keys}) <= 1


def sequences() -> st.SearchStrategy[list[Words]]:
    """Requests of any commands, one after another."""
    return st.lists(st.sampled_from(commands()).flatmap(requests_of).filter(is_refused_once), max_size=40)
