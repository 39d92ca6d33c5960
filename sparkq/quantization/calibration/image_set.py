"""Calibration images: a set of any size, a sample of it on the driver, and what the whole of it shows of a model."""
from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import fx

from sparkq.config import PreprocessConfig
from sparkq.errors import ImageError, InputError
from sparkq.images.preprocess import preprocess_array, preprocess_content
from sparkq.quantization.calibration.observations import Observations
from sparkq.quantization.calibration.observed_model import CountsOf, ObservedModel, observe_batches, observed_model
from sparkq.redaction import get_logger

__all__ = [
    "SAMPLE_IMAGES", "CalibrationSet", "ImagesElsewhere", "calibration_set", "fingerprint_of", "image_digest", "report_broken",
]

SAMPLE_IMAGES = 256
"""Images of a set that the driver holds for what needs pixels there: fitting weights, comparing observers, the golden input."""

_logger = get_logger(__name__)
# Each holds the activations of a batch.
_MOST_AT_ONCE = 4


class ImagesElsewhere(Protocol):
    """Preprocessed images that the driver does not hold."""

    @property
    def count(self) -> int:
        """How many."""

    def observe(self, model: ObservedModel) -> Observations:
        """Run `model` over all of them."""


@dataclass(frozen=True, eq=False)
class CalibrationSet:
    """Preprocessed calibration images.

    Parameters
    ----------
    images : ndarray of uint8 [N, H, W, 3]
        RGB at the model's input size: all images, or a sample where the others are elsewhere.
    fingerprint : str
        Tells the set of images, whatever their order: `fingerprint_of`.
    whole : ImagesElsewhere or ndarray of uint8 [count, H, W, 3], optional
        All images, where `images` is a sample of them.
    """

    images: npt.NDArray[np.uint8]
    fingerprint: str
    whole: ImagesElsewhere | npt.NDArray[np.uint8] | None = None

    @property
    def count(self) -> int:
        """Images in the whole set."""
        if self.whole is None:
            return len(self.images)
        return len(self.whole) if isinstance(self.whole, np.ndarray) else self.whole.count

    def observe(
        self, graph: fx.GraphModule, nodes: Sequence[fx.Node], kind: type[CountsOf], *, preprocess: PreprocessConfig,
        batch_size: int,
    ) -> Observations:
        """Observe `nodes` of a float graph over all images.

        The same to the bit wherever the images are, however they are partitioned, and in whatever order: each forward
        pass takes `batch_size` images, or all of a smaller set.

        Parameters
        ----------
        graph : GraphModule
            float32 [N, 3, H, W]; left as it was.
        nodes : sequence of Node
            Whose tensors are observed.
        kind : type
            `CountsOf` or `ChannelExtremesOf`.
        preprocess : PreprocessConfig
            How its input is normalized.
        batch_size : int
            Images a forward pass.

        Raises
        ------
        ModelError
            If the model fails on an image, or a value is not finite.
        """
        if not nodes:
            return Observations()
        # Known before anything is partitioned, so that a small set is not filled up for nothing.
        batch_size = min(batch_size, self.count)
        model = observed_model(graph, nodes, kind, preprocess, batch_size=batch_size, images=self.images[:2])
        if self.whole is None or isinstance(self.whole, np.ndarray):
            images = self.images if self.whole is None else self.whole
            batches = [images[start:start + model.batch_size] for start in range(0, len(images), model.batch_size)]
            found = observe_batches(model, batches, model.batch_size, at_once=min(torch.get_num_threads(), _MOST_AT_ONCE))
        else:
            found = self.whole.observe(model)
        found.require_finite([node.name for node in nodes])
        return found


def calibration_set(
    calibration: Iterable[npt.NDArray[np.uint8] | bytes], preprocess: PreprocessConfig,
) -> CalibrationSet:
    """Decode and preprocess calibration images with exactly the code of inference. On the driver.

    Parameters
    ----------
    calibration : iterable
        Decoded images, uint8 [H, W, 3] RGB of any size, or encoded ones as bytes. Images that do not decode are left
        out, with a warning that counts them. Their order does not matter.
    preprocess : PreprocessConfig
        The model's preprocessing.

    Raises
    ------
    InputError
        If an item is neither, or no image is left.
    """
    found: list[tuple[bytes, npt.NDArray[np.uint8]]] = []
    broken: Counter[str] = Counter()
    for index, item in enumerate(calibration):
        try:
            image = _preprocessed(item, preprocess, index)
            found.append((image_digest(image), image))
        except ImageError as error:
            broken[error.code] += 1
    report_broken(broken, len(found))
    # The order of their digests, which is that of no folder: the sample is a fair one, and the same one on Spark.
    found.sort(key=lambda pair: pair[0])
    stacked = np.stack([image for _, image in found])
    fingerprint = fingerprint_of(sum(int.from_bytes(digest, "big") for digest, _ in found), len(found))
    return CalibrationSet(stacked[:SAMPLE_IMAGES], fingerprint, stacked)


def image_digest(image: npt.NDArray[np.uint8]) -> bytes:
    """sha256 of a preprocessed image's pixels."""
    return hashlib.sha256(np.ascontiguousarray(image).data).digest()


def fingerprint_of(digest_sum: int, count: int) -> str:
    """Fingerprint of a set of images, the same for any order and any partitioning.

    The images' sha256 are added modulo 2**256, which is Bellare and Micciancio's AdHash (1997, "A New Paradigm for
    Collision-Free Hashing: Incrementality at Reduced Cost", section 5); sum and count are hashed once more. It tells sets
    apart that differ by accident or change, not those that somebody made to collide.

    Parameters
    ----------
    digest_sum : int
        Sum of `image_digest`, each read as a big-endian integer.
    count : int
        How many images.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    return hashlib.sha256((digest_sum % 2**256).to_bytes(32, "big") + count.to_bytes(8, "big")).hexdigest()


def report_broken(broken: Counter[str], left: int) -> None:
    """Warn of images that could not be decoded, by error code.

    Raises
    ------
    InputError
        If no image is left.
    """
    if broken:
        codes = ", ".join(f"{code} {count}" for code, count in sorted(broken.items()))
        _logger.warning("calibration: left out %d images that could not be decoded (%s)", sum(broken.values()), codes)
    if not left:
        raise InputError(
            f"calibration: expected at least one image; got none ({sum(broken.values())} could not be decoded).",
            hint="100 to 500 images like those of the job are a good set.",
        )


def _preprocessed(item: object, preprocess: PreprocessConfig, index: int) -> npt.NDArray[np.uint8]:
    if isinstance(item, (bytes, bytearray, memoryview)):
        return preprocess_content(bytes(item), preprocess)
    if isinstance(item, np.ndarray) and item.dtype == np.uint8 and item.ndim == 3 and item.shape[2] == 3 and item.size:
        return preprocess_array(np.ascontiguousarray(item), preprocess)
    got = f"{item.dtype} {list(item.shape)}" if isinstance(item, np.ndarray) else type(item).__name__
    raise InputError(
        f"calibration item {index}: expected uint8 [H, W, 3] or encoded bytes; got {got}.",
        hint="give arrays of shape [H, W, 3] and dtype uint8, or the bytes of image files.",
    )
