"""Programs as bytes: what is written comes back, and whatever else stands there is refused or harmless."""
from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.errors import ArtifactFormatError
from sparkq.program.storage import dumps_program, loads_program
from sparkq.program.types import Program
from tests import HANG_SECONDS, ROOT
from tests.hostile_payloads import HOSTILE, hostile_payload, with_payload
from tests.models import digits_artifact
from tests.program.cases import CASES
from tests.program.hostile_graphs import COSTLY, MOVED

PAYLOAD = digits_artifact("static").payload
_QUANTIZE = "quantized_decomposed.quantize_per_tensor"


def assert_same(first: Program, second: Program) -> None:
    """Nodes, types and the bits of the constants."""
    assert (first.input, first.nodes, first.output) == (second.input, second.nodes, second.output)
    assert first.constants.keys() == second.constants.keys()
    for name, array in first.constants.items():
        other = second.constants[name]
        assert array.dtype == other.dtype and array.shape == other.shape and array.tobytes() == other.tobytes()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_program_comes_back(case: Any) -> None:
    """Every operator, with every kind of attribute; the same program gives the same bytes."""
    program = case.program()
    data = dumps_program(program)
    assert_same(loads_program(data), program)
    assert dumps_program(loads_program(data)) == data


def test_infinities_come_back() -> None:
    """JSON has none."""
    program = CASES["norm inf"].program()
    [node] = [node for node in loads_program(dumps_program(program)).nodes if node.name == "result"]
    assert node.attributes["ord"] == math.inf


def changed(change: Callable[[dict[str, Any]], object], payload: bytes = PAYLOAD) -> bytes:
    """A payload whose graph was changed."""
    length = struct.unpack("<Q", payload[:8])[0]
    header = json.loads(payload[8:8 + length])
    graph = json.loads(header["__metadata__"]["program"])
    change(graph)
    header["__metadata__"]["program"] = json.dumps(graph)
    written = json.dumps(header).encode()
    written += b" " * (-len(written) % 8)
    return struct.pack("<Q", len(written)) + written + payload[8 + length:]


def _node(graph: dict[str, Any], operator: str) -> dict[str, Any]:
    return next(node for node in graph["nodes"] if node["operator"] == operator)


WRONG: dict[str, Callable[[dict[str, Any]], object]] = {
    "an operator that there is none of": lambda graph: _node(graph, "aten.conv2d").update(operator="aten.from_file"),
    "an operator of another namespace": lambda graph: _node(graph, "aten.relu").update(operator="os.system"),
    "a value before it is computed": lambda graph: graph["nodes"].reverse(),
    "a node that reads itself": lambda graph: _node(graph, "aten.relu").update(inputs=[_node(graph, "aten.relu")["name"]]),
    "two values of one name": lambda graph: graph["nodes"].append(graph["nodes"][-1]),
    "an input that is not there": lambda graph: _node(graph, "aten.relu").update(inputs=["nothing"]),
    "an input too many": lambda graph: _node(graph, "aten.relu")["inputs"].append("images"),
    "a number for a tensor": lambda graph: _node(graph, "aten.relu").update(inputs=[1.0]),
    "a weight left out": lambda graph: _node(graph, "aten.conv2d")["inputs"].__setitem__(1, None),
    "an attribute too few": lambda graph: _node(graph, "aten.conv2d")["attributes"].pop("groups"),
    "an attribute too many": lambda graph: _node(graph, "aten.relu")["attributes"].update(path="/etc/passwd"),
    "an attribute of another kind": lambda graph: _node(graph, "aten.conv2d")["attributes"].update(groups="1"),
    "groups that do not fit": lambda graph: _node(graph, "aten.conv2d")["attributes"].update(groups=7),
    "a stride of zero": lambda graph: _node(graph, "aten.conv2d")["attributes"].update(stride=[0, 0]),
    "padding below zero": lambda graph: _node(graph, "aten.conv2d")["attributes"].update(padding=[-1, -1]),
    "a scale of zero": lambda graph: _node(graph, _QUANTIZE)["attributes"].update(scale=0.0),
    "a scale that is none": lambda graph: _node(graph, _QUANTIZE)["attributes"].update(scale=None),
    "a scale that no float32 holds": lambda graph: _node(graph, _QUANTIZE)["attributes"].update(scale=1e300),
    "another shape": lambda graph: _node(graph, "aten.relu").update(shape=[-1, 1, 1, 1]),
    "a shape for one number of images": lambda graph: graph["nodes"][-1].update(shape=[1, 10]),
    "another dtype": lambda graph: _node(graph, "aten.relu").update(dtype="float64"),
    "a size of zero": lambda graph: _node(graph, "aten.relu").update(shape=[-1, 0]),
    "a size as large as a machine": lambda graph: _node(graph, "aten.relu").update(shape=[-1, 2**60]),
    "a size of text": lambda graph: _node(graph, "aten.relu").update(shape=["N", 3]),
    "another output": lambda graph: graph.update(output=_node(graph, "aten.relu")["name"]),
    "an output that is not there": lambda graph: graph.update(output="nothing"),
    "no nodes": lambda graph: graph.update(nodes=[]),
    "nodes that are none": lambda graph: graph.update(nodes=[1, 2]),
    "an input of another size": lambda graph: graph.update(input=[-1, 7, 7, 3]),
    "an input of four channels": lambda graph: graph.update(input=[-1, 32, 32, 4]),
    "a name of a megabyte": lambda graph: graph["nodes"].append({**graph["nodes"][-1], "name": "x" * 2**20}),
    "a name with a line in it": lambda graph: graph["nodes"].append({**graph["nodes"][-1], "name": "x\nsparkq: done"}),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_a_graph_that_is_none(change: Callable[[dict[str, Any]], object]) -> None:
    """Refused in one line, before an engine sees it."""
    with pytest.raises(ArtifactFormatError, match="^m: expected a quantized program; got one that is none") as caught:
        loads_program(changed(change), place="m")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1200


@pytest.mark.parametrize(("change", "reason"), COSTLY.values(), ids=COSTLY.keys())
def test_more_than_a_node_has(change: Callable[[dict[str, Any]], object], reason: str) -> None:
    """Shapes that follow, in a file of a few hundred kilobytes."""
    with pytest.raises(ArtifactFormatError, match=reason):
        loads_program(changed(change))


@pytest.mark.parametrize("change", MOVED.values(), ids=MOVED.keys())
def test_no_more_than_a_node_has(change: Callable[[dict[str, Any]], object]) -> None:
    """The bounds are those of what is asked for, not of the operators."""
    assert loads_program(changed(change)).nodes


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "[" * 100_000, '"\\ud800"', "{}", "null", "1" * 5000])
def test_text_that_is_no_graph(text: str) -> None:
    """Literals that JSON has not, and nesting without an end."""
    header = json.dumps({"__metadata__": {"program": f'{{"input": {text}}}'}}).encode()
    with pytest.raises(ArtifactFormatError):
        loads_program(struct.pack("<Q", len(header)) + header)


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, len(PAYLOAD) - 1), difference=st.integers(1, 255))
def test_a_changed_byte(position: int, difference: int) -> None:
    """Refused in one line, or a program with another number in it."""
    damaged = bytearray(PAYLOAD)
    damaged[position] ^= difference
    try:
        program = loads_program(bytes(damaged))
    except ArtifactFormatError as error:
        assert "\n" not in str(error)
    else:
        assert program.nodes


RUN_ALL = """
import resource, sys
from pathlib import Path
import numpy as np
import torch
torch.set_num_threads(1)
from sparkq.engines.base import LoadOptions
from sparkq.engines.load import load_engine
from sparkq.errors import SparkqError
from sparkq.program.storage import loads_program

def address_space():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

first, *files = sorted(Path(sys.argv[1]).iterdir())
images = np.zeros((1, 32, 32, 3), np.uint8)
load_engine(first.read_bytes(), "fbgemm", LoadOptions((32, 32))).run(images)
resource.setrlimit(resource.RLIMIT_AS, (address_space() + 2**30,) * 2)
refused = 0
for path in files:
    used = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
    resource.setrlimit(resource.RLIMIT_CPU, (used + 11, resource.RLIM_INFINITY))
    try:
        load_engine(path.read_bytes(), "fbgemm", LoadOptions((32, 32))).run(images)
    except SparkqError as error:
        refused += 1
        assert "\\n" not in str(error), path
print(len(files), refused)
"""


def test_a_hundred_hostile_payloads(tmp_path: Path) -> None:
    """Changed anywhere, cut, and archives of code: refused or harmless, in 1 GB more and 10 s each; no file is touched."""
    random = np.random.default_rng(0)
    length = struct.unpack("<Q", PAYLOAD[:8])[0]
    payloads = [PAYLOAD]
    for number in range(60):
        damaged = bytearray(PAYLOAD)
        # Half of them in the header, where what is said of sizes stands.
        for position in random.integers(0, length if number % 2 else len(PAYLOAD), 1 + number % 5):
            damaged[position] = random.integers(0, 256)
        payloads.append(bytes(damaged))
    payloads += [PAYLOAD[:cut] for cut in random.integers(0, len(PAYLOAD), 12)]
    payloads += [struct.pack("<Q", size) + PAYLOAD[8:] for size in (0, 1, length - 1, length + 8, 2**31, 2**63, 2**64 - 1)]
    payloads += [changed(change) for change in (*WRONG.values(), *(change for change, _ in COSTLY.values()), *MOVED.values())]
    payloads += [hostile_payload(kind, tmp_path / "touched") for kind in HOSTILE]
    (tmp_path / "payloads").mkdir()
    for number, payload in enumerate(payloads):
        (tmp_path / "payloads" / f"{number:03}").write_bytes(payload)
    before = sorted(os.listdir(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, str(tmp_path / "payloads")], capture_output=True, text=True, cwd=ROOT,
        timeout=HANG_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    run, refused = map(int, done.stdout.split())
    assert run >= 100 and refused > 60
    assert sorted(os.listdir(tmp_path)) == before == ["payloads"]


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_archive_of_code_in_a_sound_artifact(kind: str, tmp_path: Path) -> None:
    """Manifest, digest and size are right; the file is refused when it is loaded."""
    from sparkq.artifact.file import ModelArtifact

    path = tmp_path / "m.sparkq"
    path.write_bytes(with_payload(hostile_payload(kind, tmp_path / "touched")).dumps())
    with pytest.raises(ArtifactFormatError, match="m.sparkq: expected a quantized program"):
        ModelArtifact.load(str(path))
    assert os.listdir(tmp_path) == ["m.sparkq"]
