"""Writes an artifact of the protocol of an earlier sparkq, whose sources are put before this one's on Python's path.

This version writes only its own protocol, so that the files of protocols 1 and 2, which it refuses, came from the last
commit that wrote each::

    git archive a4a2e78b92341a3220b1bdeec0c48f8d14f59897 sparkq | tar -x -C /tmp/protocol1
    PYTHONPATH=/tmp/protocol1 python tests/artifact/golden/make_earlier.py tests/artifact/golden/classification_protocol1.sparkq
    git archive fc09b379f697796859a60785c0feed400eff8c2d sparkq | tar -x -C /tmp/protocol2
    PYTHONPATH=/tmp/protocol2 python tests/artifact/golden/make_earlier.py tests/artifact/golden/classification_protocol2.sparkq

That of protocol 3 was written by ``make`` while it was the current one.
"""
from __future__ import annotations

import sys

import numpy as np
import torch
from torch import nn

from sparkq.config import PreprocessConfig, ResizeConfig
from sparkq.quantization import quantize


def main(path: str) -> None:
    """A network that was never trained: nobody will run it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 3))
    images = list(np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3), dtype=np.uint8))
    preprocess = PreprocessConfig(resize=ResizeConfig("squash", 16))
    quantize(model, calibration=images, preprocess=preprocess, labels=("ant", "bee", "cat"), name="golden").save(path)


if __name__ == "__main__":
    main(sys.argv[1])
