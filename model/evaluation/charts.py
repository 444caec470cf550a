"""Points with intervals as SVG: one line per value, a table with the same numbers stands beside each. Pure."""

import html
from collections.abc import Sequence
from typing import NamedTuple

WIDTH, LABEL, ROW, EDGE = 720, 190, 22, 26
"""Pixels of the drawing, of the labels' column, of a line, of the axis."""
PLOT = WIDTH - LABEL - 20
TICKS = 5


class Point(NamedTuple):
    """A value with its interval, where there is one."""

    label: str
    value: float
    low: float | None
    high: float | None


def intervals(title: str, points: Sequence[Point], *, zero: bool = False) -> str:
    """A forest plot, or nothing of no points.

    Args:
        title: read out instead of the drawing.
        zero: whether 0 must be on the axis, with a line.
    """
    if not points:
        return ""
    low, high = _range(points, zero=zero)
    height = ROW * len(points) + EDGE
    parts = [
        f'<svg role="img" viewBox="0 0 {WIDTH} {height}" xmlns="http://www.w3.org/2000/svg"><title>{safe(title)}</title>'
    ]
    for number in range(TICKS):
        at = low + (high - low) * number / (TICKS - 1)
        x = _x(at, low, high)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - EDGE}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - 8}">{at:.3g}</text>')
    if low < 0.0 < high:
        x = _x(0.0, low, high)
        parts.append(f'<line class="zero" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - EDGE}"/>')
    for place, point in enumerate(points):
        parts.append(_point(point, ROW * place + ROW / 2, low, high))
    return "".join(parts) + "</svg>"


def _point(point: Point, y: float, low: float, high: float) -> str:
    drawn = f'<text class="label" x="{LABEL - 8}" y="{y + 4:.1f}">{safe(point.label[:28])}</text>'
    if point.low is not None and point.high is not None:
        ends = f'x1="{_x(point.low, low, high):.1f}" x2="{_x(point.high, low, high):.1f}"'
        drawn += f'<line class="interval" {ends} y1="{y:.1f}" y2="{y:.1f}"/>'
    return drawn + f'<circle cx="{_x(point.value, low, high):.1f}" cy="{y:.1f}" r="4"/>'


def _range(points: Sequence[Point], *, zero: bool) -> tuple[float, float]:
    numbers = [n for point in points for n in (point.value, point.low, point.high) if n is not None]
    numbers += [0.0] if zero else []
    low, high = min(numbers), max(numbers)
    return (low, high) if high > low else (low - 1.0, high + 1.0)


def _x(value: float, low: float, high: float) -> float:
    return LABEL + PLOT * (value - low) / (high - low)


def safe(value: object) -> str:
    """Text of data as markup shows it: escaped, control and direction characters replaced."""
    return html.escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value)))
