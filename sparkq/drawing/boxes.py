"""Boxes with names on one image."""
from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageOps

from sparkq.config.detection import BOX_CORNERS
from sparkq.drawing.lettering import font_of, line_height, shortened
from sparkq.errors import InputError
from sparkq.images.decode import open_image

__all__ = ["DrawnBox", "draw_detections", "drawn_boxes", "upright_picture", "with_boxes"]

# Okabe and Ito 2008, "Color Universal Design": told apart also by colour-blind readers. Black is left out, as edges are black.
_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class DrawnBox:
    """One box in pixels of the picture that it is drawn on."""

    box: _Box
    text: str
    colour: tuple[int, int, int]


def draw_detections(image: Any, detections: Sequence[Any] | None, *, minimum_score: float = 0.0) -> npt.NDArray[np.uint8]:
    """Draw boxes with their names and scores on an image. On the driver.

    Parameters
    ----------
    image : ndarray of uint8 [H, W, 3], PIL image or bytes
        RGB pixels, or an encoded file; EXIF rotation is applied, as it is before a prediction.
    detections : sequence of mapping or Row, optional
        As in the column ``detections``: ``x_min``, ``y_min``, ``x_max``, ``y_max`` in pixels of the upright image, and where
        there are any ``label``, ``label_name`` and ``score``. None, as in a row with an error, is no box.
    minimum_score : float
        Boxes with a lower score are left out.

    Returns
    -------
    ndarray of uint8 [H, W, 3]
        RGB, upright. The best score lies on top. Colours repeat after seven labels; the names tell those apart.

    Raises
    ------
    InputError
        If `image` is none of these, or a box has no finite coordinates.
    ImageError
        If the bytes cannot be decoded.
    """
    picture, _ = upright_picture(image)
    return np.asarray(with_boxes(picture, drawn_boxes(detections, (1.0, 1.0), minimum_score)))


def upright_picture(image: Any, enough: tuple[int, int] | None = None) -> tuple[Image.Image, tuple[int, int]]:
    """An RGB image, and the (height, width) that it has when decoded whole."""
    if isinstance(image, (bytes, bytearray, memoryview)):
        return open_image(bytes(image), enough=enough)
    if isinstance(image, Image.Image):
        picture = ImageOps.exif_transpose(image).convert("RGB")
        return picture, (picture.height, picture.width)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size:
        return Image.fromarray(image), (image.shape[0], image.shape[1])
    shape = f" {image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else ""
    raise InputError(f"image: expected uint8 [H, W, 3], a PIL image or bytes; got {type(image).__name__}{shape}.")


def drawn_boxes(detections: Sequence[Any] | None, scale: tuple[float, float], minimum_score: float) -> list[DrawnBox]:
    """Choose the boxes to draw, in the order of drawing: the best score last."""
    chosen = [item for item in detections or () if _field(item, "score") is None or item["score"] >= minimum_score]
    chosen.sort(key=lambda item: math.inf if _field(item, "score") is None else item["score"])
    return [DrawnBox(_box(item, scale), _text(item), _colour(item)) for item in chosen]


def _field(item: Mapping[str, Any], name: str) -> Any:
    # A pyspark Row has no get.
    return item[name] if name in item else None


def _box(item: Mapping[str, Any], scale: tuple[float, float]) -> _Box:
    values = [_field(item, name) for name in BOX_CORNERS]
    if not all(isinstance(value, (int, float, np.number)) and math.isfinite(value) for value in values):
        raise InputError(f"detection: expected finite {', '.join(BOX_CORNERS)}; got {values}.")
    x_min, y_min, x_max, y_max = values
    return x_min * scale[0], y_min * scale[1], x_max * scale[0], y_max * scale[1]


def _name(item: Mapping[str, Any]) -> str:
    name, label = _field(item, "label_name"), _field(item, "label")
    return str(name) if name is not None else "" if label is None else str(label)


def _text(item: Mapping[str, Any]) -> str:
    score = _field(item, "score")
    return " ".join(part for part in (_name(item), "" if score is None else f"{score:.2f}") if part)


def _colour(item: Mapping[str, Any]) -> tuple[int, int, int]:
    """The same for a label in every picture."""
    label = _field(item, "label")
    return _COLOURS[(zlib.crc32(_name(item).encode()) if label is None else int(label)) % len(_COLOURS)]


def with_boxes(picture: Image.Image, drawn: Sequence[DrawnBox]) -> Image.Image:
    """A copy with `drawn` on it, in this order; lines and letters are as large as befits it."""
    picture = picture.copy()
    draw = ImageDraw.Draw(picture)
    shorter = min(picture.size)
    line = max(2, round(shorter / 200))
    font = font_of(min(32, max(11, round(shorter / 28))))
    for one in drawn:
        x_min, y_min, x_max, y_max = _inside(one.box, picture.size)
        # A dark edge around the colour, so that it shows on every ground.
        draw.rectangle((x_min - 1, y_min - 1, x_max + 1, y_max + 1), outline=_BLACK, width=line + 2)
        draw.rectangle((x_min, y_min, x_max, y_max), outline=one.colour, width=line)
    names: list[tuple[DrawnBox, str, _Box]] = []
    # The best chooses first where its name stands, and is drawn last.
    for one in reversed(drawn):
        text = shortened(one.text, font, picture.width - 6)
        size = font.getlength(text) + 6, line_height(font) + 1
        place = _place(one, size, picture.size, [place for _, _, place in names])
        if text and place is not None:
            names.append((one, text, place))
    for one, text, place in reversed(names):
        draw.rectangle(place, fill=one.colour, outline=_BLACK)
        draw.text((place[0] + 3, (place[1] + place[3]) / 2), text, fill=_readable(one.colour), font=font, anchor="lm")
    return picture


def _inside(box: _Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Whole pixels within the picture, the first not behind the last."""
    columns, rows = (sorted((box[first], box[first + 2])) for first in (0, 1))
    x_min, x_max = (min(max(round(value), 0), size[0] - 1) for value in (columns[0], columns[1] - 1))
    y_min, y_max = (min(max(round(value), 0), size[1] - 1) for value in (rows[0], rows[1] - 1))
    return x_min, y_min, max(x_min, x_max), max(y_min, y_max)


def _place(one: DrawnBox, size: tuple[float, float], picture: tuple[int, int], taken: Sequence[_Box]) -> _Box | None:
    """Find the place of a name of that size: above its box, else inside or below it, where no other is. None on tiny pictures."""
    (width, height), (x_min, y_min, _, y_max) = size, _inside(one.box, picture)
    left = max(0.0, min(x_min - 1, picture[0] - width))
    tops = [y_min - height, y_min, y_max + 1, y_max - height]
    places = [(left, top, left + width, top + height) for top in (*tops, 0) if 0 <= top and top + height <= picture[1]]
    if not places or width > picture[0]:
        return None
    return next((
        place for place in places if not any(
            place[0] < other[2] and other[0] < place[2] and place[1] < other[3] and other[1] < place[3] for other in taken
        )
    ), places[0])


def _readable(ground: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever has more contrast (ITU-R BT.709 luma)."""
    return _BLACK if 0.2126 * ground[0] + 0.7152 * ground[1] + 0.0722 * ground[2] > 110 else _WHITE
