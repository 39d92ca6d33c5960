"""Models of OpenVINO from programs: their inputs and outputs, any number of images, and nothing of torch."""
from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.engines.openvino_graph.build import openvino_model
from sparkq.program.interpreter import interpret
from sparkq.program.storage import dumps_program
from sparkq.program.types import INPUT
from tests import HANG_SECONDS, ROOT
from tests.engines.openvino_graph.layers import IMAGES, Layers
from tests.engines.openvino_graph.running import answers, compiled
from tests.engines.openvino_graph.written import Written


def _two_sums(g: Layers) -> str:
    x = g.planes()
    return g.rounded(g.add("add", g.rounded(g.conv(x, 16)), g.rounded(g.conv(x, 16))))


@pytest.mark.parametrize("batch_size", [4, None])
def test_one_input_and_one_output(batch_size: int | None) -> None:
    """Named as in the program."""
    g = Layers()
    program = g.program(_two_sums(g))
    model = openvino_model(program, batch_size)
    (images,), (output,) = model.inputs, model.outputs
    assert images.names == {INPUT} and output.names == {program.output}
    assert [size.get_length() if size.is_static else None for size in images.partial_shape] == [batch_size, 8, 8, 3]
    assert (images.element_type.to_string(), output.element_type.to_string()) == ("u8", "f32")


def _views(g: Written) -> str:
    """Sizes that are multiples of the number of images."""
    pixels = g.add("view", g.reals((8, 8, 3)), shape=(-64, 3))
    return g.add("view", g.add("amax", pixels, dim=(1,), keepdim=False), shape=(-1, 4, 16))


def _token(g: Written) -> str:
    """A constant row in front of those of each image."""
    token = g.add("expand", np.arange(3, dtype=np.float32).reshape(1, 1, 3), shape=(-1, 1, 3))
    return g.add("cat", token, g.reals((5, 3)), g.add("full", shape=(-1, 2, 3), value=1.5), dim=1)


def _gram(g: Written) -> str:
    """A shape with two sizes that depend on the number of images."""
    x = g.reals((9,))
    products = g.add("view", g.add("matmul", x, g.add("permute", x, dims=(1, 0))), shape=(-1, -1, 1))
    return g.add("amin", g.add("flip", products, dims=(0,)), dim=(1,), keepdim=False)


@pytest.mark.parametrize("network", [_views, _token, _gram])
def test_any_number_of_images(network: Callable[[Written], str]) -> None:
    """One model answers for each number what the program says, and so does a model of that number."""
    written = Written()
    program = written.program(network(written))
    model = compiled(program, None)
    for count in (1, 3, 4):
        expected = interpret(program, IMAGES[:count])
        for found in (model(IMAGES[:count])[0], answers(program, IMAGES[:count], count)):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def _move(data: st.DataObject, g: Written, x: str) -> str:
    """Add one operator that only moves integers, with numbers that fit."""
    shape = g.type(x).shape
    dim = data.draw(st.integers(1, len(shape) - 1)) if len(shape) > 1 else 0
    match data.draw(st.sampled_from(["flip", "permute", "slice", "select", "view", "index_select", "cat"])):
        case "permute":
            others = data.draw(st.permutations(range(1, len(shape))))
            return g.add("permute", x, dims=(0, *others))
        case "slice" if dim:
            start = data.draw(st.integers(0, shape[dim] - 1))
            end = data.draw(st.integers(start + 1, shape[dim]))
            return g.add("slice", x, dim=dim, start=start, end=end, step=data.draw(st.integers(1, 3)))
        case "select" if len(shape) > 2:
            return g.add("select", x, dim=dim, index=data.draw(st.integers(0, shape[dim] - 1)))
        case "view":
            return g.add("view", x, shape=(-1, int(np.prod(shape[1:]))), dtype="uint8")
        case "index_select" if dim:
            rows = data.draw(st.lists(st.integers(0, shape[dim] - 1), min_size=1, max_size=5))
            return g.add("index_select", x, np.array(rows), dim=dim)
        case "cat" if dim:
            return g.add("cat", x, g.add("flip", x, dims=(dim,)), dim=dim)
        case _:
            return g.add("flip", x, dims=(dim,))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_moved_integers_are_the_same_integers(data: st.DataObject) -> None:
    """Pixels and rounded values, moved in any order, to the last bit."""
    g = Written()
    levels = {"scale": 0.04, "zero_point": 100, "quant_min": 0, "quant_max": 255}
    pixels = data.draw(st.booleans())
    x = INPUT if pixels else g.add("quantize_per_tensor", g.reals((4, 6, 8)), **levels)  # type: ignore[arg-type]
    for _ in range(data.draw(st.integers(1, 5))):
        x = _move(data, g, x)
    program = g.program(x)
    assert np.array_equal(answers(program, IMAGES, len(IMAGES)), interpret(program, IMAGES))


def test_nothing_of_torch_is_loaded(tmp_path: Path) -> None:
    """Nor the package that would report the import to a vendor."""
    g = Layers()
    program = g.program(_two_sums(g))
    payload = tmp_path / "payload"
    payload.write_bytes(dumps_program(program))
    np.save(tmp_path / "images.npy", IMAGES)
    script = f"""
import sys
import numpy as np
from sparkq.engines.openvino_graph.build import openvino_model
from sparkq.engines.openvino_graph.library import openvino
from sparkq.program.storage import loads_program
program = loads_program(open({str(payload)!r}, "rb").read())
images = np.load({str(tmp_path / "images.npy")!r})
compiled = openvino.Core().compile_model(openvino_model(program, len(images)), "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})
np.save({str(tmp_path / "answers.npy")!r}, compiled(images)[0])
print(*{{name.partition(".")[0] for name in sys.modules}} & {{"torch", "openvino_telemetry"}})
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANG_SECONDS, check=True)
    assert done.stdout.strip() == ""
    assert np.isclose(np.load(tmp_path / "answers.npy"), interpret(program, IMAGES), rtol=1e-4).mean() > 0.99
