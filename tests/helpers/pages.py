"""What a running server says of its shared pages for large values, on /metrics."""

from __future__ import annotations

import re
import time
import urllib.request

_TIMEOUT_S = 60.0


def scraped(port: int, name: str) -> int:
    """A number of the board, summed over the frontend and all shards."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=_TIMEOUT_S) as page:
        text = page.read().decode()
    found = re.findall(rf"^mpkv_(?:frontend_)?{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
    assert found, f"there is no {name}"
    return int(sum(map(float, found)))


def pages_in_use(port: int) -> int:
    """Bytes of the pages that hold requests or replies under way."""
    return scraped(port, "large_pages_bytes")


def by_reference(port: int) -> int:
    """Requests and replies that did not travel in a batch."""
    return scraped(port, "large_by_reference_total")


def without_room(port: int) -> int:
    """Those that did, as there were no pages free."""
    return scraped(port, "large_without_room_total")


def all_pages_come_back(port: int) -> bool:
    """Whether, within a while, no page is in use."""
    end = time.monotonic() + _TIMEOUT_S
    while pages_in_use(port):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
