"""Writes over several shards whose intents do not just come and go: one that waits, one too large for the disk."""

from __future__ import annotations

from tests.faults.token_load import Client, faulty_server, key_on, kill, loses_connection, wait_until

#: In all several times the intent ring.
BIG = b"x" * (1 << 20)
ROUNDS_OF_BIG = 30
ASLEEP_S = 4


def pairs(value: bytes, *shards: int) -> list[bytes]:
    return [word for shard in shards for word in (key_on(shard), value)]


def write_past_the_ring(client: Client) -> None:
    for _ in range(ROUNDS_OF_BIG):
        assert client.call(b"MSET", *pairs(BIG, 1, 2)) == b"OK"


def test_writes_on_other_shards_go_on_while_one_waits_for_a_shard_that_does_not_answer() -> None:
    with faulty_server() as server:
        sleeping, waiting, others = Client(server), Client(server), Client(server)
        sleeping.send("DEBUG", "SLEEP", ASLEEP_S, 0)
        assert not sleeping.answered_within(0.2)
        waiting.send(b"MSET", *pairs(b"late", 0, 3))
        write_past_the_ring(others)
        assert not waiting.answered_within(0), "the shard was to be asleep all the time"
        assert list(server.runtime_dir.glob("moved-*"))
        assert waiting.receive() == b"OK"
        assert others.call(b"MGET", key_on(0), key_on(3)) == [b"late", b"late"]
        wait_until(lambda: not list(server.runtime_dir.glob("moved-*")), "the file of what was moved is removed")


def test_a_slow_write_is_logged_with_its_words_even_when_it_was_moved_out_of_the_ring() -> None:
    many = [word for number in range(20_000) for word in (b"{%s}%d" % (key_on(0), number), b"x")]
    with faulty_server() as server:
        sleeping, waiting, others = Client(server), Client(server), Client(server)
        others.call("CONFIG", "SET", "slowlog-log-slower-than", 800)
        sleeping.send("DEBUG", "SLEEP", ASLEEP_S, 0)
        assert not sleeping.answered_within(0.2)
        waiting.send(b"MSET", *pairs(b"late", 3, 0), *many)  # slow on one of them, which comes to it much later
        write_past_the_ring(others)
        assert list(server.runtime_dir.glob("moved-*"))
        assert waiting.receive() == b"OK"
        entries = others.call("SLOWLOG", "GET", -1)
        assert isinstance(entries, list)
        (words,) = [entry[3] for entry in entries if entry[3][0] == b"MSET" and b"late" in entry[3]]
        assert words[:-1] == [b"MSET", *pairs(b"late", 3, 0), *many][:31]
        assert words[-1] == b"... (%d more arguments)" % (1 + 4 + len(many) - 31)


def test_a_write_that_was_moved_out_of_the_ring_is_completed_when_the_frontend_dies() -> None:
    with faulty_server() as server:
        sleeping, crashing, others = Client(server), Client(server), Client(server)
        crashing.call(b"MSET", *pairs(b"old", 0, 3))
        sleeping.send("DEBUG", "SLEEP", ASLEEP_S, 0)
        assert not sleeping.answered_within(0.2)
        crashing.send(b"MSET", *pairs(b"new", 0, 3))
        write_past_the_ring(others)
        assert list(server.runtime_dir.glob("moved-*"))
        kill(server, "frontend")
        client = Client(server)
        assert client.call(b"MGET", key_on(0), key_on(3)) == [b"new", b"new"]
        wait_until(lambda: not list(server.runtime_dir.glob("moved-*")), "the file of what was moved is removed")


def test_a_write_that_is_too_large_for_the_ring_and_for_the_disk_is_refused_whole() -> None:
    huge = b"x" * (5 << 20)
    with faulty_server() as server:
        client = Client(server)
        client.set_all(b"old")
        elsewhere = server.runtime_dir.with_name("elsewhere")
        server.runtime_dir.rename(elsewhere)
        try:
            for _ in range(2):
                refusal = str(client.call(b"MSET", *pairs(huge, 1, 2)))
                assert refusal.startswith("MISCONF Errors writing to the runtime folder: "), refusal
            assert client.call(b"MULTI") == b"OK"
            assert client.call(b"MSET", *pairs(huge, 1, 2)) == b"QUEUED"
            assert str(client.call(b"EXEC")).startswith("MISCONF Errors writing to the runtime folder: ")
            assert client.tokens() == {b"old"}
            client.set_all(b"small writes need no disk")
        finally:
            elsewhere.rename(server.runtime_dir)
        assert client.call(b"MSET", *pairs(huge, 1, 2)) == b"OK"
        assert [client.call(b"STRLEN", key_on(shard)) for shard in (1, 2)] == [len(huge)] * 2
        assert not loses_connection(client, b"PING")
        wait_until(lambda: not list(server.runtime_dir.glob("intent-*")), "the payload's file is removed")
