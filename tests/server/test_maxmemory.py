"""maxmemory on a running server: who is refused, what goes, and that all shards count as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import redis

from mpkv.testing import Server

LIMIT = 12 << 20
OOM = "command not allowed when used memory > 'maxmemory'."
POLICIES = [f"{scope}-{rule}" for scope in ("allkeys", "volatile") for rule in ("lru", "lfu", "random")]


def connect(server: Server) -> redis.Redis:
    return redis.Redis.from_url(server.url)


def used(client: redis.Redis) -> int:
    return int(client.info("memory")["used_memory"])


def set_many(client: redis.Redis, first: int, end: int, size: int = 500, **options: int) -> int:
    """Set keys; how many were refused for want of memory."""
    pipe = client.pipeline(transaction=False)
    for number in range(first, end):
        pipe.set(f"key:{number}", "v" * size, **options)
    replies = pipe.execute(raise_on_error=False)
    refused = [reply for reply in replies if isinstance(reply, Exception)]
    assert all(str(reply) == OOM for reply in refused)
    return len(refused)


def settle(holds: Callable[[], bool]) -> None:
    """Wait until the server has come to a state that it reaches by itself."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module", params=[1, 4])
def limited(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(workers=request.param) as server:
        yield server


@pytest.fixture
def client(limited: Server) -> Iterator[redis.Redis]:
    with connect(limited) as client:
        client.config_set("maxmemory", 0)
        client.flushall()
        yield client
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")


def full(client: redis.Redis, policy: str = "noeviction") -> None:
    """A server without room for one key more."""
    set_many(client, 0, 2000)
    client.config_set("maxmemory-policy", policy)
    client.config_set("maxmemory", used(client) - 1000)


def test_writes_that_need_memory_are_refused_and_all_else_is_done(client: redis.Redis) -> None:
    full(client)
    with pytest.raises(redis.exceptions.OutOfMemoryError, match=OOM):
        client.set("key", "value")
    for words in (["append", "key:1", "x"], ["lpush", "list", "x"], ["zadd", "zset", "1", "x"], ["incr", "number"]):
        with pytest.raises(redis.exceptions.OutOfMemoryError, match=OOM):
            client.execute_command(*words)
    assert client.get("key:1") == b"v" * 500
    assert client.delete("key:2") == 1
    assert client.expire("key:3", 100)
    client.config_set("maxmemory", 0)
    assert client.set("key", "value")


@pytest.mark.parametrize("as_pipeline", [False, True])
def test_a_write_fits_behind_a_del_that_made_room_for_it(client: redis.Redis, as_pipeline: bool) -> None:
    for number in range(30):
        client.set(f"large:{number}", "v" * 20_000)
    for number in range(30):
        client.config_set("maxmemory", 1)
        with pytest.raises(redis.exceptions.OutOfMemoryError, match=OOM):
            client.set("key", "value")
        client.config_set("maxmemory", used(client) - 1000)
        if as_pipeline:
            pipe = client.pipeline(transaction=False)
            assert pipe.delete(f"large:{number}").set("key", "v").mset({"a": 1, "b": 2}).execute() == [1, True, True]
        else:
            assert client.delete(f"large:{number}") == 1
            assert client.set("key", "v") and client.mset({"a": 1, "b": 2})


def test_a_write_over_several_shards_is_refused_before_any_part_has_run(client: redis.Redis) -> None:
    full(client)
    before = client.dbsize()
    for _ in range(20):
        with pytest.raises(redis.exceptions.OutOfMemoryError, match=OOM):
            client.mset({f"new:{number}": "value" for number in range(50)})
    assert client.dbsize() == before and client.exists(*[f"new:{number}" for number in range(50)]) == 0


def test_a_transaction_with_such_a_write_is_refused_as_redis_refuses_it(client: redis.Redis) -> None:
    full(client)
    client.execute_command("MULTI")
    with pytest.raises(redis.exceptions.OutOfMemoryError, match=OOM):
        client.execute_command("SET", "key", "value")
    with pytest.raises(redis.exceptions.ExecAbortError):
        client.execute_command("EXEC")
    client.config_set("maxmemory", 0)
    with client.pipeline() as pipe:
        pipe.get("key:1")
        assert pipe.execute() == [b"v" * 500]


def test_memory_that_ends_between_multi_and_exec_aborts_it(limited: Server, client: redis.Redis) -> None:
    set_many(client, 0, 2000)
    client.execute_command("MULTI")
    client.execute_command("SET", "key", "value")
    with connect(limited) as other:
        other.config_set("maxmemory", used(other) - 1000)
    with pytest.raises(redis.exceptions.ExecAbortError, match="OOM"):
        client.execute_command("EXEC")
    assert client.exists("key") == 0


def test_pipelines_of_writes_exceed_the_limit_by_no_more_than_a_twentieth(client: redis.Redis) -> None:
    client.config_set("maxmemory", LIMIT)
    refused, most = 0, 0
    for first in range(0, 40_000, 1000):
        refused += set_many(client, first, first + 1000)
        most = max(most, used(client))
    assert refused > 10_000
    assert LIMIT * 0.97 < most <= LIMIT * 1.05


def test_large_values_in_many_pipelines_exceed_it_by_one_command(client: redis.Redis) -> None:
    client.config_set("maxmemory", LIMIT)
    for first in range(0, 400, 20):
        set_many(client, first, first + 20, size=200_000)
        assert used(client) <= LIMIT * 1.05 + 210_000


@pytest.mark.parametrize("policy", [*POLICIES, "volatile-ttl"])
def test_keys_go_and_no_write_is_refused(client: redis.Redis, policy: str) -> None:
    client.config_set("maxmemory-policy", policy)
    client.config_set("maxmemory", LIMIT)
    evicted = client.info("stats")["evicted_keys"]
    for first in range(0, 40_000, 1000):
        assert set_many(client, first, first + 1000, ex=10_000 + first) == 0
        assert used(client) <= LIMIT * 1.05
    client.config_set("maxmemory", 0)
    settle(lambda: client.info("stats")["evicted_keys"] - evicted == 40_000 - client.dbsize())
    assert used(client) > LIMIT * 0.9, "no more goes than must"


def test_time_over_the_limit_is_that_of_the_clock_and_ends_with_it(client: redis.Redis) -> None:
    set_many(client, 0, 2000)
    before_ms = client.info("stats")["total_eviction_exceeded_time"]
    began = time.monotonic()
    client.config_set("maxmemory", used(client) // 2)
    settle(lambda: client.info("stats")["current_eviction_exceeded_time"] > 500)
    # No shard is told anything from here on: each has to find out
    client.config_set("maxmemory-policy", "allkeys-random")
    settle(lambda: client.info("stats")["current_eviction_exceeded_time"] == 0)
    took_ms = (time.monotonic() - began) * 1000
    assert 500 < client.info("stats")["total_eviction_exceeded_time"] - before_ms <= took_ms, "as often as shards"
    client.config_set("maxmemory-policy", "noeviction", "maxmemory", used(client) // 2)
    settle(lambda: client.info("stats")["current_eviction_exceeded_time"] > 0)
    client.config_set("maxmemory", 0)
    settle(lambda: client.info("stats")["current_eviction_exceeded_time"] == 0)


def test_volatile_policies_refuse_when_nothing_may_go(client: redis.Redis) -> None:
    client.config_set("maxmemory-policy", "volatile-lru")
    set_many(client, 0, 2000)
    client.config_set("maxmemory", used(client) - 1000)
    assert set_many(client, 2000, 2010) == 10
    client.expire("key:1", 1000)
    client.expire("key:2", 1000)
    client.expire("key:3", 1000)
    settle(lambda: client.exists("key:1", "key:2", "key:3") < 3)
    settle(lambda: set_many(client, 3000, 3001) == 0)
    assert client.exists(*[f"key:{number}" for number in range(4, 2000)]) == 1996


def test_a_lower_limit_takes_effect_by_itself(client: redis.Redis) -> None:
    set_many(client, 0, 20_000)
    client.config_set("maxmemory-policy", "allkeys-random")
    client.config_set("maxmemory", LIMIT // 3)
    settle(lambda: used(client) <= LIMIT // 3)
    assert client.dbsize() > 100


def test_a_shard_without_traffic_gives_its_keys_up_first_if_they_deserve_it() -> None:
    with Server(workers=2, enable_debug_command="yes") as server, connect(server) as client:
        idle, busy = (next(tag for tag in map(str, range(100)) if shard_of(client, tag) == shard) for shard in (0, 1))
        pipe = client.pipeline(transaction=False)
        for number in range(2000):
            pipe.set(f"{{{idle}}}:{number}", "v" * 500, ex=100)
            pipe.set(f"{{{busy}}}:{number}", "v" * 500, ex=1_000_000)
        pipe.execute()
        limit = used(client)
        client.config_set("maxmemory-policy", "volatile-ttl")
        client.config_set("maxmemory", limit)
        time.sleep(1)  # until both have told of their candidates, which is done ten times a second
        for first in range(0, 1000, 50):
            pipe = client.pipeline(transaction=False)
            for number in range(first, first + 50):
                pipe.set(f"{{{busy}}}:new:{number}", "v" * 500, ex=1_000_000)
            pipe.execute()
            until = time.monotonic() + 30
            while used(client) > limit:  # so much at once would be too much to leave to the other shard
                assert time.monotonic() < until
                time.sleep(0.005)
        left = {tag: len(client.keys(f"{{{tag}}}:*")) for tag in (idle, busy)}
        # Left to itself the busy shard would have 2000 now, and the idle one all of its own
        assert left[busy] > 2700, left
        assert left[idle] < 1500, left


def shard_of(client: redis.Redis, tag: str) -> int:
    route = client.execute_command("DEBUG", "ROUTE", "GET", f"{{{tag}}}")
    (shard,) = dict(zip(route[::2], route[1::2], strict=True))[b"shards"]
    return int(shard)


def test_idle_time_and_frequency_are_known_under_their_policies_only(client: redis.Redis) -> None:
    client.set("key", "value")
    assert client.object("idletime", "key") == 0
    with pytest.raises(redis.ResponseError, match="An LFU maxmemory policy is not selected"):
        client.object("freq", "key")
    client.config_set("maxmemory-policy", "allkeys-lfu")
    client.set("other", "value")
    assert client.object("freq", "other") == 5
    for _ in range(200):
        client.get("other")
    assert 6 <= client.object("freq", "other") <= 30
    with pytest.raises(redis.ResponseError, match="An LFU maxmemory policy is selected"):
        client.object("idletime", "key")
    assert client.object("freq", "absent") is None


def test_unlink_and_flushall_async_answer_at_once_and_free_later(client: redis.Redis) -> None:
    for key in ("{t}:a", "{t}:b"):
        for first in range(0, 200_000, 10_000):
            client.sadd(key, *[f"member:{number}" for number in range(first, first + 10_000)])
    full_bytes = used(client)
    freed = client.info("stats").get("lazyfreed_objects", client.info("memory")["lazyfreed_objects"])
    assert client.unlink("{t}:a") == 1
    assert client.flushall(asynchronous=True)
    assert client.dbsize() == 0
    settle(lambda: client.info("memory")["lazyfree_pending_objects"] == 0)
    assert used(client) < full_bytes / 4
    assert client.info("memory")["lazyfreed_objects"] - freed >= 2


@pytest.mark.parametrize("workers", [1, 3])
def test_how_often_and_how_long_ago_keys_were_used_outlives_a_restart(workers: int) -> None:
    with Server(workers=workers, maxmemory_policy="allkeys-lfu", lfu_log_factor=0) as server:
        with connect(server) as client:
            client.mset({f"key:{number}": "v" for number in range(50)})
            for _ in range(20):
                client.get("key:7")
            before = [client.execute_command("OBJECT FREQ", f"key:{number}") for number in range(50)]
            client.save()
        server.restart(workers=2)
        with connect(server) as client:
            after = [client.execute_command("OBJECT FREQ", f"key:{number}") for number in range(50)]
            assert before == after and before[7] == 25
            client.config_set("maxmemory-policy", "volatile-lru")
            client.mset({f"key:{number}": "v" for number in range(50)})
            time.sleep(2.1)
            client.save()
        server.restart(maxmemory_policy="allkeys-lru")
        with connect(server) as client:
            assert min(client.object("idletime", f"key:{number}") for number in range(50)) >= 2
