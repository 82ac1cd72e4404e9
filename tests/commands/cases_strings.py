"""String commands: cases to replay through any door and compare (see `tests.helpers.doors`)."""

from typing import Final

from tests.helpers.doors import Request

_ON_A_LIST: Final = (
    "GET l", "GETDEL l", "GETEX l", "GETEX l EX 0", "GETEX l FOO", "GETSET l v", "SET l v GET", "SET l v NX GET",
    "STRLEN l",
    "GETRANGE l 0 1", "GETRANGE l x 1", "SUBSTR l 0 1", "APPEND l x", "SETRANGE l 0 x", "SETRANGE l -1 x", ["SETRANGE",
    "l", "0", ""],
    "INCR l", "DECR l", "INCRBY l 1", "INCRBY l x", "DECRBY l 1", "INCRBYFLOAT l 1", "INCRBYFLOAT l x", "MGET l l",
    "LCS l l",
    "LCS l none", "LCS none l LEN", "LCS l l FOO", "SETNX l v", "MSETNX l v", "LLEN l", "SETEX l 0 v", "LLEN l",
    "MSET l v", "GET l",
)  # fmt: skip

_WRONG_ARITY: Final = (
    "APPEND k", "DECR", "DECR k 1", "DECRBY k", "GET", "GET k k", "GETDEL", "GETDEL k k", "GETEX", "GETRANGE k 0",
    "GETSET k", "INCR",
    "INCRBY k", "INCRBYFLOAT k", "LCS k", "MGET", "MSET k", "MSET k v k2", "MSETNX k", "MSETNX k v k2", "PSETEX k 1",
    "SET k", "SETEX k 1",
    "SETNX k", "SETRANGE k 0", "STRLEN", "STRLEN k k", "SUBSTR k 0", "DBSIZE",
)  # fmt: skip

_BOUNDS: Final = ("0", "1", "-1", "3", "-3", "10", "-10", "100", "-100", "9223372036854775807", "-9223372036854775808")

#: Texts that may or may not be integers.
_INTEGERS: Final = (
    "0", "-0", "+1", "01", "-01", "1.0", "1e3", "x", "9223372036854775807", "-9223372036854775808",
    "9223372036854775808",
    "-9223372036854775809", "99999999999999999999999", "--1", "-", "0x10", "1_0", "\u0661",
)  # fmt: skip

#: Texts that may or may not be floating point numbers.
_FLOATS: Final = (
    "0", "-0", "+1.5", ".5", "5.", "1e3", "1E3", "1e", "1e+", "e3", ".", "-.5e-2", "0x10", "0X1.8P1", "0x", "0x.8",
    "0x1p", "1_0", "inf",
    "-inf", "+INF", "infinity", "nan", "nan(1)", "1e400", "1e-400", "1e4932", "1.2e4932", "1e4933", "1e-4951",
    "1e-4970", "1e99999999999",
    "0e99999", "0x1p16383", "0x1p16384", "0x1p-16445", "0x1p-16447",
    "123456789012345678901234567890.123456789012345678901234567890",
    "3.141592653589793238462643383279", "\u0661", "1,5", "1f", "1L",
)  # fmt: skip

_TIMES: Final = (
    "0", "-1", "x", "1.5", "9223372036854775807", "9223372036854775", "9223372036854776",
    "-9223372036854775808",
)  # fmt: skip

CASES: Final[dict[str, list[Request]]] = {
    "set and get": [
        "GET k", "SET k v", "GET k", "SET k w", "GET k", ["SET", "", ""], ["GET", ""], "STRLEN k", "STRLEN none",
        "TYPE k",
    ],
    "binary": [
        [b"SET", b"\x00\r\n\xff", b"\r\n\x00"], [b"GET", b"\x00\r\n\xff"], [b"APPEND", b"\x00\r\n\xff", b"\xfe"],
        "MGET k",
    ],
    "set overwrites any type and drops the expiry": [
        "RPUSH k a", "EXPIRE k 100", "SET k v", "TTL k", "SET k v EX 100", "TTL k", "SET k v KEEPTTL", "TTL k",
        "SET k v", "TTL k",
    ],
    "set with conditions": [
        "SET k v XX", "GET k", "SET k v NX", "SET k w NX", "GET k", "SET k w XX", "GET k", "SET k v nx xx",
        "SET k v NX NX", "SET k x XX XX", "SET k v NX GET", "SET k v XX GET", "SET none v XX GET", "SET none v NX GET",
        "GET none", "SET k2 v GET", "SET k2 w GET GET", "GET k2", "SETNX k v", "SETNX k3 v", "GET k3",
    ],
    "set with times": [
        "SET k v EX 100", "TTL k", "SET k v PX 100000", "TTL k", "SET k v EXAT 33177117420", "EXPIRETIME k",
        "SET k v PXAT 33177117420000", "PEXPIRETIME k", "SET k v EX 100 EX 200", "TTL k", "SET k v EXAT 1", "GET k",
        "EXISTS k", "SET k v PXAT 1 GET", "SET k v", "SET k v PXAT 1 GET", "GET k",
    ],
    "set with options that exclude one another": [
        *(
            f"SET k v {first} {second}"
            for first in ("EX 100", "PX 100", "EXAT 33177117420", "PXAT 33177117420000", "KEEPTTL", "PERSIST", "NX")
            for second in (
                "EX 100", "PX 100", "EXAT 33177117420", "PXAT 33177117420000", "KEEPTTL", "PERSIST", "GET", "XX", "FOO",
                "EX", "PX",
            )
        ),
    ],
    "set with times that are none": [
        *(
            f"{request} {time}"
            for request in ("SET k v EX", "SET k v PX", "SET k v EXAT", "SET k v PXAT")
            for time in _TIMES
            if not time.startswith("9")
        ),
        *(f"SET k v {option} 9223372036854775807" for option in ("EX", "PX", "EXAT")), "SET k v EX 9223372036854776",
        "GET k",
    ],
    "setex": [
        *(
            f"{name} k {time} v"
            for name in ("SETEX", "PSETEX")
            for time in (*_TIMES[:4], "9223372036854775807", "9223372036854776")
            if name == "SETEX" or time != "9223372036854776"
        ),
        "GET k", "SETEX k 100 v", "TTL k", "PSETEX k 100000 w", "TTL k", "GET k",
    ],
    "getex": [
        "GETEX none", "GETEX none EX 0", "GETEX none FOO", "GETEX none EX", "SET k v", "GETEX k", "TTL k",
        "GETEX k EX 100", "TTL k", "GETEX k PERSIST", "TTL k", "GETEX k PERSIST", "GETEX k PX 100000", "TTL k",
        "GETEX k EXAT 33177117420", "EXPIRETIME k", "GETEX k PXAT 33177117420000", "PEXPIRETIME k",
        "GETEX k EX 10 PERSIST", "GETEX k PERSIST PERSIST", "GETEX k KEEPTTL", "GETEX k NX", "GETEX k GET",
        "GETEX k EX 0", "GETEX k EX -1", "GETEX k PX x", "GETEX k EX 9223372036854775807", "GETEX k EX 1 PX 1",
        "GETEX k EX 7 EX 100", "TTL k", "GETEX k EXAT 1", "GET k", "SET k v", "GETEX k PXAT 1", "EXISTS k",
    ],
    "getdel and getset": [
        "GETDEL k", "SET k v", "GETDEL k", "GETDEL k", "GETSET k a", "GETSET k b", "EXPIRE k 100", "GETSET k c",
        "TTL k", "GET k",
    ],
    "several at once": [
        "MSET a 1 b 2 a 3", "MGET a b c a", "MSET a", "MSETNX a 9 z 9", "MGET a z", "MSETNX y 1 z 2 y 3", "MGET y z",
        "EXPIRE y 100", "MSET y 1", "TTL y",
    ],
    "append": [
        "APPEND k ab", "APPEND k cd", "GET k", "EXPIRE k 100", ["APPEND", "k", ""], "TTL k", "OBJECT ENCODING k",
        "APPEND n 12", "OBJECT ENCODING n", "APPEND n 3", "OBJECT ENCODING n", "INCR n",
    ],
    "getrange": [
        "SET k abcd",
        *(
            f"{name} {key} {start} {end}"
            for name in ("GETRANGE", "SUBSTR")
            for key in ("k", "none")
            for start in _BOUNDS
            for end in _BOUNDS
        ),
        "SET n -123", "GETRANGE n 0 1", "GETRANGE k x 1", "GETRANGE k 1 x", "GETRANGE k 1.0 2", ["SET", "e", ""],
        "GETRANGE e 0 -1",
    ],
    "setrange": [
        "SETRANGE k 3 abc", "GET k", "SETRANGE k 0 XY", "GET k", "SETRANGE k 4 12345", "GET k", "EXPIRE k 100",
        "SETRANGE k 1 z", "TTL k", "OBJECT ENCODING k", ["SETRANGE", "none", "10", ""], "EXISTS none",
        ["SETRANGE", "k", "100", ""], "STRLEN k", "SETRANGE k -1 x", "SETRANGE k x x", "SETRANGE k 536870912 x",
        "SETRANGE k 536870911 xx", "SETRANGE none 9223372036854775807 x",
        ["SETRANGE", "none", "9223372036854775807", ""], "SET n 123", "SETRANGE n 1 9", "INCR n",
    ],
    "counting": [
        "INCR n", "INCRBY n 10", "DECR n", "DECRBY n 3", "GET n", "EXPIRE n 100", "INCR n", "TTL n",
        "DECRBY n -9223372036854775808", "DECRBY n -9223372036854775807", "INCRBY n 9223372036854775807", "GET n",
        "SET n 9223372036854775807", "INCR n", "INCRBY n 1", "DECRBY n -1", "SET n -9223372036854775808", "DECR n",
        "DECRBY n 9223372036854775807", "INCRBY n -1", "INCRBY n 9223372036854775807", "GET n", "OBJECT ENCODING n",
    ],
    "increments that may be no integers": [
        *(f"{name} n {text}" for text in _INTEGERS for name in ("INCRBY", "DECRBY")),
    ],
    "values that may be no integers": [
        *(request for text in _INTEGERS for request in (f"SET n {text}", "INCR n", "DECRBY n 1")), ["SET", "n", ""],
        "INCR n", ["SET", "n", " 1"], "INCR n", ["SET", "n", "1 "], "DECR n",
    ],
    "adding floats": [
        "INCRBYFLOAT f 10.5", "INCRBYFLOAT f 0.1", "INCRBYFLOAT f -5", "SET f 5.0e3", "INCRBYFLOAT f 2.0e2",
        "SET f 3.0e3", "INCRBYFLOAT f 200", "EXPIRE f 100", "INCRBYFLOAT f 1e-10", "TTL f", "SET f 1e17",
        "INCRBYFLOAT f 0.5", "SET f 0.1", "INCRBYFLOAT f 0.2", "INCRBYFLOAT f -0.3", "SET f 1e-17", "INCRBYFLOAT f 0",
        "SET f 1e-18", "INCRBYFLOAT f 0", "SET f -1e-18", "INCRBYFLOAT f 0", "SET f 18446744073709551615",
        "INCRBYFLOAT f 1", "INCRBYFLOAT f 1", "INCRBYFLOAT f 3", "SET f 1", "INCRBYFLOAT f 1.0842021724855044e-19",
        "SET f -1", "INCRBYFLOAT f 1",
    ],
    "increments that may be no floats": [
        *(request for text in _FLOATS for request in ("SET f 1", f"INCRBYFLOAT f {text}")),
    ],
    "values that may be no floats": [
        *(request for text in _FLOATS for request in (f"SET f {text}", "INCRBYFLOAT f 1")), ["SET", "f", ""],
        "INCRBYFLOAT f 1", ["SET", "f", " 1"], "INCRBYFLOAT f 1", ["SET", "f", "1 "], "INCRBYFLOAT f 1",
        [b"SET", b"f", b"1\x00"], "INCRBYFLOAT f 1", ["SET", "f", "1" * 5000], "INCRBYFLOAT f 1",
        ["SET", "f", "0." + "1" * 5117], "INCRBYFLOAT f 1", ["SET", "f", "0." + "1" * 5118], "INCRBYFLOAT f 1",
        "SET f 1e4932", "INCRBYFLOAT f 1e4932", "SET f 1.1897e4932", "INCRBYFLOAT f 1e4930",
        "INCRBYFLOAT f -1.1897e4932",
    ],
    "common subsequences": [
        "MSET a ohmytext b mynewtext c abcdefg d acefg n 1234 m 234",
        *(
            f"LCS {keys} {options}"
            for keys in ("a b", "b a", "c d", "a none", "none a", "none none", "n m", "a a")
            for options in (
                "", "LEN", "IDX", "IDX WITHMATCHLEN", "IDX MINMATCHLEN 4", "IDX MINMATCHLEN 4 WITHMATCHLEN",
                "IDX MINMATCHLEN 0", "IDX MINMATCHLEN -5", "WITHMATCHLEN", "LEN MINMATCHLEN 3",
            )
        ),
        "LCS a b IDX LEN", "LCS a b FOO", "LCS a b MINMATCHLEN", "LCS a b MINMATCHLEN x", ["SET", "a", "x" * 20000],
        ["SET", "b", "x" * 20000], "LCS a b LEN",
    ],
    "on a list": ["RPUSH l a", *_ON_A_LIST],
    "with the wrong number of words": ["SET k v", *_WRONG_ARITY],
    "encodings": [
        "SET k 12345", "OBJECT ENCODING k", "SET k 012", "OBJECT ENCODING k", ["SET", "k", "x" * 44],
        "OBJECT ENCODING k", ["SET", "k", "x" * 45], "OBJECT ENCODING k", "SET k 9223372036854775807",
        "OBJECT ENCODING k", "SET k 9223372036854775808", "OBJECT ENCODING k", "SET k -1", "OBJECT ENCODING k",
        "MSET k 7", "OBJECT ENCODING k",
    ],
}  # fmt: skip
