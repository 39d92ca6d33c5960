"""A program as an ONNX model: `model` writes it, the other modules know an operator each."""
