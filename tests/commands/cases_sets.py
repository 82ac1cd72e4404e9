"""Set commands: cases to replay through any door and compare (see `tests.helpers.doors`).

Requests only: Redis knows the replies.

Commands whose replies are random stand here only where chance has no choice.
"""

from typing import Final

from tests.commands.cases_hashes import COUNTS, CURSORS, ONE_STEP_SCAN_OPTIONS
from tests.helpers.doors import Request

_EVERY_COMMAND: Final = (
    "SADD k a", "SREM k a", "SCARD k", "SISMEMBER k a", "SMISMEMBER k a b", "SMEMBERS k", "SMOVE k s a", "SMOVE s k a",
    "SMOVE s k none",
    "SMOVE none k a", "SMOVE k k a", "SPOP k", "SPOP k 0", "SPOP k x", "SRANDMEMBER k", "SRANDMEMBER k 0",
    "SRANDMEMBER k x", "SSCAN k 0",
    "SSCAN k x", "SSCAN k 0 FOO", "SINTER k", "SINTER s k", "SINTER none k", "SUNION s k", "SDIFF s k", "SDIFF none k",
    "SINTERCARD 1 k",
    "SINTERCARD 2 none k", "SINTERCARD 1 k FOO", "SINTERSTORE d s k", "SUNIONSTORE d none k", "SDIFFSTORE d none k",
    "EXISTS d",
)  # fmt: skip

_WRONG_ARITY: Final = (
    "SADD k", "SREM k", "SCARD", "SCARD k k", "SISMEMBER k", "SISMEMBER k a b", "SMISMEMBER k", "SMEMBERS",
    "SMEMBERS k k", "SMOVE k k",
    "SPOP", "SRANDMEMBER", "SSCAN k", "SINTER", "SUNION", "SDIFF", "SINTERSTORE d", "SUNIONSTORE d", "SDIFFSTORE d",
    "SINTERCARD 1",
    "SPOP k 1 2", "SRANDMEMBER k 1 2",
)  # fmt: skip

_FOUR_SETS: Final = ("SADD a 1 2 3 x y", "SADD b 2 3 z x", "SADD c 3 x", "SADD d 9")
_CHOICES: Final = (
    "a",
    "a b",
    "b a",
    "a b c",
    "c b a",
    "a a",
    "a none",
    "none a",
    "none",
    "none none",
    "a d",
    "d a b c",
    "a b none c",
)

CASES: Final[dict[str, list[Request]]] = {
    "members": [
        "SADD k a b a", "SADD k b c", "SADD k a", "SCARD k", "SCARD none", "SISMEMBER k a", "SISMEMBER k z",
        "SISMEMBER none a",
        "SMISMEMBER k a z c a", "SMISMEMBER none a b", "SMEMBERS k", "SMEMBERS none", "SREM k a z a", "SREM none a",
        "SREM k z", "SREM k b c",
        "EXISTS k", ["SADD", "k", ""], ["SISMEMBER", "k", ""], "SMEMBERS k", [b"SADD", b"k", b"\x00\r\n\xff"],
        [b"SREM", b"k", b"\x00\r\n\xff"],
        "TYPE k", "EXPIRE k 100", "SADD k x", "TTL k",
    ],
    "moving": [
        "SADD s a b", "SMOVE s t a", "SMEMBERS s", "SMEMBERS t", "SMOVE s t none", "SMOVE none t a", "SADD s a",
        "SMOVE s t a", "SCARD t",
        "SMOVE s s b", "SMOVE s s none", "SMOVE s t b", "EXISTS s", "SMEMBERS t",
    ],
    "popping without a choice": [
        "SADD k a", "SPOP k 0", "SPOP k", "SPOP k", "SPOP k 1", "SPOP none", "SPOP none 0", "SADD k a", "SPOP k 5",
        "EXISTS k", "SADD k a",
        "EXPIRE k 100", "SPOP k 1", "SADD k a", "TTL k", "SPOP k -1", "SPOP k x", "SPOP none x",
        "SPOP k 9223372036854775808",
        "SPOP k 9223372036854775807",
    ],
    "random members without a choice": [
        "SADD k a", "SRANDMEMBER k", "SRANDMEMBER k 1", "SRANDMEMBER k 5", "SRANDMEMBER k -3", "SRANDMEMBER none",
        "SRANDMEMBER none 1",
        *(f"SRANDMEMBER {key} {count}" for key in ("k", "none") for count in COUNTS),
        "SRANDMEMBER none -9223372036854775807",
    ],
    "scanning": [
        "SADD k f1 f2 a1 ab b", *(f"SSCAN {key} {cursor}" for key in ("k", "none") for cursor in CURSORS),
        *(f"SSCAN {key} 0 {options}" for key in ("k", "none") for options in ONE_STEP_SCAN_OPTIONS), "SADD ints 1 2 3",
        "SSCAN ints 0 MATCH [12]",
    ],
    "algebra": [*_FOUR_SETS, *(f"{name} {keys}" for name in ("SINTER", "SUNION", "SDIFF") for keys in _CHOICES)],
    "storing algebra": [
        request
        for name in ("SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE")
        for keys in _CHOICES
        for destination in ("result", "a")
        for request in ("FLUSHALL", *_FOUR_SETS, f"{name} {destination} {keys}", f"EXISTS {destination}",
        f"SUNION {destination}")
    ],
    "storing over other things": [
        "SADD a 1", "SET s v", "SINTERSTORE s a", "TYPE s", "SET s v", "SDIFFSTORE s none", "EXISTS s", "RPUSH l x",
        "EXPIRE l 100",
        "SUNIONSTORE l a", "TTL l", "SMEMBERS l",
    ],
    "counting intersections": [
        *_FOUR_SETS, "SINTERCARD 1 a", "SINTERCARD 2 a b", "SINTERCARD 3 a b c", "SINTERCARD 2 a none",
        "SINTERCARD 2 a b LIMIT 1",
        "SINTERCARD 2 a b limit 2", "SINTERCARD 2 a b LIMIT 0", "SINTERCARD 2 a b LIMIT 100",
        "SINTERCARD 2 a b LIMIT 1 LIMIT 2",
        "SINTERCARD 0 a", "SINTERCARD -1 a", "SINTERCARD x a", "SINTERCARD 2 a", "SINTERCARD 9223372036854775807 a",
        "SINTERCARD 1 a LIMIT",
        "SINTERCARD 1 a LIMIT -1", "SINTERCARD 1 a LIMIT x", "SINTERCARD 1 a FOO 1", "SINTERCARD 1 a b",
    ],
    "encodings": [
        "SADD ints 1 2 3", "OBJECT ENCODING ints", *(f"SADD ints {n}" for n in range(512)), "OBJECT ENCODING ints",
        "SADD ints 512",
        "OBJECT ENCODING ints", "SCARD ints", "SMEMBERS ints",
    ],
    "on a string": ["SET k v", "SADD s a", *_EVERY_COMMAND, "GET k", "SMEMBERS s"],
    "with the wrong number of words": ["SADD k a", *_WRONG_ARITY],
}  # fmt: skip
