"""The page in a real browser: it asks for nothing, complains of nothing, and fits desk, phone, night and paper."""
from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparkq.report.run.run import RunReport
from tests.chromium import Page, chromium_command, opened
from tests.report.written_runs import DRIFTED, EVIL, failed, ok, write_run

LONG = "a_label_without_a_space_" * 6


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    command = chromium_command()
    if command is None:
        pytest.skip("no chromium on this machine; .ci/run installs Debian's")
    with opened(command, tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run with all that a page can show, and with names that are long or evil."""
    folder = tmp_path_factory.mktemp("run")
    rows = []
    for number in range(30):
        path = folder / f"photo{number:02d}.jpg"
        Image.new("RGB", (120, 90), (8 * number, 60, 200 - 6 * number)).save(path)
        rows.append(ok(str(path), number, (number + 1) / 31, LONG if number < 3 else f"class {number}"))
    rows += [failed(f"/lake/{LONG}/{number}.jpg", "corrupt_image", EVIL * 3) for number in range(3)]
    write_run(folder / "out", rows, drift=DRIFTED, recalibrate=True, model=EVIL)
    RunReport.load(str(folder / "out")).save(str(folder / "report.html"))
    return folder / "report.html"


@pytest.fixture(scope="module")
def shown(page: Page, report: Path) -> Page:
    """A tab with the report."""
    page.open(report.as_uri())
    return page


def test_asks_for_nothing_and_complains_of_nothing(shown: Page, report: Path) -> None:
    assert shown.requests() == [report.as_uri()]
    assert shown.complaints() == []
    assert shown.evaluate("document.scripts.length") == 0
    assert shown.evaluate("[...document.images].filter(image => image.complete && image.naturalWidth == 120).length") == 24


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_fits(shown: Page, width: int) -> None:
    """No line is wider than the screen; what is wider scrolls in a place of its own, and the first screenful has the verdict."""
    shown.show(width=width, height=844)
    assert shown.evaluate("document.documentElement.scrollWidth") == width
    wide = "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll') && !e.closest('svg')" \
        " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    assert shown.evaluate(wide) == []
    assert shown.evaluate("document.querySelector('.tiles').getBoundingClientRect().bottom") < 844
    assert shown.evaluate("parseFloat(getComputedStyle(document.querySelector('.verdict')).fontSize)") >= 16


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_can_be_read_by_day_and_by_night(shown: Page, scheme: str) -> None:
    """Contrast of all words with the page of at least 4.5 (WCAG 2.2, 1.4.3); bars and lines of at least 3 (1.4.11)."""
    shown.show(scheme=scheme)
    ground = luminance(str(shown.evaluate("getComputedStyle(document.body).backgroundColor")))
    assert (ground > 0.9) == (scheme == "light")
    inks = shown.evaluate("[...new Set([...document.querySelectorAll('body *')].map(e => getComputedStyle(e).color))]")
    assert len(inks) >= 3
    assert min(contrast(ground, luminance(ink)) for ink in inks) >= 4.5
    lines = shown.evaluate(
        "['.bars', '.bar .int8'].map(s => getComputedStyle(document.querySelector(s)).fill)"
        ".concat(['.range', '.dots'].map(s => getComputedStyle(document.querySelector(s)).stroke))",
    )
    assert min(contrast(ground, luminance(line)) for line in lines) >= 3
    picture = np.asarray(Image.open(io.BytesIO(shown.screenshot())).convert("L"))
    assert picture.shape[1] == 1280 and (np.median(picture) > 200) == (scheme == "light")


def luminance(color: str) -> float:
    """Relative luminance of ``rgb(...)`` (WCAG 2.2)."""
    channels = [int(value) / 255 for value in re.findall(r"\d+", color)[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def test_printed(shown: Page) -> None:
    """On A4, black on white also where the screen is dark, and nothing is cut off."""
    shown.show(scheme="dark")
    data = shown.pdf()
    boxes = {box.decode() for box in re.findall(rb"/MediaBox \[([^\]]*)\]", data)}
    assert {tuple(round(float(value)) for value in box.split()) for box in boxes} == {(0, 0, 595, 842)}
    assert 2 <= len(re.findall(rb"/Type /Page\b", data)) <= 8
    shown.show(width=688, scheme="dark", media="print")
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert shown.evaluate("document.documentElement.scrollWidth") == 688
    shown.show()


def test_the_browser_would_tell(page: Page, tmp_path: Path) -> None:
    """Of a page that does ask for another file, and runs a script that fails: or the tests above could not fail."""
    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}/picture.png"
        (tmp_path / "page.html").write_text(f"<!DOCTYPE html><img src='{address}'><script>throw new Error('told')</script>")
        page.open((tmp_path / "page.html").as_uri())
        server.shutdown()
    assert address in page.requests()
    assert any("told" in complaint for complaint in page.complaints())
