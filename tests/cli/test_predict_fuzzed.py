"""Two hundred damaged, forged and hostile image files in one job: each is one row, in workers whose memory is limited."""
from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from sparkq.error_codes import ErrorCode
from tests.cli.conftest import run_process
from tests.image_bombs import image_bombs
from tests.pictures import encode

FILES = 200
WORKERS = 2
ADDRESS_SPACE_MB = 4096
"""Of a worker, by the kernel: torch alone maps two thirds of it."""
PEAK_BYTES = 700 * 10**6
"""Of a worker, in memory: what the default of max_decode_bytes promises."""

ENCODINGS: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("RGB", "JPEG", {}), ("RGB", "JPEG", {"progressive": True}), ("CMYK", "JPEG", {}), ("RGB", "PNG", {}), ("P", "PNG", {}),
    ("RGB", "WEBP", {}), ("RGB", "WEBP", {"lossless": True}), ("P", "GIF", {}), ("RGB", "BMP", {}), ("RGB", "TIFF", {}),
    ("RGB", "TIFF", {"compression": "tiff_lzw"}), ("RGB", "TIFF", {"compression": "tiff_deflate"}),
    ("RGB", "TIFF", {"compression": "jpeg"}), ("1", "TIFF", {"compression": "group4"}),
)


def _flipped(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 40)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _forged_header(data: bytearray, chance: random.Random) -> None:
    """Sizes, counts and offsets stand among the first bytes; a TIFF's among the last."""
    start = 0 if chance.random() < 0.7 else max(len(data) - 300, 0)
    for _ in range(chance.randint(1, 6)):
        place = start + chance.randrange(min(300, len(data) - start))
        value = chance.choice((b"\xff\xff\xff\xff", b"\xff\xff", b"\x7f\xff", b"\0\0\0\0", b"\xff", b"\0\0\0\x01"))
        data[place:place + len(value)] = value


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(1, len(data)):]


def _repeated(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    part = data[start:start + chance.randint(1, 2000)]
    data[start:start] = part * chance.randint(1, 200)


def _blanked(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    data[start:start + 1000] = bytes([chance.choice((0, 0xFF))]) * len(data[start:start + 1000])


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (_flipped, _forged_header, _cut, _repeated, _blanked)


def fuzzed_files(photos: list[Path], count: int) -> dict[str, bytes]:
    """Real photographs in every format, damaged in every way, and the bombs: always the same."""
    chance = random.Random(13)
    files = {f"bomb{number:02d}": content for number, (content, _) in enumerate(image_bombs().values())}
    while len(files) < count:
        number = len(files)
        mode, file_format, options = ENCODINGS[number % len(ENCODINGS)]
        with Image.open(io.BytesIO(photos[number % len(photos)].read_bytes())) as photo:
            data = bytearray(encode(photo.convert("RGB").convert(mode), file_format, **options))
        # Every tenth is as it was: a prediction among them.
        for _ in range(0 if number % 10 == 0 else chance.randint(1, 3)):
            if data:
                MUTATIONS[chance.randrange(len(MUTATIONS))](data, chance)
        files[f"{number:03d}.{file_format.lower()}"] = bytes(data)
    return files


@pytest.mark.jvm
@pytest.mark.memory
def test_each_is_one_row_and_the_workers_live(
    console_script: str, environment: dict[str, str], model: Path, shared_data: Path, tmp_path: Path,
) -> None:
    """Two hundred files: as many rows, each predicted or with a code; as many workers as cores, none started again."""
    files = fuzzed_files(sorted((shared_data / "photos_jpeg" / "images").iterdir())[:40], FILES)
    (tmp_path / "in").mkdir()
    for name, content in files.items():
        (tmp_path / "in" / name).write_bytes(content)
    command = [
        console_script, "predict", "--model", str(model), "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"),
        "--master", f"local[{WORKERS}]", "--max-error-rate", "1", "--json",
    ]
    limited = f"--conf spark.executor.pyspark.memory={WORKERS * ADDRESS_SPACE_MB}m pyspark-shell"
    found = run_process(command, {**environment, "PYSPARK_SUBMIT_ARGS": limited}, tmp_path)
    assert found.code == 0, found.err[-3000:]
    rows = pq.read_table(tmp_path / "out" / f"run_id={found.document['run_id']}").to_pylist()
    assert sorted(Path(row["path"]).name for row in rows) == sorted(files)
    codes = {entry.value for entry in ErrorCode}
    for row in rows:
        assert (row["status"] == "ok") == (row["error_code"] is None) == (row["label"] is not None), row
        assert row["error_code"] is None or row["error_code"] in codes
    told = {Path(row["path"]).name: row["error_code"] for row in rows}
    assert [told[f"bomb{number:02d}"] for number in range(len(image_bombs()))] == [code for _, code in image_bombs().values()]
    assert {told[name] for name in files if name[:3].isdigit() and name[:3].endswith("0")} == {None}
    assert {"truncated_image", "corrupt_image"} <= set(told.values())
    workers = found.document["workers"]
    assert workers["workers"] == workers["loads"] <= WORKERS
    assert workers["peak_memory_bytes"] < PEAK_BYTES
