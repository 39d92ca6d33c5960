"""What a network gets, made visible: the numbers are those of the payload, and wrong ones show."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.config import PreprocessConfig, ResizeConfig
from sparkq.report.preview.seen import channel_values, denormalized, network_values, value_note, values_as_pixels
from tests.pictures import texture

PHOTO = texture(40, 56)
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def preprocess(**changes: object) -> PreprocessConfig:
    return PreprocessConfig(resize=ResizeConfig("squash", (40, 56)), **changes)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(
    order=st.sampled_from(["RGB", "BGR"]), rescale=st.sampled_from([1, "1/255", "1/127.5"]),
    mean=st.tuples(*[st.floats(-2, 130)] * 3), std=st.tuples(*[st.floats(0.1, 60)] * 3),
)
def test_the_way_back(order: str, rescale: object, mean: object, std: object) -> None:
    """Undoing the normalization gives the pixels again, in the network's order of channels, whatever the settings."""
    config = preprocess(channel_order=order, rescale=rescale, mean=mean, std=std)
    seen = denormalized(network_values(PHOTO, config), config)
    expected = PHOTO if order == "RGB" else PHOTO[..., ::-1]
    assert np.abs(seen.astype(int) - expected).max() <= 1


def test_values_by_their_definition() -> None:
    config = preprocess(**IMAGENET)
    expected = (PHOTO / 255 - IMAGENET["mean"]) / IMAGENET["std"]
    np.testing.assert_allclose(network_values(PHOTO, config), expected, atol=1e-5)
    shown = values_as_pixels(np.array([[[-9, -2.5, 0], [1.25, 2.5, 9]]], np.float32))
    assert shown.tolist() == [[[0, 0, 128], [191, 255, 255]]]


@pytest.mark.parametrize(("settings_", "noted"), [
    (IMAGENET, False), ({"rescale": "1/127.5", "mean": 1}, False), ({}, True), ({"rescale": 1, "mean": 128}, True),
    ({**IMAGENET, "mean": (123.7, 116.3, 103.5)}, True), ({**IMAGENET, "rescale": 1}, True),
], ids=["imagenet", "minus_one_to_one", "mean_0_std_1", "not_divided", "mean_of_another_scale", "rescale_forgotten"])
def test_values_of_wrong_settings_are_noted(settings_: dict[str, object], noted: bool) -> None:
    """The mean and the std that a network is not used to; the two usual ways to normalize are in order."""
    config = preprocess(**settings_)
    values = channel_values([network_values(PHOTO, config)], config.channel_order)
    assert [channel.name for channel in values] == ["R", "G", "B"]
    assert (value_note(values) is not None) == noted


def test_no_image_has_no_values() -> None:
    assert channel_values([], "RGB") == [] and value_note([]) is None
