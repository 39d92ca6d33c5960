"""Tests of `sparkq.program`."""
