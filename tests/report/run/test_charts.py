"""Charts: valid SVG in the page's colours, whose shapes are the figures."""
from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkq.report.counts import Counts
from sparkq.report.run.charts import Chart, box_chart, histogram_chart, rate_chart, task_rate_chart
from sparkq.report.wording import clock, number, percent
from tests.report.written_runs import times


def heights(chart: Chart) -> list[float]:
    """Of its bars."""
    return [100 - float(top) for top in re.findall(r"V([\d.]+)H", str(chart.svg))]


def test_histogram() -> None:
    chart = histogram_chart(Counts(np.array([9, 0, 99, 999]), 0.0, 1.0), "scores")
    assert heights(chart) == pytest.approx([100 / 3, 200 / 3, 100], abs=0.01)
    assert chart.top == "999" and [text for _, text in chart.ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert chart.label.startswith("1\u202f107 scores: half of them below")


def test_rates() -> None:
    """Tasks of 40 rows, one after another, a second longer each."""
    found = times(2)
    chart = rate_chart(found.bins, found.span_seconds)
    assert heights(chart)[0] == pytest.approx(100, abs=0.1) and heights(chart)[-1] == pytest.approx(50, abs=0.1)
    assert chart.top == "40" and chart.ticks[0] == (0.0, "0")


def test_rates_of_tasks() -> None:
    """40 and 20 rows a second: dots at the top and half way down."""
    chart = task_rate_chart(times(2).bins)
    (dots,) = re.findall(r'class="dots" d="([^"]*)"', str(chart.svg))
    assert [float(y) for y in re.findall(r"M\S+ ([\d.]+)h0", dots)] == [0, 50]


def test_boxes() -> None:
    assert [text for _, text in box_chart((5, 0, 3, 0, 0)).ticks] == ["0", "1", "2"]
    assert box_chart((0, 4)).ticks[-1][1] == "1+"


@pytest.mark.parametrize("chart", [
    histogram_chart(Counts(np.zeros(4, np.int64), 0.0, 1.0), "scores"), box_chart(()), box_chart((3,)),
    rate_chart(times(1, rows=0).bins, 1.0), task_rate_chart(times(1, rows=0).bins),
], ids=["no_scores", "no_images", "no_boxes", "no_rows", "no_rates"])
def test_nothing_to_see(chart: Chart) -> None:
    ElementTree.fromstring(str(chart.svg))
    assert not re.search(r"nan|inf|#[0-9a-f]{3}|rgb|://", str(chart.svg))


@given(st.floats(0, 1))
def test_percent_never_lies(share: float) -> None:
    """Nothing and all are said of nothing and all alone."""
    text = percent(share)
    assert (text in ("0 %", "0.0 %")) == (share == 0) and (text == "100.0 %") == (share == 1)


def test_wording() -> None:
    assert [number(value) for value in (0, 7, 0.1234, 86.24, 1234567)] == ["0", "7", "0.123", "86.2", "1\u202f234\u202f567"]
    assert [clock(value) for value in (0.5, 59.94, 61, 7290)] == ["0.5 s", "59.9 s", "1 min 01 s", "2 h 01 min"]
