"""The demonstration's data and model: real scans, split for good, the same model every time."""
from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits as load_sklearn_digits

from sparkq.demo.digits import PREPROCESS, DigitsNet, load_digits, train_digits_net, write_images
from sparkq.images.preprocess import preprocess_array
from sparkq.quantization.normalization import normalize
from tests.models import digits, digits_net


def test_every_scan_is_there_once() -> None:
    """1297 to train on, 500 held out, none in both, each with its own label."""
    train, held_out = load_digits()
    assert (len(train.images), len(held_out.images)) == (1297, 500)
    source = load_sklearn_digits()
    gray = np.round(source.images * 255 / 16).astype(np.uint8)
    expected = sorted((image.tobytes(), int(label)) for image, label in zip(gray, source.target, strict=True))
    found = [
        (image[:, :, 0].tobytes(), int(label)) for part in (train, held_out)
        for image, label in zip(part.images, part.labels, strict=True)
    ]
    assert sorted(found) == expected


def test_images_are_gray_rgb_in_full_range() -> None:
    train, _ = digits()
    assert train.images.dtype == np.uint8 and train.images.shape[1:] == (8, 8, 3)
    assert np.array_equal(train.images[..., 0], train.images[..., 2])
    assert (train.images.min(), train.images.max()) == (0, 255)


def test_the_split_is_the_same_every_time() -> None:
    assert np.array_equal(load_digits()[1].images, load_digits()[1].images)
    assert set(load_digits()[1].labels) == set(range(10))


def test_training_gives_the_same_model_and_disturbs_no_random_numbers() -> None:
    train, _ = digits()
    torch.manual_seed(3)
    expected = torch.rand(2)
    models = []
    for seed in (3, 4):
        torch.manual_seed(seed)
        models.append(train_digits_net(train, epochs=1).state_dict())
        if seed == 3:
            assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(tensor, models[1][name]) for name, tensor in models[0].items())


def test_it_reads_digits() -> None:
    """After three of the demonstration's twelve epochs."""
    held_out = digits()[1]
    pixels = torch.from_numpy(np.stack([preprocess_array(image, PREPROCESS) for image in held_out.images]))
    model = digits_net()
    assert not model.training
    with torch.no_grad():
        answers = model(normalize(pixels, PREPROCESS)).argmax(1).numpy()
    assert (answers == held_out.labels).mean() > 0.93


def test_network_takes_any_batch() -> None:
    assert DigitsNet()(torch.zeros(3, 3, 32, 32)).shape == (3, 10)


def test_written_images_are_the_scans(tmp_path: Path) -> None:
    held_out = digits()[1]
    labels_csv = write_images(held_out, tmp_path / "new" / "folder")
    rows = list(csv.DictReader(labels_csv.read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 500 == len(list((labels_csv.parent / "images").iterdir()))
    for row, image, label in zip(rows, held_out.images, held_out.labels, strict=True):
        with Image.open(labels_csv.parent / row["path"]) as written:
            assert written.mode == "L" and written.format == "PNG"
            assert np.array_equal(np.asarray(written), image[:, :, 0])
        assert int(row["label"]) == label
