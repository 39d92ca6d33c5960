"""`ArtifactJob`: how an artifact is made of a float model, the options of ``sparkq quantize`` and ``sparkq convert``."""
from __future__ import annotations

from dataclasses import dataclass

from sparkq.config.checks import check_choice
from sparkq.config.detection import DetectionConfig
from sparkq.config.model_task import ModelTaskConfig
from sparkq.config.parsing import path_field, spec_field
from sparkq.config.preprocess import PreprocessOverrides
from sparkq.config.quantization import EFFORTS
from sparkq.config.session import SessionOptions
from sparkq.errors import ConfigError

__all__ = ["ArtifactJob"]


@dataclass(frozen=True, kw_only=True)
class ArtifactJob(SessionOptions):
    """A job that makes an artifact of a float model.

    Parameters
    ----------
    preprocess : PreprocessOverrides
        From an image to the model's input, setting by setting. What is not given is as the architecture was published, of
        timm:NAME and torchvision:NAME, or the default.
    model : str
        Float model: module:factory, file.py:factory, timm:NAME, torchvision:NAME, onnx:FILE or pt2:FILE.
    output : str
        The artifact to write, NAME.sparkq; path or uri.
    weights : str, optional
        A .safetensors file, a state_dict written by torch.save, or an ONNX file with the model's names.
    task : str
        classification; embedding: rows get the output of one layer, and what lies behind it is left out; detection: rows get
        boxes, of an SSD-style network.
    embedding_layer : str, optional
        With task embedding: a module's name, a node of the graph that torch.fx makes, or output for what the model returns.
        Planes are averaged. Default: what the classifier's head takes.
    labels : str, optional
        Text file with one class name a line; of a detection the first is the background's.
    name : str, optional
        Model name in the artifact; default: the model's class.
    evaluation : str, optional
        Directory of labelled images that the gate measures accuracy on; not the calibration images.
    evaluation_labels : str, optional
        CSV with path (relative to the CSV) and label; of a detection a line a box, with x_min, y_min, x_max and y_max.
    max_accuracy_drop : float
        Points of top-1, of a detection of mean average precision, that INT8 may lose on the evaluation images; without them,
        points of accuracy that a classifier is expected to lose, by the float model's scores of images held out from calibration.
    min_agreement : float, optional
        Without evaluation: share (0 to 1) of images held out from calibration on which INT8 and float must have the same
        first label, which then decides in place of the expected loss; of a detection, F1 of the boxes against the float model's
        (default 0.98).
    effort : str
        fast: weights are rounded to the nearest integer, in about half the time; default: as quantization says; best: weights
        are fitted and every observer is tried. The gate judges all alike.
    detection : DetectionConfig
        With task detection: the network's default boxes, and which boxes a row keeps.
    min_cosine : float
        With task embedding: mean cosine similarity of INT8's and float's vectors on images held out from calibration.
    report : str, optional
        FILE.html to write, path or uri: the gate's attempts, each layer's sensitivity, weights and activations, and some of the
        calibration images as the network gets them. Needs sparkq[report].
    """

    model: str = spec_field()
    output: str = path_field()
    preprocess: PreprocessOverrides = PreprocessOverrides()
    weights: str | None = path_field(default=None)
    task: str = "classification"
    embedding_layer: str | None = None
    detection: DetectionConfig = DetectionConfig()
    labels: str | None = path_field(default=None)
    name: str | None = None
    evaluation: str | None = path_field(default=None)
    evaluation_labels: str | None = path_field(default=None)
    max_accuracy_drop: float = 0.5
    min_agreement: float | None = None
    effort: str = "default"
    min_cosine: float = 0.99
    report: str | None = path_field(default=None)

    def __post_init__(self) -> None:
        self.model_task_config()
        check_choice("effort", self.effort, EFFORTS)
        if self.task == "embedding" and (self.labels or self.evaluation):
            raise ConfigError(
                f"{'labels' if self.labels else 'evaluation'}: expected none with task embedding, which has no classes; got one."
            )
        if (self.evaluation is None) != (self.evaluation_labels is None):
            raise ConfigError("evaluation: expected evaluation and evaluation_labels together; got one of them.")

    def model_task_config(self) -> ModelTaskConfig:
        """The task that the artifact is for, checked."""
        return ModelTaskConfig(self.task, self.embedding_layer, self.detection)
