"""Weights, ONNX files and ``.pt2`` programs that would become any size: refused in seconds, within a gigabyte.

All of them in one process with a limit, since what they would do to it is what is tested.
"""
from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save as save_safetensors

from tests import ROOT
from tests.float_models.exported.test_loading import save
from tests.models import SmallNet
from tests.onnx_files import FLOAT, weights, write

LOAD_ALL = """
import json, resource, sys, time, warnings
from pathlib import Path
from sparkq.errors import SparkqError
from sparkq.float_models.load import load_float_model
from sparkq.model_tasks.labels import read_boxes_csv, read_label_names, read_labels_csv
import onnx.reference, onnx.inliner, onnx.shape_inference, torch._dynamo
warnings.simplefilter("ignore")
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**30,) * 2)

def load(kind, path):
    if kind == "weights":
        return load_float_model("tests.models:SmallNet", path)
    if kind == "labels":
        return read_labels_csv(path, classes=10, names=None)
    if kind == "names":
        return read_label_names(path)
    return load_float_model(f"{kind}:{path}")

for kind, path in json.load(sys.stdin):
    started = time.monotonic()
    try:
        found = [type(load(kind, path)).__name__, ""]
    except SparkqError as error:
        found = [type(error).__name__, str(error)]
    except BaseException as error:
        found = ["unexpected " + type(error).__name__, str(error)]
    print(json.dumps([*found, time.monotonic() - started]), flush=True)
"""


def deflated(archive: bytes, size: int) -> bytes:
    """The same archive, compressed, its first numbers followed by so many zeros."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            with target.open(name, "w") as entry:
                entry.write(source.read(name))
                for _ in range(size // 2**20 if name.endswith(("data/0", "weight_0")) else 0):
                    entry.write(bytes(2**20))
    return stream.getvalue()


def saved(value: Any, *, is_zip: bool = True) -> bytes:
    """What torch.save writes."""
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=is_zip)
    return stream.getvalue()


def legacy_of_terabytes() -> bytes:
    """torch's old format: the pickle says how many numbers a storage has."""
    data = saved({"a": torch.zeros(12345)}, is_zip=False)
    return data.replace(b"M90", b"\x8a\x06" + struct.pack("<q", 2**42)[:6])


def with_memo_of_gigabytes() -> bytes:
    """A pickle that puts its value at place 2**31."""
    return deflated_pickle(pickle.dumps({}, 2)[:-1] + b"r" + struct.pack("<I", 2**31) + b".")


def deflated_pickle(data: bytes) -> bytes:
    """torch's zip with another pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved({}))) as source, zipfile.ZipFile(stream, "w") as target:
        for name in source.namelist():
            target.writestr(name, data if name.endswith("data.pkl") else source.read(name))
    return stream.getvalue()


def changed_pt2(path: Path, change: Callable[[str, bytes], bytes]) -> bytes:
    """A real program with files changed."""
    original = save(SmallNet().eval(), path.with_suffix(".real"), 16)
    stream = io.BytesIO()
    with zipfile.ZipFile(original) as source, zipfile.ZipFile(stream, "w") as target:
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))
    return stream.getvalue()


def expanded_weight(name: str, data: bytes) -> bytes:
    """The first weight's one number, a terabyte of times."""
    if not name.endswith("weights_config.json"):
        return data
    config = json.loads(data)
    meta = next(iter(config["config"].values()))["tensor_meta"]
    meta["sizes"], meta["strides"] = [{"as_int": 2**20}] * 2, [{"as_int": 0}] * 2
    return json.dumps(config).encode()


def large_image(name: str, data: bytes) -> bytes:
    """A program for images of a million by a million pixels."""
    return data.replace(b'"as_int": 16', b'"as_int": 1000000') if name.endswith("model.json") else data


def onnx_nodes(path: Path, nodes: list[Any], constants: dict[str, npt.NDArray[Any]], size: int = 8) -> bytes:
    """These nodes, whose last constant is ``c``, added to the image's mean."""
    end = [helper.make_node("ReduceMean", ["c"], ["m"], keepdims=0), helper.make_node("Add", ["x", "m"], ["z"]),
           helper.make_node("GlobalAveragePool", ["z"], ["y"])]
    return write(path, [*nodes, *end], constants, shape=[1, 3, size, size]).read_bytes()


def nested_functions(path: Path, depth: int = 40, *, endless: bool = False) -> bytes:
    """Each function calls the one before twice: a trillion nodes in 4 KB."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    functions = [helper.make_function("f", "f0", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], opsets)]
    for number in range(1, depth):
        inner = f"f{number if endless and number == 1 else number - 1}"
        calls = [helper.make_node(inner, ["a"], ["c"], domain="f"), helper.make_node(inner, ["c"], ["b"], domain="f")]
        functions.append(helper.make_function("f", f"f{number}", ["a"], ["b"], calls, opsets))
    shape = [1, 3, 8, 8]
    graph = helper.make_graph(
        [helper.make_node(f"f{depth - 1}", ["x"], ["y"], domain="f")], "g", [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, None)],
    )
    return bytes(helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10).SerializeToString())


def external(path: Path, location: str, count: int) -> bytes:
    """Weights beside the file, the whole of it for each of `count` tensors."""
    model = onnx.load_model_from_string(onnx_nodes(path, [helper.make_node("Identity", ["w0"], ["c"])], {
        f"w{number}": weights(2, 2) for number in range(count)
    }))
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
    return bytes(model.SerializeToString())


def beside(path: Path, name: str, make: Callable[[Path], object]) -> str:
    """The name of a file that is made beside another."""
    make(path.parent / name)
    return name


INT = np.int64
SPARSE = helper.make_node("Constant", [], ["c"], sparse_value=helper.make_sparse_tensor(
    numpy_helper.from_array(np.ones(1, np.float32), "v"), numpy_helper.from_array(np.zeros((1, 2), INT), "i"), [2**20, 2**20],
))
DOUBLED = [helper.make_node("Concat", [f"d{number}"] * 2, [f"d{number + 1}"], axis=0) for number in range(35)]
BOMBS: dict[str, tuple[str, Callable[[Path], bytes | None]]] = {
    "weights, compressed": ("weights", lambda path: deflated(saved(SmallNet().state_dict()), 2**29)),
    "weights, of a terabyte in torch's old format": ("weights", lambda path: legacy_of_terabytes()),
    "weights, one number repeated": ("weights", lambda path: saved({"conv1.weight": torch.zeros(1).expand(2**20, 2**20)})),
    "weights, a memo of gigabytes": ("weights", lambda path: with_memo_of_gigabytes()),
    "weights, sparse": ("weights", lambda path: saved({**SmallNet().state_dict(), "linear.weight": torch.sparse_coo_tensor(
        torch.zeros(2, 1, dtype=torch.long), [1.0], (4, 16), check_invariants=True)})),
    "weights, without numbers": ("weights", lambda path: saved({
        name: tensor.to("meta") for name, tensor in SmallNet().state_dict().items()
    })),
    "weights, a TorchScript archive": ("weights", lambda path: _scripted()),
    "weights, a header of safetensors": ("weights", lambda path: struct.pack("<Q", 2**40) + b"{}"),
    "weights, safetensors beyond the file": ("weights", lambda path: save_safetensors({"a": torch.zeros(9)}).replace(
        b'[0,36]', b'[0,3600000000000]').replace(b"[9]", b"[900000000000]")),
    "weights, a pipe": ("weights", lambda path: os.mkfifo(path)),
    "weights, a device": ("weights", lambda path: path.symlink_to("/dev/zero")),
    "weights, a terabyte of nothing": ("weights", lambda path: _sparse_file(path)),
    "labels, a pipe": ("labels", lambda path: os.mkfifo(path)),
    "labels, a device": ("labels", lambda path: path.symlink_to("/dev/zero")),
    "names, a pipe": ("names", lambda path: os.mkfifo(path)),
    "labels, an index of 5000 digits": ("labels", lambda path: b"path,label\na.png," + b"9" * 5000 + b"\n"),
    "pt2, compressed": ("pt2", lambda path: deflated(save(SmallNet().eval(), path.with_suffix(".real"), 16).read_bytes(), 2**29)),
    "pt2, one number repeated": ("pt2", lambda path: changed_pt2(path, expanded_weight)),
    "pt2, images of terabytes": ("pt2", lambda path: changed_pt2(path, large_image)),
    "pt2, a pipe": ("pt2", lambda path: os.mkfifo(path)), "onnx, a pipe": ("onnx", lambda path: os.mkfifo(path)),
    "onnx, nested functions": ("onnx", nested_functions),
    "onnx, a function that calls itself": ("onnx", lambda path: nested_functions(path, 3, endless=True)),
    "onnx, a constant of a shape": ("onnx", lambda path: onnx_nodes(path, [helper.make_node("ConstantOfShape", ["s"], ["c"])], {
        "s": np.array([2**20, 2**20], INT)})),
    "onnx, a range": ("onnx", lambda path: onnx_nodes(path, [helper.make_node("Range", ["a", "b", "d"], ["c"])], {
        "a": np.array(0, INT), "b": np.array(2**40, INT), "d": np.array(1, INT)})),
    "onnx, expanded": ("onnx", lambda path: onnx_nodes(path, [helper.make_node("Expand", ["w", "s"], ["c"])], {
        "w": weights(1), "s": np.array([2**40], INT)})),
    "onnx, tiled": ("onnx", lambda path: onnx_nodes(path, [helper.make_node("Tile", ["w", "s"], ["c"])], {
        "w": weights(2), "s": np.array([2**39], INT)})),
    "onnx, padded": ("onnx", lambda path: onnx_nodes(path, [helper.make_node("Pad", ["w", "s"], ["c"])], {
        "w": weights(2), "s": np.array([0, 2**40], INT)})),
    "onnx, a product of all with all": ("onnx", lambda path: onnx_nodes(path, [helper.make_node("MatMul", ["a", "b"], ["c"])], {
        "a": weights(100_000, 1), "b": weights(1, 100_000)})),
    "onnx, a sum of all with all": ("onnx", lambda path: onnx_nodes(path, [helper.make_node("Add", ["a", "b"], ["c"])], {
        "a": weights(100_000, 1), "b": weights(1, 100_000)})),
    "onnx, doubled again and again": ("onnx", lambda path: onnx_nodes(
        path, [*DOUBLED, helper.make_node("Identity", ["d35"], ["c"])], {"d0": weights(1000)})),
    "onnx, a sparse constant": ("onnx", lambda path: onnx_nodes(path, [SPARSE], {})),
    "onnx, images enlarged": ("onnx", lambda path: write(path, [
        helper.make_node("Pad", ["x", "p"], ["z"]), helper.make_node("GlobalAveragePool", ["z"], ["y"]),
    ], {"p": np.array([0, 0, 0, 0, 0, 0, 10**5, 10**5], INT)}, shape=[1, 3, 8, 8]).read_bytes()),
    "onnx, images of terabytes": ("onnx", lambda path: onnx_nodes(path, [], {"c": weights(1)}, size=10**6)),
    "onnx, weights in a pipe": ("onnx", lambda path: external(path, beside(path, "pipe", os.mkfifo), 1)),
    "onnx, weights in a device": ("onnx", lambda path: external(
        path, beside(path, "zero", lambda name: name.symlink_to("/dev/zero")), 1)),
    "onnx, the same weights again and again": ("onnx", lambda path: external(
        path, beside(path, "weights", lambda name: name.write_bytes(bytes(2**24))), 500)),
}


def _scripted() -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(SmallNet().eval(), torch.zeros(1, 3, 16, 16)), stream)  # type: ignore[no-untyped-call]
    return stream.getvalue()


def _sparse_file(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(2**40)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str, float]]:
    """Kind of error, message and seconds of each bomb, in a process that may take a gigabyte more than it has at its start."""
    asked = []
    for number, (name, (kind, make)) in enumerate(BOMBS.items()):
        path = tmp_path_factory.mktemp(str(number)) / ("w.safetensors" if "safetensors" in name else f"file.{kind}")
        data = make(path)
        if data is not None:
            path.write_bytes(data)
        assert data is None or len(data) < 4_000_000, name
        asked.append((kind, str(path)))
    done = subprocess.run(
        [sys.executable, "-c", LOAD_ALL], input=json.dumps(asked), capture_output=True, text=True, cwd=ROOT, timeout=400,
    )
    assert done.returncode == 0, f"{done.stdout[-500:]} {done.stderr[-2000:]}"
    return dict(zip(BOMBS, (tuple(json.loads(line)) for line in done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused(name: str, answers: dict[str, tuple[str, str, float]]) -> None:
    """In one sentence, for the reason, not for want of memory."""
    kind, message, _ = answers[name]
    assert kind in ("ModelError", "InputError"), f"{kind}: {message}"
    assert "expected" in message and "got" in message and "\n" not in message
    # torch asks for that memory before it looks at the file, and does not touch it.
    if "old format" not in name:
        assert "MemoryError" not in message and "bad_alloc" not in message and "allocate" not in message, message
