"""From a float model to an artifact: fuse, prepare, calibrate, convert, deploy. Runs on the driver."""
from sparkq.quantization.quantize import quantize, with_profile

__all__ = ["quantize", "with_profile"]
