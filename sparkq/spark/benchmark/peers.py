"""The benchmark's peers are jobs as a careful engineer writes them by hand.

They stand in an importable module, run one thread a worker and keep the model in the worker: the mistakes that most such jobs
make are not made.
"""
from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from PIL import Image
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import DataFrame
from pyspark.sql.types import FloatType, IntegerType, StructField, StructType

from sparkq.artifact.file import ModelArtifact
from sparkq.config import PreprocessConfig
from sparkq.engines.base import Engine, LoadOptions
from sparkq.engines.load import load_engine
from sparkq.float_models.load import load_float_model
from sparkq.quantization.normalization import normalize

__all__ = ["map_in_arrow", "predict_batch"]

_PREDICTION = StructType([StructField("label", IntegerType()), StructField("score", FloatType())])
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

Pixels = npt.NDArray[np.uint8]


def predict_batch(spec: str, weights: str | None, preprocess: PreprocessConfig, *, batch_size: int) -> Callable[..., Any]:
    """Make a ``predict_batch_udf`` of the float model in torch, with Pillow, after Spark's documentation.

    The encoded bytes go in as they are and are decoded in ``predict``: tensors in a column, as in the documentation's MNIST,
    would pass 150 000 floats an image through Arrow.

    Returns
    -------
    callable
        Column of bytes to column ``struct<label: int, score: float>``.
    """
    udf: Callable[..., Any] = predict_batch_udf(
        functools.partial(_make_predict, spec, weights, preprocess), return_type=_PREDICTION, batch_size=batch_size,
    )
    return udf


def _make_predict(spec: str, weights: str | None, preprocess: PreprocessConfig) -> Callable[..., Any]:
    # Spark calls this once a worker.
    torch.set_num_threads(1)
    model = load_float_model(spec, weights)

    def predict(contents: npt.NDArray[np.object_]) -> dict[str, npt.NDArray[np.generic]]:
        pixels = np.stack([_pixels(content, preprocess, draft=False) for content in contents])
        with torch.inference_mode():
            scores = torch.softmax(model(normalize(torch.from_numpy(pixels), preprocess)), dim=1).numpy()
        return {"label": scores.argmax(axis=1).astype(np.int32), "score": scores.max(axis=1)}

    return predict


def map_in_arrow(files: DataFrame, artifact: str, engine: str, *, batch_size: int) -> DataFrame:
    """Predict ``path, content`` by a ``mapInArrow`` written by hand: decoded at reduced scale where JPEG allows it, full batches.

    Parameters
    ----------
    files : DataFrame
        Columns ``path`` and ``content``.
    artifact : str
        Path of an INT8 artifact: the very payload that sparkq runs.
    engine : str
        The engine that runs it.
    batch_size : int
        Images a forward pass.
    """
    classify = functools.partial(_classify, artifact=artifact, engine=engine, batch_size=batch_size)
    return files.mapInArrow(classify, "path string, label int, score float")


def _classify(
    batches: Iterable[pa.RecordBatch], *, artifact: str, engine: str, batch_size: int,
) -> Iterator[pa.RecordBatch]:
    model, preprocess = _loaded(artifact, engine, batch_size)
    for batch in batches:
        contents = batch.column("content")
        outputs = []
        for start in range(0, len(contents), batch_size):
            chosen = contents.slice(start, batch_size)
            pixels = np.empty((len(chosen), *preprocess.input_size, 3), np.uint8)
            for row, content in enumerate(chosen):
                pixels[row] = _pixels(content.as_buffer(), preprocess, draft=True)
            outputs.append(model.run(pixels))
        logits = np.concatenate(outputs)
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        labels, scores = logits.argmax(axis=1).astype(np.int32), (1 / exponents.sum(axis=1)).astype(np.float32)
        yield pa.RecordBatch.from_arrays(
            [batch.column("path"), pa.array(labels), pa.array(scores)], names=["path", "label", "score"],
        )


@functools.lru_cache(maxsize=1)
def _loaded(artifact: str, engine: str, batch_size: int) -> tuple[Engine, PreprocessConfig]:
    torch.set_num_threads(1)
    model = ModelArtifact.load(artifact)
    options = LoadOptions(model.manifest.input_size, batch_size, threads=1)
    return load_engine(model.payload, engine, options), model.manifest.preprocess


def _pixels(content: Any, preprocess: PreprocessConfig, *, draft: bool) -> Pixels:
    """Resize and centre crop with Pillow, as torchvision's transforms do."""
    file = Image.open(io.BytesIO(content))
    size = preprocess.resize.size
    height, width = size if isinstance(size, tuple) else (size, size)
    if draft:
        file.draft("RGB", (width, height))
    image = file.convert("RGB")
    if not isinstance(size, tuple):
        scale = size / min(image.size)
        width, height = round(image.width * scale), round(image.height * scale)
    image = image.resize((width, height), _FILTERS[preprocess.interpolation])
    crop_height, crop_width = preprocess.input_size
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    return np.asarray(image.crop((left, top, left + crop_width, top + crop_height)))
