"""What COMMAND INFO and COMMAND DOCS say of a command beyond its declaration.

Most of it follows from the declaration: a command that writes updates its keys, one that reads accesses them. What does
not follow stands in tables here, from the answer to the commands that give it.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from mpkv.commands import spec as commands
from mpkv.commands.spec import Command, Flag, Keys


def _by_name(table: dict[str, str]) -> dict[str, list[str]]:
    """From ``answer -> "name name …"`` to ``name -> answers``."""
    answers: dict[str, list[str]] = {}
    for answer, names in table.items():
        for name in names.split():
            answers.setdefault(name, []).append(answer)
    return answers


#: Not a key in the sense of the keyspace: a channel that belongs to a slot.
NOT_A_KEY: Final = "not_key"

_ACCESS: Final = _by_name(
    {
        "RW insert": "append hsetnx linsert lpush lpushx rpush rpushx sadd",
        "RW access delete": "blmpop blpop brpop bzmpop bzpopmax bzpopmin getdel lmpop lpop rpop spop zmpop zpopmax "
        "zpopmin",
        "RW access update": "decr decrby getex getset hincrby hincrbyfloat incr incrby incrbyfloat move zincrby",
        "RW access update variable_flags": "set",
        "RW delete": "hdel lrem ltrim srem zrem zremrangebylex zremrangebyrank zremrangebyscore",
        "RM delete": "del unlink",
        "OW update": "mset psetex setex",
        "OW insert": "msetnx setnx",
        "RO": "exists hexists hlen hstrlen llen memory|usage object|encoding object|freq object|idletime "
        "object|refcount scard "
        "sismember strlen touch type watch zcard",
        NOT_A_KEY: "spublish ssubscribe sunsubscribe",
    }
)

#: Commands whose first key has another part than the others: what is done to the first / to the others.
_ACCESS_OF_TWO: Final = _by_name(
    {
        "RW access delete/RW insert": "blmove brpoplpush lmove rpoplpush smove",
        "RW access delete/OW update": "rename",
        "RW access delete/OW insert": "renamenx",
        "RO access/OW update": "copy",
        "OW update/RO access": "sdiffstore sunionstore zdiffstore zinterstore zrangestore zunionstore",
        "RW update/RO access": "sinterstore",
    }
)

_TIPS: Final = _by_name(
    {
        "nondeterministic_output": "client|info client|list hrandfield hscan info lastsave latency|doctor "
        "latency|graph latency|histogram latency|history latency|latest memory|doctor memory|malloc-stats memory|stats "
        "object|encoding object|freq object|idletime object|refcount pttl randomkey scan slowlog|details slowlog|get "
        "slowlog|len spop srandmember sscan time ttl "
        "zrandmember zscan",
        "request_policy:all_nodes": "config|set latency|doctor latency|graph latency|histogram latency|history "
        "latency|latest latency|reset slowlog|details slowlog|get slowlog|len slowlog|reset",
        "request_policy:all_shards": "dbsize flushall flushdb info keys memory|doctor memory|malloc-stats memory|purge "
        "memory|stats ping randomkey",
        "request_policy:multi_shard": "del exists mget mset msetnx touch unlink",
        "request_policy:special": "scan",
        "response_policy:agg_min": "msetnx",
        "response_policy:agg_sum": "dbsize del exists slowlog|len touch unlink",
        "response_policy:all_succeeded": "config|set flushall flushdb latency|reset memory|purge mset ping "
        "slowlog|reset",
        "response_policy:special": "info latency|doctor latency|graph latency|histogram latency|history "
        "latency|latest memory|doctor memory|malloc-stats memory|stats",
        "nondeterministic_output_order": "command command|docs command|info command|list hgetall hkeys hvals keys "
        "sdiff sinter smembers sunion",
    }
)

#: What a key specification does not show.
_NOTES: Final = {
    "set": "RW and access only with `GET`",
    "getex": "RW and update: the time to live may change",
}

#: Commands that a newer one replaces: since when, and by what.
_DEPRECATED: Final = {
    "brpoplpush": ("6.2.0", "`BLMOVE` with `RIGHT` and `LEFT`"),
    "getset": ("6.2.0", "`SET` with `GET`"),
    "hmset": ("4.0.0", "`HSET`"),
    "quit": ("7.2.0", "closing the connection"),
    "rpoplpush": ("6.2.0", "`LMOVE` with `RIGHT` and `LEFT`"),
    "substr": ("2.0.0", "`GETRANGE`"),
    "zrangebylex": ("6.2.0", "`ZRANGE` with `BYLEX`"),
    "zrangebyscore": ("6.2.0", "`ZRANGE` with `BYSCORE`"),
    "zrevrange": ("6.2.0", "`ZRANGE` with `REV`"),
    "zrevrangebylex": ("6.2.0", "`ZRANGE` with `REV` and `BYLEX`"),
    "zrevrangebyscore": ("6.2.0", "`ZRANGE` with `REV` and `BYSCORE`"),
}

_CATEGORY_OF_GROUP: Final = {
    "sorted-set": "@sortedset", "generic": "@keyspace", "transactions": "@transaction", "string": "@string",
    "hash": "@hash", "list": "@list", "set": "@set", "pubsub": "@pubsub", "connection": "@connection",
}  # fmt: skip

_MORE_CATEGORIES: Final = _by_name(
    {
        "@admin": "lastsave role",
        "@connection": "command command|count command|docs command|getkeys command|getkeysandflags command|help "
        "command|info command|list",
    }
)

_GROUPS: Final = _by_name({"server": "dbsize flushall flushdb"})


def categories(spec: Command) -> list[str]:
    """The ACL categories."""
    if spec.handler is commands.container_handler:
        return ["@slow"]
    is_admin = bool(spec.flags & Flag.ADMIN)
    found = {
        "@write": spec.flags & Flag.WRITE,
        "@read": spec.flags & Flag.READONLY and spec.group != "transactions",
        _CATEGORY_OF_GROUP.get(spec.group, ""): spec.name != "pubsub|help",
        "@admin": is_admin,
        "@dangerous": is_admin or spec.flags & Flag.DANGEROUS,
        "@fast": spec.flags & Flag.FAST,
        "@slow": not spec.flags & Flag.FAST,
        "@blocking": spec.flags & Flag.BLOCKING,
    }
    return [name for name, holds in found.items() if name and holds] + _MORE_CATEGORIES.get(spec.name, [])


def group_of(spec: Command) -> str:
    """What COMMAND DOCS files it under."""
    return _GROUPS.get(spec.name, [spec.group])[0]


def tips_of(spec: Command) -> list[str]:
    """What a client that routes should know."""
    return _TIPS.get(spec.name, [])


def note_on_key(spec: Command) -> str:
    """What is to be said of its keys beyond flags and places; mostly nothing."""
    return _NOTES.get(spec.name, "")


def deprecation(spec: Command) -> tuple[str, str]:
    """Since when it is deprecated, and what replaces it; empty if it is not."""
    return _DEPRECATED.get(spec.name, ("", ""))


@cache
def _accesses(name: str, writes: bool) -> tuple[str, str]:
    two = _ACCESS_OF_TWO.get(name)
    if two is not None:
        first, _, others = two[0].partition("/")
        return first, others
    one = _ACCESS.get(name, ["RW update" if writes else "RO access"])[0]
    return one, one


def key_specs(spec: Command) -> list[tuple[list[str], Keys]]:
    """Where its keys are and what is done to them: (flags, place) for each part that keys play."""
    keys = spec.keys
    first, others = (access.split() for access in _accesses(spec.name, bool(spec.flags & Flag.WRITE)))
    if keys.first and keys.count_at:
        return [(first, Keys(keys.first, keys.first)), (others, Keys(count_at=keys.count_at))]
    if spec.name in _ACCESS_OF_TWO:
        return [(first, Keys(keys.first, keys.first)), (others, Keys(keys.first + 1, keys.last, keys.step))]
    return [(first, keys)] if keys.first or keys.count_at else []
