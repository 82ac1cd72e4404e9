"""When a load test fails: service levels that are not kept, processes that grow."""

import random
from collections.abc import Iterator

import pytest
from traffic.plan import ServiceLevel
from traffic.samples import INTERRUPTED, OVERSLEPT, REFUSED, WRONG, Series
from traffic.stability import ALLOWED_BYTES, Observation, judge_stability, slope, trends
from traffic.verdicts import all_hold, judge

LEVEL = ServiceLevel(p99_ms=20, refused_share=0.01, interrupted_share=0.05)
MIB = 1 << 20


def series(us: int = 1000, slow: int = 0, **failures: int) -> dict[str, Series]:
    found = Series()
    for _ in range(1000 - slow):
        found.latency.record(us)
    for _ in range(slow):
        found.latency.record(500_000)
    for kind, count in failures.items():
        found.failures[f"{kind}: what it said: exactly"] = count
    return {"GET": found}


def test_what_is_good_enough_holds() -> None:
    assert all_hold(judge(series(slow=9, refused=10, interrupted=50), LEVEL))


@pytest.mark.parametrize(
    "seen",
    [series(us=21_000), series(slow=11), series(wrong=1), series(refused=11), series(interrupted=60), {}],
    ids=["slow", "slow sometimes", WRONG, REFUSED, INTERRUPTED, "nothing was answered"],
)
def test_what_is_not_good_enough_does_not_hold(seen: dict[str, Series]) -> None:
    assert not all_hold(judge(seen, LEVEL))


def test_a_slow_kind_of_request_does_not_hide_among_many_fast_ones() -> None:
    seen = {f"GET {number}": one for number in range(20) for one in series().values()} | {"SET": series(slow=20)["GET"]}
    assert not all_hold(judge(seen, LEVEL))


def test_what_the_client_overslept_is_not_the_servers() -> None:
    assert all_hold(judge(series() | {OVERSLEPT: series(us=900_000)["GET"]}, LEVEL))


# -- soak --------------------------------------------------------------------------------------------------------------


def course(
    role: str, *, leak_per_s: float = 0.0, descriptors_per_s: float = 0.0, life_s: float = 1e9, carried: float = 0.0
) -> Iterator[Observation]:
    """A look every two seconds for two minutes, with noise. `carried` bytes stay from one life to the next."""
    chance = random.Random(role)
    for at in range(0, 120, 2):
        life, age = divmod(at, life_s)
        fill = min(age / 10, 1) * 20 * MIB  # a process that has just started gets its data
        size = 30 * MIB + fill + age * leak_per_s + life * carried + chance.randrange(MIB)
        descriptors = 60 + int(age * descriptors_per_s) + chance.randrange(-2, 3)
        yield Observation(at, role, int(life) + 1, int(size), descriptors)


def holds(*courses: Iterator[Observation], roles: tuple[str, ...] = ("worker 0",)) -> bool:
    observations = sorted((seen for one in courses for seen in one), key=lambda seen: seen.at_s)
    return all_hold(judge_stability(trends(observations, 15), roles))


def test_a_server_that_stays_as_it_is_passes() -> None:
    assert holds(course("worker 0"))
    assert holds(course("worker 0", life_s=40))


def test_memory_that_grows_in_one_process_fails() -> None:
    leak = ALLOWED_BYTES / 100 * 1.2
    assert not holds(course("worker 0", leak_per_s=leak))
    assert not holds(course("worker 0"), course("frontend", leak_per_s=leak), roles=("worker 0", "frontend"))


def test_memory_that_grows_between_restarts_fails() -> None:
    assert not holds(course("worker 0", leak_per_s=ALLOWED_BYTES / 30, life_s=60))


def test_memory_that_grows_from_life_to_life_fails() -> None:
    assert not holds(course("worker 0", life_s=40, carried=ALLOWED_BYTES))


def test_descriptors_that_are_not_closed_fail() -> None:
    assert not holds(course("worker 0", descriptors_per_s=0.1))


def test_who_was_not_observed_fails() -> None:
    assert not holds(course("worker 0"), roles=("worker 0", "frontend"))
    assert not holds(iter([]))


def test_the_slope_is_that_of_the_line() -> None:
    assert slope([(x, 3 * x + 2) for x in range(10)]) == pytest.approx(3)
    assert slope([(1, 5), (1, 7)]) == 0
