"""`RunReport`: a committed run, summed up from what it committed. On the driver or anywhere else: no Spark, no torch."""
from __future__ import annotations

import os
import re
from dataclasses import dataclass

from sparkq.artifact.fact_table import fact_table
from sparkq.errors import ConfigError
from sparkq.report.page_name import check_name
from sparkq.report.run.rows import measure_rows
from sparkq.report.run.run_page import render_run_report
from sparkq.report.run.run_summary import RunSummary
from sparkq.report.wording import number
from sparkq.runs.committed import find_run
from sparkq.storage import is_uri, shown, write_file

__all__ = ["RunReport", "check_place"]


@dataclass(frozen=True, eq=False, repr=False)
class RunReport(RunSummary):
    """The outcome of a run: counts, errors, scores, labels, times, drift, and the rows that are worth a look.

    In a notebook it shows itself; `save` writes the page with pictures. Made by `load`.
    """

    @classmethod
    def load(cls, output: str, *, run_id: str | None = None) -> RunReport:
        """Read a committed run; only the columns that are needed, in pieces, so that memory does not grow with the run.

        Parameters
        ----------
        output : str
            Folder of runs, local path or any ``pyarrow.fs`` uri.
        run_id : str, optional
            Which; default: the one that was committed last.

        Raises
        ------
        InputError
            If there is no such run, or its files are not those that its manifest lists.
        """
        run = find_run(str(output), run_id)
        return cls(str(output), run.manifest, measure_rows(run))

    def to_html(self, *, images: bool = True) -> str:
        """The page: one HTML file that asks for no other and runs no script; below 3 MB.

        Parameters
        ----------
        images : bool
            Open the images of the picked rows where they lie now, and show them. Without, the page holds their paths only.
        """
        return render_run_report(self, images=images)

    def save(self, path: str, *, images: bool = True) -> None:
        """Write the page, whole or not at all; a file that is there is replaced.

        Parameters
        ----------
        path : str
            ``FILE.html``, local path or uri; not in `output`, whose readers would take it for data.
        images : bool
            As for `to_html`.

        Raises
        ------
        ConfigError
            If `path` is no such name, or in the output.
        InputError
            If the place cannot be written.
        """
        check_place(path, self.output)
        # Names of files may hold what is no UTF-8.
        write_file(path, self.to_html(images=images).encode(errors="xmlcharrefreplace"), what="report")

    def __repr__(self) -> str:
        figures = self.figures
        return f"RunReport({self.run_id!r}, rows={figures.rows}, errors={figures.errors}, output={shown(self.output)!r})"

    def _repr_html_(self) -> str:
        model = self.manifest.model or "model not known"
        facts = [*self.key_figures(), *((f"Failed: {code}", number(count)) for code, count in self.figures.error_codes.items())]
        return fact_table(
            f"{model}: run {self.run_id}", " ".join((self.verdict, *self.manifest.warnings)), facts, alarm=self.alarm,
            footer="report.save('report.html') writes the page with pictures.",
        )


def check_place(path: str, output: str) -> None:
    """Whether a report of a run of `output` may stand at `path`; before long work starts.

    Raises
    ------
    ConfigError
        If not.
    """
    check_name(path)
    if f"{_spelled(path)}/".startswith(f"{_spelled(output)}/"):
        raise ConfigError(
            f"report {shown(path)}: expected a place outside of {shown(output)}, whose readers would take it for data.",
            hint="write it beside that folder.",
        )


def _spelled(path: str) -> str:
    if not is_uri(path) or path.startswith("file:"):
        return os.path.realpath(re.sub(r"^file:/+", "/", path))
    return re.sub(r"^s3[an]://", "s3://", path).rstrip("/")
