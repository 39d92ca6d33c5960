"""Float models as users bring them, as PyTorch modules that can be traced and quantized. Runs on the driver."""
