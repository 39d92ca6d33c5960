"""The builder that ONNX files and exported programs share."""
from __future__ import annotations

import pytest
import torch
from torch import nn

from sparkq.float_models.graph_builder import BATCH, GraphBuilder, UnsupportedError


def test_names_become_modules_and_never_collide() -> None:
    """Two layers that want one name, a layer inside of a layer, a name that nn.Module has itself."""
    builder = GraphBuilder((3, 4, 4))
    value = builder.input
    for name in ("block.conv", "block.conv", "block.conv.inner", "forward", "a/b c", ""):
        value = builder.module(name, nn.ReLU(), value)
    module = builder.finish(value, "my net-1")
    names = [name for name, layer in module.named_modules() if isinstance(layer, nn.ReLU)]
    assert len(names) == 6 and names[0] == "block.conv"
    assert type(module).__name__ == "my_net_1"
    assert torch.equal(module(torch.ones(1, 3, 4, 4)), torch.ones(1, 3, 4, 4))


def test_permutations_that_undo_each_other_vanish() -> None:
    builder = GraphBuilder((3, 4, 5))
    there = builder.permuted(builder.input, (0, 2, 3, 1))
    assert there.shape == (2, 4, 5, 3)
    assert builder.permuted(there, (0, 3, 1, 2)) == builder.input
    module = builder.finish(there, "m")
    image = torch.rand(2, 3, 4, 5)
    assert torch.equal(module(image), image.permute(0, 2, 3, 1))


@pytest.mark.parametrize(("target", "batches", "shape"), [
    ((-1, 60), (), (7, 60)), ((1, -1), (1,), (7, 60)), ((BATCH, 3, 20), (), (7, 3, 20)), ((1, 15, -1), (1,), (7, 15, 4)),
    ((-1, 3, 4, 5), (), (7, 3, 4, 5)),
])
def test_reshapes_of_any_batch(target: tuple[int, ...], batches: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Whatever batch size the file was written with."""
    builder = GraphBuilder((3, 4, 5))
    module, images = builder.finish(builder.reshaped(builder.input, target, batches), "m"), torch.rand(7, 3, 4, 5)
    assert torch.equal(module(images), images.reshape(shape))


@pytest.mark.parametrize("target", [(60,), (2, 60), (-1, 30), (-1, 7), (-1, 0, -1), ()])
def test_reshapes_that_mix_images(target: tuple[int, ...]) -> None:
    builder = GraphBuilder((3, 4, 5))
    with pytest.raises(UnsupportedError):
        builder.reshaped(builder.input, target, {1})
