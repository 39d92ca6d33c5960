"""Pictures: valid SVG whose shapes are the figures that they show."""
from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from sparkq.quantization.diagnosis import Distribution, InputDiagnosis, LayerDiagnosis
from sparkq.report.quantization.figures import layer_figure, sensitivity_figure

WEIGHTS = Distribution(np.array([9, 0, 999, 99]), np.array([-2.0, -1.0, 0.0, 1.0, 2.0]))
INPUTS = Distribution(np.array([99, 9, 9]), np.array([0.0, 1.0, 2.0, 3.0]))


def layer(inputs: InputDiagnosis | None) -> LayerDiagnosis:
    return LayerDiagnosis("conv", "convolution", (1, 1, 3, 3), 9, 20.0, WEIGHTS, inputs)


def paths(svg: str, style: str) -> list[list[tuple[float, float]]]:
    """Corners of each path with `style`."""
    return [
        [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path.get("d") or "")]
        for path in ElementTree.fromstring(svg).iter("path") if style in (path.get("style") or "")
    ]


def test_histogram_of_weights() -> None:
    """Bars as high as the logarithms of their counts."""
    (corners,) = paths(layer_figure(layer(None)), "fill: var(--int8)")
    ground = max(y for _, y in corners)
    tops = [round(ground - y, 3) for _, y in corners if y < ground]
    assert tops[0] == tops[1] and len(tops) == 6
    assert np.array(tops[::2]) / tops[0] == pytest.approx(np.log10([10, 1000, 100]), abs=1e-3)


def test_range_of_the_inputs() -> None:
    """Two dashed lines where it ends, on the scale of the bars."""
    svg = layer_figure(layer(InputDiagnosis(INPUTS, 0.0, 2.5, 0.01)))
    (bars,) = paths(svg, "fill: var(--inputs)")
    left, right = min(x for x, _ in bars), max(x for x, _ in bars)
    ends = [line[0][0] for line in paths(svg, "stroke-dasharray")]
    assert [(end - left) / (right - left) for end in ends] == pytest.approx([0, 2.5 / 3], abs=1e-4)
    assert len(paths(svg, "fill: var(--int8)")) == 1


def test_sensitivity() -> None:
    """A bar each, as high as its noise; hatched where the layer is in float."""
    svg = sensitivity_figure([1.0, 4.0, 2.0], [False, True, False])
    bars = [max(y for _, y in bar) - min(y for _, y in bar) for bar in paths(svg, "fill: var(--int8)")]
    (hatched,) = paths(svg, "fill: url(#")
    bars.insert(1, max(y for _, y in hatched) - min(y for _, y in hatched))
    assert np.array(bars) / bars[0] == pytest.approx([1, 4, 2], abs=1e-3)


@pytest.mark.parametrize("svg", [
    layer_figure(layer(None)), layer_figure(layer(InputDiagnosis(INPUTS, -1.0, 9.0, 0.0))), sensitivity_figure([], []),
    sensitivity_figure([0.0, 0.0], [False, True]),
    layer_figure(layer(InputDiagnosis(Distribution(np.array([5]), np.array([0.0, 2.0**-52])), 0.0, 0.0, 0.0))),
], ids=["weights", "wide_range", "no_layers", "no_noise", "zeros"])
def test_colors_are_the_pages(svg: str) -> None:
    """Ink too: a color of its own would vanish in the dark. No style sheet, no font, no address of its own."""
    ElementTree.fromstring(svg)
    assert "var(--ink)" in svg
    assert not re.search(r"#[0-9a-f]{6}\b|rgb|<style|font-family|://", svg)
