"""The purpose of a model: classification, embedding or detection."""
from __future__ import annotations

from dataclasses import dataclass

from sparkq.config.checks import check_choice
from sparkq.config.detection import DetectionConfig
from sparkq.errors import ConfigError

__all__ = ["MODEL_TASKS", "ModelTaskConfig"]

MODEL_TASKS = ("classification", "embedding", "detection")
"""``sparkq.model_tasks`` has a module for each."""


@dataclass(frozen=True)
class ModelTaskConfig:
    """The rows that are made of a model's outputs.

    Parameters
    ----------
    name : str
        ``classification``: labels and scores. ``embedding``: a vector that tells how alike images are. ``detection``: boxes
        with classes, of an SSD-style network.
    embedding_layer : str, optional
        With ``embedding``: the layer whose output is the vector; None: what the classifier's head takes.
    detection : DetectionConfig
        With ``detection``: the network's default boxes, and which boxes a row keeps.
    """

    name: str = "classification"
    embedding_layer: str | None = None
    detection: DetectionConfig = DetectionConfig()

    def __post_init__(self) -> None:
        check_choice("task", self.name, MODEL_TASKS)
        if self.embedding_layer is not None and self.name != "embedding":
            raise ConfigError(f"embedding_layer: expected it with task embedding; got task {self.name}.")
        if self.detection != DetectionConfig() and self.name != "detection":
            raise ConfigError(f"detection: expected it with task detection; got task {self.name}.")
