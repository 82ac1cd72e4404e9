"""List commands: cases to replay through any door and compare (see `tests.helpers.doors`)."""

from typing import Final

from tests.helpers.doors import Request

_INDEXES: Final = (
    "0", "1", "-1", "2", "-3", "5", "-6", "100", "-100", "9223372036854775807", "-9223372036854775808",
    "x", "1.5", "01",
)  # fmt: skip
_FIVE: Final = "RPUSH l a b c b a"
_WAIT: Final = "0.01"  #: as long as a blocking command that nothing serves may hold a test up, in seconds
_COUNTS: Final = ("0", "1", "2", "-1", "x", "1.5", "100", "9223372036854775807", "9223372036854775808")

_ON_A_STRING: Final = (
    "LPUSH s a", "RPUSH s a", "LPUSHX s a", "RPUSHX s a", "LINSERT s BEFORE a b", "LINSERT s MIDDLE a b", "LPOP s",
    "RPOP s", "LPOP s 0",
    "LPOP s x", "LMPOP 1 s LEFT", "LMPOP 2 none s LEFT", "LMPOP 2 l s LEFT", "BLPOP s 0", "BRPOP none s 0",
    "BLPOP l s 0", "BLMPOP 0 2 none s LEFT",
    "LMOVE s l LEFT LEFT", "LMOVE l s LEFT LEFT", "LMOVE none s LEFT LEFT", "LMOVE s s LEFT LEFT", "RPOPLPUSH s l",
    "RPOPLPUSH l s", "BLMOVE s l LEFT LEFT 0",
    "BLMOVE l s LEFT LEFT 0", "BRPOPLPUSH l s 0", f"BRPOPLPUSH none s {_WAIT}", "LLEN s", "LINDEX s 0", "LINDEX s x",
    "LRANGE s 0 -1", "LRANGE s x 1", "LPOS s a", "LPOS s a RANK 0",
    "LSET s 0 a", "LSET s x a", "LREM s 0 a", "LREM s x a", "LTRIM s 0 1", "LTRIM s x 1", "LRANGE l 0 -1", "GET s",
)  # fmt: skip

_WRONG_ARITY: Final = (
    "LPUSH l", "RPUSH l", "LPUSHX l", "RPUSHX l", "LINSERT l BEFORE a", "LPOP", "LPOP l 1 2", "RPOP l 1 2", "LMPOP 1 l",
    "BLMPOP 0 1 l", "BLPOP l", "BRPOP l",
    "LMOVE l m LEFT", "RPOPLPUSH l", "BLMOVE l m LEFT LEFT", "BRPOPLPUSH l m", "LLEN", "LLEN l l", "LINDEX l",
    "LRANGE l 0", "LPOS l", "LSET l 0", "LREM l 0", "LTRIM l 0",
)  # fmt: skip

#: The rest of LMPOP and BLMPOP after the keys' count.
_MULTI_POPS: Final = (
    "0 l LEFT", "x l LEFT", "-1 l LEFT", "1 l", "1 l LEFT COUNT", "2 l LEFT", "2 l LEFT RIGHT", "1 l MIDDLE",
    "1 l LEFT FOO", "1 l LEFT COUNT 0", "1 l LEFT COUNT -1",
    "1 l LEFT COUNT x", "1 l LEFT COUNT 1 COUNT 1", "1 l LEFT COUNT 1 FOO", "9223372036854775807 l LEFT",
    "9223372036854775808 l LEFT", "1 l left count 2", "2 none l RIGHT",
    "3 none m l RIGHT COUNT 100", "1 none LEFT COUNT 2",
)  # fmt: skip

CASES: Final[dict[str, list[Request]]] = {
    "push": [
        "LPUSH l a", "LPUSH l b c", "RPUSH l d e", "LRANGE l 0 -1", "LLEN l", "LPUSHX none a", "RPUSHX none a b",
        "EXISTS none", "LPUSHX l x y", "RPUSHX l z", "LRANGE l 0 -1", ["RPUSH", "l", ""], "LINDEX l -1", "TYPE l",
    ],
    "pop": [
        "LPOP none", "RPOP none", _FIVE, "LPOP l", "RPOP l", "LPOP l 2", "RPOP l 5", "EXISTS l", "LPOP l", "LPOP l 1",
        *(
            f"{request} {count}"
            for count in _COUNTS
            for request in ("LPOP none", "RPOP none", "RPUSH l 1 2 3", "LPOP l", "RPOP l")
        ),
    ],
    "index": [_FIVE, *(f"LINDEX {key} {index}" for key in ("l", "none") for index in _INDEXES)],
    "range": [
        _FIVE, *(f"LRANGE {key} {start} {stop}" for key in ("l", "none") for start in _INDEXES for stop in _INDEXES),
    ],
    "trim": [
        *(
            request
            for start in _INDEXES
            for stop in _INDEXES
            for request in (_FIVE, f"LTRIM l {start} {stop}", "LRANGE l 0 -1", "DEL l")
        ),
        "LTRIM none 0 1", "LTRIM none x 1",
    ],
    "set": [
        *(
            request
            for index in _INDEXES
            for request in (_FIVE, f"LSET l {index} new", "LRANGE l 0 -1", "DEL l", f"LSET none {index} new")
        ),
    ],
    "remove": [
        *(
            request
            for count in ("0", "1", "-1", "2", "-2", "100", "-100", "x", "9223372036854775807", "-9223372036854775808")
            for request in (
                _FIVE, f"LREM l {count} a", "LRANGE l 0 -1", f"LREM l {count} b", f"LREM l {count} z", "LRANGE l 0 -1",
                f"LREM none {count} a", "DEL l",
            )
        ),
        "RPUSH l a a", "LREM l 0 a", "EXISTS l",
    ],
    "insert": [
        _FIVE, "LINSERT l BEFORE b x", "LINSERT l AFTER b y", "LINSERT l before a first", "LINSERT l after z y",
        "LINSERT l MIDDLE a b", "LINSERT none BEFORE a b", "LINSERT none MIDDLE a b", "LRANGE l 0 -1", "EXISTS none",
    ],
    "position": [
        "RPUSH l a b c 1 2 3 c c",
        *(
            f"LPOS {key} c {options}"
            for key in ("l", "none")
            for options in (
                "", "RANK 1", "RANK 2", "RANK 4", "RANK -1", "RANK -3", "RANK -4", "RANK 0", "RANK x",
                "RANK 9223372036854775807", "RANK -9223372036854775807", "COUNT 0", "COUNT 1", "COUNT 2", "COUNT 100",
                "COUNT -1", "COUNT x", "MAXLEN 0", "MAXLEN 2", "MAXLEN 3", "MAXLEN 1000", "MAXLEN -1", "MAXLEN x",
                "RANK 2 COUNT 0", "RANK -1 COUNT 0", "RANK -1 COUNT 2 MAXLEN 2", "RANK -2 COUNT 0 MAXLEN 7",
                "COUNT 0 MAXLEN 7", "rank 1 count 0 maxlen 8", "COUNT", "RANK", "FOO 1", "RANK 1 RANK 2",
                "COUNT 1 COUNT 0", "9",
            )
        ),
        "LPOS l z", "LPOS l z COUNT 0",
    ],
    "move": [
        *(
            request
            for source_end in ("LEFT", "right")
            for end in ("left", "RIGHT")
            for request in (
                "RPUSH l a b c", f"LMOVE l m {source_end} {end}", f"LMOVE l l {source_end} {end}",
                f"BLMOVE l l {source_end} {end} 0", f"BLMOVE l m {source_end} {end} 0", "LRANGE l 0 -1",
                f"LMOVE l m {source_end} {end}", "EXISTS l", f"LMOVE l m {source_end} {end}", "LRANGE m 0 -1",
                f"BLMOVE l m {source_end} {end} {_WAIT}",
            )
        ),
        "LMOVE m l LEFT MIDDLE", "LMOVE m l MIDDLE LEFT", "BLMOVE m l LEFT MIDDLE x", "BLMOVE m l LEFT LEFT x",
        "RPUSH one 1", "LMOVE one one LEFT RIGHT", "RPOPLPUSH one one", "RPOPLPUSH one two", "RPOPLPUSH one two",
        "LRANGE two 0 -1", "BRPOPLPUSH two one 0", f"BRPOPLPUSH two one {_WAIT}", "BRPOPLPUSH one one 0",
        "EXPIRE one 100", "RPUSH one x", "LMOVE one two LEFT LEFT", "TTL one", "TTL two",
    ],
    "pop from the first of several": [
        *(
            request
            for rest in _MULTI_POPS
            for request in ("RPUSH l a b c", f"LMPOP {rest}", f"BLMPOP {_WAIT} {rest}", "LRANGE l 0 -1", "DEL l")
        ),
        *(f"BLMPOP x {rest}" for rest in _MULTI_POPS[:4]),
    ],
    "blocking pops that are served": [
        "RPUSH l a b c d", "BLPOP none l m 0", "BRPOP l 0", "BLPOP l 1.5", "BRPOP l l 0", "EXISTS l", "RPUSH m a",
        "BLPOP m 0", "EXISTS m",
    ],
    "blocking pops that nothing serves": [
        f"BLPOP none {_WAIT}", f"BRPOP none none {_WAIT}", f"BLMPOP {_WAIT} 2 none none2 LEFT COUNT 3",
        f"BLMOVE none l LEFT LEFT {_WAIT}", "EXISTS l", "BLPOP none 0.0001", "BLPOP none 1e-3",
    ],
    "timeouts": [
        "RPUSH l " + "x " * 100,
        *(
            f"{request} {timeout}"
            for request in ("BLPOP l", "BRPOP l", "BLMOVE l l LEFT LEFT", "BRPOPLPUSH l l")
            for timeout in ("0", "0.5", "1e2", "0x1", "-1", "-0.5", "-0", "-0.0001", "x", "nan", "-inf", "1,5", "1_0")
        ),
        *(f"BLMPOP {timeout} 1 l LEFT" for timeout in ("0", "-1", "x")), ["BLPOP", "l", ""], ["BLPOP", "l", " 1"],
        ["BLPOP", "l", "1 "],
    ],
    "on a string": ["SET s v", "RPUSH l a b c", *_ON_A_STRING],
    "with the wrong number of words": ["RPUSH l a b c", *_WRONG_ARITY],
    "long": [
        ["RPUSH", "l", *(str(number) for number in range(2000))], "LLEN l", "LINDEX l 1000", "LINDEX l -1000",
        "LRANGE l 990 1010", "LPOS l 1500", "LREM l 1 1000", "LINSERT l BEFORE 500 x", "LSET l 1500 y",
        "LTRIM l 100 -100", "LLEN l", "LRANGE l 0 -1", ["LPUSH", "l", "z" * 10000], "LINDEX l 0",
        "LMOVE l m LEFT RIGHT", "STRLEN none", "LPOP l 1000", "LLEN l", "LPOP m",
    ],
}  # fmt: skip
