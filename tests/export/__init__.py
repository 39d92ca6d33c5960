"""Tests of `sparkq.export`."""
