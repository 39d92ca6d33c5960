"""Text of a size in pixels, and where it fits."""
from __future__ import annotations

from typing import Any

from PIL import ImageFont

__all__ = ["font_of", "line_height", "shortened", "wrapped"]


def font_of(pixels: int) -> Any:
    """The font that Pillow brings with it: no file of the machine is needed, and a picture is the same everywhere."""
    return ImageFont.load_default(pixels)


def line_height(font: Any) -> int:
    """Pixels from one line to the next."""
    ascent, descent = font.getmetrics()
    return int(ascent + descent)


def shortened(text: str, font: Any, width: float) -> str:
    """`text`, or as much of it as fits into `width` pixels with dots behind it."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def wrapped(text: str, font: Any, width: float, *, lines: int) -> list[str]:
    """Lines that fit into `width` pixels, at most so many; what is too much ends in dots."""
    found: list[str] = []
    for paragraph in text.splitlines():
        line = ""
        for character in paragraph:
            if font.getlength(line + character) <= width or not line:
                line += character
                continue
            # At the last space, where there is one; else within the word, as paths have none.
            head, space, tail = line.rpartition(" ")
            found.append(head if space else line)
            line = (tail if space else "") + character
        found.append(line)
    if len(found) > lines:
        rest = " ".join(found[lines - 1:])
        found = [*found[:lines - 1], shortened(rest, font, width)]
    return found
