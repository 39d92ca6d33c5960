"""From raw outputs to boxes: the whole way against plain Python, and what outputs cannot break."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.config import AnchorConfig, DetectionConfig
from sparkq.model_tasks.detection.agreement import BoxAgreement, matched_boxes
from sparkq.model_tasks.detection.detector import Boxes, Detector
from tests.model_tasks.detection import reference

ANCHORS = AnchorConfig(((3, 4), (2, 2)), (0.2, 0.45, 0.8), ((2.0,), (2.0,)))
SIZE = 60, 80
CONFIG = DetectionConfig(ANCHORS, score_threshold=0.2, iou_threshold=0.4, candidates=20, max_detections=15)
CLASSES = 4


def raw(seed: int, spread: float = 3.0) -> npt.NDArray[np.float32]:
    """Outputs of one image."""
    return np.random.default_rng(seed).normal(0, spread, ANCHORS.count * (CLASSES + 4)).astype(np.float32)


def expected_boxes(outputs: npt.NDArray[np.float32], config: DetectionConfig) -> list[tuple[int, float, tuple[float, ...]]]:
    """(label, score, corners) in plain Python."""
    count = ANCHORS.count
    logits, offsets = outputs[: count * CLASSES].reshape(count, -1), outputs[count * CLASSES:].reshape(count, 4)
    anchors = reference.anchors(ANCHORS.feature_maps, ANCHORS.scales, ANCHORS.aspect_ratios, SIZE)
    scores = [reference.softmax(row)[1:] for row in logits.astype(float).tolist()]
    found = []
    chosen = reference.candidates(scores, config.score_threshold, config.candidates)
    for label in range(CLASSES - 1):
        boxes = []
        for _, anchor in (pair for pair in chosen if pair[0] == label):
            corners = reference.decoded(offsets[anchor].tolist(), anchors[anchor])
            clipped = tuple(min(max(value, 0.0), float(SIZE[1 - axis % 2])) for axis, value in enumerate(corners))
            if clipped[2] > clipped[0] and clipped[3] > clipped[1]:
                boxes.append((label + 1, scores[anchor][label], clipped))
        out = reference.suppressed([np.array(box[2], np.float32) for box in boxes], config.iou_threshold)
        found += [box for box, gone in zip(boxes, out, strict=True) if not gone]
    return sorted(found, key=lambda box: -box[1])[: config.max_detections]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("limits", [
    {}, {"candidates": 3}, {"max_detections": 4}, {"score_threshold": 0.0, "iou_threshold": 0.9},
], ids=str)
def test_boxes_are_those_of_plain_python(seed: int, limits: dict[str, float]) -> None:
    """Labels, scores and corners, in order."""
    config = replace(CONFIG, **limits)
    boxes = Detector(config, ANCHORS, SIZE).detect(raw(seed))
    expected = expected_boxes(raw(seed), config)
    assert len(boxes) == len(expected) > 0
    assert boxes.labels.tolist() == [label for label, _, _ in expected]
    np.testing.assert_allclose(boxes.scores, [score for _, score, _ in expected], rtol=1e-4)
    np.testing.assert_allclose(boxes.corners, [corners for _, _, corners in expected], rtol=1e-4, atol=2e-3)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e-3, 30.0, 1e4, 1e30, 3e38]))
@settings(max_examples=60, deadline=None)
def test_finite_outputs_of_any_size_give_boxes_within_the_input(seed: int, spread: float) -> None:
    """With area, best first, no more than allowed, and finite."""
    random = np.random.default_rng(seed)
    outputs = (random.uniform(-1, 1, ANCHORS.count * (CLASSES + 4)) * spread).astype(np.float32)
    boxes = Detector(CONFIG, ANCHORS, SIZE).detect(outputs)
    assert boxes.labels.dtype == np.int64 and boxes.scores.dtype == boxes.corners.dtype == np.float32
    assert len(boxes) <= CONFIG.max_detections and set(boxes.labels.tolist()) <= {1, 2, 3}
    assert (np.diff(boxes.scores) <= 0).all() and (boxes.scores > CONFIG.score_threshold).all()
    assert (boxes.corners[:, :2] >= 0).all() and (boxes.corners[:, 2:] <= (SIZE[1], SIZE[0])).all()
    assert (boxes.corners[:, 2:] > boxes.corners[:, :2]).all()


def test_equal_scores_have_one_order() -> None:
    """First the smaller label, then the earlier anchor: rows are the same on every node and at every attempt."""
    outputs = np.zeros(ANCHORS.count * (CLASSES + 4), np.float32)
    config = replace(CONFIG, max_detections=200, candidates=200, iou_threshold=1.0)
    boxes = Detector(config, ANCHORS, SIZE).detect(outputs)
    assert boxes.labels.tolist() == [label for label in (1, 2, 3) for _ in range(ANCHORS.count)]
    middles = (boxes.corners[:, :2] + boxes.corners[:, 2:]) / 2
    assert (np.diff(middles[:48:4, 1]) >= -1).all() and len(set(boxes.scores.tolist())) == 1


def test_an_image_without_anything_has_no_boxes() -> None:
    """Not an error, and of the same types."""
    outputs = np.zeros(ANCHORS.count * (CLASSES + 4), np.float32)
    outputs[:ANCHORS.count * CLASSES:CLASSES] = 20
    boxes = Detector(CONFIG, ANCHORS, SIZE).detect(outputs)
    assert len(boxes) == 0 and boxes.corners.shape == (0, 4) and boxes.labels.dtype == np.int64


def test_the_likeliest_thing_is_looked_for_below_the_threshold_too() -> None:
    """For drift: every image has one."""
    outputs = np.zeros(ANCHORS.count * (CLASSES + 4), np.float32)
    outputs[:ANCHORS.count * CLASSES:CLASSES] = 20
    outputs[7 * CLASSES + 2] = 15
    label, score = Detector(CONFIG, ANCHORS, SIZE).likeliest(outputs)
    assert label == 2 and score == pytest.approx(np.exp(15) / (np.exp(20) + np.exp(15) + 2))


def test_the_golden_sample_has_numbers_of_every_map() -> None:
    """Logits and offsets apart: noise that drowns the offsets hardly shows beside the logits."""
    anchors = AnchorConfig(((30, 30), (1, 1)), (0.2, 0.45, 0.8), ((2.0,), (2.0,)))
    outputs = np.arange(anchors.count * 8, dtype=np.float32)
    logits, offsets = Detector(replace(CONFIG, anchors=anchors), anchors, SIZE).samples(outputs)
    assert (len(logits), len(offsets)) == (512 + 16, 512 + 16)
    assert logits[-16:].tolist() == list(range(3600 * 4, 3604 * 4)) and offsets[-1] == outputs[-1]
    assert len(set(logits.tolist())) == len(logits) and len(set(logits.astype(int) % 4)) == 4


def some(labels: list[int], corners: list[list[float]]) -> Boxes:
    """With falling scores."""
    scores = np.linspace(0.9, 0.5, len(labels), dtype=np.float32)
    return Boxes(np.array(labels), scores, np.array(corners, np.float32).reshape(-1, 4))


def test_boxes_agree_in_pairs() -> None:
    """Of one class, overlapping by a half; each box counts once."""
    one = some([1, 2], [[0, 0, 10, 10], [20, 20, 30, 30]])
    assert matched_boxes(one, one) == 2
    assert matched_boxes(one, some([2, 1], [[0, 0, 10, 10], [20, 20, 30, 30]])) == 0
    assert matched_boxes(one, some([1, 1], [[0, 0, 10, 10], [0, 0, 10, 9]])) == 1
    assert matched_boxes(one, some([1], [[0, 0, 10, 4.9]])) == 0 and matched_boxes(one, some([1], [[0, 0, 10, 5]])) == 1
    assert matched_boxes(one, some([], [])) == matched_boxes(some([], []), one) == 0
    # The best pairs first: the middle box goes with the left one, so that the right one finds none.
    chain = some([1, 1], [[0, 0, 10, 10], [4, 0, 14, 10]]), some([1], [[1, 0, 11, 10]])
    assert matched_boxes(*chain) == 1


def test_f1_is_over_all_images_and_its_error_shrinks_with_them() -> None:
    """No box at all is no agreement."""
    agreement = BoxAgreement()
    assert agreement.f1 is agreement.standard_error is None
    one, other = some([1], [[0, 0, 10, 10]]), some([2], [[0, 0, 10, 10]])
    agreement.add(some([], []), some([], []))
    assert agreement.f1 is None
    for _ in range(3):
        agreement.add(one, one)
    agreement.add(one, other)
    assert agreement.f1 == pytest.approx(6 / 8)
    few = agreement.standard_error
    for _ in range(10):
        agreement.add(one, one)
        agreement.add(one, other)
    assert few is not None and agreement.standard_error is not None and 0 < agreement.standard_error < few
