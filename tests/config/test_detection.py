"""The config of a detection: what is refused, and that it comes back from a manifest and from YAML as it was."""
from __future__ import annotations

import json
from typing import Any

import pytest

from sparkq.artifact.manifest import Manifest, detection_mapping
from sparkq.config import AnchorConfig, DetectionConfig, ModelTaskConfig
from sparkq.config.parsing import parse_config, to_mapping
from sparkq.errors import ArtifactFormatError, ConfigError
from tests.sample_artifacts import sample_manifest

ANCHORS = AnchorConfig(((3, 4), (2, 2)), (0.2, 0.45, 0.8), ((2,), (2, 3)), steps=(8, 16))


def test_anchors_are_counted_by_map_and_place() -> None:
    """Two squares, and two boxes an aspect ratio."""
    assert ANCHORS.per_place == (4, 6) and ANCHORS.count == 12 * 4 + 4 * 6
    assert AnchorConfig((5,), (0.1, 0.2), ((),)) == AnchorConfig(((5, 5),), (0.1, 0.2), ((),))


@pytest.mark.parametrize(("changes", "shown"), [
    ({"feature_maps": ()}, "feature_maps|scales"),
    ({"feature_maps": 5}, "feature_maps: expected a list; got 5"),
    ({"feature_maps": ((0, 1), (1, 1))}, "feature_maps: expected a whole number"),
    ({"scales": (0.1, 0.2)}, "scales: expected 3, for 2 feature maps; got 2"),
    ({"scales": (0.1, 0.2, -1)}, "scales: expected numbers above 0"),
    ({"scales": (0.1, 0.2, float("nan"))}, "scales: expected a finite number"),
    ({"aspect_ratios": ((2,),)}, "aspect_ratios: expected 2"),
    ({"aspect_ratios": (2, 3)}, "aspect_ratios: expected a list; got 2"),
    ({"steps": (8,)}, "steps: expected 2"),
    ({"box_weights": (10, 10, 5)}, "box_weights: expected 4"),
])
def test_wrong_anchors_are_refused(changes: dict[str, Any], shown: str) -> None:
    """One sentence that names the key."""
    values = {name: getattr(ANCHORS, name) for name in ("feature_maps", "scales", "aspect_ratios", "steps")}
    with pytest.raises(ConfigError, match=shown):
        AnchorConfig(**{**values, **changes})


@pytest.mark.parametrize(("changes", "shown"), [
    ({"score_threshold": 1.5}, "detection.score_threshold"), ({"iou_threshold": -0.1}, "detection.iou_threshold"),
    ({"candidates": 0}, "detection.candidates"),
    ({"candidates": 4097}, "detection.candidates: expected at most 4096"), ({"max_detections": 2.5}, "detection.max_detections"),
])
def test_wrong_thresholds_are_refused(changes: dict[str, Any], shown: str) -> None:
    """One sentence that names the key."""
    with pytest.raises(ConfigError, match=shown):
        DetectionConfig(**changes)


def test_it_comes_back_from_json_and_from_a_manifest() -> None:
    """Lists of lists become what they were; a run's manifest compares it as JSON."""
    config = DetectionConfig(ANCHORS, score_threshold=0.3, max_detections=7)
    mapping = json.loads(json.dumps(to_mapping(config)))
    assert mapping == to_mapping(config) and parse_config(DetectionConfig, mapping, place="x") == config
    manifest = sample_manifest(task="detection", scores=None, detection=config, output_length=7 * ANCHORS.count)
    read = Manifest.loads(manifest.dumps(), place="x")
    assert read.detection == config and read.model_task_config == ModelTaskConfig("detection", detection=config)
    assert detection_mapping(read) == mapping and detection_mapping(sample_manifest()) is None


@pytest.mark.parametrize("detection", [None, DetectionConfig()], ids=["none", "without anchors"])
def test_a_detection_without_anchors_is_no_manifest(detection: DetectionConfig | None) -> None:
    """Its outputs would mean nothing."""
    data = sample_manifest(task="detection", detection=detection).dumps()
    with pytest.raises(ArtifactFormatError, match="expected a complete manifest"):
        Manifest.loads(data, place="x")


def test_other_tasks_take_no_thresholds() -> None:
    """They would be left out without a word."""
    with pytest.raises(ConfigError, match="detection: expected it with task detection; got task embedding"):
        ModelTaskConfig("embedding", detection=DetectionConfig(score_threshold=0.5))
