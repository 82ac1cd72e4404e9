"""The command line: ``mpkv <subcommand>``, and ``mpkv-server`` with redis-server's arguments.

Both end in `mpkv.supervisor.run(config)`. What a subcommand needs is imported when it runs, so that ``mpkv ping`` is
quick and ``mpkv check-config`` works where the server could not start.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Final

from mpkv import REDIS_VERSION, __version__
from mpkv.config import Config, ConfigError

_PING_TIMEOUT_SECONDS: Final = 3.0

_USAGE: Final = """\
usage: mpkv serve [mpkv.conf] [--directive value ...] [-]   run the server
       mpkv check-config FILE                               say whether a config file can be used
       mpkv check-rdb FILE                                  check a snapshot and say what it holds
       mpkv ping [-h HOST] [-p PORT] [-s SOCKET] [-a PASSWORD]
                                                            0 if a server answers, 1 if not
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
    config = Config.from_command_line(argv)
    from mpkv import supervisor

    return int(supervisor.run(config))


def _check_config(argv: Sequence[str]) -> int:
    if len(argv) != 1:
        raise UsageError("check-config takes one file")
    config = Config.from_command_line([os.path.join(".", argv[0]) if argv[0].startswith("-") else argv[0]], {})
    for warning in config.warnings:
        print(f"warning: {warning}")
    print(f"{argv[0]}: OK")
    return 0


def _check_rdb(argv: Sequence[str]) -> int:
    if len(argv) != 1:
        raise UsageError("check-rdb takes one file")
    from mpkv.snapshot import inspect

    return int(inspect.main(list(argv)) or 0)


def _ping(argv: Sequence[str]) -> int:
    options = {"-h": "127.0.0.1", "-p": "6379", "-s": "", "-a": os.environ.get("REDISCLI_AUTH", "")}
    words = list(argv)
    while words:
        name = words.pop(0)
        if name not in options or not words:
            raise UsageError(f"ping: {name} is not an option with a value")
        options[name] = words.pop(0)
    try:
        answer = ping(options["-h"], int(options["-p"]), options["-s"], options["-a"])
    except (OSError, ValueError) as error:
        print(f"mpkv ping: {error}", file=sys.stderr)
        return 1
    print(answer)
    # A server that asks for a password, or is loading, is there but cannot be used: only PONG is health.
    return 0 if answer == "PONG" else 1


def ping(host: str, port: int, path: str = "", password: str = "") -> str:
    """The answer to PING without its type byte. OSError if there is none."""
    with _connect(host, port, path) as connection:
        connection.settimeout(_PING_TIMEOUT_SECONDS)
        with connection.makefile("rb") as answers:
            if password:
                secret = os.fsencode(password)
                connection.sendall(b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%b\r\n" % (len(secret), secret))
                answer = answers.readline(4096)
                if not answer.startswith(b"+"):
                    return answer[1:].decode(errors="replace").strip()
            connection.sendall(b"*1\r\n$4\r\nPING\r\n")
            answer = answers.readline(4096)
    if not answer.endswith(b"\r\n"):
        raise ConnectionError("the server closed the connection")
    return answer[1:].decode(errors="replace").strip()


def _connect(host: str, port: int, path: str) -> socket.socket:
    if not path:
        return socket.create_connection((host, port), _PING_TIMEOUT_SECONDS)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_PING_TIMEOUT_SECONDS)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _version(argv: Sequence[str]) -> int:
    print(f"mpkv {__version__} (Redis {REDIS_VERSION})")
    return 0


def _usage(argv: Sequence[str]) -> int:
    print(_USAGE, end="")
    return 0


_SUBCOMMANDS: Final[dict[str, Callable[[Sequence[str]], int]]] = {
    "serve": _serve, "check-config": _check_config, "check-rdb": _check_rdb, "ping": _ping,
    "--version": _version, "-v": _version, "--help": _usage, "-h": _usage, "help": _usage,
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """``mpkv``: the exit code is 0, 1 for what went wrong, 2 for a command line that was not understood."""
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
    print("mpkv-server has no memory test; memtester(8) and memtest86+ test memory.", file=sys.stderr)
    return 1


def _refuse_sentinel(argv: Sequence[str]) -> int:
    print("mpkv-server cannot run as a Sentinel; use redis-sentinel, which can watch mpkv servers.", file=sys.stderr)
    return 1


def _check_system(argv: Sequence[str]) -> int:
    """What of the system's settings would hurt; 1 if anything does."""
    problems = [
        advice
        for path, is_bad, advice in (
            ("/proc/sys/vm/overcommit_memory", lambda text: text.strip() == "2",
             "vm.overcommit_memory is 2: a fork for a snapshot may be refused; set it to 1"),
            ("/sys/kernel/mm/transparent_hugepage/enabled", lambda text: "[always]" in text,
             "transparent huge pages are on for all memory: snapshots copy more; set them to madvise"),
        )
        if is_bad(_read(path))
    ]  # fmt: skip
    for problem in problems:
        print(problem)
    if not problems:
        print("OK")
    return 1 if problems else 0


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


#: Count only as the first argument, as in redis-server.
_FIRST_ARGUMENTS: Final[dict[str, Callable[[Sequence[str]], int]]] = {
    "-v": _print_version, "--version": _print_version, "-h": _print_server_usage, "--help": _print_server_usage,
    "--test-memory": _refuse_memory_test, "--check-system": _check_system,
}  # fmt: skip


def server_main(argv: Sequence[str] | None = None) -> int:
    """``mpkv-server``: redis-server's arguments, whole."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in _FIRST_ARGUMENTS:
        return _FIRST_ARGUMENTS[words[0]](words[1:])
    if "--sentinel" in words:
        return _refuse_sentinel(words)
    return _run(_serve, words)
