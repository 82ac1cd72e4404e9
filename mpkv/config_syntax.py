"""Config text, where no directive has a meaning: lines, words, files with includes, command lines, environment.

Every source becomes a list of `Line`: where it stood and which words it has. The words follow Redis' quoting: ``"…"``
knows ``\\n \\r \\t \\b \\a \\xHH``, ``'…'`` knows only ``\\'``, and a closing quote must be followed by a blank.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TextIO

_BLANKS: Final = " \t\n\r\v\f\0"
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "a": "\a"}
_PRINTED: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\a": "\\a", '"': '\\"', "\\": "\\\\"}
_HEX: Final = frozenset("0123456789abcdefABCDEF")

#: Bytes that are not UTF-8 pass through configuration unchanged.
ENCODING: Final = "utf-8"
ENCODING_ERRORS: Final = "surrogateescape"


class ConfigError(Exception):
    """The configuration cannot be used.

    :param source: file name, ``command line`` or ``environment``; empty if none is to blame
    :param line: number of the line in a file, 0 elsewhere
    :param directive: the words as they stood there
    :param reason: what was expected
    """

    def __init__(self, reason: str, source: str = "", line: int = 0, directive: str = "") -> None:
        self.reason, self.source, self.line, self.directive = reason, source, line, directive
        place = f"{source}:{line}" if line else source
        super().__init__(": ".join(part for part in (place, directive, reason) if part))


@dataclass(frozen=True, slots=True)
class Line:
    source: str
    number: int
    words: tuple[str, ...]

    def error(self, reason: str) -> ConfigError:
        return ConfigError(reason, self.source, self.number, " ".join(self.words))


def split_words(text: str) -> list[str]:
    """The words of a line; ValueError if quotes are not balanced."""
    words: list[str] = []
    at = 0
    while True:
        while at < len(text) and text[at] in _BLANKS:
            at += 1
        if at == len(text):
            return words
        word, at = _read_word(text, at)
        words.append(word)


def _read_word(text: str, at: int) -> tuple[str, int]:
    """One word that begins at `at`, and where it ends. Quotes may open in its middle, but end it."""
    parts: list[str] = []
    while at < len(text) and text[at] not in _BLANKS:
        if text[at] in "\"'":
            read = _read_double if text[at] == '"' else _read_single
            at = read(text, at + 1, parts)
            if at < len(text) and text[at] not in _BLANKS:
                raise ValueError("Unbalanced quotes in configuration line")
            break
        parts.append(text[at])
        at += 1
    return "".join(parts), at


def _read_double(text: str, at: int, parts: list[str]) -> int:
    raw = bytearray()

    def flush_raw() -> None:
        # Escaped bytes next to each other may be one character.
        parts.append(raw.decode(ENCODING, ENCODING_ERRORS))
        raw.clear()

    while at < len(text) and text[at] != '"':
        if (
            text[at] == "\\"
            and text[at + 1 : at + 2] == "x"
            and len(text) > at + 3
            and set(text[at + 2 : at + 4]) <= _HEX
        ):
            raw.append(int(text[at + 2 : at + 4], 16))
            at += 4
            continue
        flush_raw()
        if text[at] == "\\" and at + 1 < len(text):
            at += 1
            parts.append(_ESCAPES.get(text[at], text[at]))
        else:
            parts.append(text[at])
        at += 1
    flush_raw()
    return _closed(text, at)


def _read_single(text: str, at: int, parts: list[str]) -> int:
    while at < len(text) and text[at] != "'":
        if text.startswith("\\'", at):
            at += 1
        parts.append(text[at])
        at += 1
    return _closed(text, at)


def _closed(text: str, at: int) -> int:
    if at == len(text):
        raise ValueError("Unbalanced quotes in configuration line")
    return at + 1


def quote(word: str) -> str:
    """In double quotes, so that `split_words` gives the word back."""
    printed = []
    for character in word:
        if character in _PRINTED:
            printed.append(_PRINTED[character])
        elif character.isprintable():
            printed.append(character)
        else:
            printed += [f"\\x{byte:02x}" for byte in character.encode(ENCODING, ENCODING_ERRORS)]
    return '"' + "".join(printed) + '"'


def quote_if_needed(word: str) -> str:
    needed = not word or any(character in _BLANKS + "\"'\\#" or not character.isprintable() for character in word)
    return quote(word) if needed else word


def read_lines(text: str, source: str) -> Iterator[Line]:
    """The lines that say something, includes not yet followed."""
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip(" \t\r\n")
        if not stripped or stripped.startswith("#"):
            continue
        try:
            words = split_words(stripped)
        except ValueError as error:
            raise ConfigError(str(error), source, number, stripped) from None
        if words:
            yield Line(source, number, tuple(words))


def read_file(path: str, within: tuple[str, ...] = ()) -> Iterator[Line]:
    """A file's lines, included files in place."""
    real = os.path.realpath(path)
    if real in within:
        raise ConfigError("the file includes itself", path)
    try:
        with open(path, encoding=ENCODING, errors=ENCODING_ERRORS) as file:
            text = file.read()
    except OSError as error:
        raise ConfigError(f"Can't open config file: {error.strerror}", path) from None
    for line in read_lines(text, path):
        if line.words[0].lower() == "include":
            yield from _included(line, (*within, real))
        else:
            yield line


def _included(line: Line, within: tuple[str, ...]) -> Iterator[Line]:
    if len(line.words) != 2:
        raise line.error("wrong number of arguments")
    pattern = line.words[1]
    # A pattern may match nothing (an empty conf.d); a plain name must exist.
    paths = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]
    for path in paths:
        yield from read_file(path, within)


def read_environment(environ: Mapping[str, str], names: Iterable[str]) -> tuple[list[Line], list[str]]:
    """``MPKV_MAXMEMORY=1gb`` as lines, and the ``MPKV_…`` variables that name no directive.

    The value is one word here.
    """
    known = {"MPKV_" + name.upper().replace("-", "_"): name for name in names}
    lines, unknown = [], []
    for variable, value in sorted(environ.items()):
        if variable in known:
            lines.append(Line("environment", 0, (known[variable], value)))
        elif variable.startswith("MPKV_"):
            unknown.append(variable)
    return lines, unknown


@dataclass(frozen=True, slots=True)
class CommandLine:
    """redis-server's arguments taken apart."""

    file: str | None
    from_stdin: bool
    lines: list[Line]


def read_command_line(argv: Sequence[str]) -> CommandLine:
    """``[file] [--directive value ...] [-]`` as redis-server reads it.

    A name and its values may be one element (``"--save 60 1"``). The word after a bare name is its value even if it
    begins with ``--``; only ``--save`` directly before another option, or at the end, stands for ``save ""``.
    """
    words = list(argv)
    file = None
    if words and not words[0].startswith("-"):
        file = words.pop(0)
    from_stdin = False
    if words and words[0] == "-":
        from_stdin = True
        words.pop(0)
    if words and words[-1] == "-":
        from_stdin = True
        words.pop()
    return CommandLine(file, from_stdin, list(_option_lines(words)))


def _option_lines(words: list[str]) -> Iterator[Line]:
    current: list[str] = []
    for at, word in enumerate(words):
        if word.startswith("--") and len(current) != 1:
            if current:
                yield Line("command line", 0, tuple(current))
            current = _option_words(word)
            at_end = at + 1 == len(words)
            if [name.lower() for name in current] == ["save"] and (at_end or words[at + 1].startswith("--")):
                current.append("")
        elif current:
            current.append(word)
        else:
            raise ConfigError("expected --directive", "command line", 0, word)
    if current:
        yield Line("command line", 0, tuple(current))


def _option_words(option: str) -> list[str]:
    try:
        words = split_words(option[2:])
    except ValueError as error:
        raise ConfigError(str(error), "command line", 0, option) from None
    if not words:
        raise ConfigError("expected --directive", "command line", 0, option)
    return words


def read_stdin(stream: TextIO) -> Iterator[Line]:
    return read_lines(stream.read(), "stdin")
