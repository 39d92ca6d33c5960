"""Jobs in processes of their own: what comes back, and what is said where one fails. Those with a JVM: `tests/jobs`."""
from __future__ import annotations

from pathlib import Path

import pytest

from sparkq.benchmark.job import PLAIN, SPARKQ, JobRow, Jobs, marginal_speed, measure_jobs
from sparkq.errors import EngineError
from sparkq.spark.benchmark.job_process import JobRequest, JobTimes
from tests.models import digit_files, digits_artifact


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Scans."""
    folder = tmp_path_factory.mktemp("images")
    for number, content in enumerate(digit_files(3)):
        (folder / f"{number}.png").write_bytes(content)
    return sorted(folder.iterdir())


def _jobs(artifact: Path, files: list[Path], work: Path) -> Jobs:
    request = JobRequest(PLAIN, str(artifact), "fbgemm", "fbgemm", 2, 1, (), "", 0.0)
    return Jobs(files, request, images=4, multiples=(1, 2), work=work, cores=1)


def test_a_process(files: list[Path], tmp_path: Path) -> None:
    """It runs each folder: 1x, hardly any images, and twice as many. Who asks again gets the same run."""
    digits_artifact().save(str(tmp_path / "model.sparkq"))
    jobs = _jobs(tmp_path / "model.sparkq", files, tmp_path)
    times = jobs.times(PLAIN, 1, 0)
    assert times.images == (4, 2, 8) and len(times.seconds) == 3
    assert min(times.start_seconds, times.cold_seconds, *times.seconds) > 0
    assert jobs.times(PLAIN, 1, 0) is times


def test_a_process_that_fails(files: list[Path], tmp_path: Path) -> None:
    """Its row says why, in one sentence; it is not started again in the next round."""
    (tmp_path / "model.sparkq").write_bytes(b"no artifact")
    jobs = _jobs(tmp_path / "model.sparkq", files, tmp_path)
    [row] = measure_jobs(jobs, {PLAIN: "fbgemm"}, cores=1, rounds=2)
    assert (row.variant, row.runs, row.images_per_second) == (PLAIN, "fbgemm", None)
    assert row.error is not None and row.error.startswith("job plain_loop on local[1]: expected it to finish; got ")
    assert "Error" in row.error and "\n" not in row.error
    assert [path.name for path in tmp_path.glob("plain_loop-*")] == ["plain_loop-1-0"]


class _Known(Jobs):
    """Runs whose times are known; a variant without any fails."""

    def __init__(self, known: dict[str, JobTimes]) -> None:
        self._known = known

    def times(self, variant: str, cores: int, number: int) -> JobTimes:
        """The same in every round."""
        if variant not in self._known:
            raise EngineError(f"job {variant}: expected it to finish; got an error.")
        return self._known[variant]


def test_rows() -> None:
    """Marginal speed is 1 over the slope; ratios are sparkq's speed over the variant's; too small a job has no speed."""
    seconds = ((2.0, 1.2, 3.0), (3.0, 1.4, 5.0), (1.0, 1.1, 0.9))
    fast, slow, flat = (JobTimes(3.0, 5.0, (10, 2, 20), times) for times in seconds)
    assert marginal_speed(fast) == pytest.approx(10) and marginal_speed(slow) == pytest.approx(5)
    variants = {SPARKQ: "a", "slow": "b", "flat": "c", "broken": "d"}
    known = _Known({SPARKQ: fast, "slow": slow, "flat": flat})
    rows = {row.variant: row for row in measure_jobs(known, variants, cores=1, rounds=2)}
    assert list(rows) == list(variants)
    assert rows["broken"] == JobRow("broken", "d", "job broken: expected it to finish; got an error.")
    assert rows["flat"].images_per_second is None and rows["flat"].ratio is None and rows["flat"].error is None
    ratio, cold, job = rows["slow"].ratio, rows["slow"].cold_seconds, rows["slow"].job_seconds
    assert ratio is not None and ratio.median == pytest.approx(2) and ratio.rounds == 2
    assert cold is not None and cold.median == pytest.approx(2) and job is not None and job.median == pytest.approx(1.4)


def test_without_sparkq_there_is_no_ratio() -> None:
    """Where it fails, the others still have speeds."""
    times = JobTimes(3.0, 5.0, (10, 2, 20), (2.0, 1.2, 3.0))
    failed, other = measure_jobs(_Known({"other": times}), {SPARKQ: "a", "other": "b"}, cores=1, rounds=1)
    assert failed.error is not None and other.ratio is None and other.images_per_second is not None
