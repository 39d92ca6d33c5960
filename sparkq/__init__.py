"""Distributed INT8 inference with PyTorch models over images, on the Spark cluster that is already there.

Names are resolved when they are first used: ``import sparkq`` loads neither torch nor pyspark.
"""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sparkq.version import __version__

if TYPE_CHECKING:
    from sparkq.artifact import ModelArtifact as ModelArtifact
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
    from sparkq.float_model import load_float_model as load_float_model
    from sparkq.images import decode_image as decode_image
    from sparkq.predicting import run_prediction_job as run_prediction_job
    from sparkq.quantizing import quantize as quantize
    from sparkq.spark.drift import measure_drift as measure_drift
    from sparkq.spark.detection_evaluation import evaluate_detections as evaluate_detections
    from sparkq.spark.evaluation import compare_embeddings as compare_embeddings
    from sparkq.spark.evaluation import evaluate as evaluate
    from sparkq.spark.inference import predict as predict
    from sparkq.spark.inference import predict_rdd as predict_rdd
    from sparkq.spark.predictions import read_predictions as read_predictions
    from sparkq.spark.sinks import write_predictions as write_predictions
    from sparkq.spark.sources import read_images as read_images
    from sparkq.spark.sql_function import register_udf as register_udf

_HOMES = {
    "ModelArtifact": "sparkq.artifact",
    "AnchorConfig": "sparkq.config",
    "CalibrationConfig": "sparkq.config",
    "DetectionConfig": "sparkq.config",
    "InferenceConfig": "sparkq.config",
    "PredictionJob": "sparkq.config",
    "PreprocessConfig": "sparkq.config",
    "QuantizationConfig": "sparkq.config",
    "ResizeConfig": "sparkq.config",
    "contact_sheet": "sparkq.drawing",
    "draw_detections": "sparkq.drawing",
    "SparkqError": "sparkq.errors",
    "load_float_model": "sparkq.float_model",
    "decode_image": "sparkq.images",
    "quantize": "sparkq.quantizing",
    "measure_drift": "sparkq.spark.drift",
    "compare_embeddings": "sparkq.spark.evaluation",
    "evaluate": "sparkq.spark.evaluation",
    "evaluate_detections": "sparkq.spark.detection_evaluation",
    "predict": "sparkq.spark.inference",
    "predict_rdd": "sparkq.spark.inference",
    "read_images": "sparkq.spark.sources",
    "read_predictions": "sparkq.spark.predictions",
    "register_udf": "sparkq.spark.sql_function",
    "run_prediction_job": "sparkq.predicting",
    "write_predictions": "sparkq.spark.sinks",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sparkq' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
