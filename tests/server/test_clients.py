"""Clients and tools as people have them, unmodified: redis-py of both kinds, hiredis, redis-cli, redis-benchmark."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import hiredis
import pytest
import redis
import redis.asyncio

from mpkv.testing import Server
from tests.helpers.reference import Connection, pack_request

TOOL_TIMEOUT_S = 60.0
#: Enough for pipes to fill and for back-pressure to show; the million is `loadtests`' business.
PIPED_COMMANDS = 50_000
SUBSCRIBERS = 50
MESSAGES = 1_000

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

protocols = pytest.mark.parametrize("protocol", [2, 3])


def needs(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def cli(server: Server, *words: str, given: str | None = None) -> str:
    """What redis-cli prints."""
    command = [needs("redis-cli"), "-p", str(server.port), *words]
    run = subprocess.run(command, input=given, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=True)
    return run.stdout


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[Any]:
    with redis.Redis(port=server.port, protocol=request.param, decode_responses=True) as client:
        yield client


def test_redis_py_has_its_types_back(client: Any) -> None:
    client.hset("hash", mapping={"a": 1, "b": 2})
    client.zadd("zset", {"one": 1, "two": 2.5})
    client.sadd("set", "x", "y")
    client.rpush("list", 1, 2, 3)
    assert client.set("string", "value", ex=100)
    assert client.hgetall("hash") == {"a": "1", "b": "2"}
    assert [tuple(pair) for pair in client.zrange("zset", 0, -1, withscores=True)] == [("one", 1.0), ("two", 2.5)]
    assert set(client.smembers("set")) == {"x", "y"}
    assert client.lrange("list", 0, -1) == ["1", "2", "3"]
    assert client.get("string") == "value" and 0 < client.ttl("string") <= 100
    assert client.get("absent") is None
    assert sorted(client.scan_iter(count=2)) == ["hash", "list", "set", "string", "zset"]
    with pytest.raises(redis.ResponseError, match=r"WRONGTYPE|wrong kind of value"):
        client.lpush("string", 1)


def test_redis_py_pipelines_are_transactions_over_shards(client: Any) -> None:
    with client.pipeline() as pipeline:
        for number in range(100):
            pipeline.set(f"key:{number}", number)
        pipeline.mget("key:1", "key:2", "key:3").incr("key:1").delete(*(f"key:{number}" for number in range(10, 20)))
        *stored, some, incremented, deleted = pipeline.execute()
    assert all(stored)
    assert (some, incremented, deleted) == (["1", "2", "3"], 2, 10)
    with client.pipeline(transaction=False) as pipeline:
        assert pipeline.get("key:1").dbsize().execute() == ["2", 90]


def test_redis_py_watches_until_nobody_interferes(client: Any) -> None:
    interferences = iter([True, True, False])

    def add(pipeline: Any) -> None:
        value = int(pipeline.get("counter") or 0)
        if next(interferences):
            client.incr("counter", 10)
        pipeline.multi()
        pipeline.set("counter", value + 1)

    assert client.transaction(add, "counter") == [True]
    assert client.get("counter") == "21"


def test_redis_py_subscribes(client: Any) -> None:
    with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe("news")
        pubsub.psubscribe("w*")
        assert _awaited(pubsub, 0) == []
        assert (client.publish("news", "one"), client.publish("weather", "two"), client.publish("x", "")) == (1, 1, 0)
        assert [message["data"] for message in _awaited(pubsub, 2)] == ["one", "two"]
        pubsub.unsubscribe()
        pubsub.punsubscribe()


def _awaited(pubsub: Any, count: int) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    end = time.monotonic() + 5
    while (len(found) < count or not count) and time.monotonic() < end:
        message = pubsub.get_message(timeout=0.1)
        if message is not None:
            found.append(message)
        elif not count and len(pubsub.channels) + len(pubsub.patterns) == 2:
            break
    return found


def test_redis_py_blocks_and_is_served(client: Any, server: Server) -> None:
    assert client.blpop(["absent"], timeout=0.05) is None
    with redis.Redis(port=server.port) as pusher:
        pusher.rpush("{queue}:ready", "a", "b")
    assert tuple(client.blpop(["{queue}:other", "{queue}:ready"], timeout=1)) == ("{queue}:ready", "a")
    assert client.blmove("{queue}:ready", "{queue}:done", timeout=1) == "b"


def test_redis_py_names_itself(server: Server) -> None:
    with redis.Redis(port=server.port, client_name="tester", decode_responses=True) as client:
        assert client.client_getname() == "tester"
        info = client.client_info()
        assert info["name"] == "tester" and info["lib-name"] == "redis-py"
        assert any(row["name"] == "tester" for row in client.client_list())


@protocols
def test_asyncio_clients_work_side_by_side(protocol: int, server: Server) -> None:
    async def count() -> int:
        async with redis.asyncio.Redis(port=server.port, protocol=protocol) as client:
            await asyncio.gather(*(client.incr("counter") for _ in range(80)))
            async with client.pipeline(transaction=True) as pipeline:
                pipeline.incr("counter")
                pipeline.get("counter")
                one, two = await pipeline.execute()
            assert int(two) == one
            return int(one)

    assert asyncio.run(count()) == 81


@protocols
def test_asyncio_subscribers_get_every_message_in_order(protocol: int, server: Server) -> None:
    async def listen(client: Any, ready: asyncio.Semaphore) -> list[int]:
        async with client.pubsub() as pubsub:
            await pubsub.subscribe("numbers")
            found: list[int] = []
            async for message in pubsub.listen():
                if message["type"] == "subscribe":
                    ready.release()
                else:
                    found.append(int(message["data"]))
                if len(found) == MESSAGES:
                    return found
        return found

    async def publish() -> list[list[int]]:
        ready = asyncio.Semaphore(0)
        async with redis.asyncio.Redis(port=server.port, protocol=protocol) as client:
            listeners = [asyncio.create_task(listen(client, ready)) for _ in range(SUBSCRIBERS)]
            for _ in listeners:
                await ready.acquire()
            async with client.pipeline(transaction=False) as pipeline:
                for number in range(MESSAGES):
                    pipeline.publish("numbers", number)
                assert await pipeline.execute() == [SUBSCRIBERS] * MESSAGES
            return await asyncio.wait_for(asyncio.gather(*listeners), TOOL_TIMEOUT_S)

    assert asyncio.run(publish()) == [list(range(MESSAGES))] * SUBSCRIBERS


def test_hiredis_reads_what_is_sent(server: Server) -> None:
    connection = Connection(server.port)
    reader = hiredis.Reader()
    for request in ("HELLO 3", "SET k v", "HSET h f v", "HGETALL h", "ZADD z 1.5 m", "ZSCORE z m"):
        reader.feed(connection.call(request.encode().split()))
    greeting, *replies = [reader.gets() for _ in range(6)]
    connection.close()
    assert greeting[b"proto"] == 3
    assert replies == [b"OK", 1, {b"f": b"v"}, 1, 1.5]


def test_redis_cli_prints_as_usual(server: Server) -> None:
    assert cli(server, "set", "key", "a value") == "OK\n"
    assert cli(server, "--no-raw", "get", "key") == '"a value"\n'
    assert cli(server, "-3", "--no-raw", "hset", "hash", "field", "value") == "(integer) 1\n"
    assert cli(server, "-3", "--no-raw", "hgetall", "hash") == '1# "field" => "value"\n'
    assert cli(server, given="multi\nincr n\nexec\n") == "OK\nQUEUED\n1\n"


def test_redis_cli_scans_and_finds_the_largest_keys(server: Server) -> None:
    cli(server, "debug", "populate", "300", "key", "20")
    cli(server, "rpush", "list", "1", "2", "3")
    assert len(cli(server, "--scan", "--pattern", "key:*").splitlines()) == 300
    assert "list found '\"list\"' has 3 items" in cli(server, "--bigkeys").replace("   ", " ").replace("  ", " ")


@pytest.mark.parametrize(("words", "shown"), [(["--stat", "-i", "0.1"], b"keys"), (["--latency-history"], b"samples")])
def test_redis_cli_watches(words: list[str], shown: bytes, server: Server) -> None:
    """Both go on until they are stopped; on a terminal they print as they go."""
    command = [needs("redis-cli"), "-p", str(server.port), *words]
    child, terminal = pty.fork()
    if child == 0:
        os.execv(command[0], command)
    try:
        assert shown in _until_shown(terminal, shown)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)


def _until_shown(terminal: int, wanted: bytes) -> bytes:
    shown = b""
    while wanted not in shown and select.select([terminal], [], [], 5)[0]:
        shown += os.read(terminal, 65536)
    return shown


def test_redis_cli_pipe_takes_everything(server: Server) -> None:
    requests = b"".join(pack_request([b"SET", b"key:%d" % number, b"value"]) for number in range(PIPED_COMMANDS))
    command = [needs("redis-cli"), "-p", str(server.port), "--pipe"]
    run = subprocess.run(command, input=requests, capture_output=True, timeout=TOOL_TIMEOUT_S, check=True)
    assert b"errors: 0, replies: %d" % PIPED_COMMANDS in run.stdout
    assert cli(server, "dbsize") == f"{PIPED_COMMANDS}\n"


def test_redis_cli_completes_from_the_documentation(server: Server) -> None:
    """Interactive, it asks for COMMAND DOCS, and shows the HELP of a command from there."""
    shown = _typed([needs("redis-cli"), "-p", str(server.port)], [b"help incrby\n", b"incr counter\n", b"quit\n"])
    assert "INCRBY" in shown and "since: 1.0.0" in shown and "group: string" in shown
    assert "(integer) 1" in shown


def _typed(command: list[str], lines: list[bytes]) -> str:
    """What a program shows on a terminal when these lines are typed."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "dumb"
        os.execv(command[0], command)
    shown = b""
    try:
        for line in lines:
            shown += _until_quiet(terminal)
            os.write(terminal, line)
        shown += _until_quiet(terminal)
    finally:
        os.close(terminal)
        os.waitpid(child, 0)
    return _COLOURS.sub("", shown.decode(errors="replace"))


def _until_quiet(terminal: int) -> bytes:
    shown = b""
    while select.select([terminal], [], [], 0.3)[0]:
        try:
            more = os.read(terminal, 65536)
        except OSError:  # the program has ended
            break
        shown += more
        if not more:
            break
    return shown


def test_redis_benchmark_runs_its_whole_list(server: Server) -> None:
    command = [needs("redis-benchmark"), "-p", str(server.port), "-q", "--csv", "-n", "500", "-P", "8", "-r", "1000"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=True)
    assert "ERR" not in run.stdout + run.stderr
    assert len(run.stdout.splitlines()) >= 20
