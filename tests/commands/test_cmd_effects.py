"""What string, list and key commands tell the log: no time that counts from now, no wait, no sum of floats."""

import pytest

from tests.helpers.doors import HandlerDoor, Request, words_of
from tests.helpers.fake_db import FakeKeyspace

NOW_MS = 1_700_000_000_000

#: Requests that prepare, the request, its effects.
EFFECTS: list[tuple[list[Request], Request, list[str]]] = [
    ([], "SET k v", ["SET k v"]),
    ([], "SET k v EX 10", ["SET k v PXAT 1700000010000"]),
    ([], "SET k v PX 10", ["SET k v PXAT 1700000000010"]),
    ([], "SET k v NX GET EXAT 1700000001", ["SET k v PXAT 1700000001000"]),
    (["SET k v"], "SET k v XX PX 10", ["SET k v PXAT 1700000000010"]),
    (["SET k v"], "SET k w NX EX 10", []),
    (["SET k v"], "SET k w EXAT 1", ["DEL k"]),
    ([], "SET k w EXAT 1", []),
    (["SET k v EX 10"], "SET k w KEEPTTL", ["SET k w KEEPTTL"]),
    ([], "SETEX k 10 v", ["SET k v PXAT 1700000010000"]),
    ([], "PSETEX k 10 v", ["SET k v PXAT 1700000000010"]),
    (["SET k v"], "GETEX k", []),
    (["SET k v"], "GETEX k EX 10", ["PEXPIREAT k 1700000010000"]),
    (["SET k v EX 10"], "GETEX k PERSIST", ["PERSIST k"]),
    (["SET k v"], "GETEX k PERSIST", []),
    (["SET k v"], "GETEX k PXAT 1", ["DEL k"]),
    (["SET k v"], "GETDEL k", ["DEL k"]),
    ([], "GETDEL k", []),
    (["SET k 10.5"], "INCRBYFLOAT k 0.1", ["SET k 10.6 KEEPTTL"]),
    (["SET k v"], "EXPIRE k 10", ["PEXPIREAT k 1700000010000"]),
    (["SET k v"], "PEXPIRE k 10", ["PEXPIREAT k 1700000000010"]),
    (["SET k v"], "EXPIREAT k 1700000010", ["PEXPIREAT k 1700000010000"]),
    (["SET k v"], "EXPIRE k -1", ["DEL k"]),
    (["SET k v"], "EXPIRE k 10 GT", []),
    ([], "EXPIRE k 10", []),
    (["SET k v EX 10"], "PERSIST k", ["PERSIST k"]),
    (["RPUSH l a b"], "LPOP l 2", ["LPOP l 2"]),
    (["RPUSH l a b"], "LPOP l 0", []),
    (["RPUSH l a b"], "LMPOP 2 none l RIGHT COUNT 9", ["RPOP l 2"]),
    (["RPUSH l a b"], "BLMPOP 0 2 none l LEFT", ["LPOP l 1"]),
    (["RPUSH l a b"], "BLPOP none l 0", ["LPOP l"]),
    (["RPUSH l a b"], "BRPOP l 5", ["RPOP l"]),
    ([], "BLPOP l 5", []),
    (["RPUSH l a b"], "BLMOVE l m left right 0", ["LMOVE l m LEFT RIGHT"]),
    (["RPUSH l a b"], "BRPOPLPUSH l m 0", ["LMOVE l m RIGHT LEFT"]),
    (["RPUSH l a b"], "LTRIM l 0 0", ["LTRIM l 0 0"]),
    (["RPUSH l a b"], "LTRIM l 0 -1", []),
    (["SET a v"], "COPY a b REPLACE", ["COPY a b REPLACE"]),
    (["SET a v"], "RENAME a a", []),
    (["SET a v"], "DEL a b", ["DEL a b"]),
    (["SET a v"], "TOUCH a", []),
]  # fmt: skip


@pytest.mark.parametrize(("before", "request_", "expected"), EFFECTS, ids=[str(request) for _, request, _ in EFFECTS])
def test_the_log_is_told_what_happened(before: list[Request], request_: Request, expected: list[str]) -> None:
    door = HandlerDoor(FakeKeyspace(), clock=lambda: NOW_MS)
    for request in before:
        door.call(words_of(request))
    door.log.clear()
    door.call(words_of(request_))
    assert [b" ".join(words).decode() for _, words in door.log] == expected
