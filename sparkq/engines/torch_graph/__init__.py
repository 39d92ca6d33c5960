"""Programs run by torch's own kernels: float operators as they are, INT8 ones fused where a program says the same in three."""
