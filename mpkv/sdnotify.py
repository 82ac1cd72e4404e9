"""Telling the service manager how far the server is: one datagram to the socket that it named (sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(supervised: str, state: str) -> None:
    """Send `state`, such as ``READY=1``, if the directive `supervised` asks for it and a manager listens."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if supervised not in ("systemd", "auto") or not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end, contextlib.suppress(OSError):
        end.sendto(state.encode(), address)
