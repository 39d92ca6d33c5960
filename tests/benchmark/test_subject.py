"""From what a user names to every form of the model."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sparkq.benchmark.subject import load_subject, settle_batch_norms
from sparkq.demo.digits import PREPROCESS, DigitsNet
from sparkq.images.preprocess import preprocess_content
from sparkq.quantization.normalization import normalize
from sparkq.worker.predictor import Predictor
from tests.models import digit_files, digits_artifact

NET = "sparkq.demo.digits:DigitsNet"


def test_a_float_model_becomes_both() -> None:
    """INT8 is the same network: near to float, computed in INT8; the float artifact is the model itself."""
    subject = load_subject(NET, weights=None, float_model=None, preprocess=PREPROCESS, calibration=list(digit_files(8)))
    assert subject.int8 is not None and subject.floating is not None and subject.model is not None
    assert subject.int8.manifest.int8_macs_percent == 100
    assert subject.spec == NET and any("gate" in note for note in subject.notes)
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = subject.model(normalize(torch.from_numpy(image), PREPROCESS)).numpy()
    assert Predictor(subject.floating).engine.run(image) == pytest.approx(expected, abs=1e-5)


def test_random_batch_norms_settle() -> None:
    """Behind each of them, what the images give has mean 0 and variance 1; nothing stays in training mode."""
    model, contents = DigitsNet().eval(), list(digit_files(16))
    settle_batch_norms(model, contents, PREPROCESS)
    seen: list[torch.Tensor] = []
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    images = np.stack([preprocess_content(content, PREPROCESS) for content in contents])
    with torch.no_grad():
        model(normalize(torch.from_numpy(images), PREPROCESS))
    assert len(seen) == 3 and not any(module.training for module in model.modules())
    for output in seen:
        assert output.mean((0, 2, 3)).abs().max() < 0.01
        assert output.var((0, 2, 3)).sub(1).abs().max() < 0.05


@pytest.mark.parametrize("recipe", ["static", "none"])
def test_an_artifact_stays_what_it_is(recipe: str, tmp_path: Path) -> None:
    artifact = digits_artifact(recipe)
    artifact.save(str(tmp_path / "digits.sparkq"))
    subject = load_subject(
        str(tmp_path / "digits.sparkq"), weights=None, float_model=NET if recipe == "static" else None, preprocess=PREPROCESS,
        calibration=list(digit_files(2)),
    )
    assert subject.preprocess == artifact.manifest.preprocess and subject.notes == ()
    found = subject.int8 if recipe == "static" else subject.floating
    assert found is not None and found.digest == artifact.digest
    assert (subject.model is None, subject.int8 is None) == (recipe == "none", recipe == "none")
