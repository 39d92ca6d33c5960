"""From mappings to configs: every key known, every value of its type, and back again without loss."""
from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.config import CalibrationConfig, InferenceConfig, PreprocessConfig, QuantizationConfig, ResizeConfig
from sparkq.config.parsing import parse_config, to_mapping
from sparkq.errors import ConfigError

KINDS = [PreprocessConfig, ResizeConfig, QuantizationConfig, CalibrationConfig, InferenceConfig]
SIZES = st.integers(1, 4096)
PAIRS = st.tuples(SIZES, SIZES)
NUMBERS = st.floats(-1e6, 1e6)
CHANNELS = NUMBERS | st.tuples(NUMBERS, NUMBERS, NUMBERS)
NOT_ZERO = st.floats(1e-3, 1e3)


@st.composite
def preprocess_configs(draw: st.DrawFn) -> PreprocessConfig:
    """Any valid one."""
    squash, shorter_side = st.builds(ResizeConfig, st.just("squash"), SIZES | PAIRS), st.builds(ResizeConfig, size=SIZES)
    resize = draw(squash | shorter_side)
    height, width = resize.size if isinstance(resize.size, tuple) else (resize.size, resize.size)
    crops = st.tuples(st.integers(1, height), st.integers(1, width)) | st.integers(1, min(height, width))
    return PreprocessConfig(
        resize=resize,
        crop=draw(crops if resize.mode == "shorter_side" else crops | st.none()),
        interpolation=draw(st.sampled_from(["bilinear", "bicubic"])),
        channel_order=draw(st.sampled_from(["RGB", "BGR"])),
        rescale=draw(NUMBERS | st.sampled_from(["1/255", "1/127.5"])),
        mean=draw(CHANNELS),
        std=draw(NOT_ZERO | st.tuples(NOT_ZERO, NOT_ZERO, NOT_ZERO)),
    )


CONFIGS = st.one_of(
    preprocess_configs(),
    st.builds(
        QuantizationConfig, recipe=st.sampled_from(["static", "mixed", "dynamic"]),
        observer=st.sampled_from(["histogram", "min_max", "auto"]), target=st.sampled_from(["vnni", "avx2"]),
        equalization=st.booleans(), float_layers=st.lists(st.text()).map(tuple), minimum_sqnr_db=NUMBERS, batch_size=SIZES,
        pruning=st.floats(0, 1, exclude_max=True), shared_weight_bits=st.none() | st.integers(2, 7), entropy_coding=st.booleans(),
    ),
    st.builds(QuantizationConfig, recipe=st.just("none"), entropy_coding=st.booleans()),
    st.builds(CalibrationConfig, st.text(), SIZES, st.none() | st.text()),
    st.builds(
        InferenceConfig, engine=st.sampled_from([None, "fbgemm", "float32"]), batch_size=SIZES, top_k=SIZES,
        max_image_pixels=SIZES, max_image_bytes=SIZES, max_decode_bytes=SIZES, max_decode_seconds=SIZES,
        content_column=st.none() | st.text(),
    ),
    st.builds(InferenceConfig, uri_column=st.none() | st.text()),
    st.builds(InferenceConfig, engine=st.just("auto"), batch_size=st.just("auto") | SIZES, same_everywhere=st.booleans()),
)


@settings(max_examples=200, deadline=None)
@given(config=CONFIGS)
def test_a_config_comes_back_from_its_mapping(config: Any) -> None:
    """Directly, through JSON (the manifest) and through YAML (config files)."""
    mapping = to_mapping(config)
    assert parse_config(type(config), mapping, place="x") == config
    assert parse_config(type(config), json.loads(json.dumps(mapping)), place="x") == config
    assert parse_config(type(config), yaml.safe_load(yaml.safe_dump(mapping)), place="x") == config


def test_a_config_file_as_a_user_writes_it() -> None:
    """Keys of the preprocessing, with a fraction, lists and a nested mapping."""
    text = "{resize: {mode: shorter_side, size: 256}, crop: 224, interpolation: bicubic, rescale: 1/127.5, mean: [1, 1, 1.0]}"
    assert parse_config(PreprocessConfig, yaml.safe_load(text), place="c.yaml") == PreprocessConfig(
        resize=ResizeConfig("shorter_side", 256), crop=224, interpolation="bicubic", rescale=1 / 127.5, mean=(1, 1, 1),
    )


WRONG: list[tuple[str, type, object, str]] = [
    ("text for keys", PreprocessConfig, "fast", "c.yaml: expected keys and values; got str 'fast'."),
    ("list for keys", PreprocessConfig, [1], "c.yaml: expected keys and values; got list [1]."),
    ("nothing for keys", PreprocessConfig, None, "c.yaml: expected keys and values; got NoneType None."),
    ("unknown key", PreprocessConfig, {"colour": 1}, "c.yaml: unknown key 'colour'."),
    ("unknown nested key", PreprocessConfig, {"resize": {"sise": 1}}, "c.yaml: resize: unknown key 'sise'."),
    ("key that is a number", InferenceConfig, {1: 1}, "c.yaml: unknown key '1'."),
    ("required key missing", CalibrationConfig, {}, "c.yaml: expected the key 'input'; got none."),
    ("required key empty", CalibrationConfig, {"input": None}, "c.yaml: expected the key 'input'; got none."),
    ("number for text", CalibrationConfig, {"input": 5}, "c.yaml: input: expected text; got int 5."),
    ("text for a number", InferenceConfig, {"top_k": "5"}, "c.yaml: top_k: expected a whole number; got str '5'."),
    ("true for a number", InferenceConfig, {"top_k": True}, "c.yaml: top_k: expected a whole number; got bool True."),
    ("true for any number", PreprocessConfig, {"rescale": True}, "c.yaml: rescale: expected a number or text; got bool True."),
    ("fraction for a whole number", QuantizationConfig, {"batch_size": 1.5},
     "c.yaml: batch_size: expected a whole number; got float 1.5."),
    ("nothing for a number", QuantizationConfig, {"batch_size": None},
     "c.yaml: batch_size: expected a whole number; got NoneType None."),
    ("number for optional text", InferenceConfig, {"engine": 1}, "c.yaml: engine: expected text or nothing; got int 1."),
    ("mapping for a size", PreprocessConfig, {"crop": {"height": 1}},
     "c.yaml: crop: expected a whole number or a list or nothing; got dict {'height': 1}."),
    ("text for nested keys", PreprocessConfig, {"resize": "squash"},
     "c.yaml: resize: expected keys and values; got str 'squash'."),
    ("nothing for nested keys", PreprocessConfig, {"resize": None},
     "c.yaml: resize: expected keys and values; got NoneType None."),
    ("a value that the config refuses", InferenceConfig, {"top_k": 0},
     "top_k: expected a whole number of at least 1; got 0."),
]


@pytest.mark.parametrize(("kind", "mapping", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_wrong_mapping_is_one_sentence(kind: type, mapping: object, message: str) -> None:
    """With the place, what was expected and what was found."""
    with pytest.raises(ConfigError) as caught:
        parse_config(kind, mapping, place="c.yaml")
    assert caught.value.message == message


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_key_lists_all_valid_ones(kind: type) -> None:
    """So that a user need not look them up."""
    with pytest.raises(ConfigError) as caught:
        parse_config(kind, {"zzz": 1}, place="c.yaml")
    assert str(caught.value).endswith(f"valid keys: {', '.join(kind.__dataclass_fields__)}.")


def test_a_misspelled_key_names_the_one_that_was_meant() -> None:
    """The nearest one."""
    with pytest.raises(ConfigError, match="did you mean 'batch_size'"):
        parse_config(InferenceConfig, {"batchsize": 8}, place="c.yaml")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["1/0", "squash", "RGB"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_whatever_yaml_holds_gives_a_config_or_a_config_error(data: st.DataObject, kind: type) -> None:
    """No value of a known key ends in another exception, and no message spans lines."""
    keys = st.sampled_from(sorted(kind.__dataclass_fields__))
    mapping = data.draw(st.dictionaries(keys, JSON_VALUES, max_size=4))
    try:
        config = parse_config(kind, mapping, place="c.yaml")
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(config, kind)
