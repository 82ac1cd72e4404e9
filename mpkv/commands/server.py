"""The server as a whole: INFO, TIME, ROLE and their like."""

from __future__ import annotations

import time
from typing import Any

from mpkv.commands.spec import DANGEROUS, FAST, LOADING, NOSCRIPT, SETTLED, STALE, command
from mpkv.resp.replies import Verbatim


@command("INFO", arity=-1, flags=LOADING | STALE | DANGEROUS | SETTLED)
def info(conn: Any, *sections: bytes) -> Any:
    """INFO [section [section ...]] -- Returns information and statistics about the server."""
    return Verbatim(conn.server.info([section.decode("latin-1").lower() for section in sections]))


@command("TIME", arity=1, flags=LOADING | STALE | FAST, since="2.6.0")
def time_(conn: Any) -> list[bytes]:
    """TIME -- Returns the server time."""
    seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    return [b"%d" % seconds, b"%d" % microseconds]


@command("ROLE", arity=1, flags=NOSCRIPT | LOADING | STALE | FAST | DANGEROUS, since="2.8.12")
def role(conn: Any) -> list[Any]:
    """ROLE -- Returns the replication role."""
    return [b"master", 0, []]
