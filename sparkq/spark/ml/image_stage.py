"""The part that the pipeline stages of `sparkq.ml` have in common."""
from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from pyspark.ml import Transformer
from pyspark.ml.util import DefaultParamsReader, MLReadable, MLWritable
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.errors import ConfigError, InputError
from sparkq.model_tasks import require_model_task
from sparkq.spark.input.columns import find_image_column, output_schema
from sparkq.spark.ml.stage_params import ImageStageParams
from sparkq.spark.ml.stage_storage import StageReader, StageWriter
from sparkq.spark.predict.inference import predict

__all__ = ["ImageStage"]

_STAGE_OF_MODEL_TASK = {"classification": "ImageClassifier", "embedding": "ImageEmbedder", "detection": "ImageDetector"}

Stage = TypeVar("Stage", bound="ImageStage")


class ImageStage(ImageStageParams, Transformer, MLWritable, MLReadable[Any]):
    """The base of the stages: an artifact, which is saved with the stage, and how it is run.

    Parameters
    ----------
    artifact : ModelArtifact
        Of the stage's task.

    Raises
    ------
    InputError
        If the artifact is one of another task.
    """

    model_task: ClassVar[str]
    _replaced: ClassVar[str | None] = None
    """The column of the row contract that a vector takes the place of."""

    def __init__(self, artifact: ModelArtifact) -> None:
        super().__init__()
        name = type(self).__name__
        if not isinstance(artifact, ModelArtifact):
            raise ConfigError(
                f"{name}: expected a ModelArtifact; got {type(artifact).__name__}.", hint="ModelArtifact.load(path) reads one.",
            )
        fitting = _STAGE_OF_MODEL_TASK[artifact.manifest.task]
        require_model_task(artifact.manifest, self.model_task, what=name, hint=f"sparkq.ml.{fitting} takes it.")
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
        predicted = output_schema(schema, column if config.uri_column is None else None, model_task=self.model_task)
        kept, added = [field for field in predicted if field.name != self._replaced], self._vector_fields()
        taken = {field.name.lower() for field in kept}
        for field in added:
            if field.name.lower() in taken:
                raise InputError(
                    f"{type(self).__name__}: expected no column named {field.name}, which it adds; got one.",
                    hint="name one of them otherwise.",
                )
            taken.add(field.name.lower())
        return StructType([*kept, *added])

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
        """List the columns that the stage adds to the row contract for other stages."""
        return []

    def _with_vectors(self, predictions: DataFrame) -> DataFrame:
        """Predictions with `_vector_fields`."""
        return predictions
