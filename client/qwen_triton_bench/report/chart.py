"""Line charts as SVG: axes with round numbers, a line for each series, tooltips on points."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]

_WIDTH, _HEIGHT = 720, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 34, 16, 52
_TICKS = 6
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d", "#666666")
"""Colours that people with colour blindness can tell apart (the palette of Okabe and Ito)."""


@dataclass(frozen=True)
class Series:
    """A named line. `labels`: names of its points, which then show as dots."""

    name: str
    points: Sequence[Point]
    labels: Sequence[str] = ()
    colour: str = COLOURS[0]


@dataclass(frozen=True)
class Axis:
    """An axis. `log`: a logarithmic scale, on which values of 0 and less are left out."""

    label: str
    log: bool = False
    from_zero: bool = True


def line_chart(title: str, series: Sequence[Series], x: Axis, y: Axis) -> str:
    """A chart as an HTML figure element; without points, a sentence that nothing was measured."""
    drawn = [Series(s.name, _drawable(s.points, x, y), s.labels, s.colour) for s in series]
    points = [p for s in drawn for p in s.points]
    heading = f"<figcaption>{escape(title)} <small>{escape(y.label)}</small></figcaption>"
    if not points:
        return f"<figure>{heading}<p>Nothing was measured for this chart.</p></figure>"
    to_x, x_ticks = _scale([p[0] for p in points], x, _LEFT, _WIDTH - _RIGHT)
    to_y, y_ticks = _scale([p[1] for p in points], y, _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">',
        *(_x_tick(to_x(t), t) for t in x_ticks),
        *(_y_tick(to_y(t), t) for t in y_ticks),
        f'<text class="axis" x="{(_LEFT + _WIDTH) / 2:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x.label)}</text>',
        *(_line(s, to_x, to_y) for s in drawn if s.points),
        "</svg>",
    ]
    return f"<figure>{heading}{''.join(parts)}{_legend(drawn)}</figure>"


def _drawable(points: Sequence[Point], x: Axis, y: Axis) -> list[Point]:
    return [(a, b) for a, b in points if (a > 0 or not x.log) and (b > 0 or not y.log)]


def _scale(
    values: Sequence[float], axis: Axis, start: float, end: float
) -> tuple[Callable[[float], float], list[float]]:
    """The scale of an axis: a function from value to coordinate, and the values of its ticks."""
    low, high = min(values), max(values)
    if axis.log:
        low, high = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))
        high = high if high > low else low * 10
        span = math.log10(high / low)
        ticks = [low * 10**n for n in range(round(span) + 1)]
        return lambda v: start + (end - start) * math.log10(v / low) / span, ticks
    low = 0.0 if axis.from_zero else low
    step = round_step((high - low) or abs(high) or 1.0, _TICKS)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    bottom, top = first * step, last * step
    return lambda v: start + (end - start) * (v - bottom) / (top - bottom), [step * n for n in range(first, last + 1)]


def round_step(span: float, most: int) -> float:
    """The smallest step of 1, 2 or 5 times a power of ten that divides `span` into at most `most` steps."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(m * power for m in (1.0, 2.0, 5.0, 10.0) if span <= m * power * most * (1 + 1e-9))


def number(value: float) -> str:
    """A number for labels: 0.25, 12.5, 1,200."""
    if value and abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:,.0f}"


def _x_tick(at: float, value: float) -> str:
    bottom = _HEIGHT - _BOTTOM
    return (
        f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{bottom}"/>'
        f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{number(value)}</text>'
    )


def _y_tick(at: float, value: float) -> str:
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{number(value)}</text>'
    )


def _line(series: Series, to_x: Callable[[float], float], to_y: Callable[[float], float]) -> str:
    positions = [(to_x(a), to_y(b)) for a, b in series.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in positions)
    line = f'<polyline class="series" points="{path}" stroke="{series.colour}"><title>{escape(series.name)}</title></polyline>'
    dots = [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{series.colour}"><title>{escape(series.name)}: {escape(label)}'
        f"</title></circle>"
        f'<text class="dot" x="{x + 8:.1f}" y="{y - 6:.1f}">{escape(label)}</text>'
        for (x, y), label in zip(positions, series.labels, strict=False)
    ]
    return line + "".join(dots)


def _legend(series: Sequence[Series]) -> str:
    items = (f'<li><span style="background:{s.colour}"></span>{escape(s.name)}</li>' for s in series)
    return f'<ul class="legend">{"".join(items)}</ul>'
