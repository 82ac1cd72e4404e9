"""The slow log of running servers: the entries of redis-server for the same commands, one for a command over several
shards, and where the time of each went."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from urllib.request import urlopen

import pytest
import redis

from mpkv.resp.decoder import decode
from mpkv.testing import Server
from tests.helpers.reference import Connection, free_port, reference_server
from tests.helpers.running import leaving_nothing

#: A command that waits for another must have waited so long at least, of the `SLEEP_S` that it was made to.
SLEEP_S = 0.3
WAITED_US = 150_000
SOON_S = 60.0

#: Each is run alone with everything being logged; what is logged is compared with redis-server.
REQUESTS: dict[str, list[list[str]]] = {
    "on a shard": [
        ["SET", "k", "v"], ["GET", "k"], ["INCR", "k"], ["HSET", "h", "f", "v"], ["OBJECT", "ENCODING", "k"],
    ],
    "in the frontend": [["PING"], ["ECHO", "x"], ["CLIENT", "SETNAME", "me"], ["PUBLISH", "c", "m"], ["DBSIZE"]],
    "over the shards": [
        ["MSET", "a", "1", "b", "2", "c", "3"], ["MGET", "a", "b", "c"], ["DEL", "a", "b", "c", "d"],
        ["SUNION", "x", "y", "z"], ["KEYS", "*"], ["FLUSHALL"],
    ],
    "refused before they ran": [["NOSUCH"], ["GET"], ["SET", "k"], ["CONFIG", "NOSUCH"]],
    "that failed": [["SELECT", "99"], ["SET", "k", "v", "EX", "0"], ["SLOWLOG", "GET", "-7"]],
    "with secrets": [
        ["AUTH", "secret"], ["AUTH", "default", "secret"], ["HELLO", "2", "AUTH", "default", "secret"],
        ["HELLO", "2", "SETNAME", "auth", "AUTH", "default", "secret"],
        ["CONFIG", "SET", "masterauth", "secret", "timeout", "0"], ["CONFIG", "SET", "requirepass", ""],
        ["config", "set", "MASTERAUTH", ""],
    ],
    "too many words": [["RPUSH", "l", *map(str, range(30))], ["RPUSH", "l", *map(str, range(31))], ["DEL", *"k" * 50]],
    "too long words": [
        ["SET", "k", "x" * 128], ["SET", "k", "x" * 129], ["ECHO", "\r\n" * 5000], ["SET", "k" * 200, ""],
        ["MSET", "a", "x" * 5000, "b", "y", "c", "z" * 200],
    ],
    "in a transaction": [
        ["MULTI"], ["SET", "a", "1"], ["MGET", "a", "b", "c"], ["PING"], ["INCR", "a"], ["EXEC"], ["PING"],
    ],
    "in a transaction that is given up": [["MULTI"], ["SET", "a", "1"], ["DISCARD"]],
}  # fmt: skip


@pytest.fixture(scope="module")
def reference_logging() -> Iterator[int]:
    with reference_server("--slowlog-log-slower-than", "0") as port:
        yield port


@pytest.fixture(scope="module", params=[1, 3])
def logging(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that logs everything."""
    with leaving_nothing(request.param, slowlog_log_slower_than=0, enable_debug_command="yes") as server:
        yield server


@pytest.fixture
def client(logging: Server) -> Iterator[redis.Redis]:
    with connect(logging) as made:
        made.flushall()
        made.slowlog_reset()
        yield made


def connect(server: Server) -> redis.Redis:
    return redis.Redis.from_url(server.url, single_connection_client=True, decode_responses=True, protocol=2)


def details(client: redis.Redis, command: str) -> list[dict[str, Any]]:
    """The entries of one command, the oldest first."""
    flat = client.execute_command("SLOWLOG", "DETAILS", "-1")
    entries = [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in flat]
    return [entry for entry in reversed(entries) if entry["command"][0] == command]


def logged(port: int, requests: list[list[str]], protocol: int) -> list[list[Any]]:
    """What is logged of requests, without numbers and times; names in capitals."""
    with closing(Connection(port)) as connection:
        ask = connection.call
        ask([b"FLUSHALL"])
        ask([b"HELLO", b"%d" % protocol])
        ask([b"SLOWLOG", b"RESET"])
        for words in requests:
            ask([word.encode() for word in words])
        entries = decode(ask([b"SLOWLOG", b"GET", b"-1"]))[0]
        own = connection.address
    return [[upper(words), address == own, name] for _, _, _, words, address, name in reversed(entries)]


def upper(words: list[bytes]) -> list[bytes]:
    """A request with its name, of one word or two, in capitals: a shard is not told how the client wrote it."""
    first = words[0].upper()
    count = 2 if first in (b"CONFIG", b"CLIENT", b"SLOWLOG", b"OBJECT") else 1
    return [word.upper() for word in words[:count]] + words[count:]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_logged_is_what_redis_logs(
    name: str, protocol: int, logging: Server, reference_logging: int
) -> None:
    expected = logged(reference_logging, REQUESTS[name], protocol)
    ours = logged(logging.port, REQUESTS[name], protocol)
    if name == "in a transaction":  # what runs in the frontend has its turn when the shards are done
        ours, expected = sorted(ours), sorted(expected)
    assert ours == expected
    assert len(expected) > 1 or "refused" in name


def test_redis_py_reads_an_entry(client: redis.Redis) -> None:
    client.client_setname("me")
    client.set("k", "v")
    entry = client.slowlog_get(1)[0]
    assert entry["command"] == b"SET k v"
    assert entry["client_name"] == b"me"
    assert entry["client_address"].decode() == client.client_info()["addr"]
    assert abs(entry["start_time"] - time.time()) < 5
    assert 0 <= entry["duration"] < 1_000_000


def test_numbers_go_on_after_a_reset(client: redis.Redis) -> None:
    before = client.slowlog_get(1)[0]["id"]
    client.slowlog_reset()
    assert client.slowlog_len() == 1, "the reset itself, which was slow enough"
    assert client.slowlog_get(1)[0]["id"] == before + 3


def test_a_command_over_all_shards_is_one_entry_with_all_its_words(client: redis.Redis, logging: Server) -> None:
    keys = [f"key-{number}" for number in range(12)]
    client.mget(keys)
    client.mset(dict.fromkeys(keys, "x" * 200))
    (read,), (written,) = details(client, "MGET"), details(client, "MSET")
    assert read["command"] == ["MGET", *keys]
    assert written["command"][:3] == ["MSET", "key-0", "x" * 128 + "... (72 more bytes)"]
    assert written["command"][1::2] == keys, "in the order of the request"
    assert {read["shard"], written["shard"]} <= set(range(logging.workers))


@pytest.mark.parametrize("count", [15, 16, 17, 500])
def test_a_long_write_over_all_shards_is_cut_as_one_on_a_shard(client: redis.Redis, count: int) -> None:
    for tag in ("", "{one}"):
        client.mset({f"{tag}key-{number}": str(number) for number in range(count)})
        client.unlink(*[f"{tag}key-{number}" for number in range(count)])
    for command in ("MSET", "UNLINK"):
        spread, together = details(client, command)
        assert spread["command"] == [word.replace("{one}", "") for word in together["command"]]


def test_an_entry_says_which_client_database_and_shard(client: redis.Redis) -> None:
    client.select(3)
    client.set("k", "v")
    client.ping()
    shard = client.execute_command("DEBUG ROUTE", "GET", "k")[3][0]
    (entry,), (local,) = details(client, "SET"), details(client, "PING")
    assert (entry["database"], entry["shard"], entry["client-id"]) == (3, shard, client.client_id())
    assert (local["database"], local["shard"]) == (3, "frontend")
    assert entry["duration-us"] == entry["execute-us"]


def test_time_behind_a_busy_shard_is_queue_and_not_execution(client: redis.Redis, logging: Server) -> None:
    shard = client.execute_command("DEBUG ROUTE", "GET", "k")[3][0]
    with connect(logging) as other, ThreadPoolExecutor(1) as pool:
        sleeping = pool.submit(other.execute_command, "DEBUG", "SLEEP", str(SLEEP_S), str(shard))
        time.sleep(SLEEP_S / 4)
        client.get("k")
        sleeping.result()
    (entry,) = details(client, "GET")
    assert entry["queue-us"] > WAITED_US
    assert entry["execute-us"] < WAITED_US / 10
    (slept,) = [entry for entry in details(client, "DEBUG") if entry["command"][1] == "SLEEP"]
    assert slept["execute-us"] >= SLEEP_S * 1e6


def test_a_command_is_not_charged_with_what_ran_before_it_in_its_batch(client: redis.Redis, logging: Server) -> None:
    """While the first sleep is under way, the second and what follows it gather in one batch, if no tick sends it."""
    client.config_set("slowlog-log-slower-than", WAITED_US)
    client.config_set("hz", 1)
    time.sleep(0.15)
    try:
        client.slowlog_reset()
        with connect(logging) as first, connect(logging) as second, ThreadPoolExecutor(2) as pool:
            sleeping = []
            for other in (first, second):
                sleeping.append(pool.submit(other.execute_command, "DEBUG", "SLEEP", str(SLEEP_S)))
                time.sleep(SLEEP_S / 4)
            with client.pipeline(transaction=False) as pipe:
                for number in range(20):
                    pipe.get(f"key-{number}")
                pipe.execute()
            assert [each.result() for each in sleeping] == ["OK"] * 2
        assert [entry["command"].split()[0] for entry in client.slowlog_get(-1)] == [b"DEBUG"] * 2
    finally:
        client.config_set("hz", 10)
        client.config_set("slowlog-log-slower-than", 0)


def test_waiting_for_a_key_is_not_counted(client: redis.Redis, logging: Server) -> None:
    with connect(logging) as other, ThreadPoolExecutor(1) as pool:
        popped = pool.submit(other.blpop, "list", 5)
        time.sleep(SLEEP_S)
        client.rpush("list", "x")
        assert popped.result() == ("list", "x")
        with pytest.raises(redis.ResponseError, match="wrong kind"):
            client.set("string", "x")
            other.blpop("string", 1)
        assert other.blpop("none", 0.05) is None
    served, failed, timed_out = details(client, "BLPOP")
    for entry in (served, failed, timed_out):
        assert entry["queue-us"] + entry["execute-us"] + entry["reply-us"] < WAITED_US
    assert (served["command"], timed_out["command"]) == (["BLPOP", "list", "5"], ["BLPOP", "none", "0.05"])


def test_pipelines_are_logged_in_order(client: redis.Redis) -> None:
    client.config_set("slowlog-max-len", 3000)
    try:
        with client.pipeline(transaction=False) as pipe:
            for number in range(2000):
                pipe.set("k", number)
            pipe.execute()
        assert [entry["command"][2] for entry in details(client, "SET")] == list(map(str, range(2000)))
    finally:
        client.config_set("slowlog-max-len", 128)
    assert client.slowlog_len() == 128


def test_off_means_nothing_and_a_length_of_zero_too(client: redis.Redis) -> None:
    for setting, off, on in (("slowlog-log-slower-than", -1, 0), ("slowlog-max-len", 0, 128)):
        client.config_set(setting, off)
        client.slowlog_reset()
        client.set("k", "v")
        client.ping()
        assert client.slowlog_len() == 0
        client.config_set(setting, on)
        client.set("k", "v")
        assert client.slowlog_len() > 0


def test_what_waited_for_a_shard_that_died_is_logged_with_its_wait() -> None:
    with (
        leaving_nothing(2, slowlog_log_slower_than=0, enable_debug_command="yes") as server,
        connect(server) as client, connect(server) as sleeper, ThreadPoolExecutor(2) as pool,
    ):  # fmt: skip
        shard = client.execute_command("DEBUG ROUTE", "GET", "k")[3][0]
        client.slowlog_reset()
        sleeping = pool.submit(sleeper.execute_command, "DEBUG", "SLEEP", "30", str(shard))
        time.sleep(SLEEP_S / 4)
        waiting = pool.submit(lambda: [client.get("k"), client.mget("k", "l", "m", "n")])
        time.sleep(SLEEP_S / 4)
        server.kill(role=f"worker {shard}")
        assert waiting.result(SOON_S) == [None, [None] * 4]
        with pytest.raises(redis.RedisError):
            sleeping.result(SOON_S)
        (entry,) = details(client, "GET")
        assert entry["queue-us"] > WAITED_US / 4
        assert details(client, "MGET")[0]["command"] == ["MGET", "k", "l", "m", "n"]


def test_a_read_that_nothing_was_to_be_logged_of_is_logged_by_its_name() -> None:
    with (
        leaving_nothing(2, slowlog_log_slower_than=-1, enable_debug_command="yes") as server,
        connect(server) as client, connect(server) as sleeper, connect(server) as setter, ThreadPoolExecutor(3) as pool,
    ):  # fmt: skip
        shard = client.execute_command("DEBUG ROUTE", "GET", "k")[3][0]
        pool.submit(sleeper.execute_command, "DEBUG", "SLEEP", "30", str(shard))
        time.sleep(SLEEP_S / 4)
        waiting = pool.submit(lambda: [client.mget("k", "l", "m", "n"), client.ping()])
        time.sleep(SLEEP_S / 4)
        setting = pool.submit(setter.config_set, "slowlog-log-slower-than", 0)
        time.sleep(SLEEP_S / 4)
        server.kill(role=f"worker {shard}")
        assert waiting.result(SOON_S) == [[None] * 4, True]
        assert setting.result(SOON_S)
        assert details(client, "MGET")[0]["command"] == ["MGET"]


@pytest.mark.parametrize("rings", ["yes", "no"])
def test_metrics_show_the_length_the_last_number_and_the_last_duration(rings: str) -> None:
    port = free_port()
    with leaving_nothing(2, slowlog_log_slower_than=0, link_rings=rings, metrics_port=port) as server:
        with connect(server) as client:
            client.mset(dict.fromkeys("abcdef", "x"))
            client.slowlog_len()
            newest = client.slowlog_get(1)[0]
            client.config_set("slowlog-log-slower-than", -1)
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    assert f"redis_slowlog_last_id {newest['id'] + 1}\n" in text, "that of SLOWLOG GET itself"
    assert f"redis_slowlog_length {newest['id'] + 2}\n" in text
    shown = re.search(r"^redis_last_slow_execution_duration_seconds (\S+)$", text, re.MULTILINE)
    assert shown is not None
    assert 0 < float(shown.group(1)) < 1
