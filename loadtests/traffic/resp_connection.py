"""A connection to a server that speaks RESP: a socket and hiredis' parser, which does no I/O of its own."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import hiredis

Word = bytes | str | int | float

#: A request in RESP. (The stub of hiredis takes a tuple of any length for one of one word.)
pack: Final[Callable[[tuple[Word, ...]], bytes]] = hiredis.pack_command  # type: ignore[assignment]

#: An answer that is later counts as none.
REPLY_TIMEOUT_S: Final = 10.0
_DEFAULT_PORT: Final = 6379
_READ_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class Address:
    """Where a server is, and as whom to speak to it."""

    host: str
    port: int
    username: str = ""
    password: str = ""
    database: int = 0
    tls: bool = False

    @classmethod
    def parse(cls, text: str) -> Address:
        """`host`, `host:port` or `redis[s]://[user][:password@]host[:port][/database]`; raises ValueError."""
        url = urlsplit(text if "://" in text else f"redis://{text}")
        if url.scheme not in ("redis", "rediss") or not url.hostname:
            raise ValueError(f"{text!r} is no address of a server: HOST:PORT or redis://[:PASSWORD@]HOST:PORT[/DB]")
        return cls(
            url.hostname, url.port or _DEFAULT_PORT, unquote(url.username or ""), unquote(url.password or ""),
            int(url.path.strip("/") or 0), url.scheme == "rediss",
        )  # fmt: skip

    @property
    def shown(self) -> str:
        """Without the password."""
        return f"{self.host}:{self.port}" + (f"/{self.database}" if self.database else "")


class RespConnection:
    """Blocking; `ConnectionError` and `TimeoutError` as sockets raise them."""

    def __init__(self, address: Address, timeout_s: float = REPLY_TIMEOUT_S) -> None:
        self.received_bytes = 0
        self._reader = hiredis.Reader()
        self._socket = socket.create_connection((address.host, address.port), timeout=timeout_s)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if address.tls:
                self._socket = ssl.create_default_context().wrap_socket(self._socket, server_hostname=address.host)
            if address.password:
                self.call("AUTH", *filter(None, [address.username]), address.password)
            if address.database:
                self.call("SELECT", address.database)
        except BaseException:
            self.close()
            raise

    def ask(self, requests: bytes, count: int = 1) -> list[Any]:
        """Send packed requests at once and take as many replies; an error reply is one of them."""
        self._socket.sendall(requests)
        return [self.receive() for _ in range(count)]

    def call(self, *words: Word) -> Any:
        """Send one command; its reply. Raises hiredis.ReplyError for an error."""
        (reply,) = self.ask(pack(words))
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def call_all(self, commands: Sequence[tuple[Word, ...]]) -> list[Any]:
        """Send commands as one pipeline; their replies. Raises hiredis.ReplyError for the first error."""
        replies = self.ask(b"".join(map(pack, commands)), len(commands))
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise reply
        return replies

    def receive(self) -> Any:
        """The next reply, or the next message of a subscription."""
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(_READ_BYTES)
            if not data:
                raise ConnectionError("the server closed the connection")
            self.received_bytes += len(data)
            self._reader.feed(data)
        return reply

    def set_timeout(self, seconds: float) -> None:
        """From now on a reply may take so long."""
        self._socket.settimeout(seconds)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> RespConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
