"""CONFIG: read and change the settings of the running server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from mpkv import errors
from mpkv.commands.spec import ADMIN, LOADING, NOSCRIPT, STALE, command
from mpkv.config_syntax import ENCODING, ENCODING_ERRORS
from mpkv.config_table import Flag, find
from mpkv.resp.replies import OK, Status

_FLAGS: Final = ADMIN | NOSCRIPT | LOADING | STALE

_HELP: Final = (
    "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET <pattern>",
    "    Return parameters matching the glob-like <pattern> and their values.",
    "SET <directive> <value>",
    "    Set the configuration <directive> to <value>.",
    "RESETSTAT",
    "    Reset statistics reported by the INFO command.",
    "REWRITE",
    "    Rewrite the configuration file.",
    "HELP",
    "    Prints this help.",
)


def _decode(word: bytes) -> str:
    return word.decode(ENCODING, ENCODING_ERRORS)


def _encode(text: str) -> bytes:
    return text.encode(ENCODING, ENCODING_ERRORS)


@command(
    "CONFIG GET",
    arity=-3,
    flags=_FLAGS,
    since="2.0.0",
    complexity="O(N) when N is the number of configuration parameters provided",
)
def config_get(conn: Any, *patterns: bytes) -> dict[bytes, bytes]:
    """CONFIG GET parameter [parameter ...] -- Get the values of configuration parameters."""
    found = conn.server.config.get([_decode(pattern) for pattern in patterns])
    return {_encode(name): _encode(value) for name, value in found.items()}


def _sensitive_values(words: Sequence[bytes]) -> Iterator[int]:
    for at in range(2, len(words) - 1, 2):
        row = find(_decode(words[at]))
        if row is not None and Flag.SENSITIVE in row.flags:
            yield at + 1


@command(
    "CONFIG SET",
    arity=-4,
    flags=_FLAGS,
    since="2.0.0",
    complexity="O(N) when N is the number of configuration parameters provided",
    secrets=_sensitive_values,
)
def config_set(conn: Any, *words: bytes) -> Status:
    """CONFIG SET parameter value [parameter value ...] -- Set configuration parameters to the given values."""
    if len(words) % 2:
        raise errors.SYNTAX
    texts = [_decode(word) for word in words]
    pairs = list(zip(texts[::2], texts[1::2], strict=True))
    conn.server.config.set(pairs, local=conn.server.is_local(conn))
    conn.server.settings_changed(pairs)
    return OK


@command("CONFIG RESETSTAT", arity=2, flags=_FLAGS, since="2.0.0")
def config_resetstat(conn: Any) -> Status:
    """CONFIG RESETSTAT -- Reset the stats returned by INFO."""
    conn.server.reset_statistics()
    return OK


@command("CONFIG REWRITE", arity=2, flags=_FLAGS, since="2.8.0")
def config_rewrite(conn: Any) -> Status:
    """CONFIG REWRITE -- Rewrite the configuration file with the in memory configuration."""
    conn.server.config.rewrite()
    return OK


@command("CONFIG HELP", arity=2, flags=LOADING | STALE, since="5.0.0")
def config_help(conn: Any) -> list[Status]:
    """CONFIG HELP -- Show helpful text about the different subcommands."""
    return [Status(line.encode()) for line in _HELP]
