"""``sparkq predict``: images to Parquet."""
from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparkq.cli.command import Command
from sparkq.config import (
    AUTO, DEFAULT_MAX_DECODE_BYTES, DEFAULT_MAX_IMAGE_BYTES, DEFAULT_MAX_IMAGE_PIXELS, INPUT_FORMATS, READS, InferenceConfig,
    check_choice, check_share,
)
from sparkq.config_parsing import path_field
from sparkq.errors import ConfigError, InputError
from sparkq.storage import shown

if TYPE_CHECKING:
    from sparkq.artifact import ModelArtifact
    from sparkq.drift import Drift
    from sparkq.spark.nodes import NodeChoice
    from sparkq.spark.sinks import WrittenPredictions

__all__ = ["COMMAND", "PredictOptions"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictOptions:
    """Options of ``sparkq predict``.

    Parameters
    ----------
    model : str
        Artifact, path or uri.
    input : str
        Directory of images (searched recursively), one image, Parquet with a binary column, or a list of uris.
    output : str
        Folder for the Parquet files; must not exist.
    engine : str, optional
        fbgemm, x86, onednn or openvino (INT8), float32 or bfloat16 (float artifacts); default: fbgemm or float32. auto: the
        fastest on each node, measured when the job starts.
    batch_size : int or str
        Images a forward pass; auto: the smallest within 3 % of the fastest.
    same_everywhere : bool
        With auto: one engine and batch size for all nodes.
    top_k : int
        Length of the top_k column.
    content_column : str, optional
        Column with the images, where there are several that could be.
    uri_column : str, optional
        With input format uri: the column with uris, where there are several that could be.
    max_image_pixels : int
        Images with more pixels become error rows.
    max_image_bytes : int
        Files with more bytes become error rows.
    max_decode_bytes : int
        Images whose decoding takes more memory, by their header, become error rows.
    input_format : str
        auto, images, parquet, or uri: a text file with one uri a line, or Parquet with a column of them.
    read : str
        Who opens the files of a directory: workers, spark, or auto (workers, if they can as far as the driver can tell).
    glob : str, optional
        Only files whose name matches, e.g. *.jpg; without it every file counts as an image.
    drift_sample : float
        Share of the images, 0 to 1, that is compared with the calibration images beforehand, e.g. 0.01; 0 compares none.
    overwrite : bool
        Replace what is at output.
    allow_saturation : bool
        Run an artifact of target vnni also on CPUs without VNNI: predictions may be wrong.
    master : str, optional
        Spark master where no session exists; default local[*].
    """

    model: str = path_field()
    input: str = path_field()
    output: str = path_field()
    engine: str | None = None
    batch_size: int | str = 16
    same_everywhere: bool = False
    top_k: int = 5
    content_column: str | None = None
    uri_column: str | None = None
    max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS
    max_image_bytes: int = DEFAULT_MAX_IMAGE_BYTES
    max_decode_bytes: int = DEFAULT_MAX_DECODE_BYTES
    input_format: str = "auto"
    read: str = "auto"
    glob: str | None = None
    drift_sample: float = 0.0
    overwrite: bool = False
    allow_saturation: bool = False
    master: str | None = None

    def __post_init__(self) -> None:
        check_choice("input_format", self.input_format, INPUT_FORMATS)
        check_choice("read", self.read, READS)
        if self.uri_column is not None and self.input_format != "uri":
            raise ConfigError("uri_column: expected input_format uri with it; got another.", hint="--input-format uri.")
        check_share("drift_sample", self.drift_sample)
        self.inference()

    def inference(self) -> InferenceConfig:
        """The part that is about inference, checked."""
        return InferenceConfig(
            engine=self.engine, batch_size=self.batch_size, top_k=self.top_k, max_image_pixels=self.max_image_pixels,
            max_image_bytes=self.max_image_bytes, max_decode_bytes=self.max_decode_bytes, content_column=self.content_column,
            uri_column=self.uri_column, allow_saturation=self.allow_saturation, same_everywhere=self.same_everywhere,
        )


def _run(options: PredictOptions) -> dict[str, Any]:
    from sparkq.artifact import ModelArtifact
    from sparkq.drift import required_profile
    from sparkq.engines import engine_for
    from sparkq.spark.inference import predict
    from sparkq.spark.nodes import settle
    from sparkq.spark.planning import with_planned_partitions
    from sparkq.spark.runs import write_run
    from sparkq.spark.schemas import find_uri_column
    from sparkq.spark.session import session_for
    from sparkq.spark.sinks import write_predictions
    from sparkq.spark.sources import count_images, read_images
    from sparkq.spark.worker_reads import choose_reads

    if options.overwrite:
        _require_apart(options)
    artifact = ModelArtifact.load(options.model)
    config = options.inference()
    if config.engine != AUTO:
        engine_for(artifact, config.engine)
    if options.drift_sample:
        required_profile(artifact.manifest)
    with session_for(options.master) as spark:
        images = read_images(spark, options.input, input_format=options.input_format, glob=options.glob)
        if options.input_format == "uri":
            config = dataclasses.replace(config, uri_column=find_uri_column(images.schema, options.uri_column))
        images, config = choose_reads(images, config, read=options.read)
        planned = with_planned_partitions(images, images=count_images(images, options.input))
        drift = _measured_drift(images, artifact, options, config) if options.drift_sample else None
        config, nodes = settle(spark.sparkContext, artifact, config)
        predictions = predict(planned, artifact, config=config)
        written = write_predictions(predictions, options.output, overwrite=options.overwrite)
        result = _document(options, artifact, written, drift, nodes)
        write_run(spark, options.output, result["run_id"], {**result, "settings": _settings(options)})
    return result


def _document(
    options: PredictOptions, artifact: ModelArtifact, written: WrittenPredictions, drift: Drift | None,
    nodes: Sequence[NodeChoice],
) -> dict[str, Any]:
    from sparkq.spark.runs import new_run_id

    return {
        "run_id": new_run_id(),
        **written.summary(),
        "input": shown(options.input),
        "output": shown(options.output),
        "model": artifact.manifest.name,
        "model_digest": artifact.digest,
        "engine": written.engines,
        **({"nodes": [dataclasses.asdict(node) for node in nodes]} if nodes else {}),
        "drift": None if drift is None else dataclasses.asdict(drift),
        "recalibrate": None if drift is None else drift.recalibrate,
    }


def _settings(options: PredictOptions) -> dict[str, Any]:
    """Every option, without the credentials that a uri may carry."""
    values = dataclasses.asdict(options)
    return {key: shown(value) if isinstance(value, str) else value for key, value in values.items()}


def _measured_drift(images: Any, artifact: ModelArtifact, options: PredictOptions, config: InferenceConfig) -> Drift:
    """Drift of a sample of `images`, with a warning where there is any."""
    from sparkq.spark.drift import measure_drift

    drift = measure_drift(images, artifact, sample=options.drift_sample, config=config)
    for reason in drift.reasons:
        _logger.warning("drift: %s", reason)
    if drift.recalibrate:
        _logger.warning("drift: recalibrate: quantize again with images of this input, and find out what changed in it")
    return drift


def _require_apart(options: PredictOptions) -> None:
    """Spark deletes what it overwrites before it reads the first image."""
    output = _place(options.output)
    for what, path in (("input", options.input), ("model", options.model)):
        source = _place(path)
        if f"{source}/".startswith(f"{output}/") or f"{output}/".startswith(f"{source}/"):
            raise InputError(
                f"output {options.output}: expected a path apart from the {what} when it is overwritten; got {what} {path}.",
                hint="write to a folder of its own.",
            )


def _place(path: str) -> str:
    from sparkq.spark.sources import comparable_path, spark_path

    place = str(comparable_path(spark_path(path))).rstrip("/")
    return os.path.realpath(place) if place.startswith("/") else place


def _show(result: dict[str, Any]) -> str:
    lines = [
        f"{result['output']}: {result['rows']} rows, {result['ok']} ok, {result['errors']} errors",
        f"model   {result['model']} on {' and '.join(result['engine']) or 'nothing'}, digest {result['model_digest'][:12]}",
        f"time    {result['seconds']:.1f} s, {result['images_per_second']:.1f} images per second, start of the workers included",
    ]
    if result["drift"] is not None:
        lines.append(_drift_line(result["drift"]))
    lines += [f"error   {count} rows {code}" for code, count in result["error_codes"].items()]
    if result["errors"]:
        lines.append("Hint: error rows keep their path and say why: SELECT path, error_message WHERE status = 'error'.")
    return "\n".join(lines)


def _drift_line(drift: dict[str, Any]) -> str:
    if drift["recalibrate"] is None:
        return f"drift   {drift['reasons'][0]}"
    verdict = "recalibrate" if drift["recalibrate"] else "none to speak of"
    scores, labels = (
        "not measured" if drift[key] is None else f"{drift[key]:.2f}" for key in ("score_psi", "label_psi")
    )
    return (
        f"drift   {verdict}: {drift['images']} images, PSI of scores {scores}, of labels {labels}, "
        f"{len(drift['saturated'])} of {drift['activations']} activations saturate more"
    )


COMMAND = Command(
    PredictOptions, _run, _show,
    summary="Predict every image of a folder or table with Spark, and write Parquet.",
    example="sparkq predict --model model.sparkq --input photos/ --output predictions/",
)
