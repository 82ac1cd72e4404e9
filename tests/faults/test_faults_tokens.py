"""Writes over several shards are whole or absent, whoever dies in the middle of them (R1, R10)."""

import random
import time

import pytest

from mpkv.sharding import shard_of
from tests.faults.token_load import (
    KEYS,
    ROUNDS,
    SHARDS,
    Client,
    TokenLoad,
    faulty_server,
    key_on,
    kill,
    last_numbers,
    loses_connection,
    totals,
    wait_until,
)  # fmt: skip

WRITES = {"MSET": Client.set_all, "EXEC": Client.set_all_in_transaction}


def test_tokens_are_whole_in_steady_state() -> None:
    with faulty_server() as server, TokenLoad(server, writers=4) as load:
        load.go_on(500 * ROUNDS)
    assert load.tears == []
    assert not load.errors


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_tokens_are_whole_when_the_frontend_is_killed_under_load(round_: int) -> None:
    with faulty_server() as server:
        with TokenLoad(server, writers=4) as load:
            for delay_ms in (3, 17, 31, 8):
                load.go_on()
                time.sleep((delay_ms + round_) / 1000)
                kill(server, "frontend")
            load.go_on()
        numbers = last_numbers(Client(server))
    assert load.tears == []
    assert load.refused == 0
    assert min(numbers) > load.writes  # every write took a number of its own, on every shard


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_tokens_are_whole_on_the_other_shards_when_a_worker_is_killed_under_load(round_: int) -> None:
    victim = round_ % SHARDS
    with faulty_server() as server, TokenLoad(server, writers=4, spared=[victim]) as load:
        for _ in range(2):
            load.go_on()
            kill(server, f"worker {victim}")
            server.wait_until_ready()
        load.go_on()
        assert "falls back to its last snapshot" in server.log()
    assert load.tears == []
    assert load.refused == 0


def test_tokens_are_whole_when_frontend_and_a_worker_are_killed_together() -> None:
    with faulty_server() as server, TokenLoad(server, writers=4, spared=[2]) as load:
        for _ in range(2):
            load.go_on()
            kill(server, "worker 2")
            kill(server, "frontend")
            server.wait_until_ready()
        load.go_on()
    assert load.tears == []


@pytest.mark.parametrize("kind", WRITES)
def test_a_write_whose_frontend_died_between_its_parts_is_completed(kind: str) -> None:
    with faulty_server() as server:
        for parts_sent in range(SHARDS + 1):
            client = Client(server)
            assert not isinstance(WRITES[kind](client, b"old"), Exception)
            numbers = last_numbers(client)
            die_after(client, parts_sent, kind)
            client = Client(server)
            assert client.tokens() == {b"new"}
            assert all(after > before for before, after in zip(numbers, last_numbers(client), strict=True))
            totals["kills"] += 1
        assert "had parts missing" in server.log()


@pytest.mark.parametrize("kind", WRITES)
def test_control_without_intents_the_write_is_torn(kind: str) -> None:
    with faulty_server(debug_disable_intents=True) as server:
        for parts_sent in range(1, SHARDS):
            client = Client(server)
            WRITES[kind](client, b"old")
            die_after(client, parts_sent, kind)
            client = Client(server)
            values = client.call(b"MGET", *KEYS)
            assert isinstance(values, list)
            written = {shard_of(key, SHARDS) for key, value in zip(KEYS, values, strict=True) if value == b"new"}
            assert written == set(range(parts_sent)), "the crash is not where it should be: between the parts"
            totals["tears_of_controls"] += 1


def die_after(client: Client, parts_sent: int, kind: str) -> None:
    """Let the frontend die in the next write, when so many of its parts have gone to their shards."""
    client.call("DEBUG", "CRASH-FRONTEND", parts_sent)
    with pytest.raises((EOFError, ConnectionError)):
        WRITES[kind](client, b"new")


@pytest.mark.parametrize("size", [100_000, 2 << 20])
def test_a_large_write_whose_frontend_died_between_its_parts_is_completed(size: int) -> None:
    """Its values were under way by reference, to pages that went with the frontend. Its intent stands in the ring, or
    in a file if it is too large for that."""
    values = {key_on(shard): random.Random(shard).randbytes(size) for shard in range(SHARDS)}
    with faulty_server() as server:
        client = Client(server)
        client.call("DEBUG", "CRASH-FRONTEND", 2)
        assert loses_connection(client, b"MSET", *(word for pair in values.items() for word in pair))
        client = Client(server)
        assert all(client.call(b"GET", key) == value for key, value in values.items())
        wait_until(lambda: not list(server.runtime_dir.glob("intent-*")), "the intent's file is removed")


def test_the_parts_of_a_write_on_a_shard_that_is_down_wait_for_it_even_over_the_frontends_death() -> None:
    with faulty_server() as server:
        client = Client(server)
        client.set_all(b"old")
        client.send("DEBUG", "SLEEP", 30, 3)
        assert not client.answered_within(0.3)
        writer = Client(server)
        writer.send(b"MSET", *(word for key in KEYS for word in (key, b"new")))
        others = [key for key in KEYS if shard_of(key, SHARDS) != 3]
        reader = Client(server)
        wait_until(lambda: reader.call(b"MGET", *others) == [b"new"] * len(others), "the other shards have their parts")
        kill(server, "frontend")
        kill(server, "worker 3")
        server.wait_until_ready()
        assert Client(server).tokens() == {b"new"}
