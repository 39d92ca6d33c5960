"""The float side of a quantization: what does not change between the recipes that a gate tries is computed once."""
from __future__ import annotations

import copy
from functools import cached_property

import torch
from torch import nn

from sparkq.config import PreprocessConfig, QuantizationConfig
from sparkq.errors import ModelError
from sparkq.float_models.load import require_image_shape
from sparkq.quantization.calibration.image_set import CalibrationSet
from sparkq.quantization.float_graph.prepare import FloatGraph, float_graph
from sparkq.quantization.normalization import normalize

__all__ = ["PROBED_IMAGES", "FloatSide"]

PROBED_IMAGES = 32
"""Calibration images whose outputs tell what a model is."""
_REWRITES = (
    "batch_size", "fold_batch_norms", "float_output", "float_pooling", "clamp_ranges", "high_bias_absorption", "equalization",
)


class FloatSide:
    """A float model with its calibration images. On the driver.

    Parameters
    ----------
    model : nn.Module
        Takes float32 [N, 3, H, W]. It is not changed: a copy is kept.
    images : CalibrationSet
        Images like those of the job.
    preprocess : PreprocessConfig
        From an image to the model's input.

    Raises
    ------
    ModelError
        If it is no module, or does not take images of this size.
    """

    def __init__(self, model: nn.Module, images: CalibrationSet, preprocess: PreprocessConfig) -> None:
        if not isinstance(model, nn.Module):
            raise ModelError(f"model: expected a torch.nn.Module; got {type(model).__name__}.", hint="call its factory first.")
        require_image_shape(model, preprocess.input_size)
        self.model = copy.deepcopy(model).eval()
        self.images = images
        self.preprocess = preprocess
        self._graphs: dict[tuple[object, ...], FloatGraph] = {}

    def graph(self, config: QuantizationConfig) -> FloatGraph:
        """The graph that recipes start from, rewritten as `config` says. It is not to be changed."""
        asked = tuple(getattr(config, name) for name in _REWRITES)
        if asked not in self._graphs:
            self._graphs[asked] = float_graph(self.model, self.images, self.preprocess, config)
        return self._graphs[asked]

    @cached_property
    def outputs(self) -> torch.Tensor:
        """Outputs on the first calibration images.

        INT8 has no NaN, so that later none would be seen.

        Raises
        ------
        ModelError
            If the model fails on them, or they are not finite.
        """
        batch = normalize(torch.from_numpy(self.images.images[:PROBED_IMAGES]), self.preprocess)
        name = type(self.model).__name__
        try:
            with torch.no_grad():
                outputs: torch.Tensor = self.model(batch)
        # The user's code: anything may come out of it.
        except Exception as error:
            raise ModelError(
                f"model {name}: expected a forward pass on calibration images, {list(batch.shape)}; got {type(error).__name__}: "
                f"{' '.join(str(error).split())[:300]}.",
                hint="check preprocess: crop or resize.size is the model's input size.",
            ) from error
        if isinstance(outputs, torch.Tensor) and not torch.isfinite(outputs).all():
            raise ModelError(
                f"model {name}: expected finite outputs on the calibration images; got NaN or infinite values.",
                hint="check the weights and preprocess.",
            )
        return outputs
