"""Draws the board of `mpkv.metrics.grafana.panels` with Grafana's own types, as the JSON that is shipped.

`make dashboards` runs it. It needs ``pip install mpkv[dashboards]``; the server does not, and `mpkv dashboards export`
copies what was written here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    BigValueTextMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from mpkv.metrics.grafana.export import BOARD
from mpkv.metrics.grafana.panels import ROWS, Kind, Panel, Query
from mpkv.shm.layout import State

UID: Final = "mpkv"
SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")

_SERVER: Final = 'job="$job", instance="$instance"'
#: Name in the queries of `panels` -> labels. The longest first: one must not be the beginning of another.
LABELS: Final = {
    "@commands": f'{_SERVER}, cmd=~"$cmd"',
    "@server": _SERVER,
    "@shards": f'{_SERVER}, shard=~"$shard"',
    "@way": f'{_SERVER}, shard=~"$shard", cmd=~"$cmd"',
}

#: Variable -> (label, what gives its values). Each narrows the next. One server at a time: the shards of several, added
#: up by number, would say nothing.
_VARIABLES: Final = {
    "job": ("Job", "label_values(mpkv_build_info, job)"),
    "instance": ("Server", 'label_values(mpkv_build_info{job="$job"}, instance)'),
    "shard": ("Shard", f"label_values(mpkv_up{{{_SERVER}}}, shard)"),
    "cmd": ("Command", f"label_values(redis_commands_total{{{_SERVER}}}, cmd)"),
}
_OF_MANY: Final = {"shard", "cmd"}

_STATE_COLOURS: Final = {
    State.DOWN: "red", State.STARTING: "orange", State.LOADING: "yellow", State.READY: "green", State.SAVING: "blue",
    State.STOPPING: "purple",
}  # fmt: skip

_HEIGHT: Final = {Kind.STAT: 4}
_USUAL_HEIGHT: Final = 8

AnyPanel = timeseries.Panel | stat.Panel | heatmap.Panel | statetimeline.Panel


def make() -> Dashboard:
    """The whole board."""
    board = (
        dashboard.Dashboard("mpkv")
        .uid(UID)
        .description("An mpkv server: its clients' view, and its shards")
        .tags(["mpkv", "redis"])
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .editable()
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for name in _VARIABLES:
        board = board.with_variable(_variable(name))
    for row in ROWS:
        board = board.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            board = board.with_panel(_panel(panel))
    made = board.build()
    for number, placed in enumerate(made.panels or (), 1):
        placed.id_val = number
    return made


def text() -> str:
    """The board as the file that is shipped."""
    return json.dumps(make(), cls=JSONEncoder, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _variable(name: str) -> dashboard.QueryVariable:
    label, query = _VARIABLES[name]
    variable = (
        dashboard.QueryVariable(name)
        .label(label)
        .query(query)
        .datasource(SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NUMERICAL_ASC)
    )
    if name not in _OF_MANY:
        return variable
    everything = VariableOption(selected=True, text="All", value="$__all")
    return variable.multi(True).include_all(True).all_value(".*").current(everything)


def _panel(panel: Panel) -> AnyPanel:
    drawn = (
        _DRAWN[panel.kind](panel)
        .title(panel.title)
        .description(panel.description)
        .datasource(SOURCE)
        .unit(panel.unit)
        .height(_HEIGHT.get(panel.kind, _USUAL_HEIGHT))
        .span(panel.width)
    )
    for place, query in enumerate(panel.queries):
        drawn = drawn.with_target(_target(query, chr(ord("A") + place), panel.kind))
    return drawn


def _target(query: Query, ref_id: str, kind: Kind) -> prometheus.Dataquery:
    expression = query.expression
    for name, labels in LABELS.items():
        expression = expression.replace(name, labels)
    target = prometheus.Dataquery().expr(expression).legend_format(query.legend).ref_id(ref_id).datasource(SOURCE)
    target = target.instant() if kind is Kind.STAT else target.range()
    return target.format(PromQueryFormat.HEATMAP) if kind is Kind.HEAT else target


def _draw_stat(panel: Panel) -> stat.Panel:
    return (
        stat.Panel()
        .graph_mode(BigValueGraphMode.NONE)
        .text_mode(BigValueTextMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(panel))
    )


def _draw_lines(panel: Panel) -> timeseries.Panel:
    drawn = (
        timeseries.Panel()
        .min(0)
        .line_width(1)
        .fill_opacity(10)
        .show_points(VisibilityMode.NEVER)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs([])
        )
    )
    return drawn if panel.top is None else drawn.max(panel.top)


def _draw_stacked(panel: Panel) -> timeseries.Panel:
    return _draw_lines(panel).fill_opacity(30).stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))


def _draw_heat(panel: Panel) -> heatmap.Panel:
    return (
        heatmap.Panel()
        .calculate(False)
        .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64).exponent(0.5))
        .y_axis(heatmap.YAxisConfig().unit(panel.unit))
        .cell_gap(1)
        .mode(TooltipDisplayMode.SINGLE)
        .show_legend()
    )


def _draw_states(panel: Panel) -> statetimeline.Panel:
    names = {
        str(state.value): ValueMappingResult(text=state.name.lower(), color=colour, index=state.value)
        for state, colour in _STATE_COLOURS.items()
    }
    return statetimeline.Panel().mappings([ValueMap(options=names)]).merge_values(True)


_DRAWN: Final[dict[Kind, Callable[[Panel], AnyPanel]]] = {
    Kind.STAT: _draw_stat, Kind.LINES: _draw_lines, Kind.STACKED: _draw_stacked, Kind.HEAT: _draw_heat,
    Kind.STATES: _draw_states,
}  # fmt: skip


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    steps = [Threshold(value=None, color="green" if panel.alarm_below is None else "red")]
    for value, colour in ((panel.alarm_below, "green"), (panel.warn_above, "orange"), (panel.alarm_above, "red")):
        if value is not None:
            steps.append(Threshold(value=value, color=colour))
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


if __name__ == "__main__":
    BOARD.write_text(text(), encoding="utf-8")
    print(BOARD)
