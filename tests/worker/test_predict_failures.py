"""Models that fail on one image: that image is an error row, and the others of its batch are predicted."""
from __future__ import annotations

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest

from sparkq.config import InferenceConfig
from sparkq.worker.predict import predict_partition
from sparkq.worker.predictor import Predictor
from tests.models import NotFiniteOnBlack, SmallNet, encoded, failing_on_white, float_artifact, noise

IMAGES = [encoded(image) for image in noise(5, high=200)]
WHITE = encoded(np.full((16, 16, 3), 255, np.uint8))
BLACK = encoded(np.zeros((16, 16, 3), np.uint8))


@pytest.fixture(scope="module")
def fails_on_white() -> Predictor:
    """With an engine that fails on white images."""
    return failing_on_white(float_artifact(SmallNet()))


def _rows(predictor: Predictor, contents: list[bytes | None], batch_size: int = 8) -> list[dict[str, object]]:
    batch = pa.record_batch({"content": pa.array(contents, pa.binary())})
    results = predict_partition(
        iter([batch]), predictor=lambda: predictor, image_column="content", config=InferenceConfig(batch_size=batch_size),
    )
    return [row for result in results for row in result.to_pylist()]


class TestForwardPassThatFails:
    """``inference_failed``: found by halving the batch."""

    @pytest.mark.parametrize("batch_size", [1, 2, 6, 8])
    def test_it_is_the_row_of_that_image(self, batch_size: int, fails_on_white: Predictor) -> None:
        """In every position."""
        expected = _rows(fails_on_white, list(IMAGES))
        assert {row["status"] for row in expected} == {"ok"}
        for position in range(6):
            contents: list[bytes | None] = list(IMAGES)
            contents.insert(position, WHITE)
            rows = _rows(fails_on_white, contents, batch_size)
            bad = rows.pop(position)
            assert rows == expected
            assert (bad["status"], bad["error_code"]) == ("error", "inference_failed")
            assert bad["label"] is None and bad["top_k"] is None and bad["engine"] == "float32"

    @pytest.mark.parametrize("white", list(combinations(range(7), 2)), ids=str)
    def test_two_of_them(self, white: tuple[int, int], fails_on_white: Predictor) -> None:
        images = iter(IMAGES)
        contents: list[bytes | None] = [WHITE if row in white else next(images) for row in range(7)]
        rows = _rows(fails_on_white, contents)
        assert tuple(row for row, result in enumerate(rows) if result["error_code"] == "inference_failed") == white
        assert [row for row in rows if row["status"] == "ok"] == _rows(fails_on_white, list(IMAGES))

    def test_all_of_them(self, fails_on_white: Predictor) -> None:
        assert [row["error_code"] for row in _rows(fails_on_white, [WHITE] * 5)] == ["inference_failed"] * 5

    def test_beside_images_that_do_not_decode(self, fails_on_white: Predictor) -> None:
        rows = _rows(fails_on_white, [b"no image", WHITE, IMAGES[0], None, WHITE, IMAGES[1]])
        codes = ["not_an_image", "inference_failed", None, "missing_content", "inference_failed", None]
        assert [row["error_code"] for row in rows] == codes

    def test_message_is_the_cause(self, fails_on_white: Predictor) -> None:
        """One sentence that says what went wrong, not the engine's whole message."""
        message = str(_rows(fails_on_white, [WHITE])[0]["error_message"])
        assert "out of range" in message
        assert "\n" not in message and "Traceback" not in message and len(message) < 400


class TestOutputThatIsNoNumber:
    """``invalid_output``: NaN and infinite values never become a label."""

    @pytest.mark.parametrize("infinite", [False, True], ids=["not_a_number", "infinite"])
    def test_it_is_the_row_of_that_image(self, infinite: bool) -> None:
        predictor = Predictor(float_artifact(NotFiniteOnBlack(infinite=infinite)))
        expected = _rows(predictor, list(IMAGES))
        assert {row["status"] for row in expected} == {"ok"}
        for position in range(6):
            contents: list[bytes | None] = list(IMAGES)
            contents.insert(position, BLACK)
            rows = _rows(predictor, contents)
            bad = rows.pop(position)
            assert rows == expected
            assert (bad["status"], bad["error_code"]) == ("error", "invalid_output")
            assert bad["label"] is None and bad["score"] is None and bad["top_k"] is None
            assert "NaN or infinite" in str(bad["error_message"])
