"""`read_images` and calibration images: every file is found, once, whatever it is called."""
from __future__ import annotations

import os
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from sparkq.errors import InputError
from sparkq.spark.input.paths import canonical, spark_path
from sparkq.spark.input.sources import count_images, read_images
from sparkq.storage import canonical_path
from tests.models import encoded, noise
from tests.spark.local import assert_clear


def _write(folder: Path, *names: str) -> Path:
    """Files with a different image each."""
    for name, pixels in zip(names, noise(len(names), size=8), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(pixels))
    return folder


def _names(df: DataFrame) -> list[str]:
    return sorted(row["path"].rpartition("/")[2] for row in df.select("path").collect())


@pytest.mark.parametrize(
    "name",
    [
        "plain", "with space", "100% [draft]", "{a,b}", "star*and?", "comma,semi;", "naïve-日本", "back\\slash", "hash#plus+",
        "dots.d",
    ],
)
def test_folders_and_files_of_any_name(spark: SparkSession, tmp_path: Path, name: str) -> None:
    """Also names that Spark would take for patterns; the bytes are those of the file."""
    folder = _write(tmp_path / name, f"{name}.png", f"sub {name}/other.png")
    rows = read_images(spark, str(folder)).select("path", "content", "length").collect()
    contents = {canonical_path(row["path"]): bytes(row["content"]) for row in rows}
    assert contents == {str(path): path.read_bytes() for path in folder.rglob("*.png")}
    assert len(contents) == 2


def test_patterns_still_work(spark: SparkSession, tmp_path: Path) -> None:
    """A path that is not there as it stands is a pattern, as everywhere in Spark."""
    _write(tmp_path, "2024-01/a.png", "2024-02/b.png", "2023-12/c.png")
    assert _names(read_images(spark, f"{tmp_path}/2024-*", input_format="images")) == ["a.png", "b.png"]


def test_glob_chooses_files(spark: SparkSession, tmp_path: Path) -> None:
    """Without one every file counts as an image; with one only those whose name matches."""
    _write(tmp_path, "a.png", "sub/b.png", "c.jpg")
    (tmp_path / "labels.csv").write_text("path,label\n")
    assert _names(read_images(spark, str(tmp_path))) == ["a.png", "b.png", "c.jpg", "labels.csv"]
    assert _names(read_images(spark, str(tmp_path), glob="*.png")) == ["a.png", "b.png"]


@pytest.mark.parametrize("uri", [False, True], ids=["path", "file_uri"])
def test_one_file(spark: SparkSession, tmp_path: Path, uri: bool) -> None:
    """A path or a uri may name a single image."""
    _write(tmp_path, "a.png", "b.png")
    path = f"file://{tmp_path}/b.png" if uri else f"{tmp_path}/b.png"
    assert _names(read_images(spark, path)) == ["b.png"]


def test_files_of_zero_bytes_are_rows(spark: SparkSession, tmp_path: Path) -> None:
    """Spark's own file sources leave them out."""
    _write(tmp_path, "whole.png")
    for name in ("empty.png", "sub dir/empty 100%.png", "empty.txt", "_SUCCESS", "photos_$folder$"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    images = read_images(spark, str(tmp_path))
    assert _names(images) == ["empty 100%.png", "empty.png", "empty.txt", "whole.png"]
    assert _names(read_images(spark, str(tmp_path), glob="*.png")) == ["empty 100%.png", "empty.png", "whole.png"]
    row = images.where("path like '%/empty.png'").collect()[0]
    assert (bytes(row["content"]), row["length"]) == (b"", 0)
    assert row["modificationTime"].timestamp() == pytest.approx((tmp_path / "empty.png").stat().st_mtime, abs=0.01)
    assert images.select("path").where("path like 'file:/%'").count() == 4


@pytest.mark.parametrize("name", ["table", "table.parquet"], ids=["folder_of_parquet", "named_parquet"])
def test_parquet_is_recognized(spark: SparkSession, images_df: DataFrame, tmp_path: Path, name: str) -> None:
    """By its name, or by the files in it; a table's columns stay as they are."""
    images_df.write.parquet(str(tmp_path / name))
    found = read_images(spark, str(tmp_path / name))
    assert found.columns == ["path", "content"]
    assert found.count() == images_df.count()


def test_input_format_wins_over_recognition(spark: SparkSession, images_df: DataFrame, tmp_path: Path) -> None:
    """``images`` takes Parquet files for files like any other."""
    images_df.coalesce(1).write.parquet(str(tmp_path / "table"))
    names = _names(read_images(spark, str(tmp_path / "table"), input_format="images"))
    assert [name.endswith(".parquet") for name in names] == [True]


@pytest.mark.parametrize(
    ("path", "input_format", "words"),
    [
        ("absent", "auto", ("absent", "no such path")),
        ("absent.parquet", "auto", ("absent.parquet", "no such path")),
        ("absent", "parquet", ("absent", "no such path")),
        ("photos", "parquet", ("photos", "parquet")),
        ("nosuch://bucket/photos", "auto", ("nosuch://bucket/photos", "filesystem")),
    ],
    ids=["missing_folder", "missing_parquet", "missing_as_parquet", "images_as_parquet", "unknown_scheme"],
)
def test_unreadable_inputs(spark: SparkSession, tmp_path: Path, path: str, input_format: str, words: tuple[str, ...]) -> None:
    """One sentence that names the path as the user gave it."""
    _write(tmp_path, "photos/a.png")
    given = path if "://" in path else str(tmp_path / path)
    with pytest.raises(InputError) as caught:
        read_images(spark, given, input_format=input_format).count()
    assert_clear(caught.value, *words)


@pytest.mark.parametrize("glob", [None, "*.jpg"], ids=["empty_folder", "nothing_matches"])
def test_nothing_to_read(spark: SparkSession, tmp_path: Path, glob: str | None) -> None:
    """An empty input is an error, not an empty result."""
    if glob is not None:
        _write(tmp_path, "a.png")
    with pytest.raises(InputError) as caught:
        count_images(read_images(spark, str(tmp_path), glob=glob), str(tmp_path))
    assert_clear(caught.value, str(tmp_path), "expected images")
    assert caught.value.hint


def test_count_images(spark: SparkSession, tmp_path: Path) -> None:
    """Every row that there will be, also one of a file of zero bytes."""
    (tmp_path / "empty.png").touch()
    assert count_images(read_images(spark, str(tmp_path)), str(tmp_path)) == 1
    _write(tmp_path, "a.png", "sub/b.png")
    assert count_images(read_images(spark, str(tmp_path)), str(tmp_path)) == 3


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/data/photos", "file:///data/photos"), ("file:///data", "file:///data"), ("hdfs://name/data", "hdfs://name/data"),
        ("s3://bucket/data", "s3a://bucket/data"), ("s3a://bucket/data", "s3a://bucket/data"), ("s3://bucket", "s3a://bucket/"),
    ],
)
def test_spark_path(monkeypatch: pytest.MonkeyPatch, path: str, expected: str) -> None:
    """Local paths are local whatever the cluster's default filesystem is; S3 has its open-source name."""
    monkeypatch.delenv("EMR_RELEASE_LABEL", raising=False)
    assert spark_path(path) == expected


def test_spark_path_on_emr(monkeypatch: pytest.MonkeyPatch) -> None:
    """EMR reads ``s3://`` by its own filesystem."""
    monkeypatch.setenv("EMR_RELEASE_LABEL", "emr-7.2.0")
    assert spark_path("s3://bucket/data") == "s3://bucket/data"


def test_a_delta_table_is_not_taken_for_its_files(spark: SparkSession, tmp_path: Path) -> None:
    """Files that Delta no longer counts would come back; without Delta Lake the job says what is missing."""
    spark.createDataFrame([(bytearray(b"x"),)], "content binary").write.parquet(str(tmp_path / "table"))
    (tmp_path / "table" / "_delta_log").mkdir()
    for input_format in ("auto", "parquet"):
        with pytest.raises(InputError, match="Delta Lake") as caught:
            read_images(spark, str(tmp_path / "table"), input_format=input_format)
        assert_clear(caught.value, str(tmp_path / "table"), "_delta_log")


@pytest.mark.parametrize(("spellings", "place"), [
    (["/a/b.png", "file:/a/b.png", "file:///a/b.png", "file://localhost/a/b.png", "file:/a//b.png"], "/a/b.png"),
    (["s3://k/a/b.png", "s3a://k/a/b.png", "s3n://k/a/b.png"], "s3://k/a/b.png"),
    (["s3a://k/a//b.png"], "s3://k/a//b.png"), (["hdfs://n:8020//a///b.png"], "hdfs://n:8020/a/b.png"),
    (["hdfs:///a/b.png"], "hdfs:///a/b.png"), (["file:/a%20b.png"], "/a%20b.png"), (["file:/a b.png"], "/a b.png"),
    (["file+percent:/%FF.png"], "file+percent:/%FF.png"),
])
def test_one_spelling_of_a_place(spark: SparkSession, spellings: list[str], place: str) -> None:
    """The same of a string and of a column, and once more of itself."""
    assert {canonical_path(path) for path in [*spellings, place]} == {place}
    rows = spark.createDataFrame([(path,) for path in [*spellings, place]], "path string")
    assert {row[0] for row in rows.select(canonical(rows["path"])).collect()} == {place}


def test_every_file_is_a_row_whatever_its_name(spark: SparkSession, tmp_path: Path) -> None:
    """Names that Spark's own listing hides, and one that is not UTF-8; links in a circle end."""
    folder = _write(tmp_path, "_DSC0001.png", ".hidden.png", "_sub/x.png", ".dot/y.png", "z._COPYING_")
    (folder / "loop").symlink_to(".")
    (folder / "_SUCCESS").touch()
    os.rename(_write(tmp_path, "name.png") / "name.png", os.path.join(os.fsencode(folder), b"\xff.png"))
    rows = read_images(spark, str(folder)).collect()
    assert len(rows) == 6 and all(bytes(row["content"]).startswith(b"\x89PNG") for row in rows)
