"""Default boxes and decoding against plain Python, and against torchvision's own."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.config import AnchorConfig
from sparkq.float_models.load import load_float_model
from sparkq.model_tasks.detection.boxes import anchor_boxes, decode_boxes
from tests.model_tasks.detection import reference
from tests.shapes import encode_boxes

SSD300 = AnchorConfig(
    feature_maps=((38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1)), scales=(0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05),
    aspect_ratios=((2.0,), (2.0, 3.0), (2.0, 3.0), (2.0, 3.0), (2.0,), (2.0,)), steps=(8.0, 16.0, 32.0, 64.0, 100.0, 300.0),
)


def test_default_boxes_are_those_of_the_paper() -> None:
    """Place by place, row by row; also where maps and input are no squares."""
    maps, scales, ratios = ((3, 5), (2, 2)), (0.2, 0.5, 1.5), ((2.0,), (2.0, 3.0))
    anchors = AnchorConfig(maps, scales, ratios)
    expected = reference.anchors(maps, scales, ratios, (60, 100))
    assert anchors.count == len(expected) == 3 * 5 * 4 + 2 * 2 * 6
    np.testing.assert_allclose(anchor_boxes(anchors, (60, 100)), expected, rtol=1e-5, atol=1e-4)


def test_default_boxes_and_decoding_are_torchvisions() -> None:
    """Default boxes to the bit, for SSD300 with its steps and an SSD without; decoded ones but for the last digit of exp()."""
    with pytest.warns(UserWarning, match="no weights"):
        load_float_model("torchvision:squeezenet1_1")  # lets torchvision be imported where its operators are missing
    from torchvision.models.detection._utils import BoxCoder
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.image_list import ImageList

    for anchors, size in ((SSD300, (300, 300)), (AnchorConfig(((5, 7), (2, 3)), (0.2, 0.4, 0.9), ((2,), (3,))), (320, 200))):
        theirs = DefaultBoxGenerator(
            [list(ratios) for ratios in anchors.aspect_ratios], scales=list(anchors.scales),
            steps=None if anchors.steps is None else list(anchors.steps),
        )
        maps = [torch.zeros(1, 1, *shape) for shape in anchors.feature_maps]
        expected = theirs(ImageList(torch.zeros(1, 3, *size), [size]), maps)[0]
        boxes = anchor_boxes(anchors, size)
        assert np.array_equal(boxes, expected.numpy()) and len(boxes) == anchors.count
        offsets = torch.randn(len(boxes), 4, generator=torch.Generator().manual_seed(0)) * 9
        decoded = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0)).decode_single(offsets, expected)
        np.testing.assert_allclose(
            decode_boxes(offsets.numpy(), boxes, anchors.box_weights), decoded.numpy(), rtol=1e-6, atol=1e-4,
        )
    assert SSD300.count == 8732


@given(st.lists(st.tuples(*[st.floats(-60, 60, width=32)] * 4), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_decoding_is_that_of_plain_python(offsets: list[tuple[float, ...]]) -> None:
    """Also where exp() is held back."""
    anchors = anchor_boxes(SSD300, (300, 300))[100:100 + len(offsets)]
    found = decode_boxes(np.array(offsets, np.float32), anchors, SSD300.box_weights)
    expected = [reference.decoded(one, anchor) for one, anchor in zip(offsets, anchors.tolist(), strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-2)


@given(st.lists(st.tuples(*[st.floats(width=32, allow_nan=False, allow_infinity=False)] * 4), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_no_finite_offset_gives_nan(offsets: list[tuple[float, ...]]) -> None:
    """Infinite corners are cut off at the image's edge; NaN would be none."""
    anchors = anchor_boxes(SSD300, (300, 300))[: len(offsets)]
    assert not np.isnan(decode_boxes(np.array(offsets, np.float32), anchors, SSD300.box_weights)).any()


def test_decoding_is_the_inverse_of_what_networks_are_trained_on() -> None:
    """The targets of training give back the true boxes."""
    anchors = anchor_boxes(SSD300, (300, 300))[::97]
    corners = torch.rand(len(anchors), 4, generator=torch.Generator().manual_seed(1)) * 100
    boxes = torch.cat((corners[:, :2], corners[:, :2] + corners[:, 2:] + 5), dim=1)
    offsets = encode_boxes(boxes, torch.from_numpy(anchors), SSD300.box_weights)
    found = decode_boxes(offsets.numpy(), anchors, SSD300.box_weights)
    np.testing.assert_allclose(found, boxes.numpy(), rtol=1e-4, atol=1e-2)
