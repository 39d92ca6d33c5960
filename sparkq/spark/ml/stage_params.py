"""Params that all stages of ``sparkq.ml`` have, by the names that Spark ML gives such things."""
from __future__ import annotations

from typing import Any, TypeVar

from pyspark.ml.param import Param, Params, TypeConverters

from sparkq.config import AUTO
from sparkq.config.checks import check_choice, check_positive
from sparkq.engines.base import DEFAULT_BATCH_SIZE
from sparkq.engines.registry import ENGINE_NAMES, engines_in_words

__all__ = ["ImageStageParams", "positive"]

_HANDLINGS = ("error", "skip", "keep")

Stage = TypeVar("Stage", bound="ImageStageParams")


def positive(name: str, value: Any) -> int:
    """A whole number of at least 1; raises `ConfigError` for others."""
    check_positive(name, value)
    return int(value)


def _engine(value: Any) -> str:
    check_choice("engine", value, (*ENGINE_NAMES, AUTO))
    return str(value)


def _batch_size(value: Any) -> int | str:
    return AUTO if value == AUTO else positive("batchSize", value)


def _handling(value: Any) -> str:
    check_choice("handleInvalid", value, _HANDLINGS)
    return str(value)


class ImageStageParams(Params):
    """How an artifact is run over a column of images."""

    inputCol: Param[str] = Param(
        Params._dummy(), "inputCol",
        "column with the images: encoded (binary), Spark's image struct, or paths and uris (string), which workers read; "
        "undefined: content, or the only one with image bytes", typeConverter=TypeConverters.toString,
    )
    engine: Param[str] = Param(
        Params._dummy(), "engine",
        f"{engines_in_words()}, or auto (the fastest, which each node measures); undefined: the first that fits the artifact",
        typeConverter=_engine,
    )
    batchSize: Param[int | str] = Param(Params._dummy(), "batchSize", "images a forward pass, or auto", typeConverter=_batch_size)
    handleInvalid: Param[str] = Param(
        Params._dummy(), "handleInvalid",
        "what becomes of images that cannot be predicted: keep (a row with status = error and null for a prediction), skip (no "
        "row) or error (the job fails and names one)", typeConverter=_handling,
    )

    def __init__(self) -> None:
        super().__init__()
        self._setDefault(batchSize=DEFAULT_BATCH_SIZE, handleInvalid="keep")

    def setInputCol(self: Stage, value: str) -> Stage:
        """Set `inputCol`."""
        return self._set(inputCol=value)

    def getInputCol(self) -> str:
        """The value of `inputCol`; KeyError where it is undefined."""
        return self.getOrDefault(self.inputCol)

    def setEngine(self: Stage, value: str) -> Stage:
        """Set `engine`."""
        return self._set(engine=value)

    def getEngine(self) -> str:
        """The value of `engine`; KeyError where it is undefined."""
        return self.getOrDefault(self.engine)

    def setBatchSize(self: Stage, value: int | str) -> Stage:
        """Set `batchSize`."""
        return self._set(batchSize=value)

    def getBatchSize(self) -> int | str:
        """The value of `batchSize`."""
        return self.getOrDefault(self.batchSize)

    def setHandleInvalid(self: Stage, value: str) -> Stage:
        """Set `handleInvalid`."""
        return self._set(handleInvalid=value)

    def getHandleInvalid(self) -> str:
        """The value of `handleInvalid`."""
        return self.getOrDefault(self.handleInvalid)

    def _set_given(self, **values: Any) -> None:
        """Set those that are not None."""
        self._set(**{name: value for name, value in values.items() if value is not None})

    def _defined(self, param: Param[str]) -> str | None:
        return self.getOrDefault(param) if self.isDefined(param) else None
