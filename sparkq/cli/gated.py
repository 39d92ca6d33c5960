"""What ``sparkq quantize`` and ``sparkq convert`` share: no INT8 artifact is made but through the gate."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sparkq.artifact import ModelArtifact
from sparkq.config import PreprocessConfig, QuantizationConfig

if TYPE_CHECKING:
    from torch import nn

    from sparkq.gate import Attempt, GateTarget, Measured

__all__ = ["make_gated"]


def make_gated(
    model: nn.Module, images: list[Any], preprocess: PreprocessConfig, config: QuantizationConfig, target: GateTarget, *,
    labels: Sequence[str] | None = None, name: str | None = None,
    labelled: Callable[[ModelArtifact], Callable[[ModelArtifact], Measured]] | None = None,
) -> tuple[ModelArtifact, list[Attempt]]:
    """Make an artifact that reaches `target`, and tell what was tried.

    Parameters
    ----------
    model, preprocess, labels, name
        As for `sparkq.quantize`.
    images : list
        Calibration images.
    config : QuantizationConfig
        What was asked for. Recipe ``none`` has nothing to lose and is not measured.
    target : GateTarget
        What INT8 must reach.
    labelled : callable, optional
        Takes the float artifact and gives a measure on labelled images; without it, every fifth of `images` is held out
        from calibration and measured on.

    Raises
    ------
    GateError
        If nothing reaches the target.
    """
    from sparkq.gate import measure_held_out, pass_gate, split_held_out
    from sparkq.quantization import quantize
    from sparkq.quantization.calibration import calibration_set
    from sparkq.quantization.mixed import float_order

    # A copy of a traced model has another class.
    make = partial(quantize, model, preprocess=preprocess, labels=labels, name=name or type(model).__name__)
    if config.recipe == "none":
        return make(calibration=images, config=config), []
    reference = make(calibration=images[:1], config=QuantizationConfig(recipe="none"))
    measure, calibration = None if labelled is None else labelled(reference), images
    if measure is None:
        calibration, held_out = split_held_out(images)
        measure = partial(measure_held_out, float_artifact=reference, items=held_out)
    return pass_gate(
        lambda candidate: make(calibration=calibration, config=candidate), measure, config=config, target=target,
        float_order=lambda asked: float_order(model.eval(), calibration_set(calibration, preprocess), preprocess, asked),
    )
