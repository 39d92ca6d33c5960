"""From a float model to an artifact: fuse, prepare, calibrate, convert, deploy. Runs on the driver."""
from sparkq.quantization.quantize import quantize

__all__ = ["quantize"]
