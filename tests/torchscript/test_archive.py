"""A payload as a whole: real ones of every kind pass and answer as before, hostile ones touch no file."""
from __future__ import annotations

import io
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.artifact.file import ModelArtifact
from sparkq.config import QuantizationConfig
from sparkq.errors import ArtifactFormatError
from sparkq.quantization import quantize
from sparkq.torchscript.archive import check_torchscript, checked_torchscript
from tests import ROOT
from tests.hostile_payloads import BYTES, HOSTILE, hostile_payload, with_changed_files, with_payload
from tests.models import SMALL, SmallNet, digits_artifact, noise

IMAGES = torch.from_numpy(np.stack(noise(3, size=32)))


def run(archive: io.BytesIO) -> torch.Tensor:
    """What an archive answers, loaded as torch does."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        output: torch.Tensor = torch.jit.load(archive)(IMAGES)  # type: ignore[no-untyped-call]
        return output


@pytest.mark.parametrize("recipe", ["static", "mixed", "dynamic", "none"])
def test_what_is_written_anew_answers_the_same(recipe: str) -> None:
    """To the bit; it lacks debug information only."""
    payload = digits_artifact(recipe).payload
    anew = checked_torchscript(payload, place="x")
    assert torch.equal(run(anew), run(io.BytesIO(payload)))
    assert not [name for name in zipfile.ZipFile(anew).namelist() if "debug" in name or "traced" in name]


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_payload_touches_no_file(kind: str, tmp_path: Path) -> None:
    """It is refused before torch sees it, in one sentence; torch itself would open the file."""
    path = tmp_path / "touched"
    if "reads" in kind:
        path.write_bytes(b"a secret..")
    payload = hostile_payload(kind, path)
    with_payload(payload).save(str(tmp_path / "m.sparkq"))
    before = path.stat() if path.exists() else None
    with pytest.raises(ArtifactFormatError) as caught:
        ModelArtifact.load(str(tmp_path / "m.sparkq"))
    assert "m.sparkq: expected a payload that computes with tensors and nothing else; got " in caught.value.message
    assert ("__setstate__" if "loaded" in kind else "operator torch.") in caught.value.message
    assert caught.value.hint and "\n" not in str(caught.value)
    assert (path.stat() if path.exists() else None) == before
    output = run(io.BytesIO(payload))
    assert path.stat().st_size >= BYTES, "the payload is not hostile"
    assert "reads" not in kind or bytes(output[0].to(torch.uint8).tolist()) == b"a secret.."


def test_the_name_of_torchs_own_layers_lets_nothing_in(tmp_path: Path) -> None:
    """The writing ``__setstate__`` in a class that is called as torch's quantized convolution."""
    ours, theirs = "tests/hostile_payloads", "torch/ao/nn/quantized/modules/conv"

    def renamed(name: str, content: bytes) -> bytes | None:
        return None if ours in name else content.replace(ours.replace("/", ".").encode(), theirs.replace("/", ".").encode())

    payload = hostile_payload("writes when it is loaded", tmp_path / "touched")
    code = zipfile.ZipFile(io.BytesIO(payload)).read(f"archive/code/__torch__/{ours}.py")
    stream = io.BytesIO(with_changed_files(payload, renamed))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(f"archive/code/__torch__/{theirs}.py", renamed("", code) or b"")
    with pytest.raises(ArtifactFormatError, match="operator torch.from_file"):
        check_torchscript(stream.getvalue(), place="x")
    run(io.BytesIO(stream.getvalue()))
    assert (tmp_path / "touched").exists(), "the payload is not hostile"


def _added(name: str, content: bytes) -> Callable[[bytes], bytes]:
    def change(payload: bytes) -> bytes:
        stream = io.BytesIO(payload)
        with warnings.catch_warnings(), zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
            warnings.simplefilter("ignore")
            archive.writestr(name, content)
        return stream.getvalue()
    return change


def _without(name: str) -> Callable[[bytes], bytes]:
    return lambda payload: with_changed_files(payload, lambda found, content: None if name in found else content)


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "no archive": lambda payload: b"payload", "cut off": lambda payload: payload[:-100], "empty": lambda payload: b"",
    "no pickle": _without("/data.pkl"), "no version": _without("/version"), "no code": _without("/graph_module"),
    "another version": _added("archive/version", b"x" * 9), "another folder": _added("other/data/0", b""),
    "a second pickle": _added("archive/data.pkl", b"."), "a bomb of code": _added("archive/code/a.py", b" " * (33 * 2**20)),
    "code that is not ASCII": _added("archive/code/a.py", "class é(Module):\n".encode()),
    "compressed numbers": _added("archive/data/999", bytes(2**24)),
    "big-endian": lambda payload: with_changed_files(payload, lambda name, data: b"big" if name.endswith("byteorder") else data),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_no_payload_of_ours(change: Callable[[bytes], bytes]) -> None:
    """One error with the place, whatever the zip."""
    with pytest.raises(ArtifactFormatError, match="^m.sparkq: expected a ") as caught:
        check_torchscript(change(digits_artifact().payload), place="m.sparkq")
    assert "\n" not in str(caught.value) and caught.value.hint


OTHER_FILES = ["archive/extra/a.py", "archive/CODE/__torch__/A.py", "archive/bytecode.pkl", "archive/code/a.txt"]


@pytest.mark.parametrize("name", OTHER_FILES)
def test_torch_does_not_see_what_was_not_checked(name: str) -> None:
    """Other files stay behind."""
    payload = _added(name, b"import os")(digits_artifact().payload)
    assert name not in zipfile.ZipFile(checked_torchscript(payload, place="x")).namelist()


@pytest.fixture(scope="module")
def small() -> bytes:
    """A small payload."""
    return quantize(SmallNet(), calibration=noise(8), preprocess=SMALL, config=QuantizationConfig()).payload


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_changed_bytes_are_refused_or_harmless(small: bytes, data: st.DataObject) -> None:
    """Of the archive or of one of its files: one kind of error, or an archive that can do no more than before."""
    position = data.draw(st.integers(0, len(small) - 1))
    changed = bytearray(small)
    changed[position] ^= data.draw(st.integers(1, 255))
    try:
        check_torchscript(bytes(changed), place="x")
    except ArtifactFormatError as error:
        assert "\n" not in str(error)


def test_it_needs_no_torch(tmp_path: Path) -> None:
    """A laptop without torch refuses a payload as well."""
    (tmp_path / "payload.pt").write_bytes(hostile_payload("saves when it is run", tmp_path / "touched"))
    code = (
        "import sys\nfrom pathlib import Path\nfrom sparkq.torchscript.archive import check_torchscript\ntry:\n"
        "    check_torchscript(Path(sys.argv[1]).read_bytes(), place='x')\nexcept Exception as error:\n"
        "    print(type(error).__name__, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "payload.pt")], capture_output=True, text=True, cwd=ROOT, timeout=60,
    )
    assert done.stdout == "ArtifactFormatError False\n", done.stderr
