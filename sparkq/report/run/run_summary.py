"""The figures of a committed run that a page and a notebook show, computed without Spark and torch."""
from __future__ import annotations

from dataclasses import dataclass

from sparkq.artifact.facts import ModelFacts
from sparkq.report.run.rows import RowFigures
from sparkq.report.wording import clock, number, percent
from sparkq.runs.manifest import RunManifest
from sparkq.runs.task_times import TaskTimes

__all__ = ["RunSummary"]


@dataclass(frozen=True, eq=False)
class RunSummary:
    """A run: its manifest, and what its rows say.

    Parameters
    ----------
    output : str
        Folder of runs, path or uri.
    manifest : RunManifest
        The run's manifest.
    figures : RowFigures
        Of its rows, counted from its Parquet files.
    """

    output: str
    manifest: RunManifest
    figures: RowFigures

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.manifest.run_id

    @property
    def error_rate(self) -> float:
        """Share of the images that failed, 0 to 1."""
        return self.figures.errors / max(self.figures.rows, 1)

    @property
    def max_error_rate(self) -> float | None:
        """The highest error rate that the job allows; None for a run without a job, as `sparkq.write_predictions` makes it."""
        return self.manifest.settings.get("max_error_rate")

    @property
    def images_per_second(self) -> float:
        """Images per second over the whole job, start of its workers included."""
        return self.figures.rows / self.manifest.seconds if self.manifest.seconds else 0.0

    @property
    def recalibrate(self) -> bool | None:
        """Whether the images drifted; None where that was not measured, or on too few images."""
        return self.manifest.recalibrate

    @property
    def tasks(self) -> TaskTimes | None:
        """When tasks were at work; None where the run does not say."""
        return self.manifest.tasks

    @property
    def model(self) -> ModelFacts | None:
        """The model's figures; None where the run does not say."""
        return self.manifest.artifact

    @property
    def failed_too_often(self) -> bool:
        """Whether more images failed than the job was told to bear."""
        return self.max_error_rate is not None and self.error_rate > self.max_error_rate

    @property
    def verdict(self) -> str:
        """One sentence: did it end, and is anything to be done."""
        rows, errors = self.figures.rows, self.figures.errors
        if not rows:
            skipped = self.manifest.skipped
            done = f"{number(skipped)} images were done before" if skipped else "no image was there"
            return f"Committed, without a row: {done}."
        if not errors:
            text = f"Committed. {f'All {number(rows)} images were' if rows > 1 else 'The one image was'} predicted."
        else:
            share = f"{number(errors)} of {number(rows)} images failed ({percent(self.error_rate)})"
            limit = "" if self.max_error_rate is None else f"; the limit is {percent(self.max_error_rate)}"
            text = f"Committed, but {share}{limit}." if self.failed_too_often else f"Committed. {share}{limit}."
        return text + (" The images have drifted: recalibrate." if self.recalibrate else "")

    @property
    def alarm(self) -> bool:
        """Whether there is something to do about the run."""
        return self.failed_too_often or bool(self.recalibrate) or bool(self.manifest.warnings)

    def key_figures(self) -> list[tuple[str, str]]:
        """The answers on the first screenful, as (question, answer)."""
        engines = " and ".join(self.manifest.engine) or "none"
        drift = {True: "recalibrate", False: "none", None: "not measured"}[self.recalibrate]
        if self.manifest.drift and self.recalibrate is None:
            drift = "too few images"
        return [
            ("Images", number(self.figures.rows)),
            ("Failed", f"{number(self.figures.errors)} ({percent(self.error_rate)})" if self.figures.errors else "none"),
            ("Images per second", number(self.images_per_second)), ("Time", clock(self.manifest.seconds)),
            ("Drift", drift), ("Engine", engines),
        ]
