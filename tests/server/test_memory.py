"""MEMORY on running servers: the shapes of redis-server's replies, and numbers that are exact to the byte."""

from __future__ import annotations

import random
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import redis

from mpkv.resp.decoder import decode
from mpkv.testing import Server
from tests.helpers.reference import Connection, free_port, pack_request
from tests.helpers.running import leaving_nothing

#: What holds a key in its table, which MEMORY USAGE counts as the key's and the accounts as the tables'.
WORD = 8
SERIES = re.compile(r'mpkv_memory_bytes\{shard="(\d+)",type="(\w+)"\} (\S+)')
METRICS_PORT = free_port()
KINDS = {"string", "list", "set", "zset", "hash"}


@pytest.fixture(scope="module", params=[1, 3])
def running(request: pytest.FixtureRequest) -> Iterator[Server]:
    with leaving_nothing(request.param, metrics_port=METRICS_PORT) as server:
        yield server


@pytest.fixture
def client(running: Server) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(running.url) as client:
        client.flushall()
        yield client


def by_type() -> dict[str, int]:
    """Bytes by type over all shards, as Prometheus sees them."""
    time.sleep(0.55)  # the text is made twice a second at most
    with urlopen(f"http://127.0.0.1:{METRICS_PORT}/metrics") as answer:
        text = answer.read().decode()
    found: dict[str, int] = {}
    for _, kind, size in SERIES.findall(text):
        found[kind] = found.get(kind, 0) + int(float(size))
    return found


def shape(value: Any) -> Any:
    """What a reply is made of, without its numbers."""
    if isinstance(value, dict):
        return {key: shape(element) for key, element in value.items()}
    return [shape(element) for element in value] if isinstance(value, list) else type(value)


def statistics(port: int, protocol: int) -> Any:
    with closing(Connection(port)) as connection:
        connection.call([b"HELLO", b"%d" % protocol])
        connection.call([b"FLUSHALL"])
        connection.call([b"SET", b"k", b"v"])
        connection.call([b"SELECT", b"3"])
        connection.call([b"SET", b"k", b"v"])
        raw = connection.call([b"MEMORY", b"STATS"])
        connection.call([b"FLUSHALL"])
    return decode(raw)[0]


def names(reply: Any) -> list[bytes]:
    return list(reply) if isinstance(reply, dict) else reply[::2]


@pytest.mark.parametrize("protocol", [2, 3])
def test_memory_stats_has_the_fields_and_the_shape_of_redis(
    running: Server, reference_port: int, protocol: int
) -> None:
    ours, reference = (statistics(port, protocol) for port in (running.port, reference_port))
    assert names(ours) == names(reference)
    if protocol == 2:  # numbers with a fraction are text there
        as_text = {name for name, value in zip(ours[::2], ours[1::2], strict=True) if isinstance(value, bytes)}
        assert as_text == {n for n, value in zip(reference[::2], reference[1::2], strict=True) if type(value) is bytes}
        assert len(as_text) == 6
    else:
        assert shape(ours) == shape(reference)


@pytest.mark.parametrize("words", [b"MEMORY DOCTOR", b"MEMORY MALLOC-STATS", b"MEMORY PURGE", b"MEMORY HELP"])
@pytest.mark.parametrize("protocol", [2, 3])
def test_texts_have_the_type_that_they_have_in_redis(
    running: Server, reference_port: int, words: bytes, protocol: int
) -> None:
    replies = []
    for port in (running.port, reference_port):
        with closing(Connection(port)) as connection:
            connection.call([b"HELLO", b"%d" % protocol])
            replies.append(connection.call(words.split()))
    ours, reference = replies
    assert ours[:1] == reference[:1]
    if ours[:1] == b"=":
        assert ours.split(b"\r\n", 1)[1][:4] == b"txt:"
    if words == b"MEMORY HELP":
        assert ours == reference


def test_memory_commands_work_in_a_transaction(client: redis.Redis) -> None:
    client.set("k", "v")
    with client.pipeline() as pipe:
        pipe.execute_command("MEMORY STATS")
        pipe.execute_command("MEMORY USAGE", "k")
        pipe.execute_command("MEMORY PURGE")
        pipe.execute_command("MEMORY MALLOC-STATS")
        stats, usage, purged, text = pipe.execute()
    assert usage == client.memory_usage("k")
    assert stats["keys.count"] == 1
    assert purged in (b"OK", True) and b"spans" in text


def request_for(kind: str, key: str, size: int) -> list[str]:
    """What makes a value of so many elements, or bytes."""
    if kind == "string":
        return ["SET", key, "v" * size]
    name, words = {
        "list": ("RPUSH", lambda n: (f"element:{n}",)),
        "set": ("SADD", lambda n: (f"member:{n}",)),
        "zset": ("ZADD", lambda n: (str(n), f"member:{n}")),
        "hash": ("HSET", lambda n: (f"field:{n}", str(n))),
    }[kind]
    return [name, key, *(word for number in range(size) for word in words(number))]


def fill(client: redis.Redis, kind: str, key: str, size: int) -> None:
    client.execute_command(*request_for(kind, key, size))


@pytest.mark.parametrize("size", [3, 3000])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_memory_usage_is_to_the_byte_what_the_accounts_say(
    running: Server, client: redis.Redis, kind: str, size: int
) -> None:
    before = by_type()
    fill(client, kind, "key", size)
    usage = client.memory_usage("key", samples=0)
    after = by_type()
    assert after[kind] - before[kind] == usage - WORD
    assert {other for other in KINDS if after[other] != before[other]} == {kind}
    client.expire("key", 1000)
    assert by_type()[kind] - before[kind] == client.memory_usage("key", samples=0) - WORD
    client.delete("key")
    assert {kind: size for kind, size in by_type().items() if kind in KINDS} == {kind: before[kind] for kind in KINDS}


def test_few_samples_tell_about_what_all_tell(client: redis.Redis) -> None:
    for kind in sorted(KINDS):
        fill(client, kind, kind, 20_000)
        exact, by_five, by_many, by_all = (client.memory_usage(kind, samples=n) for n in (0, 5, 1000, 20_000))
        assert exact * 0.75 < by_five < exact * 1.25
        assert exact * 0.96 < by_many < exact * 1.04
        assert client.memory_usage(kind) == by_five and by_all == exact


def test_the_parts_add_up(running: Server, client: redis.Redis) -> None:
    for number in range(400):
        fill(client, random.choice(sorted(KINDS)), f"key:{number}", random.randrange(1, 400))
    client.delete(*(f"key:{number}" for number in range(300, 400)))
    for number in range(0, 300, 3):
        client.expire(f"key:{number}", 1000)
    parts = by_type()
    stats, info = client.memory_stats(), client.info("memory")
    used = sum(parts[kind] for kind in (*KINDS, "tables"))
    assert used == stats["total.allocated"] == stats["allocator.allocated"] == info["used_memory"]
    assert parts["tables"] == stats["overhead.total"] == stats["db.0"]["overhead.hashtable.main"]
    assert info["used_memory_overhead"] == parts["tables"]
    assert stats["dataset.bytes"] == used - parts["tables"] == info["used_memory_dataset"]
    assert used + parts["between"] == info["allocator_active"]
    assert used + parts["between"] + parts["kept"] <= info["allocator_resident"] + (4 << 20)
    assert stats["keys.count"] == 300 and stats["keys.bytes-per-key"] == used // 300
    assert client.execute_command("DEBUG VALIDATE") == b"OK"


def test_tables_are_counted_for_their_own_database(running: Server, client: redis.Redis) -> None:
    with redis.Redis(port=running.port, db=5) as other:
        other.mset({f"key:{number}": "v" for number in range(2000)})
        client.set("k", "v")
        stats = client.memory_stats()
        sizes = {name: stats[name]["overhead.hashtable.main"] for name in ("db.0", "db.5")}
        assert sum(sizes.values()) == stats["overhead.total"]
        other.flushdb()
        assert client.memory_stats()["overhead.total"] == sizes["db.0"]
        assert "db.5" not in client.memory_stats()


def test_the_peak_is_kept_when_the_data_has_gone_and_when_the_frontend_has_died() -> None:
    with Server(workers=2) as server:
        with redis.Redis.from_url(server.url) as client:
            client.set("large", "x" * 8_000_000)
            client.ping()
            time.sleep(0.3)
            client.delete("large")
            assert client.info("memory")["used_memory_peak"] >= 8_000_000
            assert client.memory_stats()["peak.allocated"] >= 8_000_000
        server.kill(role="frontend")
        server.wait_until_ready()
        with redis.Redis.from_url(server.url) as client:
            memory = client.info("memory")
            assert memory["used_memory_peak"] >= 8_000_000 > memory["used_memory"]


def test_the_doctor_says_what_stands_out(client: redis.Redis) -> None:
    assert b"hardly any data" in client.execute_command("MEMORY DOCTOR")
    client.set("large", "x" * 40_000_000)
    time.sleep(0.3)
    client.delete("large")
    client.set("smaller", "x" * 7_000_000)
    assert b"There was once more: 38." in client.execute_command("MEMORY DOCTOR")


def test_malloc_stats_tells_of_every_shard(running: Server, client: redis.Redis) -> None:
    client.mset({f"key:{number}": "v" * 100 for number in range(1000)})
    text = client.execute_command("MEMORY MALLOC-STATS").decode()
    shards = len([line for line in text.splitlines() if line.startswith("shard ")])
    assert shards == int(client.execute_command("CONFIG GET workers")[b"workers"])
    used = sum(map(int, re.findall(r"^used (\d+) bytes", text, re.MULTILINE)))
    assert used == client.info("memory")["used_memory"]


def redis_cli(server: Server, *options: str) -> str:
    command = ["redis-cli", "-p", str(server.port), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_redis_cli_finds_the_largest_keys(
    running: Server, client: redis.Redis, reference_port: int
) -> None:
    for kind in sorted(KINDS):
        fill(client, kind, f"small {kind}", 5)
        fill(client, kind, f"large {kind}", 5000)
    for options in (["--memkeys"], ["--memkeys", "--memkeys-samples", "0"], ["--bigkeys"]):
        found = redis_cli(running, *options)
        summary = found[found.index("summary") :]
        assert "Sampled 10 keys" in summary
        for kind in sorted(KINDS):
            assert re.search(rf"Biggest\s+{kind}\s+found '\"large {kind}\"' has [1-9]\d* ", summary)


# -- what the kernel says


def held_bytes(server: Server) -> int:
    """The proportional set size of all workers."""
    total = 0
    for role, pid in server.processes().items():
        if "worker" in role:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)[1]) * 1024  # type: ignore[index]
    return total


def resident_bytes(server: Server, role: str) -> int:
    """Memory of a process's own."""
    text = Path(f"/proc/{server.processes()[role]}/status").read_text()
    return int(re.search(r"^RssAnon:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024  # type: ignore[index]


def write_many(server: Server, kind: str, first: int, end: int) -> None:
    """One request again and again, with another key each time: to pack its words is most of the work."""
    key = "key:000000"
    words = request_for(kind, key, 300 if kind == "string" else 40)
    packed = pack_request([word.encode() for word in words])
    with closing(Connection(server.port)) as connection:
        for begin in range(first, end, 2000):
            numbers = range(begin, min(end, begin + 2000))
            connection.send_packed(b"".join(packed.replace(key.encode(), b"key:%06d" % number) for number in numbers))
            for _ in numbers:
                assert connection.receive()[:1] in b"+:"


@pytest.fixture(scope="module")
def fresh() -> Iterator[Server]:
    with leaving_nothing(2) as server:
        yield server


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_the_kernel_counts_is_at_most_a_little_more_than_what_is_accounted(fresh: Server, kind: str) -> None:
    with redis.Redis.from_url(fresh.url) as client:
        write_many(fresh, kind, 0, 2000)
        client.memory_purge()
        held, used = held_bytes(fresh), client.info("memory")["used_memory"]
        write_many(fresh, kind, 2000, 42_000)
        grown = client.info("memory")["used_memory"] - used
        assert grown > 12_000_000
        assert held_bytes(fresh) - held <= 1.15 * grown
        client.flushall()


def test_memory_goes_back_when_data_goes_whatever_its_sizes_were(fresh: Server) -> None:
    chance = random.Random(7)
    with redis.Redis.from_url(fresh.url) as client:
        client.flushall()
        write_many(fresh, "string", 0, 1000)
        client.memory_purge()
        held = held_bytes(fresh)
        for largest in (60, 500, 5000, 60_000):
            pipe = client.pipeline(transaction=False)
            count = (48 << 20) // largest
            keys = [f"key:{number}" for number in range(min(count, 60_000))]
            for key in keys:
                pipe.set(key, b"v" * chance.randrange(largest // 2, largest))
            pipe.execute()
            grown = held_bytes(fresh) - held
            assert grown > 2 << 20
            chance.shuffle(keys)
            for at in range(0, len(keys), 1000):
                client.delete(*keys[at : at + 1000])
            client.memory_purge()
            assert held_bytes(fresh) - held < max(grown // 10, 4 << 20)


def test_without_a_purge_it_goes_back_within_seconds(fresh: Server) -> None:
    with redis.Redis.from_url(fresh.url) as client:
        client.flushall()
        client.memory_purge()
        held = held_bytes(fresh)
        write_many(fresh, "string", 0, 80_000)
        grown = held_bytes(fresh) - held
        client.flushall()
        deadline = time.monotonic() + 15
        while held_bytes(fresh) - held > grown // 5:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_a_transaction_leaves_nothing_of_what_was_sent_and_answered(fresh: Server) -> None:
    large = {f"large:{number}": b"x" * 200_000 for number in range(10)}
    with redis.Redis.from_url(fresh.url) as client:
        for round_ in range(120):
            if round_ == 20:
                before = resident_bytes(fresh, "frontend")
            with client.pipeline() as pipe:
                pipe.mset(large).mget(list(large)).execute()
        assert resident_bytes(fresh, "frontend") - before < 50_000_000, "and 600 MB went through it"
        client.flushall()
