"""Stages for ``pyspark.ml`` pipelines.

::

    from sparkq.ml import ImageClassifier

    ImageClassifier(artifact, topK=3).transform(images)
"""
from __future__ import annotations

from sparkq.spark.ml.transformer import ImageClassifier, ImageDetector, ImageEmbedder

__all__ = ["ImageClassifier", "ImageDetector", "ImageEmbedder"]
