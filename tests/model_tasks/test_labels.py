"""Label files: every line is a class, every path stands once, every mistake names its line."""
from __future__ import annotations

from pathlib import Path

import pytest

from sparkq.errors import InputError
from sparkq.model_tasks.labels import TrueBox, read_boxes_csv, read_label_names, read_labels_csv


def written(tmp_path: Path, data: str | bytes) -> str:
    """Path of a file with this content."""
    path = tmp_path / "labels.txt"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return str(path)


@pytest.mark.parametrize(("data", "names"), [
    ("cat\ndog\n", ("cat", "dog")),
    ("cat\ndog", ("cat", "dog")),
    ("cat\r\ndog\r\n", ("cat", "dog")),
    ("cat\ndog\n\n \n", ("cat", "dog")),
    (b"\xef\xbb\xbfcat\ndog\n", ("cat", "dog")),
    ("  great white shark, man-eater \nÄffchen\n快\n", ("great white shark, man-eater", "Äffchen", "快")),
    ("crane\nheron\ncrane\n", ("crane", "heron", "crane")),
], ids=["lines", "no line end", "Windows", "empty lines at the end", "byte order mark", "any text", "two of one name"])
def test_line_n_is_class_n(tmp_path: Path, data: str | bytes, names: tuple[str, ...]) -> None:
    """From 0, whatever editor wrote it."""
    assert read_label_names(written(tmp_path, data)) == names


@pytest.mark.parametrize(("data", "message"), [
    ("", "line 1: expected a class name; got an empty line."),
    ("\n\n", "line 1: expected a class name; got an empty line."),
    ("cat\n\ndog\n", "line 2: expected a class name; got an empty line."),
    (b"caf\xe9\n", "expected UTF-8 text; got "),
], ids=["empty", "only line ends", "hole", "Latin-1"])
def test_a_wrong_names_file(tmp_path: Path, data: str | bytes, message: str) -> None:
    """A hole would shift every class behind it."""
    with pytest.raises(InputError, match="^labels .*labels.txt") as caught:
        read_label_names(written(tmp_path, data))
    assert message in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    """By either reader."""
    path = str(tmp_path / "none.csv")
    with pytest.raises(InputError, match=f"^labels {path}: expected a file; got nothing there"):
        read_label_names(path)
    with pytest.raises(InputError, match=f"^labels {path}: expected a file; got nothing there"):
        read_labels_csv(path, classes=3, names=None)


NAMES = ("ant", "bee", "crane", "crane", "7")


@pytest.mark.parametrize(("data", "labels"), [
    ("path,label\na.jpg,0\nb/c.jpg,9\n", {"a.jpg": 0, "b/c.jpg": 9}),
    ("path,label\r\na.jpg,0\r\n", {"a.jpg": 0}),
    ("path,label\ra.jpg,0\rb.jpg,1\r", {"a.jpg": 0, "b.jpg": 1}),
    ("path,label\n\na.jpg,0\n\n", {"a.jpg": 0}),
    (b"\xef\xbb\xbfpath,label\na.jpg,0", {"a.jpg": 0}),
    ("author,label,path\nme,3,a.jpg\n", {"a.jpg": 3}),
    ('path,label\n"a, b.jpg"," 3 "\n', {"a, b.jpg": 3}),
    ("path,label\na.jpg,bee\nb.jpg,1\n", {"a.jpg": 1, "b.jpg": 1}),
    ("path,label\na.jpg,7\nb.jpg,2\nc.jpg,3\n", {"a.jpg": 4, "b.jpg": 2, "c.jpg": 3}),
], ids=["indices", "Windows", "carriage returns", "empty lines", "byte order mark", "more columns", "quotes", "names",
        "a name like an index"])
def test_paths_and_classes(tmp_path: Path, data: str | bytes, labels: dict[str, int]) -> None:
    """A label is a class name of the model, else an index."""
    assert read_labels_csv(written(tmp_path, data), classes=10, names=NAMES) == labels


def test_the_real_label_files(shared_data: Path) -> None:
    """They name every image that is there, and only classes that exist."""
    for folder, classes in (("photos_jpeg", 1000), ("photos_cc_by", 1000), ("cifar10", 10)):
        labels = read_labels_csv(str(shared_data / folder / "labels.csv"), classes=classes, names=None)
        assert all((shared_data / folder / path).is_file() for path in labels)
        assert len(labels) == len(list((shared_data / folder / "images").iterdir()))
    assert len(read_label_names(str(shared_data / "imagenet_synsets.txt"))) == 1000


@pytest.mark.parametrize(("data", "message"), [
    ("", "expected a header with the columns path and label; got nothing."),
    ("file,label\na.jpg,0\n", "expected a header with the columns path and label; got file, label."),
    ("a.jpg,0\nb.jpg,1\n", "expected a header with the columns path and label; got a.jpg, 0."),
    ("path,label\n", "expected at least one image; got only a header."),
    ("path,label\na.jpg\n", "line 2: expected a path and a label; got 'a.jpg' and None."),
    ("path,label\n,3\n", "line 2: expected a path and a label; got '' and '3'."),
    ("path,label\na.jpg,0\na.jpg,1\n", "line 3: expected each path once; got 'a.jpg' again."),
    ("path,label\na.jpg,5\n", "line 2: expected a class index from 0 to 4 or a class name; got '5'."),
    ("path,label\na.jpg,-1\n", "line 2: expected a class index from 0 to 4 or a class name; got '-1'."),
    ("path,label\na.jpg,1.0\n", "line 2: expected a class index from 0 to 4 or a class name; got '1.0'."),
    ("path,label\na.jpg,wasp\n", "line 2: expected a class index from 0 to 4 or a class name; got 'wasp'."),
    ("path,label\na.jpg,\n", "line 2: expected a class index from 0 to 4 or a class name; got ''."),
    ("path,label\na.jpg,crane\n", "line 2: expected the name of one class; got 'crane', which classes 2, 3 share."),
    ("path,label\na.jpg,0\n" + "x" * 200_000 + ",1\n", "expected CSV; got field larger than field limit"),
    (b"path,label\ncaf\xe9.jpg,1\n", "expected UTF-8 text; got "),
], ids=["empty", "other columns", "no header", "no rows", "no label", "no path", "twice", "index too large", "negative",
        "fraction", "unknown name", "empty label", "name of two classes", "endless line", "Latin-1"])
def test_a_wrong_csv(tmp_path: Path, data: str | bytes, message: str) -> None:
    """With the line; a wrong label would be counted as a wrong prediction."""
    with pytest.raises(InputError, match="^labels .*labels.txt") as caught:
        read_labels_csv(written(tmp_path, data), classes=5, names=NAMES)
    assert message in str(caught.value)


def test_names_without_names_in_the_artifact(tmp_path: Path) -> None:
    """The hint says what to do."""
    with pytest.raises(InputError, match="got 'ant'. Hint: the artifact has no class names"):
        read_labels_csv(written(tmp_path, "path,label\na.jpg,ant\n"), classes=5, names=None)


BOXES_HEADER = "path,label,x_min,y_min,x_max,y_max\n"


def test_boxes_come_by_image_and_an_image_may_show_nothing(tmp_path: Path) -> None:
    """A line a box, classes by name or index; other columns do not matter."""
    path = tmp_path / "boxes.csv"
    path.write_text(
        "path,label,x_min,y_min,x_max,y_max,colour\na.jpg,dog,1,2.5,30,40,red\nb.jpg,,,,,,\na.jpg,1,0,0,5,5,\nc.jpg,\n"
    )
    found = read_boxes_csv(str(path), classes=3, names=("background", "cat", "dog"))
    assert found == {"a.jpg": [TrueBox(2, 1.0, 2.5, 30.0, 40.0), TrueBox(1, 0.0, 0.0, 5.0, 5.0)], "b.jpg": [], "c.jpg": []}


@pytest.mark.parametrize(("text", "shown"), [
    ("path,label,x_min,y_min,x_max\na,1,1,1,2", "path, label, x_min, y_min, x_max and y_max; got path, label"),
    (BOXES_HEADER, "at least one image"),
    (f"{BOXES_HEADER},1,1,1,2,2", "line 2: expected a path"),
    (f"{BOXES_HEADER}a,0,1,1,2,2", "other than the background"),
    (f"{BOXES_HEADER}a,background,1,1,2,2", "other than the background"),
    (f"{BOXES_HEADER}a,3,1,1,2,2", "from 0 to 2"),
    (f"{BOXES_HEADER}a,1,1,1,2,", "line 2, y_max: expected a finite number"),
    (f"{BOXES_HEADER}a,1,1,nan,2,2", "line 2, y_min: expected a finite number"),
    (f"{BOXES_HEADER}a,1,5,1,5,2", "x_min below x_max"),
    (f"{BOXES_HEADER}a,1,1,9,5,2", "y_min below y_max"),
    (f"{BOXES_HEADER}a,,1,1,2,2", "line 2: expected a class index"),
])
def test_wrong_lines_of_boxes_are_named(tmp_path: Path, text: str, shown: str) -> None:
    """In the order x_min, y_min, x_max, y_max, in pixels."""
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=shown):
        read_boxes_csv(str(path), classes=3, names=("background", "cat", "dog"))
