"""The exception tree: as drawn, readable, and able to cross process borders."""
from __future__ import annotations

import copy
import pickle
import re

import pytest

import sparkq.errors
from sparkq.error_codes import ErrorCode
from sparkq.errors import ConfigError, ImageError, InputError, SparkqError

KINDS = [getattr(sparkq.errors, name) for name in sparkq.errors.__all__ if name.endswith("Error")]


def drawn_tree() -> dict[str, str]:
    """Child to parent, as the module docstring draws them."""
    parents: dict[str, str] = {}
    above: list[str] = []
    for line in (sparkq.errors.__doc__ or "").splitlines():
        found = re.match(r"^    ([│├└─ ]*)(\w+Error)\b", line)
        if found:
            depth = len(found.group(1)) // 4
            above = [*above[:depth], found.group(2)]
            if depth:
                parents[found.group(2)] = above[-2]
    return parents


def test_the_tree_in_the_docstring_is_the_real_one() -> None:
    """Every public exception is drawn, below the class that it inherits from."""
    real = {kind.__name__: kind.__base__.__name__ for kind in KINDS if kind is not SparkqError}
    assert drawn_tree() == real
    assert len(real) == len(KINDS) - 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not ImageError], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("hint", [None, "check the path."], ids=["no hint", "hint"])
def test_an_error_survives_pickle_and_copy(kind: type[SparkqError], hint: str | None) -> None:
    """Kind, message and hint arrive on the other side: workers send errors to the driver."""
    error = kind("model x: expected 1; got 2.", hint=hint)
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is kind
        assert (other.message, other.hint, str(other)) == (error.message, hint, str(error))


def test_an_image_error_survives_pickle_and_copy() -> None:
    """Its code, too."""
    error = ImageError(ErrorCode.TRUNCATED_IMAGE, "the file ends too early")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is ImageError
        assert (other.code, str(other)) == ("truncated_image", "the file ends too early")


def test_the_hint_follows_the_message() -> None:
    """What is printed: the sentence, then the next action."""
    assert str(InputError("input /x: expected a file; got nothing there.", hint="check the path.")) == (
        "input /x: expected a file; got nothing there. Hint: check the path."
    )
    assert str(ConfigError("top_k: expected a number.")) == "top_k: expected a number."
