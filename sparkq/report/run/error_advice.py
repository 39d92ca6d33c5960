"""What each error code means, and what to do about it: for whoever finds the report in the morning."""
from __future__ import annotations

__all__ = ["advice"]

_ADVICE = {
    "missing_content": ("The row has no image: its content or uri is null.", "Find out why the table has such rows."),
    "empty_content": ("The file has 0 bytes.", "Upload it again: most often a transfer that was cut off."),
    "not_an_image": (
        "The bytes are no JPEG, PNG, WebP, GIF, BMP or TIFF.", "Other files in the folder? Choose with --glob. Else look at "
        "what wrote them: web pages and error messages are often saved as .jpg.",
    ),
    "image_too_large": (
        "More pixels, bytes or memory than allowed.", "If such images are wanted, raise --max-image-pixels, --max-image-bytes "
        "or --max-decode-bytes, and the executors' memory with it.",
    ),
    "truncated_image": ("The file ends too early.", "Copy it again from its source; then run with --resume."),
    "corrupt_image": ("The decoder gave up.", "Copy it again from its source; then run with --resume."),
    "unsupported_image": ("Pixels without a defined range: 32-bit integers or floats.", "Convert it to 8 or 16 bits a channel."),
    "inference_failed": (
        "The model failed on this image alone.", "Report it with the image, if it is a picture like others.",
    ),
    "invalid_output": (
        "The model's output has NaN or infinite values.", "Check the model with `sparkq evaluate`; a recipe with more layers "
        "in float may help.",
    ),
    "not_found": (
        "Nothing is at this path any more.", "Was it deleted or renamed while the job ran, or is the list of uris old?",
    ),
    "invalid_uri": ("Neither an absolute path nor a uri that can be opened.", "Correct the list of uris."),
    "read_failed": (
        "It is there, or may be, but could not be read.", "Check the executors' rights to the store; if it was overloaded, "
        "run again with --resume.",
    ),
}


def advice(code: str) -> tuple[str, str]:
    """(meaning, what to do) of an error code; of one that this version does not know, too."""
    return _ADVICE.get(code, ("A code of another version of sparkq.", "See error_message."))
