"""Whether a server that runs for long stays as it is: memory and descriptors of its processes over the time.

A straight line is laid through what was observed (least squares), and what it rises by from the first to the last
observation must be within an allowance. That is looked at twice: for each life of a process, and for each role over all
its lives, since what a dead process has leaked is gone with it. The beginning of a life does not count: a process that
has just started gets its buffers and, if it is a worker, its data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from traffic.verdicts import Verdict

#: A rise of a process' proportional set size that is no leak; the larger one counts. Large values that come and go
#: leave holes between the small ones, a few MiB in the first minutes. What leaks 200 bytes a command is found within
#: a minute or two, in an hour what leaks four.
ALLOWED_BYTES: Final = 8 << 20
ALLOWED_SHARE: Final = 0.05
#: Connections come and go while they are counted.
ALLOWED_DESCRIPTORS: Final = 4.0
#: Fewer say nothing about a trend.
FEWEST_OBSERVATIONS: Final = 6


@dataclass(frozen=True)
class Observation:
    """One process at one time."""

    at_s: float  #: since the beginning of the run
    role: str
    pid: int
    pss_bytes: int
    descriptors: int


@dataclass(frozen=True)
class Trend:
    """What a line through the observations of one process, or of one role, says."""

    of: str
    observations: int
    span_s: float
    first_pss: int
    last_pss: int
    mean_pss: float
    pss_rise: float  #: bytes, from the first to the last
    descriptors_rise: float

    @property
    def pss_allowed(self) -> float:
        return max(ALLOWED_BYTES, ALLOWED_SHARE * self.mean_pss)

    @property
    def is_flat(self) -> bool:
        return self.pss_rise <= self.pss_allowed and self.descriptors_rise <= ALLOWED_DESCRIPTORS


def slope(points: Sequence[tuple[float, float]]) -> float:
    """By how much y rises when x rises by 1, by least squares; 0 if all x are the same."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def settled(observations: Iterable[Observation], settle_s: float) -> list[Observation]:
    """Without the beginning of each life."""
    begins: dict[tuple[str, int], float] = {}
    found = []
    for seen in observations:
        if seen.at_s - begins.setdefault((seen.role, seen.pid), seen.at_s) >= settle_s:
            found.append(seen)
    return found


def trends(observations: Sequence[Observation], settle_s: float) -> list[Trend]:
    """Of each role over all its lives, and of each life if there were several."""
    found = []
    ordered = sorted(settled(observations, settle_s), key=lambda seen: (seen.role, seen.at_s))
    for role, of_role in groupby(ordered, key=lambda seen: seen.role):
        seen_of_role = list(of_role)
        lives = [list(life) for _, life in groupby(seen_of_role, key=lambda seen: seen.pid)]
        found.append(_trend(role, seen_of_role))
        if len(lives) > 1:
            found += [_trend(f"{role}, life {number}", life) for number, life in enumerate(lives, 1)]
    return [trend for trend in found if trend.observations >= FEWEST_OBSERVATIONS]


def _trend(of: str, seen: Sequence[Observation]) -> Trend:
    span_s = seen[-1].at_s - seen[0].at_s
    sizes = [one.pss_bytes for one in seen]
    return Trend(
        of, len(seen), span_s, sizes[0], sizes[-1], sum(sizes) / len(sizes),
        span_s * slope([(one.at_s, one.pss_bytes) for one in seen]),
        span_s * slope([(one.at_s, one.descriptors) for one in seen]),
    )  # fmt: skip


def judge_stability(found: Sequence[Trend], roles: Iterable[str]) -> list[Verdict]:
    """Every trend must be flat, and there must be one of every role: who has not looked has seen nothing."""
    unseen = sorted(set(roles) - {trend.of for trend in found})
    verdicts = [Verdict("every process was observed long enough", ", ".join(unseen) or "all", not unseen)]
    steepest = max(found, key=lambda trend: trend.pss_rise / trend.pss_allowed, default=None)
    leakiest = max(found, key=lambda trend: trend.descriptors_rise, default=None)
    if steepest is not None and leakiest is not None:
        text = f"{steepest.pss_rise / (1 << 20):+.2f} MiB of {steepest.pss_allowed / (1 << 20):.2f} ({steepest.of})"
        verdicts.append(Verdict("memory is flat", text, steepest.pss_rise <= steepest.pss_allowed))
        text = f"{leakiest.descriptors_rise:+.1f} of {ALLOWED_DESCRIPTORS:g} ({leakiest.of})"
        verdicts.append(Verdict("descriptors are flat", text, leakiest.descriptors_rise <= ALLOWED_DESCRIPTORS))
    return verdicts
