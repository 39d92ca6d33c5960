"""The report's page: complete, of one file, and safe whatever names it shows."""
from __future__ import annotations

import dataclasses
import functools
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sparkq.config import QuantizationConfig
from sparkq.demo.digits import PREPROCESS
from sparkq.quantization.calibration.image_set import CalibrationSet, calibration_set
from sparkq.quantization.diagnosis import Diagnosis, diagnose
from sparkq.quantization.gate import GateAttempt, GateTarget, Measured, gate_rows
from sparkq.report.quantization.quantization import QuantizationReport, render_quantization_report, write_quantization_report
from sparkq.workflows.preview import calibration_seen
from tests.models import digits, digits_artifact, digits_net
from tests.report.html_page import Page

EVIL = "<script>alert('1')</script>\" onload=\"x&amp;"
MEASURED = Measured(50, 99.25, 31.5, 97.5, 0.25, 0.75)


@functools.cache
def calibration() -> CalibrationSet:
    return calibration_set(digits()[0].images[:32], PREPROCESS)


@functools.cache
def diagnosis(recipe: str = "static") -> Diagnosis:
    return diagnose(digits_net(), calibration(), PREPROCESS, QuantizationConfig(recipe=recipe))


def report(**changes: object) -> QuantizationReport:
    """Of the digits' network; the second attempt became the artifact."""
    figures = {key: value for key, value in dataclasses.asdict(MEASURED).items() if value is not None}
    whole = QuantizationReport(
        name="digits", output="s3://key:secret@bucket/digits.sparkq", asked=QuantizationConfig(), target=GateTarget(),
        attempts=[
            GateAttempt("static", Measured(50, 91.0, 12.5, 90.0, 7.75, 1.0), 100.0, 60_000, 4000.0),
            GateAttempt("mixed, 1 of 4 layers in float", MEASURED, 100.0, 70_000, 3000.0),
            GateAttempt("mixed, 2 of 4 layers in float", Measured(50, 100.0, None), 100.0, 70_000, 3000.0),
        ],
        artifact=digits_artifact().with_accuracy(**figures), calibration_images=32,
        calibration_fingerprint=calibration().fingerprint, diagnosis=diagnosis(),
        seen_by=digits_artifact().manifest, seen=calibration_seen(digits_artifact(), calibration().images),
    )
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]


def assert_of_one_file(page: str) -> None:
    """Nothing in it makes a browser ask for anything else, or run anything."""
    parsed = Page(page)
    kinds = {tag for tag, _ in parsed.tags}
    assert not kinds & {"script", "link", "iframe", "object", "embed", "base", "form", "image"}
    for tag, attributes in parsed.tags:
        assert not {name for name in attributes if name.startswith("on") or name in ("srcset", "action", "background")}
        assert "src" not in attributes or (tag == "img" and str(attributes["src"]).startswith("data:image/"))
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert {address[:1] for address in re.findall(r"url\(([^)]*)", page)} <= {"#"}
    assert "@import" not in page


def test_page() -> None:
    """Well formed; every layer with its picture; every anchor has a place, and only one."""
    page = render_quantization_report(report())
    assert_of_one_file(page)
    parsed = Page(page)
    assert page.startswith("<!DOCTYPE html>")
    ids = Counter(attributes["id"] for _, attributes in parsed.tags if "id" in attributes)
    assert max(ids.values()) == 1
    anchors = {(attributes.get("href") or "")[1:] for tag, attributes in parsed.tags if tag == "a"}
    assert anchors == {f"layer-{number}" for number in range(1, 5)} <= set(ids)
    assert sum(tag == "svg" for tag, _ in parsed.tags) == 1 + 4 + 4
    assert any(attributes.get("name") == "viewport" for _, attributes in parsed.tags)
    assert "prefers-color-scheme: dark" in page and "@media print" in page


def test_sheet_of_calibration_images() -> None:
    """As the network gets them, from all over the set, with the artifact's answers; none where there were none."""
    seen = calibration_seen(digits_artifact(), calibration().images)
    assert len(seen) == 24 and np.array_equal(np.asarray(seen[-1].pixels), calibration().images[-1])
    page = render_quantization_report(report(seen=seen))
    assert "What the network sees" in page and sum(tag == "img" for tag, _ in Page(page).tags) == 48
    assert all(str(image.answer["label_name"]) in page for image in seen if image.answer)
    without = render_quantization_report(report(seen=()))
    assert "What the network sees" not in without and "<img" not in without


def test_facts() -> None:
    """What was made of what; no credentials."""
    text = Page(render_quantization_report(report())).text
    artifact = digits_artifact()
    for fact in (
        "digits", artifact.digest, calibration().fingerprint, "97.5", "99.25", "at most 0.5 points of accuracy lost",
        "mixed, 1 of 4 layers", "s3://***@bucket/digits.sparkq",
        f"{len(report().artifact.dumps()) / 1e6:.2f} MB",  # type: ignore[union-attr]
    ):
        assert fact in text
    assert "secret" not in text


def test_attempts_are_the_gates_table() -> None:
    """The same cells, and which of them became the artifact: not always the last."""
    header, *rows = Page(render_quantization_report(report())).tables["attempts"]
    expected = gate_rows(report().attempts)
    assert [tuple(row[:-1]) for row in (header, *rows)] == expected
    assert [row[-1] for row in rows] == ["not written", "written", "not written"]


def test_layers_most_sensitive_first() -> None:
    """With their figures, as the diagnosis has them, and what the artifact computes in float."""
    manifest = dataclasses.replace(digits_artifact().manifest, float_layers=("features.4",))
    artifact = dataclasses.replace(digits_artifact(), manifest=manifest)
    page = render_quantization_report(report(artifact=artifact))
    _, *rows = Page(page).tables["layers"]
    layers = {layer.name: layer for layer in diagnosis().layers}
    assert {row[1] for row in rows} == set(layers)
    decibels = [float(row[2]) for row in rows]
    assert decibels == sorted(decibels)
    for number, name, found, precision, kind, *_ in rows:
        assert diagnosis().layers[int(number) - 1] is layers[name] and layers[name].kind == kind
        assert float(found) == pytest.approx(layers[name].sensitivity_db, abs=0.06)
        assert precision == ("float" if name == "features.4" else "INT8")
    for layer in layers.values():
        assert layer.inputs is not None and f" {layer.inputs.low:.4g} to {layer.inputs.high:.4g}" in page


def test_refused() -> None:
    """All attempts, none of them written, and what the network would be like in INT8."""
    parsed = Page(render_quantization_report(report(artifact=None)))
    assert "Nothing was written." in parsed.text and "The target is reached" not in parsed.text
    assert {row[-1] for row in parsed.tables["attempts"][1:]} == {"not written"}
    assert {row[3] for row in parsed.tables["layers"][1:]} == {"-"}
    assert digits_artifact().digest not in parsed.text


@pytest.mark.parametrize(("recipe", "why"), [("dynamic", "every single image"), ("none", "keeps the model in float")])
def test_recipes_without_ranges(recipe: str, why: str) -> None:
    """The page says why there are none, and still shows the weights."""
    attempts = report().attempts if recipe == "dynamic" else []
    page = render_quantization_report(report(
        asked=QuantizationConfig(recipe=recipe), attempts=attempts, artifact=digits_artifact(recipe), diagnosis=diagnosis(recipe),
    ))
    assert_of_one_file(page)
    parsed = Page(page)
    assert why in parsed.text
    assert sum(tag == "svg" for tag, _ in parsed.tags) == 4
    assert ("attempts" in parsed.tables) == (recipe == "dynamic")


def test_names_are_text() -> None:
    """Models, layers, recipes and paths may be called anything."""
    layers = tuple(dataclasses.replace(layer, name=EVIL + layer.name) for layer in diagnosis().layers)
    evil = report(
        name=EVIL, output=EVIL, artifact=None, attempts=[GateAttempt(EVIL, MEASURED, 100.0, 1, 1.0)],
        diagnosis=dataclasses.replace(diagnosis(), layers=layers),
    )
    page = render_quantization_report(evil)
    assert_of_one_file(page)
    parsed = Page(page)
    assert {row[1] for row in parsed.tables["layers"][1:]} == {layer.name for layer in layers}
    assert parsed.tables["attempts"][1][0] == EVIL
    labels = [attributes["aria-label"] for _, attributes in parsed.tags if "aria-label" in attributes]
    assert f"Histogram of the weights and of the inputs of {layers[0].name}" in labels


def test_the_same_report_gives_the_same_page() -> None:
    assert render_quantization_report(report()) == render_quantization_report(report())


def test_a_large_network_stays_small() -> None:
    """As many layers as ResNet-50 has: below a megabyte."""
    layers = (diagnosis().layers * 14)[:54]
    page = render_quantization_report(report(diagnosis=dataclasses.replace(diagnosis(), layers=layers)))
    assert len(page.encode()) < 1_000_000
    assert len(Page(page).tables["layers"]) == 55


def test_write(tmp_path: Path) -> None:
    """Whole, and nothing beside it; a name that is no UTF-8 does not stop it."""
    path = tmp_path / "new" / "report.html"
    write_quantization_report(str(path), "<p>\udc80</p>")
    assert path.read_bytes() == b"<p>&#56448;</p>"
    assert list(path.parent.iterdir()) == [path]
