"""The artifact as a file: it comes back whole, or is refused for the right reason, and nothing in it is executed."""
from __future__ import annotations

import ast
import gzip
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sparkq.artifact.file
import sparkq.artifact.manifest
import sparkq.artifact.payload_coding
import sparkq.storage
from sparkq.artifact.file import PROTOCOL, ModelArtifact, sha256_digest
from sparkq.artifact.payload_coding import encode_payload
from sparkq.config import QuantizationConfig
from sparkq.errors import ArtifactDigestError, ArtifactError, ArtifactFormatError, ArtifactProtocolError, ConfigError, InputError
from tests import HANG_SECONDS, ROOT
from tests.local_s3 import BUCKET, LocalS3, local_s3
from tests.sample_artifacts import sample_artifact, sample_payload

ARTIFACT = sample_artifact(sample_payload(bytes(range(256)) * 8))
DATA = ARTIFACT.dumps()
ENTROPY_CODING = QuantizationConfig(entropy_coding=True)
CODED_ARTIFACT = sample_artifact(ARTIFACT.payload, quantization=ENTROPY_CODING)
CODED_DATA = CODED_ARTIFACT.dumps()


def rezipped(
    manifest: bytes | None, payload: bytes | None, compression: int = zipfile.ZIP_STORED, name: str = "payload.pt",
) -> bytes:
    """A sound zip of these files, as someone who edits an artifact by hand would make."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in (("manifest.json", manifest), (name, payload)):
            if data is not None:
                archive.writestr(name, data)
    return stream.getvalue()


@settings(max_examples=50, deadline=None)
@given(payload=st.binary(max_size=2000), name=st.text(), entropy_coding=st.booleans())
def test_an_artifact_comes_back_from_its_bytes(payload: bytes, name: str, entropy_coding: bool) -> None:
    """Payload, manifest and digest; and the same artifact always gives the same bytes."""
    artifact = sample_artifact(payload, name=name, quantization=QuantizationConfig(entropy_coding=entropy_coding))
    data = artifact.dumps()
    read = ModelArtifact.loads(data)
    assert read == artifact and read.payload == payload
    assert read.digest == hashlib.sha256(payload).hexdigest()
    assert data == artifact.dumps() == read.dumps()


def test_the_bytes_do_not_depend_on_the_process() -> None:
    """Not on the hash seed, the time, the time zone or the umask: a scheduled job can compare files."""
    code = "from tests.sample_artifacts import *; import hashlib; print(hashlib.sha256(sample_artifact().dumps()).hexdigest())"
    printed = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT,
            env={**os.environ, **environment}, timeout=HANG_SECONDS,
        ).stdout.strip()
        for environment in ({"PYTHONHASHSEED": "1", "TZ": "UTC"}, {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo"})
    ]
    assert printed == [hashlib.sha256(sample_artifact().dumps()).hexdigest()] * 2


def test_the_file_is_a_stored_zip_of_manifest_and_payload() -> None:
    """``unzip`` shows what is inside."""
    with zipfile.ZipFile(io.BytesIO(DATA)) as archive:
        assert archive.namelist() == ["manifest.json", "payload.pt"]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.read("payload.pt") == ARTIFACT.payload
        assert json.loads(archive.read("manifest.json"))["payload_sha256"] == ARTIFACT.digest


def test_a_coded_payload_stands_in_the_zip_as_a_gzip_file() -> None:
    """So that ``unzip`` and ``gunzip`` show what is inside; the digest is that of the decoded payload."""
    with zipfile.ZipFile(io.BytesIO(CODED_DATA)) as archive:
        assert archive.namelist() == ["manifest.json", "payload.pt.gz"]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert gzip.decompress(archive.read("payload.pt.gz")) == ARTIFACT.payload
    assert CODED_ARTIFACT.digest == ARTIFACT.digest and len(CODED_DATA) < len(DATA) - 1000


def test_an_artifact_of_an_earlier_sparkq_is_read() -> None:
    """Its manifest knows nothing of compression, and its payload is stored."""
    mapping = json.loads(ARTIFACT.manifest.dumps())
    for key in ("pruning", "shared_weight_bits", "entropy_coding"):
        del mapping["quantization"][key]
    assert ModelArtifact.loads(rezipped(json.dumps(mapping).encode(), ARTIFACT.payload)) == ARTIFACT


@pytest.fixture(scope="module")
def s3() -> Iterator[LocalS3]:
    """An S3 server with one bucket."""
    with local_s3() as server:
        yield server


@pytest.mark.parametrize("kind", ["path", "file uri", "s3 uri", "s3 uri with the environment's credentials"])
def test_what_is_saved_is_loaded(kind: str, tmp_path: Path, s3: LocalS3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it is, and a second time over the first."""
    place = {
        "path": str(tmp_path / "models" / "m.sparkq"), "file uri": (tmp_path / "models" / "m.sparkq").as_uri(),
        "s3 uri": s3.uri("models/m.sparkq"), "s3 uri with the environment's credentials": f"s3://{BUCKET}/models/e.sparkq",
    }[kind]
    if "environment" in kind:
        for name, value in s3.environment().items():
            monkeypatch.setenv(name, value)
    for artifact in (sample_artifact(sample_payload(b"first" * 1000)), ARTIFACT):
        artifact.save(place)
        assert ModelArtifact.load(place) == artifact


@pytest.mark.parametrize("spelled", [str.lower, str.upper])
def test_a_pinned_file(tmp_path: Path, spelled: Callable[[str], str]) -> None:
    """What ``sha256sum`` prints of the file pins labels and preprocessing as well, which the digest does not cover."""
    path = tmp_path / "m.sparkq"
    ARTIFACT.save(str(path))
    printed = subprocess.run(["sha256sum", str(path)], capture_output=True, text=True, check=True).stdout.split()[0]
    assert ModelArtifact.load(str(path), sha256=spelled(printed)) == ARTIFACT
    other = replace(ARTIFACT, manifest=replace(ARTIFACT.manifest, labels=("wasp", "bee", "ant")))
    assert other.digest == ARTIFACT.digest
    other.save(str(path))
    for sha256 in (printed, ARTIFACT.digest):
        with pytest.raises(ArtifactDigestError, match=f"m.sparkq: expected a file with sha256 {sha256}; got ") as caught:
            ModelArtifact.load(str(path), sha256=sha256)
        assert caught.value.hint and "sha256sum" in caught.value.hint


@pytest.mark.parametrize("sha256", ["", "abc", "0" * 63, "0" * 65, "g" * 64, "0" * 64 + "\n", f"sha256:{'0' * 64}"])
def test_a_pin_that_is_none(sha256: str) -> None:
    """A misspelt pin is no reason to trust a file."""
    with pytest.raises(ConfigError, match="expected a sha256, 64 hexadecimal digits"):
        ModelArtifact.loads(DATA, sha256=sha256)


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    """It says artifact and path."""
    with pytest.raises(InputError, match=f"^artifact {tmp_path}/none.sparkq: expected a file; got nothing there."):
        ModelArtifact.load(str(tmp_path / "none.sparkq"))


def test_a_save_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    """Below a file nothing can be written, and the file stays."""
    ARTIFACT.save(str(tmp_path / "m.sparkq"))
    with pytest.raises(InputError, match="expected a writable place"):
        sample_artifact(b"new").save(str(tmp_path / "m.sparkq" / "m.sparkq"))
    assert os.listdir(tmp_path) == ["m.sparkq"]
    assert ModelArtifact.load(str(tmp_path / "m.sparkq")) == ARTIFACT


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
CODED_NAME = {"name": "payload.pt.gz"}
WRONG = {
    "an inflating zip": (rezipped(MANIFEST, ARTIFACT.payload, zipfile.ZIP_DEFLATED), ArtifactFormatError),
    "a coded payload that is none": (rezipped(CODED_MANIFEST, ARTIFACT.payload, **CODED_NAME), ArtifactFormatError),
    "half a coded payload": (rezipped(CODED_MANIFEST, encode_payload(ARTIFACT.payload)[:300], **CODED_NAME), ArtifactFormatError),
    "a larger coded payload": (rezipped(OTHER_SIZE, encode_payload(ARTIFACT.payload), **CODED_NAME), ArtifactFormatError),
    "a size of text": (rezipped(TEXT_SIZE, encode_payload(ARTIFACT.payload), **CODED_NAME), ArtifactFormatError),
    "another coded payload": (
        rezipped(CODED_MANIFEST, encode_payload(ARTIFACT.payload[:-1] + b"?"), **CODED_NAME), ArtifactDigestError,
    ),
    "a zip of something else": (rezipped(None, None), ArtifactFormatError),
    "no manifest": (rezipped(None, ARTIFACT.payload), ArtifactFormatError),
    "no payload": (rezipped(MANIFEST, None), ArtifactFormatError),
    "a manifest that is not JSON": (rezipped(b"name: x", ARTIFACT.payload), ArtifactFormatError),
    "an incomplete manifest": (rezipped(b'{"protocol": %d}' % PROTOCOL, ARTIFACT.payload), ArtifactFormatError),
    "another protocol": (rezipped(OTHER_PROTOCOL, ARTIFACT.payload), ArtifactProtocolError),
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


class Bomb:
    """What a hostile file would have us unpickle: it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_loading_unpickles_nothing(tmp_path: Path) -> None:
    """A pickle as payload, as manifest or as the whole file is not executed."""
    bomb = pickle.dumps(Bomb(tmp_path / "executed"))
    assert ModelArtifact.loads(sample_artifact(bomb).dumps()).payload == bomb
    for data in (bomb, rezipped(bomb, b"")):
        with pytest.raises(ArtifactFormatError):
            ModelArtifact.loads(data)
    assert not (tmp_path / "executed").exists()
    pickle.loads(bomb)
    assert (tmp_path / "executed").exists(), "the bomb is none"


@pytest.mark.parametrize(
    "module", [sparkq.artifact.file, sparkq.artifact.manifest, sparkq.artifact.payload_coding, sparkq.storage],
    ids=lambda module: module.__name__,
)
def test_no_module_of_the_format_knows_pickle(module: object) -> None:
    """Neither by import nor by numpy's ``load``."""
    tree = ast.parse(Path(str(getattr(module, "__file__"))).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names and not names & {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "torch"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "load"]


def test_an_artifact_is_read_without_torch(tmp_path: Path) -> None:
    """Inspecting one on a laptop, or refusing it on a worker, costs no import of torch and none of Spark."""
    ARTIFACT.save(str(tmp_path / "m.sparkq"))
    code = (
        "import sys; from sparkq import ModelArtifact; artifact = ModelArtifact.load(sys.argv[1]); "
        "print(artifact.digest, [name for name in ('torch', 'pyspark') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "m.sparkq")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.stdout.split(maxsplit=1) == [ARTIFACT.digest, "[]\n"], done.stderr


def test_measured_accuracy_is_added_to_a_copy() -> None:
    """The payload, and so the digest, stays; what was measured before stays too."""
    measured = ARTIFACT.with_accuracy(top5=99.0, top1=82.0)
    assert measured.manifest.accuracy == {"top1": 82.0, "top5": 99.0}
    assert ARTIFACT.manifest.accuracy == {"top1": 81.9}
    assert ModelArtifact.loads(measured.dumps()).manifest.accuracy == {"top1": 82.0, "top5": 99.0}
    assert measured.digest == ARTIFACT.digest == sha256_digest(ARTIFACT.payload)


def test_the_representation_is_one_short_line() -> None:
    """In a notebook nobody wants to see the payload."""
    text = repr(ARTIFACT)
    assert len(text) < 200 and "\n" not in text
    for part in ("'sample'", "static", "6x8", "classes=3", f"bytes={len(ARTIFACT.payload)}", ARTIFACT.digest[:12]):
        assert part in text
