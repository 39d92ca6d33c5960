"""`run_prediction_job`: what ``sparkq predict``, a scheduler and a notebook all call. On the driver."""
from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sparkq.artifact.facts import ModelFacts
from sparkq.artifact.file import ModelArtifact
from sparkq.artifact.manifest import detection_mapping
from sparkq.config import AUTO, InferenceConfig, PredictionJob
from sparkq.config.parsing import to_mapping
from sparkq.errors import ErrorBudgetError, InputError
from sparkq.metrics.drift import Drift, required_profile
from sparkq.redaction import get_logger
from sparkq.runs.manifest import RunManifest, WorkerFigures
from sparkq.spark.cluster.nodes import NodeChoice, settle
from sparkq.spark.cluster.worker_reports import WorkerReports
from sparkq.spark.evaluation.drift import measure_drift
from sparkq.spark.input.job_images import JobImages, read_job_images
from sparkq.spark.input.paths import spark_path
from sparkq.spark.output.commit import Attempt, new_run_id, output_folder, start_attempt
from sparkq.spark.output.committed import committed_run, require_files
from sparkq.spark.output.counts import RowCounts
from sparkq.spark.output.quarantine import quarantine_failures
from sparkq.spark.output.resume import remaining_images
from sparkq.spark.output.unread import unread_rows
from sparkq.spark.output.write import check_partition_columns, write_attempt
from sparkq.spark.predict.inference import predict, predict_reporting
from sparkq.spark.predict.planning import planned_images
from sparkq.spark.session.progress import shown_progress
from sparkq.storage import canonical_path, shown
from sparkq.worker.fitting import engine_for
from sparkq.workflows.places import require_input, require_writable

__all__ = ["checked_artifact", "run_prediction_job"]

_logger = get_logger(__name__)


def run_prediction_job(spark: Any, job: PredictionJob, *, progress: bool | None = None) -> dict[str, Any]:
    """Predict every image of an input and commit the rows as one run.

    Parameters
    ----------
    spark : SparkSession
        A classic session.
    job : PredictionJob
        What to do.
    progress : bool, optional
        Whether to show a progress bar on standard error; None: in a notebook and in a terminal, but not under Airflow.

    Returns
    -------
    dict
        The run's manifest, plain JSON values, with ``already_committed``: whether an earlier attempt had done it all.

    Raises
    ------
    ErrorBudgetError
        If more images failed than ``max_error_rate``; everything is committed, and ``result`` is what would be returned.
    RunTakenError
        If another attempt of the same run id has committed it while this one ran: the work is done.
    SparkqError
        For whatever cannot be read, run or written; nothing of the run is there then.
    """
    artifact = checked_artifact(job)
    attempt = start_attempt(output_folder(spark, job.output), job.run_id or new_run_id())
    if job.quarantine is not None:
        # A place that Spark does not take is said now, not when all is predicted.
        output_folder(spark, job.quarantine)
    manifest = committed_run(attempt.folder, attempt.run_id)
    already = manifest is not None
    if manifest is None:
        manifest = _run(spark, job, artifact, attempt, progress)
    else:
        require_files(attempt.folder, manifest)
        _logger.info("run %s is committed already: nothing is computed", attempt.run_id)
    if job.quarantine is not None:
        quarantine_failures(attempt.folder, manifest, job.quarantine, with_bytes=job.quarantine_bytes)
    result = {**manifest.to_mapping(), "already_committed": already}
    _require_budget(job, result)
    return result


def checked_artifact(job: PredictionJob) -> ModelArtifact:
    """Load the artifact of a job and check all that is known without Spark.

    Raises
    ------
    SparkqError
        If the artifact cannot be used, its engine does not fit, there is no such input, or the output cannot be written or is
        not apart from the input.
    """
    require_input(job.input)
    _require_apart(job)
    require_writable(job.output, what="output", is_folder=True)
    if job.quarantine is not None:
        require_writable(job.quarantine, what="quarantine", is_folder=True)
    artifact = ModelArtifact.load(job.model, sha256=job.model_sha256)
    if job.engine != AUTO:
        engine_for(artifact, job.engine)
    if job.drift_sample:
        required_profile(artifact.manifest)
    return artifact


def _run(
    spark: Any, job: PredictionJob, artifact: ModelArtifact, attempt: Attempt, progress: bool | None,
) -> RunManifest:
    found = read_job_images(spark, job)
    _require_places(job, found.df.columns, found.config)
    images = remaining_images(found, attempt.folder, artifact) if job.resume else found
    if job.resume:
        _logger.info("resume: %d of %d images are left", images.inventory.images, found.inventory.images)
    drift = _measured_drift(images, artifact, job) if job.drift_sample and images.inventory.images else None
    settled, nodes = settle(spark.sparkContext, artifact, images.config)
    reports = WorkerReports(spark.sparkContext)
    with (
        planned_images(images.df, images.inventory, artifact, config=settled, nodes=nodes) as planned,
        shown_progress(spark, images.inventory.images, progress=progress),
    ):
        predictions = predict_reporting(planned, artifact, config=settled, reports=reports)
        check_partition_columns(predictions.schema, job.partition_columns)
        return write_attempt(
            predictions, attempt, partition_by=job.partition_columns, overwrite=job.overwrite,
            unread=_unread(images, artifact, settled),
            expected_rows=images.inventory.images, output=shown(job.output), describe=_described(
                job, artifact, drift, nodes, reports, images=found,
                skipped=found.inventory.images - images.inventory.images,
            ),
        )


def _unread(images: JobImages, artifact: ModelArtifact, config: InferenceConfig) -> Callable[[Any], Any] | None:
    """Make the function that adds rows of files which Spark left out; None where workers answer for each path."""
    if images.listing is None or config.uri_column is not None:
        return None
    return partial(unread_rows, listing=images.listing, predict=partial(predict, artifact=artifact, config=config))


def _require_places(job: PredictionJob, columns: Sequence[str], config: InferenceConfig) -> None:
    if job.quarantine_bytes and config.uri_column is None and "path" not in columns:
        raise InputError(
            f"quarantine_bytes: expected images with a path to read them from; got the columns {', '.join(columns)}.",
            hint="leave --quarantine-bytes out: the table itself holds the bytes.",
        )


def _described(
    job: PredictionJob, artifact: ModelArtifact, drift: Drift | None, nodes: Sequence[NodeChoice], reports: WorkerReports, *,
    images: JobImages, skipped: int,
) -> Callable[[RunManifest, RowCounts], RunManifest]:
    """Make the function that adds the job's facts to a manifest, for when the job has run."""
    def described(manifest: RunManifest, counts: RowCounts) -> RunManifest:
        workers = reports.summary()
        return dataclasses.replace(
            manifest, warnings=counts.warnings(artifact.manifest.classes, artifact.manifest.labels), skipped=skipped,
            left_out={} if images.listing is None else images.listing.left_out,
            input=shown(job.input), uri_column=images.config.uri_column, model=artifact.manifest.name,
            task=artifact.manifest.task, model_digest=artifact.digest,
            artifact=ModelFacts.of(artifact.manifest, len(artifact.dumps())),
            preprocess=to_mapping(artifact.manifest.preprocess), detection=detection_mapping(artifact.manifest),
            workers=WorkerFigures(
                workers.workers, workers.loads, workers.peak_memory_bytes, round(workers.loads / max(workers.workers, 1), 3),
            ),
            nodes=tuple(dataclasses.asdict(node) for node in nodes), settings=_settings(job),
            drift=None if drift is None else dataclasses.asdict(drift),
            recalibrate=None if drift is None else drift.recalibrate,
        )

    return described


def _settings(job: PredictionJob) -> dict[str, Any]:
    """Every option, without the credentials that a uri may carry."""
    return {key: shown(value) if isinstance(value, str) else value for key, value in to_mapping(job).items()}


def _measured_drift(images: JobImages, artifact: ModelArtifact, job: PredictionJob) -> Drift:
    """Drift of a sample of `images`, with a warning where there is any."""
    drift = measure_drift(images.df, artifact, sample=job.drift_sample, config=images.config)
    for reason in drift.reasons:
        _logger.warning("drift: %s", reason)
    if drift.recalibrate:
        _logger.warning("drift: recalibrate: quantize again with images of this input, and find out what changed in it")
    return drift


def _require_budget(job: PredictionJob, result: dict[str, Any]) -> None:
    rate = result["errors"] / max(result["rows"], 1)
    if rate > job.max_error_rate:
        codes = ", ".join(f"{count} {code}" for code, count in result["error_codes"].items())
        raise ErrorBudgetError(
            f"run {result['run_id']}: expected at most {100 * job.max_error_rate:g} % of the images to fail; got "
            f"{100 * rate:.3g} % ({codes}).",
            hint="every row is committed; the failed ones say why: SELECT path, error_message WHERE status = 'error'.",
            result=result,
        )


def _require_apart(job: PredictionJob) -> None:
    """An output inside the input would be the next job's input."""
    output = _place(job.output)
    for what, path in (("input", job.input), ("quarantine", job.quarantine)):
        source = None if path is None else _place(path)
        if source is not None and (f"{source}/".startswith(f"{output}/") or f"{output}/".startswith(f"{source}/")):
            raise InputError(
                f"output {shown(job.output)}: expected a path apart from the {what}; got {what} {shown(str(path))}.",
                hint="write to a folder of its own.",
            )


def _place(path: str) -> str:
    place = canonical_path(spark_path(path)).rstrip("/")
    return os.path.realpath(place) if place.startswith("/") else place
