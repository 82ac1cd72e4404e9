"""Large merges of several shards' replies run in a worker: in order, in both protocols, and also when it dies."""

from __future__ import annotations

import pytest

from mpkv.testing import Server
from tests.faults.token_load import Client, faulty_server, key_on, kill

#: More than 64 KiB of reply, and less.
MANY, FEW = 6000, 60


def members(first: int, count: int) -> list[bytes]:
    return [b"member:%016d" % number for number in range(first, first + count)]


def fill(client: Client, key: bytes, elements: list[bytes]) -> None:
    for at in range(0, len(elements), 1000):
        client.call(b"SADD", key, *elements[at : at + 1000])


def sorted_set(reply: object) -> list[bytes]:
    assert isinstance(reply, list | set | tuple), reply
    return sorted(reply)


@pytest.mark.parametrize("count", [FEW, MANY])
def test_merges_are_right_and_in_order_whatever_their_size(count: int) -> None:
    with faulty_server() as server:
        for protocol in (2, 3):
            client = Client(server)
            client.call("FLUSHALL")
            client.call("HELLO", protocol)
            keys = [key_on(shard, "set") for shard in range(4)]
            for shard, key in enumerate(keys):
                fill(client, key, members(shard * count // 4, count))
            client.call("SET", key_on(2, "text"), "no set")
            requests: list[tuple[bytes, ...]] = [
                (b"SUNION", *keys), (b"PING",), (b"SINTER", *keys), (b"GET", key_on(2, "text")), (b"SDIFF", *keys),
                (b"SINTERCARD", b"4", *keys), (b"SUNION", *keys, key_on(2, "text")), (b"KEYS", b"*"), (b"ECHO", b"end"),
            ]  # fmt: skip
            for request in requests:
                client.send(*request)
            assert sorted_set(client.receive()) == members(0, count + 3 * count // 4)
            assert client.receive() == b"PONG"
            assert sorted_set(client.receive()) == members(3 * count // 4, count - 3 * count // 4)
            assert client.receive() == b"no set"
            assert sorted_set(client.receive()) == members(0, count // 4)
            assert client.receive() == count - 3 * count // 4
            assert "WRONGTYPE" in str(client.receive())
            assert sorted_set(client.receive()) == sorted([*keys, key_on(2, "text")])
            assert client.receive() == b"end"


def _merge_at_a_sleeper(server: Server, count: int) -> tuple[Client, list[bytes]]:
    """A client that is owed SUNION of a set on shard 0 and a larger one on shard 1, whose worker sleeps by now."""
    asker, sleeper, other = Client(server), Client(server), Client(server)
    small, large = key_on(0, "small"), key_on(1, "large")
    fill(asker, small, members(0, 10))
    fill(asker, large, members(5, count))
    sleeper.send("DEBUG", "SLEEP", 1, 0)
    assert not sleeper.answered_within(0.2)
    asker.send("SUNION", small, large)
    assert not asker.answered_within(0.2)  # shard 1 has answered, shard 0 has not
    other.send("DEBUG", "SLEEP", 60, 1)
    assert sleeper.receive() == b"OK"
    return asker, members(0, count + 5)


def test_a_large_merge_runs_on_the_worker_that_has_most_of_it_and_here_if_that_dies() -> None:
    with faulty_server() as server:
        asker, expected = _merge_at_a_sleeper(server, MANY)
        assert not asker.answered_within(0.7), "it was merged in the frontend"
        kill(server, "worker 1")
        assert sorted_set(asker.receive()) == expected
        assert asker.call("PING") == b"PONG"


def test_a_small_merge_waits_for_nobody() -> None:
    with faulty_server() as server:
        asker, expected = _merge_at_a_sleeper(server, FEW)
        assert sorted_set(asker.receive()) == expected
        kill(server, "worker 1")


def test_a_large_merge_in_a_transaction_is_part_of_its_reply() -> None:
    with faulty_server() as server:
        client = Client(server)
        keys = [key_on(shard, "set") for shard in range(4)]
        for shard, key in enumerate(keys):
            fill(client, key, members(shard * MANY, MANY))
        client.call("MULTI")
        client.call(b"SUNION", *keys)
        client.call("PING")
        reply = client.call("EXEC")
        assert isinstance(reply, list)
        assert sorted_set(reply[0]) == members(0, 4 * MANY)
        assert reply[1:] == [b"PONG"]
