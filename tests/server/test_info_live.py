"""INFO of a running server with two shards says what was done, number by number: after a counted load every field is
known, and what Redis counts too is compared with redis-server command by command."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from mpkv.testing import Server
from tests.helpers.reference import Connection, pack_request, reference_server
from tests.helpers.running import leaving_nothing

#: For what a server does by itself: a tick, a child, a restart.
SOON_S = 60.0

SETUP = (
    "SET s 5", "SET s2 x", "SET e v EX 100", "RPUSH l a b c", "RPUSH l2{l} a b", "HSET h f v g w", "SADD t a b",
    "SADD t2{t} b c", "ZADD z 1 a 2 b",
)  # fmt: skip

#: Each is run alone on the same keys; the fields of `COMPARED` grow by the same as in redis-server.
ALONE = (
    "GET s", "GET no", "GET l", "GETDEL s", "GETEX s EX 10", "GETSET no 1", "SET s 1 GET", "SET s 1 NX", "STRLEN no",
    "APPEND s x", "INCR s", "INCR l", "MGET s no s2", "MSET s 1 s2 2 q 3", "DEL s no s2", "UNLINK s no",
    "EXISTS s no s2", "TOUCH s no", "TYPE s", "TYPE no", "TTL s", "PTTL no", "EXPIRE s 100", "EXPIRE s -1", "PERSIST e",
    "OBJECT ENCODING s", "OBJECT ENCODING no", "RENAME l l3{l}", "COPY l l3{l}", "COPY no no{no}", "DBSIZE", "KEYS *",
    "RANDOMKEY", "LPUSH no x y", "LPUSHX no x", "LRANGE l 0 -1", "LPOP l 2", "LMOVE l l2{l} LEFT RIGHT", "LREM l 0 a",
    "BLPOP l 1", "BLPOP no 0.01", "BLMOVE l l2{l} LEFT LEFT 1", "HSET h f 1 n 2", "HGET h f", "HMGET no f",
    "HDEL h f g", "HGETALL h", "SADD t a x y", "SREM t a q", "SISMEMBER no a", "SINTER t t2{t}", "SUNION t t2{t}",
    "SDIFF t s{no}",
    "SUNIONSTORE x{t} t t2{t}", "ZADD z 5 a 6 c", "ZINCRBY z 1 a", "ZSCORE no a", "ZRANGE z 0 -1", "ZPOPMIN z",
    "BZPOPMIN no 0.01", "FLUSHDB", "NOSUCH x", "GET", "CONFIG", "CONFIG NOSUCH", "SELECT 99", "SET s x EX 0", "EXEC",
    "MULTI", "PING", "ECHO x", "WATCH s", "PUBLISH c x", "HELLO 9", "SUBSTR s 0", "OBJECT FREQ s",
)  # fmt: skip

COMPARED = (
    "total_commands_processed", "total_error_replies", "keyspace_hits", "keyspace_misses", "expired_keys",
    "rdb_changes_since_last_save", "total_net_input_bytes", "total_reads_processed",
)  # fmt: skip


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with leaving_nothing(2) as server:
        yield server


@pytest.fixture(scope="module")
def reference_client() -> Iterator[redis.Redis]:
    with reference_server() as port, redis.Redis(port=port) as client:
        yield client


@pytest.fixture
def client(running: Server) -> Iterator[redis.Redis]:
    """The only one, on an empty server whose statistics begin with the test."""
    with redis.Redis.from_url(running.url, single_connection_client=True) as made:
        until(lambda: made.info("clients")["connected_clients"] == 1)
        made.flushall()
        made.config_resetstat()
        yield made


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.01)


def run(client: redis.Redis, request: str) -> None:
    """Run one request; an error is an answer like any other."""
    with contextlib.suppress(redis.RedisError):
        client.execute_command(*request.split())


def command_stats(client: redis.Redis) -> dict[str, tuple[int, int, int]]:
    """Command -> calls, rejected, failed."""
    return {
        name.removeprefix("cmdstat_"): (row["calls"], row["rejected_calls"], row["failed_calls"])
        for name, row in client.info("commandstats").items()
    }


# -- a counted load ----------------------------------------------------------------------------------------------------


def growth(client: redis.Redis, request: str) -> dict[str, Any]:
    """By how much one request lets the counters grow, and what it leaves in the tables of commands and errors."""
    client.flushall()
    for words in SETUP:
        run(client, words)
    client.config_resetstat()
    before = client.info()
    run(client, request)
    run(client, "DISCARD")
    run(client, "UNWATCH")
    after = client.info()
    found: dict[str, Any] = {name: after[name] - before[name] for name in COMPARED}
    found["commands"] = {name: row for name, row in command_stats(client).items() if name not in ("info", "discard")}
    found["errors"] = {name: row["count"] for name, row in client.info("errorstats").items()}
    return found


@pytest.mark.parametrize("request_", ALONE)
def test_a_command_counts_as_in_redis(client: redis.Redis, reference_client: redis.Redis, request_: str) -> None:
    assert growth(client, request_) == growth(reference_client, request_)


def test_a_transaction_counts_itself_and_its_members_once(client: redis.Redis) -> None:
    for request in ("MULTI", "MSET a 1 b 2 c 3 d 4", "INCR a", "LPUSH b x", "PING", "EXEC"):
        run(client, request)
    assert command_stats(client) == {
        "multi": (1, 0, 0), "mset": (1, 0, 0), "incr": (1, 0, 0), "lpush": (1, 0, 1), "ping": (1, 0, 0),
        "exec": (1, 0, 0), "config|resetstat": (1, 0, 0),
    }  # fmt: skip
    assert client.info("errorstats") == {"errorstat_WRONGTYPE": {"count": 1}}
    assert client.info("stats")["total_commands_processed"] == 9  # with two INFO


def test_a_scattered_command_is_one_call_and_its_error_one_error(client: redis.Redis) -> None:
    client.set("a", 1), client.set("b", 2), client.sadd("c", "x")
    client.config_resetstat()
    for request in ("SUNION a b c", "SDIFF c d e", "RANDOMKEY", "SINTERCARD 3 a b c", "MGET a b c d"):
        run(client, request)
    rows = command_stats(client)
    assert {name: rows[name] for name in rows if name != "config|resetstat"} == {
        "sunion": (1, 0, 1), "sdiff": (1, 0, 0), "randomkey": (1, 0, 0), "sintercard": (1, 0, 1), "mget": (1, 0, 0),
    }  # fmt: skip
    assert client.info("stats")["total_error_replies"] == 2


def test_bytes_are_counted_as_they_pass_the_wire(client: redis.Redis) -> None:
    before = client.info("stats")
    client.set("k", "x" * 1000)
    client.get("k")
    after = client.info("stats")
    sent = sum(len(pack_request(words)) for words in ((b"SET", b"k", b"x" * 1000), (b"GET", b"k"), (b"INFO", b"stats")))
    assert after["total_net_input_bytes"] - before["total_net_input_bytes"] == sent
    replies = len(b"+OK\r\n") + len(b"$1000\r\n") + 1000 + 2
    info_reply = after["total_net_output_bytes"] - before["total_net_output_bytes"] - replies
    assert 500 < info_reply < 5000


def test_rejected_calls_are_not_calls(running: Server, client: redis.Redis) -> None:
    subscriber = Connection(running.port)
    subscriber.call([b"SUBSCRIBE", b"c"])
    assert subscriber.call([b"GET", b"k"]).startswith(b"-ERR Can't execute")
    subscriber.close()
    run(client, "GET too many")
    run(client, "INCR")
    rows = command_stats(client)
    assert rows["get"] == (0, 2, 0)
    assert rows["incr"] == (0, 1, 0)
    assert client.info("stats")["total_error_replies"] == 3


def test_time_spent_is_counted(client: redis.Redis) -> None:
    client.execute_command("DEBUG", "SLEEP", "0.05")
    for index in range(200):
        client.rpush("l", *range(100)) if index < 10 else client.lrange("l", 0, -1)
    rows = client.info("commandstats")
    assert rows["cmdstat_debug|sleep"]["usec"] >= 50_000
    assert rows["cmdstat_lrange"]["usec"] > 190
    assert rows["cmdstat_lrange"]["usec_per_call"] == pytest.approx(rows["cmdstat_lrange"]["usec"] / 190, abs=0.02)


def test_operations_per_second_follow_the_load(client: redis.Redis) -> None:
    until(lambda: client.info("stats")["instantaneous_ops_per_sec"] < 1000)
    highest = 0
    end = time.monotonic() + SOON_S
    while highest < 2000 and time.monotonic() < end:
        with client.pipeline(transaction=False) as pipe:
            for index in range(2000):
                pipe.set("k", index)
            pipe.execute()
        highest = max(highest, client.info("stats")["instantaneous_ops_per_sec"])
    assert highest >= 2000
    until(lambda: client.info("stats")["instantaneous_ops_per_sec"] < 1000)


# -- clients -----------------------------------------------------------------------------------------------------------


def test_clients_are_counted_while_they_are_there(running: Server, client: redis.Redis) -> None:
    others = [redis.Redis.from_url(running.url, single_connection_client=True) for _ in range(5)]
    for other in others:
        other.ping()
    assert client.info()["connected_clients"] == 6
    assert client.info()["total_connections_received"] == 5
    for other in others:
        other.close()
    until(lambda: client.info()["connected_clients"] == 1)
    assert client.info()["total_connections_received"] == 5


def test_a_client_that_is_refused_is_not_one_that_was_received(running: Server, client: redis.Redis) -> None:
    client.config_set("maxclients", 1)
    try:
        with pytest.raises(redis.RedisError), redis.Redis.from_url(running.url) as other:
            other.ping()
        stats = client.info("stats")
        assert (stats["rejected_connections"], stats["total_connections_received"]) == (1, 0)
    finally:
        client.config_set("maxclients", 10000)


def test_a_client_that_waits_is_counted_and_its_call_when_it_ends(running: Server, client: redis.Redis) -> None:
    with redis.Redis.from_url(running.url, single_connection_client=True) as waiting:
        waiting.connection.send_command("BLPOP", "a", "b{a}", 5)
        until(lambda: client.info("clients")["blocked_clients"] == 1)
        clients = client.info("clients")
        assert (clients["clients_in_timeout_table"], clients["total_blocking_keys"]) == (1, 2)
        assert "blpop" not in command_stats(client)
        client.lpush("a", "x")
        assert waiting.connection.read_response() == [b"a", b"x"]
        assert command_stats(client)["blpop"] == (1, 0, 0)
        until(lambda: client.info("clients")["blocked_clients"] == 0)
        waiting.connection.send_command("BLPOP", "a", 0)
        until(lambda: client.info("clients")["blocked_clients"] == 1)
        assert client.execute_command("CLIENT", "UNBLOCK", waiting_id(client), "ERROR") == 1
        with pytest.raises(redis.ResponseError, match="UNBLOCKED"):
            waiting.connection.read_response()
        assert command_stats(client)["blpop"] == (2, 0, 1)
    assert client.info("clients")["total_blocking_keys"] == 0


def waiting_id(client: redis.Redis) -> int:
    return next(int(row["id"]) for row in client.client_list() if row["cmd"] == "blpop")


def test_large_buffers_are_seen(running: Server, client: redis.Redis) -> None:
    with redis.Redis.from_url(running.url, single_connection_client=True) as other:
        unfinished = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n" + b"x" * 300_000
        other.connection.send_packed_command([unfinished])
        until(lambda: client.info("clients")["client_recent_max_input_buffer"] >= 300_000)
        assert client.info("memory")["mem_clients_normal"] >= 300_000
    until(lambda: client.info("memory")["mem_clients_normal"] < 300_000)


# -- keys and memory ---------------------------------------------------------------------------------------------------


def test_keys_are_shown_per_database_at_once(running: Server, client: redis.Redis) -> None:
    with redis.Redis(port=running.port, db=9) as ninth:
        for index in range(50):
            client.set(f"k{index}", index)
            ninth.set(f"k{index}", index, ex=1000)
            assert client.info("keyspace")["db9"]["expires"] == index + 1
        keyspace = client.info("keyspace")
        assert (keyspace["db0"]["keys"], keyspace["db0"]["expires"]) == (50, 0)
        assert (keyspace["db9"]["keys"], keyspace["db9"]["expires"]) == (50, 50)
        until(lambda: 990_000 < client.info("keyspace")["db9"]["avg_ttl"] <= 1_000_000)
        ninth.flushdb()
    assert "db9" not in client.info("keyspace")


def test_expired_keys_are_counted_whoever_deletes_them(client: redis.Redis) -> None:
    for index in range(100):
        client.set(f"k{index}", index, px=1)
    client.set("stays", 1)
    time.sleep(0.005)
    assert client.get("k1") is None
    until(lambda: client.info("stats")["expired_keys"] == 100)
    assert client.info("keyspace")["db0"] == {"keys": 1, "expires": 0, "avg_ttl": 0}


def test_used_memory_follows_the_data(client: redis.Redis) -> None:
    client.mset({f"k{index}": index for index in range(10)})  # in both shards: an empty one has no directory
    empty = client.info("memory")
    client.set("large", b"x" * 3_000_000)
    full = client.info("memory")
    assert 3_000_000 <= full["used_memory"] - empty["used_memory"] < 3_100_000
    assert full["used_memory_dataset"] - empty["used_memory_dataset"] >= 3_000_000
    assert full["used_memory_peak"] >= full["used_memory"]
    assert full["used_memory_rss"] > full["used_memory"]
    client.delete("large")
    after = client.info("memory")
    assert after["used_memory"] == empty["used_memory"]
    assert after["used_memory_peak"] >= 3_000_000
    assert after["used_memory"] == after["used_memory_overhead"] + after["used_memory_dataset"]


# -- snapshots ---------------------------------------------------------------------------------------------------------


def test_a_save_is_seen(running: Server, client: redis.Redis) -> None:
    before = client.info("persistence")
    for index in range(30):
        client.set(f"k{index}", index)
    assert client.info("persistence")["rdb_changes_since_last_save"] - before["rdb_changes_since_last_save"] == 30
    began = int(time.time())
    client.save()
    after = client.info("persistence")
    assert after["rdb_changes_since_last_save"] == 0
    assert after["rdb_saves"] == before["rdb_saves"] + 1
    assert began <= after["rdb_last_save_time"] == client.execute_command("LASTSAVE").timestamp()
    assert (after["rdb_last_bgsave_status"], after["rdb_last_bgsave_time_sec"]) == ("ok", 0)
    assert (after["rdb_bgsave_in_progress"], after["rdb_current_bgsave_time_sec"]) == (0, -1)


def test_a_background_save_is_seen(client: redis.Redis) -> None:
    client.set("k", "x" * 100)
    saves = client.info("persistence")["rdb_saves"]
    forks = client.info("stats")["total_forks"]
    client.bgsave()
    until(lambda: client.info("persistence")["rdb_saves"] == saves + 1)
    info = client.info()
    assert info["rdb_changes_since_last_save"] == 0
    assert info["total_forks"] == forks + 2, "every shard forks"
    assert info["latest_fork_usec"] > 0
    assert info["rdb_last_cow_size"] > 0
    assert info["rdb_bgsave_in_progress"] == 0


def test_a_failed_save_is_seen_until_one_succeeds(running: Server, client: redis.Redis) -> None:
    client.set("k", 1)
    saves = client.info("persistence")["rdb_saves"]
    target = Path(running.dir) / "dump.rdb"
    target.unlink(missing_ok=True)
    (target / "in the way").mkdir(parents=True)
    try:
        with pytest.raises(redis.ResponseError):
            client.save()
        info = client.info("persistence")
        assert (info["rdb_last_bgsave_status"], info["rdb_saves"]) == ("err", saves)
        assert info["rdb_changes_since_last_save"] > 0
        assert command_stats(client)["save"] == (1, 0, 1)
    finally:
        shutil.rmtree(target)
    client.save()
    assert client.info("persistence")["rdb_last_bgsave_status"] == "ok"


# -- over restarts -----------------------------------------------------------------------------------------------------


def test_resetstat_begins_anew(client: redis.Redis) -> None:
    client.set("k", 1), client.get("k"), client.get("no"), run(client, "INCR")
    client.config_resetstat()
    assert command_stats(client) == {"config|resetstat": (1, 0, 0)}
    info = client.info()
    for name in ("keyspace_hits", "keyspace_misses", "expired_keys", "total_error_replies", "total_forks"):
        assert info[name] == 0, name
    assert client.info("errorstats") == {}
    assert info["db0"]["keys"] == 1


@pytest.mark.parametrize("role", ["worker 0", "frontend"])
def test_counters_go_on_when_a_process_is_replaced(role: str) -> None:
    with leaving_nothing(2) as server:
        with redis.Redis.from_url(server.url) as client:
            for index in range(40):
                client.set(f"k{index}", index), client.get(f"k{index}"), client.get(f"no{index}")
            run(client, "INCR")
            client.set("gone", 1, px=1)
            time.sleep(0.005)
            client.get("gone")
            client.save()
            before = client.info()
        server.kill(role=role)
        server.wait_until_ready()
        with redis.Redis.from_url(server.url) as client:
            until(lambda: client.info("keyspace").get("db0", {}).get("keys") == 40)
            after = client.info()
            counters = (*COMPARED, "total_connections_received", "total_net_output_bytes", "rdb_saves")
            for name in counters:
                if name != "rdb_changes_since_last_save":
                    assert after[name] >= before[name], name
            assert (after["keyspace_hits"], after["keyspace_misses"]) == (40, 41)
            assert after["expired_keys"] == 1
            assert after["rdb_last_save_time"] == before["rdb_last_save_time"]
            client.get("k1"), client.get("k2"), client.get("no1")
            assert client.info("stats")["keyspace_hits"] == 42
            assert client.info("stats")["keyspace_misses"] == 42
            assert command_stats(client)["set"][0] == 41
            if role == "worker 0":
                assert 0 < client.info("persistence")["rdb_last_load_keys_loaded"] < 40, "of the other shard: none"
