"""`make bench`: mpkv side by side with redis-server in one run, and whether it keeps the project's promises.

Usage: bench.py [options] [section ...]

A section answers one question; without names all are run. Each prints its tables as it ends, the verdicts come last,
and --markdown writes all of it to a document. redis-benchmark must be on the PATH; where redis-server is not, mpkv is
measured by itself.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import hiredis
from side_by_side import (
    commands,
    eviction,
    footprint,
    large,
    latency,
    memory,
    processes,
    report,
    returned,
    servers,
    snapshot,
    throughput,
    turns,
)  # fmt: skip
from side_by_side.lines import LINES
from side_by_side.progress import Progress
from side_by_side.redis_benchmark import RunFailed
from side_by_side.report import Section
from side_by_side.settings import Settings

#: Name -> (what it measures, how).
SECTIONS: Final[dict[str, tuple[str, Callable[[Settings], Section]]]] = {
    "throughput": ("redis-benchmark's list: requests/s, p50, p99, CPU per request", throughput.measure),
    "commands": ("a hundred everyday commands: CPU per command", commands.measure),
    "large": ("SET and GET of 16 KiB, 64 KiB and 1 MB: requests/s, CPU per request", large.measure),
    "latency": ("p50, p99 and p99.9 at the same fixed rate", latency.measure),
    "fairness": ("what one client with a deep pipeline leaves 49 others", latency.measure_fairness),
    "workers": ("two workers against one, on the whole list", throughput.measure_workers),
    "memory": ("bytes of each kind of data", memory.measure),
    "returned": ("what deleting gives back to the system", returned.measure),
    "eviction": ("hits when memory is short", eviction.measure),
    "snapshot": ("what a snapshot copies", snapshot.measure),
    "turns": ("the longest that the store keeps a worker from the next command", turns.measure),
    "connections": ("memory of 1,000 idle connections", footprint.measure_connections),
    "idle": ("CPU when nobody asks", footprint.measure_idle),
    "startup": ("time to start with an empty store", footprint.measure_startup),
}


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def _line_names(text: str) -> tuple[str, ...]:
    known = {name for line in LINES for name in (line.name, line.name.partition("_")[0])}
    names = tuple(word.upper() for word in text.split(","))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not in {', '.join(line.name for line in LINES)}")
    return names


def _parse(words: Sequence[str]) -> argparse.Namespace:
    sections = "\n".join(f"  {name:12} {what}" for name, (what, _) in SECTIONS.items())
    parser = argparse.ArgumentParser(
        prog="bench.py", description="mpkv side by side with redis-server.", epilog=f"sections:\n{sections}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("sections", nargs="*", metavar="section", help="what to measure; all if none is named")
    parser.add_argument("--quick", action="store_true", help="about two minutes instead of fifteen; less precise")
    parser.add_argument("--workers", type=int, metavar="N", help="workers of mpkv (default: mpkv's own)")
    parser.add_argument("--only", type=_line_names, default=(), metavar="SET,GET", help="only these lines of the list")
    parser.add_argument(
        "--pipelines", type=_numbers, metavar="1,16", help="pipeline depths (default 1,16,100; quick: 1,16)"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="alternating rounds (default 3; quick: 1)")
    parser.add_argument("--seconds", type=float, metavar="S", help="what one measurement takes (default 1; quick: 0.3)")
    parser.add_argument(
        "--keyspace", type=int, default=100_000, metavar="N", help="random keys out of so many (default 100000)"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    found = parser.parse_args(words)
    unknown = [name for name in found.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return found


def _settings(found: argparse.Namespace, progress: Progress) -> Settings:
    pipelines, rounds, seconds = ((1, 16), 1, 0.3) if found.quick else ((1, 16, 100), 3, 1.0)
    return Settings(
        quick=found.quick, workers=found.workers, only=found.only, pipelines=found.pipelines or pipelines,
        rounds=found.rounds or rounds, seconds=found.seconds or seconds, keyspace=found.keyspace, progress=progress,
    )  # fmt: skip


def _heading(settings: Settings, words: Sequence[str]) -> str:
    """What was compared, where and how: numbers mean nothing without it."""
    versions = []
    for server in (servers.mpkv(settings.workers), servers.redis_server()):
        if server is not None:
            with server:
                shape = f" ({server.workers} worker{'s' if server.workers > 1 else ''})" if server.workers else ""
                versions.append(f"{server.name} {server.version}{shape}")
    compared = " beside ".join(versions) if len(versions) > 1 else f"{versions[0]} alone (no redis-server on the PATH)"
    python = ".".join(map(str, sys.version_info[:3]))
    asked = " ".join(["make bench", *([f'ARGS="{" ".join(words)}"'] if words else [])])
    when = time.strftime("%Y-%m-%d %H:%M %Z")
    return f"{compared}; {processes.describe_machine()}; Python {python}; {when}; `{asked}`"


def main(words: Sequence[str]) -> int:
    """Run the sections in order; 0 unless one could not be measured. Promises that do not hold are no failure."""
    found = _parse(words)
    if shutil.which("redis-benchmark") is None:
        print("bench.py: redis-benchmark is not on the PATH (Debian: apt-get install redis-tools)", file=sys.stderr)
        return 1
    progress = Progress()
    settings = _settings(found, progress)
    texts = [_heading(settings, words)]
    print(texts[0], end="\n\n", flush=True)
    sections = []
    for name in SECTIONS:
        if name in (found.sections or SECTIONS):
            sections.append(_measure(name, settings))
            texts.append(str(sections[-1]))
            progress.clear()
            print(texts[-1], end="\n\n", flush=True)
    texts.append(str(report.requirements_table(sections)))
    print(texts[-1], flush=True)
    if found.markdown is not None:
        report.save(found.markdown, "\n\n".join(texts))
    return 1 if any(section.failed for section in sections) else 0


def _measure(name: str, settings: Settings) -> Section:
    """A section; one that cannot be measured does not take the others with it."""
    what, measure = SECTIONS[name]
    try:
        return measure(settings)
    except (RunFailed, RuntimeError, OSError, hiredis.HiredisError) as error:
        return Section(f"{name}: {what}", [f"Could not be measured: {type(error).__name__}: {error}"], failed=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
