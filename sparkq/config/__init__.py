"""What a user can set, as frozen dataclasses that check themselves.

Units are in the names; a wrong value raises `sparkq.errors.ConfigError` when the object is made, on the driver, before
any work starts. `sparkq.config_parsing` makes them from YAML mappings and refuses unknown keys.
"""
from sparkq.config.checks import check_choice, check_run_id, check_share
from sparkq.config.inference import AUTO, DEFAULT_MAX_IMAGE_PIXELS, ENGINES, INPUT_FORMATS, InferenceConfig
from sparkq.config.prediction_job import PredictionJob
from sparkq.config.preprocess import PreprocessConfig, ResizeConfig
from sparkq.config.quantization import CalibrationConfig, QuantizationConfig

__all__ = [
    "AUTO",
    "DEFAULT_MAX_IMAGE_PIXELS",
    "ENGINES",
    "INPUT_FORMATS",
    "CalibrationConfig",
    "InferenceConfig",
    "PredictionJob",
    "PreprocessConfig",
    "QuantizationConfig",
    "ResizeConfig",
    "check_choice",
    "check_run_id",
    "check_share",
]
