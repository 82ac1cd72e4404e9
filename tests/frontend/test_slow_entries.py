"""What an entry of the slow log shows of a request, how many are kept, and from when on anything is noted at all."""

from __future__ import annotations

import pytest

from mpkv.commands import spec
from mpkv.config import Config
from mpkv.frontend.slow_commands import clip, shown
from mpkv.metrics.slowlog import NEVER_NS, Entry, SlowLog, Times, noted_from_ns

TABLE = spec.load()


def entry(log: SlowLog) -> Entry:
    return Entry(log.next_id(), 0, Times(1, 2, 3), (b"GET",), b"", b"", 1, 0, 0)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("get", [b"k"], (b"GET", b"k")),
        ("object|encoding", [b"k"], (b"OBJECT", b"ENCODING", b"k")),
        ("set", [b"k", b"x" * 128], (b"SET", b"k", b"x" * 128)),
        ("set", [b"k", b"x" * 131], (b"SET", b"k", b"x" * 128 + b"... (3 more bytes)")),
        ("rpush", [b"l", *[b"x"] * 30], (b"RPUSH", b"l", *[b"x"] * 30)),
        ("rpush", [b"l", *[b"x"] * 31], (b"RPUSH", b"l", *[b"x"] * 29, b"... (2 more arguments)")),
        ("client|kill", [b"x"] * 1000, (b"CLIENT", b"KILL", *[b"x"] * 29, b"... (971 more arguments)")),
        ("auth", [b"secret"], (b"AUTH", b"(redacted)")),
        ("auth", [b"user", b"secret" * 100], (b"AUTH", b"(redacted)", b"(redacted)")),
        ("hello", [b"3"], (b"HELLO", b"3")),
        ("hello", [b"3", b"auth", b"u", b"p"], (b"HELLO", b"3", b"auth", b"(redacted)", b"(redacted)")),
        ("hello", [b"3", b"SETNAME", b"auth", b"x"], (b"HELLO", b"3", b"SETNAME", b"auth", b"x")),
        ("hello", [b"3", b"AUTH", b"u"], (b"HELLO", b"3", b"AUTH", b"(redacted)")),
        ("config|set", [b"requirepass", b"p"], (b"CONFIG", b"SET", b"requirepass", b"(redacted)")),
        ("config|set", [b"hz", b"10", b"MasterAuth", b"p"],
         (b"CONFIG", b"SET", b"hz", b"10", b"MasterAuth", b"(redacted)")),
        ("config|set", [b"nosuch", b"p"], (b"CONFIG", b"SET", b"nosuch", b"p")),
    ],
)  # fmt: skip
def test_a_request_is_cut_and_its_secrets_are_hidden(
    name: str, arguments: list[bytes], expected: tuple[bytes, ...]
) -> None:
    assert shown(TABLE[name], *clip(arguments)) == expected


def test_the_newest_come_first_and_the_oldest_go() -> None:
    log = SlowLog(3)
    for _ in range(5):
        log.add(entry(log))
    assert [each.id for each in log.first(-1)] == [4, 3, 2]
    assert [each.id for each in log.first(2)] == [4, 3]
    log.resize(1)
    assert [each.id for each in log.first(-1)] == [4]
    log.resize(2)
    log.add(entry(log))
    assert [each.id for each in log.first(10)] == [5, 4]
    log.clear()
    assert log.newest is None
    log.resize(0)
    log.add(entry(log))
    assert len(log) == 0


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 10_000_000),
        ({"slowlog-log-slower-than": "0"}, 0),
        ({"slowlog-log-slower-than": "-1"}, NEVER_NS),
        ({"slowlog-max-len": "0"}, NEVER_NS),
        ({"slowlog-log-slower-than": "9223372036854775807"}, NEVER_NS),
        ({"slowlog-log-slower-than": "-1", "latency-monitor-threshold": "20"}, 20_000_000),
        ({"latency-monitor-threshold": "5"}, 5_000_000),
        ({"latency-monitor-threshold": "50"}, 10_000_000),
    ],
)
def test_the_lower_of_both_thresholds_decides_what_is_noted(settings: dict[str, str], expected: int) -> None:
    config = Config()
    if settings:
        config.set(list(settings.items()), local=True)
    assert noted_from_ns(config) == expected
