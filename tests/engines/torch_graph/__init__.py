"""Tests of `sparkq.engines.torch_graph`."""
