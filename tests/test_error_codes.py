"""The table of error codes is the only place that spells one, and nothing raises a code that it does not have."""
from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkq.config import InferenceConfig
from sparkq.config.parsing import to_mapping
from sparkq.error_codes import ErrorCode
from tests import ROOT
from tests.test_architecture import MODULES, parsed

TABLE = "sparkq.error_codes"
README = (ROOT / "README.md").read_text(encoding="utf-8")
LIMITS = ("max_image_pixels", "max_image_bytes", "max_decode_bytes")


def _raised(module: str) -> Iterator[tuple[str, str]]:
    """(what is made, expression of its code), for everything in a module that gives a row its error code."""
    for node in ast.walk(parsed(module)):
        if not isinstance(node, ast.Call):
            continue
        if ast.unparse(node.func) == "ImageError":
            yield "ImageError", ast.unparse(node.args[0])
        elif ast.unparse(node.func) == "Outcome":
            yield from (("Outcome", ast.unparse(word.value)) for word in node.keywords if word.arg == "error_code")


def test_every_code_that_is_raised_is_in_the_table_and_every_one_there_is_raised() -> None:
    """A row's code comes from an entry, or from an error that has one."""
    found = {raised for module in MODULES if module != TABLE for raised in _raised(module)}
    entries = set()
    for kind, expression in found - {("Outcome", "error.code")}:
        entry = re.fullmatch(r"ErrorCode\.([A-Z_]+)" + (r"\.value" if kind == "Outcome" else ""), expression)
        assert entry is not None, f"{kind} with {expression}"
        entries.add(entry[1])
    assert entries == set(ErrorCode.__members__)


def test_nobody_else_spells_a_code() -> None:
    """A list of codes beside the table would miss the next one: an entry and the place that raises it are all there is to add."""
    codes = {entry.value for entry in ErrorCode}
    spelled = {
        (module, node.value) for module in MODULES if module != TABLE for node in ast.walk(parsed(module))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in codes
    }
    assert spelled == set()
    named = {
        (node.attr, module) for module in MODULES if module != TABLE for node in ast.walk(parsed(module))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "ErrorCode"
    }
    # Beside those who decode and read: files that Spark left out, and pictures of a preview.
    assert {module.split(".")[1] for _, module in named} == {"images", "worker", "spark", "workflows"}


def test_codes_are_stable_words() -> None:
    """The value is the member's name in small letters, and all that a table needs to say is said."""
    for entry in ErrorCode:
        assert entry.value == entry.name.lower()
        assert entry.meaning.endswith(".") and entry.advice.endswith((".", "?")) and entry.meaning != entry.advice
        assert entry.lasts or entry.cures == ()
    assert {cure for entry in ErrorCode for cure in entry.cures} <= {field.name for field in dataclasses.fields(InferenceConfig)}
    assert ErrorCode.IMAGE_TOO_LARGE.cures == LIMITS and ErrorCode.DECODE_TOO_COSTLY.cures == ("max_decode_seconds",)


def _retried(entry: ErrorCode) -> str:
    if not entry.lasts:
        return "yes"
    options = [f"`--{name.replace('_', '-')}`" for name in entry.cures]
    if not options:
        return "no"
    if entry.cures == ("engine",):
        return f"with another {options[0]}"
    return f"with a larger {', '.join(options[:-1])} or {options[-1]}" if len(options) > 1 else f"with a larger {options[0]}"


def test_the_readme_has_the_table() -> None:
    """Every code with its meaning, and whether ``--resume`` tries it again."""
    table = README.partition("| `error_code` | the image |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", table, re.MULTILINE)
    assert rows == [(entry.value, entry.meaning, _retried(entry)) for entry in ErrorCode]


def _settings(**values: Any) -> dict[str, Any]:
    return to_mapping(InferenceConfig(**values))


@pytest.mark.parametrize("name", [*LIMITS, "max_decode_seconds"])
@pytest.mark.parametrize(("before", "now", "is_final"), [(100, 99, True), (100, 100, True), (100, 101, False)])
def test_a_larger_limit_may_cure_an_image_that_was_too_large(name: str, before: int, now: int, is_final: bool) -> None:
    entry = ErrorCode.DECODE_TOO_COSTLY if name == "max_decode_seconds" else ErrorCode.IMAGE_TOO_LARGE
    assert entry.is_final(_settings(**{name: before}), _settings(**{name: now})) is is_final


@pytest.mark.parametrize(("before", "now", "is_final"), [
    (None, None, True), ("auto", "auto", True), ("fbgemm", "fbgemm", True), (None, "openvino", False), ("fbgemm", None, False),
])
def test_another_engine_may_cure_an_invalid_output(before: str | None, now: str | None, is_final: bool) -> None:
    assert ErrorCode.INVALID_OUTPUT.is_final(_settings(engine=before), _settings(engine=now)) is is_final


CONFIGS = st.builds(
    InferenceConfig, engine=st.sampled_from([None, "fbgemm", "onednn"]), top_k=st.integers(1, 9),
    **{name: st.integers(1, 5) for name in (*LIMITS, "max_decode_seconds")},
)


@given(before=CONFIGS, now=CONFIGS)
def test_what_is_tried_again(before: InferenceConfig, now: InferenceConfig) -> None:
    """What passes, always; what lasts, never without a cure; and never with the same settings, or a job would not end."""
    settings = to_mapping(before), to_mapping(now)
    larger = any(getattr(now, name) > getattr(before, name) for name in LIMITS)
    for entry in ErrorCode:
        cured = (entry is ErrorCode.IMAGE_TOO_LARGE and larger) or (
            entry is ErrorCode.INVALID_OUTPUT and before.engine != now.engine
        ) or (entry is ErrorCode.DECODE_TOO_COSTLY and now.max_decode_seconds > before.max_decode_seconds)
        assert entry.is_final(*settings) is (entry.lasts and not cured)
        assert entry.is_final(settings[0], settings[0]) is entry.lasts


def test_a_run_that_does_not_name_a_cure_is_not_trusted() -> None:
    """A setting that came later may cure what an older run refused."""
    assert not ErrorCode.IMAGE_TOO_LARGE.is_final({"max_image_pixels": 5}, _settings())
    assert ErrorCode.CORRUPT_IMAGE.is_final({}, _settings())
