"""Manifests with a wrong value at every place: refused, or loaded and harmless, within a gigabyte and seconds."""
from __future__ import annotations

import base64
import copy
import json
import math
import resource
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.artifact.facts import ModelFacts
from sparkq.artifact.file import ModelArtifact
from sparkq.artifact.golden import Golden
from sparkq.artifact.manifest import PROTOCOL, Manifest
from sparkq.artifact.payload_coding import encode_payload
from sparkq.config import AnchorConfig, DetectionConfig, PreprocessConfig, ResizeConfig
from sparkq.errors import ArtifactError, ArtifactFormatError
from sparkq.model_tasks import model_task_of
from tests.artifact.rezipped import rezipped
from tests.sample_artifacts import sample_artifact, sample_manifest

ANCHORS = AnchorConfig(((3, 4), (2, 2)), (0.2, 0.45, 0.8), ((2,), (2, 3)), steps=(8, 16))
TASKS = {
    "classification": sample_manifest(),
    "embedding": sample_manifest(
        task="embedding", scores=None, classes=0, labels=None, embedding_layer="pool", calibration_profile=None,
    ),
    "detection": sample_manifest(
        task="detection", scores=None, detection=DetectionConfig(ANCHORS), output_length=7 * ANCHORS.count,
    ),
    "squash": sample_manifest(preprocess=PreprocessConfig(resize=ResizeConfig("squash", (6, 8))), accuracy={}),
}
WRONG: list[Any] = [
    None, True, False, 0, 1, -1, 3, 1.5, math.nan, math.inf, -math.inf, 2**31, 2**63, 10**30, 1e300, "", "x", "3", "1/0", "nan",
    "\ud800", "9" * 5000, [], [[]], [1], [math.nan], ["x"], [10**9, 10**9], [10**9] * 3, {}, {"x": 1}, {"-1": 1}, {"99": 7},
    [None] * 1000,
]


@pytest.fixture(autouse=True)
def one_gigabyte() -> Iterator[None]:
    """What this process has, and no more than a gigabyte on top."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**30, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a JSON document, and to the first of each list."""
    if above:
        yield above
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*above, key))


def put(mapping: dict[str, Any], place: tuple[Any, ...], value: Any) -> None:
    """Replace the value at a place, if the place is still there."""
    found: Any = mapping
    for key in place[:-1]:
        found = found[key]
    found[place[-1]] = value


def with_value(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at a place, which shares all else."""
    if not place:
        return value
    copied = copy.copy(document)
    copied[place[0]] = with_value(document[place[0]], place[1:], value)
    return copied


def use(mapping: dict[str, Any]) -> None:
    """Load a manifest, and if that goes well do with it what commands and workers do."""
    try:
        manifest = Manifest.loads(json.dumps(mapping).encode(), place="m.sparkq")
    except ArtifactError as error:
        assert "\n" not in str(error) and str(error).startswith("m.sparkq: ") and len(str(error)) < 1000
        return
    assert Manifest.loads(manifest.dumps(), place="x") == manifest
    height, width = manifest.input_size
    assert manifest.golden.input(manifest.input_size).shape == (height, width, 3)
    assert ModelFacts.of(manifest, 1).rows()
    if manifest.calibration_profile is not None:
        manifest.calibration_profile.label_bins(manifest.classes)
    outputs = np.zeros(manifest.output_length, np.float32)
    task = model_task_of(manifest)
    task.golden_parts(outputs)
    task.best(outputs[np.newaxis])


@pytest.mark.parametrize("name", ["classification", "embedding", "detection"])
def test_every_value_of_every_wrong_kind(name: str) -> None:
    """Also in lists, and one after the other in a document that is right otherwise."""
    original = json.loads(TASKS[name].dumps())
    use(original)
    for place in places(original):
        for value in WRONG:
            use(with_value(original, place, value))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_several_wrong_values_together(data: st.DataObject) -> None:
    """Sizes that go together are what a single check does not see."""
    mapping = json.loads(TASKS[data.draw(st.sampled_from(sorted(TASKS)))].dumps())
    known = list(places(mapping))
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.sampled_from(known))
        value = data.draw(st.sampled_from(WRONG) | st.integers() | st.floats() | st.text(max_size=5))
        try:
            put(mapping, place, value)
        # An earlier change took the place away.
        except (KeyError, IndexError, TypeError):
            continue
    use(mapping)


def changed(**values: Any) -> dict[str, Any]:
    """A classification's document with some values changed; those of ``golden`` by their own names."""
    mapping: dict[str, Any] = json.loads(sample_manifest().dumps())
    golden = {key: values.pop(key) for key in ("shape", "replication", "pixels_zlib_base64", "output") if key in values}
    mapping["golden"].update(golden)
    mapping.update(values)
    return mapping


def zeros(count: int) -> str:
    """So many zeros as a golden input has them: a thousandth of their size."""
    coder = zlib.compressobj(9)
    parts = [coder.compress(bytes(2**20)) for _ in range(count // 2**20)]
    return base64.b64encode(b"".join([*parts, coder.flush()])).decode()


SQUASH = {"resize": {"mode": "squash", "size": [2**20, 2**20]}}
BOMBS: dict[str, Callable[[], dict[str, Any]]] = {
    "golden input of 256 MB": lambda: changed(pixels_zlib_base64=zeros(2**28)),
    "golden input of 256 MB, announced": lambda: changed(pixels_zlib_base64=zeros(2**28), shape=[2**14, 2**14, 1]),
    "golden input repeated to terabytes": lambda: changed(replication=2**40),
    "golden input for an input of terabytes": lambda: changed(preprocess=SQUASH, shape=[1, 1, 3], replication=2**20),
    "images resized to terabytes": lambda: changed(
        preprocess={"resize": {"mode": "shorter_side", "size": 2**30}, "crop": [6, 8]},
    ),
    "classes": lambda: changed(classes=2**50, labels=None),
    "classes and outputs": lambda: changed(classes=2**50, output_length=2**50, labels=None),
    "anchors": lambda: {**json.loads(TASKS["detection"].dumps()), "detection": {
        "anchors": {"feature_maps": [[2**25, 2**25]], "scales": [0.1, 0.2], "aspect_ratios": [[2]]},
    }, "output_length": 2**50 * 4 * 7},
    "boxes that are compared with each other": lambda: {**json.loads(TASKS["detection"].dumps()), "detection": {
        **json.loads(TASKS["detection"].dumps())["detection"], "candidates": 10**9,
    }},
    "nested objects": lambda: changed(accuracy=json.loads('{"a":' * 500 + "1" + "}" * 500)),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_sizes_that_nobody_has(bomb: Callable[[], dict[str, Any]]) -> None:
    """Refused before anything of that size is allocated."""
    with pytest.raises(ArtifactFormatError, match="^m.sparkq: expected a complete manifest; got ") as caught:
        Manifest.loads(json.dumps(bomb()).encode(), place="m.sparkq")
    assert len(str(caught.value)) < 600


def test_a_manifest_that_is_too_long() -> None:
    """What Python makes of JSON takes twenty times its place."""
    with pytest.raises(ArtifactFormatError, match="expected a manifest of at most 16777216 bytes; got "):
        Manifest.loads(b'{"protocol": %d, "x": [' % PROTOCOL + b"[]," * 10_000_000 + b"[]]}", place="m.sparkq")


def test_a_golden_input_is_expanded_as_it_was_reduced() -> None:
    """By looking pixels up, so that nothing larger than the input is ever there."""
    image = np.random.default_rng(0).integers(0, 256, (227, 191, 3), dtype=np.uint8)
    pixels, replication = Golden.reduce(image)
    grown = pixels.repeat(replication, axis=0).repeat(replication, axis=1)[:227, :191]
    assert np.array_equal(Golden(pixels, replication, np.zeros(1, np.float32)).input((227, 191)), grown)


def test_a_coded_payload_that_is_announced_truly() -> None:
    """A quarter of a gigabyte of zeros in 8 KB, whose size the manifest says."""
    size = 2**28
    coded = pa.Codec("zstd", 9).compress(bytes(size), asbytes=True)
    manifest = sample_manifest(payload_bytes=size).dumps()
    with pytest.raises(ArtifactFormatError, match=f"expected an entropy-coded payload of {size} bytes; got "):
        ModelArtifact.loads(rezipped(manifest, coded, name="program.safetensors.zst"), place="m.sparkq")


def test_payloads_that_are_pruned_to_almost_nothing_are_read() -> None:
    """Far more zeros than any recipe leaves."""
    payload = (np.random.default_rng(0).random(2**22) < 0.02).astype(np.int8).tobytes()
    artifact = sample_artifact(payload)
    assert len(encode_payload(payload)) < len(payload) / 20 and len(artifact.dumps()) < len(payload) / 15
    assert ModelArtifact.loads(artifact.dumps()) == artifact


def test_a_payload_of_another_length_than_the_manifest_says() -> None:
    data = sample_artifact().dumps()
    with pytest.raises(ArtifactFormatError, match="expected a payload of 9 bytes; got 7"):
        ModelArtifact.loads(rezipped(sample_manifest(payload_bytes=9).dumps(), b"payload"), place="m.sparkq")
    assert ModelArtifact.loads(data).manifest.payload_bytes == 7


def test_entries_that_lie_over_each_other() -> None:
    """A directory that names the same bytes again and again: more than the file has."""
    data = bytearray(sample_artifact(bytes(100_000)).dumps())
    end = data.rindex(b"PK\x05\x06")
    start = int.from_bytes(data[end + 16:end + 20], "little")
    entries, count = bytes(data[start:end]), 500
    data[start:end] = entries * count
    end = start + len(entries) * count
    for offset, value in ((8, 2 * count), (10, 2 * count)):
        data[end + offset:end + offset + 2] = value.to_bytes(2, "little")
    data[end + 12:end + 16] = (len(entries) * count).to_bytes(4, "little")
    with pytest.raises(ArtifactFormatError, match="larger than the file"):
        ModelArtifact.loads(bytes(data), place="m.sparkq")
