"""The time that decoding an image will take at most, known from its header and markers.

Seconds are twice what Pillow 12 with libjpeg-turbo 3.1, libtiff 4.7 and libwebp 1.6 was seen to take on an AMD EPYC (Zen 4),
at the content that takes longest for its size: noise, and scans made of nothing but refinements.
"""
from __future__ import annotations

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from sparkq.images.decode_memory import has_scans, is_run_length_coded, samples_a_pixel
from sparkq.images.tiff_pieces import tiff_pieces

__all__ = ["decoding_seconds"]

_PIXEL_SECONDS = 60e-9
_WEBP_PIXEL_SECONDS = 150e-9
_JPEG_PIXEL_SECONDS, _JPEG_BYTE_SECONDS, _SCANNED_SAMPLE_SECONDS = 20e-9, 40e-9, 4e-9
_SCAN, _SCANS_LOOKED_AT = b"\xff\xda", 10_000
_RUN_PIXEL_SECONDS, _RUN_BYTE_SECONDS = 0.2e-6, 0.4e-6
_PIECE_SECONDS, _PLAIN_BYTE_SECONDS, _LIBTIFF_BYTE_SECONDS, _LZMA_BYTE_SECONDS = 12e-6, 1e-9, 15e-9, 60e-9


def decoding_seconds(image: Image.Image, data: bytes | memoryview, *, real_pixels: int) -> float:
    """Seconds that decoding `image` to RGB takes at most, from where it is opened.

    Parameters
    ----------
    image : Image
        Opened, not loaded; a JPEG after `draft`.
    data : bytes or memoryview
        The file.
    real_pixels : int
        Of the file, where `image` is to be decoded at reduced scale.
    """
    pixels = image.width * image.height
    if image.format in ("JPEG", "MPO"):
        samples = _scanned_samples(image, data) if has_scans(image, data) else samples_a_pixel(image)
        coded = _SCANNED_SAMPLE_SECONDS * samples * real_pixels
        return _JPEG_PIXEL_SECONDS * pixels + _JPEG_BYTE_SECONDS * len(data) + coded
    if image.format == "WEBP":
        return _WEBP_PIXEL_SECONDS * pixels
    if isinstance(image, TiffImageFile):
        return _PIXEL_SECONDS * pixels + _tiff_seconds(image, data)
    if is_run_length_coded(image):
        return _RUN_PIXEL_SECONDS * pixels + _RUN_BYTE_SECONDS * len(data)
    return _PIXEL_SECONDS * pixels


def _scanned_samples(image: Image.Image, data: bytes | memoryview) -> float:
    """Samples a pixel that all scans together go over: each over those of its components, whatever it adds to them."""
    file = data if isinstance(data, bytes) else bytes(data)
    # The marker is nowhere else: in coded data 255 is followed by 0.
    scans = file.count(_SCAN)
    if scans > _SCANS_LOOKED_AT:
        return scans * samples_a_pixel(image)
    layers: list[tuple[int, int, int, int]] = getattr(image, "layer", [])
    area = max(layer[1] for layer in layers) * max(layer[2] for layer in layers)
    # Where two have one name, the larger.
    shares = {name: share / max(area, 1) for share, name in sorted((layer[1] * layer[2], layer[0]) for layer in layers)}
    total, place = 0.0, file.find(_SCAN)
    while place >= 0:
        components = file[place + 5:place + 5 + 2 * file[place + 4]:2] if place + 4 < len(file) else b""
        total += sum(shares.get(component, 0) for component in components)
        place = file.find(_SCAN, place + 2)
    return total


def _tiff_seconds(image: TiffImageFile, data: bytes | memoryview) -> float:
    pieces = tiff_pieces(image)
    if pieces.is_plain:
        pace = _PLAIN_BYTE_SECONDS
    else:
        pace = _LZMA_BYTE_SECONDS if pieces.is_lzma else _LIBTIFF_BYTE_SECONDS * pieces.scans(data)
    return pieces.count * (_PIECE_SECONDS + pace * pieces.piece_bytes)
