"""Distributed INT8 inference with PyTorch models over images, on the Spark cluster that is already there.

Names are resolved when they are first used: ``import sparkq`` loads neither torch nor pyspark.
"""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sparkq.version import __version__

if TYPE_CHECKING:
    from sparkq.artifact.file import ModelArtifact as ModelArtifact
    from sparkq.config import AnchorConfig as AnchorConfig
    from sparkq.config import CalibrationConfig as CalibrationConfig
    from sparkq.config import DetectionConfig as DetectionConfig
    from sparkq.config import InferenceConfig as InferenceConfig
    from sparkq.config import PredictionJob as PredictionJob
    from sparkq.config import PreprocessConfig as PreprocessConfig
    from sparkq.config import QuantizationConfig as QuantizationConfig
    from sparkq.config import ResizeConfig as ResizeConfig
    from sparkq.drawing import contact_sheet as contact_sheet
    from sparkq.drawing import draw_detections as draw_detections
    from sparkq.errors import SparkqError as SparkqError
    from sparkq.float_models.load import load_float_model as load_float_model
    from sparkq.images.decode import decode_image as decode_image
    from sparkq.report.run.run import RunReport as RunReport
    from sparkq.spark.evaluation.drift import measure_drift as measure_drift
    from sparkq.spark.evaluation.evaluate import compare_embeddings as compare_embeddings
    from sparkq.spark.evaluation.evaluate import evaluate as evaluate
    from sparkq.spark.evaluation.evaluate_boxes import evaluate_detections as evaluate_detections
    from sparkq.spark.input.sources import read_images as read_images
    from sparkq.spark.output.read import read_predictions as read_predictions
    from sparkq.spark.output.write import write_predictions as write_predictions
    from sparkq.spark.predict.inference import predict as predict
    from sparkq.spark.predict.inference import predict_rdd as predict_rdd
    from sparkq.spark.predict.sql_function import register_udf as register_udf
    from sparkq.workflows.predict import run_prediction_job as run_prediction_job
    from sparkq.workflows.preview import preview as preview
    from sparkq.workflows.quantize import quantize as quantize

_HOMES = {
    "ModelArtifact": "sparkq.artifact.file",
    "AnchorConfig": "sparkq.config",
    "CalibrationConfig": "sparkq.config",
    "DetectionConfig": "sparkq.config",
    "InferenceConfig": "sparkq.config",
    "PredictionJob": "sparkq.config",
    "PreprocessConfig": "sparkq.config",
    "QuantizationConfig": "sparkq.config",
    "ResizeConfig": "sparkq.config",
    "RunReport": "sparkq.report.run.run",
    "contact_sheet": "sparkq.drawing",
    "draw_detections": "sparkq.drawing",
    "SparkqError": "sparkq.errors",
    "load_float_model": "sparkq.float_models.load",
    "decode_image": "sparkq.images.decode",
    "quantize": "sparkq.workflows.quantize",
    "measure_drift": "sparkq.spark.evaluation.drift",
    "compare_embeddings": "sparkq.spark.evaluation.evaluate",
    "evaluate": "sparkq.spark.evaluation.evaluate",
    "evaluate_detections": "sparkq.spark.evaluation.evaluate_boxes",
    "predict": "sparkq.spark.predict.inference",
    "predict_rdd": "sparkq.spark.predict.inference",
    "preview": "sparkq.workflows.preview",
    "read_images": "sparkq.spark.input.sources",
    "read_predictions": "sparkq.spark.output.read",
    "register_udf": "sparkq.spark.predict.sql_function",
    "run_prediction_job": "sparkq.workflows.predict",
    "write_predictions": "sparkq.spark.output.write",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sparkq' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
