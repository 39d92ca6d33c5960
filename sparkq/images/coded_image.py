"""`CodedImage`: an image that is opened and not decoded, by which its cost in memory and time is estimated."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from sparkq.images.tiff_pieces import TiffPieces, tiff_pieces

__all__ = ["CodedImage"]

_START_OF_SCAN, _FIRST_SEGMENT = 0xDA, 2


@dataclass(frozen=True, eq=False)
class CodedImage:
    """An image as Pillow has opened it, and its file.

    Parameters
    ----------
    image : Image
        Opened, not loaded; a JPEG after `draft`.
    data : bytes or memoryview
        The file.
    real_pixels : int
        Of the file, where `image` is to be decoded at reduced scale.
    """

    image: Image.Image
    data: bytes | memoryview
    real_pixels: int

    @property
    def pixels(self) -> int:
        """How many pixels it will have."""
        return self.image.width * self.image.height

    @property
    def is_jpeg(self) -> bool:
        """Whether it is one JPEG, or the first of several in a file."""
        return self.image.format in ("JPEG", "MPO")

    @property
    def is_run_length_coded(self) -> bool:
        """Whether it is a BMP that Pillow decodes in Python, run by run."""
        return any(tile[0] == "bmp_rle" for tile in getattr(self.image, "tile", []))

    @cached_property
    def pieces(self) -> TiffPieces | None:
        """The strips or tiles of a TIFF; None for other formats."""
        return tiff_pieces(self.image) if isinstance(self.image, TiffImageFile) else None

    @property
    def layers(self) -> list[tuple[int, int, int, int]]:
        """Each component of a JPEG: its name, how many samples it has in both directions, and its table."""
        found: list[tuple[int, int, int, int]] = getattr(self.image, "layer", [])
        return found

    @property
    def samples_a_pixel(self) -> float:
        """Samples a pixel of a JPEG, after subsampling: 1.5 for 4:2:0."""
        widest, highest = max((layer[1] for layer in self.layers), default=1), max((layer[2] for layer in self.layers), default=1)
        return sum(layer[1] * layer[2] for layer in self.layers) / max(widest * highest, 1)

    @cached_property
    def has_scans(self) -> bool:
        """Whether a JPEG is decoded in several scans over its pixels."""
        return bool(self.layers) and (
            "progressive" in self.image.info or _components_of_first_scan(self.data) < len(self.layers)
        )


def _components_of_first_scan(file: bytes | memoryview) -> int:
    # Arrow's buffers give signed bytes.
    data = memoryview(file).cast("B")
    place = _FIRST_SEGMENT
    while place + 4 < len(data):
        if data[place] != 0xFF:
            break
        if data[place + 1] == 0xFF:  # a fill byte
            place += 1
        elif data[place + 1] == _START_OF_SCAN:
            return data[place + 4]
        else:
            place += 2 + int.from_bytes(data[place + 2:place + 4], "big")
    return 0
