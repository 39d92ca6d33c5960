"""Prices and speeds to cost."""
from __future__ import annotations

from pathlib import Path

import pytest

from sparkq.benchmark.prices import InstancePrice, PriceList, cost_per_million, cost_rows, read_prices
from sparkq.errors import ConfigError

LIST = PriceList("EUR", "a test", {"small": InstancePrice(2, 0.36), "own": InstancePrice(4, 0.72, images_per_second=400)})


def test_cost_of_a_million() -> None:
    """A thousand seconds at 3.60 an hour are one."""
    assert cost_per_million(3.6, 1000) == pytest.approx(1.0)


def test_every_instance_with_everything_measured() -> None:
    """Twice the cores, half the time; a speed of the instance's own wins, and stands for sparkq alone."""
    rows = {(row.instance, row.runs): row for row in cost_rows(LIST, {"sparkq": 50.0, "peer": 5.0}, own="sparkq")}
    assert rows["small", "sparkq"].cost == pytest.approx(1.0) and not rows["small", "sparkq"].measured
    assert rows["small", "peer"].cost == pytest.approx(10.0)
    assert rows["own", "sparkq"].cost == pytest.approx(0.5) and rows["own", "sparkq"].measured
    assert rows["own", "peer"].cost == pytest.approx(10.0) and not rows["own", "peer"].measured


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("currency: EUR\nsource: a test\ninstances:\n  small: {vcpus: 2, price_per_hour: 0.36}\n")
    assert read_prices(str(path)) == PriceList("EUR", "a test", {"small": InstancePrice(2, 0.36)})


@pytest.mark.parametrize(("text", "words"), [
    ("[", "YAML"), ("- 1", "currency"), ("currency: EUR", "instances"),
    ("{currency: EUR, source: x, instances: {}}", "vcpus"),
    ("{currency: EUR, source: x, instances: {small: {vcpus: 2}}}", "price_per_hour"),
    ("{currency: EUR, source: x, instances: {small: {vcpus: 2, price_per_hour: 0}}}", "more than 0"),
    ("{currency: EUR, source: x, instances: {small: {vcpus: two, price_per_hour: 1}}}", "whole number"),
], ids=["broken", "list", "keys", "empty", "no_price", "zero", "text"])
def test_a_wrong_file(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_prices(str(path))
