"""Label files: names of classes, and which image has which."""
from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from sparkq.config.checks import number
from sparkq.config.detection import BOX_CORNERS
from sparkq.errors import ConfigError, InputError
from sparkq.storage import read_file

__all__ = ["TrueBox", "read_boxes_csv", "read_label_names", "read_labels_csv"]


@dataclass(frozen=True)
class TrueBox:
    """A thing in an image: its class index, and its corners in pixels of the upright image."""

    label: int
    x_min: float
    y_min: float
    x_max: float
    y_max: float


def read_label_names(path: str) -> tuple[str, ...]:
    """Class names of a text file, one a line, line n = class n (from 0); empty lines at the end do not count."""
    lines = [line.strip() for line in _text(path, "labels").rstrip().split("\n")]
    empty = next((number for number, line in enumerate(lines, 1) if not line), None)
    if empty is not None:
        raise InputError(f"labels {path}, line {empty}: expected a class name; got an empty line.")
    return tuple(lines)


def read_labels_csv(path: str, *, classes: int, names: tuple[str, ...] | None) -> dict[str, int]:
    """Image path (as it stands in the file) to class index.

    Parameters
    ----------
    path : str
        CSV with a header and at least the columns ``path`` and ``label``; a label is an index or a class name.
    classes : int
        Number of classes of the model.
    names : tuple of str, optional
        Its class names.

    Raises
    ------
    InputError
        If a column is missing, a label is none of the model's, or a path stands there twice.
    """
    indices = _class_indices(names or ())
    labels: dict[str, int] = {}
    for line, row in _rows(path, ("path", "label")):
        place = f"labels {path}, line {line}"
        if not row["path"] or row["label"] is None:
            raise InputError(f"{place}: expected a path and a label; got {row['path']!r} and {row['label']!r}.")
        if row["path"] in labels:
            raise InputError(f"{place}: expected each path once; got {row['path']!r} again.")
        labels[row["path"]] = _index(row["label"].strip(), indices, classes, place)
    if not labels:
        raise InputError(f"labels {path}: expected at least one image; got only a header.")
    return labels


def read_boxes_csv(path: str, *, classes: int, names: tuple[str, ...] | None) -> dict[str, list[TrueBox]]:
    """Image path (as it stands in the file) to the boxes in it; none for an image that shows nothing.

    Parameters
    ----------
    path : str
        CSV with a header and at least the columns ``path``, ``label``, ``x_min``, ``y_min``, ``x_max`` and ``y_max``, a line a
        box. An image without boxes has one line with nothing but its path.
    classes : int
        Number of classes of the model, the background (0) among them.
    names : tuple of str, optional
        Its class names.

    Raises
    ------
    InputError
        If a column is missing, a label is none of the model's or the background, or a box is none.
    """
    indices = _class_indices(names or ())
    found: dict[str, list[TrueBox]] = {}
    for line, row in _rows(path, ("path", "label", *BOX_CORNERS)):
        place = f"labels {path}, line {line}"
        if not row["path"]:
            raise InputError(f"{place}: expected a path; got none.")
        boxes = found.setdefault(row["path"], [])
        values = [(row[name] or "").strip() for name in ("label", *BOX_CORNERS)]
        if any(values):
            boxes.append(TrueBox(_thing(values[0], indices, classes, place), *_corners(values[1:], place)))
    if not found:
        raise InputError(f"labels {path}: expected at least one image; got only a header.")
    return found


def _thing(label: str, indices: dict[str, list[int]], classes: int, place: str) -> int:
    index = _index(label, indices, classes, place)
    if index == 0:
        raise InputError(f"{place}: expected a class other than the background, which is class 0; got {label!r}.")
    return index


def _corners(values: list[str], place: str) -> tuple[float, float, float, float]:
    try:
        x_min, y_min, x_max, y_max = (number(f"{place}, {name}", value) for name, value in zip(BOX_CORNERS, values, strict=True))
    except ConfigError as error:
        raise InputError(error.message) from error
    if not (x_min < x_max and y_min < y_max):
        raise InputError(f"{place}: expected x_min below x_max and y_min below y_max; got {', '.join(values)}.")
    return x_min, y_min, x_max, y_max


def _rows(path: str, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Line number and columns of each row."""
    # newline=None takes every kind of line end as one, also a carriage return alone.
    rows = csv.DictReader(io.StringIO(_text(path, "labels"), newline=None))
    try:
        header = rows.fieldnames or []
        if not set(columns) <= set(header):
            raise InputError(
                f"labels {path}: expected a header with the columns {', '.join(columns[:-1])} and {columns[-1]}; got "
                f"{', '.join(header) or 'nothing'}."
            )
        return [(rows.line_num, row) for row in rows]
    except csv.Error as error:
        raise InputError(f"labels {path}: expected CSV; got {error}.") from error


def _class_indices(names: tuple[str, ...]) -> dict[str, list[int]]:
    # A name may be that of two classes: ImageNet has two kinds of crane.
    indices: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        indices.setdefault(name, []).append(index)
    return indices


def _index(label: str, indices: dict[str, list[int]], classes: int, place: str) -> int:
    of_name = indices.get(label, [])
    if len(of_name) > 1:
        raise InputError(
            f"{place}: expected the name of one class; got {label!r}, which classes {', '.join(map(str, of_name))} share.",
            hint="write the index of the class.",
        )
    index = of_name[0] if of_name else None
    if index is None and label.isdecimal():
        index = int(label)
    if index is None or index >= classes:
        raise InputError(
            f"{place}: expected a class index from 0 to {classes - 1}{' or a class name' if indices else ''}; got {label!r}.",
            hint=None if indices else "the artifact has no class names; quantize it with labels to use them.",
        )
    return index


def _text(path: str, what: str) -> str:
    try:
        return read_file(path, what=what).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{what} {path}: expected UTF-8 text; got {error}.") from error
