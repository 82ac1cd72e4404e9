"""What MEMORY STATS and MEMORY DOCTOR make of the board's numbers."""

from __future__ import annotations

import pytest

from mpkv.metrics import memory
from mpkv.metrics.source import BoardSource, Reading, Usage

MB = 1 << 20


def reading(source: BoardSource, rss: int = 300 * MB) -> Reading:
    found = Reading(source, since_reset=False)
    found.__dict__["usage"] = Usage(rss)
    return found


def fill(source: BoardSource, *used: int) -> None:
    """Shards with so many bytes of data, and nothing to complain about."""
    for worker, size in zip(source.board.workers, used, strict=True):
        for name in ("used_memory", "allocator_active", "allocator_resident"):
            worker.put(name, size)
        worker.put("used_memory_overhead", size // 10)


def add(source: BoardSource, **more: int) -> None:
    """To the numbers of one shard."""
    for name, value in more.items():
        source.board.workers[1].count(name, value)


def test_statistics_are_those_of_all_processes(source: BoardSource) -> None:
    fill(source, 1000, 1000)
    add(source, allocator_active=1000, allocator_resident=4000)
    for worker in source.board.workers:
        worker.put_database(2, 10, 1, 0, 50)
    source.board.frontend.put("used_memory_peak", 4000)
    source.board.frontend.put("client_memory_bytes", 70)
    stats = memory.statistics(reading(source, 12_000))
    assert (stats[b"peak.allocated"], stats[b"total.allocated"], stats[b"peak.percentage"]) == (4000, 2000, 50.0)
    assert (stats[b"clients.normal"], stats[b"startup.allocated"]) == (70, 0)
    assert stats[b"db.2"][b"overhead.hashtable.main"] == 100 and b"db.0" not in stats
    assert (stats[b"overhead.total"], stats[b"dataset.bytes"], stats[b"dataset.percentage"]) == (200, 1800, 90.0)
    assert (stats[b"keys.count"], stats[b"keys.bytes-per-key"]) == (20, 100)
    assert (stats[b"allocator-fragmentation.ratio"], stats[b"allocator-fragmentation.bytes"]) == (1.5, 1000)
    assert (stats[b"allocator-rss.ratio"], stats[b"allocator-rss.bytes"]) == (2.0, 3000)
    assert (stats[b"rss-overhead.ratio"], stats[b"rss-overhead.bytes"]) == (2.0, 6000)
    assert (stats[b"fragmentation"], stats[b"fragmentation.bytes"]) == (6.0, 10_000)


def test_an_empty_server_has_no_ratios(source: BoardSource) -> None:
    stats = memory.statistics(reading(source))
    assert all(stats[name] == 0 for name in (b"fragmentation", b"dataset.percentage", b"keys.bytes-per-key"))


def test_the_doctor_has_nothing_to_say_of_little_data(source: BoardSource) -> None:
    fill(source, 2 * MB, 2 * MB)
    assert memory.report(reading(source)).startswith("There is hardly any data")


def test_the_doctor_has_nothing_to_say_of_a_sound_server(source: BoardSource) -> None:
    fill(source, 100 * MB, 100 * MB)
    assert memory.report(reading(source)) == "Nothing is wrong with this server's memory.\n"


@pytest.mark.parametrize(
    ("more", "rss", "said"),
    [
        ({"used_memory_peak": 301 * MB}, 0, "There was once more: 301.0 MB at the peak, 200.0 MB now"),
        ({"allocator_active": 21 * MB, "allocator_resident": 21 * MB}, 0, "Between the values 21.0 MB are free"),
        ({"allocator_resident": 21 * MB}, 0, "21.0 MB are empty and kept"),
        ({}, 601 * MB, "The processes hold 401.0 MB beside the data"),
        ({}, 1 << 50, "1073741824.0 MB of the machine's"),
        ({"used_memory": 401 * MB, "allocator_active": 401 * MB, "allocator_resident": 401 * MB}, 0,
         "Shard 1 holds 501.0 MB, the others 10.0 MB on average"),
    ],
)  # fmt: skip
def test_the_doctor_names_what_stands_out(source: BoardSource, more: dict[str, int], rss: int, said: str) -> None:
    fill(source, 10 * MB if "used_memory" in more else 100 * MB, 100 * MB)
    add(source, **more)
    assert f"1. {said}" in memory.report(reading(source, rss))


@pytest.mark.parametrize(("clients", "warned"), [(5, False), (4, True)])
def test_the_doctor_sees_clients_with_large_buffers(source: BoardSource, clients: int, warned: bool) -> None:
    fill(source, 100 * MB, 100 * MB)
    source.board.frontend.put("connected_clients", clients)
    source.board.frontend.put("client_memory_bytes", 1_000_000)
    assert ("Clients' buffers hold 1.0 MB, 244 KB for each of 4" in memory.report(reading(source))) == warned


@pytest.mark.parametrize(("policy", "warned"), [("noeviction", True), ("allkeys-lru", False)])
def test_the_doctor_warns_before_writes_are_refused(source: BoardSource, policy: str, warned: bool) -> None:
    source.config.set([("maxmemory", "200mb"), ("maxmemory-policy", policy)])
    fill(source, 95 * MB, 95 * MB)
    assert ("190.0 MB of 200.0 MB (maxmemory) are used" in memory.report(reading(source))) == warned
