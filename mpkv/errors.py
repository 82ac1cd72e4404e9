"""Every error reply that more than one place uses, with Redis' own text.

Two kinds of failure exist (and stay apart): a `CommandError` is the user's mistake and becomes an error reply; anything
else that is raised is ours, is logged with its context, and is never shown to a client.
"""

from collections.abc import Sequence
from typing import Final


class CommandError(Exception):
    """An error reply. The text starts with its prefix: ``ERR …``, ``WRONGTYPE …``; no CR or LF is let through."""

    @property
    def text(self) -> str:
        return str(self.args[0])

    @property
    def prefix(self) -> bytes:
        """The first word, by which errors are counted."""
        return self.text.partition(" ")[0].encode()


WRONGTYPE = CommandError("WRONGTYPE Operation against a key holding the wrong kind of value")
SYNTAX = CommandError("ERR syntax error")
NOT_AN_INTEGER = CommandError("ERR value is not an integer or out of range")
NOT_A_FLOAT = CommandError("ERR value is not a valid float")
OUT_OF_RANGE = CommandError("ERR index out of range")
NO_SUCH_KEY = CommandError("ERR no such key")
INVALID_CURSOR = CommandError("ERR invalid cursor")
OVERFLOW = CommandError("ERR increment or decrement would overflow")
NOT_POSITIVE = CommandError("ERR value is out of range, must be positive")
CROSSSLOT = CommandError("CROSSSLOT Keys in request don't hash to the same shard; this command works on one shard only")
LOADING = CommandError("LOADING mpkv is loading the dataset of this shard in memory")
OUT_OF_MEMORY = CommandError("OOM command not allowed: out of memory")
INCREMENT_NOT_FINITE = CommandError("ERR increment would produce NaN or Infinity")
DB_INDEX_OUT_OF_RANGE = CommandError("ERR DB index is out of range")
SAME_OBJECT = CommandError("ERR source and destination objects are the same")
TIMEOUT_NOT_A_FLOAT = CommandError("ERR timeout is not a float or out of range")
TIMEOUT_OUT_OF_RANGE = CommandError("ERR timeout is out of range")
TIMEOUT_NEGATIVE = CommandError("ERR timeout is negative")
NUMKEYS_NOT_POSITIVE = CommandError("ERR numkeys should be greater than 0")
COUNT_NOT_POSITIVE = CommandError("ERR count should be greater than 0")
HASH_VALUE_NOT_AN_INTEGER = CommandError("ERR hash value is not an integer")
HASH_VALUE_NOT_A_FLOAT = CommandError("ERR hash value is not a float")
NAN_OR_INFINITY = CommandError("ERR value is NaN or Infinity")
VALUE_OUT_OF_RANGE = CommandError("ERR value is out of range")
LIMIT_NEGATIVE = CommandError("ERR LIMIT can't be negative")
SCORE_NOT_A_NUMBER = CommandError("ERR resulting score is not a number (NaN)")
SCORE_BOUND_NOT_A_FLOAT = CommandError("ERR min or max is not a float")
LEX_BOUND_INVALID = CommandError("ERR min or max not valid string range item")
STRING_TOO_LONG = CommandError("ERR string exceeds maximum allowed size (proto-max-bulk-len)")


#: How much of a request an error reply repeats.
_MOST_SHOWN: Final = 128


def shown(word: bytes, most: int = _MOST_SHOWN) -> str:
    """A client's word as an error reply repeats it: cut, and up to its first NUL as a C string ends there."""
    return word[:most].partition(b"\0")[0].decode("utf-8", "surrogateescape")


def unknown_command(words: Sequence[bytes]) -> CommandError:
    """`words`: the whole request. Arguments are shown as long as fewer than 128 characters have been."""
    arguments = ""
    for word in words[1:]:
        left = _MOST_SHOWN - len(arguments)
        if left <= 0:
            break
        arguments += f"'{shown(word, left)}' "
    return CommandError(f"ERR unknown command '{shown(words[0])}', with args beginning with: {arguments}")


def unknown_subcommand(container: str, word: bytes) -> CommandError:
    return CommandError(f"ERR unknown subcommand '{shown(word)}'. Try {container.upper()} HELP.")


class Misused(CommandError):
    """A sub-command that looks at its number of words itself does not take so many: its caller knows how the client
    spelt it, and replies with `subcommand_syntax`."""


MISUSED = Misused("ERR unknown subcommand or wrong number of arguments")


def subcommand_syntax(container: str, word: bytes) -> CommandError:
    """What sub-commands answer that look at their number of words themselves."""
    text = f"ERR unknown subcommand or wrong number of arguments for '{shown(word)}'. Try {container.upper()} HELP."
    return CommandError(text)


def wrong_arity(name: str) -> CommandError:
    """`name` in lower case; a sub-command as ``config|get``."""
    return CommandError(f"ERR wrong number of arguments for '{name}' command")


def invalid_expire(name: str) -> CommandError:
    return CommandError(f"ERR invalid expire time in '{name}' command")
