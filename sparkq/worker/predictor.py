"""One model, loaded and checked, ready to predict: what every Python worker holds."""
from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkq.artifact.file import ModelArtifact
from sparkq.artifact.manifest import Manifest
from sparkq.engines.base import DEFAULT_BATCH_SIZE, LoadOptions
from sparkq.engines.load import load_engine
from sparkq.engines.node import describe_node, has_vnni
from sparkq.errors import EngineError, last_line
from sparkq.metrics.sqnr import sqnr_of
from sparkq.model_tasks import model_task_of
from sparkq.redaction import get_logger
from sparkq.worker.fitting import engine_for

__all__ = ["Predictor", "RowOutputs"]

_logger = get_logger("sparkq.worker")

GOLDEN_SQNR_DB = 25.0
"""Two right INT8 kernels differ by single rounding steps (30 dB and better); saturated or broken ones by far more."""


@dataclass(frozen=True)
class RowOutputs:
    """Raw answers where some images may have none.

    Parameters
    ----------
    outputs : ndarray of float32 [N, C]
        NaN in the rows of `failures`.
    failures : dict of int to str
        Row to what the model said when it failed on that image.
    """

    outputs: npt.NDArray[np.float32]
    failures: dict[int, str]


def _check_saturation(manifest: Manifest) -> None:
    config = manifest.quantization
    if config.recipe != "none" and config.target == "vnni" and not has_vnni():
        raise EngineError(
            f"node {describe_node()}: expected a CPU with AVX-512 VNNI for artifact {manifest.name!r} (target vnni, 8-bit "
            "activations); got one without, whose 16-bit sums saturate and give wrong predictions.",
            hint="quantize with target avx2 for such nodes, or run with --allow-saturation.",
        )


class Predictor:
    """An artifact on an engine.

    Parameters
    ----------
    artifact : ModelArtifact
        Checked bytes.
    engine : str, optional
        Default: the first that fits the artifact.
    threads : int, optional
        Threads of the engine. One inside torch sets the whole process's, and one inter-op thread. None leaves all as they are.
    batch_size : int
        Images a forward pass.
    allow_saturation : bool
        Run an artifact of target ``vnni`` also on a CPU without VNNI.

    Raises
    ------
    EngineError
        If this node cannot run the engine, or its answer to the golden input is not the artifact's.
    """

    def __init__(
        self, artifact: ModelArtifact, *, engine: str | None = None, threads: int | None = None, allow_saturation: bool = False,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> None:
        self.manifest = artifact.manifest
        self.model_task = model_task_of(artifact.manifest)
        self._has_run = False
        if not allow_saturation:
            _check_saturation(artifact.manifest)
        self.batch_size = batch_size
        options = LoadOptions(
            artifact.manifest.input_size, batch_size, threads, divisible=not artifact.manifest.float_layers,
        )
        self.engine = load_engine(artifact.payload, engine_for(artifact, engine), options)
        started = time.perf_counter()
        self.golden_sqnr_db = self._check_golden()
        self.golden_seconds = time.perf_counter() - started

    def _check_golden(self) -> float:
        golden = self.manifest.golden
        output = self.engine.run(golden.input(self.manifest.input_size)[np.newaxis])[0]
        if len(output) != self.manifest.output_length:
            raise EngineError(
                f"engine {self.engine.name}: expected {self.manifest.output_length} outputs; got {len(output)}.",
                hint="make the artifact anew with `sparkq quantize`.",
            )
        parts = self.model_task.golden_parts(output)
        kept = sum(len(part) for part in parts)
        if len(golden.output) != kept:
            raise EngineError(
                f"artifact {self.manifest.name!r}: expected a golden output of {kept} numbers; got {len(golden.output)}.",
                hint="make the artifact again: this one is damaged.",
            )
        expected = np.split(golden.output, np.cumsum([len(part) for part in parts])[:-1])
        # Each part for itself: what is wrong in small numbers does not show beside large ones.
        sqnr = min(sqnr_of(one, part) for one, part in zip(expected, parts, strict=True))
        if not sqnr >= GOLDEN_SQNR_DB:
            raise EngineError(
                f"engine {self.engine.name} on {describe_node()}: expected the golden output of artifact "
                f"{self.manifest.name!r} within {GOLDEN_SQNR_DB:.0f} dB; got {sqnr:.1f} dB (largest at {int(output.argmax())}, "
                f"expected {int(golden.output.argmax())}).",
                hint="this node computes wrong results; take it out of the cluster or choose another engine.",
            )
        return sqnr

    def run_rows(self, images: npt.NDArray[np.uint8], *, batch_size: int) -> RowOutputs:
        """Run a batch so that an image on which the model fails spoils no other: a batch that fails is halved.

        Parameters
        ----------
        images : ndarray of uint8 [N, H, W, 3]
            RGB at the manifest's input size.
        batch_size : int
            The job's, at least N. With layers in float every forward pass takes so many images, blank ones if need be.
        """
        started = time.perf_counter()
        outputs = np.full((len(images), self.manifest.output_length), np.nan, np.float32)
        failures: dict[int, str] = {}
        pending = [(0, len(images))] if len(images) else []
        while pending:
            start, end = pending.pop()
            try:
                outputs[start:end] = self._run_padded(images[start:end], batch_size)
            except RuntimeError as error:
                if end - start > 1:
                    middle = (start + end) // 2
                    pending += [(start, middle), (middle, end)]
                else:
                    # A message may be a traceback; what happened is its last line.
                    failures[start] = last_line(error)
        if not self._has_run and len(images):
            self._has_run = True
            _logger.info("first batch: %d images in %.2f s", len(images), time.perf_counter() - started)
        return RowOutputs(outputs, failures)

    def _run_padded(self, images: npt.NDArray[np.uint8], batch_size: int) -> npt.NDArray[np.float32]:
        # Integer sums are exact in any order. Float kernels are chosen by the batch's shape (one image runs another
        # convolution than two, and differs in the last digits), so that shape is kept the same for all.
        if not self.manifest.float_layers or len(images) == batch_size:
            return self.engine.run(images)
        padded = np.zeros((batch_size, *images.shape[1:]), np.uint8)
        padded[:len(images)] = images
        return self.engine.run(padded)[:len(images)]
