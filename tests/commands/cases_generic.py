"""Commands on keys of any type: cases to replay through any door and compare (see `tests.helpers.doors`)."""

from typing import Final

from tests.helpers.doors import Request

_FAR: Final = "33177117420"  #: in the year 3021, in seconds
_TIMES: Final = (
    "0", "-1", "1.5", "x", "9223372036854775807", "-9223372036854775808", "9223372036854775808",
    "9223372036854775", "9223372036854776", "-9223372036854775", "-9223372036854776",
)  # fmt: skip
_OPTIONS: Final = (
    "", "NX", "XX", "GT", "LT", "XX GT", "LT XX", "NX XX", "NX GT", "GT LT", "XX GT LT", "NX NX", "FOO",
    "NX FOO", "xx lt lt",
)  # fmt: skip
_WRONG_ARITY: Final = (
    "COPY k", "DEL", "EXISTS", "EXPIRE k", "EXPIREAT k", "EXPIRETIME", "EXPIRETIME k k", "MOVE k", "MOVE k 1 2",
    "OBJECT ENCODING", "OBJECT ENCODING k k", "OBJECT FREQ", "OBJECT IDLETIME", "OBJECT REFCOUNT",
    "OBJECT HELP k", "PERSIST", "PEXPIRE k", "PEXPIREAT k", "PEXPIRETIME", "PTTL", "RENAME k", "RENAMENX k", "TOUCH",
    "TTL", "TTL k k", "TYPE", "TYPE k k", "UNLINK",
)  # fmt: skip
#: Values that COPY, RENAME and MOVE carry along.
_ONE_OF_EACH: Final = ("SET s v", "RPUSH l a b c", "EXPIREAT l " + _FAR)

CASES: Final[dict[str, list[Request]]] = {
    "existence": [
        "DEL none", "SET k v", "EXISTS k", "EXISTS k none k", "TOUCH k none k", "DEL k k", "EXISTS k",
        "MSET a 1 b 2 c 3", "UNLINK a none a", "DEL b c d", "TYPE none", "RPUSH l a", "TYPE l", "DEL l", "TYPE l",
    ],
    "expiry": [
        "SET k v", *(f"{read} {key}" for read in ("TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME") for key in ("k", "none")),
        f"EXPIREAT k {_FAR}", "EXPIRETIME k", "PEXPIRETIME k", f"PEXPIREAT k {_FAR}499", "EXPIRETIME k",
        "PEXPIRETIME k", f"PEXPIREAT k {_FAR}500", "EXPIRETIME k", "PERSIST k", "TTL k", "PERSIST k", "PERSIST none",
        "EXPIRE k 100", "TTL k", "PEXPIRE k 100000", "TTL k", "EXPIRE none 100", "EXPIRE k 0", "EXISTS k", "RPUSH l a",
        "EXPIRE l -1", "EXISTS l", "SET k v", "PEXPIREAT k 1", "GET k", "SET k v", "EXPIREAT k 1", "GET k",
    ],
    "times that are out of range": [
        *(
            request
            for name in ("EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT")
            for time in _TIMES
            for request in ("SET k v", f"{name} k {time}", "EXISTS k", f"{name} none {time}")
            if not (name[-2:] == "AT" and time == "9223372036854775808")
        ),
    ],
    "conditions of expiry": [
        *(
            request
            for options in _OPTIONS
            for request in (
                "SET k v", f"EXPIRE none 10 {options}", f"EXPIREAT k {_FAR} {options}", "EXPIRETIME k",
                f"EXPIREAT k {_FAR}", f"EXPIREAT k 33177117421 {options}", "EXPIRETIME k",
                f"EXPIREAT k 33177117419 {options}", "EXPIRETIME k", f"EXPIREAT k 33177117419 {options}",
                f"EXPIREAT k x {options}", f"EXPIREAT k 1 {options}", "EXISTS k",
            )
        ),
    ],
    "rename": [
        "RENAME none none", "RENAME none k", "RENAMENX none k", *_ONE_OF_EACH, "RENAME s s", "RENAMENX s s",
        "RENAMENX s l", "RENAMENX s t", "GET t", "GET s", "RENAME l t", "LRANGE t 0 -1", "EXPIRETIME t", "SET u v",
        "RENAME u t", "TTL t", "GET t", "DBSIZE",
    ],
    "copy": [
        "COPY none k", "COPY none none", *_ONE_OF_EACH, "COPY s s", "COPY s t", "GET t", "COPY s l", "COPY l t",
        "COPY l t REPLACE", "RPUSH l d", "LRANGE t 0 -1", "EXPIRETIME t", "COPY s s DB 0", "COPY s s DB 1",
        "COPY s s DB 1", "COPY s s REPLACE DB 1", "COPY s t DB 1 DB 2", "COPY s t DB 16", "COPY s t DB -1",
        "COPY s t DB x", "COPY s t DB 99999999999", "COPY s t DB", "COPY s t FOO", "COPY s t REPLACE REPLACE",
        "COPY none t DB 99", "SELECT 1", "GET s", "DBSIZE", "SELECT 2", "GET t", "SELECT 0", "COPY s s FOO",
    ],
    "move": [
        "MOVE none 1", *_ONE_OF_EACH, "MOVE s 0", "MOVE s 16", "MOVE s -1", "MOVE s x", "MOVE s 99999999999",
        "MOVE s -2147483649", "MOVE s 1", "MOVE s 1", "SET s w", "MOVE s 1", "MOVE l 1", "EXISTS s l", "SELECT 1",
        "GET s", "LRANGE l 0 -1", "EXPIRETIME l", "MOVE none 1", "MOVE none 99",
    ],
    "object": [
        "OBJECT HELP", "OBJECT ENCODING none", "OBJECT FREQ none", "OBJECT IDLETIME none", "OBJECT REFCOUNT none",
        "SET k v", "OBJECT ENCODING k", "OBJECT FREQ k", "OBJECT IDLETIME k", "OBJECT REFCOUNT k", "object encoding k",
    ],
    "with the wrong number of words": ["SET k v", *_WRONG_ARITY],
}  # fmt: skip
