"""The door: takes over the listening sockets and lets connections in, or refuses them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import socket
import time
from typing import TYPE_CHECKING, Final

from mpkv.frontend.connection import Connection
from mpkv.shm.layout import State
from mpkv.start_checks import OWN_DESCRIPTORS

if TYPE_CHECKING:
    from mpkv.frontend.main import Frontend

TOO_MANY_CLIENTS: Final = b"-ERR max number of clients reached\r\n"
DENIED: Final = (
    b"-DENIED mpkv is running in protected mode because protected mode is enabled and no password is set for the "
    b"default user. In this mode connections are only accepted from the loopback interface. If you want to connect "
    b"from external computers, set a password (requirepass), or disable protected mode with CONFIG SET protected-mode "
    b"no from the loopback interface, or with --protected-mode no.\r\n"
)

#: New objects between two looks for garbage: a command over several shards makes one that lives until its last reply,
#: and thousands of these are under way in a busy turn. None of them is ever part of a circle.
GARBAGE_THRESHOLD: Final = 20_000


class Listener:
    """Accepts connections from the sockets that the supervisor holds.

    :param descriptors: the listening sockets
    """

    def __init__(self, server: Frontend, descriptors: list[int]) -> None:
        self._server = server
        self._config = server.config
        self._router = server.router
        self._block = server.block
        self._loop = server.loop
        self._descriptors = descriptors
        self._last_id = 0
        self._servers: list[asyncio.Server] = []

    async def serve(self) -> None:
        for fd in self._descriptors:
            sock = socket.socket(fileno=fd)
            sock.setblocking(False)
            if sock.family == socket.AF_UNIX:
                server = await self._loop.create_unix_server(self._accept, sock=sock, backlog=self._config.tcp_backlog)
            else:
                server = await self._loop.create_server(self._accept, sock=sock, backlog=self._config.tcp_backlog)
            self._servers.append(server)
        self._block.enter(State.READY)
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE_THRESHOLD)
        self._server.saver.remove_abandoned()
        self._server.channel.send("serving")

    def _accept(self) -> Connection:
        self._last_id += 1
        return Connection(self._server, self._router, self._last_id)

    def opened(self, conn: Connection) -> None:
        """A connection was made: refuse it, or take it in."""
        transport = conn.transport
        sock = transport.get_extra_info("socket")
        conn.peer, conn.local = _address(sock, peer=True), _address(sock, peer=False)
        conn.created = conn.last_active = time.time()
        refusal = self._refusal(conn)
        if refusal is not None:
            self._block.count("rejected_connections")
            transport.write(refusal)
            transport.close()
            conn.stop(128)
            return
        if sock.family != socket.AF_UNIX and self._config.tcp_keepalive:
            _keep_alive(sock, self._config.tcp_keepalive)
        conn.authenticated = not self._config.requirepass
        conn.user = b"default"
        self._server.clients[conn.id] = conn
        self._block.count("total_connections_received")  # those that are refused do not count, as in Redis
        self._server.sessions.update_plain(conn)

    def _refusal(self, conn: Connection) -> bytes | None:
        """Why a new connection is not taken in."""
        if len(self._server.clients) >= self._config.maxclients:
            return TOO_MANY_CLIENTS
        if self._config.protected_mode and not self._config.requirepass and not self._server.is_local(conn):
            return DENIED
        return None

    def close(self) -> None:
        """Accept nobody any more."""
        for server in self._servers:
            server.close()


def _address(sock: socket.socket, *, peer: bool) -> str:
    if sock.family == socket.AF_UNIX:
        with contextlib.suppress(OSError):
            return f"{sock.getsockname()}:0"
        return "unixsocket:0"
    try:
        name = sock.getpeername() if peer else sock.getsockname()
    except OSError:
        return "?:0"
    return f"[{name[0]}]:{name[1]}" if sock.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


def provide_descriptors(clients: int) -> None:
    """Have the kernel allow this process so many clients; ValueError if it does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = clients + OWN_DESCRIPTORS
    if needed <= soft:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(hard, needed)))
    except (OSError, ValueError):
        reason = "The operating system is not able to handle the specified number of clients"
        raise ValueError(f"{reason}, try with {hard - OWN_DESCRIPTORS}") from None


def _keep_alive(sock: socket.socket, seconds: int) -> None:
    """As Redis does: probes at a third of the interval, three of them."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, seconds // 3))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
