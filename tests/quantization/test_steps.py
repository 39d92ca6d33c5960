"""What a quantization is at: every step tells how far it is, and nothing depends on who listens."""
from __future__ import annotations

import pytest

from sparkq.config import QuantizationConfig
from sparkq.demo.digits import PREPROCESS
from sparkq.quantization.steps import counted, heard, is_heard, part_of
from sparkq.workflows.quantize import quantize
from tests.models import digit_files, digits_net


def test_items_are_handed_on_and_counted() -> None:
    told: list[tuple[str, int, int]] = []
    assert list(counted("alone", [1, 2])) == [1, 2] and not is_heard()
    with heard(lambda *step: told.append(step)):
        assert is_heard() and list(counted("first", ["a", "b"])) == ["a", "b"]
        with part_of("attempt 1"):
            assert list(counted("second", iter("xyz"), 3)) == ["x", "y", "z"]
    assert not is_heard()
    assert told == [
        ("first", 0, 2), ("first", 1, 2), ("first", 2, 2),
        *(("attempt 1: second", done, 3) for done in range(4)),
    ]


def test_a_listener_is_gone_after_an_error() -> None:
    with pytest.raises(ValueError), heard(lambda *_: None), part_of("attempt 1"):
        raise ValueError
    assert not is_heard()


def test_steps_of_a_quantization() -> None:
    """Activations, layers and the measurement, each to its end; the artifact is the same without a listener."""
    config = QuantizationConfig()
    told: list[tuple[str, int, int]] = []
    with heard(lambda *step: told.append(step)):
        heard_of = quantize(digits_net(), calibration=digit_files(60), preprocess=PREPROCESS, config=config)
    alone = quantize(digits_net(), calibration=digit_files(60), preprocess=PREPROCESS, config=config)
    assert heard_of.payload == alone.payload
    ended = {step for step, done, total in told if done == total > 0}
    for step in ("looking at activations", "fitting layers", "measuring"):
        assert f"attempt 1 of at most 4: {step}" in ended
    assert {step for step, _, _ in told} == ended
