"""The sockets that clients connect to: handed over by the service manager, or bound here.

With socket activation (sd_listen_fds(3)) the service manager binds, and keeps what it bound over restarts of the whole
server: clients that come in between wait in the backlog, none is refused. What is handed over stands in for the
configuration, kind by kind: TCP sockets for `bind` and `port`, unix sockets for `unixsocket`; a kind of which nothing
was handed over is bound as configured. The settings follow, so that CONFIG GET and INFO tell what is true.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import Mapping
from typing import Final

from mpkv.config import Config

logger = logging.getLogger(__name__)

#: Where the service manager puts the first of them.
FIRST_FD: Final = 3

_TCP: Final = (socket.AF_INET, socket.AF_INET6)


class StartFailed(Exception):
    """The server cannot start: the text says why, in one line."""


class Listeners:
    """All of them, in the order in which the frontend gets them.

    :raises StartFailed: one that must be had cannot be had, or one that was handed over is no use
    """

    def __init__(self, config: Config, environment: Mapping[str, str] = os.environ, first_fd: int = FIRST_FD) -> None:
        inherited = inherit(environment, first_fd)
        self.sockets = list(inherited)
        self._own_paths: list[str] = []  #: of unix sockets that we bound, and remove
        has_tcp = any(listener.family in _TCP for listener in inherited)
        has_path = any(listener.family == socket.AF_UNIX for listener in inherited)
        _follow(config, inherited)
        try:
            if config.port and not has_tcp:
                self.sockets += bind_tcp(config)
            if config.unixsocket and not has_path:
                self.sockets.append(_listen_on_path(config.unixsocket, config.unixsocketperm, config.tcp_backlog))
                self._own_paths.append(config.unixsocket)
            if not self.sockets:
                raise StartFailed("nothing to listen on: port is 0 and there is no unixsocket")
        except StartFailed:
            self.close()
            raise

    def filenos(self) -> list[int]:
        return [listener.fileno() for listener in self.sockets]

    def close(self) -> None:
        """Close all, and remove the paths of our own; a service manager's stay for the next start."""
        for path in self._own_paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        for listener in self.sockets:
            listener.close()


# -- handed over -------------------------------------------------------------------------------------------------------


def inherit(environment: Mapping[str, str], first_fd: int = FIRST_FD) -> list[socket.socket]:
    """The listening sockets that were handed to this very process."""
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = environment.get("LISTEN_FDS", "")
    if not count.isdecimal():
        raise StartFailed(f"LISTEN_FDS is {count!r}: a number was expected")
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    listeners = []
    for at in range(int(count)):
        name = names[at] if at < len(names) and names[at] else "unnamed"
        listener = _take_over(first_fd + at, name)
        logger.info("Listening on %s, handed over by the service manager (%s)", _where(listener), name)
        listeners.append(listener)
    return listeners


def _take_over(fd: int, name: str) -> socket.socket:
    try:
        os.set_inheritable(fd, False)
        listener = socket.socket(fileno=fd)
    except OSError as error:
        raise StartFailed(f"descriptor {fd} ({name}) was handed over as a socket: {error.strerror}") from error
    is_stream = listener.type == socket.SOCK_STREAM and listener.family in (*_TCP, socket.AF_UNIX)
    if not is_stream or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.detach()
        raise StartFailed(
            f"descriptor {fd} ({name}) is no listening stream socket; a socket unit for mpkv has ListenStream= and "
            "Accept=no"
        )
    listener.setblocking(False)
    return listener


def _follow(config: Config, inherited: list[socket.socket]) -> None:
    """Have the settings say what was handed over."""
    tcp = [listener.getsockname() for listener in inherited if listener.family in _TCP]
    if tcp:
        vars(config).update(port=tcp[0][1], bind=[address[0] for address in tcp])
    for listener in inherited:
        if listener.family == socket.AF_UNIX:
            name = listener.getsockname()
            vars(config).update(unixsocket=name if isinstance(name, str) else os.fsdecode(name))


def _where(listener: socket.socket) -> str:
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return name if isinstance(name, str) else repr(name)
    return f"[{name[0]}]:{name[1]}" if listener.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


# -- bound here --------------------------------------------------------------------------------------------------------


def bind_tcp(config: Config) -> list[socket.socket]:
    """A socket for every address of `bind` that there is."""
    listeners = []
    for word in config.bind:
        address = word.removeprefix("-")
        try:
            listeners.append(_listen_on(address, config.port, config.tcp_backlog))
        except OSError as error:
            if word.startswith("-") and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                continue
            for listener in listeners:
                listener.close()
            raise StartFailed(f"cannot listen on {address} port {config.port}: {error.strerror or error}") from error
    return listeners


def _listen_on(address: str, port: int, backlog: int) -> socket.socket:
    wildcard = {"*": "0.0.0.0", "::*": "::"}.get(address, address)
    family, kind, protocol, _, where = socket.getaddrinfo(
        wildcard, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(where)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _listen_on_path(path: str, permissions: int, backlog: int) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Closed to others from the moment it exists; opened up afterwards if so configured
    umask = os.umask(0o177)
    try:
        listener.bind(path)
    except OSError as error:
        listener.close()
        raise StartFailed(f"cannot listen on {path}: {error.strerror or error}") from error
    finally:
        os.umask(umask)
    os.chmod(path, permissions or 0o777 & ~umask)
    listener.listen(backlog)
    listener.setblocking(False)
    return listener
