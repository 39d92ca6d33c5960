"""Decode encoded images: every one becomes right-side-up RGB pixels, or an `ImageError` with one of `sparkq.error_codes`."""
from __future__ import annotations

import contextlib
import io
import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from sparkq.config import DEFAULT_MAX_IMAGE_PIXELS, PIXEL_LIMIT_ONLY, DecodeLimits
from sparkq.error_codes import ErrorCode
from sparkq.errors import ImageError
from sparkq.images.coded_image import CodedImage
from sparkq.images.decode_memory import decoding_bytes
from sparkq.images.decode_meter import DecodeMeter
from sparkq.images.decode_time import decoding_seconds
from sparkq.images.opening_cost import add_opening
from sparkq.images.tag_directory import add_directories

__all__ = ["decode_image", "file_too_large", "open_image"]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

# EXIF 2.32, tag 0x0112: what makes each stored orientation right-side-up.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_ORIENTATION, _EXIF_PREFIX = 0x0112, b"Exif\0\0"

_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, EOFError,
    NotImplementedError, ZeroDivisionError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError, Warning,
)
_pillow_limit = threading.Lock()

# How files of these formats begin; BMP's two letters are too few to tell it from text.
_SIGNATURES = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+",
)
_TIFF_PHOTOMETRIC, _TIFF_BITS, _WHITE_IS_ZERO = 262, 258, 0


def decode_image(
    data: bytes | memoryview | None, *, max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS,
    enough: tuple[int, int] | None = None,
) -> npt.NDArray[np.uint8]:
    """Decode one image.

    Parameters
    ----------
    data : bytes or memoryview
        An encoded JPEG, PNG, WebP, GIF (first frame), BMP or TIFF file.
    max_image_pixels : int
        More pixels are an error before any is decoded.
    enough : (int, int), optional
        (height, width) in pixels below which the image need not be decoded larger; see `open_image`.

    Returns
    -------
    ndarray of uint8 [height, width, 3]
        RGB, upright.

    Raises
    ------
    ImageError
        If it cannot be decoded; see `sparkq.error_codes.ErrorCode`.
    """
    return np.asarray(open_image(data, limits=replace(PIXEL_LIMIT_ONLY, max_image_pixels=max_image_pixels), enough=enough)[0])


def open_image(
    data: bytes | memoryview | None, *, limits: DecodeLimits = PIXEL_LIMIT_ONLY, enough: tuple[int, int] | None = None,
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode one image to an upright RGB Pillow image, and tell the (height, width) that it really has.

    A JPEG with at least twice as many pixels as `enough` in both directions is decoded at 1/2, 1/4 or 1/8 (libjpeg's
    scaled inverse DCT), never below twice `enough`, so that the antialiased resize that follows still has its input.
    """
    data = _checked(data, limits)
    meter = DecodeMeter(limits, file_bytes=len(data))
    try:
        add_opening(meter, data)
        image = _open(data)
        pixels = image.width * image.height
        if pixels > limits.max_image_pixels:
            raise ImageError(
                ErrorCode.IMAGE_TOO_LARGE,
                f"{image.width} x {image.height} are {pixels} pixels; expected at most {limits.max_image_pixels} "
                "(max_image_pixels)",
            )
        size = (image.height, image.width)
        is_jpeg = image.format in ("JPEG", "MPO")
        if enough is not None and is_jpeg:
            longest = 2 * max(enough)
            image.draft(None, (longest, longest))
        _add_decoding(meter, CodedImage(image, data, pixels))
        _load(image)
        orientation = _orientation(image, meter)
        rgb = _to_rgb(image)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise _unidentified_error(data) from error
    except MemoryError as error:
        raise ImageError(ErrorCode.IMAGE_TOO_LARGE, "decoding it needs more memory than the worker has") from error
    except _DECODER_ERRORS as error:
        raise _decoder_error(error, data) from error
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
        size = size if orientation < 5 else (size[1], size[0])
    # All others are decoded whole; and older Pillow (10.3) tells a TIFF's size as stored until it is loaded.
    return rgb, size if is_jpeg else (rgb.height, rgb.width)


def _checked(data: bytes | memoryview | None, limits: DecodeLimits) -> bytes | memoryview:
    if data is None:
        raise ImageError(ErrorCode.MISSING_CONTENT, "the content is null; expected an encoded image")
    if len(data) == 0:
        raise ImageError(ErrorCode.EMPTY_CONTENT, "the file has 0 bytes; expected an encoded image")
    if len(data) > limits.max_image_bytes:
        raise file_too_large(len(data), limits.max_image_bytes)
    return data


def file_too_large(size: int, max_image_bytes: int) -> ImageError:
    """The error of a file that has too many bytes; whoever has not read it yet need not read it."""
    message = f"the file has {size} bytes; expected at most {max_image_bytes} (max_image_bytes)"
    return ImageError(ErrorCode.IMAGE_TOO_LARGE, message)


def _add_decoding(meter: DecodeMeter, coded: CodedImage) -> None:
    image = coded.image
    kind = f"progressive {image.format}" if "progressive" in image.info else image.format
    meter.add(
        f"this {kind} of {coded.real_pixels} pixels", seconds=decoding_seconds(coded), memory_bytes=decoding_bytes(coded),
    )


@contextlib.contextmanager
def _without_pillow_limit() -> Iterator[None]:
    # Pillow's own limit is a process-wide number. Ours is per call and checked right after the header was read, so
    # Pillow's is lifted for just that moment.
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _open(data: bytes | memoryview) -> Image.Image:
    with _without_pillow_limit():
        return Image.open(io.BytesIO(data), formats=FORMATS)


def _load(image: Image.Image) -> None:
    # Only the TIFF decoder asks for Pillow's limit once more.
    with _without_pillow_limit() if image.format == "TIFF" else contextlib.nullcontext():
        image.load()


def _unidentified_error(data: bytes | memoryview) -> ImageError:
    start = bytes(data[:12])
    if start.startswith(_SIGNATURES) or (start[:4], start[8:]) == (b"RIFF", b"WEBP"):
        return _decoder_error(ValueError("its header cannot be read"), data)
    return ImageError(ErrorCode.NOT_AN_IMAGE, f"expected one of {', '.join(FORMATS)}; got bytes that begin with {start[:8]!r}")


def _lacks_its_end(data: bytes | memoryview) -> bool:
    """Whether a file that does not decode was cut off, where Pillow does not say so itself."""
    start = bytes(data[:8])
    if start.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in bytes(data)
    if start.startswith(b"\x89PNG"):
        return b"IEND" not in bytes(data)
    if start.startswith(b"RIFF"):
        return len(data) < 8 + int.from_bytes(start[4:], "little")
    if start.startswith((b"II*\0", b"MM\0*")):
        # Where a TIFF's directory begins: most writers put it at the end.
        return len(data) < 2 + int.from_bytes(start[4:], "little" if start.startswith(b"II") else "big")
    return False


def _decoder_error(error: BaseException, data: bytes | memoryview) -> ImageError:
    text = " ".join(str(error).split())[:200]
    if "truncated" in text.lower() or isinstance(error, EOFError) or _lacks_its_end(data):
        return ImageError(ErrorCode.TRUNCATED_IMAGE, f"the file ends too early: {text}")
    return ImageError(ErrorCode.CORRUPT_IMAGE, f"the decoder gave up: {type(error).__name__}: {text}")


def _orientation(image: Image.Image, meter: DecodeMeter) -> int:
    # A damaged EXIF block says nothing of the pixels, which decoded; such an image counts as stored upright.
    try:
        add_directories(meter, memoryview(_exif_block(image)), what=f"this {image.format}")
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except ImageError:
        raise
    except Exception:
        return 1


def _exif_block(image: Image.Image) -> bytes:
    """EXIF as Pillow finds it: a PNG's may be text in hexadecimal digits."""
    block: bytes = image.info.get("exif", b"")
    text = image.info.get("Raw profile type exif")
    if not block and isinstance(text, str):
        block = bytes.fromhex("".join(text.split("\n")[3:]))
    return block.removeprefix(_EXIF_PREFIX)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return Image.fromarray(_high_byte(image)).convert("RGB")
    if image.mode in ("I", "F"):
        kind = "32-bit integer" if image.mode == "I" else "floating-point"
        raise ImageError(ErrorCode.UNSUPPORTED_IMAGE, f"{kind} pixels have no defined range; expected 8 or 16 bits a channel")
    if image.mode in ("P", "PA"):
        # By way of RGBA: Pillow warns of palettes whose transparency is a byte string otherwise.
        image = image.convert("RGBA")
    # Alpha is dropped, not blended, as torchvision's loader does: the model was trained on such pixels.
    return image.convert("RGB")


def _high_byte(image: Image.Image) -> npt.NDArray[np.uint8]:
    # Pillow clips 16-bit gray at 255 when it converts; the high byte is what it keeps of 16-bit RGB.
    bits, white_is_zero = 16, False
    if isinstance(image, TiffImageFile):
        bits = image.tag_v2.get(_TIFF_BITS, (16,))[0]
        # Pillow turns only gray of at most 8 bits to black-is-zero.
        white_is_zero = image.tag_v2.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO
    high: npt.NDArray[np.uint8] = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
    return 255 - high if white_is_zero else high
