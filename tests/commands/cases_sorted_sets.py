"""Sorted set commands: cases to replay through any door and compare (see `tests.helpers.doors`).

Requests only: Redis knows the replies.

Scores are such that Redis 7.0, which prints 17 digits, and 7.2, which prints as few as it can,
write the same. Commands whose
replies are random stand here only where chance has no choice. Nothing waits longer than a hundredth of a second.
"""

from typing import Final

from tests.commands.cases_hashes import COUNTS, CURSORS, SCAN_OPTIONS
from tests.helpers.doors import Request

_FIVE: Final = "ZADD k 1 a 2 b 2 c 3.5 d inf e"
_EQUAL: Final = ["ZADD", "k", *(word for member in ("", "a", "aa", "b", "c", "d\x01", "é") for word in ("0", member))]

_EVERY_COMMAND: Final = (
    "ZADD k 1 a", "ZADD k x a", "ZADD k XX 1 a", "ZADD k INCR 1 a", "ZADD k NX XX 1 a", "ZINCRBY k 1 a",
    "ZINCRBY k x a", "ZREM k a", "ZCARD k",
    "ZSCORE k a", "ZMSCORE k a b", "ZRANK k a", "ZREVRANK k a", "ZRANDMEMBER k", "ZRANDMEMBER k 0", "ZRANDMEMBER k x",
    "ZSCAN k 0",
    "ZSCAN k x", "ZSCAN k 0 FOO", "ZPOPMIN k", "ZPOPMAX k 0", "ZPOPMIN k x", "ZMPOP 1 k MIN", "ZMPOP 2 none k MAX",
    "ZMPOP 1 k FOO",
    "BZPOPMIN k 0.01", "BZPOPMAX none k 0.01", "BZPOPMIN z k 0.01", "BZPOPMIN k x", "BZMPOP 0.01 1 k MIN",
    "BZMPOP x 1 k MIN", "ZRANGE k 0 -1",
    "ZRANGE k x 1", "ZREVRANGE k 0 -1", "ZRANGEBYSCORE k 0 1", "ZREVRANGEBYSCORE k 1 0", "ZRANGEBYLEX k - +",
    "ZREVRANGEBYLEX k + -",
    "ZCOUNT k 0 1", "ZCOUNT k x 1", "ZLEXCOUNT k - +", "ZRANGESTORE d k 0 -1", "ZREMRANGEBYRANK k 0 -1",
    "ZREMRANGEBYSCORE k 0 1",
    "ZREMRANGEBYLEX k - +", "ZREMRANGEBYRANK k x 1", "ZUNION 1 k", "ZINTER 2 none k", "ZDIFF 2 none k",
    "ZUNION 1 k WEIGHTS x",
    "ZINTERCARD 1 k", "ZINTERCARD 1 k FOO", "ZUNIONSTORE d 1 k", "ZINTERSTORE d 2 none k", "ZDIFFSTORE d 2 none k",
    "EXISTS d",
)  # fmt: skip

_WRONG_ARITY: Final = (
    "ZADD k 1", "ZADD k", "ZINCRBY k 1", "ZREM k", "ZCARD", "ZCARD k k", "ZSCORE k", "ZMSCORE k", "ZRANK k",
    "ZRANK k a withscore b", "ZREVRANK k", "ZREVRANK k a b c", "ZRANDMEMBER",
    "ZSCAN k", "ZPOPMIN", "ZPOPMAX", "ZMPOP 1 k", "BZPOPMIN k", "BZPOPMAX k", "BZMPOP 1 1 k", "ZRANGE k 0",
    "ZREVRANGE k 0",
    "ZRANGEBYSCORE k 0", "ZREVRANGEBYSCORE k 0", "ZRANGEBYLEX k -", "ZREVRANGEBYLEX k +", "ZCOUNT k 0",
    "ZCOUNT k 0 1 2", "ZLEXCOUNT k -",
    "ZRANGESTORE d k 0", "ZREMRANGEBYRANK k 0", "ZREMRANGEBYSCORE k 0", "ZREMRANGEBYLEX k -", "ZUNION 1", "ZINTER 1",
    "ZDIFF 1",
    "ZINTERCARD 1", "ZUNIONSTORE d 1", "ZINTERSTORE d 1", "ZDIFFSTORE d 1",
)  # fmt: skip

#: Not -0, whose sign large sorted sets keep and small ones lose: the fake keyspace knows no such difference.
_SCORES: Final = (
    "0", "+1.5", ".5", "5.", "1e3", "1e", ".", "0x10", "0x1.8p1", "inf", "+inf", "-INF", "infinity", "nan", "1e400",
    "1e-400", "0e-400",
    "4503599627370496", "x", "1_0", "--1", "",
)  # fmt: skip
_ADD_OPTIONS: Final = (
    "NX", "XX", "GT", "LT", "CH", "INCR", "NX CH", "XX CH", "GT CH", "LT CH", "XX GT", "XX LT CH", "NX XX", "NX GT",
    "NX LT", "GT LT",
    "XX GT LT", "NX XX GT", "NX INCR", "XX INCR", "GT INCR", "LT INCR", "CH INCR", "nx nx", "FOO",
)  # fmt: skip

_RANKS: Final = ("0", "1", "-1", "3", "-3", "5", "-5", "100", "-100", "9223372036854775807", "-9223372036854775808")
_SCORE_BOUNDS: Final = ("-inf", "+inf", "inf", "0", "1", "(1", "2", "(2", "3.5", "(3.5", "10", "(inf", "(-inf", "1e400")
_LEX_BOUNDS: Final = ("-", "+", "[", "(", "[a", "(a", "[aa", "[bb", "(c", "[\u00e9", "[z")
_LIMITS: Final = (
    "LIMIT 0 2", "LIMIT 1 2", "LIMIT 1 -1", "LIMIT 0 0", "LIMIT 5 1", "LIMIT 100 1", "LIMIT -1 2",
    "LIMIT 9223372036854775807 9223372036854775807",
    "LIMIT 1 9223372036854775807", "LIMIT 2 -9223372036854775808",
)  # fmt: skip
_RANGE_FAULTS: Final = (
    "ZRANGE k 0 -1 LIMIT 0 1", "ZRANGE k 0 -1 LIMIT 0 -1", "ZRANGE k 0 -1 LIMIT 5 -1", "ZRANGE k 0 -1 LIMIT 0",
    "ZRANGE k 0 -1 LIMIT",
    "ZRANGE k 0 1 BYSCORE LIMIT x 1", "ZRANGE k 0 1 BYSCORE LIMIT 1 x", "ZRANGE k x 1", "ZRANGE k 1 x",
    "ZRANGE k 1.0 2", "ZRANGE k 0 1 FOO",
    "ZRANGE k - + BYLEX WITHSCORES", "ZRANGE k 0 1 BYSCORE BYLEX", "ZRANGE k 0 1 BYLEX BYSCORE",
    "ZRANGE k 0 1 BYSCORE BYSCORE",
    "ZRANGE k 0 1 REV REV", "ZRANGE k 0 1 withscores rev", "ZRANGE k 0 1 WITHSCORES WITHSCORES",
    "ZRANGE k - + BYSCORE", "ZRANGE k ( 1 BYSCORE",
    "ZRANGE k (x 1 BYSCORE", "ZRANGE k nan 1 BYSCORE", "ZRANGE k 1 (nan BYSCORE", "ZRANGE k a b BYLEX",
    "ZRANGE k [a b BYLEX", "ZRANGE k 0 1 BYLEX",
    "ZRANGE none a b BYLEX", "ZRANGE none 0 1 BYSCORE LIMIT 1 2", "ZREVRANGE k 0 1 REV", "ZREVRANGE k 0 1 BYSCORE",
    "ZREVRANGE k 0 1 LIMIT 0 1",
    "ZRANGEBYSCORE k 0 1 REV", "ZRANGEBYSCORE k 0 1 BYLEX", "ZRANGEBYSCORE k x 1", "ZRANGEBYLEX k - + WITHSCORES",
    "ZRANGEBYLEX k a +",
    "ZRANGEBYLEX k ++ +", "ZRANGEBYLEX k -x +", "ZREVRANGEBYLEX k + b", "ZREVRANGEBYSCORE k 1 0 WITHSCORES FOO",
    "ZREVRANGEBYSCORE k x 0",
    ["ZRANGEBYLEX", "k", "", "+"], ["ZCOUNT", "k", "", "2"], ["ZCOUNT", "k", " 1", "2"], ["ZCOUNT", "k", "1 ", "2"],
    ["ZCOUNT", "k", "( 1", "2"], ["ZCOUNT", "k", "\rinf", "inf"], ["ZCOUNT", "k", "1", "\x0binf"],
    ["ZCOUNT", "k", "(\rINF", "+INF"],
    ["ZCOUNT", "k", " ", "2"], [b"ZCOUNT", b"k", b"1\x00x", b"2"], "ZCOUNT k x 2", "ZCOUNT k 1 nan", "ZLEXCOUNT k a +",
    "ZLEXCOUNT none a +",
    "ZRANGESTORE d k 0 1 WITHSCORES", "ZRANGESTORE d k x 1", "ZRANGESTORE d k 0 1 LIMIT 0 1", "ZREMRANGEBYRANK k x 1",
    "ZREMRANGEBYRANK none x 1",
    "ZREMRANGEBYSCORE k 0 x", "ZREMRANGEBYLEX k 0 x", "ZCARD k",
)  # fmt: skip

_OPERANDS: Final = (
    "FLUSHALL", "ZADD a 1 x 2 y 3.5 z", "ZADD b 10 y 20 z 30 w", "ZADD c -inf x inf y 0 z", "ZADD e inf x -inf y 5 v",
    "SADD s x z q",
    "SADD n 1 2 3",
)  # fmt: skip
_NUMBERED_KEYS: Final = (
    "1 a", "2 a b", "2 b a", "3 a b c", "2 c e", "2 e c", "2 a s", "2 s a", "1 s", "2 s n", "2 a none", "2 none a",
    "1 none", "2 none none",
    "2 a a", "3 a s c",
)  # fmt: skip
_COMBINING: Final = ("", "AGGREGATE SUM", "AGGREGATE MIN", "aggregate max")
_COMBINE_FAULTS: Final = (
    "0 a", "-1 a", "x a", "2 a", "9223372036854775807 a", "1 a WEIGHTS", "1 a WEIGHTS x", "1 a WEIGHTS nan",
    "2 a b WEIGHTS 1", "1 a WEIGHTS 1 2",
    "1 a WEIGHTS 1 WEIGHTS 2", "1 a AGGREGATE", "1 a AGGREGATE FOO", "1 a AGGREGATE MIN AGGREGATE MAX", "1 a FOO",
    "1 a b", "1 a LIMIT 1",
    "2 c e WEIGHTS 0 0", "2 c e WEIGHTS -1 1", "2 c e WEIGHTS inf 0", "2 a b WEIGHTS 2 0.5",
    "2 a b WEIGHTS 0.5 2 AGGREGATE MAX",
    "2 c a WEIGHTS 0 1 AGGREGATE MIN", "2 a c WEIGHTS 1 0 AGGREGATE MIN", "1 a WITHSCORES WITHSCORES", "1 a WITHSCORES",
)  # fmt: skip

_TIMEOUTS: Final = ("x", "-1", "nan", "-0.5", "1 ", " 1", "", "-inf")
_MULTI_POP_FAULTS: Final = (
    "0 k MIN", "-1 k MIN", "x k MIN", "2 k MIN", "1 k FOO", "1 k MIN COUNT", "1 k MIN COUNT 0", "1 k MIN COUNT -1",
    "1 k MIN COUNT x", "1 k MIN FOO",
    "1 k MIN COUNT 1 COUNT 2", "1 k MIN MAX", "9223372036854775807 k MIN", "2 k k",
)  # fmt: skip

CASES: Final[dict[str, list[Request]]] = {
    "adding": [
        "ZADD k 1 a 2 b 3 a", "ZADD k 1 a 1 b", "ZADD k CH 1 a 5 b 6 c", "ZADD k 1.5 a 1.5 a",
        "ZRANGE k 0 -1 WITHSCORES", "ZCARD k", "ZCARD none",
        "ZSCORE k a", "ZSCORE k none", "ZSCORE none a", "ZMSCORE k a none c", "ZMSCORE none a", ["ZADD", "k", "0", ""],
        ["ZSCORE", "k", ""],
        [b"ZADD", b"k", b"7", b"\x00\r\n\xff"], "ZREM k a none a", "ZREM none a", "ZREM k none", "EXPIRE k 100",
        "ZADD k 9 z", "TTL k", "TYPE k",
        "ZREM k b c z", "ZCARD k",
    ],
    "options of adding": [
        request
        for options in _ADD_OPTIONS
        for pairs in ("1 a", "5 a", "3 new", "1 a 5 b 2 new", "1 a 2", "x a", "1 a x b")
        for request in ("FLUSHALL", "ZADD k 3 a 3 b", f"ZADD k {options} {pairs}", "ZRANGE k 0 -1 WITHSCORES",
        f"ZADD none {options} {pairs}", "EXISTS none")
    ] + ["ZADD k NX 1", "ZADD k NX XX", "ZADD k INCR 1 a 2 b", "ZADD k INCR CH NX"],
    "scores": [request for text in _SCORES for request in (["ZADD", "k", text, "m"], "ZSCORE k m", ["ZINCRBY", "k",
    text, "n"], "ZSCORE k n", "DEL k")],
    "incrementing": [
        "ZINCRBY k 2 a", "ZINCRBY k -0.5 a", "ZADD k INCR 2 a", "ZADD k NX INCR 2 a", "ZADD k XX INCR 2 none",
        "ZADD k GT INCR -1 a",
        "ZADD k LT INCR -1 a", "ZADD k INCR 0 a", "ZADD k inf i", "ZINCRBY k -inf i", "ZADD k INCR -inf i",
        "ZADD k NX INCR -inf i",
        "ZADD k XX INCR -inf i", "ZSCORE k i", "ZADD none XX INCR 1 a", "EXISTS none", "ZINCRBY k x a",
    ],
    "ranks": [_FIVE, *(f"{name} {key} {member}" for name in ("ZRANK", "ZREVRANK") for key in ("k", "none")
    for member in ("a", "b", "c", "e", "z"))],
    "random members without a choice": [
        "ZADD k 1.5 a", "ZRANDMEMBER k", "ZRANDMEMBER k 1", "ZRANDMEMBER k 5", "ZRANDMEMBER k -3",
        "ZRANDMEMBER k 1 WITHSCORES",
        "ZRANDMEMBER k -3 withscores", "ZRANDMEMBER none", "ZRANDMEMBER none 1", "ZRANDMEMBER k 1 FOO",
        "ZRANDMEMBER k 1 WITHSCORES FOO",
        *(f"ZRANDMEMBER {key} {count}" for key in ("k", "none") for count in COUNTS),
        *(f"ZRANDMEMBER {key} {count} WITHSCORES" for key in ("k", "none") for count in COUNTS),
    ],
    "scanning": [
        "ZADD k 1 f1 2 f2 3 a1 4.5 ab inf b", *(f"ZSCAN {key} {cursor}" for key in ("k", "none") for cursor in CURSORS),
        *(f"ZSCAN {key} 0 {options}" for key in ("k", "none") for options in SCAN_OPTIONS),
    ],
    "ranges by rank": [
        _FIVE,
        *(f"{name} k {start} {stop}" for name in ("ZRANGE", "ZREVRANGE") for start in _RANKS for stop in _RANKS),
        *(f"ZRANGE k {start} {stop} REV WITHSCORES" for start in _RANKS for stop in _RANKS), "ZRANGE none 0 -1",
        "ZREVRANGE k 0 -1 WITHSCORES",
        "ZRANGE none 0 -1 WITHSCORES",
    ],
    "ranges by score": [
        _FIVE,
        *(request for low in _SCORE_BOUNDS for high in _SCORE_BOUNDS for request in (
            f"ZRANGEBYSCORE k {low} {high}", f"ZREVRANGEBYSCORE k {high} {low} WITHSCORES",
            f"ZRANGE k {low} {high} BYSCORE WITHSCORES",
            f"ZRANGE k {high} {low} BYSCORE REV", f"ZCOUNT k {low} {high}",
        )),
        *(f"ZRANGEBYSCORE k {bounds} {limit}" for bounds in ("-inf inf", "(1 3.5", "2 2", "5 1") for limit in _LIMITS),
        *(f"ZREVRANGEBYSCORE k {bounds} WITHSCORES {limit}" for bounds in ("inf -inf", "(3.5 1", "2 2")
        for limit in _LIMITS), "ZCOUNT none 0 1",
    ],
    "ranges by member": [
        _EQUAL,
        *(request for low in _LEX_BOUNDS for high in _LEX_BOUNDS for request in (
            f"ZRANGEBYLEX k {low} {high}", f"ZREVRANGEBYLEX k {high} {low}", f"ZRANGE k {low} {high} BYLEX",
            f"ZRANGE k {high} {low} BYLEX REV",
            f"ZLEXCOUNT k {low} {high}",
        )),
        *(f"{command} {limit}" for command in ("ZRANGEBYLEX k - +", "ZRANGEBYLEX k (a [c", "ZREVRANGEBYLEX k + -")
        for limit in _LIMITS),
        "ZLEXCOUNT none - +",
    ],
    "faults in ranges": [_FIVE, *_RANGE_FAULTS],
    "storing ranges": [
        request
        for options in ("0 -1", "1 2", "-2 -1 REV", "1 3 BYSCORE", "(1 inf BYSCORE LIMIT 1 2",
        "inf 1 BYSCORE REV LIMIT 0 2", "5 1", "5 1 BYSCORE")
        for destination in ("d", "k")
        for request in (
            "FLUSHALL", _FIVE, "SET d v", f"ZRANGESTORE {destination} k {options}", "EXISTS d",
            f"ZRANGE {destination} 0 -1 WITHSCORES",
        )
    ] + ["SET d v", "ZRANGESTORE d none 0 -1", "EXISTS d", _EQUAL, "ZRANGESTORE d k [a (c BYLEX", "ZRANGE d 0 -1"],
    "removing ranges": [
        request
        for command in (
            "ZREMRANGEBYRANK k 0 1", "ZREMRANGEBYRANK k -2 -1", "ZREMRANGEBYRANK k 0 -1", "ZREMRANGEBYRANK k 3 1",
            "ZREMRANGEBYRANK k 10 20",
            "ZREMRANGEBYSCORE k 1 2", "ZREMRANGEBYSCORE k (2 inf", "ZREMRANGEBYSCORE k -inf inf",
            "ZREMRANGEBYSCORE k 9 1", "ZREMRANGEBYRANK none 0 1",
        )
        for request in ("FLUSHALL", _FIVE, command, "ZRANGE k 0 -1", "EXISTS k")
    ] + [_EQUAL, "ZREMRANGEBYLEX k [a (b", "ZRANGE k 0 -1", "ZREMRANGEBYLEX k + -", "ZREMRANGEBYLEX k - +", "EXISTS k",
    "ZREMRANGEBYLEX none - +"],
    "popping": [
        _FIVE, "ZPOPMIN k", "ZPOPMAX k", "ZPOPMIN k 0", "ZPOPMIN k 2", "ZPOPMAX k 5", "EXISTS k", "ZPOPMIN none",
        "ZPOPMIN none 1", "ZPOPMIN none 0",
        "ZPOPMIN none x", "ZPOPMIN none -1", "ZPOPMAX none 1 2", _FIVE, "ZPOPMAX k 9223372036854775807",
        "ZPOPMIN k 9223372036854775808",
    ],
    "popping from the first of several": [
        _FIVE, "ZADD l 7 q", "ZMPOP 1 k MIN", "ZMPOP 3 none l k MAX", "EXISTS l", "ZMPOP 2 none k max count 2",
        "ZMPOP 1 k MIN COUNT 10", "ZMPOP 1 k MIN",
        "ZMPOP 2 none k MAX", _FIVE, *(f"{name} {words}" for name in ("ZMPOP", "BZMPOP 0.01")
        for words in _MULTI_POP_FAULTS), "BZMPOP x 1 k FOO",
        "BZMPOP x 1 k MIN COUNT 0", "ZCARD k",
    ],
    "popping or waiting": [
        _FIVE, "BZPOPMIN k 0", "BZPOPMAX none k 1", "BZPOPMIN k none 0x1", "BZMPOP 1 1 k MIN",
        "BZMPOP 0.5 2 none k MAX COUNT 9", "EXISTS k",
        "BZPOPMIN k 0.01", "BZPOPMAX k none 0.001", "BZMPOP 0.01 2 k none MIN", "ZADD k 1 a", "SET s v",
        "BZPOPMIN s k 0.01", "BZPOPMIN k s 0.01",
        *(["BZPOPMIN", "k", text] for text in _TIMEOUTS), *(["BZMPOP", text, "1", "k", "MIN"] for text in _TIMEOUTS),
    ],
    "algebra": [
        *_OPERANDS,
        *(f"{name} {keys} {options} {scores}" for name in ("ZUNION", "ZINTER") for keys in _NUMBERED_KEYS
        for options in _COMBINING for scores in ("", "WITHSCORES")),
        *(f"ZDIFF {keys} {scores}" for keys in _NUMBERED_KEYS for scores in ("", "WITHSCORES")),
        *(f"ZINTERCARD {keys} {limit}" for keys in _NUMBERED_KEYS for limit in ("", "LIMIT 0", "LIMIT 1", "limit 100")),
    ],
    "faults in algebra": [
        *_OPERANDS, *(f"{name} {words}" for name in ("ZUNION", "ZINTER", "ZDIFF", "ZINTERCARD")
        for words in _COMBINE_FAULTS),
        *(f"{name} d {words}" for name in ("ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE") for words in _COMBINE_FAULTS),
        "ZINTERCARD 1 a LIMIT",
        "ZINTERCARD 1 a LIMIT -1", "ZINTERCARD 1 a LIMIT x", "ZINTERCARD 2 a b LIMIT 1 LIMIT 2",
    ],
    "storing algebra": [
        request
        for name in ("ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE")
        for keys in _NUMBERED_KEYS
        for destination in ("d", "a")
        for request in (*_OPERANDS, "SET d v", f"{name} {destination} {keys}", "TYPE d",
        f"ZRANGE {destination} 0 -1 WITHSCORES")
        if not (request.startswith("ZRANGE d") and keys in ("1 none", "2 none none"))
    ] + ["ZUNIONSTORE d 2 a b WEIGHTS 2 3 AGGREGATE MAX", "ZRANGE d 0 -1 WITHSCORES"],
    "encodings": [
        "ZADD k 1 a", "OBJECT ENCODING k", ["ZADD", "k", "2", "x" * 64], "OBJECT ENCODING k", ["ZADD", "k", "2",
        "x" * 65], "OBJECT ENCODING k",
        *(f"ZADD many {n} {n}" for n in range(128)), "OBJECT ENCODING many", "ZADD many 5.5 more",
        "OBJECT ENCODING many", "ZRANK many more",
        "ZRANGE many 5 7 WITHSCORES", "ZCOUNT many 5 (7", "ZREMRANGEBYSCORE many 10 inf", "ZRANGE many 0 -1",
    ],
    "on a string": ["SET k v", "ZADD z 1 a", *_EVERY_COMMAND, "GET k"],
    "with the wrong number of words": [_FIVE, *_WRONG_ARITY],
}  # fmt: skip
