"""Make small pictures of picked rows, opened when the report is made, as JPEG in ``data:`` uris."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from PIL import Image

from sparkq.config import DecodeLimits
from sparkq.config.detection import BOX_CORNERS
from sparkq.drawing import draw_detections
from sparkq.errors import ImageError, InputError
from sparkq.images.decode import open_image
from sparkq.images.read import read_object, read_objects
from sparkq.report.pictures import data_uri
from sparkq.report.run.rows import PickedRow
from sparkq.storage import shown

__all__ = ["Thumbnail", "thumbnails"]

_PIXELS = 256
# People wait for a report; a worker's six attempts are for a job.
_ATTEMPTS = 2


@dataclass(frozen=True)
class Thumbnail:
    """A picture, or why there is none.

    Parameters
    ----------
    uri : str, optional
        ``data:image/jpeg;base64,...``.
    width, height : int
        Of the picture in it, in pixels.
    failure : str, optional
        What to say in place of it.
    """

    uri: str | None
    width: int = 0
    height: int = 0
    failure: str | None = None


def thumbnails(rows: Sequence[PickedRow], *, limits: DecodeLimits) -> list[Thumbnail]:
    """Make a thumbnail for each row, or say why there is none; never raises for an image.

    Parameters
    ----------
    rows : sequence of PickedRow
        Their images are read where they lie now, many at once.
    limits : DecodeLimits
        The run's.
    """
    readable = [row for row in rows if row.path is not None]
    contents = read_objects(
        (row.path for row in readable), max_bytes=limits.max_image_bytes, read=partial(read_object, attempts=_ATTEMPTS),
    )
    return list(_made(rows, contents, limits))


def _made(
    rows: Sequence[PickedRow], contents: Iterator[bytes | ImageError], limits: DecodeLimits,
) -> Iterator[Thumbnail]:
    for row in rows:
        content = None if row.path is None else next(contents)
        if content is None:
            yield Thumbnail(None, failure="the rows have no path to open it by")
        elif isinstance(content, ImageError):
            yield Thumbnail(None, failure=f"cannot be read any more: {shown(content.message)}")
        else:
            try:
                yield _thumbnail(content, row, limits)
            except (ImageError, InputError) as error:
                yield Thumbnail(None, failure=f"cannot be shown: {error.message}")


def _thumbnail(content: bytes, row: PickedRow, limits: DecodeLimits) -> Thumbnail:
    picture, (height, _) = open_image(content, limits=limits, enough=(_PIXELS, _PIXELS))
    picture.thumbnail((_PIXELS, _PIXELS))
    if row.detections:
        # Drawn after the image was made small: lines stay lines, and names can be read.
        picture = Image.fromarray(draw_detections(picture, [_scaled(box, picture.height / height) for box in row.detections]))
    return Thumbnail(data_uri(picture), picture.width, picture.height)


def _scaled(box: Mapping[str, Any], scale: float) -> dict[str, Any]:
    return {key: value * scale if key in BOX_CORNERS else value for key, value in box.items()}
