"""Telling the service manager how the server is: one datagram each to the socket that it named (sd_notify(3)).

A server that runs without a service manager has a `ServiceManager` all the same, which tells nobody.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from typing import Final

logger = logging.getLogger(__name__)

#: What the manager says to the one process that it started. A child that had them would speak in its name.
VARIABLES: Final = (
    "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID",
)  # fmt: skip


class ServiceManager:
    """The other end.

    :param address: of its socket; ``@`` at the beginning stands for the abstract namespace; empty: there is none
    :param watchdog_s: it wants to hear ``WATCHDOG=1`` at least so often; None: it does not care
    """

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = watchdog_s if address else None
        self._failed = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None

    @classmethod
    def found(cls, supervised: str, environment: Mapping[str, str] = os.environ) -> ServiceManager:
        """As the directive `supervised` and the environment say."""
        address = environment.get("NOTIFY_SOCKET", "")
        if supervised not in ("systemd", "auto"):
            return cls()
        if not address and supervised == "systemd":
            logger.warning("systemd supervision requested, but NOTIFY_SOCKET is not set: nobody will be notified")
        return cls(address, _watchdog_s(environment))

    @property
    def is_there(self) -> bool:
        return self._socket is not None

    def tell(self, *lines: str) -> None:
        """Send ``READY=1`` and its like. Never waits: a manager that does not read is told again soon enough."""
        if self._socket is None:
            return
        try:
            self._socket.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, self._address)
        except OSError as error:
            if not self._failed:
                logger.warning("The service manager cannot be told %s: %s", lines[0], error.strerror or error)
            self._failed = True
        else:
            self._failed = False

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """sd_watchdog_enabled(3): a time for another process is none for us."""
    interval_us = environment.get("WATCHDOG_USEC", "")
    if not interval_us.isdecimal() or environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(interval_us) / 1_000_000 or None
