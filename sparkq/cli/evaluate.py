"""``sparkq evaluate`` measures accuracy on labelled images, and INT8 against float; of an embedding the latter alone."""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparkq.cli.command import Command
from sparkq.config import AUTO, ExecutionConfig, InferenceConfig, ModelAndImages, QuantizationConfig, SessionOptions
from sparkq.config.parsing import part_of, path_field, spec_field
from sparkq.errors import ConfigError

if TYPE_CHECKING:
    from sparkq.artifact.file import ModelArtifact

__all__ = ["COMMAND", "EvaluateOptions"]


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(ExecutionConfig, ModelAndImages, SessionOptions):
    """Options of ``sparkq evaluate``.

    Parameters
    ----------
    labels : str, optional
        CSV with path (relative to the CSV) and label (index or class name); of a detection a line a box, with x_min, y_min,
        x_max and y_max in pixels. An embedding has none, the others need it; Parquet then needs the column path, too.
    float_model : str, optional
        Float model to compare with, which an embedding needs, as in sparkq quantize: module:factory, timm:NAME,
        torchvision:NAME, onnx:FILE or pt2:FILE.
    weights : str, optional
        Weights of the float model.
    """

    labels: str | None = path_field(default=None)
    float_model: str | None = spec_field(default=None)
    weights: str | None = path_field(default=None)

    def __post_init__(self) -> None:
        ExecutionConfig.__post_init__(self)
        ModelAndImages.__post_init__(self)

    def inference(self) -> InferenceConfig:
        """How the artifact is run. One engine on all nodes, so that the accuracy measured is that of one."""
        return InferenceConfig(
            **vars(part_of(ExecutionConfig, self)), same_everywhere=AUTO in (self.engine, self.batch_size),
        )


def _run(options: EvaluateOptions) -> dict[str, Any]:
    from sparkq.artifact.file import ModelArtifact
    from sparkq.spark.cluster.nodes import settle
    from sparkq.spark.input.sources import count_images, read_images
    from sparkq.spark.predict.planning import with_planned_partitions
    from sparkq.spark.session.session import session_for
    from sparkq.worker.fitting import engine_for
    from sparkq.workflows.places import require_input

    require_input(options.input)
    artifact = ModelArtifact.load(options.model, sha256=options.model_sha256)
    config = options.inference()
    if config.engine != AUTO:
        engine_for(artifact, config.engine)
    _require_fitting(options, artifact)
    _require_labels(options, artifact)
    reference = None if options.float_model is None else _float_artifact(options, artifact)
    with session_for(options.master) as spark:
        images = read_images(spark, options.input, glob=options.glob)
        planned = with_planned_partitions(images, images=count_images(images, options.input))
        config, _ = settle(spark.sparkContext, artifact, config)
        measured = _measured(planned, artifact, reference, options, config)
    engine = engine_for(artifact, config.engine)
    return {**measured, "model": artifact.manifest.name, "model_digest": artifact.digest, "engine": engine}


def _require_fitting(options: EvaluateOptions, artifact: ModelArtifact) -> None:
    model_task, name = artifact.manifest.task, artifact.manifest.name
    if model_task == "embedding" and options.labels is not None:
        raise ConfigError(
            f"labels: expected none with artifact {name!r} of task embedding, which gives no labels; got {options.labels}.",
            hint="--float-model compares its embeddings with float ones.",
        )
    if model_task == "embedding" and options.float_model is None:
        raise ConfigError(
            f"float_model: expected one to compare the embeddings of artifact {name!r} with; got none.",
            hint="give --float-model.",
        )
    if model_task != "embedding" and options.labels is None:
        columns = "path, label, x_min, y_min, x_max and y_max" if model_task == "detection" else "path and label"
        raise ConfigError(
            f"labels: expected a CSV with {columns}; got none.",
            hint="give --labels, or set labels in the config file.",
        )


def _require_labels(options: EvaluateOptions, artifact: ModelArtifact) -> None:
    """Read the labels once before Spark is started: a file that is not there, or a class that the model has not."""
    if options.labels is not None:
        from sparkq.model_tasks.labels import read_boxes_csv, read_labels_csv

        manifest = artifact.manifest
        read = read_boxes_csv if manifest.task == "detection" else read_labels_csv
        read(options.labels, classes=manifest.classes, names=manifest.labels)


def _measured(
    images: Any, artifact: ModelArtifact, reference: ModelArtifact | None, options: EvaluateOptions, config: InferenceConfig,
) -> dict[str, Any]:
    from sparkq.spark.evaluation.evaluate import compare_embeddings, evaluate
    from sparkq.spark.evaluation.evaluate_boxes import evaluate_detections

    if options.labels is None:
        assert reference is not None
        found = dataclasses.asdict(compare_embeddings(images, artifact, reference, config=config))
    elif artifact.manifest.task == "detection":
        boxes = evaluate_detections(images, artifact, labels=options.labels, float_artifact=reference, config=config)
        found = dataclasses.asdict(boxes)
        if reference is None:
            found = {key: found[key] for key in ("images", "errors", "map50", "map50_95")}
    else:
        evaluation = evaluate(images, artifact, labels=options.labels, float_artifact=reference, config=config)
        found = dataclasses.asdict(evaluation)
        if reference is None:
            found = {key: found[key] for key in ("images", "errors", "top1", "top5", "warnings")}
    # Shares of counts: what stands behind the tenth digit is binary noise, not a measurement.
    return {key: round(value, 10) if isinstance(value, float) else value for key, value in found.items()}


def _float_artifact(options: EvaluateOptions, artifact: ModelArtifact) -> ModelArtifact:
    """The float model, packed as the INT8 one is: same preprocessing, same way to the workers."""
    from sparkq.float_models.load import load_float_model
    from sparkq.quantization import quantize
    from sparkq.quantization.task_model import task_model

    manifest = artifact.manifest
    model = load_float_model(str(options.float_model), options.weights)
    model, model_task = task_model(model, manifest.model_task_config, manifest.preprocess)
    return quantize(
        model, calibration=[manifest.golden.input(manifest.input_size)], preprocess=manifest.preprocess, labels=manifest.labels,
        config=QuantizationConfig(recipe="none"), name=f"{manifest.name} (float)", task=model_task,
    )


def _show(result: dict[str, Any]) -> str:
    lines = [f"{result['model']} on {result['engine']}: {result['images']} images, {result['errors']} errors"]
    if "mean_cosine" in result:
        lines.append(f"cosine       {result['mean_cosine']:.4f} on average, {result['least_cosine']:.4f} at least")
    elif "map50" in result:
        lines += _precision(result)
    else:
        lines += [f"top-1        {result['top1']:.2f} %", f"top-5        {result['top5']:.2f} %"]
    if "float_top1" in result:
        lines += [
            f"float top-1  {result['float_top1']:.2f} %",
            f"drop         {result['accuracy_drop']:.2f} points",
            f"agreement    {result['agreement']:.2f} %",
        ]
    if "sqnr_db" in result:
        lines.append(f"SQNR         {'infinite' if result['sqnr_db'] is None else format(result['sqnr_db'], '.1f') + ' dB'}")
    lines += [f"warning      {warning}" for warning in result.get("warnings", ())]
    return "\n".join(lines)


def _precision(result: dict[str, Any]) -> list[str]:
    lines = [f"mAP50        {result['map50']:.2f} %", f"mAP50:95     {result['map50_95']:.2f} %"]
    if "float_map50" in result:
        error, agreement = result["standard_error"], result["agreement"]
        lines += [
            f"float mAP50  {result['float_map50']:.2f} %, mAP50:95 {result['float_map50_95']:.2f} %",
            f"drop         {result['accuracy_drop']:.2f} points{'' if error is None else f' +- {error:.2f}'}",
            f"F1           {'-' if agreement is None else format(agreement, '.2f')} % of {result['boxes']} boxes",
        ]
    return lines


COMMAND = Command(
    EvaluateOptions, _run, _show,
    summary="Measure an artifact on labelled images, and against its float model.",
    example="sparkq evaluate --model model.sparkq --input photos/ --labels photos/labels.csv",
)
