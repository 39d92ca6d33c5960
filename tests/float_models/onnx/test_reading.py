"""Files that cannot be used: one sentence that names thing, place, expected and got, and a hint."""
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from sparkq.errors import InputError, ModelError, SparkqError
from sparkq.float_models.load import load_float_model
from sparkq.float_models.onnx import load_onnx, read_initializers
from tests.models import SmallNet
from tests.onnx_files import export, weights, write

NODE = helper.make_node
HEAD = [NODE("Conv", ["x", "w"], ["c"]), NODE("GlobalAveragePool", ["c"], ["p"]), NODE("Flatten", ["p"], ["y"])]


def refused(path: Path, kind: type[SparkqError] = ModelError) -> SparkqError:
    """Why this file is refused, in one line that names it, with a hint."""
    with pytest.raises(kind) as caught:
        load_float_model(f"onnx:{path}")
    assert "\n" not in str(caught.value) and "expected" in caught.value.message and "got" in caught.value.message
    assert str(path) in caught.value.message and caught.value.hint
    return caught.value


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A real file."""
    return export(SmallNet().eval(), tmp_path / "small.onnx", 16)


def test_missing_file(tmp_path: Path) -> None:
    assert "nothing there" in refused(tmp_path / "no.onnx", InputError).message


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.9, 0.999])
def test_truncated_file(exported: Path, keep: float) -> None:
    data = exported.read_bytes()
    exported.write_bytes(data[:int(len(data) * keep)])
    assert "ONNX model" in refused(exported).message


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x80\x04N.", bytes(1000)])
def test_not_an_onnx_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    refused(tmp_path / "m.onnx")


@pytest.mark.parametrize(("node", "words"), [
    (NODE("NonMaxSuppression", ["x"], ["n"], name="boxes/nms"), ("NonMaxSuppression", "boxes/nms")),
    (NODE("FusedConv", ["x", "w"], ["n"], name="fused_1", domain="com.microsoft"), ("com.microsoft::FusedConv", "fused_1")),
    (NODE("Reshape", ["x", "flat"], ["n"], name="mix"), ("Reshape", "mix", "batch")),
    (NODE("ReduceMean", ["x"], ["n"], name="all"), ("ReduceMean", "all", "batch")),
    (NODE("Conv", ["x", "x"], ["n"], name="dynamic"), ("Conv", "dynamic", "depends on the model's input")),
    (NODE("Conv", ["x", "nowhere"], ["n"], name="dangling"), ("nowhere",)),
])
def test_an_operator_that_cannot_be_taken_over(tmp_path: Path, node: onnx.NodeProto, words: tuple[str, ...]) -> None:
    nodes = [node, NODE("GlobalAveragePool", ["n"], ["y"])]
    constants = {"w": weights(4, 3, 1, 1), "flat": np.asarray([6, -1])}
    message = refused(write(tmp_path / "m.onnx", nodes, constants, shape=[1, 3, 8, 8])).message
    for word in words:
        assert word in message


@pytest.mark.parametrize(("inputs", "outputs", "words"), [
    (("x", "z"), ("y",), "x, z"), (("x",), ("y", "p"), "y, p"),
])
def test_several_inputs_or_outputs(tmp_path: Path, inputs: tuple[str, ...], outputs: tuple[str, ...], words: str) -> None:
    path = write(tmp_path / "m.onnx", HEAD, {"w": weights(4, 3, 1, 1)}, shape=[1, 3, 8, 8], inputs=inputs, outputs=outputs)
    assert words in refused(path).message


@pytest.mark.parametrize("shape", [[1, 3, 8], [1, 7, 8, 8], [1, 784], ["n", "c", "h", "w"]])
def test_an_input_that_is_no_image(tmp_path: Path, shape: list[int | str]) -> None:
    assert "image input" in refused(write(tmp_path / "m.onnx", HEAD, {"w": weights(4, 3, 1, 1)}, shape=shape)).message


def test_a_constant_output(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", [NODE("Relu", ["w"], ["y"])], {"w": weights(4, 3)}, shape=[1, 3, 8, 8])
    assert "constant" in refused(path).message


def test_weights_in_a_file_of_their_own(exported: Path, tmp_path: Path) -> None:
    """They are read from beside the model, and missed when they are not there."""
    expected = load_onnx(str(exported))
    onnx.save_model(
        onnx.load(exported), tmp_path / "apart.onnx", save_as_external_data=True, location="apart.bin", size_threshold=0,
    )
    image = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(load_onnx(str(tmp_path / "apart.onnx"))(image), expected(image))
    (tmp_path / "apart.bin").unlink()
    refused(tmp_path / "apart.onnx")


def test_weights_outside_of_the_models_folder_are_not_read(exported: Path, tmp_path: Path) -> None:
    """A model must not be able to read any file of this machine."""
    (tmp_path / "secret.bin").write_bytes(bytes(100_000))
    model = onnx.load(exported)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../secret.bin"
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "m.onnx").write_bytes(model.SerializeToString())
    refused(tmp_path / "inner" / "m.onnx")


def test_without_the_package_the_extra_is_named(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModelError, match="package onnx") as caught:
        load_float_model(f"onnx:{exported}")
    assert caught.value.hint == "pip install 'sparkq[onnx]'."


def test_initializers_by_their_names(exported: Path) -> None:
    assert torch.equal(read_initializers(str(exported))["linear.weight"], SmallNet().linear.weight)
