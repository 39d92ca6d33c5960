"""The manifest: plain JSON, complete, checked when it is read."""
from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from sparkq.artifact.manifest import GOLDEN_BYTES, PROTOCOL, Golden, Manifest
from sparkq.config import PreprocessConfig, ResizeConfig
from sparkq.errors import ArtifactFormatError, ArtifactProtocolError
from tests.sample_artifacts import sample_manifest

FINITE = st.floats(-1e9, 1e9)


@st.composite
def changes_of_a_manifest(draw: st.DrawFn) -> dict[str, Any]:
    """Values that go together: as many labels and golden outputs as classes, and a golden input of the input's size."""
    classes, replication = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    pixels = draw(st_numpy.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(3))))
    output = draw(st_numpy.arrays(np.float32, classes, elements=st.floats(-1e9, 1e9, width=32)))
    short = draw(st.integers(0, replication - 1))
    size = (pixels.shape[0] * replication - short, pixels.shape[1] * replication)
    return {
        "classes": classes, "output_length": classes, "golden": Golden(pixels, replication, output),
        "preprocess": PreprocessConfig(resize=ResizeConfig("squash", size)), "calibration_profile": None,
        "labels": draw(st.none() | st.lists(st.text(), min_size=classes, max_size=classes).map(tuple)),
        "name": draw(st.text()), "scores": draw(st.sampled_from(["logits", "probabilities"])),
        "float_layers": draw(st.lists(st.text(), max_size=4).map(tuple)),
        "accuracy": draw(st.dictionaries(st.text(), FINITE, max_size=3)),
    }


@settings(max_examples=100, deadline=None)
@given(changes=changes_of_a_manifest())
def test_a_manifest_comes_back_from_its_bytes(changes: dict[str, Any]) -> None:
    """Every field, bit for bit, and the same bytes again."""
    manifest = sample_manifest(**changes)
    read = Manifest.loads(manifest.dumps(), place="x")
    assert read == manifest
    assert read.dumps() == manifest.dumps()
    assert read.golden.output.dtype == np.float32 and read.golden.pixels.dtype == np.uint8


@pytest.mark.parametrize("change", [
    {"name": "other"}, {"labels": None}, {"labels": ("a",)}, {"classes": 4}, {"accuracy": {}}, {"float_layers": ()},
    {"golden": Golden(np.zeros((3, 4, 3), np.uint8), 2, np.zeros(3, np.float32))},
], ids=lambda change: f"{next(iter(change))} {next(iter(change.values()))!r}"[:20])
def test_equality_sees_every_field(change: dict[str, Any]) -> None:
    """Two manifests are equal only where all of them agree, arrays included."""
    assert sample_manifest() == sample_manifest()
    assert sample_manifest(**change) != sample_manifest()


def test_it_is_json_that_a_person_can_read() -> None:
    """UTF-8 with the names as they are, the protocol first, and every field."""
    text = sample_manifest().dumps().decode("utf-8")
    mapping = json.loads(text)
    assert next(iter(mapping)) == "protocol" and mapping["protocol"] == PROTOCOL
    assert '"Zürich, \\"快\\""' in text
    assert mapping["input_size"] == [6, 8]
    assert mapping["preprocess"]["rescale"] == 1 / 127.5
    assert mapping["golden"]["shape"] == [3, 4, 3]
    assert set(mapping) == {"protocol", "input_size", *(field.name for field in dataclasses.fields(Manifest))}


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """A manifest's bytes after `change` to its mapping."""
    mapping = json.loads(sample_manifest().dumps())
    change(mapping)
    return json.dumps(mapping).encode()


NO_MANIFEST: dict[str, bytes] = {
    "empty": b"", "binary": bytes(range(256)), "text": b"hello", "number": b"5", "null": b"null", "list": b"[]",
    "list with an item": b'["protocol"]', "text in JSON": b'"protocol"', "empty object": b"{}",
    "cut off": sample_manifest().dumps()[:-1], "nested without end": b"[" * 200_000,
    "not UTF-8": b'{"protocol": "\xff"}',
}


@pytest.mark.parametrize("data", NO_MANIFEST.values(), ids=NO_MANIFEST)
def test_what_is_no_manifest(data: bytes) -> None:
    """One sentence with the place."""
    with pytest.raises(ArtifactFormatError, match="^m.sparkq: expected a JSON manifest with a protocol; got "):
        Manifest.loads(data, place="m.sparkq")


@pytest.mark.parametrize("protocol", [0, PROTOCOL - 1, 99, str(PROTOCOL), None, [], 1.5])
def test_another_protocol_is_named(protocol: object) -> None:
    """Before anything else is read: the rest may look quite different there."""
    data = json.dumps({"protocol": protocol, "something": "new"}).encode()
    with pytest.raises(ArtifactProtocolError, match=f"^m.sparkq: expected protocol {PROTOCOL}; got ") as caught:
        Manifest.loads(data, place="m.sparkq")
    assert repr(protocol) in caught.value.message and caught.value.hint


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(Manifest)])
def test_a_missing_key_is_a_format_error(key: str) -> None:
    """Whichever it is."""
    with pytest.raises(ArtifactFormatError, match=f"expected a complete manifest; got .*{key}"):
        Manifest.loads(changed(lambda mapping: mapping.pop(key)), place="m.sparkq")


def test_a_key_that_a_later_sparkq_adds_is_left_alone() -> None:
    """Its number stays where all the rest means what it meant."""
    assert Manifest.loads(changed(lambda mapping: mapping.update(more={"x": 1})), place="m.sparkq") == sample_manifest()


DAMAGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "preprocess with an unknown key": lambda m: m["preprocess"].update(colour="RGB"),
    "preprocess of a later sparkq": lambda m: m["preprocess"].update(interpolation="lanczos"),
    "preprocess_origin of a setting that there is none of": lambda m: m.update(preprocess_origin={"colour": "given"}),
    "preprocess_origin of another word": lambda m: m.update(preprocess_origin={"mean": "guessed"}),
    "preprocess a list": lambda m: m.update(preprocess=[]),
    "quantization of another recipe": lambda m: m["quantization"].update(recipe="magic"),
    "labels a number": lambda m: m.update(labels=5),
    "golden null": lambda m: m.update(golden=None),
    "golden without pixels": lambda m: m["golden"].pop("pixels_zlib_base64"),
    "golden not base64": lambda m: m["golden"].update(pixels_zlib_base64="*"),
    "golden not zlib": lambda m: m["golden"].update(pixels_zlib_base64="AAAA"),
    "golden of another shape": lambda m: m["golden"].update(shape=[3, 4, 4]),
    "golden of an impossible shape": lambda m: m["golden"].update(shape=[10**30, 4, 3]),
    "golden replication text": lambda m: m["golden"].update(replication="two"),
    "golden output text": lambda m: m["golden"].update(output=["x"]),
    "golden output too large": lambda m: m["golden"].update(output=[10**400]),
}


@pytest.mark.parametrize("change", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_manifest_is_a_format_error(change: Callable[[dict[str, Any]], object]) -> None:
    """One sentence with the place, never the parser's own exception."""
    with pytest.raises(ArtifactFormatError, match="^m.sparkq: expected a complete manifest; got ") as caught:
        Manifest.loads(changed(change), place="m.sparkq")
    assert "\n" not in str(caught.value)


IMAGES = st_numpy.arrays(
    np.uint8, st.tuples(st.integers(1, 400), st.integers(1, 400), st.just(3)), elements=st.integers(0, 255), fill=st.just(7),
)


@settings(max_examples=60, deadline=None)
@given(image=IMAGES)
def test_a_golden_input_is_small_and_of_the_input_size(image: npt.NDArray[np.uint8]) -> None:
    """Its stored pixels fit the limit, are the image's own, and give back an input of the full size."""
    pixels, replication = Golden.reduce(image)
    grown = Golden(pixels, replication, np.zeros(1, np.float32)).input((image.shape[0], image.shape[1]))
    assert pixels.size <= GOLDEN_BYTES
    assert grown.shape == image.shape and grown.flags.c_contiguous
    assert np.array_equal(grown[::replication, ::replication], image[::replication, ::replication])
    if image.size <= GOLDEN_BYTES:
        assert np.array_equal(grown, image)
