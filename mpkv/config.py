"""The configuration: filled from command line > ``MPKV_*`` environment > file > defaults, changed by CONFIG SET.

Values are plain attributes named after the directives, with underscores: ``config.maxclients`` is an int,
``config.save`` a list of (seconds, changes), ``config.client_output_buffer_limit`` a dict class -> (hard, soft,
seconds). What each may be says `mpkv.config_table`; how it is written, `mpkv.config_values`; where it comes from,
`mpkv.config_syntax`.

Of directives given twice the last wins, except that ``user``, ``rename-command`` and ``loadmodule`` collect, that
``client-output-buffer-limit`` sets only the classes it names, and that the lines of ``save`` in one source add up.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mpkv import config_rewrite, config_syntax, errors, glob
from mpkv.config_syntax import ENCODING, ENCODING_ERRORS, ConfigError, Line, quote_if_needed, split_words
from mpkv.config_table import ALIASES, DIRECTIVES, Directive, Flag, find
from mpkv.config_values import Directory, Lines
from mpkv.errors import CommandError

__all__ = ["Config", "ConfigError", "usable_cores"]

#: Variables with our prefix that are no directives.
_OTHER_VARIABLES: Final = frozenset({"MPKV_TRACE", "MPKV_DEBUG", "MPKV_BUILD_ONLY"})

#: Called with the new value; an exception of these kinds refuses it.
Observer = Callable[[Any], None]
_REFUSALS: Final = (CommandError, OSError, ValueError)


def _names() -> list[str]:
    """Every name and alias that CONFIG knows."""
    return [name for name, row in (DIRECTIVES | ALIASES).items() if Flag.FILE_ONLY not in row.flags]


def _known(name: str) -> Directive | None:
    row = find(name)
    return None if row is None or Flag.FILE_ONLY in row.flags else row


class Config:
    """All settings.

    Beside the directives: `file`, the config file's absolute path (None: running without one); `warnings`, for the log
    at the start; `loading`, which the server sets while it loads, since some directives are refused then.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self) -> None:
        self.file: str | None = None
        self.warnings: list[str] = []
        self.loading = False
        self._observers: dict[str, list[Observer]] = {}
        for row in DIRECTIVES.values():
            setattr(self, row.attribute, row.default_value())

    # At the start

    @classmethod
    def from_command_line(cls, argv: Sequence[str], environ: Mapping[str, str] | None = None) -> Config:
        """redis-server's arguments, without the program's name.

        ConfigError names the place and what was expected there.
        """
        line = config_syntax.read_command_line(argv)
        config = cls()
        if line.file is not None:
            config.file = os.path.abspath(line.file)
            config._load(config_syntax.read_file(line.file))
        if line.from_stdin:
            config._load(config_syntax.read_stdin(sys.stdin))
        config._load_environment(os.environ if environ is None else environ)
        config._load(line.lines)
        config._warn_of_unused()
        return config

    @classmethod
    def check_file(cls, path: str) -> tuple[Config, list[ConfigError]]:
        """What a file alone makes of the defaults, and all its mistakes; a line that cannot be read ends it."""
        config = cls()
        mistakes: list[ConfigError] = []
        try:
            config._load(config_syntax.read_file(path), mistakes.append)
        except ConfigError as error:
            mistakes.append(error)
        config._warn_of_unused()
        return config, mistakes

    def _load_environment(self, environ: Mapping[str, str]) -> None:
        lines, unknown = config_syntax.read_environment(environ, [*DIRECTIVES, *ALIASES])
        self.warnings += [
            f"environment variable {name} names no directive" for name in unknown if name not in _OTHER_VARIABLES
        ]
        taken = []
        for line in lines:
            name, value = line.words
            if name == "port" and "://" in value:
                # Kubernetes sets <SERVICE>_PORT=tcp://address:port for every service, ours too if it is called mpkv.
                self.warnings.append(f"environment variable MPKV_PORT={value} is no port and is ignored")
                continue
            row = find(name)
            assert row is not None
            try:
                # Lines are written as in a file; any other value is one word.
                words = split_words(value) if isinstance(row.kind, Lines) else [value]
            except ValueError as error:
                raise line.error(str(error)) from None
            taken.append(Line(line.source, 0, (name, *words)))
        self._load(taken)

    def _load(self, lines: Iterable[Line], on_mistake: Callable[[ConfigError], None] | None = None) -> None:
        """One source: its lines in order. The first mistake is raised, or all are told."""
        seen: set[str] = set()
        for line in lines:
            try:
                seen.add(self._take(line, seen))
            except ConfigError as error:
                if on_mistake is None:
                    raise
                on_mistake(error)

    def _take(self, line: Line, seen: set[str]) -> str:
        """One line; its directive's name."""
        name, *words = line.words
        row = find(name)
        if row is None and name.lower() == "sentinel":
            raise line.error("this is a configuration of Sentinel, which mpkv is not: run it with redis-sentinel")
        if row is None or row.name == "include":
            raise line.error("Bad directive or wrong number of arguments" + _suggestion(name))
        if not words or (len(words) > 1 and not row.kind.several):
            raise line.error(f"wrong number of arguments; {row.name} is: {row.doc}")
        try:
            self._put(row, words, anew=row.name not in seen)
        except ValueError as error:
            raise line.error(str(error)) from None
        return row.name

    def lines(self) -> list[str]:
        """All settings as a config file would have them; of what is sensitive only whether it is set."""
        lines = []
        for name, row in DIRECTIVES.items():
            for words in row.kind.lines(getattr(self, row.attribute)):
                if row.sensitive and any(words):
                    lines.append(f"# {name} is set and not shown")
                else:
                    lines.append(" ".join([name, *map(quote_if_needed, words)]))
        return lines

    def _put(self, row: Directive, words: list[str], *, anew: bool) -> None:
        if row.kind.several and len(words) == 1 and not isinstance(row.kind, Lines):
            words = words[0].split(" ")  # several words may come as one: --save "60 1", CONFIG SET
        current = getattr(self, row.attribute)
        if anew and row.kind.starts_anew:
            current = []
        setattr(self, row.attribute, row.kind.parse(words, current))

    def _warn_of_unused(self) -> None:
        for row in DIRECTIVES.values():
            if not row.used and getattr(self, row.attribute) != row.default_value():
                self.warnings.append(f"{row.name} is accepted but has no effect in this version of mpkv")

    # CONFIG GET

    def text(self, name: str) -> str:
        """One directive's value as CONFIG GET shows it; KeyError if there is no such directive."""
        row = _known(name)
        if row is None:
            raise KeyError(name)
        return row.kind.text(getattr(self, row.attribute))

    def get(self, patterns: Iterable[str]) -> dict[str, str]:
        """Names -> values.

        A plain name is answered under the name asked for; a glob lists aliases too, but nothing hidden.
        """
        found: dict[str, str] = {}
        for pattern in patterns:
            if not any(character in pattern for character in "*?["):
                if _known(pattern) is not None:
                    found.setdefault(pattern, self.text(pattern))
                continue
            encoded = _encode(pattern)
            for name in _names():
                row = _known(name)
                if row is not None and not row.hidden and glob.matches(encoded, name.encode(), True):
                    found.setdefault(name, self.text(name))
        return found

    # CONFIG SET

    def set(self, pairs: Sequence[tuple[str, str]], *, local: bool = False) -> list[str]:
        """All of them, or none and a CommandError; the names of directives whose values are others now.

        :param local: the client is on this machine (for ``enable-protected-configs local``)
        """
        rows = self._check(pairs, local)
        old = {row.name: getattr(self, row.attribute) for row in rows}
        for row, (name, value) in zip(rows, pairs, strict=True):
            try:
                self._put(row, [value], anew=True)
            except ValueError as error:
                self._restore(old)
                raise _failure(name, str(error)) from None
        asked = {row.name: name for row, (name, _) in zip(rows, pairs, strict=True)}
        changed = [name for name in old if getattr(self, DIRECTIVES[name].attribute) != old[name]]
        # Setting a file's name again re-reads the file, so that a certificate can be replaced in place.
        self._tell(changed + [name for name in old if name not in changed and name.endswith("-file")], old, asked)
        return changed

    def _check(self, pairs: Sequence[tuple[str, str]], local: bool) -> list[Directive]:
        """The directives, before anything is parsed. The first refusal counts, except that LOADING wins over all."""
        rows: list[Directive] = []
        seen: set[str] = set()
        refusal: CommandError | None = None
        for name, _ in pairs:
            row = _known(name)
            if row is None:
                refusal = refusal or CommandError(
                    f"ERR Unknown option or number of arguments for CONFIG SET - '{_one_line(name)}'"
                )
                continue
            if self.loading and Flag.NOT_LOADING in row.flags:
                raise errors.LOADING
            if not row.mutable:
                refusal = refusal or _failure(name, "can't set immutable config")
            elif row.protected and not self._may_set_protected(local):
                refusal = refusal or _failure(name, "can't set protected config")
            elif name.lower() in seen:
                refusal = refusal or _failure(name, "duplicate parameter")
            seen.add(name.lower())
            rows.append(row)
        if refusal is not None:
            raise refusal
        return rows

    def _may_set_protected(self, local: bool) -> bool:
        return bool(self.enable_protected_configs == "yes" or (self.enable_protected_configs == "local" and local))

    def _restore(self, old: Mapping[str, Any]) -> None:
        for name, value in old.items():
            setattr(self, DIRECTIVES[name].attribute, value)

    def _tell(self, names: Sequence[str], old: Mapping[str, Any], asked: Mapping[str, str]) -> None:
        """Call the observers; if one refuses, everything is put back and those that were told are told again."""
        for at, name in enumerate(names):
            try:
                self._notify(name)
            except _REFUSALS as error:
                self._restore(old)
                for told in names[: at + 1]:
                    self._notify_quietly(told)
                raise _failure(asked[name], str(error)) from error

    def _notify(self, name: str) -> None:
        for callback in self._observers.get(name, ()):
            callback(getattr(self, DIRECTIVES[name].attribute))

    def _notify_quietly(self, name: str) -> None:
        for callback in self._observers.get(name, ()):
            try:
                callback(getattr(self, DIRECTIVES[name].attribute))
            except _REFUSALS:
                # The old value was accepted before; if it no longer is, the first refusal is the one to report.
                continue

    def on_change(self, name: str, callback: Observer) -> None:
        """Call `callback` with the new value after CONFIG SET changed it.

        It may refuse with CommandError, OSError or ValueError.
        """
        assert name in DIRECTIVES, name
        self._observers.setdefault(name, []).append(callback)

    # CONFIG REWRITE

    def rewrite(self) -> None:
        """Write the settings back to the config file, keeping what people wrote around them; CommandError if that
        fails.
        """
        if self.file is None:
            raise CommandError("ERR The server is running without a config file")
        values = {name: getattr(self, row.attribute) for name, row in DIRECTIVES.items()}
        try:
            config_rewrite.rewrite_file(Path(self.file), values)
        except OSError as error:
            raise CommandError(f"ERR Rewriting config file: {error.strerror}") from error

    # For child processes

    def to_json(self) -> bytes:
        """Everything, for `from_json` in another process."""
        values = {
            name: [[_as_latin(word) for word in line] for line in row.kind.lines(getattr(self, row.attribute))]
            for name, row in DIRECTIVES.items()
        }
        return msgspec.json.encode({"file": _as_latin(self.file) if self.file else None, "values": values})

    @classmethod
    def from_json(cls, data: bytes) -> Config:
        decoded = msgspec.json.decode(data)
        config = cls()
        config.file = _from_latin(decoded["file"]) if decoded["file"] else None
        for name, lines in decoded["values"].items():
            row = DIRECTIVES[name]
            for at, line in enumerate(lines):
                words = [_from_latin(word) for word in line]
                if isinstance(row.kind, Directory):
                    # Checked when it was set; if it has gone since, whoever opens something in it says so
                    setattr(config, row.attribute, words[0])
                else:
                    config._put(row, words, anew=at == 0)
        return config

    # Derived

    def worker_count(self) -> int:
        """How many workers to start: `workers`, or what this machine and this service's limits suggest."""
        return int(self.workers) or max(1, usable_cores() - 1)


def usable_cores() -> int:
    """Cores that this process may use: by affinity, and by the CPU quota of its control groups, rounded up."""
    cores = len(os.sched_getaffinity(0))
    quota = _cgroup_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _cgroup_quota(root: str = "/sys/fs/cgroup", membership: str = "/proc/self/cgroup") -> float | None:
    """The smallest quota on the way up, in cores; None if there is none. Knows version 2 and version 1."""
    try:
        entries = [line.split(":", 2) for line in Path(membership).read_text().splitlines()]
    except OSError:
        return None
    quotas = []
    for _, controllers, path in entries:
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = Path(root) if not controllers else Path(root, "cpu")
        group = base / path.lstrip("/")
        # Within a container the path may be the host's: then only the root of what is mounted is there.
        for directory in [group, *group.parents]:
            if directory.is_relative_to(base):
                quotas.append(_quota_of(directory))
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_of(group: Path) -> float | None:
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        return int(quota) / int(period) if quota != "max" and int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _suggestion(name: str) -> str:
    # Only a mistake pays for the import.
    import difflib

    close = difflib.get_close_matches(name.lower(), [*DIRECTIVES, *ALIASES], n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _failure(name: str, reason: str) -> CommandError:
    reason = reason.removeprefix("ERR ")
    return CommandError(f"ERR CONFIG SET failed (possibly related to argument '{_one_line(name)}') - {reason}")


def _one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ")


def _encode(text: str) -> bytes:
    return text.encode(ENCODING, ENCODING_ERRORS)


def _as_latin(text: str) -> str:
    """JSON has no lone surrogates: bytes that are not UTF-8 travel as the characters of the same number."""
    return _encode(text).decode("latin-1")


def _from_latin(text: str) -> str:
    return text.encode("latin-1").decode(ENCODING, ENCODING_ERRORS)
