"""The artifact as a file: it comes back whole, its bytes are always the same, and nothing in it is executed."""
from __future__ import annotations

import ast
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

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sparkq.artifact.file
import sparkq.artifact.manifest
import sparkq.artifact.payload_coding
import sparkq.program.storage
import sparkq.program.validate
import sparkq.storage
from sparkq.artifact.file import ModelArtifact, sha256_digest
from sparkq.artifact.payload_coding import encode_payload
from sparkq.config import QuantizationConfig
from sparkq.errors import ArtifactDigestError, ArtifactFormatError, ConfigError, InputError
from tests import HANG_SECONDS, ROOT
from tests.artifact.rezipped import rezipped
from tests.local_s3 import BUCKET, LocalS3, local_s3
from tests.sample_artifacts import sample_artifact, sample_payload

ARTIFACT = sample_artifact(sample_payload(bytes(range(256)) * 8), quantization=QuantizationConfig(entropy_coding=False))
DATA = ARTIFACT.dumps()
CODED_ARTIFACT = sample_artifact(ARTIFACT.payload)
CODED_DATA = CODED_ARTIFACT.dumps()


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
        assert archive.namelist() == ["manifest.json", "program.safetensors"]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.read("program.safetensors") == ARTIFACT.payload
        assert json.loads(archive.read("manifest.json"))["payload_sha256"] == ARTIFACT.digest


def test_a_coded_payload_stands_in_the_zip_as_a_zstandard_file() -> None:
    """By default; the digest is that of the decoded payload."""
    with zipfile.ZipFile(io.BytesIO(CODED_DATA)) as archive:
        assert archive.namelist() == ["manifest.json", "program.safetensors.zst"]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        coded = archive.read("program.safetensors.zst")
    assert pa.input_stream(io.BytesIO(coded), compression="zstd").read() == ARTIFACT.payload
    assert CODED_ARTIFACT.digest == ARTIFACT.digest and len(CODED_DATA) < len(DATA) - 1000


def test_a_payload_whose_code_would_not_be_believed_is_stored() -> None:
    """Of nothing but zeros: its code is as short as that of a bomb."""
    zeros = sample_artifact(bytes(100_000))
    assert zeros.manifest.quantization.entropy_coding and len(encode_payload(zeros.payload)) < 100
    with zipfile.ZipFile(io.BytesIO(zeros.dumps())) as archive:
        assert archive.namelist() == ["manifest.json", "program.safetensors"]
    assert ModelArtifact.loads(zeros.dumps()) == zeros


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
    "module", [
        sparkq.artifact.file, sparkq.artifact.manifest, sparkq.artifact.payload_coding, sparkq.program.storage,
        sparkq.program.validate, sparkq.storage,
    ], ids=lambda module: module.__name__,
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
