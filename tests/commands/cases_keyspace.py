"""Commands on the whole keyspace: cases to replay through any door and compare (see `tests.helpers.doors`)."""

from typing import Final

from tests.helpers.doors import Request

_FILL: Final = ("MSET a 1 b 2 ab 3 abc 4 {t}a 5", "RPUSH l a", "SADD s a", "HSET h f v", "ZADD z 1 a")
_PATTERNS: Final = ("*", "a*", "?", "[a-h]", "[^a]", "none", "\\a", "{t}*", "*[b", "a", "")

CASES: Final[dict[str, list[Request]]] = {
    "size": ["DBSIZE", *_FILL, "DBSIZE", "DEL a", "DBSIZE", "SELECT 1", "DBSIZE"],
    "keys": ["KEYS *", *_FILL, *(["KEYS", pattern] for pattern in _PATTERNS), "SELECT 1", "KEYS *"],
    "scan": [
        "SCAN 0", *_FILL, "SCAN 0", "SCAN 0 COUNT 1000", "SCAN 0 COUNT 1000 TYPE list", "SCAN 0 TYPE LIST COUNT 1000",
        "SCAN 0 COUNT 1000 TYPE none", "SCAN 0 COUNT 1000 TYPE hash MATCH h*",
        *(["SCAN", "0", "COUNT", "1000", "MATCH", pattern] for pattern in _PATTERNS),
        "scan 0 match a* count 1000 type string", "SCAN 0 COUNT 0", "SCAN 0 COUNT -1", "SCAN 0 COUNT x", "SCAN 0 COUNT",
        "SCAN 0 MATCH", "SCAN 0 TYPE", "SCAN 0 FOO", "SCAN 0 FOO 1", "SCAN x", "SCAN x COUNT 0", "SCAN 1.5", "SCAN 0x1",
        "SCAN 18446744073709551616", "SCAN 99999999999999999999999", ["SCAN", " 0"], ["SCAN", "0 "],
        ["SCAN", "0", "COUNT", ""],
    ],
    "random key": ["RANDOMKEY", "SET only v", "RANDOMKEY", "RANDOMKEY x"],
    "flush": [
        *_FILL, "SELECT 1", "SET k v", "FLUSHDB", "DBSIZE", "SELECT 0", "DBSIZE", "FLUSHDB FOO", "FLUSHDB ASYNC ASYNC",
        "FLUSHALL SYNC ASYNC", "FLUSHALL FOO", "DBSIZE", "FLUSHDB sync", "DBSIZE", *_FILL, "SELECT 1", "SET k v",
        "FLUSHALL ASYNC", "DBSIZE", "SELECT 0", "DBSIZE", "FLUSHALL", "FLUSHALL SYNC", "FLUSHDB ASYNC",
    ],
    "with the wrong number of words": ["DBSIZE x", "KEYS", "KEYS a b", "SCAN", "RANDOMKEY x"],
}  # fmt: skip
