"""A run as text for the terminal and as one HTML page: percentiles in µs, and the server's own numbers beside them."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from traffic.clients import cpu_of
from traffic.plan import PROFILES, ServiceLevel
from traffic.run import Run, overslept_p99_us, seconds_of
from traffic.samples import Series, added_up, requests_only, total_of
from traffic.scrape import SHOWN, course_of
from traffic.verdicts import Verdict, all_hold, judge

_PERCENTS: Final = (50, 90, 99, 99.9)
#: A client process that is busier than this adds its own waiting to what it measures.
BUSY_CLIENT: Final = 0.8
_CHART_WIDTH: Final = 760
_CHART_HEIGHT: Final = 120
_MOST_POINTS: Final = 200


@dataclass(frozen=True)
class Table:
    """The first column and headings are text, everything else is set to the right."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    def as_text(self) -> str:
        lines = [self.heads, *self.rows]
        widths = [max(len(line[at]) for line in lines) for at in range(len(self.heads))]
        padded = [
            "  ".join(cell.ljust(width) if at == 0 else cell.rjust(width)
                      for at, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
            for line in lines
        ]  # fmt: skip
        return "\n".join([self.title, *(f"  {line}" for line in padded)])

    def as_html(self) -> str:
        def row(tag: str, cells: Sequence[str]) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(row("td", cells) for cells in self.rows)
        return f"<h2>{html.escape(self.title)}</h2><table>{row('th', self.heads)}{body}</table>"


@dataclass(frozen=True)
class Chart:
    """A line over the seconds of the run."""

    title: str
    points: Sequence[tuple[float, float]]

    def as_html(self) -> str:
        largest = max((value for _, value in self.points), default=0.0) or 1.0
        last_s = max((at for at, _ in self.points), default=0.0) or 1.0
        line = " ".join(
            f"{at / last_s * _CHART_WIDTH:.1f},{_CHART_HEIGHT - value / largest * _CHART_HEIGHT:.1f}"
            for at, value in self.points
        )
        return (
            f"<h3>{html.escape(self.title)} <small>up to {_number(largest)}, over {last_s:.0f} s</small></h3>"
            f'<svg viewBox="0 0 {_CHART_WIDTH} {_CHART_HEIGHT}"><polyline points="{line}"/></svg>'
        )


@dataclass(frozen=True)
class Report:
    """What both forms are made of."""

    heading: str
    holds: bool
    remarks: Sequence[str]
    tables: Sequence[Table]
    charts: Sequence[Chart]

    def as_text(self) -> str:
        verdict = "the service levels hold" if self.holds else "THE SERVICE LEVELS DO NOT HOLD"
        return "\n\n".join([self.heading, *(table.as_text() for table in self.tables), *self.remarks, verdict])

    def as_html(self) -> str:
        verdict = "The service levels hold" if self.holds else "The service levels do not hold"
        remarks = "".join(f"<p>{html.escape(remark)}</p>" for remark in self.remarks)
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Load test</title><style>'
            "body{font:15px/1.45 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em}"
            "table{border-collapse:collapse}td,th{padding:.2em .7em;border-bottom:1px solid #ddd;text-align:right}"
            "td:first-child,th:first-child{text-align:left}svg{width:100%;background:#f6f7f9}"
            "polyline{fill:none;stroke:#2458a6;stroke-width:1.5}.no{color:#b00020}small{font-weight:normal}"
            f"</style></head><body><h1>Load test</h1><p>{html.escape(self.heading)}</p>"
            f'<p><strong class="{"yes" if self.holds else "no"}">{verdict}</strong></p>{remarks}'
            + "".join(table.as_html() for table in self.tables)
            + "".join(chart.as_html() for chart in self.charts)
            + "</body></html>\n"
        )


def make_report(
    heading: str, run: Run, level: ServiceLevel, verdicts: Sequence[Verdict], extra: Sequence[Table] = ()
) -> Report:
    """The tables and charts of a run.

    :param level: what each stage is compared with
    :param extra: what else was measured, shown behind the verdicts
    """
    stages = [_stages_table(run, level)] if len(run.plan.stages) > 1 else []
    tables = [_verdicts_table(verdicts), *extra, *stages, _requests_table(run), *_failures(run), *_server_tables(run)]
    return Report(heading, all_hold(list(verdicts)), _remarks(run, level), tables, _charts(run))


def _verdicts_table(verdicts: Sequence[Verdict]) -> Table:
    rows = [[verdict.demand, verdict.found, "holds" if verdict.holds else "NO"] for verdict in verdicts]
    return Table("Service levels", ["demand", "found", ""], rows)


def _remarks(run: Run, level: ServiceLevel) -> list[str]:
    together, busiest = cpu_of(run.samples)
    late_us = overslept_p99_us(run.samples)
    remarks = [
        f"The clients used {together:.2f} cores, the busiest process {busiest:.0%} of one; "
        f"by their own fault they were up to {late_us:,.0f} µs late (p99), which is part of the latencies."
    ]
    if busiest > BUSY_CLIENT:
        remarks.append("The client was the limit, not the server: PROCESSES=2 or more, or another machine for it.")
    if run.plan.rate:
        remarks.append("Latencies count from when a request was due (open loop), not from when it was sent.")
    else:
        remarks.append("Closed loop: while the server stands still nothing is asked, and that is not in the latencies.")
    if PROFILES[run.plan.profile].shape == "step":
        remarks.append(_last_step_that_holds(run, level))
    return remarks


def _last_step_that_holds(run: Run, level: ServiceLevel) -> str:
    """What the machine carries: the last step up to which all are good enough and get what they ask for."""
    best = "Not even the first step holds."
    for stage, samples in run.of_stages():
        series = added_up(samples)
        if not all_hold(judge(series, level)):
            break
        rate = total_of(series).latency.total / seconds_of(samples)
        best = f"The last step that holds: {stage.name}, {rate:,.0f} requests/s with {stage.users} users."
    return best


def _stages_table(run: Run, level: ServiceLevel) -> Table:
    rows = []
    for stage, samples in run.of_stages():
        series = added_up(samples)
        verdict = "holds" if all_hold(judge(series, level)) else "no"
        rows.append([stage.name, str(stage.users), *_numbers_of(total_of(series), seconds_of(samples)), verdict])
    return Table("Stages", ["stage", "users", *_HEADS, ""], rows)


_HEADS: Final = ("requests/s", *(f"p{percent:g} µs" for percent in _PERCENTS), "max µs", "mean µs", "failed")


def _numbers_of(series: Series, seconds: float) -> list[str]:
    latency = series.latency
    times = [latency.percentile_us(percent) for percent in _PERCENTS]
    last = float(latency.max_us) if latency.total else math.nan
    return [
        f"{latency.total / seconds if seconds else 0:,.1f}", *(_us(time) for time in (*times, last, latency.mean_us)),
        f"{sum(series.failures.values()):,}",
    ]  # fmt: skip


def _us(us: float) -> str:
    return "–" if math.isnan(us) else f"{us:,.0f}"


def _requests_table(run: Run) -> Table:
    samples = [sample for _, of_stage in run.of_stages() for sample in of_stage]
    seconds = seconds_of(samples)
    series = requests_only(added_up(samples))
    rows = [[name, *_numbers_of(one, seconds)] for name, one in series.items()]
    rows.append(["all", *_numbers_of(total_of(series), seconds)])
    return Table("Requests", ["request", *_HEADS], rows)


def _failures(run: Run) -> list[Table]:
    series = added_up(run.samples)
    rows = [[f"{name}: {text}", f"{count:,}"] for name, one in series.items() for text, count in one.failures.items()]
    return [Table("Failures", ["request: kind: what", "times"], sorted(rows))] if rows else []


def _server_tables(run: Run) -> list[Table]:
    """What the server said of itself before, during and after."""
    if not run.metrics:
        return [Table(f"The server's own metrics: {run.metrics_missing or 'none'}", ["metric"], [])]
    rows = []
    for shown in SHOWN:
        course = [value for _, value in course_of(shown, run.metrics)]
        numbers = (course[0], sum(course) / len(course), max(course), course[-1]) if course else [math.nan] * 4
        rows.append([f"{shown.title}{shown.unit and f' ({shown.unit.strip()})'}", *map(_number, numbers), shown.name])
    return [
        Table("The server's own metrics", ["metric", "at first", "mean", "largest", "at last", "name"], rows),
        _inside_table(run),
    ]


def _inside_table(run: Run) -> Table:
    """Every metric of the server's inside that has moved."""
    before, after = run.metrics[0][1], run.metrics[-1][1]
    rows = [
        [name, _number(before.get(name, math.nan)), _number(value)]
        for name, value in sorted(after.items())
        if name.startswith("mpkv_") and "_bucket" not in name and value != before.get(name)
    ]
    return Table("The server's inside, before and after", ["metric", "before", "after"], rows)


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _charts(run: Run) -> list[Chart]:
    """By time: what the clients saw, and the server's side of it."""
    rates: list[tuple[float, float]] = []
    slow: list[tuple[float, float]] = []
    last_s = max((sample.at_s for sample in run.samples), default=run.began_s) - run.began_s
    step_s = max(1.0, math.ceil(last_s / _MOST_POINTS))
    for at in range(int(last_s / step_s)):
        total = total_of(added_up(run.between(at * step_s, (at + 1) * step_s))).latency
        rates.append(((at + 1) * step_s, total.total / step_s))
        if total.total:
            slow.append(((at + 1) * step_s, total.percentile_us(99)))
    charts = [Chart("Requests/s", rates), Chart("p99 in µs", slow)]
    for shown in SHOWN:
        course = [(at - run.began_s, value) for at, value in course_of(shown, run.metrics) if at > run.began_s]
        if len(course) > 1 and any(value for _, value in course):
            charts.append(Chart(f"{shown.title}{shown.unit}, as the server says", course))
    return charts
