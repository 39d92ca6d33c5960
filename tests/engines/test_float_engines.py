"""bfloat16 beside float32."""
from __future__ import annotations

import numpy as np

from sparkq.images.preprocess import preprocess_content
from sparkq.metrics.sqnr import sqnr_of
from sparkq.worker.predictor import Predictor
from tests.models import classified, digit_files, digits_artifact


def test_bfloat16_has_eight_bits_of_mantissa() -> None:
    """Near to float32, and not it."""
    artifact = digits_artifact("none")
    images = np.stack([preprocess_content(file, artifact.manifest.preprocess) for file in digit_files(60)])
    narrow, exact = (Predictor(artifact, engine=name) for name in ("bfloat16", "float32"))
    assert narrow.engine.name == "bfloat16" and narrow.engine.run(images).dtype == np.float32
    assert 30 < sqnr_of(exact.engine.run(images), narrow.engine.run(images)) < 80
    assert (classified(narrow, images)[0][:, 0] == classified(exact, images)[0][:, 0]).mean() > 0.95
