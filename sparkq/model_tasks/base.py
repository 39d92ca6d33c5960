"""The protocol of a task."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkq.artifact.manifest import Manifest
from sparkq.config import ModelTaskConfig
from sparkq.images.preprocess import ImageGeometry

__all__ = ["ModelTask"]


class ModelTask(Protocol):
    """The step from a payload's raw outputs, float32 [N, C], to rows. All values are finite; no row depends on another."""

    fields: ClassVar[pa.Schema]
    """The columns that it adds to a row."""

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Name of each class, where there are any."""

    @property
    def scores(self) -> str | None:
        """The kind of the outputs, as in the manifest."""

    @classmethod
    def of(cls, manifest: Manifest) -> ModelTask:
        """Make the model task of an artifact."""

    @classmethod
    def of_outputs(
        cls, outputs: npt.NDArray[np.float32], *, labels: Sequence[str] | None, config: ModelTaskConfig,
        input_size: tuple[int, int],
    ) -> ModelTask:
        """Make the task of a model with such outputs on calibration images of `input_size` (height, width).

        Raises
        ------
        InputError
            If the class names do not fit.
        ModelError
            If the outputs are not those of such a task.
        """

    def classes(self, outputs: int) -> int:
        """How many are told apart by a row of so many outputs."""

    def rows(
        self, outputs: npt.NDArray[np.float32], *, geometries: Sequence[ImageGeometry], top_k: int,
    ) -> list[dict[str, Any]]:
        """Values of `fields` for each row.

        Parameters
        ----------
        outputs : ndarray of float32 [N, C]
            Raw.
        geometries : sequence of ImageGeometry
            Where each image lies in its original, length N.
        top_k : int
            How many answers an image are wanted, where there are several.
        """

    def golden_parts(self, output: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """Split one image's raw `output` (float32 [C]) into parts of one scale each, which the check at load compares."""

    def best(self, outputs: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]] | None:
        """Class and score (0 to 1) of each image's best answer, [N] each, for measuring drift; None where there are none."""

    def closeness(self, expected: npt.NDArray[np.float32], outputs: npt.NDArray[np.float32]) -> dict[str, float]:
        """How near INT8's `outputs` come to the float model's on the same images, by name of the figure."""
