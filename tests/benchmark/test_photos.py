"""The images that a benchmark makes, and the folders that it links."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparkq.benchmark.photos import image_files, linked_folder, write_photos
from sparkq.errors import InputError


def test_photographs(tmp_path: Path) -> None:
    """Different ones, of the size and about the weight of an ordinary photograph; the same ones every time."""
    for name in ("one", "two"):
        write_photos(tmp_path / name, count=6)
    files = image_files(str(tmp_path / "one"))
    contents = [path.read_bytes() for path in files]
    assert contents == [path.read_bytes() for path in image_files(str(tmp_path / "two"))]
    assert len(set(contents)) == 6 and all(20_000 < len(content) < 200_000 for content in contents)
    for path in files:
        with Image.open(path) as image:
            assert (image.format, image.size) == ("JPEG", (500, 375))
            assert np.asarray(image).std() > 20


def test_links_go_round(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", count=2)
    files = image_files(str(tmp_path / "photos"))
    linked = linked_folder(files, 5, tmp_path / "links")
    assert [path.resolve() for path in sorted(linked.iterdir())] == [files[number % 2].resolve() for number in range(5)]


def test_no_images(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\n")
    with pytest.raises(InputError, match="images"):
        image_files(str(tmp_path))
