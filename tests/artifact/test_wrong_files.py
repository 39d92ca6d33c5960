"""Files that are no artifact, or not the one that they say: refused in one sentence, each with its own error."""
from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.artifact.file import PROTOCOL, ModelArtifact
from sparkq.artifact.golden import Golden
from sparkq.artifact.payload_coding import encode_payload
from sparkq.config import PreprocessConfig, QuantizationConfig, ResizeConfig
from sparkq.errors import ArtifactDigestError, ArtifactError, ArtifactFormatError, ArtifactProtocolError
from tests.artifact.rezipped import rezipped
from tests.sample_artifacts import sample_artifact, sample_payload

ARTIFACT = sample_artifact(sample_payload(bytes(range(256)) * 8), quantization=QuantizationConfig(entropy_coding=False))
DATA = ARTIFACT.dumps()
CODED_ARTIFACT = sample_artifact(ARTIFACT.payload)
CODED_DATA = CODED_ARTIFACT.dumps()


@pytest.mark.parametrize("length", sorted({*range(0, len(DATA), 97), *range(len(DATA) - 30, len(DATA))}))
def test_a_truncated_file_is_a_format_error(length: int, tmp_path: Path) -> None:
    """At whatever length; with the path and what to do."""
    path = tmp_path / "cut.sparkq"
    path.write_bytes(DATA[:length])
    with pytest.raises(ArtifactFormatError, match=f"cut.sparkq: expected a .sparkq artifact .* got {length} bytes ") as caught:
        ModelArtifact.load(str(path))
    assert caught.value.hint and "\n" not in str(caught.value)


@settings(max_examples=400, deadline=None)
@given(
    data=st.sampled_from([DATA, CODED_DATA]),
    changes=st.dictionaries(st.integers(0, len(DATA) - 1), st.integers(1, 255), min_size=1, max_size=4),
)
def test_changed_bytes_are_noticed(data: bytes, changes: dict[int, int]) -> None:
    """Either the artifact is refused, or what changed was none of its content (a time stamp of the zip)."""
    damaged = bytearray(data)
    for position, difference in changes.items():
        damaged[position % len(data)] ^= difference
    try:
        read = ModelArtifact.loads(bytes(damaged))
    except ArtifactError as error:
        assert "\n" not in str(error)
    else:
        assert read == (ARTIFACT if data is DATA else CODED_ARTIFACT)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300) | st.binary(max_size=100).map(lambda end: DATA[:-22] + end))
def test_other_bytes_are_a_format_error(data: bytes) -> None:
    """Nothing but an artifact opens as one."""
    with pytest.raises(ArtifactFormatError):
        ModelArtifact.loads(data)


MANIFEST = ARTIFACT.manifest.dumps()
OTHER_PROTOCOL = MANIFEST.replace(b'"protocol": %d' % PROTOCOL, b'"protocol": 1', 1)
CODED_MANIFEST = CODED_ARTIFACT.manifest.dumps()
OTHER_SIZE = CODED_MANIFEST.replace(b'"payload_bytes": %d' % len(ARTIFACT.payload), b'"payload_bytes": 9', 1)
TEXT_SIZE = CODED_MANIFEST.replace(b'"payload_bytes": %d' % len(ARTIFACT.payload), b'"payload_bytes": "9"', 1)
CODED_NAME = "program.safetensors.zst"
WRONG = {
    "an inflating zip": (rezipped(MANIFEST, ARTIFACT.payload, zipfile.ZIP_DEFLATED), ArtifactFormatError),
    "a coded payload that is none": (rezipped(CODED_MANIFEST, ARTIFACT.payload, name=CODED_NAME), ArtifactFormatError),
    "half a coded payload": (
        rezipped(CODED_MANIFEST, encode_payload(ARTIFACT.payload)[:300], name=CODED_NAME), ArtifactFormatError,
    ),
    "a larger coded payload": (rezipped(OTHER_SIZE, encode_payload(ARTIFACT.payload), name=CODED_NAME), ArtifactFormatError),
    "a size of text": (rezipped(TEXT_SIZE, encode_payload(ARTIFACT.payload), name=CODED_NAME), ArtifactFormatError),
    "another coded payload": (
        rezipped(CODED_MANIFEST, encode_payload(ARTIFACT.payload[:-1] + b"?"), name=CODED_NAME), ArtifactDigestError,
    ),
    "a zip of something else": (rezipped(None, None), ArtifactFormatError),
    "no manifest": (rezipped(None, ARTIFACT.payload), ArtifactFormatError),
    "no payload": (rezipped(MANIFEST, None), ArtifactFormatError),
    "a manifest that is not JSON": (rezipped(b"name: x", ARTIFACT.payload), ArtifactFormatError),
    "an incomplete manifest": (rezipped(b'{"protocol": %d}' % PROTOCOL, ARTIFACT.payload), ArtifactFormatError),
    "another protocol": (rezipped(OTHER_PROTOCOL, ARTIFACT.payload), ArtifactProtocolError),
    "another protocol, with files of other names": (
        rezipped(OTHER_PROTOCOL, ARTIFACT.payload, name="payload.pt"), ArtifactProtocolError,
    ),
    "a payload of another name": (rezipped(MANIFEST, ARTIFACT.payload, name="payload.pt"), ArtifactFormatError),
    "another payload": (rezipped(MANIFEST, ARTIFACT.payload[:-1] + b"?"), ArtifactDigestError),
    "an empty payload": (rezipped(MANIFEST, b""), ArtifactDigestError),
    "another digest": (rezipped(MANIFEST.replace(ARTIFACT.digest.encode(), b"0" * 64), ARTIFACT.payload), ArtifactDigestError),
}


@pytest.mark.parametrize(("data", "kind"), WRONG.values(), ids=WRONG)
def test_a_sound_zip_that_is_no_right_artifact(data: bytes, kind: type[ArtifactError]) -> None:
    """Its zip checksums are right; protocol and digest are checked all the same, each with its own error."""
    with pytest.raises(ArtifactError, match="^m.sparkq: expected ") as caught:
        ModelArtifact.loads(data, place="m.sparkq")
    assert type(caught.value) is kind


# One space more behind the header, which readers of JSON leave out.
HEADER_BYTES = int.from_bytes(ARTIFACT.payload[:8], "little")
SHIFTED = b"".join((
    (HEADER_BYTES + 1).to_bytes(8, "little"), ARTIFACT.payload[8:8 + HEADER_BYTES], b" ", ARTIFACT.payload[8 + HEADER_BYTES:],
))
OTHER_IMAGES = PreprocessConfig(resize=ResizeConfig("squash", (8, 6)))
# Every one is a sound manifest of this payload, which only the program contradicts.
MISFITS: dict[str, tuple[ModelArtifact, str]] = {
    "no program": (sample_artifact(b"payload"), "expected a quantized program; got one that is none"),
    "half a program": (sample_artifact(ARTIFACT.payload[:-8]), "expected a quantized program; got one that is none"),
    "constants that lie askew": (
        sample_artifact(SHIFTED), "expected a quantized program; got one that is none .*not at a multiple of 4",
    ),
    "images of another size": (
        sample_artifact(ARTIFACT.payload, preprocess=OTHER_IMAGES, golden=Golden(
            np.zeros((8, 6, 3), np.uint8), 1, np.zeros(3, np.float32),
        )),
        "expected a program from images of 8 x 6 pixels to 3 outputs; got one from 6 x 8 to 3",
    ),
    "another number of classes": (
        sample_artifact(ARTIFACT.payload, classes=4, output_length=4, labels=None, calibration_profile=None, golden=Golden(
            np.zeros((6, 8, 3), np.uint8), 1, np.zeros(4, np.float32),
        )),
        "expected a program from images of 6 x 8 pixels to 4 outputs; got one from 6 x 8 to 3",
    ),
}


@pytest.mark.parametrize(("artifact", "message"), MISFITS.values(), ids=MISFITS)
def test_a_payload_that_is_not_the_program_of_its_manifest(artifact: ModelArtifact, message: str, tmp_path: Path) -> None:
    """Refused when the file is opened, before a job is started; its bytes are as the manifest says."""
    assert ModelArtifact.loads(artifact.dumps()) == artifact
    artifact.save(str(tmp_path / "m.sparkq"))
    with pytest.raises(ArtifactFormatError, match=f"m.sparkq: {message}") as caught:
        ModelArtifact.load(str(tmp_path / "m.sparkq"))
    assert caught.value.hint
