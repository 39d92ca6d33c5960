"""Rewrites of the quantized graph: which parts stay in float, and what is fused."""
