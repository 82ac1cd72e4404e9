"""The profiles, and the plan of one run: who asks for what, how often, for how long, and what is good enough.

A profile is a line of `PROFILES`. `load.py` makes a plan of it and the command line's wishes, and hands it to the
client processes as a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final


@dataclass(frozen=True)
class Stage:
    """So many users for so long. What is not judged may miss the service levels without failing the run."""

    name: str
    seconds: float
    users: int
    judged: bool = True


@dataclass(frozen=True)
class ServiceLevel:
    """What is promised of every kind of request.

    A wrong answer is never good enough. `interrupted_share` is for runs in which processes are killed on purpose.
    """

    p99_ms: float
    refused_share: float = 0.0
    interrupted_share: float = 0.0


@dataclass(frozen=True)
class Profile:
    """`users` of the classes `mix` in these proportions, who make `rate` requests a second together."""

    about: str
    mix: dict[str, int]
    users: int
    rate: float
    level: ServiceLevel
    shape: str = "flat"


#: Classes of users that do not send by the clock: they wait for what the others send.
WAITING: Final = frozenset({"ConsumerUser", "SubscriberUser"})

_MIXED: Final = {
    "CacheUser": 20, "SessionUser": 8, "LeaderboardUser": 8, "ProducerUser": 4, "ConsumerUser": 2, "PipelineUser": 4,
    "PublisherUser": 2, "SubscriberUser": 2,
}  # fmt: skip
_USUAL: Final = ServiceLevel(p99_ms=20)

PROFILES: Final[dict[str, Profile]] = {
    "cache": Profile("10 reads : 1 write of 100 to 1,000 bytes", {"CacheUser": 1}, 50, 2000, _USUAL),
    "session": Profile("hashes that expire", {"SessionUser": 1}, 50, 2000, _USUAL),
    "leaderboard": Profile("one sorted set for all", {"LeaderboardUser": 1}, 50, 2000, _USUAL),
    "queue": Profile(
        "lists with blocked consumers; counts until delivery", {"ProducerUser": 2, "ConsumerUser": 1}, 60, 2000, _USUAL
    ),
    "pipeline": Profile("16 commands at a time", {"PipelineUser": 1}, 20, 500, _USUAL),
    "large": Profile("values of 64 KiB to 1 MiB", {"LargeUser": 1}, 10, 100, ServiceLevel(p99_ms=100)),
    "pubsub": Profile("counts until delivery", {"PublisherUser": 4, "SubscriberUser": 1}, 50, 1000, _USUAL),
    "mixed": Profile("all of these but large values", _MIXED, 50, 2000, _USUAL),
    "step": Profile("mixed, in eight steps up to the rate", _MIXED, 96, 12_000, _USUAL, "step"),
    "spike": Profile("mixed, five times as much in the middle", _MIXED, 50, 1500, _USUAL, "spike"),
    "soak": Profile(
        "mixed with large values and new connections", {**_MIXED, "LargeUser": 1, "NewcomerUser": 2}, 53, 1000,
        # What is due while a process starts again waits; without an end to it is a fault
        ServiceLevel(p99_ms=30_000, interrupted_share=0.05),
    ),
}  # fmt: skip

_STEPS: Final = 8
#: What clients record is told apart by the second, and the first two are not looked at: a stage has to have some more.
SHORTEST_STAGE_S: Final = 5.0


def _flat(seconds: float, users: int) -> list[Stage]:
    return [Stage("all", seconds, users)]


def _step(seconds: float, users: int) -> list[Stage]:
    """A staircase; what it shows is the last step that holds, so only the first must."""
    counts = [max(1, round(users * step / _STEPS)) for step in range(1, _STEPS + 1)]
    return [Stage(f"step {at + 1}", seconds / _STEPS, count, judged=at == 0) for at, count in enumerate(counts)]


def _spike(seconds: float, users: int) -> list[Stage]:
    """Before and after must be as good as each other; a tenth is left to the server to come down from the spike."""
    return [
        Stage("before", seconds * 0.3, users), Stage("spike", seconds * 0.2, users * 5, judged=False),
        Stage("coming down", seconds * 0.1, users, judged=False), Stage("after", seconds * 0.4, users),
    ]  # fmt: skip


_SHAPES: Final[dict[str, Callable[[float, int], list[Stage]]]] = {"flat": _flat, "step": _step, "spike": _spike}


def shortest_run_s(profile: str) -> float:
    """So that each stage lasts long enough."""
    return SHORTEST_STAGE_S / min(stage.seconds for stage in _SHAPES[PROFILES[profile].shape](1, 1))


@dataclass(frozen=True)
class Plan:
    """What the client processes are told. `rate` 0: every user asks again as soon as it is answered."""

    profile: str
    server: str  #: an address as `Address.parse` reads it
    users: int
    rate: float
    seconds: float
    keys: int
    folder: str  #: where they write what they see
    token: str  #: in the names of queues and channels: two runs do not meet

    @property
    def mix(self) -> dict[str, int]:
        return PROFILES[self.profile].mix

    @property
    def stages(self) -> list[Stage]:
        return _SHAPES[PROFILES[self.profile].shape](self.seconds, self.users)

    @property
    def rate_per_user(self) -> float:
        """Requests a second of each that sends by the clock."""
        paced = sum(weight for name, weight in self.mix.items() if name not in WAITING)
        return self.rate / (self.users * paced / sum(self.mix.values()))

    def users_at(self, seconds: float) -> int | None:
        """How many users there are at this time of the run; None when it is over."""
        for stage in self.stages:
            if seconds < stage.seconds:
                return stage.users
            seconds -= stage.seconds
        return None

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Plan:
        return cls(**json.loads(path.read_text()))

    def changed(self, **changes: object) -> Plan:
        return replace(self, **changes)  # type: ignore[arg-type]
