"""What single commands cost, far beyond redis-benchmark's list: CPU time of the servers per command.

One client sends a command a hundred times at once, so that it is the command that costs and not the way to it. Sizes
are small and everyday; what a command does to a large value is not what is asked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median
from typing import Final

import hiredis

from side_by_side.report import NONE, Section, Table, decimal, ratio
from side_by_side.servers import Server, Session, pack
from side_by_side.settings import Settings

_PIPELINE: Final = 100
_BATCHES: Final = 40

#: What is there before each command; {t} is a tag, so that keys of one command are on one shard.
_SETUP: Final = (
    "SET string hello", "SET number 5", "RPUSH list " + " ".join(f"element:{at}" for at in range(100)),
    "HSET hash " + " ".join(f"field:{at} value:{at}" for at in range(50)),
    "SADD set " + " ".join(f"member:{at}" for at in range(60)), "SADD integers " + " ".join(map(str, range(60))),
    "ZADD zset " + " ".join(f"{at} member:{at}" for at in range(100)),
    "ZADD board " + " ".join(f"{at} member:{at}" for at in range(1000)),
    "SADD {t}a " + " ".join(f"member:{at}" for at in range(60)),
    "SADD {t}b " + " ".join(f"member:{at}" for at in range(30, 90)),
)  # fmt: skip

_COMMANDS: Final = (
    "GET string", "SET string x", "SET string x EX 100", "SET string x NX", "SETEX string 100 x", "SETNX string x",
    "GETSET string x", "GETDEL none", "GETEX string EX 100", "APPEND longer x", "STRLEN string", "GETRANGE string 0 2",
    "SETRANGE string 1 b", "INCR number", "INCRBY number 3", "INCRBYFLOAT amount 1.5", "MGET string number",
    "MSET {t}a 1 {t}b 2",
    "EXPIRE string 100", "PEXPIRE string 100000", "TTL string", "PTTL string", "PERSIST string", "TYPE string",
    "EXISTS string", "TOUCH string", "DEL none", "UNLINK none", "COPY {t}a {t}c", "OBJECT ENCODING string",
    "LPUSH pushed a", "RPUSH pushed a b c", "LPOP popped", "LLEN list", "LINDEX list 3", "LRANGE list 0 9",
    "LSET list 3 x", "LTRIM list 0 99", "LPOS list element:50", "LREM list 1 none", "LMOVE list list LEFT RIGHT",
    "HSET hash field:1 x", "HSET hash field:1 x field:2 y field:3 z", "HGET hash field:1",
    "HMGET hash field:1 field:2 field:3", "HGETALL hash", "HDEL hash none", "HEXISTS hash field:1", "HLEN hash",
    "HINCRBY counters a 1", "HINCRBYFLOAT counters b 1.5", "HKEYS hash", "HVALS hash", "HSETNX hash field:1 x",
    "HRANDFIELD hash", "HSCAN hash 0",
    "SADD set x", "SADD set x y z", "SREM set none", "SISMEMBER set member:1", "SMISMEMBER set member:1 member:2",
    "SCARD set", "SMEMBERS set", "SRANDMEMBER set", "SPOP none", "SMOVE {t}a {t}b none", "SINTER {t}a {t}b",
    "SUNION {t}a {t}b", "SDIFF {t}a {t}b",
    "ZADD zset 5 member:5", "ZADD zset 5 member:5 6 member:6 7 member:7", "ZADD zset GT 5 member:5",
    "ZADD zset INCR 1 member:5", "ZINCRBY zset 1 member:5", "ZREM zset none", "ZSCORE zset member:5",
    "ZMSCORE zset member:5 member:6", "ZRANK zset member:5", "ZREVRANK board member:5", "ZCARD zset",
    "ZCOUNT zset 5 50", "ZRANGE zset 0 9", "ZRANGE board 0 9 REV WITHSCORES", "ZREVRANGE board 0 9 WITHSCORES",
    "ZRANGEBYSCORE board 5 +inf LIMIT 0 10", "ZREMRANGEBYSCORE board 5000 6000", "ZPOPMIN none", "ZRANDMEMBER zset",
    "ZSCAN zset 0",
    "PING", "ECHO x", "TIME", "DBSIZE", "RANDOMKEY", "SCAN 0", "PUBLISH channel x",
)  # fmt: skip


def measure(settings: Settings) -> Section:
    """CPU time per command on both servers."""
    settings.progress.section("commands", settings.rounds)
    with ExitStack() as stack:
        found = settings.start_both(stack)
        rounds: list[list[list[float]]] = []
        for number in range(settings.rounds):
            settings.progress.step(f"round {number + 1}")
            rounds.append([[_cpu_us(server, command) for server in found] for command in _COMMANDS])
    table = Table(["command", "redis-server CPU µs", "mpkv CPU µs", "ratio"])
    rows = []
    for at, command in enumerate(_COMMANDS):
        mine, *theirs = (median(one_round[at][server] for one_round in rounds) for server in range(len(found)))
        rows.append((mine / theirs[0] if theirs else mine, command, mine, theirs))
    for times, command, mine, theirs in sorted(rows, reverse=True):
        table.rows.append([
            command, decimal(theirs[0]) if theirs else NONE, decimal(mine), ratio(times if theirs else None)
        ])  # fmt: skip
    return Section("Single commands", [
        f"CPU time of all processes for one command, one client with {_PIPELINE} of the same at a time, "
        f"{settings.rounds} alternating rounds: medians. mpkv's has two processes in it.", table,
    ])  # fmt: skip


def _cpu_us(server: Server, command: str) -> float:
    with Session(server.port) as session:
        session.call("FLUSHALL")
        for setup in _SETUP:
            session.call(*setup.split())
        batch = [pack(tuple(command.split()))] * _PIPELINE
        _send(session, batch)
        before = sum(server.cpu_ns().values())
        for _ in range(_BATCHES):
            _send(session, batch)
        return (sum(server.cpu_ns().values()) - before) / (_BATCHES * _PIPELINE) / 1000


def _send(session: Session, batch: Sequence[bytes]) -> None:
    try:
        session.pipe(batch)
    except hiredis.ReplyError as error:
        raise RuntimeError(f"a command of the list is refused: {error}") from error
