"""Measures of a model's answers: accuracy, signal to noise, average precision, drift."""
