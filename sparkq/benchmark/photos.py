"""The images of a benchmark: the user's, or photographs made of the two that ship inside scikit-learn."""
from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from sparkq.errors import InputError

__all__ = ["image_files", "linked_folder", "write_photos"]

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_PHOTOS = 64
_SIZE = (500, 375)
_QUALITY = 92
_SEED = 0


def image_files(folder: str) -> list[Path]:
    """Return the image files under a local folder, by name.

    Raises
    ------
    InputError
        If there is none.
    """
    files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    if not files:
        raise InputError(
            f"input {folder}: expected a local folder with images; got none.",
            hint="leave --input out for generated photographs.",
        )
    return files


def write_photos(folder: Path, *, count: int = _PHOTOS) -> None:
    """Write `count` JPEGs of 500 x 375 pixels: cut from two real photographs at random, mirrored, brighter and darker.

    Raises
    ------
    InputError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_sample_images
    except ImportError as error:
        raise InputError(
            "benchmark: expected --input, or scikit-learn, of whose photographs it makes its own; got neither.",
            hint="pip install 'sparkq[demo]'.",
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(_SEED)
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        # They are 640 x 427, wider than what is cut out of them.
        height = int(random.uniform(0.6, 1.0) * photograph.height)
        width = height * _SIZE[0] // _SIZE[1]
        left, top = (int(random.integers(0, room + 1)) for room in (photograph.width - width, photograph.height - height))
        image = photograph.resize(_SIZE, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        brightness = random.uniform(0.7, 1.2)
        image.point(lambda level, brightness=brightness: min(255, int(level * brightness))).save(
            folder / f"{number:03d}.jpg", quality=_QUALITY,
        )


def linked_folder(files: list[Path], count: int, folder: Path) -> Path:
    """Make a folder with `count` images: links to `files`, again and again if there are fewer."""
    folder.mkdir(parents=True)
    for number in range(count):
        source = files[number % len(files)]
        os.symlink(source.absolute(), folder / f"{number:07d}{source.suffix.lower()}")
    return folder
