"""Whether what was seen is good enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from traffic.plan import ServiceLevel
from traffic.samples import INTERRUPTED, REFUSED, WRONG, Series, requests_only, total_of

#: A percentile of fewer answers than this is one slow answer's.
_FEWEST_FOR_P99: Final = 100


@dataclass(frozen=True)
class Verdict:
    """One demand, what was found, and whether that meets it."""

    demand: str
    found: str
    holds: bool


def judge(series: dict[str, Series], level: ServiceLevel) -> list[Verdict]:
    """A run, or a stage of it, against a service level. A run without an answer meets none."""
    requests = requests_only(series)
    total = total_of(series)
    verdicts = [Verdict("there are answers", f"{total.latency.total:,}", total.latency.total > 0)]
    enough = {name: one for name, one in requests.items() if one.latency.total >= _FEWEST_FOR_P99} | {"all": total}
    slowest = (
        max((one.latency.percentile_us(99), name) for name, one in enough.items()) if total.latency.total else None
    )
    if slowest is not None:
        p99_ms = slowest[0] / 1000
        demand = f"p99 of each request ≤ {level.p99_ms:g} ms"
        verdicts.append(Verdict(demand, f"{p99_ms:.2f} ms ({slowest[1]})", p99_ms <= level.p99_ms))
    shares = ((WRONG, 0.0), (REFUSED, level.refused_share), (INTERRUPTED, level.interrupted_share))
    for kind, allowed in shares:
        failed = total.failed(kind)
        share = failed / max(1, total.requests)
        verdicts.append(Verdict(f"{kind} ≤ {allowed:.2%}", f"{failed:,} ({share:.3%})", share <= allowed))
    return verdicts


def all_hold(verdicts: list[Verdict]) -> bool:
    return all(verdict.holds for verdict in verdicts)
