"""`Preview`: the first images of an input as a network gets them, with its answers, as a page and in a notebook."""
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sparkq.artifact.manifest import Manifest
from sparkq.config.preprocess import preprocess_fields
from sparkq.drawing import draw_detections
from sparkq.metrics.plausibility import one_label_warning
from sparkq.report.page_name import check_name
from sparkq.report.pictures import data_uri
from sparkq.report.preview.seen import SeenImage, channel_values, denormalized, network_values, value_note, values_as_pixels
from sparkq.report.template import render
from sparkq.storage import shown, write_file
from sparkq.version import __version__

__all__ = ["Preview", "sheet_of"]

_SHOWN_PIXELS = 256
_NAMED = 3
_PATH_CHARACTERS = 34
_MESSAGE_CHARACTERS = 160


@dataclass(frozen=True, eq=False, repr=False)
class Preview:
    """Images as a network sees them, with its answers.

    In a notebook it shows itself; `save` writes the page. Made by `sparkq.preview`.

    Parameters
    ----------
    model : str
        The model, as it was named.
    manifest : Manifest
        Of the artifact, or of the float model packed as one.
    input : str, optional
        Where the images lie, without credentials.
    images : tuple of SeenImage
        In the order of their paths.
    found : int
        How many files the input has in all.
    """

    model: str
    manifest: Manifest
    images: tuple[SeenImage, ...]
    input: str | None = None
    found: int = 0

    @property
    def error_codes(self) -> dict[str, int]:
        """Images without an answer, by error code."""
        counted = Counter(image.error_code for image in self.images if image.error_code is not None)
        return dict(sorted(counted.items()))

    @property
    def labels(self) -> dict[int, int]:
        """Images by their first label; empty where the model task gives none."""
        return dict(Counter(image.answer["label"] for image in self.images if image.answer and "label" in image.answer))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons to doubt what is shown."""
        found = one_label_warning(self.labels, classes=self.manifest.classes, names=self.manifest.labels)
        return () if found is None else (found,)

    def to_html(self) -> str:
        """The page: one HTML file that asks for no other and runs no script."""
        return render(
            "preview/preview.html", preview=self, sheet=sheet_of(self.manifest, self.images), version=__version__,
            name=self.manifest.name, task=self.manifest.task,
        )

    def save(self, path: str) -> None:
        """Write the page, whole or not at all; a file that is there is replaced.

        Parameters
        ----------
        path : str
            ``FILE.html``, local path or uri.

        Raises
        ------
        ConfigError
            If `path` is no such name.
        InputError
            If the place cannot be written.
        """
        check_name(path)
        # Names of files may hold what is no UTF-8.
        write_file(path, self.to_html().encode(errors="xmlcharrefreplace"), what="preview")

    def __repr__(self) -> str:
        return f"Preview({self.manifest.name!r}, images={len(self.images)}, errors={sum(self.error_codes.values())})"

    def _repr_html_(self) -> str:
        page = render("preview/notebook.html", preview=self, sheet=sheet_of(self.manifest, self.images))
        # Notebooks are UTF-8, which names of files may not be.
        return page.encode(errors="replace").decode()


@dataclass(frozen=True)
class _Tile:
    """A place on the sheet: pictures of the pixels and of the values, or an error; and what is said below."""

    caption: str
    pixels: str | None = None
    values: str | None = None
    answers: list[tuple[str, str]] = field(default_factory=list)
    error_code: str | None = None
    error_message: str = ""
    width: int = 0
    height: int = 0


def sheet_of(manifest: Manifest, images: Sequence[SeenImage]) -> dict[str, Any]:
    """Make the values that the template ``preview/sheet.html`` shows."""
    preprocess = manifest.preprocess
    values = [None if image.pixels is None else network_values(image.pixels, preprocess) for image in images]
    channels = channel_values([one for one in values if one is not None], preprocess.channel_order)
    origin = manifest.preprocess_origin
    return {
        "tiles": [_tile(image, value, manifest) for image, value in zip(images, values, strict=True)],
        "settings": [
            (name, _setting(value), origin.get(name, "not known")) for name, value in preprocess_fields(preprocess).items()
        ],
        "channels": channels, "note": value_note(channels), "reversed": preprocess.channel_order == "BGR",
        "task": manifest.task,
    }


def _tile(image: SeenImage, values: npt.NDArray[np.float32] | None, manifest: Manifest) -> _Tile:
    message = "" if image.error_message is None else shown(image.error_message)[:_MESSAGE_CHARACTERS]
    tile = {"caption": _short(image.path), "error_code": image.error_code, "error_message": message}
    if values is None:
        return _Tile(**tile)  # type: ignore[arg-type]
    answer = image.answer or {}
    pixels = _small(denormalized(values, manifest.preprocess), answer.get("detections"))
    return _Tile(
        **tile, pixels=data_uri(pixels, exact=True),  # type: ignore[arg-type]
        values=data_uri(_small(values_as_pixels(values)), exact=True), answers=_answers(answer),
        width=pixels.width, height=pixels.height,
    )


def _small(pixels: npt.NDArray[np.uint8], detections: Sequence[Mapping[str, Any]] | None = None) -> Image.Image:
    picture = Image.fromarray(pixels if not detections else draw_detections(pixels, detections))
    picture.thumbnail((_SHOWN_PIXELS, _SHOWN_PIXELS))
    return picture


def _answers(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The three best labels with their scores, the best boxes, or the length of a vector."""
    if "embedding" in answer:
        vector = np.asarray(answer["embedding"], np.float64)
        return [(f"vector of {len(vector)} numbers", f"length {math.sqrt(float((vector**2).sum())):.4g}")]
    ranked = answer.get("top_k", answer.get("detections", ()))
    named = [
        (str(one["label"] if one["label_name"] is None else one["label_name"]), f"{one['score']:.3f}") for one in ranked[:_NAMED]
    ]
    return named if named or "detections" not in answer else [("no box", "")]


def _setting(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return ", ".join(map(_setting, value))
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _short(path: str | None) -> str:
    if path is None:
        return ""
    end = "/".join(shown(path).rsplit("/", 2)[-2:])
    return end if len(end) <= _PATH_CHARACTERS else "…" + end[-_PATH_CHARACTERS:]
