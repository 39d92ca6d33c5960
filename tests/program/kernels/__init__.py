"""Tests of `sparkq.program.kernels`."""
