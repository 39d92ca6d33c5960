"""`sparkq.preview`: images as the network gets them, with its answers, on one page."""
from __future__ import annotations

import base64
import io
import re
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import nn

import sparkq
from sparkq.config import ModelTaskConfig, QuantizationConfig
from sparkq.demo.digits import PREPROCESS as DIGITS
from sparkq.errors import ConfigError, InputError
from sparkq.float_models.load import load_float_model
from sparkq.images.preprocess import preprocess_content
from sparkq.quantization import quantize
from sparkq.quantization.task_model import task_model
from sparkq.report.preview.preview import Preview
from sparkq.worker.predictor import Predictor
from tests.local_s3 import BUCKET, local_s3
from tests.models import REFERENCES, SMALL, NotFiniteOnBlack, SmallNet, digit_files, digits_artifact, encoded, reference_artifact
from tests.report.html_page import Page
from tests.shapes import PREPROCESS as SHAPES
from tests.shapes import scene, trained_ssd

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Thirty scans, and what is none."""
    folder = tmp_path / "digits"
    (folder / "below").mkdir(parents=True)
    for number, content in enumerate(digit_files(30)):
        (folder / "below" / f"{number:02d}.png").write_bytes(content)
    (folder / "a_cut.png").write_bytes(digit_files(1)[0][:60])
    (folder / f"b_{EVIL.replace('/', '')}.txt").write_text("no image")
    (folder / "_SUCCESS").touch()
    return folder


def pictures(page: str) -> list[npt.NDArray[np.uint8]]:
    """All pictures that a page holds."""
    found = re.findall(r'src="data:image/(?:jpeg|png);base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def assert_of_one_file(page: str) -> None:
    """Nothing in it makes a browser ask for anything else, or run anything."""
    parsed = Page(page)
    assert not {tag for tag, _ in parsed.tags} & {"script", "link", "iframe", "object", "embed", "base", "form", "a"}
    for tag, attributes in parsed.tags:
        assert not {name for name in attributes if name.startswith("on") or name in ("srcset", "action", "background", "href")}
        assert "src" not in attributes or (tag == "img" and str(attributes["src"]).startswith("data:image/"))
    assert "url(" not in page and "@import" not in page and EVIL not in page


def test_real_photos(shared_data: Path) -> None:
    """The first 24 of the folder, each with the three best labels that a prediction gives, and both pictures."""
    artifact = reference_artifact(shared_data, "mobilenet")
    folder = shared_data / "photos_jpeg" / "images"
    found = sparkq.preview(artifact, str(folder))
    files = sorted(folder.iterdir())
    assert found.found == len(files)
    assert [image.path for image in found.images] == [f"file:{path}" for path in files[:24]]
    predictor = Predictor(artifact)
    for image, path in zip(found.images, files, strict=False):
        pixels = preprocess_content(path.read_bytes(), artifact.manifest.preprocess)
        assert image.pixels is not None and np.array_equal(image.pixels, pixels) and image.answer is not None
        labels = np.argsort(-predictor.engine.run(np.stack([pixels]))[0], kind="stable")[:3]
        assert [one["label"] for one in image.answer["top_k"]] == labels.tolist()
    page = found.to_html()
    assert_of_one_file(page)
    shown = pictures(page)
    assert len(shown) == 48 and {picture.shape for picture in shown} == {(224, 224, 3)}
    # Only JPEG lies between the picture and the pixels.
    assert np.abs(shown[0].astype(int) - found.images[0].pixels).mean() < 6
    assert found.warnings == () and "Unless the network was trained so" not in page
    assert len(page) < 2_000_000


def test_wrong_settings_show(shared_data: Path) -> None:
    """Exchanged channels in the pictures, a lost mean and std in the values, and both in words."""
    reference = REFERENCES["mobilenet"]
    models, photos = shared_data / "models", shared_data / "photos_jpeg" / "images"
    found = sparkq.preview(
        f"{models}/reference_models.py:{reference.factory}", str(photos), weights=str(models / reference.weights),
        preprocess={"crop": 224, "mean": 0, "std": 1, "channel_order": "BGR"}, images=2,
    )
    page = found.to_html()
    pixels = found.images[0].pixels
    seen, values = pictures(page)[:2]
    assert pixels is not None
    assert np.abs(seen[..., ::-1].astype(int) - pixels).mean() < 6 < np.abs(seen.astype(int) - pixels).mean()
    # 0 to 1 of values from -2.5 to 2.5 is gray: half of the darkest is never reached.
    assert values.min() > 100 and values.max() < 200
    assert "red and blue are exchanged" in page and "Unless the network was trained so, rescale, mean or std is wrong." in page
    rows = {row[0]: row[1:] for row in Page(page).tables["preprocess"][1:]}
    assert rows["mean"] == ["0, 0, 0", "given"] and rows["interpolation"] == ["bilinear", "default"]


def test_what_is_no_image_stands_there_as_its_code(digits: Path) -> None:
    """In the order of the paths, and with names that are markup elsewhere; no file is left out but what jobs leave out."""
    found = sparkq.preview(digits_artifact(), str(digits))
    assert found.found == 32 and len(found.images) == 24
    assert found.error_codes == {"not_an_image": 1, "truncated_image": 1}
    assert [image.error_code for image in found.images[:3]] == ["truncated_image", "not_an_image", None]
    page = found.to_html()
    assert_of_one_file(page)
    assert "truncated_image" in page and "not_an_image" in page and len(pictures(page)) == 44
    shown = found._repr_html_()
    assert "truncated_image" in shown and len(pictures(shown)) == 44 and EVIL not in shown and "<script" not in shown
    (digits / "only").mkdir()
    (digits / "only" / "x.txt").write_text("no image")
    assert pictures(sparkq.preview(digits_artifact(), str(digits / "only")).to_html()) == []


def test_tiny_pictures_lose_nothing(digits: Path) -> None:
    found = sparkq.preview(digits_artifact(), str(digits), glob="{00,01}.png")
    pixels = [image.pixels for image in found.images]
    assert len(pixels) == 2
    for picture, expected in zip(pictures(found.to_html())[::2], pixels, strict=True):
        assert np.array_equal(picture, expected)


def test_answers_that_are_no_numbers(tmp_path: Path) -> None:
    """The picture is there, with the code that its row would have."""
    (tmp_path / "black.png").write_bytes(encoded(np.zeros((16, 16, 3), np.uint8)))
    (tmp_path / "gray.png").write_bytes(encoded(np.full((16, 16, 3), 90, np.uint8)))
    found = sparkq.preview(NotFiniteOnBlack(infinite=True).eval(), str(tmp_path), preprocess=SMALL)
    assert [image.error_code for image in found.images] == ["invalid_output", None]
    assert len(pictures(found.to_html())) == 4


def test_embedding(digits: Path) -> None:
    """The length of each vector."""
    found = sparkq.preview(SmallNet().eval(), str(digits), preprocess=SMALL, task="embedding", images=4)
    lengths = [f"{np.linalg.norm(image.answer['embedding']):.4g}" for image in found.images if image.answer]
    page = found.to_html()
    assert len(lengths) == 2 and all(f"length {length}" in page for length in lengths) and found.warnings == ()


def test_detection(tmp_path: Path) -> None:
    """Boxes are drawn on the network's input, whatever the size of the original."""
    (tmp_path / "scene.png").write_bytes(encoded(scene(3, 150, 200).image))
    model, task = task_model(trained_ssd(), ModelTaskConfig("detection"), SHAPES)
    artifact = quantize(
        model, calibration=[scene(seed).image for seed in range(4)], preprocess=SHAPES, config=QuantizationConfig(recipe="none"),
        task=task,
    )
    [image] = sparkq.preview(artifact, str(tmp_path)).images
    assert image.answer is not None and image.pixels is not None and image.answer["detections"]
    assert all(box["x_max"] <= 96 and box["y_max"] <= 96 for box in image.answer["detections"])
    seen, _ = pictures(Preview("m", artifact.manifest, (image,)).to_html())
    assert np.abs(seen.astype(int) - image.pixels).max() > 100


def test_object_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Hadoop and as Arrow spell it."""
    with local_s3() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        for number, content in enumerate(digit_files(3)):
            server.client.put_object(Bucket=BUCKET, Key=f"scans/{number} ä%.png", Body=content)
        for scheme in ("s3", "s3a"):
            found = sparkq.preview(digits_artifact(), f"{scheme}://{BUCKET}/scans")
            assert [image.path for image in found.images] == [f"{scheme}://{BUCKET}/scans/{number} ä%.png" for number in range(3)]
            assert found.error_codes == {}
        with pytest.raises(InputError, match="no such path"):
            sparkq.preview(digits_artifact(), f"s3://{BUCKET}/nothing")


def test_refused(digits: Path, tmp_path: Path) -> None:
    """One sentence each, before the model is run."""
    (tmp_path / "empty").mkdir()
    for arguments, words in (
        ({"input": str(tmp_path / "empty")}, "expected images; got no file"),
        ({"input": str(tmp_path / "absent")}, "absent"),
        ({"images": 0}, "images: expected a whole number of at least 1"),
        ({"weights": "w.pt"}, "weights: expected none with an artifact"),
        ({"preprocess": {"crop": 8}}, "preprocess: expected none with an artifact"),
        ({"glob": "*.jpg"}, "got no file"),
    ):
        with pytest.raises((ConfigError, InputError), match=words):
            sparkq.preview(digits_artifact(), **{"input": str(digits), **arguments})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected crop, mean, std of the input of Linear"):
        sparkq.preview(nn.Linear(1, 1), str(digits))


def test_one_label_for_all(digits: Path) -> None:
    """Said on the page, too."""
    model = load_float_model("sparkq.demo.digits:DigitsNet")
    with torch.no_grad():
        model.get_parameter("classifier.bias")[4] += 1000
    found = sparkq.preview(model, str(digits / "below"), preprocess=DIGITS)
    [warning] = found.warnings
    assert "all 24 images the same label (4)" in warning and warning.partition(".")[0] in found.to_html()
    shutil.rmtree(digits)
