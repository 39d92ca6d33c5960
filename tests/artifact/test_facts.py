"""What a run manifest and a notebook say of a model."""
from __future__ import annotations

import json

from sparkq.artifact.facts import ModelFacts
from sparkq.config import QuantizationConfig
from tests.sample_artifacts import sample_artifact, sample_manifest

EVIL = "<script>alert('1')</script>"


def test_through_json() -> None:
    facts = ModelFacts.of(sample_manifest(), 1234)
    mapping = facts.to_mapping()
    assert json.loads(json.dumps(mapping)) == mapping
    assert ModelFacts.from_mapping(mapping) == facts


def test_against_float() -> None:
    """What was measured and nothing else; what it does not know by name, too."""
    facts = ModelFacts.of(sample_manifest(accuracy={"top1": 81.9, "accuracy_drop": 0.4, "sqnr_db": 31.25, "map50": 0.5}), 1000)
    assert facts.against_float() == [
        ("Size", "4.0 kB", "1.0 kB", "4.0 times less"), ("Top-1 accuracy", "82.30 %", "81.90 %", "-0.40 points"),
        ("SQNR of the outputs", "", "31.25 dB", ""), ("map50", "", "0.5", ""), ("MACs in INT8", "0 %", "90.0 %", ""),
    ]
    alone = ModelFacts.of(sample_manifest(accuracy={"top1": 81.9}), 1000)
    assert alone.against_float()[1] == ("Top-1 accuracy", "not measured", "81.90 %", "")


def test_no_loss_is_no_minus() -> None:
    facts = ModelFacts.of(sample_manifest(accuracy={"top1": 81.9, "accuracy_drop": 0.0}), 1000)
    assert facts.against_float()[1][3] == "+0.00 points"


def test_float_artifact() -> None:
    """Nothing to compare."""
    facts = ModelFacts.of(sample_manifest(quantization=QuantizationConfig(recipe="none"), float_layers=()), 4100)
    assert facts.against_float() == [] and facts.recipe_line() == "in float (recipe none)"


def test_many_layers_and_labels_are_cut() -> None:
    """A detector has hundreds of layers, a classifier 21 000 labels: the manifest of every run holds this."""
    layers, labels = tuple(f"layer{number}" for number in range(900)), tuple(map(str, range(21_000)))
    facts = ModelFacts.of(sample_manifest(float_layers=layers, labels=labels, classes=21_000), 1)
    assert len(json.dumps(facts.to_mapping())) < 2500
    assert facts.layers_in_float().endswith("layer49 and 850 more")
    assert ("Classes", "21000: 0, 1, 2, 3, 4 ...") in facts.rows()


def test_an_artifact_shows_itself() -> None:
    """In a notebook: recipe, accuracy, size, layers, labels; what users named is text."""
    artifact = sample_artifact(name=EVIL, labels=(EVIL, "bee", "cat"), float_layers=("fc", "<b>"))
    shown = artifact._repr_html_()
    for fact in ("recipe static", "observer min_max", "top1 81.9", "4.0 kB", "fc, &lt;b&gt;", artifact.digest, "6 x 8 pixels"):
        assert fact in shown
    assert "<script" not in shown and "<b>" not in shown and shown.count("&lt;script&gt;") == 2
    assert f"{len(artifact.dumps()) / 1e3:.1f} kB" in shown
