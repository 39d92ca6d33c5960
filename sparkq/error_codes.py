"""The table of error codes: every ``error_code`` that a row can have, what it means, and what can be done about it.

A new code is one entry here and one place that raises it. The report, ``--resume`` and the README's table follow from the entry.
"""
from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

__all__ = ["ErrorCode", "meaning_and_advice"]

_LASTS, _PASSES = True, False
_LIMITS = ("max_image_pixels", "max_image_bytes", "max_decode_bytes")


class ErrorCode(enum.Enum):
    """Why an image has no prediction. The value is the row's ``error_code``, which never changes.

    Parameters
    ----------
    code : str
        The value.
    meaning : str
        What it says about the image, in one sentence.
    advice : str
        What to do about it.
    lasts : bool
        Whether the same bytes have it again in a job with the same settings. ``--resume`` tries images with others again.
    cures : tuple of str
        Fields of `sparkq.config.InferenceConfig` that may cure a lasting one: a number where it is raised, another setting where
        it is changed.
    """

    meaning: str
    advice: str
    lasts: bool
    cures: tuple[str, ...]

    def __new__(cls, code: str, meaning: str, advice: str, lasts: bool, cures: tuple[str, ...] = ()) -> ErrorCode:
        member = object.__new__(cls)
        member._value_ = code
        member.meaning, member.advice, member.lasts, member.cures = meaning, advice, lasts, cures
        return member

    MISSING_CONTENT = (
        "missing_content", "The row has no image: its content or uri is null.", "Find out why the table has such rows.", _PASSES,
    )
    EMPTY_CONTENT = (
        "empty_content", "The file has 0 bytes.", "Upload it again: most often a transfer that was cut off.", _LASTS,
    )
    NOT_AN_IMAGE = (
        "not_an_image", "The bytes are no JPEG, PNG, WebP, GIF, BMP or TIFF.",
        "Other files in the folder? Choose with --glob. Else look at what wrote them: web pages and error messages are often "
        "saved as .jpg.", _LASTS,
    )
    IMAGE_TOO_LARGE = (
        "image_too_large", "It has more pixels or bytes, or takes more memory, than allowed; it was not decoded.",
        "If such images are wanted, raise --max-image-pixels, --max-image-bytes or --max-decode-bytes, and the executors' memory "
        "with it; then run with --resume.", _LASTS, _LIMITS,
    )
    DECODE_TOO_COSTLY = (
        "decode_too_costly", "Decoding it would take longer than allowed; it was not decoded.",
        "Pictures take a fraction of a second: such a file is damaged, or made to keep a decoder busy. If it is wanted, raise "
        "--max-decode-seconds; then run with --resume.", _LASTS, ("max_decode_seconds",),
    )
    TRUNCATED_IMAGE = (
        "truncated_image", "The file ends too early.", "Copy it again from its source; then run with --resume.", _LASTS,
    )
    CORRUPT_IMAGE = (
        "corrupt_image", "The decoder gave up.", "Copy it again from its source; then run with --resume.", _LASTS,
    )
    UNSUPPORTED_IMAGE = (
        "unsupported_image",
        "Its pixels have no defined range (32-bit integers or floats), or its image struct is of an unknown mode.",
        "Convert it to 8 or 16 bits a channel.", _LASTS,
    )
    INFERENCE_FAILED = (
        "inference_failed", "The model failed on this image alone.", "Report it with the image, if it is a picture like others.",
        _PASSES,
    )
    INVALID_OUTPUT = (
        "invalid_output", "The model's output has NaN or infinite values.",
        "Check the model with `sparkq evaluate`. Another --engine (then run with --resume) or a recipe with more layers in float "
        "may help.", _LASTS, ("engine",),
    )
    INVALID_URI = (
        "invalid_uri", "It is neither an absolute path nor a uri that can be opened.", "Correct the list of uris.", _PASSES,
    )
    NOT_FOUND = (
        "not_found", "Nothing is at this path any more.",
        "Was it deleted or renamed while the job ran, or is the list of uris old?", _PASSES,
    )
    READ_FAILED = (
        "read_failed", "It is there, or may be, but could not be read: refused, or still failing after several attempts.",
        "Check the executors' rights to the store; if it was overloaded, run again with --resume.", _PASSES,
    )

    def is_final(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
        """Whether an image with this code would have it again.

        Parameters
        ----------
        before : mapping
            The settings of the job that gave the code, by name.
        now : mapping
            The settings of another job, with all of `cures`.
        """
        return self.lasts and not any(name not in before or _may_cure(before[name], now[name]) for name in self.cures)


def _may_cure(before: Any, now: Any) -> bool:
    if isinstance(before, int) and isinstance(now, int):
        return now > before
    return bool(now != before)


def meaning_and_advice(code: str) -> tuple[str, str]:
    """The meaning of a row's ``error_code`` and what to do about it; a code of another version of sparkq has words, too."""
    for entry in ErrorCode:
        if entry.value == code:
            return entry.meaning, entry.advice
    return "A code of another version of sparkq.", "See error_message."
