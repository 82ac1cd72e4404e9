"""`python -m mpkv.resp`."""

import io
import subprocess
import sys

import pytest

from mpkv.resp.__main__ import render, replies
from mpkv.resp.decoder import decode

RENDERED = {
    b"$-1\r\n": ["(nil)"],
    b":1\r\n": ["(integer) 1"],
    b",1.5\r\n": ["(double) 1.5"],
    b"#t\r\n": ["(true)"],
    b"+OK\r\n": ["OK"],
    b"+\r\n": [""],
    b"-ERR no\r\n": ["(error) ERR no"],
    b"!6\r\nERR no\r\n": ["(error) ERR no"],
    b'$4\r\na"\n\xff\r\n': [r'"a\"\n\xff"'],
    b"=7\r\ntxt:a\nb\r\n": ["a", "b"],
    b"*0\r\n": ["(empty array)"],
    b"~1\r\n:1\r\n": ["1~ (integer) 1"],
    b"*2\r\n*2\r\n:1\r\n:2\r\n:3\r\n": ["1) 1) (integer) 1", "   2) (integer) 2", "2) (integer) 3"],
    b"%2\r\n+a\r\n*2\r\n:1\r\n:2\r\n+b\r\n%0\r\n": [
        "1# a => 1) (integer) 1",
        "        2) (integer) 2",
        "2# b => (empty hash)",
    ],
}


@pytest.mark.parametrize(("data", "lines"), RENDERED.items())
def test_a_reply_is_shown_as_redis_cli_would(data: bytes, lines: list[str]) -> None:
    assert render(decode(data)[0]) == lines


def test_numbers_of_elements_are_aligned() -> None:
    assert render([1] * 10)[8:] == [" 9) (integer) 1", "10) (integer) 1"]


class Trickle(io.BytesIO):
    """A stream that gives one byte at a time."""

    def read1(self, size: int | None = -1) -> bytes:
        return super().read1(1)


def test_replies_are_read_however_they_arrive() -> None:
    assert list(replies(Trickle(b":1\r\n*1\r\n$3\r\nabc\r\n+OK\r\n"))) == [1, [b"abc"], b"OK"]


def run(data: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "mpkv.resp"], input=data, capture_output=True, check=False)


def test_requests_and_replies_are_printed() -> None:
    done = run(b"*1\r\n$4\r\nPING\r\n+PONG\r\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b'1) "PING"\nPONG\n', b"")


def test_bytes_that_are_no_resp_are_pointed_at() -> None:
    done = run(b"+OK\r\nPING\r\n")
    assert (done.returncode, done.stdout) == (1, b"OK\n")
    assert b"malformed reply at byte 5" in done.stderr


def test_an_end_inside_a_reply_is_reported() -> None:
    done = run(b"+OK\r\n$5\r\nabc")
    assert (done.returncode, done.stdout) == (1, b"OK\n")
    assert b"ends inside the reply that begins at byte 5" in done.stderr
