"""Label files: names of classes, and which image has which."""
from __future__ import annotations

import csv
import io

from sparkq.errors import InputError
from sparkq.storage import read_file

__all__ = ["read_label_names", "read_labels_csv"]


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
    for line, row in _rows(path):
        place = f"labels {path}, line {line}"
        if not row["path"] or row["label"] is None:
            raise InputError(f"{place}: expected a path and a label; got {row['path']!r} and {row['label']!r}.")
        if row["path"] in labels:
            raise InputError(f"{place}: expected each path once; got {row['path']!r} again.")
        labels[row["path"]] = _index(row["label"].strip(), indices, classes, place)
    if not labels:
        raise InputError(f"labels {path}: expected at least one image; got only a header.")
    return labels


def _rows(path: str) -> list[tuple[int, dict[str, str]]]:
    """Line number and columns of each row."""
    # newline=None takes every kind of line end as one, also a carriage return alone.
    rows = csv.DictReader(io.StringIO(_text(path, "labels"), newline=None))
    try:
        header = rows.fieldnames or []
        for column in ("path", "label"):
            if column not in header:
                raise InputError(
                    f"labels {path}: expected a header with the columns path and label; got {', '.join(header) or 'nothing'}."
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
