"""The comparison of an operator's kernel with torch, in double precision."""
from __future__ import annotations

from typing import Any

import numpy as np

from sparkq.program.interpreter import interpret_values
from tests.program.cases import Case
from tests.program.samples import IMAGE

__all__ = ["assert_as_torch"]


def assert_as_torch(case: Case, *, rtol: float = 1e-12, atol: float = 1e-12) -> None:
    """Fail unless the interpreter gives torch's values, shape and dtype, and the shape that the operator's rule says.

    Parameters
    ----------
    case : Case
        The operator, its inputs, and the same in torch.
    rtol, atol : float
        How far a value may lie from torch's, which adds in another order.
    """
    program = case.program()
    expected: Any = case.answer()
    result: Any = interpret_values(program, IMAGE, ["result"])["result"]
    assert result.shape == expected.shape == program.types()["result"].shape
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result, expected, rtol=rtol, atol=atol, equal_nan=True)
