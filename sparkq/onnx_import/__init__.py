"""ONNX files of image classifiers as modules that FX quantization can handle."""
from sparkq.onnx_import.importing import load_onnx
from sparkq.onnx_import.reading import read_initializers

__all__ = ["load_onnx", "read_initializers"]
