"""What a row must say, found without Spark: one image at a time through the local `Predictor`."""
from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image
from pyspark.sql import Row

from sparkq.artifact.file import ModelArtifact
from sparkq.errors import SparkqError
from sparkq.images.preprocess import preprocess_content
from sparkq.worker.predictor import Predictor
from tests.models import classified, encoded, noise

COLUMNS = ("status", "error_code", "error_message", "label", "label_name", "score", "top_k", "model_digest", "engine")


def local_row(artifact: ModelArtifact, content: bytes, *, top_k: int = 5) -> dict[str, Any]:
    """The columns that a readable image must get."""
    predictor = Predictor(artifact)
    pixels = preprocess_content(content, artifact.manifest.preprocess)
    labels, scores = classified(predictor, np.stack([pixels]), top_k=top_k)
    names = artifact.manifest.labels
    ranking = [
        {"label": int(label), "label_name": None if names is None else names[int(label)], "score": float(score)}
        for label, score in zip(labels[0], scores[0], strict=True)
    ]
    return {
        "status": "ok", "error_code": None, "error_message": None, **ranking[0], "top_k": ranking,
        "model_digest": artifact.digest, "engine": predictor.engine.name,
    }


def falsified_golden(artifact: ModelArtifact) -> ModelArtifact:
    """The same artifact, its digest right, with the golden output's sign turned."""
    golden = replace(artifact.manifest.golden, output=-artifact.manifest.golden.output)
    return replace(artifact, manifest=replace(artifact.manifest, golden=golden))


def added(row: Row) -> dict[str, Any]:
    """The columns that sparkq added to a row."""
    values: dict[str, Any] = row.asDict(recursive=True)
    return {name: values[name] for name in COLUMNS}


def by_path(rows: Iterable[Row]) -> dict[str, dict[str, Any]]:
    """Added columns by ``path``; each path once."""
    rows = list(rows)
    found = {row["path"]: added(row) for row in rows}
    assert len(found) == len(rows)
    return found


def assert_clear(error: SparkqError, *words: str) -> None:
    """One sentence that names each of `words`, and a next action."""
    assert "\n" not in str(error)
    assert error.message.endswith((".", ")"))
    for word in words:
        assert word in str(error)


@functools.cache
def broken_files() -> dict[str, tuple[bytes, str]]:
    """Name to (bytes, the error code that its row must have), several kinds of damage for most codes."""
    photo = noise(1, size=64)[0]
    jpeg, png = encoded(photo, "JPEG"), encoded(photo)
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0xFF  # inside the compressed pixels: their checksum is wrong
    return {
        "zero_byte.png": (b"", "empty_content"),
        "text.jpg": (b"<html><body>404 Not Found</body></html>", "not_an_image"),
        "random.png": (bytes(range(256)) * 8, "not_an_image"),
        "one_byte.jpg": (jpeg[:1], "not_an_image"),
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "truncated_image"),
        "truncated.png": (png[: len(png) // 2], "truncated_image"),
        "corrupt.png": (bytes(flipped), "corrupt_image"),
        "bomb.png": (decompression_bomb(), "image_too_large"),
        "bomb_of_promises.png": (_png_of_promises(60_000, 60_000), "image_too_large"),
    }


def decompression_bomb() -> bytes:
    """A real PNG of 225 million pixels in a few kilobytes."""
    stream = io.BytesIO()
    Image.new("1", (15_000, 15_000)).save(stream, "PNG")
    return stream.getvalue()


def _png_of_promises(width: int, height: int) -> bytes:
    """A PNG whose header promises many pixels, and which brings none."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT")
    body = b"".join(struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + body
