"""ONNX files of image classifiers as modules that FX quantization can handle."""
from sparkq.float_models.onnx.importing import load_onnx
from sparkq.float_models.onnx.reading import read_initializers

__all__ = ["load_onnx", "read_initializers"]
