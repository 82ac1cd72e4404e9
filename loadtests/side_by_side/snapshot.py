"""What a snapshot copies: pages that the children, and the servers beside them, have of their own while it is written.

After a fork all pages are shared. What either side writes to is copied, and from then on its private dirty memory: the
kernel's own count, in /proc. So that both servers have written the same when it is read, a fixed number of keys is
overwritten at once while the child is at work.
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from side_by_side import processes
from side_by_side.lines import key_name, send_all
from side_by_side.report import NONE, Requirement, Section, Table, count, decimal, ratio
from side_by_side.servers import Server, Session, pack
from side_by_side.settings import Settings

#: (keys, bytes of each value): a gigabyte, and entries that lie on one page each.
_DATA: Final = ((1_000_000, 1000), (2_000_000, 32))
_WRITES: Final = 20_000
_BATCH: Final = 500
_POLL_S: Final = 0.02
_TIMEOUT_S: Final = 300.0
_PAGE: Final = 4096
_IDLE_PROMISE: Final = 0.02
_BESIDE_PROMISE: Final = 1.1


@dataclass(frozen=True)
class _Copied:
    """Bytes of private dirty memory; of `data` bytes that are stored."""

    data: int
    idle_children: int  #: most of the children while nobody writes
    children: int  #: of the children when the writes are done
    parents: int  #: of those that have forked, at the same moment

    @property
    def both(self) -> int:
        return self.children + self.parents


def measure(settings: Settings) -> Section:
    """Both servers with the same data, mpkv with two workers unless told otherwise."""
    share = 10 if settings.quick else 1
    writes = _WRITES // share
    settings.progress.section("snapshot", 2 * len(_DATA))
    table = Table([
        "data", "server", "data MB", "idle: children MB", "of the data", f"{count(writes)} writes: children MB",
        "parents MB", "of both, bytes per write",
    ])  # fmt: skip
    idle, pages, times = 0.0, 0.0, None
    for keys, value_bytes in _DATA:
        found = []
        for at in (0, 1):
            # One after the other: the second's data need not fit beside the first's
            with ExitStack() as stack:
                both = settings.start_both(stack, workers=2)
                if at < len(both):
                    settings.progress.step(f"values of {value_bytes}: {both[at].name}")
                    found.append((both[at].name, _measure(both[at], keys // share, value_bytes, writes)))
        for name, copied in found:
            table.rows.append([
                f"{count(keys // share)} strings of {value_bytes}", name, decimal(copied.data / 1e6, 1),
                decimal(copied.idle_children / 1e6, 1), f"{100 * copied.idle_children / copied.data:.2f} %",
                decimal(copied.children / 1e6, 1), decimal(copied.parents / 1e6, 1), count(copied.both / writes),
            ])  # fmt: skip
        mine = found[0][1]
        if (keys, value_bytes) == _DATA[0]:
            idle = mine.idle_children / mine.data
        else:
            pages = (mine.children - mine.idle_children) / writes / _PAGE
        if len(found) > 1:
            times = max(times or 0.0, mine.both / found[1][1].both)
    section = Section("What a snapshot copies")
    section.parts.append(
        f"Private dirty memory while BGSAVE is under way: first with nobody writing, then after {writes:,} keys at "
        "random have been overwritten while the children are at work. A value of 1,000 bytes may lie on two pages."
    )
    section.parts.append(table)
    section.requirements = [
        Requirement(f"snapshot of a gigabyte, nobody writes: at most {_IDLE_PROMISE:.0%} of the data copied",
                    f"{idle:.2%}", idle <= _IDLE_PROMISE),
        Requirement("snapshot under writes: the children copy at most a page for an entry on one page",
                    f"{decimal(pages)} pages", pages <= 1),
        Requirement(f"snapshot under writes: children and parents at most {_BESIDE_PROMISE} × redis-server's",
                    NONE if times is None else ratio(times), None if times is None else times <= _BESIDE_PROMISE),
    ]  # fmt: skip
    return section


def _measure(server: Server, keys: int, value_bytes: int, writes: int) -> _Copied:
    chance = random.Random(1)
    with Session(server.port) as session:
        session.call("CONFIG", "SET", "rdbcompression", "no")
        send_all(session, ((b"SET", key_name(number), chance.randbytes(value_bytes)) for number in range(keys)))
        session.call("BGSAVE")
        idle = 0
        while children := _children(server, session):
            idle = max(idle, _private_dirty(children))
            time.sleep(_POLL_S)
        numbers = [chance.randrange(keys) for _ in range(writes)]
        requests = [pack((b"SET", key_name(number), chance.randbytes(value_bytes))) for number in numbers]
        session.call("BGSAVE")
        children = _children(server, session)
        for at in range(0, writes, _BATCH):
            session.pipe(requests[at : at + _BATCH])
        copied = _private_dirty(children), _private_dirty(_parents(server, children))
        if len(server.children()) < len(children):
            raise RuntimeError(f"{server.name} had written its snapshot before the keys were overwritten")
        while _children(server, session):
            time.sleep(_POLL_S)
    return _Copied(keys * value_bytes, idle, *copied)


def _children(server: Server, session: Session) -> list[int]:
    """The processes that write a snapshot, all of them; none when it is done."""
    end = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < end:
        info = session.call("INFO", "persistence").decode()
        if "rdb_bgsave_in_progress:0" in info:
            return []
        children = server.children()
        if len(children) == max(1, server.workers):
            return children
        time.sleep(_POLL_S / 10)
    raise RuntimeError(f"{server.name}: BGSAVE did not end within {_TIMEOUT_S:.0f} s")


def _parents(server: Server, children: list[int]) -> list[int]:
    return [pid for pid in server.pids if any(processes.parent(child) == pid for child in children)]


def _private_dirty(pids: list[int]) -> int:
    return sum(processes.private_dirty_bytes(pid) for pid in pids)
