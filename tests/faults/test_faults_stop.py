"""The end of the whole server, in order and out of order."""

import os
import signal
import threading
import time

import psutil

from mpkv.testing import Server
from tests.faults.token_load import (
    KEYS,
    SHARDS,
    Client,
    TokenLoad,
    faulty_server,
    key_on,
    kill,
    loses_connection,
    temporary_files,
    totals,
    wait_until,
)  # fmt: skip

#: After the supervisor's death everybody is gone within this, when there is little to save.
GONE_S = 20.0


def start_again(server: Server) -> Client:
    """On the same folders, as a service manager would."""
    server.start()
    return Client(server)


def test_a_killed_supervisor_takes_all_with_it_and_the_data_are_saved() -> None:
    with faulty_server(save="3600 1") as server:
        Client(server).set_all(b"kept")
        kill(server, "supervisor")
        wait_until(lambda: not server.family(), "all processes are gone", GONE_S)
        assert not server.is_running
        assert list(server.runtime_dir.glob("w*"))  # nobody was there to clear it
        client = start_again(server)
        assert client.tokens() == {b"kept"}
        assert not [path.name for path in server.runtime_dir.glob("w*") if not path.name.endswith(".1.1")]


def test_a_killed_supervisor_under_load_leaves_whole_writes() -> None:
    with faulty_server(save="3600 1") as server:
        with TokenLoad(server) as load:
            load.go_on()
            kill(server, "supervisor")
            wait_until(lambda: not server.family(), "all processes are gone", GONE_S)
        assert load.tears == []
        assert len(start_again(server).tokens()) == 1


def test_when_all_are_killed_the_last_snapshot_is_there() -> None:
    with faulty_server(save="3600 1") as server:
        client = Client(server)
        client.set_all(b"saved")
        assert client.call("SAVE") == b"OK"
        client.call("DEBUG", "POPULATE", 200_000, "filler")
        client.call("BGSAVE")
        for pid in server.family():
            os.kill(pid, signal.SIGKILL)
            totals["kills"] += 1
        wait_until(lambda: not server.family(), "all processes are gone")
        assert not server.is_running
        client = start_again(server)
        assert client.tokens() == {b"saved"}
        assert temporary_files(server) == []


def test_a_stop_under_load_saves_everything_that_was_answered() -> None:
    with faulty_server(save="3600 1") as server:
        answered: list[int] = []

        def count_up() -> None:
            client = Client(server)
            try:
                while True:
                    answered.append(client.call("INCR", KEYS[len(answered) % len(KEYS)]))  # type: ignore[arg-type]
            except (EOFError, OSError):
                return

        thread = threading.Thread(target=count_up)
        thread.start()
        wait_until(lambda: len(answered) > 200, "the load goes")
        server.stop()
        thread.join()
        client = start_again(server)
        total = sum(int(client.call("GET", key)) for key in KEYS)  # type: ignore[call-overload]
        assert total in (len(answered), len(answered) + 1)  # the last one's answer may have been lost


def test_a_stop_during_a_snapshot_saves_what_is_newer_than_it() -> None:
    with faulty_server(save="3600 1") as server:
        client = Client(server)
        client.call("DEBUG", "POPULATE", 200_000, "filler")
        client.set_all(b"old")
        client.call("BGSAVE")
        client.set_all(b"new")
        server.stop()
        assert start_again(server).tokens() == {b"new"}


def test_a_stop_while_a_worker_is_away_waits_for_it_and_saves() -> None:
    with faulty_server(save="3600 1") as server:
        client = Client(server)
        client.set_all(b"saved")
        client.call("SAVE")
        client.set_all(b"new")
        kill(server, "worker 1")
        server.stop()
        assert "Saving the final RDB snapshot" in server.log()
        client = start_again(server)
        assert client.tokens() == {b"saved", b"new"}  # shard 1 had fallen back, the others kept all


def test_a_stop_while_the_frontend_is_away_waits_for_it_and_saves() -> None:
    with faulty_server(save="3600 1") as server:
        Client(server).set_all(b"new")
        kill(server, "frontend")
        server.stop()
        assert start_again(server).tokens() == {b"new"}


def test_a_start_and_stop_in_one_breath_leaves_nothing() -> None:
    with faulty_server(save="3600 1") as server:
        for delay_ms in (0, 100, 400):
            server.stop()
            server._launch()
            time.sleep(delay_ms / 1000)
        wait_until(lambda: psutil.pid_exists(server.pid), "it was started")


def give_up_shard_1(server: Server) -> None:
    for _ in range(2):
        server.wait_until_ready()
        kill(server, "worker 1")
    wait_until(lambda: "worker 1 has died 2 times" in server.log(), "the supervisor gives the shard up")


def values_by_shard(client: Client) -> list[object]:
    return [client.call("GET", key_on(shard)) for shard in range(SHARDS)]


def test_the_end_saves_what_the_others_hold_and_keeps_the_last_snapshot_of_a_shard_that_is_down_for_good() -> None:
    with faulty_server(save="3600 1", restart_limit=1) as server:
        client = Client(server)
        for shard in range(SHARDS):
            client.call("SET", key_on(shard), "saved")
        assert client.call("SAVE") == b"OK"
        client.call("SET", key_on(1), "lost")
        give_up_shard_1(server)
        client = Client(server)
        for shard in (0, 2, 3):
            assert client.call("SET", key_on(shard), "later") == b"OK"
        server.stop()
        assert values_by_shard(start_again(server)) == [b"later", b"saved", b"later", b"later"]
        assert temporary_files(server) == []


def test_the_end_saves_the_others_when_the_shard_that_joins_the_parts_is_down_for_good_and_was_never_saved() -> None:
    with faulty_server(save="3600 1", restart_limit=1) as server:
        for _ in range(2):
            server.wait_until_ready()
            kill(server, "worker 0")
        wait_until(lambda: "worker 0 has died 2 times" in server.log(), "the supervisor gives the shard up")
        client = Client(server)
        assert client.call("SET", key_on(2), "kept") == b"OK"
        server.stop()
        assert values_by_shard(start_again(server)) == [None, None, b"kept", None]


def test_without_the_last_snapshot_nothing_is_overwritten_and_the_server_stays() -> None:
    with faulty_server(save="3600 1", restart_limit=1) as server:
        client = Client(server)
        client.set_all(b"saved")
        assert client.call("SAVE") == b"OK"
        give_up_shard_1(server)
        client = Client(server)
        assert client.call("SET", key_on(2), "later") == b"OK"
        dump = server.dir / "dump.rdb"
        damaged = dump.read_bytes()[:-20]
        dump.write_bytes(damaged)
        assert str(client.call("SHUTDOWN")) == "ERR Errors trying to SHUTDOWN. Check logs."
        assert dump.read_bytes() == damaged
        assert client.call("GET", key_on(2)) == b"later"
        assert loses_connection(client, "SHUTDOWN", "NOSAVE")
        wait_until(lambda: not server.is_running, "the server ends")
        dump.unlink()


def test_a_save_point_that_a_shard_down_for_good_makes_fail_is_seen_and_stops_writes() -> None:
    with faulty_server(save="1 1", restart_limit=1) as server:
        give_up_shard_1(server)
        client = Client(server)
        client.call("SET", key_on(2), "not to be saved")
        wait_until(lambda: b"rdb_last_bgsave_status:err" in info(client), "the failure is reported")
        assert str(client.call("SET", key_on(2), "refused")).startswith("MISCONF")
        assert "shard 1 is down for good" in server.log()
        assert str(client.call("BGSAVE")).startswith("ERR")


def info(client: Client) -> bytes:
    text = client.call("INFO", "persistence")
    assert isinstance(text, bytes)
    return text


def test_a_stop_that_cannot_write_is_refused_and_nothing_is_lost() -> None:
    with faulty_server(save="3600 1") as server:
        client = Client(server)
        client.set_all(b"saved")
        assert client.call("SAVE") == b"OK"
        client.set_all(b"newer")
        family = sorted(server.family())
        away = server.dir.with_name(server.dir.name + ".away")
        server.dir.rename(away)
        try:
            answer = client.call("SHUTDOWN")
            assert isinstance(answer, Exception) and "Errors trying to SHUTDOWN" in str(answer)
            os.kill(server.pid, signal.SIGTERM)
            time.sleep(0.5)
            assert client.tokens() == {b"newer"}
            assert sorted(server.family()) == family, "nobody died of it"
        finally:
            away.rename(server.dir)
        server.stop()
        assert start_again(server).tokens() == {b"newer"}


def test_a_worker_whose_folder_has_gone_says_so_and_loads_nothing() -> None:
    with faulty_server(save="3600 1") as server:
        client = Client(server)
        client.set_all(b"saved")
        assert client.call("SAVE") == b"OK"
        away = server.dir.with_name(server.dir.name + ".away")
        server.dir.rename(away)
        try:
            kill(server, "worker 0")
            wait_until(lambda: "is no directory any more" in server.log(), "the reason is logged")
            answer = client.call("GET", key_on(0))
            assert isinstance(answer, Exception) and "LOADING" in str(answer)
        finally:
            away.rename(server.dir)
