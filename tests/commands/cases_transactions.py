"""Transactions and watched keys of one connection: cases to replay over the wire (see `tests.helpers.differential`)."""

from typing import Final

from tests.helpers.doors import Request

_MIXED: Final = (
    "SET s v", "GET s", "RPUSH l a b", "LRANGE l 0 -1", "HSET h f v", "HGETALL h", "ZADD z 1 a 2.5 b",
    "ZRANGE z 0 -1 WITHSCORES", "ZSCORE z b", "SADD m a", "SMEMBERS m", "INCR n", "MGET s none n", "TYPE l",
    "DEL s none",
)  # fmt: skip

CASES: Final[dict[str, list[Request]]] = {
    "executed": ["MULTI", *_MIXED, "EXEC", "GET n", "EXISTS s l h z m"],
    "empty": ["MULTI", "EXEC", "MULTI", "DISCARD", "GET k"],
    "discarded": ["SET k 1", "MULTI", "SET k 2", "DISCARD", "GET k", "MULTI", "GET k", "EXEC"],
    "without a beginning": ["EXEC", "DISCARD", "UNWATCH", "EXEC k", "DISCARD k", "MULTI k", "WATCH", "UNWATCH k"],
    "nested": ["MULTI", "MULTI", "SET k v", "EXEC", "GET k"],
    "watch within": ["MULTI", "WATCH k", "SET k v", "EXEC", "GET k"],
    "unwatch within": ["WATCH k", "MULTI", "UNWATCH", "SET k v", "EXEC"],
    "an unknown command": ["MULTI", "SET k v", "NOSUCH a b", "SET k w", "EXEC", "GET k", "EXEC"],
    "the wrong number of words": ["MULTI", "GET", "SET k v", "EXEC", "GET k", "MULTI", "SET k", "DISCARD", "EXEC"],
    "an unknown subcommand": ["MULTI", "OBJECT NOSUCH k", "EXEC"],
    "a command that fails": ["SET k v", "MULTI", "INCR k", "LPUSH k a", "SET k 5", "INCR k", "EXEC", "GET k"],
    "what is not allowed": ["MULTI", "SAVE", "EXEC", "MULTI", "PING", "EXEC"],
    "commands of the connection": ["MULTI", "PING", "PING x", "ECHO y", "SET k v", "PING", "EXEC"],
    "another database": [
        "MULTI", "SET k 0", "SELECT 1", "SET k 1", "GET k", "SELECT 99", "SELECT x", "GET k", "EXEC", "GET k",
        "SELECT 0",
        "GET k", "MULTI", "SELECT 2", "DISCARD", "GET k",
    ],
    "blocking commands do not block": [
        "MULTI", "BLPOP none 0", "BRPOP none 0", "BLMOVE none none LEFT LEFT 0", "BZPOPMIN none 0", "RPUSH l a",
        "BLPOP l 0", "EXEC",
    ],
    "watched and unchanged": ["SET k v", "WATCH k", "GET k", "MULTI", "SET k w", "EXEC", "GET k"],
    "watched and changed": [
        *(
            request
            for change in (
                "SET k w", "DEL k", "EXPIRE k 100", "APPEND k x", "FLUSHDB", "FLUSHALL", "RENAME k k2", "MOVE k 1",
                "GETDEL k",
            )
            for request in (
                "FLUSHALL", "SET k v", "WATCH k", change, "MULTI", "SET done 1", "EXEC", "GET done", "MULTI",
                "SET done 2", "EXEC",
            )
        ),
    ],
    "watched and touched without a change": [
        *(
            request
            for attempt in (
                "DEL none", "SETNX k w", "GET k", "TOUCH k", "SADD m a", "LPUSHX none a", "HDEL h none", "FLUSHDB x",
            )
            for request in (
                "FLUSHALL", "SET k v", "SADD m a", "HSET h f v", "WATCH k m h none", attempt, "MULTI", "SET done 1",
                "EXEC",
            )
        ),
    ],
    "watched, absent and created": ["WATCH k", "SET k v", "MULTI", "GET k", "EXEC", "EXEC"],
    "unwatched": ["WATCH k", "SET k v", "UNWATCH", "MULTI", "GET k", "EXEC"],
    "discarding forgets": ["WATCH k", "SET k v", "MULTI", "DISCARD", "MULTI", "GET k", "EXEC"],
    "executing forgets": ["WATCH k", "MULTI", "EXEC", "SET k v", "MULTI", "GET k", "EXEC"],
    "watched in another database": [
        "SELECT 1", "WATCH k", "SELECT 0", "SET k v", "MULTI", "GET k", "EXEC", "SELECT 1", "WATCH k", "SET k v",
        "SELECT 0",
        "MULTI", "GET k", "EXEC",
    ],
    "reset ends it": ["MULTI", "SET k v", "RESET", "EXEC", "GET k", "WATCH k", "SET k v", "RESET", "MULTI", "GET k",
    "EXEC"],
}  # fmt: skip
