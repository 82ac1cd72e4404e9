"""LATENCY: what has held the server up, and how long commands take."""

from __future__ import annotations

from itertools import accumulate
from typing import Any, Final

from mpkv.commands import help_texts
from mpkv.commands import spec as commands
from mpkv.commands.spec import ADMIN, LOADING, NOSCRIPT, SETTLED, STALE, command
from mpkv.errors import CommandError
from mpkv.resp.replies import Status, Verbatim
from mpkv.shm.layout import BUCKET_LABELS_US

#: What is asked sees what was sent before it, as in Redis.
_FLAGS: Final = ADMIN | NOSCRIPT | LOADING | STALE | SETTLED
#: Labels of all buckets: the last one has no bound, so it takes the next power of two.
_LABELS_US: Final = (*BUCKET_LABELS_US, 2 * BUCKET_LABELS_US[-1] + 1)


def _text(word: bytes) -> str:
    return word.decode("latin-1")


@command("LATENCY LATEST", arity=2, flags=_FLAGS, since="2.8.13")
def latency_latest(conn: Any) -> list[Any]:
    """LATENCY LATEST -- Returns the last sample of every event, and its longest."""
    return [[event.encode(), time_s, last_ms, max_ms] for event, time_s, last_ms, max_ms in _monitor(conn).latest()]


@command("LATENCY HISTORY", arity=3, flags=_FLAGS, since="2.8.13")
def latency_history(conn: Any, event: bytes) -> list[Any]:
    """LATENCY HISTORY event -- Returns the samples of an event."""
    return [list(sample) for sample in _monitor(conn).history(_text(event))]


@command("LATENCY RESET", arity=-2, flags=_FLAGS, since="2.8.13")
def latency_reset(conn: Any, *events: bytes) -> int:
    """LATENCY RESET [event [event ...]] -- Forgets the samples of some events, or of all."""
    return conn.server.slow.reset_events([_text(event) for event in events])  # type: ignore[no-any-return]


@command("LATENCY GRAPH", arity=3, flags=_FLAGS, since="2.8.13")
def latency_graph(conn: Any, event: bytes) -> Verbatim:
    """LATENCY GRAPH event -- Returns a picture of an event's samples."""
    graph = _monitor(conn).graph(_text(event))
    if graph is None:
        raise CommandError(f"ERR No samples available for event '{_text(event)}'")
    return Verbatim(graph)


@command("LATENCY DOCTOR", arity=2, flags=_FLAGS, since="2.8.13")
def latency_doctor(conn: Any) -> Verbatim:
    """LATENCY DOCTOR -- Returns a report about what holds the server up, for a person to read."""
    return Verbatim(_monitor(conn).report())


@command(
    "LATENCY HISTOGRAM", arity=-2, flags=_FLAGS, since="7.0.0",
    complexity="O(N) where N is the number of commands with latency information being retrieved.",
)  # fmt: skip
def latency_histogram(conn: Any, *names: bytes) -> dict[bytes, Any]:
    """LATENCY HISTOGRAM [command [command ...]] -- Returns how the latencies of some commands, or of all, are spread:
    for upper bounds in µs the number of calls up to there."""
    rows = conn.server.commands_since_reset()
    chosen = [name for word in names for name in _named(_text(word).lower())] if names else sorted(rows)
    return {name.encode(): _histogram(rows[name][-1]) for name in chosen if name in rows and any(rows[name][-1])}


def _named(name: str) -> list[str]:
    """A command and its sub-commands."""
    spec = commands.load().get(name)
    return [] if spec is None else [name, *(member.name for member in spec.subcommands.values())]


def _histogram(buckets: list[int]) -> dict[bytes, Any]:
    """Bounds at which nothing is added are left out, as Redis does."""
    counts = list(accumulate(buckets))
    steps = {label: count for label, count, own in zip(_LABELS_US, counts, buckets, strict=True) if own}
    return {b"calls": counts[-1], b"histogram_usec": steps}


def _monitor(conn: Any) -> Any:
    return conn.server.slow.monitor


@command("LATENCY HELP", arity=2, flags=LOADING | STALE, since="2.8.13")
def latency_help(conn: Any) -> list[Status]:
    """LATENCY HELP -- Returns helpful text about the different subcommands."""
    return help_texts.lines_of("latency")
