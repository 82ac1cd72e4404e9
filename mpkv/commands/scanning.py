"""What HSCAN, SSCAN and ZSCAN share: the cursor, the options MATCH and COUNT, and the shape of the reply.

Redis looks at the cursor first, then at the key, and at the options only when the key is there: a missing key answers
an empty step whatever the options say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from mpkv import errors
from mpkv.commands.args import Arguments
from mpkv.glob import matches

DEFAULT_COUNT: Final = 10
COMPLEXITY: Final = (
    "O(1) for every call. O(N) for a complete iteration, including enough command calls for the "
    "cursor to return back to 0. "
    "N is the number of elements inside the collection."
)
CURSOR_LIMIT: Final = 2**64
#: The step over a key that is not there: complete, and nothing found.
NOTHING: Final = (b"0", ())


def cursor(text: bytes) -> int:
    """An unsigned 64-bit number as `strtoul` reads it: a sign is let through, nothing at all is 0."""
    digits = text[1:] if text[:1] in (b"+", b"-") else text
    if not digits.isdigit() and text:
        raise errors.INVALID_CURSOR
    value = int(digits or b"0") if len(digits.lstrip(b"0")) <= 20 else CURSOR_LIMIT
    if value >= CURSOR_LIMIT:
        raise errors.INVALID_CURSOR
    return -value % CURSOR_LIMIT if text.startswith(b"-") else value


@dataclass(frozen=True, slots=True)
class Options:
    """``[MATCH pattern] [COUNT count]``"""

    pattern: bytes = b"*"
    count: int = DEFAULT_COUNT

    @classmethod
    def parse(cls, words: Sequence[bytes]) -> Options:
        args = Arguments(words)
        pattern, count = b"*", DEFAULT_COUNT
        while args.left:
            if args.take(b"match", needs=1):
                pattern = args.word()
            elif args.take(b"count", needs=1):
                count = args.integer()
                if count < 1:
                    raise errors.SYNTAX
            else:
                raise errors.SYNTAX
        return cls(pattern, count)

    def wants(self, name: bytes) -> bool:
        return self.pattern == b"*" or matches(self.pattern, name)


def reply(following: int, elements: list[bytes]) -> list[Any]:
    """The next cursor, as text, and what was found."""
    return [b"%d" % following, elements]
