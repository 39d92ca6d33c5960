"""torch's engines run every operator of a program as the interpreter says it."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from sparkq.engines.torch_graph.float_kernels import FLOAT_KERNELS
from sparkq.engines.torch_graph.graph import TorchGraph
from sparkq.program.operators import OPERATORS
from tests.program.cases import CASES, Case
from tests.program.samples import IMAGE

_INTEGERS = "quantized_decomposed."


def test_every_operator_has_a_kernel() -> None:
    """But for those between floats and integers, which the lowering knows by itself."""
    assert set(FLOAT_KERNELS) == {name for name in OPERATORS if not name.startswith(_INTEGERS)}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_an_operator(case: Case) -> None:
    """In float32, on constants."""
    with torch.inference_mode():
        got = TorchGraph(case.program()).run(torch.from_numpy(IMAGE)).numpy()
    np.testing.assert_allclose(got.reshape(-1), case.answer().astype(np.float64).reshape(-1), rtol=2e-4, atol=2e-5)
