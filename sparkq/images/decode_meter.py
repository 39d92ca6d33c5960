"""`DecodeMeter`: the seconds and bytes that decoding an image will take, held against limits before it is decoded."""
from __future__ import annotations

import math

from sparkq.config import DecodeLimits
from sparkq.error_codes import ErrorCode
from sparkq.errors import ImageError

__all__ = ["DecodeMeter"]


class DecodeMeter:
    """Adds up what decoding one image will cost, and refuses the image as soon as that is more than a limit.

    Parameters
    ----------
    limits : DecodeLimits
        Its ``max_decode_seconds`` and ``max_decode_bytes``.
    file_bytes : int
        Size of the file, which is in memory, too.
    """

    def __init__(self, limits: DecodeLimits, *, file_bytes: int) -> None:
        self._limits = limits
        self.seconds = 0.0
        self.memory_bytes = file_bytes

    def add(self, what: str, *, seconds: float = 0, memory_bytes: float = 0) -> None:
        """Add the cost of one part.

        Parameters
        ----------
        what : str
            The part, as a message names it: this JPEG of 100 pixels.
        seconds, memory_bytes : float
            What it takes.

        Raises
        ------
        ImageError
            ``decode_too_costly`` or ``image_too_large``.
        """
        self.seconds += seconds
        self.memory_bytes += int(memory_bytes)
        if self.seconds > self._limits.max_decode_seconds:
            raise ImageError(
                ErrorCode.DECODE_TOO_COSTLY,
                f"decoding {what} takes up to {math.ceil(self.seconds)} seconds or more; expected at most "
                f"{self._limits.max_decode_seconds} (max_decode_seconds)",
            )
        if self.memory_bytes > self._limits.max_decode_bytes:
            raise ImageError(
                ErrorCode.IMAGE_TOO_LARGE,
                f"decoding {what} takes about {self.memory_bytes} bytes; expected at most {self._limits.max_decode_bytes} "
                "(max_decode_bytes)",
            )
