"""`python -m mpkv.resp` decodes RESP from standard input and prints it as redis-cli would.

Requests and replies of both protocol versions are understood. With bytes that are no RESP, or an end in the middle of a
reply, it says where on standard error and exits with 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from io import BufferedReader, BytesIO
from typing import Any, Final, cast

from mpkv.errors import CommandError
from mpkv.resp.decoder import IncompleteReply, decode
from mpkv.resp.replies import PushReply, SetReply, Status, Verbatim

CHUNK_BYTES: Final = 1024 * 1024


def _quote(text: bytes) -> str:
    escaped = text.decode("latin-1").encode("unicode_escape").decode("ascii")
    return '"' + escaped.replace('"', '\\"') + '"'


#: One line for each kind of value that has no parts.
SCALARS: Final[dict[type, Callable[[Any], str]]] = {
    type(None): lambda _: "(nil)",
    bool: lambda value: "(true)" if value else "(false)",
    int: lambda value: f"(integer) {value}",
    float: lambda value: f"(double) {value!r}",
    bytes: _quote,
    Status: lambda value: bytes(value).decode("utf-8", "backslashreplace"),
    Verbatim: str,
    CommandError: lambda value: f"(error) {value.text}",
}

#: The mark behind the number of an element, and what an empty one is called.
AGGREGATES: Final[dict[type, tuple[str, str]]] = {
    list: (")", "(empty array)"),
    SetReply: ("~", "(empty set)"),
    PushReply: (">", "(empty push)"),
    dict: ("#", "(empty hash)"),
}


def render(value: Any) -> list[str]:
    """The lines that show a decoded reply."""
    if type(value) in SCALARS:
        return SCALARS[type(value)](value).splitlines() or [""]
    mark, empty = AGGREGATES[type(value)]
    if not value:
        return [empty]
    lines: list[str] = []
    width = len(str(len(value)))
    for number, element in enumerate(value.items() if isinstance(value, dict) else value, 1):
        head = f"{number:>{width}}{mark} "
        inside = _render_pair(*element) if isinstance(value, dict) else render(element)
        lines.append(head + inside[0])
        lines += [" " * len(head) + line for line in inside[1:]]
    return lines


def _render_pair(key: Any, value: Any) -> list[str]:
    *above, last = render(key)
    first, *below = render(value)
    return [*above, f"{last} => {first}", *(" " * len(f"{last} => ") + line for line in below)]


def replies(source: BufferedReader | BytesIO) -> Iterator[Any]:
    """Every reply in `source`, as soon as it is complete.

    :raises ValueError: at the end of the stream inside a reply, or where it is no RESP
    """
    pending, passed = b"", 0
    while chunk := source.read1(CHUNK_BYTES):
        pending += chunk
        at = 0
        while at < len(pending):
            try:
                value, at = decode(pending, at)
            except IncompleteReply:
                break
            except ValueError as error:
                raise ValueError(f"{error} (of what follows byte {passed})" if passed else str(error)) from None
            yield value
        pending, passed = pending[at:], passed + at
    if pending:
        raise ValueError(f"the input ends inside the reply that begins at byte {passed}")


def main() -> int:
    try:
        for value in replies(cast(BufferedReader, sys.stdin.buffer)):
            print("\n".join(render(value)), flush=True)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
