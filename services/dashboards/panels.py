"""What every dashboard is made of: rows of panels, each with its queries, in the house's one style."""

from collections.abc import Sequence
from typing import Literal

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, VisibilityMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    VariableRefresh,
    VariableSort,
)
from msgspec import Struct

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "stratagem"
GRID_WIDTH = 24
HEIGHT = 8


class Query(Struct, frozen=True):
    """One query and what its series are called (`{{label}}` stands for a label's value)."""

    expr: str
    legend: str


class Panel(Struct, frozen=True):
    """One panel.

    Args:
        unit: Grafana's name of it: `s`, `ops`, `percentunit`, `short`, `bytes`.
        says: what the figure means, shown at the panel's corner.
        width: of the grid's 24 columns.
    """

    title: str
    unit: str
    queries: tuple[Query, ...]
    says: str
    width: int = 8
    shape: Literal["lines", "number"] = "lines"


class Row(Struct, frozen=True):
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


class Variable(Struct, frozen=True):
    """A choice at the top: the values that a label of a metric has."""

    name: str
    metric: str


class Board(Struct, frozen=True):
    """A dashboard."""

    uid: str
    title: str
    says: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()


def panel(title: str, unit: str, says: str, *queries: tuple[str, str], width: int = 8) -> Panel:
    """Lines over time; `queries` are pairs of expression and legend."""
    return Panel(title, unit, tuple(Query(*each) for each in queries), says, width)


def number(title: str, unit: str, says: str, *queries: tuple[str, str], width: int = 8) -> Panel:
    """The last value, large."""
    return Panel(title, unit, tuple(Query(*each) for each in queries), says, width, "number")


def quantiles(metric: str, by: str, selector: str = "") -> tuple[tuple[str, str], ...]:
    """Median and 99th percentile of a histogram by one label; empty: over all."""
    labels, named = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    rate = f"sum by ({labels}) (rate({metric}_bucket{selector}[$__rate_interval]))"
    return tuple((f"histogram_quantile({q}, {rate})", f"{said}{named}") for q, said in ((0.5, "p50"), (0.99, "p99")))


def board(of: Board) -> dashboard.Dashboard:
    """The builder of a dashboard."""
    built = (
        dashboard.Dashboard(of.title)
        .uid(of.uid)
        .description(of.says)
        .tags([TAG])
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("10s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(
            dashboard.DashboardLink("Stratagem")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)  # noqa: FBT003 -- the builder's own signature
            .keep_time(True)  # noqa: FBT003 -- the same
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for variable in of.variables:
        built = built.with_variable(_choice(variable))
    identity = 0
    for row in of.rows:
        identity += 1
        built = built.with_row(dashboard.Row(row.title).id(identity))
        for each in row.panels:
            identity += 1
            built = built.with_panel(_built(each).id(identity))
    return built


def _choice(variable: Variable) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(variable.name)
        .label(variable.name.capitalize())
        .datasource(SOURCE)
        .query(f"label_values({variable.metric}, {variable.name})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)  # noqa: FBT003 -- the builder's own signature
        .include_all(True)  # noqa: FBT003 -- the same
        .all_value(".*")
    )


def _built(of: Panel) -> timeseries.Panel | stat.Panel:
    made = timeseries.Panel() if of.shape == "lines" else stat.Panel()
    made = (
        made.title(of.title)
        .description(of.says)
        .datasource(SOURCE)
        .unit(of.unit)
        .height(HEIGHT)
        .span(of.width)
        .targets(_targets(of.queries))
    )
    if isinstance(made, timeseries.Panel):
        legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
        shown = legend.show_legend(True).calcs([])  # noqa: FBT003 -- the builder's own signature
        return made.legend(shown).show_points(VisibilityMode.AUTO).fill_opacity(8).line_width(1)
    return made


def _targets(queries: Sequence[Query]) -> list[Builder[Dataquery]]:
    return [
        prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + place))
        for place, query in enumerate(queries)
    ]
