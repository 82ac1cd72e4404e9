"""The server that is asked: somebody's, or one of our own for the time of the run."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from mpkv import testing
from traffic.resp_connection import Address, RespConnection

LOOPBACK: Final = testing.HOST


@dataclass(frozen=True)
class Target:
    """Where it is; `server` is there if it is our own."""

    address: str
    metrics_url: str | None
    server: testing.Server | None = None

    @property
    def parsed(self) -> Address:
        return Address.parse(self.address)

    def version(self) -> str:
        """What it says that it is."""
        with RespConnection(self.parsed) as connection:
            lines = connection.call("INFO", "server").decode().splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        return f"mpkv {fields['mpkv_version']}" if "mpkv_version" in fields else f"Redis {fields['redis_version']}"


def theirs(address: str, metrics_url: str | None) -> Target:
    """A server that runs already; its metrics are looked for where mpkv has them by default."""
    host = Address.parse(address).host
    return Target(address, metrics_url or f"http://{f'[{host}]' if ':' in host else host}:9121/metrics")


@contextmanager
def our_own(workers: int | None, **directives: Any) -> Iterator[Target]:
    """An mpkv on loopback, in a folder that goes with it. `workers` None is what mpkv takes by itself."""
    port = free_port()
    with testing.Server(workers or 0, metrics_port=port, **directives) as server:
        yield Target(f"{server.host}:{server.port}", f"http://{server.host}:{port}/metrics", server)


def free_port() -> int:
    """Of loopback."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
