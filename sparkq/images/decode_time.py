"""The time that decoding an image will take at most, known from its header and markers.

Seconds are twice what Pillow 12 with libjpeg-turbo 3.1, libtiff 4.7 and libwebp 1.6 was seen to take on an Intel Xeon with AMX,
at the content that takes longest for its size: noise, and scans made of nothing but refinements.
"""
from __future__ import annotations

from sparkq.images.coded_image import CodedImage
from sparkq.images.tiff_pieces import TiffPieces

__all__ = ["decoding_seconds"]

_PIXEL_SECONDS = 60e-9
_WEBP_PIXEL_SECONDS = 150e-9
_JPEG_PIXEL_SECONDS, _JPEG_BYTE_SECONDS, _SCANNED_SAMPLE_SECONDS = 20e-9, 40e-9, 4e-9
_SCAN, _SCANS_LOOKED_AT = b"\xff\xda", 10_000
_RUN_PIXEL_SECONDS, _RUN_BYTE_SECONDS = 0.2e-6, 0.4e-6
_PIECE_SECONDS, _PLAIN_BYTE_SECONDS, _LIBTIFF_BYTE_SECONDS, _LZMA_BYTE_SECONDS = 12e-6, 1e-9, 15e-9, 60e-9


def decoding_seconds(coded: CodedImage) -> float:
    """Seconds that decoding an image to RGB takes at most, from where it is opened."""
    if coded.is_jpeg:
        samples = _scanned_samples(coded) if coded.has_scans else coded.samples_a_pixel
        scans = _SCANNED_SAMPLE_SECONDS * samples * coded.real_pixels
        return _JPEG_PIXEL_SECONDS * coded.pixels + _JPEG_BYTE_SECONDS * len(coded.data) + scans
    if coded.image.format == "WEBP":
        return _WEBP_PIXEL_SECONDS * coded.pixels
    if coded.is_run_length_coded:
        return _RUN_PIXEL_SECONDS * coded.pixels + _RUN_BYTE_SECONDS * len(coded.data)
    return _PIXEL_SECONDS * coded.pixels + (0 if coded.pieces is None else _tiff_seconds(coded.pieces, coded.data))


def _scanned_samples(coded: CodedImage) -> float:
    """Samples a pixel that all scans together go over: each over those of its components, whatever it adds to them."""
    file = coded.data if isinstance(coded.data, bytes) else bytes(coded.data)
    # The marker is nowhere else: in coded data 255 is followed by 0.
    scans = file.count(_SCAN)
    if scans > _SCANS_LOOKED_AT:
        return scans * coded.samples_a_pixel
    area = max(layer[1] for layer in coded.layers) * max(layer[2] for layer in coded.layers)
    # Where two have one name, the larger.
    shares = {name: share / max(area, 1) for share, name in sorted((layer[1] * layer[2], layer[0]) for layer in coded.layers)}
    total, place = 0.0, file.find(_SCAN)
    while place >= 0:
        components = file[place + 5:place + 5 + 2 * file[place + 4]:2] if place + 4 < len(file) else b""
        total += sum(shares.get(component, 0) for component in components)
        place = file.find(_SCAN, place + 2)
    return total


def _tiff_seconds(pieces: TiffPieces, data: bytes | memoryview) -> float:
    if pieces.is_plain:
        pace = _PLAIN_BYTE_SECONDS
    else:
        pace = _LZMA_BYTE_SECONDS if pieces.is_lzma else _LIBTIFF_BYTE_SECONDS * pieces.scans(data)
    return pieces.count * (_PIECE_SECONDS + pace * pieces.piece_bytes)
