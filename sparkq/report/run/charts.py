"""Charts of a page that is read on a phone as well as on paper: shapes are SVG as wide as the page, words are HTML of one size.

Colours are the page's. No user text stands in a chart.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from sparkq.report.counts import Counts
from sparkq.report.wording import clock, number
from sparkq.runs.task_times import TimeBins

__all__ = ["Chart", "box_chart", "histogram_chart", "rate_chart", "task_rate_chart"]

_HEIGHT = 100
_TICKS = 5


@dataclass(frozen=True)
class Chart:
    """A picture with its axes.

    Parameters
    ----------
    svg : Markup
        An ``svg`` element, stretched to the place it is given.
    top : str
        What its upper edge stands for.
    ticks : tuple of (float, str)
        Places along the lower edge in percent, and what they stand for.
    label : str
        What is to be seen, in words.
    """

    svg: Markup
    top: str
    ticks: tuple[tuple[float, str], ...]
    label: str


def histogram_chart(histogram: Counts, what: str) -> Chart:
    """Bars as high as the logarithms of their counts: most scores lie beside 1, and the others are those to see."""
    counts = histogram.counts
    if histogram.high > 1 and counts.any():
        # A range that grew ends in empty bins.
        counts = counts[:int(counts.nonzero()[0][-1]) + 1]
    high = histogram.low + (histogram.high - histogram.low) * len(counts) / len(histogram.counts)
    label = (
        f"{number(histogram.total)} {what}: half of them below {histogram.quantile(0.5):.2g}, 5 % below "
        f"{histogram.quantile(0.05):.2g}"
    )
    heights = np.log10(1 + counts).tolist()
    ticks = _ticks(histogram.low, high, lambda value: f"{value:.3g}")
    return _bars(heights, label, ticks, top=number(int(counts.max(initial=0))))


def box_chart(counts: Sequence[int]) -> Chart:
    """Images by their number of boxes."""
    last = max((number for number, count in enumerate(counts) if count), default=0)
    shown = list(counts[:last + 1])
    step = max(1, math.ceil(len(shown) / 12))
    ticks = tuple(
        (100 * (place + 0.5) / len(shown), f"{place}+" if place == len(counts) - 1 else str(place))
        for place in range(0, len(shown), step)
    )
    return _bars(shown, "Images by how many boxes they have", ticks)


def _bars(counts: Sequence[float], label: str, ticks: tuple[tuple[float, str], ...], *, top: str = "") -> Chart:
    most = max(counts, default=0) or 1
    corners = []
    for place, count in enumerate(counts):
        height = _HEIGHT * count / most
        # What is there shall be seen.
        height = max(height, 0.7) if count else 0
        if height:
            corners.append(f"M{place + 0.04:g} {_HEIGHT}V{_HEIGHT - height:.4g}H{place + 0.96:g}V{_HEIGHT}Z")
    return Chart(_svg(len(counts), f'<path class="bars" d="{"".join(corners)}"/>'), top or number(most), ticks, label)


def _svg(width: float, inside: str) -> Markup:
    box = f"0 0 {max(width, 1):g} {_HEIGHT}"
    return Markup(f'<svg viewBox="{box}" preserveAspectRatio="none" aria-hidden="true">{inside}</svg>')


def _ticks(low: float, high: float, text: Callable[[float], str]) -> tuple[tuple[float, str], ...]:
    """Round values from `low` to `high`."""
    span = high - low
    if span <= 0:
        return ((0.0, text(low)),)
    raw = span / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    values = [step * number for number in range(first, math.floor(high / step + 1e-9) + 1)]
    return tuple((100 * (value - low) / span, text(value)) for value in values)


def _time_ticks(span: float) -> tuple[tuple[float, str], ...]:
    unit, name = next((unit, name) for unit, name in ((3600, "h"), (60, "min"), (1, "s")) if span >= 2 * unit or unit == 1)
    ticks = _ticks(0, span / unit, lambda value: f"{value:g}")
    return tuple((place, f"{text} {name}" if text != "0" else text) for place, text in ticks)


def rate_chart(bins: TimeBins, span_seconds: float) -> Chart:
    """Rows a second of the whole job over time, as steps."""
    rates = [rows / bins.seconds for rows in bins.rows]
    # The last bin is cut where the job ended.
    rest = span_seconds - bins.seconds * (len(rates) - 1)
    if rates and 0 < rest < bins.seconds:
        rates[-1] = bins.rows[-1] / max(rest, bins.seconds / 10)
    span = bins.seconds * len(rates)
    label = f"Images per second over {clock(span_seconds)}, at most {number(max(rates, default=0))}"
    return _bars(rates, label, _time_ticks(span))


def task_rate_chart(bins: TimeBins) -> Chart:
    """Rows a second of single tasks by when they ended: from the slowest to the fastest, with a dot for the median."""
    highest = max((rate for rate in bins.highest if rate is not None), default=0) or 1
    lines, dots = [], []
    for place, (low, middle, high) in enumerate(zip(bins.lowest, bins.median, bins.highest, strict=True)):
        if low is None or middle is None or high is None:
            continue
        x = place + 0.5
        lines.append(f"M{x:g} {_HEIGHT * (1 - high / highest):.4g}V{_HEIGHT * (1 - low / highest):.4g}")
        dots.append(f"M{x:g} {_HEIGHT * (1 - middle / highest):.4g}h0")
    label = f"Images per second of each task, by when it ended, at most {number(highest)}"
    inside = f'<path class="range" d="{"".join(lines)}"/><path class="dots" d="{"".join(dots)}"/>'
    return Chart(_svg(len(bins.rows), inside), number(highest), _time_ticks(bins.seconds * len(bins.rows)), label)
