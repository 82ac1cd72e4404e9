"""Hash commands: cases to replay through any door and compare (see `tests.helpers.doors`).

Requests only: Redis knows the replies.

Commands whose replies are random stand here only where chance has no choice.
"""

from typing import Final

from tests.helpers.doors import Request

_EVERY_COMMAND: Final = (
    "HSET k f v", "HSET k f", "HMSET k f v", "HMSET k f", "HSETNX k f v", "HGET k f", "HMGET k f", "HGETALL k",
    "HKEYS k", "HVALS k",
    "HLEN k", "HEXISTS k f", "HSTRLEN k f", "HDEL k f", "HINCRBY k f 1", "HINCRBY k f x", "HINCRBYFLOAT k f 1",
    "HINCRBYFLOAT k f x",
    "HINCRBYFLOAT k f inf", "HRANDFIELD k", "HRANDFIELD k 0", "HRANDFIELD k x", "HRANDFIELD k 1 FOO", "HSCAN k 0",
    "HSCAN k x",
    "HSCAN k 0 FOO",
)  # fmt: skip

_WRONG_ARITY: Final = (
    "HSET k f", "HSET k", "HMSET k f", "HSETNX k f", "HSETNX k f v w", "HGET k", "HGET k f f", "HMGET k", "HGETALL",
    "HGETALL k k",
    "HKEYS k k", "HVALS k k", "HLEN", "HLEN k k", "HEXISTS k", "HSTRLEN k", "HDEL k", "HINCRBY k f",
    "HINCRBYFLOAT k f 1 2", "HRANDFIELD",
    "HSCAN k", "HSET k a 1 b", "HMSET k a 1 b",
)  # fmt: skip

_INTEGERS: Final = (
    "0", "-0", "+1", "01", "1.0", "1e3", "x", "9223372036854775807", "-9223372036854775808", "9223372036854775808",
    "--1", "-",
)  # fmt: skip
_FLOATS: Final = (
    "0", "-0", "+1.5", ".5", "5.", "1e3", "1e", ".", "0x10", "0x1.8p1", "inf", "-inf", "nan", "1e400", "1e4932",
    "1e4933", "1e-4970", "x",
    "123456789012345678901234567890.12345678901234567890",
)  # fmt: skip

COUNTS: Final = (
    "0", "1", "x", "1.5", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "4611686018427387904",
    "-0",
)  # fmt: skip
CURSORS: Final = (
    "0",
    "+0",
    "-0",
    "00",
    "x",
    "1x",
    "-",
    "18446744073709551616",
    "-18446744073709551616",
    "99999999999999999999999",
)
SCAN_OPTIONS: Final = (
    "MATCH *", "MATCH f*", "MATCH none", "MATCH [ab]*", "COUNT 100", "COUNT 1 MATCH a?", "match A* count 5",
    "MATCH f* MATCH a*", "COUNT 0",
    "COUNT -1", "COUNT x", "COUNT 9223372036854775808", "COUNT", "MATCH", "FOO", "TYPE hash", "COUNT 1 FOO", "NOVALUES",
)  # fmt: skip

#: Those that find all of a handful in one step, be it packed (sets since 7.2) or not.
ONE_STEP_SCAN_OPTIONS: Final = tuple(
    options for options in SCAN_OPTIONS if "match" not in options.lower() or "count" not in options.lower()
)

CASES: Final[dict[str, list[Request]]] = {
    "setting and getting": [
        "HSET k a 1 b 2 a 3", "HGETALL k", "HSET k a 1 c 4", "HGET k a", "HGET k none", "HGET none a",
        "HMGET k a none c a", "HMGET none a b",
        "HMSET k a 9 d 7", "HLEN k", "HLEN none", "HEXISTS k a", "HEXISTS k none", "HEXISTS none a", "HSTRLEN k a",
        "HSTRLEN k none",
        "HSTRLEN none a", "HSETNX k a 5", "HSETNX k e 5", "HSETNX other e 5", "HKEYS k", "HVALS k", "HGETALL none",
        "HKEYS none", "HVALS none",
        ["HSET", "k", "", ""], ["HGET", "k", ""], ["HSTRLEN", "k", ""], ["HEXISTS", "k", ""], "HGETALL k",
        [b"HSET", b"k", b"\x00\r\n\xff", b"\r\n\x00"], [b"HGET", b"k", b"\x00\r\n\xff"], "TYPE k",
    ],
    "deleting": [
        "HSET k a 1 b 2 c 3", "HDEL k a none a", "HDEL none a", "HDEL k none", "HLEN k", "HDEL k b c b", "EXISTS k",
        "HSET k a 1", "EXPIRE k 100",
        "HSET k b 1", "TTL k", "HDEL k a b", "HSET k a 1", "TTL k",
    ],
    "counting": [
        "HINCRBY k n 5", "HINCRBY k n -7", "HGET k n", "HSET k n 9223372036854775807", "HINCRBY k n 1",
        "HINCRBY k n -9223372036854775808",
        "HINCRBY k n -9223372036854775807", "HINCRBY k n -9223372036854775808", "HGET k n", "HSET k text abc",
        "HINCRBY k text 1",
        ["HSET", "k", "blank", " 1"], "HINCRBY k blank 1", ["HSET", "k", "empty", ""], "HINCRBY k empty 1",
        "HSET k f 1.5", "HINCRBY k f 1",
        "HINCRBY other n 0", "HGETALL other", "HINCRBY new n x", "EXISTS new",
    ],
    "increments that may be no integers": [f"HINCRBY k n {text}" for text in _INTEGERS],
    "values that may be no integers": [request for text in _INTEGERS for request in (f"HSET k n {text}",
    "HINCRBY k n 1")],
    "adding floats": [
        "HINCRBYFLOAT k f 10.5", "HINCRBYFLOAT k f 0.1", "HINCRBYFLOAT k f -5", "HSET k f 5.0e3",
        "HINCRBYFLOAT k f 2.0e2",
        "HSET k f 3.0e3", "HINCRBYFLOAT k f 200", "HINCRBYFLOAT k third 0.3333333333333333333",
        "HINCRBYFLOAT k third 0.3333333333333333333",
        "HINCRBYFLOAT k tiny 1e-18", "HINCRBYFLOAT k tiny 1e-17", "HINCRBYFLOAT k f 1e4932", "HINCRBYFLOAT k f 1e4932",
        "HGET k f",
        "HSET k text abc", "HINCRBYFLOAT k text 1", ["HSET", "k", "blank", "1 "], "HINCRBYFLOAT k blank 1",
        "HINCRBYFLOAT new f x", "EXISTS new",
    ],
    "increments that may be no floats": [request for text in _FLOATS for request in ("HSET k f 1",
    f"HINCRBYFLOAT k f {text}")],
    "values that may be no floats": [request for text in _FLOATS for request in (f"HSET k f {text}",
    "HINCRBYFLOAT k f 1")],
    "random fields without a choice": [
        "HSET k a 1", "HRANDFIELD k", "HRANDFIELD k 1", "HRANDFIELD k 5", "HRANDFIELD k -3",
        "HRANDFIELD k 1 WITHVALUES",
        "HRANDFIELD k -3 withvalues", "HRANDFIELD none", "HRANDFIELD none 1", "HRANDFIELD none -1 WITHVALUES",
        "HRANDFIELD k 1 FOO",
        "HRANDFIELD k 1 WITHVALUES FOO", "HRANDFIELD k WITHVALUES",
        *(f"HRANDFIELD {key} {count}" for key in ("k", "none") for count in COUNTS),
        *(f"HRANDFIELD {key} {count} WITHVALUES" for key in ("k", "none") for count in (*COUNTS,
        "-4611686018427387904")),
    ],
    "scanning": [
        "HSET k f1 1 f2 2 a1 3 ab 4 b 5", *(f"HSCAN {key} {cursor}" for key in ("k", "none") for cursor in CURSORS),
        *(f"HSCAN {key} 0 {options}" for key in ("k", "none") for options in SCAN_OPTIONS),
        ["HSCAN", "none", ""], ["HSCAN", "none", " 0"], ["HSCAN", "k", "0", "MATCH", ""],
    ],
    "encodings": [
        "HSET k a 1", "OBJECT ENCODING k", ["HSET", "k", "b", "x" * 64], "OBJECT ENCODING k", ["HSET", "k", "c",
        "x" * 65], "OBJECT ENCODING k",
        *(f"HSET many {n} {n}" for n in range(512)), "OBJECT ENCODING many", "HSET many more 1",
        "OBJECT ENCODING many", "HLEN many", "HGETALL many",
    ],
    "on a string": ["SET k v", *_EVERY_COMMAND, "GET k"],
    "with the wrong number of words": ["HSET k f v", *_WRONG_ARITY],
}  # fmt: skip
