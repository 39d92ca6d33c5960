"""Predictions, images and the report itself in an object store, without Spark."""
from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from sparkq.errors import ConfigError, InputError
from sparkq.report.run.run import RunReport
from tests.local_s3 import BUCKET, local_s3
from tests.report.written_runs import failed, ok, write_run


def test_all_in_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Hadoop's name of the store and by Arrow's; what is not there is said in a sentence."""
    with local_s3() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        stream = io.BytesIO()
        Image.new("RGB", (40, 30), (200, 0, 0)).save(stream, "PNG")
        server.client.put_object(Bucket=BUCKET, Key="photos/a.png", Body=stream.getvalue())
        image = f"s3a://{BUCKET}/photos/a.png"
        write_run(tmp_path / "out", [ok(image, 1, 0.5, "kite"), failed(f"s3a://{BUCKET}/photos/gone.png", "not_found")], files=2)
        for path in (tmp_path / "out").rglob("*.*"):
            server.client.put_object(Bucket=BUCKET, Key=str(path.relative_to(tmp_path)), Body=path.read_bytes())
        report = RunReport.load(f"s3a://{BUCKET}/out")
        assert (report.figures.rows, report.figures.errors) == (2, 1)
        report.save(f"s3://{BUCKET}/pages/report.html")
        page = server.objects()["pages/report.html"].decode()
        assert page.count("<img ") == 2 and "kite, 0.500: photos/a.png" in page
        with pytest.raises(InputError, match="expected a folder with committed runs"):
            RunReport.load(f"s3://{BUCKET}/photos")
        with pytest.raises(ConfigError, match="outside"):
            report.save(f"s3n://{BUCKET}/out/report.html")
