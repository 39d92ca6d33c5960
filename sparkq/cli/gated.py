"""What ``sparkq quantize`` and ``sparkq convert`` share: no INT8 artifact is made but through the gate."""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sparkq.artifact import ModelArtifact
from sparkq.config import QuantizationConfig

if TYPE_CHECKING:
    from sparkq.gate import Attempt, GateTarget, Measured

__all__ = ["make_gated"]


def make_gated(
    make: Callable[..., ModelArtifact], images: list[Any], config: QuantizationConfig, target: GateTarget,
    labelled: Callable[[ModelArtifact], Callable[[ModelArtifact], Measured]] | None = None,
) -> tuple[ModelArtifact, list[Attempt]]:
    """Make an artifact that reaches `target`, and tell what was tried.

    Parameters
    ----------
    make : callable
        `sparkq.quantize` but for ``calibration`` and ``config``.
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

    if config.recipe == "none":
        return make(calibration=images, config=config), []
    reference = make(calibration=images[:1], config=QuantizationConfig(recipe="none"))
    measure, calibration = None if labelled is None else labelled(reference), images
    if measure is None:
        calibration, held_out = split_held_out(images)
        measure = lambda artifact: measure_held_out(artifact, reference, held_out)  # noqa: E731
    return pass_gate(
        lambda candidate: make(calibration=calibration, config=candidate), measure, config=config, target=target,
    )
