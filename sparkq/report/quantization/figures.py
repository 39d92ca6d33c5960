"""Pictures as SVG that stands in the page itself: its colours are the page's, light or dark, and it holds no user text."""
from __future__ import annotations

import io
import re
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from sparkq.quantization.diagnosis import Distribution, InputDiagnosis, LayerDiagnosis

__all__ = ["layer_figure", "sensitivity_figure"]

# matplotlib takes no CSS variables: these colours are exchanged for them in what it has written.
_VARIABLES = {"#010101": "var(--ink)", "#010102": "var(--int8)", "#010103": "var(--float)", "#010104": "var(--inputs)"}
_INK, _INT8, _FLOAT, _INPUTS = _VARIABLES
_SETTINGS = {
    # Text stays text: small, searchable, in the page's font. The salt makes ids, and so the file, reproducible.
    "svg.fonttype": "none", "svg.hashsalt": "sparkq", "font.size": 8, "axes.edgecolor": _INK, "axes.labelcolor": _INK,
    "xtick.color": _INK, "ytick.color": _INK, "text.color": _INK, "hatch.color": _FLOAT, "hatch.linewidth": 0.8,
    "axes.linewidth": 0.6,
}
_PANEL_INCHES = (2.1, 1.1)


def sensitivity_figure(noise: Sequence[float], in_float: Sequence[bool]) -> str:
    """Bars in the order of the layers: the noise that the output has with only that layer in INT8.

    Parameters
    ----------
    noise : sequence of float
        In percent of the output.
    in_float : sequence of bool
        Which layers the artifact computes in float: their bars are hatched.

    Returns
    -------
    str
        An ``svg`` element.
    """
    with rc_context(_SETTINGS):
        figure = Figure(figsize=(8.0, 2.2))
        axes = figure.add_axes((0.06, 0.2, 0.93, 0.75))
        bars = axes.bar(range(1, len(noise) + 1), noise, width=0.8, color=_INT8, clip_on=False)
        for bar, floating in zip(bars, in_float, strict=True):
            if floating:
                bar.set(facecolor="none", edgecolor=_FLOAT, hatch="////", linewidth=0.8)
        axes.set_xlim(0.4, len(noise) + 0.6)
        axes.set_xlabel("layer, in the order of the network")
        axes.set_ylabel("noise, % of the output")
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        _plain(axes)
        return _svg(figure)


def layer_figure(layer: LayerDiagnosis) -> str:
    """Histograms side by side: of a layer's weights and, where a range was calibrated, of its inputs with that range.

    Returns
    -------
    str
        An ``svg`` element. Heights are logarithms of counts, so that rare values are seen.
    """
    panels = 1 if layer.inputs is None else 2
    width, height = _PANEL_INCHES
    with rc_context(_SETTINGS):
        figure = Figure(figsize=(width * panels, height))
        _histogram(figure.add_axes((0.05 / panels, 0.18, 0.9 / panels, 0.68)), layer.weights, _INT8, "weights")
        if layer.inputs is not None:
            _ranged(figure.add_axes((0.525, 0.18, 0.45, 0.68)), layer.inputs)
        return _svg(figure)


def _histogram(axes: Axes, distribution: Distribution, color: str, title: str) -> None:
    axes.stairs(np.log10(1 + distribution.counts), distribution.edges, fill=True, color=color, clip_on=False)
    axes.set_ylim(0, None)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.text(0, 1.04, title, transform=axes.transAxes, fontsize=7)
    _plain(axes)
    axes.spines.left.set_visible(False)


def _ranged(axes: Axes, inputs: InputDiagnosis) -> None:
    edges = inputs.distribution.edges
    lowest, highest = min(edges[0], inputs.low), max(edges[-1], inputs.high)
    margin = 0.03 * (highest - lowest) or 1.0
    axes.axvspan(inputs.low, inputs.high, color=_INK, alpha=0.12, linewidth=0, clip_on=False)
    for end in (inputs.low, inputs.high):
        axes.axvline(end, color=_INK, linewidth=1, linestyle="--", clip_on=False)
    _histogram(axes, inputs.distribution, _INPUTS, "inputs")
    axes.set_xlim(lowest - margin, highest + margin)


def _plain(axes: Axes) -> None:
    """No frame, no ticks: they are half of the file."""
    axes.tick_params(length=0, pad=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.patch.set_visible(False)


def _svg(figure: Figure) -> str:
    """Draw by matplotlib, without what only a file of its own needs; ids that nothing refers to would clash in the page."""
    figure.patch.set_visible(False)
    stream = io.StringIO()
    figure.savefig(stream, format="svg")
    written = stream.getvalue()
    written = re.sub(r"\s*<metadata>.*?</metadata>", "", written[written.index("<svg"):], flags=re.S)
    # Its style sheet would hold for the whole page, and the page has a font.
    written = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", written, flags=re.S)
    written = re.sub(r"font-family: [^;]*; ", "", re.sub(r'<g id="[^"]*"', "<g", written))
    # Widths follow the page; 72 points an inch.
    written = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', written, count=1)
    for color, variable in _VARIABLES.items():
        written = written.replace(color, variable)
    return written.strip()
