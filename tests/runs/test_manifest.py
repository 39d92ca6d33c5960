"""The run manifest: written and read in one place, every key of a type, unknown ones left alone."""
from __future__ import annotations

import ast
import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkq.errors import InputError
from sparkq.runs.manifest import PROTOCOL, RunManifest
from tests import ROOT
from tests.report.written_runs import DRIFTED, ok, write_run

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2), max_leaves=4,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The mapping of a run with drift."""
    return write_run(tmp_path_factory.mktemp("out"), [ok("/a", 1, 0.5)], drift=DRIFTED, recalibrate=True)


def loads(mapping: dict[str, Any]) -> RunManifest:
    """Read a mapping as a file."""
    return RunManifest.loads(json.dumps(mapping).encode(), place="here")


def test_what_is_written_is_read(written: dict[str, Any]) -> None:
    """Through bytes and back, key by key; keys of a later version are left alone."""
    manifest = loads(written)
    assert manifest.protocol == PROTOCOL and manifest.rows == 1 and manifest.tasks is not None
    assert RunManifest.loads(manifest.dumps(), place="here") == manifest
    assert json.loads(manifest.dumps()) == {**written, "preprocess": None, "detection": None, "nodes": [], "task": None}
    assert loads({**written, "of": "tomorrow", "tasks": {**written["tasks"], "more": 1}}) == manifest


def test_optional_keys_have_values_where_they_are_absent(written: dict[str, Any]) -> None:
    """As in runs that were written without a job."""
    required = {
        one.name for one in dataclasses.fields(RunManifest)
        if one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
    }
    manifest = loads({key: value for key, value in written.items() if key in required or key == "protocol"})
    assert (manifest.settings, manifest.workers, manifest.skipped, manifest.input) == ({}, None, 0, None)
    for key in sorted(required):
        with pytest.raises(InputError, match="here: expected a run manifest of sparkq"):
            loads({name: value for name, value in written.items() if name != key})


@given(st.data())
def test_a_value_of_another_type_is_refused(written: dict[str, Any], data: st.DataObject) -> None:
    """Whatever stands at a key: it is read as what it is, or refused in one sentence."""
    key = data.draw(st.sampled_from(sorted(written)))
    value = data.draw(JSON_VALUES)
    try:
        manifest = loads({**written, key: value})
    except InputError as error:
        assert "\n" not in error.message
    else:
        assert json.loads(manifest.dumps())[key] == value or key in ("tasks", "artifact", "files", "workers")


def test_airflow_reads_documented_keys(written: dict[str, Any]) -> None:
    """The DAG, which cannot import sparkq, takes from a manifest only keys that `RunManifest` has, nested ones included."""
    source = (ROOT / "jobs" / "airflow" / "predict_images_dag.py").read_text(encoding="utf-8")
    (function,) = (
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef) and node.name == "manifest"
    )
    fields = {one.name for one in dataclasses.fields(RunManifest)}
    (kept,) = (
        ast.literal_eval(node.value) for node in ast.walk(function)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "kept"
    )
    assert set(kept) <= fields and len(kept) > 10
    taken = {match for match in _subscripts(function, "run")}
    assert taken and taken <= fields
    assert set(_subscripts(function, "run['settings']")) <= set(written["settings"])
    (drift,) = (
        ast.literal_eval(node.generators[0].iter) for node in ast.walk(function)
        if isinstance(node, ast.DictComp) and "drift" in ast.unparse(node.value)
    )
    assert set(drift) <= set(DRIFTED)


def _subscripts(tree: ast.AST, name: str) -> list[str]:
    """The constants by which `name` is subscripted, or that it is asked for with ``get``."""
    found = [
        node.slice for node in ast.walk(tree) if isinstance(node, ast.Subscript) and ast.unparse(node.value) == name
    ] + [
        node.args[0] for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == f"{name}.get"
    ]
    return [str(one.value) for one in found if isinstance(one, ast.Constant)]
