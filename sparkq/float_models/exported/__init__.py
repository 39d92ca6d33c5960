"""Programs of `torch.export`, from a ``.pt2`` file or made here, as modules that FX quantization can handle."""
from sparkq.float_models.exported.capture import traceable
from sparkq.float_models.exported.loading import load_pt2

__all__ = ["load_pt2", "traceable"]
