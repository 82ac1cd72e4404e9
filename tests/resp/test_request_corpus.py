"""The folder of raw requests: each replayed whole, byte by byte, in random pieces, and to a real redis-server."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hiredis
import pytest

from mpkv.resp.parser import Parser, ProtocolError

FOLDER = Path(__file__).parent.parent / "corpus" / "resp"
NAMES = sorted(path.stem for path in FOLDER.glob("*.in"))
BYTE_BY_BYTE_UP_TO = 100_000


def load(name: str) -> tuple[bytes, dict[str, Any]]:
    return (FOLDER / f"{name}.in").read_bytes(), json.loads((FOLDER / f"{name}.json").read_text())


def replay(pieces: list[bytes], limits: dict[str, Any]) -> dict[str, Any]:
    """What the parser made of the pieces, in the form of the expectation."""
    parser = Parser()
    seen: dict[str, Any] = {"requests": []}
    for piece in pieces:
        try:
            requests = parser.feed_bytes(piece, **limits)
        except ProtocolError as error:
            requests, seen["error"] = error.requests, str(error)
        seen["requests"] += [[word.decode("latin-1") for word in request] for request in requests]
        if "error" in seen:
            break
    return seen


def expectation(expected: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in expected.items() if key in ("requests", "error")}


def test_the_corpus_is_there() -> None:
    assert len(NAMES) > 70
    assert {path.stem for path in FOLDER.glob("*.json")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_request_that_arrives_whole(name: str) -> None:
    data, expected = load(name)
    assert replay([data], expected.get("limits", {})) == expectation(expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_request_that_arrives_byte_by_byte(name: str) -> None:
    data, expected = load(name)
    assert len(data) < BYTE_BY_BYTE_UP_TO
    pieces = [data[i : i + 1] for i in range(len(data))]
    assert replay(pieces, expected.get("limits", {})) == expectation(expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_request_that_arrives_in_random_pieces(name: str) -> None:
    data, expected = load(name)
    chance = random.Random(name)
    for _ in range(30):
        cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(1, 9)))
        pieces = [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        assert replay(pieces, expected.get("limits", {})) == expectation(expected)


@pytest.mark.parametrize("name", NAMES)
def test_redis_sees_the_same_requests_and_errors(name: str, ask_redis: Callable[..., bytes]) -> None:
    data, expected = load(name)
    if "differs_from_redis" in expected:
        pytest.skip(expected["differs_from_redis"])
    answer = ask_redis(data, len(expected["requests"]), "error" in expected, **expected.get("limits", {}))
    if "error" in expected:
        refusal = f"-ERR Protocol error: {expected['error']}\r\n".encode("latin-1")
        assert answer.endswith(refusal)
        answer = answer.removesuffix(refusal)
    assert b"Protocol error" not in answer
    reader = hiredis.Reader(encoding="latin-1")
    reader.feed(answer)
    replies = []
    while (reply := reader.gets()) is not False:
        replies.append(reply)
    assert len(replies) == len(expected["requests"])
    for request, reply in zip(expected["requests"], replies, strict=True):
        if len(request) == 2 and request[0].upper() == "ECHO":
            assert reply == request[1]
