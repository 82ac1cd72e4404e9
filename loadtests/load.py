"""`make loadtest`: a load for a minute, and whether the server carries it within the service levels.

Exit status: 0 if the service levels hold, 1 if they do not, 2 if the load could not be made. Without --host an mpkv is
started for the run. The report is one HTML page.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

import hiredis
from traffic import contents
from traffic.clients import ClientsFailed, clients
from traffic.plan import PROFILES, Plan, ServiceLevel, shortest_run_s
from traffic.report import Table, make_report
from traffic.resp_connection import Address, RespConnection
from traffic.run import Run, watch
from traffic.samples import added_up
from traffic.target import Target, our_own, theirs
from traffic.verdicts import Verdict, judge

from mpkv.testing import ServerFailed

ROOT: Final = Path(__file__).resolve().parents[1]
#: The environment that has locust; `make` fills it.
LOCUST_PYTHON: Final = ROOT / ".venv-loadtest" / "bin" / "python"


def main(words: Sequence[str]) -> int:
    """Make the load, write the report, judge."""
    wanted = _parse(words)
    try:
        with ExitStack() as stack:
            if wanted.host:
                target = theirs(wanted.host, wanted.metrics)
            else:
                target = stack.enter_context(our_own(wanted.workers))
            plan = make_plan(wanted, target)
            fill(target, plan)
            with clients(wanted.python, plan, wanted.processes) as running:
                run = watch(running, plan, target.metrics_url)
            heading = heading_of(plan, target)
    except (ClientsFailed, ServerFailed, OSError, hiredis.HiredisError) as error:
        print(f"load.py: {error}", file=sys.stderr)
        return 2
    return finish(heading, run, level_of(wanted))


def _parse(words: Sequence[str]) -> argparse.Namespace:
    profiles = "\n".join(f"  {name:12} {profile.about}" for name, profile in PROFILES.items())
    parser = argparse.ArgumentParser(
        prog="load.py", description=__doc__.partition("\n\n")[2], epilog=f"profiles:\n{profiles}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--profile", choices=PROFILES, default="mixed", help="who asks for what (default mixed)")
    parser.add_argument("--seconds", type=float, default=60, metavar="S", help="for how long (default 60)")
    parser.add_argument("--host", metavar="ADDRESS", help="HOST:PORT or redis[s]://[:PASSWORD@]HOST:PORT[/DB]")
    parser.add_argument("--metrics", metavar="URL", help="of that server (default http://HOST:9121/metrics)")
    parser.add_argument("--workers", type=int, metavar="N", help="of the mpkv that is started (default: its own)")
    add_arguments(parser)
    wanted = parser.parse_args(words)
    if wanted.host:
        try:
            Address.parse(wanted.host)
        except ValueError as error:
            parser.error(str(error))
    shortest_s = shortest_run_s(wanted.profile)
    if wanted.seconds < shortest_s:
        parser.error(f"--seconds: at least {shortest_s:g} for the profile {wanted.profile}")
    return wanted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `soak.py` takes too."""
    parser.add_argument("--users", type=_positive, metavar="N", help="how many at once (default: the profile's)")
    parser.add_argument("--rate", type=float, metavar="R", help="requests/s of all users; 0 = as many as they can")
    parser.add_argument("--keys", type=_positive, default=20_000, metavar="N", help="of the cache (default 20000)")
    parser.add_argument("--processes", type=_positive, default=1, metavar="N", help="of the client (default 1)")
    parser.add_argument("--p99-ms", type=float, metavar="MS", help="what every kind of request must keep")
    parser.add_argument("--refused-share", type=float, metavar="SHARE", help="of requests that may fail (default 0)")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "loadtests", metavar="DIR", help="for the report")
    parser.add_argument("--python", type=Path, default=LOCUST_PYTHON, help=argparse.SUPPRESS)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def make_plan(wanted: argparse.Namespace, target: Target) -> Plan:
    """The profile with the command line's wishes, and a folder for what will be seen."""
    profile = PROFILES[wanted.profile]
    folder = wanted.out / f"{time.strftime('%Y%m%d-%H%M%S')}-{wanted.profile}-{secrets.token_hex(2)}"
    folder.mkdir(parents=True)
    rate = profile.rate if wanted.rate is None else wanted.rate
    return Plan(
        wanted.profile, target.address, wanted.users or profile.users, rate, wanted.seconds, wanted.keys, str(folder),
        secrets.token_hex(4),
    )  # fmt: skip


def fill(target: Target, plan: Plan) -> None:
    """Write what the users will read."""
    with RespConnection(target.parsed) as connection:
        contents.fill(connection, plan.keys, large="LargeUser" in plan.mix)


def level_of(wanted: argparse.Namespace) -> ServiceLevel:
    """The profile's service level, or what was asked for."""
    level = PROFILES[wanted.profile].level
    if wanted.p99_ms is not None:
        level = replace(level, p99_ms=wanted.p99_ms)
    if wanted.refused_share is not None:
        level = replace(level, refused_share=wanted.refused_share, interrupted_share=wanted.refused_share)
    return level


def heading_of(plan: Plan, target: Target) -> str:
    """What was done to whom."""
    rate = f"{plan.rate:,.0f} requests/s" if plan.rate else "as many requests as they can"
    workers = f" ({target.server.workers} workers)" if target.server else ""
    when = time.strftime("%Y-%m-%d %H:%M %Z")
    return (
        f"{plan.profile} ({PROFILES[plan.profile].about}) on {target.version()}{workers} at {target.parsed.shown}: "
        f"{plan.users} users, {rate}, {plan.seconds:g} s, {plan.keys:,} keys; {when}"
    )


def judge_run(run: Run, level: ServiceLevel) -> list[Verdict]:
    """All stages together that are to be judged."""
    judged = [sample for stage, samples in run.of_stages() if stage.judged for sample in samples]
    return judge(added_up(judged), level)


def finish(
    heading: str, run: Run, level: ServiceLevel, verdicts: Sequence[Verdict] = (), extra: Sequence[Table] = ()
) -> int:
    """Write and print the report; the exit status."""
    report = make_report(heading, run, level, [*judge_run(run, level), *verdicts], extra)
    page = Path(run.plan.folder) / "report.html"
    page.write_text(report.as_html())
    print(report.as_text())
    print(f"report: {page}")
    return 0 if report.holds else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
