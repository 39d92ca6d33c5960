"""The options that a user can set, as frozen dataclasses that check themselves. Each is defined and described once.

Units are in the names; a wrong value raises `sparkq.errors.ConfigError` when the object is made, on the driver, before
any work starts. `sparkq.config.parsing` makes them from YAML mappings and refuses unknown keys.
"""
from sparkq.config.artifact_job import ArtifactJob
from sparkq.config.checks import check_choice, check_run_id, check_sha256, check_share
from sparkq.config.detection import AnchorConfig, DetectionConfig
from sparkq.config.inference import AUTO, EngineConfig, ExecutionConfig, InferenceConfig
from sparkq.config.inference_job import INPUT_FORMATS, READS, InferenceJob, ModelAndImages
from sparkq.config.limits import (
    DEFAULT_MAX_DECODE_BYTES,
    DEFAULT_MAX_IMAGE_BYTES,
    DEFAULT_MAX_IMAGE_PIXELS,
    PIXEL_LIMIT_ONLY,
    DecodeLimits,
    limits_among,
)
from sparkq.config.model_task import MODEL_TASKS, ModelTaskConfig
from sparkq.config.prediction_job import PredictionJob
from sparkq.config.preprocess import PreprocessConfig, PreprocessOverrides, ResizeConfig
from sparkq.config.quantization import CalibrationConfig, QuantizationConfig
from sparkq.config.session import SessionOptions

__all__ = [
    "AUTO",
    "DEFAULT_MAX_DECODE_BYTES",
    "DEFAULT_MAX_IMAGE_BYTES",
    "DEFAULT_MAX_IMAGE_PIXELS",
    "INPUT_FORMATS",
    "MODEL_TASKS",
    "PIXEL_LIMIT_ONLY",
    "READS",
    "AnchorConfig",
    "ArtifactJob",
    "CalibrationConfig",
    "DecodeLimits",
    "DetectionConfig",
    "EngineConfig",
    "ExecutionConfig",
    "InferenceConfig",
    "InferenceJob",
    "ModelAndImages",
    "ModelTaskConfig",
    "PredictionJob",
    "PreprocessConfig",
    "PreprocessOverrides",
    "QuantizationConfig",
    "ResizeConfig",
    "SessionOptions",
    "check_choice",
    "check_run_id",
    "check_sha256",
    "check_share",
    "limits_among",
]
