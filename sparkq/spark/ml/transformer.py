"""Stages of ``pyspark.ml`` pipelines; `sparkq.ml` hands them on."""
from __future__ import annotations

from functools import partial

from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import VectorUDT
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, StructField

from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.spark.ml.image_stage import ImageStage
from sparkq.spark.ml.stage_params import positive

__all__ = ["ImageClassifier", "ImageDetector", "ImageEmbedder"]

_PUBLIC_HOME = "sparkq.ml"
"""Saved stages name their class by it, wherever it is defined."""


class ImageClassifier(ImageStage):
    """Classifies a column of images: adds ``status``, ``label``, ``label_name``, ``score``, ``top_k`` and the other columns of
    the row contract, and drops the image bytes.

    Parameters
    ----------
    artifact : ModelArtifact
        Of task classification.
    inputCol, engine, batchSize, handleInvalid, topK, predictionCol, probabilityCol
        Params; ``explainParams()`` describes them.

    Raises
    ------
    InputError
        If the artifact is one of another task.
    ConfigError
        If a value is wrong.

    Examples
    --------
    >>> scores = ImageClassifier(artifact, probabilityCol="features", handleInvalid="skip")  # doctest: +SKIP
    >>> Pipeline(stages=[scores, LogisticRegression(labelCol="truth")]).fit(images)  # doctest: +SKIP
    """

    __module__ = _PUBLIC_HOME
    model_task = "classification"

    topK: Param[int] = Param(
        Params._dummy(), "topK", "length of the top_k column", typeConverter=partial(positive, "topK"),
    )
    predictionCol: Param[str] = Param(
        Params._dummy(), "predictionCol",
        "column to add with the label as a double, which Spark ML's evaluators take; null in error rows; undefined: none",
        typeConverter=TypeConverters.toString,
    )
    probabilityCol: Param[str] = Param(
        Params._dummy(), "probabilityCol",
        "column to add with the scores of all classes as a vector; null in error rows; undefined: none",
        typeConverter=TypeConverters.toString,
    )

    def __init__(
        self, artifact: ModelArtifact, *, inputCol: str | None = None, engine: str | None = None,
        batchSize: int | str | None = None, handleInvalid: str | None = None, topK: int | None = None,
        predictionCol: str | None = None, probabilityCol: str | None = None,
    ) -> None:
        super().__init__(artifact)
        self._setDefault(topK=InferenceConfig.top_k)
        self._set_given(
            inputCol=inputCol, engine=engine, batchSize=batchSize, handleInvalid=handleInvalid, topK=topK,
            predictionCol=predictionCol, probabilityCol=probabilityCol,
        )

    def setTopK(self, value: int) -> ImageClassifier:
        """Set `topK`."""
        return self._set(topK=value)

    def getTopK(self) -> int:
        """The value of `topK`."""
        return self.getOrDefault(self.topK)

    def setPredictionCol(self, value: str) -> ImageClassifier:
        """Set `predictionCol`."""
        return self._set(predictionCol=value)

    def getPredictionCol(self) -> str:
        """The value of `predictionCol`; KeyError where it is undefined."""
        return self.getOrDefault(self.predictionCol)

    def setProbabilityCol(self, value: str) -> ImageClassifier:
        """Set `probabilityCol`."""
        return self._set(probabilityCol=value)

    def getProbabilityCol(self) -> str:
        """The value of `probabilityCol`; KeyError where it is undefined."""
        return self.getOrDefault(self.probabilityCol)

    def _ranked(self) -> int:
        return self.artifact.manifest.classes if self.isDefined(self.probabilityCol) else self.getTopK()

    def _vector_fields(self) -> list[StructField]:
        kinds = ((self._defined(self.probabilityCol), VectorUDT()), (self._defined(self.predictionCol), DoubleType()))
        return [StructField(name, kind) for name, kind in kinds if name is not None]

    def _with_vectors(self, predictions: DataFrame) -> DataFrame:
        if self.isDefined(self.predictionCol):
            predictions = predictions.withColumn(self.getPredictionCol(), F.col("label").cast("double"))
        if self.isDefined(self.probabilityCol):
            by_label = F.array_sort(F.transform("top_k", lambda ranked: F.struct(ranked["label"], ranked["score"])))
            scores = F.transform(by_label, lambda ranked: ranked["score"])
            predictions = predictions.withColumn(self.getProbabilityCol(), _vector(scores))
            predictions = predictions.withColumn("top_k", F.slice("top_k", 1, self.getTopK()))
        return predictions


class ImageEmbedder(ImageStage):
    """Makes a vector of each image of a column: the row contract, with the embedding as a vector of Spark ML.

    By default an image that cannot be read fails the job, as with the other feature transformers of Spark ML: stages that
    learn from vectors cannot do without one.

    Parameters
    ----------
    artifact : ModelArtifact
        Of task embedding.
    inputCol, outputCol, engine, batchSize, handleInvalid
        Params; ``explainParams()`` describes them.

    Raises
    ------
    InputError
        If the artifact is one of another task.
    ConfigError
        If a value is wrong.

    Examples
    --------
    >>> stages = [ImageEmbedder(artifact), LogisticRegression(labelCol="truth")]  # doctest: +SKIP
    >>> Pipeline(stages=stages).fit(images)  # doctest: +SKIP
    """

    __module__ = _PUBLIC_HOME
    model_task = "embedding"
    _replaced = "embedding"

    outputCol: Param[str] = Param(
        Params._dummy(), "outputCol", "column of vectors to add; null in error rows", typeConverter=TypeConverters.toString,
    )

    def __init__(
        self, artifact: ModelArtifact, *, inputCol: str | None = None, outputCol: str | None = None, engine: str | None = None,
        batchSize: int | str | None = None, handleInvalid: str | None = None,
    ) -> None:
        super().__init__(artifact)
        self._setDefault(outputCol="features", handleInvalid="error")
        self._set_given(
            inputCol=inputCol, outputCol=outputCol, engine=engine, batchSize=batchSize, handleInvalid=handleInvalid,
        )

    def setOutputCol(self, value: str) -> ImageEmbedder:
        """Set `outputCol`."""
        return self._set(outputCol=value)

    def getOutputCol(self) -> str:
        """The value of `outputCol`."""
        return self.getOrDefault(self.outputCol)

    def _vector_fields(self) -> list[StructField]:
        return [StructField(self.getOutputCol(), VectorUDT())]

    def _with_vectors(self, predictions: DataFrame) -> DataFrame:
        return predictions.withColumn(self.getOutputCol(), _vector(F.col("embedding")))


class ImageDetector(ImageStage):
    """Finds objects in a column of images: adds ``status``, ``detections`` and the other columns of the row contract, and drops
    the image bytes.

    Parameters
    ----------
    artifact : ModelArtifact
        Of task detection.
    inputCol, engine, batchSize, handleInvalid
        Params; ``explainParams()`` describes them.

    Raises
    ------
    InputError
        If the artifact is one of another task.
    ConfigError
        If a value is wrong.
    """

    __module__ = _PUBLIC_HOME
    model_task = "detection"

    def __init__(
        self, artifact: ModelArtifact, *, inputCol: str | None = None, engine: str | None = None,
        batchSize: int | str | None = None, handleInvalid: str | None = None,
    ) -> None:
        super().__init__(artifact)
        self._set_given(inputCol=inputCol, engine=engine, batchSize=batchSize, handleInvalid=handleInvalid)


def _vector(numbers: Column) -> Column:
    """An array as a vector of Spark ML; null where there is no prediction."""
    return F.when(F.col("status") == "ok", array_to_vector(numbers))
