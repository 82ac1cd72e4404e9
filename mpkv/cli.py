"""The command line: ``mpkv <subcommand>``, and ``mpkv-server`` with redis-server's arguments.

Both end in `mpkv.supervisor.run(config)`. What a subcommand needs is imported when it runs, so that ``mpkv ping`` is
quick and ``mpkv check-config`` works where the server could not start.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from mpkv import REDIS_VERSION, __version__, rights
from mpkv.config import Config, ConfigError

_USAGE: Final = """\
usage: mpkv serve [mpkv.conf] [--directive value ...] [-]   run the server
       mpkv check-config FILE [-v]                          say whether a config file can be used; -v: and what
                                                            all settings would be
       mpkv check-rdb FILE                                  check a snapshot and say what it holds
       mpkv ping [--host HOST] [--port PORT] [--socket PATH] [--user USER] [--password PASSWORD] [--timeout SECONDS]
                                                            0 if a server answers PONG, 1 if not; the password may be
                                                            in REDISCLI_AUTH instead
       mpkv dashboards export [--folder DIR]                write the Grafana board and Prometheus' rules into DIR
       mpkv --version
"""

_SERVER_USAGE: Final = """\
Usage: mpkv-server [/path/to/mpkv.conf] [options] [-]
       mpkv-server - (read config from stdin)
       mpkv-server -v or --version
       mpkv-server -h or --help
       mpkv-server --check-system

Examples:
       mpkv-server (run with the defaults)
       echo 'maxmemory 128mb' | mpkv-server -
       mpkv-server /etc/mpkv/6379.conf
       mpkv-server --port 7777 --workers 4
       mpkv-server /etc/mpkv.conf --loglevel verbose -
"""


class UsageError(Exception):
    """The command line cannot be understood; the text says what was expected."""


def version_line() -> str:
    """Begins as redis-server's, because tools look for that."""
    build = f"{_build_number():016x}"
    return f"Redis server v={REDIS_VERSION} sha=00000000:0 malloc=libc bits=64 build={build} mpkv={__version__}"


def _build_number() -> int:
    """Tells builds apart: the version of mpkv and of the interpreter it runs on."""
    import zlib

    return zlib.crc32(f"{__version__} {sys.version}".encode())


def _serve(argv: Sequence[str]) -> int:
    try:
        config = Config.from_command_line(argv)
    except ConfigError as error:
        lacking = rights.explain("config file", Path(error.source), os.R_OK) if error.source else None
        if lacking is None:
            raise
        print(f"mpkv: {lacking}", file=sys.stderr)
        return rights.EXIT_STATUS
    from mpkv import supervisor

    return int(supervisor.run(config))


def _check_config(argv: Sequence[str]) -> int:
    """All mistakes of a file, not only the first. The file alone: neither environment nor command line."""
    files = [word for word in argv if word not in ("-v", "--verbose")]
    if len(files) != 1:
        raise UsageError("check-config takes one file, and -v")
    config, mistakes = Config.check_file(files[0])
    for mistake in mistakes:
        _explain(mistake)
    for warning in config.warnings:
        print(f"warning: {warning}")
    if mistakes:
        return 1
    if len(files) < len(argv):
        print(*config.lines(), sep="\n")
    print(f"{files[0]}: OK")
    return 0


def _check_rdb(argv: Sequence[str]) -> int:
    if len(argv) != 1:
        raise UsageError("check-rdb takes one file")
    from mpkv.snapshot import inspect

    return int(inspect.main(list(argv)) or 0)


def _dashboards(argv: Sequence[str]) -> int:
    words = list(argv)
    if words[:1] != ["export"]:
        raise UsageError("dashboards: the one thing to do with them is export")
    if words[1:] and (words[1] != "--folder" or len(words) != 3):
        raise UsageError("dashboards export takes --folder DIR")
    from mpkv.metrics.grafana.export import export

    folder = Path(words[2] if len(words) == 3 else ".")
    try:
        files = export(folder)
    except OSError as error:
        print(f"mpkv dashboards: {folder}: {error.strerror or error}", file=sys.stderr)
        return 1
    print(*files, sep="\n")
    return 0


def _ping(argv: Sequence[str]) -> int:
    from mpkv import ping

    try:
        target = ping.parse(argv)
    except ValueError as error:
        raise UsageError(f"ping: {error}") from error
    try:
        answer = ping.ping(target)
    except OSError as error:
        print(f"mpkv ping: {error}", file=sys.stderr)
        return 1
    print(answer)
    # A server that asks for a password, or is loading, is there but cannot be used: only PONG is health.
    return 0 if answer == "PONG" else 1


def _version(argv: Sequence[str]) -> int:
    print(f"mpkv {__version__} (Redis {REDIS_VERSION})")
    return 0


def _usage(argv: Sequence[str]) -> int:
    print(_USAGE, end="")
    return 0


_SUBCOMMANDS: Final[dict[str, Callable[[Sequence[str]], int]]] = {
    "serve": _serve, "check-config": _check_config, "check-rdb": _check_rdb, "ping": _ping,
    "dashboards": _dashboards,
    "--version": _version, "-v": _version, "--help": _usage, "-h": _usage, "help": _usage,
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """``mpkv``: the exit code is 0, 1 for what went wrong, 2 for a command line that was not understood,
    77 for a right that this user does not have."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words:
        print(_USAGE, end="", file=sys.stderr)
        return 2
    action = _SUBCOMMANDS.get(words[0])
    if action is None:
        print(f"mpkv: {words[0]} is not a subcommand\n{_USAGE}", end="", file=sys.stderr)
        return 2
    return _run(action, words[1:])


def _run(action: Callable[[Sequence[str]], int], words: Sequence[str]) -> int:
    try:
        return action(words)
    except UsageError as error:
        print(f"mpkv: {error}\n{_USAGE}", end="", file=sys.stderr)
        return 2
    except ConfigError as error:
        _explain(error)
        return 1


def _explain(error: ConfigError) -> None:
    """In the form that redis-server gives it."""
    print(f"\n*** FATAL CONFIG FILE ERROR (mpkv {__version__}) ***", file=sys.stderr)
    if error.line:
        print(f"Reading the configuration file {error.source}, at line {error.line}", file=sys.stderr)
    elif error.source:
        print(f"Reading the {error.source}", file=sys.stderr)
    if error.directive:
        print(f">>> '{error.directive}'", file=sys.stderr)
    print(error.reason, file=sys.stderr)


def _print_version(argv: Sequence[str]) -> int:
    print(version_line())
    return 0


def _print_server_usage(argv: Sequence[str]) -> int:
    print(_SERVER_USAGE, end="", file=sys.stderr)
    return 1


def _refuse_memory_test(argv: Sequence[str]) -> int:
    print(
        "mpkv-server has no memory test. Use 'memtester <MB> 1' while the machine runs, or memtest86+ at boot.",
        file=sys.stderr,
    )
    return 1


def _refuse_sentinel(argv: Sequence[str]) -> int:
    print(
        "mpkv-server cannot run as a Sentinel. Run redis-sentinel with that configuration; it can watch mpkv servers.",
        file=sys.stderr,
    )
    return 1


def _check_system(argv: Sequence[str]) -> int:
    """What of the machine's settings would hurt a server with these arguments; 1 if anything does."""
    from mpkv import start_checks

    config = Config.from_command_line(argv)
    found = 0
    for name, sentence in start_checks.run_checks(config):
        print(f"[{name}]...{'OK' if sentence is None else 'WARNING'}")
        if sentence is not None:
            found += 1
            print(f"{sentence}\n")
    return 1 if found else 0


def _run_check_system(argv: Sequence[str]) -> int:
    return _run(_check_system, argv)


#: Count only as the first argument, as in redis-server.
_FIRST_ARGUMENTS: Final[dict[str, Callable[[Sequence[str]], int]]] = {
    "-v": _print_version, "--version": _print_version, "-h": _print_server_usage, "--help": _print_server_usage,
    "--test-memory": _refuse_memory_test, "--check-system": _run_check_system,
}  # fmt: skip


def server_main(argv: Sequence[str] | None = None) -> int:
    """``mpkv-server``: redis-server's arguments, whole."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in _FIRST_ARGUMENTS:
        return _FIRST_ARGUMENTS[words[0]](words[1:])
    if "--sentinel" in words:
        return _refuse_sentinel(words)
    return _run(_serve, words)
