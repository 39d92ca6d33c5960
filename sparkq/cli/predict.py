"""``sparkq predict``: images to Parquet."""
from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

from sparkq.cli.command import Command
from sparkq.config import AUTO, DEFAULT_MAX_IMAGE_PIXELS, INPUT_FORMATS, InferenceConfig, check_choice
from sparkq.config_parsing import path_field
from sparkq.errors import InputError

__all__ = ["COMMAND", "PredictOptions"]


@dataclass(frozen=True)
class PredictOptions:
    """Options of ``sparkq predict``.

    Parameters
    ----------
    model : str
        Artifact, path or uri.
    input : str
        Directory of images (searched recursively), one image, or Parquet with a binary column.
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
    max_image_pixels : int
        Images with more pixels become error rows.
    input_format : str
        auto, images or parquet.
    glob : str, optional
        Only files whose name matches, e.g. *.jpg; without it every file counts as an image.
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
    max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS
    input_format: str = "auto"
    glob: str | None = None
    overwrite: bool = False
    allow_saturation: bool = False
    master: str | None = None

    def __post_init__(self) -> None:
        check_choice("input_format", self.input_format, INPUT_FORMATS)
        self.inference()

    def inference(self) -> InferenceConfig:
        """The part that is about inference, checked."""
        return InferenceConfig(
            engine=self.engine, batch_size=self.batch_size, top_k=self.top_k, max_image_pixels=self.max_image_pixels,
            content_column=self.content_column, allow_saturation=self.allow_saturation, same_everywhere=self.same_everywhere,
        )


def _run(options: PredictOptions) -> dict[str, Any]:
    from sparkq.artifact import ModelArtifact
    from sparkq.engines import engine_for
    from sparkq.spark.inference import predict
    from sparkq.spark.nodes import settle
    from sparkq.spark.planning import with_planned_partitions
    from sparkq.spark.session import session_for
    from sparkq.spark.sinks import write_predictions
    from sparkq.spark.sources import count_images, read_images

    if options.overwrite:
        _require_apart(options)
    artifact = ModelArtifact.load(options.model)
    config = options.inference()
    if config.engine != AUTO:
        engine_for(artifact, config.engine)
    with session_for(options.master) as spark:
        images = read_images(spark, options.input, input_format=options.input_format, glob=options.glob)
        planned = with_planned_partitions(images, images=count_images(images, options.input))
        config, nodes = settle(spark.sparkContext, artifact, config)
        predictions = predict(planned, artifact, config=config)
        written = write_predictions(predictions, options.output, overwrite=options.overwrite)
    return {
        "rows": written.rows,
        "ok": written.ok,
        "errors": written.errors,
        "error_codes": written.error_codes,
        "seconds": round(written.seconds, 3),
        "images_per_second": round(written.images_per_second, 3),
        "input": options.input,
        "output": options.output,
        "model": artifact.manifest.name,
        "model_digest": artifact.digest,
        "engine": written.engines,
        **({"nodes": [dataclasses.asdict(node) for node in nodes]} if nodes else {}),
    }


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
    lines += [f"error   {count} rows {code}" for code, count in result["error_codes"].items()]
    if result["errors"]:
        lines.append("Hint: error rows keep their path and say why: SELECT path, error_message WHERE status = 'error'.")
    return "\n".join(lines)


COMMAND = Command(
    PredictOptions, _run, _show,
    summary="Predict every image of a folder or table with Spark, and write Parquet.",
    example="sparkq predict --model model.sparkq --input photos/ --output predictions/",
)
