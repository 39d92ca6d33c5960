"""Many images on one sheet."""
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from sparkq.config.checks import check_positive
from sparkq.drawing.boxes import drawn_boxes, upright_picture, with_boxes
from sparkq.drawing.lettering import font_of, line_height, wrapped
from sparkq.errors import ImageError, InputError

__all__ = ["contact_sheet"]

_BLACK, _WHITE, _GRAY, _PALE = (0, 0, 0), (255, 255, 255), (110, 110, 110), (225, 225, 225)
_CAPTION_LINES = 3
_GAP = 8


def contact_sheet(
    images: Iterable[Any], captions: Iterable[str] | None = None, *, detections: Iterable[Sequence[Any] | None] | None = None,
    columns: int = 4, thumbnail_pixels: int = 160,
) -> npt.NDArray[np.uint8]:
    """Many images on one sheet, row by row. On the driver.

    Parameters
    ----------
    images : iterable
        Each as for `draw_detections`, or None: an empty frame stands there. So does one with the error's code for bytes that
        cannot be decoded.
    captions : iterable of str, optional
        One an image, shown below it on up to three lines.
    detections : iterable, optional
        One sequence an image, as for `draw_detections`, in pixels of the image and not of its thumbnail.
    columns : int
        Images a row.
    thumbnail_pixels : int
        Width and height that each image is fitted into.

    Returns
    -------
    ndarray of uint8 [H, W, 3]
        RGB.

    Raises
    ------
    InputError
        If there is no image, or not one caption or sequence of detections an image.
    ConfigError
        If `columns` or `thumbnail_pixels` is too small.
    """
    check_positive("columns", columns)
    check_positive("thumbnail_pixels", thumbnail_pixels)
    tiles = [_Tile(item, thumbnail_pixels) for item in images]
    if not tiles:
        raise InputError("contact sheet: expected at least one image; got none.")
    for tile, boxes in zip(tiles, _one_each(detections, tiles, "detections"), strict=True):
        tile.draw(boxes)
    font = font_of(max(11, thumbnail_pixels // 13))
    texts = [wrapped(text or "", font, thumbnail_pixels, lines=_CAPTION_LINES) for text in _one_each(captions, tiles, "captions")]
    spacing = line_height(font)
    height = thumbnail_pixels + _GAP + spacing * max(len(lines) for lines in texts)
    used = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / used)
    sheet = Image.new("RGB", (_GAP + used * (thumbnail_pixels + _GAP), _GAP + rows * (height + _GAP)), _WHITE)
    draw = ImageDraw.Draw(sheet)
    for index, (tile, lines) in enumerate(zip(tiles, texts, strict=True)):
        left, top = _GAP + index % used * (thumbnail_pixels + _GAP), _GAP + index // used * (height + _GAP)
        sheet.paste(tile.framed(), (left, top))
        for number, line in enumerate(lines):
            draw.text((left, top + thumbnail_pixels + 2 + number * spacing), line, fill=_BLACK, font=font)
    return np.asarray(sheet)


class _Tile:
    """One image of a sheet, fitted into a square; or why there is none."""

    def __init__(self, image: Any, pixels: int) -> None:
        self.pixels = pixels
        self.missing = "no image" if image is None else ""
        picture, real = Image.new("RGB", (1, 1)), (1, 1)
        if image is not None:
            try:
                picture, real = upright_picture(image, enough=(pixels, pixels))
            except ImageError as error:
                self.missing = error.code
        larger = pixels / max(picture.size)
        # Whole multiples keep small images as sharp as they are.
        factor = math.floor(larger) if larger >= 1 else larger
        size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
        resampling = Image.Resampling.NEAREST if larger >= 1 else Image.Resampling.LANCZOS
        self.picture = picture.resize(size, resampling)
        self.scale = size[0] / real[1], size[1] / real[0]

    def draw(self, detections: Sequence[Any] | None) -> None:
        """Boxes are drawn on the thumbnail, so that their names can be read."""
        if not self.missing:
            self.picture = with_boxes(self.picture, drawn_boxes(detections, self.scale, 0.0))

    def framed(self) -> Image.Image:
        """A square."""
        square = Image.new("RGB", (self.pixels, self.pixels), _PALE)
        if not self.missing:
            square.paste(self.picture, ((self.pixels - self.picture.width) // 2, (self.pixels - self.picture.height) // 2))
            return square
        draw = ImageDraw.Draw(square)
        last = self.pixels - 1
        draw.line((0, 0, last, last), fill=_WHITE, width=2)
        draw.line((0, last, last, 0), fill=_WHITE, width=2)
        draw.rectangle((0, 0, last, last), outline=_GRAY)
        middle = self.pixels / 2
        font = font_of(max(11, self.pixels // 13))
        lines = wrapped(self.missing.replace("_", " "), font, self.pixels - 8, lines=_CAPTION_LINES)
        draw.multiline_text((middle, middle), "\n".join(lines), fill=_BLACK, font=font, anchor="mm", align="center")
        return square


def _one_each(values: Iterable[Any] | None, tiles: Sequence[_Tile], what: str) -> list[Any]:
    if values is None:
        return [None] * len(tiles)
    listed = list(values)
    if len(listed) != len(tiles):
        raise InputError(f"contact sheet: expected {what}, one an image, {len(tiles)}; got {len(listed)}.")
    return listed
