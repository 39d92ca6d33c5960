"""Stages of ``pyspark.ml`` pipelines; `sparkq.ml` hands them on."""
from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, TypeVar

from pyspark.ml import Transformer
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import VectorUDT
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.util import DefaultParamsReader, MLReadable, MLWritable
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, StringType, StructField, StructType

from sparkq.artifact import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.errors import ConfigError, InputError
from sparkq.spark.inference import predict
from sparkq.spark.schemas import find_image_column, output_schema
from sparkq.spark.stage_params import ImageStageParams, positive
from sparkq.spark.stage_storage import StageReader, StageWriter

__all__ = ["ImageClassifier", "ImageStage"]

_PUBLIC_HOME = "sparkq.ml"
"""Saved stages name their class by it, wherever it is defined."""
_STAGE_OF_TASK = {"classification": "ImageClassifier", "embedding": "ImageEmbedder", "detection": "ImageDetector"}

Stage = TypeVar("Stage", bound="ImageStage")


class ImageStage(ImageStageParams, Transformer, MLWritable, MLReadable[Any]):
    """What the stages have in common: an artifact, which is saved with the stage, and how it is run.

    Parameters
    ----------
    artifact : ModelArtifact
        Of the stage's task.

    Raises
    ------
    ConfigError
        If the artifact is one of another task.
    """

    task: ClassVar[str]

    def __init__(self, artifact: ModelArtifact) -> None:
        super().__init__()
        name = type(self).__name__
        if not isinstance(artifact, ModelArtifact):
            raise ConfigError(
                f"{name}: expected a ModelArtifact; got {type(artifact).__name__}.", hint="ModelArtifact.load(path) reads one.",
            )
        found = artifact.manifest.task
        if found != self.task:
            raise ConfigError(
                f"{name}: expected an artifact of task {self.task}; got model {artifact.manifest.name} of task {found}.",
                hint=f"sparkq.ml.{_STAGE_OF_TASK[found]} takes it." if found in _STAGE_OF_TASK else None,
            )
        self.artifact = artifact

    def transformSchema(self, schema: StructType) -> StructType:
        """The schema of what `transform` makes of rows of `schema`. Runs nothing.

        Raises
        ------
        InputError
            If there is no such image column, or a column has the name of one that is added.
        """
        config = self._config(schema)
        try:
            column = find_image_column(schema, config)
        except InputError as error:
            raise InputError(error.message, hint="name it: inputCol.") from error
        predicted = output_schema(schema, column if config.uri_column is None else None)
        added = self._vector_fields()
        taken = {name.lower() for name in predicted.names}
        for field in added:
            if field.name.lower() in taken:
                raise InputError(
                    f"{type(self).__name__}: expected no column named {field.name}, which it adds; got one.",
                    hint="name one of them otherwise.",
                )
            taken.add(field.name.lower())
        return StructType([*predicted, *added])

    def write(self) -> StageWriter:
        """A writer: its ``save(path)`` keeps the Params and the artifact."""
        return StageWriter(self, self.artifact)

    @classmethod
    def read(cls) -> StageReader:
        """A reader: its ``load(path)`` gives the stage, the artifact checked."""
        return StageReader(cls.__name__, cls._restored)

    @classmethod
    def _restored(cls: type[Stage], metadata: dict[str, Any], artifact: ModelArtifact) -> Stage:
        stage = cls(artifact)
        stage._resetUid(metadata["uid"])
        DefaultParamsReader.getAndSetParams(stage, metadata)
        return stage

    def _transform(self, dataset: DataFrame) -> DataFrame:
        names = self.transformSchema(dataset.schema).names
        predictions = predict(dataset, self.artifact, config=self._config(dataset.schema))
        return self._with_vectors(self._handled(predictions)).select(*(F.col(f"`{name}`") for name in names))

    def _config(self, schema: StructType) -> InferenceConfig:
        column = self._defined(self.inputCol)
        is_uri = column in schema.names and isinstance(schema[str(column)].dataType, StringType)
        return InferenceConfig(
            engine=self._defined(self.engine), batch_size=self.getBatchSize(), top_k=self._ranked(),
            content_column=None if is_uri else column, uri_column=column if is_uri else None,
        )

    def _handled(self, predictions: DataFrame) -> DataFrame:
        handling, is_ok = self.getHandleInvalid(), F.col("status") == "ok"
        if handling == "keep":
            return predictions
        if handling == "skip":
            return predictions.where(is_ok)
        named = [column for column in (self._defined(self.inputCol), "path", "uri") if column in predictions.columns]
        told = F.concat(
            F.lit(f"{type(self).__name__}: expected images that can be predicted; got "), F.col("error_code"), F.lit(" ("),
            F.col("error_message"), F.lit(")"),
            *([F.lit(" at "), F.coalesce(F.col(f"`{named[0]}`").cast("string"), F.lit("null"))] if named else []),
            F.lit(". Hint: handleInvalid 'keep' marks such rows, 'skip' leaves them out."),
        )
        # A filter: of a column that nobody asks for Spark leaves out the error, too.
        return predictions.where(F.when(is_ok, F.lit(True)).otherwise(F.raise_error(told).cast("boolean")))

    def _ranked(self) -> int:
        """Length of ``top_k`` that `predict` is asked for."""
        return InferenceConfig.top_k

    def _vector_fields(self) -> list[StructField]:
        """What the stage adds to the row contract for other stages."""
        return []

    def _with_vectors(self, predictions: DataFrame) -> DataFrame:
        """Predictions with `_vector_fields`."""
        return predictions


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
    ConfigError
        If the artifact is one of another task, or a value is wrong.

    Examples
    --------
    >>> scores = ImageClassifier(artifact, probabilityCol="features", handleInvalid="skip")  # doctest: +SKIP
    >>> Pipeline(stages=[scores, LogisticRegression(labelCol="truth")]).fit(images)  # doctest: +SKIP
    """

    __module__ = _PUBLIC_HOME
    task = "classification"

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


def _vector(numbers: Column) -> Column:
    """An array as a vector of Spark ML; null where there is no prediction."""
    return F.when(F.col("status") == "ok", array_to_vector(numbers))
