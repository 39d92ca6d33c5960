"""What a user can set, as frozen dataclasses that check themselves.

Units are in the names; a wrong value raises `sparkq.errors.ConfigError` when the object is made, on the driver, before
any work starts. `sparkq.config.parsing` makes them from YAML mappings and refuses unknown keys.
"""
from sparkq.config.artifact_job import ArtifactJob
from sparkq.config.checks import check_choice, check_run_id, check_sha256, check_share
from sparkq.config.detection import AnchorConfig, DetectionConfig
from sparkq.config.inference import (
    AUTO,
    DEFAULT_MAX_DECODE_BYTES,
    DEFAULT_MAX_IMAGE_BYTES,
    DEFAULT_MAX_IMAGE_PIXELS,
    ENGINES,
    INPUT_FORMATS,
    READS,
    InferenceConfig,
)
from sparkq.config.model_task import MODEL_TASKS, ModelTaskConfig
from sparkq.config.prediction_job import PredictionJob
from sparkq.config.preprocess import PreprocessConfig, ResizeConfig
from sparkq.config.quantization import CalibrationConfig, QuantizationConfig

__all__ = [
    "AUTO",
    "DEFAULT_MAX_DECODE_BYTES",
    "DEFAULT_MAX_IMAGE_BYTES",
    "DEFAULT_MAX_IMAGE_PIXELS",
    "ENGINES",
    "INPUT_FORMATS",
    "READS",
    "MODEL_TASKS",
    "AnchorConfig",
    "ArtifactJob",
    "CalibrationConfig",
    "DetectionConfig",
    "InferenceConfig",
    "PredictionJob",
    "PreprocessConfig",
    "QuantizationConfig",
    "ResizeConfig",
    "ModelTaskConfig",
    "check_choice",
    "check_run_id",
    "check_sha256",
    "check_share",
]
