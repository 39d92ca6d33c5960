"""The page of a run: complete, of one file, safe whatever it shows, and told of every kind of run."""
from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import sparkq
from sparkq.error_codes import ErrorCode, meaning_and_advice
from sparkq.errors import ConfigError, InputError
from sparkq.report.run.run import RunReport
from tests.report.html_page import Page
from tests.report.written_runs import DRIFTED, EVIL, failed, ok, times, write_run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Sixty images."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(60):
        Image.new("RGB", (80, 60), (4 * number, 90, 120)).save(folder / f"{number:02d}.jpg")
    return folder


def rows_of(photos: Path) -> list[dict[str, Any]]:
    good = [
        ok(str(path), number % 40, (number + 1) / 61, f"class {number % 40}")
        for number, path in enumerate(sorted(photos.iterdir()))
    ]
    return [*good, failed("/lake/cut.jpg", "truncated_image"), failed("/lake/x.jpg", "not_an_image", EVIL), failed("/y", EVIL)]


def report_of(output: Path, rows: list[dict[str, Any]], **options: Any) -> RunReport:
    write_run(output, rows, **options)
    return RunReport.load(str(output))


def assert_of_one_file(page: str) -> Page:
    """Nothing in it makes a browser ask for anything else, or run anything."""
    parsed = Page(page)
    kinds = {tag for tag, _ in parsed.tags}
    assert not kinds & {"script", "link", "iframe", "object", "embed", "base", "form", "image", "a"}
    for tag, attributes in parsed.tags:
        assert not {name for name in attributes if name.startswith("on") or name in ("srcset", "action", "background", "href")}
        assert "src" not in attributes or (tag == "img" and str(attributes["src"]).startswith("data:image/jpeg;base64,"))
    assert "url(" not in page and "@import" not in page and EVIL not in page
    (policy,) = [tag["content"] for _, tag in parsed.tags if tag.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return parsed


def test_page(photos: Path, tmp_path: Path) -> None:
    """Every part is there, with the figures of the rows."""
    report = report_of(
        tmp_path / "out", rows_of(photos), model=EVIL, drift=DRIFTED, recalibrate=True,
        error_codes={"truncated_image": 1, "not_an_image": 1, EVIL: 1},
    )
    page = report.to_html()
    parsed = assert_of_one_file(page)
    assert [row[0] for row in parsed.tables["errors"][1:]][::2] == [EVIL, "not_an_image", "truncated_image"]
    assert [row[:3] for row in parsed.tables["labels"][1:3]] == [["0", "class 0", "2"], ["1", "class 1", "2"]]
    assert len(parsed.tables["labels"]) == 1 + 30 + 1 and parsed.tables["labels"][-1][1:3] == ["10 others", "10"]
    assert [row[3] for row in parsed.tables["drift"][1:]] == ["alarm", "as before", "alarm"]
    assert parsed.tables["saturated"][1] == ["layer1.0.conv1", "0.1 %", "7 %"]
    assert [row[0] for row in parsed.tables["tasks"][1:]] == ["4", "3", "2", "1", "0"]
    assert parsed.tables["model"][1] == ["Size", "4.0 kB", "1.2 kB", "3.3 times less"]
    assert ["max_error_rate", "0.25"] in parsed.tables["settings"]
    for text in ("3 of 63 images failed (4.8", "The images have drifted: recalibrate.", "the scores have moved", "1 attempt "):
        assert text in parsed.text
    pictures = [attributes for tag, attributes in parsed.tags if tag == "img"]
    assert len(pictures) == 24 and all(picture["alt"] for picture in pictures)
    assert pictures[0]["alt"] == "class 0, 0.016: photos/00.jpg" and pictures[12]["alt"] == "class 19, 0.984: photos/59.jpg"
    assert sum(attributes.get("class") == "missing" for _, attributes in parsed.tags) == 3
    assert len(page) < 3e6


def test_first_screenful(photos: Path, tmp_path: Path) -> None:
    """Did it end, how many, how many failed, how fast, is there drift, which model: before anything else."""
    page = report_of(tmp_path / "out", rows_of(photos)).to_html(images=False)
    head = Page(page[page.index("<header>"):page.index("</header>")] + "</header>").text
    model = ("sample", "recipe static", "d" * 12, "fbgemm")
    for text in ("Committed.", "63", "3 (4.8\u00a0%)", "5.04", "12.5 s", "not measured", *model):
        assert text in head


def test_without_images(photos: Path, tmp_path: Path) -> None:
    """For confidential pictures: none is in the page, nor asked for."""
    report = report_of(tmp_path / "out", rows_of(photos))
    page = report.to_html(images=False)
    photos.rename(tmp_path / "elsewhere")
    assert report.to_html(images=False) == page and "cannot be read any more" in report.to_html()
    parsed = assert_of_one_file(page)
    assert not [tag for tag, _ in parsed.tags if tag == "img"] and "data:image" not in parsed.text
    assert "pictures were left out" in parsed.text and "photos/59.jpg" in parsed.text


@pytest.mark.parametrize("missing", [
    {"tasks": None, "artifact": None},
    {"settings": {}, "workers": None, "drift": None, "recalibrate": None, "model": None, "model_digest": None},
])
def test_manifest_of_a_notebook(tmp_path: Path, missing: dict[str, Any]) -> None:
    """Facts that only a job knows are not shown for rows that were written without one, and the page says so."""
    report = report_of(tmp_path / "out", [ok("/a", 1, 0.5), failed("/b", "not_found")], **missing)
    text = assert_of_one_file(report.to_html(images=False)).text
    assert ("The run does not say when its tasks were at work" in text) == ("tasks" in missing)
    assert ("The run does not say: an earlier version" in text) == ("artifact" in missing)
    assert "1 of 2 images failed (50.0" in text and "r1" in report._repr_html_()


def test_runs_without_errors_without_rows_and_in_float(tmp_path: Path) -> None:
    fine = report_of(tmp_path / "fine", [ok("/a", 1, 0.5)])
    assert fine.verdict == "Committed. The one image was predicted."
    assert "errors" not in Page(fine.to_html(images=False)).tables
    nothing = report_of(tmp_path / "nothing", [], skipped=5)
    assert nothing.verdict == "Committed, without a row: 5 images were done before."
    assert_of_one_file(nothing.to_html())
    artifact = {**fine.manifest.to_mapping()["artifact"], "recipe": "none"}
    in_float = report_of(tmp_path / "float", [ok("/a", 1, 0.5)], artifact=artifact)
    assert "in float (recipe none): there is nothing to compare" in Page(in_float.to_html(images=False)).text


def test_verdict(tmp_path: Path) -> None:
    """More failed than the job was to bear: what the command's exit code 4 says."""
    rows = [ok("/a", 1, 0.5)] + [failed(f"/{number}", "not_found") for number in range(3)]
    report = report_of(tmp_path / "out", rows)
    assert report.failed_too_often and report.verdict == "Committed, but 3 of 4 images failed (75.0 %); the limit is 25.0 %."
    assert 'class="verdict refused"' in report.to_html(images=False)


@pytest.mark.parametrize("task", ["embedding", "detection"])
def test_other_tasks(photos: Path, tmp_path: Path, task: str) -> None:
    """Lengths of embeddings; boxes, drawn on their images."""
    box = {"label": 3, "label_name": "kite", "score": 0.75, "x_min": 10.0, "y_min": 10.0, "x_max": 60.0, "y_max": 50.0}
    added = {"embedding": {"embedding": [3.0, 4.0]}, "detection": {"detections": [box, box]}}[task]
    rows = [{"path": str(path), "status": "ok", **added} for path in sorted(photos.iterdir())[:5]]
    parsed = assert_of_one_file(report_of(tmp_path / "out", rows, task=task).to_html())
    said = {"embedding": "length 5.000", "detection": "2 boxes, best 0.750"}[task]
    assert [attributes["alt"] for tag, attributes in parsed.tags if tag == "img"][0] == f"{said}: photos/00.jpg"
    assert ("labels" in parsed.tables) == (task == "detection")


def test_sql(tmp_path: Path) -> None:
    """A query that Spark takes; credentials do not stand in it."""
    report = report_of(tmp_path / "a`b", [failed("/a", "not_found")])
    text = Page(report.to_html(images=False)).text
    assert f"SELECT path, error_code, error_message\nFROM parquet.`{tmp_path}/a``b/run_id=r1`\nWHERE status = 'error'" in text
    hidden = RunReport("s3://key:secret@bucket/out", report.manifest, report.figures)
    assert "secret" not in hidden.to_html(images=False) + repr(hidden) + hidden._repr_html_()


def test_every_code_has_its_advice(tmp_path: Path) -> None:
    """The page says of each error what the table says of its code, whichever codes there are."""
    report = report_of(tmp_path / "out", [failed(f"/{entry.value}", entry.value) for entry in ErrorCode])
    text = " ".join(Page(report.to_html(images=False)).text.split())
    for entry in ErrorCode:
        assert entry.meaning in text and " ".join(entry.advice.split()) in text
    assert len({meaning_and_advice(entry.value) for entry in ErrorCode}) == len(ErrorCode)
    assert meaning_and_advice("of tomorrow") not in {(entry.meaning, entry.advice) for entry in ErrorCode}


def test_save(tmp_path: Path) -> None:
    """Whole, over an earlier one, with nothing beside it; names that are no UTF-8 do not hinder it."""
    report = report_of(tmp_path / "out", [failed("/bad", "not_found")])
    (tmp_path / "pages").mkdir()
    target = tmp_path / "pages" / "report.html"
    target.write_text("an earlier one")
    report.save(str(target))
    assert target.read_text().startswith("<!DOCTYPE html>") and os.listdir(target.parent) == ["report.html"]
    report.save(f"file://{target}", images=False)
    assert "pictures were left out" in target.read_text()


@pytest.mark.parametrize("place", ["out/report.html", "out/run_id=r1/x.htm", "report.txt", "out"])
def test_places_where_no_report_may_stand(tmp_path: Path, place: str) -> None:
    """In the output, readers would take it for data; and the next job would not write there."""
    report = report_of(tmp_path / "out", [ok("/a", 1, 0.5)])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError):
        report.save(str(tmp_path / place))
    assert sorted(tmp_path.rglob("*")) == before


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    report = report_of(tmp_path / "out", [ok("/a", 1, 0.5)])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected a writable place"):
        report.save(str(tmp_path / "file" / "report.html"), images=False)


def test_in_a_notebook(tmp_path: Path) -> None:
    """A few lines, in the notebook's colours; user text is text."""
    report = report_of(tmp_path / "out", [ok("/a", 1, 0.5), failed("/b", EVIL)], model=EVIL, drift=DRIFTED, recalibrate=True)
    shown = report._repr_html_()
    Page(shown.replace("<table ", '<table id="t" '))
    assert EVIL not in shown and "<script" not in shown and len(shown) < 8000
    for text in ("recalibrate", "1 of 2 images failed", "12.5 s", "report.save("):
        assert text in shown
    assert repr(report) == f"RunReport('r1', rows=2, errors=1, output='{tmp_path}/out')"


def test_spark_did_not_keep_all_tasks(tmp_path: Path) -> None:
    """Of more than 100 000."""
    report = report_of(tmp_path / "out", [ok("/a", 1, 0.5)], tasks={**times().to_mapping(), "tasks": 150_000})
    assert re.search(r"Spark kept the times of 5 of 150.000 tasks", Page(report.to_html(images=False)).text)


def test_public_name() -> None:
    assert sparkq.RunReport is RunReport
