"""Pictures that stand in a page itself, as ``data:`` uris."""
from __future__ import annotations

import base64
import io

from PIL import Image

__all__ = ["MAX_PICTURE_BYTES", "data_uri"]

MAX_PICTURE_BYTES = 36_000
"""The most that one JPEG takes: three sheets of twelve stay below 1.8 MB in the page, whatever the pictures show."""

_QUALITIES = (80, 60, 40, 20)
_TINY_PIXELS = 64


def data_uri(picture: Image.Image, *, exact: bool = False) -> str:
    """Encode a picture as a ``data:`` uri, at most `MAX_PICTURE_BYTES` long.

    Parameters
    ----------
    picture : Image
        RGB.
    exact : bool
        Tiny pictures, of which each pixel is seen, lose nothing.
    """
    stream = io.BytesIO()
    if exact and max(picture.size) <= _TINY_PIXELS:
        picture.save(stream, "PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
    for quality in _QUALITIES:
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=quality, optimize=True)
        if len(stream.getvalue()) <= MAX_PICTURE_BYTES:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
