"""Settings of quantization: what an effort puts in the place of what."""
from __future__ import annotations

from dataclasses import replace

import pytest

from sparkq.config import QuantizationConfig
from sparkq.config.quantization import EFFORTS
from sparkq.errors import ConfigError


def test_efforts() -> None:
    """Only rounding and observer differ; the default changes nothing of what was asked for."""
    asked = QuantizationConfig(recipe="mixed", observer="mse", rounding="nearest", float_layers=("a",))
    assert asked.with_effort("default") == asked
    assert asked.with_effort("fast") == replace(asked, observer="histogram")
    assert asked.with_effort("best") == replace(asked, rounding="least_squares", observer="auto")
    assert EFFORTS == ("fast", "default", "best")


@pytest.mark.parametrize("effort", ["", "slow", "Fast"])
def test_no_effort(effort: str) -> None:
    with pytest.raises(ConfigError, match="effort: expected"):
        QuantizationConfig().with_effort(effort)
