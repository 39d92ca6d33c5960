"""The exception tree: as drawn, readable, and able to cross process borders."""
from __future__ import annotations

import ast
import copy
import pickle
import re
from collections.abc import Iterator

import pytest

import sparkq.errors
from sparkq.error_codes import ErrorCode
from sparkq.errors import ConfigError, GateError, ImageError, InputError, SparkqError
from tests import ROOT

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


def test_a_sentence_stays_one_line() -> None:
    """Or a file could be called so that the rest of its name is read as a line of ours; a gate's table has lines."""
    error = InputError("input /x\nsparkq: done: expected a file; got nothing there.")
    assert str(error) == "input /x\\x0asparkq: done: expected a file; got nothing there."
    assert "\n" in GateError("no recipe is accurate enough:\n  static  71.2\n").message


WITHOUT_HINT = {
    "sparkq.model_tasks.labels": "the message names the file, its line and what must stand there",
    "sparkq.drawing.boxes": "the message names an argument and all that it takes",
    "sparkq.drawing.sheet": "the message names an argument and all that it takes",
    "sparkq.storage": "the message names the path and quotes why the file system refuses it",
    "sparkq.spark.session.hadoop": "the message names the path and quotes why the file system refuses it",
    "sparkq.benchmark.plot": "the message names the path and quotes why the file system refuses it",
}
"""Where errors need no hint: the sentence itself says all that there is to do."""


def errors_without_hint() -> Iterator[tuple[str, int, str]]:
    """Module, line and source of every error that is made without a hint.

    A `ConfigError` says which setting must take which values: to set it is the next action. An `ImageError` becomes a row,
    whose code's meaning and advice stand in the table of codes.
    """
    names = {kind.__name__ for kind in KINDS} - {"ImageError"}
    for path in sorted((ROOT / "sparkq").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func).rpartition(".")[2] not in names:
                continue
            hint = next((keyword.value for keyword in node.keywords if keyword.arg == "hint"), None)
            has_hint = hint is not None and ast.unparse(hint) not in ("None", "''")
            is_setting = ast.unparse(node.func) == "ConfigError" and re.search(r": expected .*; got ", ast.unparse(node))
            if not has_hint and not is_setting:
                yield ".".join(path.relative_to(ROOT).with_suffix("").parts), node.lineno, ast.unparse(node)


def test_every_error_says_what_to_do_next() -> None:
    """Or stands in a module whose errors say it in the sentence itself; a module that no longer needs the excuse has none."""
    found = list(errors_without_hint())
    assert [(module, line, text) for module, line, text in found if module not in WITHOUT_HINT] == []
    assert set(WITHOUT_HINT) == {module for module, _, _ in found}
