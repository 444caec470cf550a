"""Reward by arm over time as a drawing: a Vega-Lite specification, and its SVG. Drawn offline, without a browser."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from services.console.arms import Point
from streaming.contracts.kinds import ARM_NAMES

Theme = Literal["light", "dark"]
Size = Literal["wide", "narrow"]
_SIZES: dict[Size, tuple[int, int]] = {"wide": (760, 280), "narrow": (270, 230)}
_INK: dict[Theme, tuple[str, str, str]] = {
    "light": ("#1b1f24", "#d5dae0", "#ffffff"),
    "dark": ("#e8eaed", "#3c434b", "#171b20"),
}
"""Text, lines of the grid, ground."""
_COLORS: dict[Theme, tuple[str, ...]] = {
    "light": ("#0a58ca", "#b02a1c", "#0b7a55", "#5f5f5f", "#8a4fae"),
    "dark": ("#7cb5ff", "#ff9c8a", "#5fd3a6", "#c0c4c9", "#d4a5f5"),
}
"""Of the arms in the order of `ARM_NAMES`; each has a shape of its own too, for who cannot tell colours apart."""
_SHAPES = ("circle", "square", "triangle-up", "cross", "diamond")


def specification(points: Sequence[Point], title: str, theme: Theme, size: Size) -> dict[str, Any]:
    """The chart: a line and an interval for each arm."""
    width, height = _SIZES[size]
    arms = [arm for arm in ARM_NAMES if any(point.arm == arm for point in points)]
    places = [ARM_NAMES.index(arm) for arm in arms]
    color = {
        "field": "arm", "type": "nominal",
        "scale": {"domain": arms, "range": [_COLORS[theme][place] for place in places]},
        "legend": {"orient": "top", "title": None, "symbolOpacity": 1},
    }  # fmt: skip
    shape = {"field": "arm", "type": "nominal", "scale": {"domain": arms, "range": [_SHAPES[p] for p in places]}}
    axis = {"labelOverlap": True, "tickCount": width // 90}
    x = {"field": "at", "type": "temporal", "title": None, "axis": axis, "scale": {"type": "utc"}}
    y = {"type": "quantitative", "title": title, "scale": {"zero": False}}
    layers = [
        {"mark": {"type": "area", "opacity": 0.18}, "encoding": {"y": {**y, "field": "low"}, "y2": {"field": "high"}}},
        {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {"y": {**y, "field": "mean"}}},
        {
            "mark": {"type": "point", "filled": True, "size": 36, "opacity": 1},
            "encoding": {"y": {**y, "field": "mean"}, "shape": shape},
        },
    ]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "data": {"values": [_row(point) for point in points]},
        "width": width, "height": height,
        "encoding": {"x": x, "color": color},
        "layer": layers,
        "config": _config(theme),
    }  # fmt: skip


def svg(spec: dict[str, Any]) -> bytes:
    """Drawn; some 20 ms of a core once the drawing machine is there, which takes a third of a second."""
    import vl_convert

    drawn: str = vl_convert.vegalite_to_svg(spec)
    return drawn.encode()


def _row(point: Point) -> dict[str, Any]:
    at = datetime.fromtimestamp(point.at_ms / 1000, UTC).isoformat()
    mean = point.value.mean
    low, high = (mean if bound is None else bound for bound in (point.value.low, point.value.high))
    return {"at": at, "arm": point.arm, "mean": mean, "low": low, "high": high}


def _config(theme: Theme) -> dict[str, Any]:
    ink, grid, ground = _INK[theme]
    axis = {
        "labelColor": ink,
        "titleColor": ink,
        "gridColor": grid,
        "domainColor": grid,
        "tickColor": grid,
        "labelFontSize": 12,
        "titleFontSize": 12,
    }
    return {
        "background": ground,
        "font": "Liberation Sans, Arial, sans-serif",
        "view": {"stroke": grid},
        "axis": axis,
        "legend": {"labelColor": ink, "titleColor": ink, "labelFontSize": 12},
    }
