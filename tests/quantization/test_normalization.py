"""Normalization in front of the graph: (pixel * rescale - mean) / std, a channel, in the model's channel order."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sparkq.config import PreprocessConfig, ResizeConfig
from sparkq.quantization.normalization import WithNormalization, normalize
from tests.models import noise

SQUASH = ResizeConfig("squash", 16)
CASES = {
    "as_it_is": PreprocessConfig(resize=SQUASH, rescale=1),
    "divided_by_255": PreprocessConfig(resize=SQUASH),
    "imagenet": PreprocessConfig(resize=SQUASH, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "minus_one_to_one": PreprocessConfig(resize=SQUASH, rescale="1/127.5", mean=1),
    "caffe": PreprocessConfig(resize=SQUASH, channel_order="BGR", rescale=1, mean=(104, 117, 123)),
    "bgr_with_std": PreprocessConfig(resize=SQUASH, channel_order="BGR", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)),
}


@pytest.mark.parametrize("name", CASES)
def test_formula(name: str) -> None:
    """uint8 NHWC RGB to float32 NCHW, within float32's rounding of the formula in double precision."""
    preprocess = CASES[name]
    images = np.stack(noise(3))
    ordered = images if preprocess.channel_order == "RGB" else images[..., ::-1]
    wide = (ordered * float(preprocess.rescale) - np.array(preprocess.channel_mean)) / np.array(preprocess.channel_std)
    result = normalize(torch.from_numpy(images), preprocess)
    assert result.dtype == torch.float32
    assert result.shape == (3, 3, 16, 16)
    np.testing.assert_allclose(result.numpy(), wide.transpose(0, 3, 1, 2), rtol=1e-6, atol=2e-6 * np.abs(wide).max())


def test_mean_belongs_to_the_models_first_channel() -> None:
    """A red pixel of a BGR model loses the third mean."""
    red = np.zeros((1, 16, 16, 3), np.uint8)
    red[..., 0] = 200
    pixel = normalize(torch.from_numpy(red), CASES["caffe"])[0, :, 0, 0]
    assert pixel.tolist() == [-104, -117, 200 - 123]


def test_module_feeds_the_model_with_it() -> None:
    images = torch.from_numpy(np.stack(noise(2)))
    flat = WithNormalization(nn.Flatten(), CASES["imagenet"])(images)
    assert torch.equal(flat, normalize(images, CASES["imagenet"]).flatten(1))


def test_input_is_not_written_to() -> None:
    images = torch.from_numpy(np.stack(noise(2)))
    before = images.clone()
    normalize(images, CASES["caffe"])
    assert torch.equal(images, before)
