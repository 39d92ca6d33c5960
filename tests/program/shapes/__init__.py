"""Tests of `sparkq.program.shapes`."""
