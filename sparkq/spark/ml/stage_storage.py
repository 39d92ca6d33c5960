"""A pipeline stage on disk: Spark ML's own metadata, and the artifact beside it.

::

    STAGE/metadata/part-*     Params, uid and class as `pyspark.ml.util.DefaultParamsWriter` writes them, and `artifactSha256`
    STAGE/artifact.sparkq     the artifact, byte for byte

Both through the filesystem that Spark itself uses, so that a stage may be saved wherever a pipeline is.
"""
from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyspark.ml.param import Params
from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReader

from sparkq.artifact.file import ModelArtifact, sha256_digest
from sparkq.errors import ArtifactDigestError, InputError
from sparkq.spark.session.hadoop import HadoopFolder
from sparkq.storage import shown

__all__ = ["StageReader", "StageWriter"]

_ARTIFACT = "artifact.sparkq"
_DIGEST = "artifactSha256"


class StageWriter(DefaultParamsWriter):
    """Writes a stage. On the driver, classic sessions only.

    Parameters
    ----------
    stage : Params
        What is saved.
    artifact : ModelArtifact
        Of it.
    """

    def __init__(self, stage: Params, artifact: ModelArtifact) -> None:
        super().__init__(stage)
        self._artifact = artifact

    def saveImpl(self, path: str) -> None:
        """Write the metadata, which is refused where there is a stage already, then the artifact."""
        folder, data = HadoopFolder(self.sparkSession, path), self._artifact.dumps()
        # The context, because Spark 3.5 takes no session here.
        context = self.sparkSession.sparkContext
        DefaultParamsWriter.saveMetadata(self.instance, path, context, extraMetadata={_DIGEST: sha256_digest(data)})
        with tempfile.TemporaryDirectory(prefix="sparkq-") as local:
            file = Path(local) / _ARTIFACT
            file.write_bytes(data)
            folder.upload(str(file), _ARTIFACT)


class StageReader(MLReader[Any]):
    """Reads a stage. On the driver, classic sessions only.

    Parameters
    ----------
    kind : str
        Name of the class that is expected.
    restored : callable
        (metadata, artifact) to the stage.
    """

    def __init__(self, kind: str, restored: Callable[[dict[str, Any], ModelArtifact], Any]) -> None:
        super().__init__()
        self._kind, self._restored = kind, restored

    def load(self, path: str) -> Any:
        """The stage at `path`.

        Raises
        ------
        InputError
            If there is none, or one of another class.
        ArtifactError
            If its artifact is damaged, or not the one that was saved with it.
        """
        folder = HadoopFolder(self.sparkSession, path)
        if not folder.exists("metadata"):
            raise InputError(f"stage {shown(path)}: expected a saved {self._kind}; got nothing there.", hint="check the path.")
        metadata = DefaultParamsReader.loadMetadata(path, self.sparkSession.sparkContext)
        if metadata["class"].rpartition(".")[2] != self._kind:
            raise InputError(
                f"stage {shown(path)}: expected a saved {self._kind}; got a {metadata['class']}.",
                hint="load it by the class that saved it.",
            )
        return self._restored(metadata, self._artifact(folder, metadata.get(_DIGEST)))

    def _artifact(self, folder: HadoopFolder, digest: str | None) -> ModelArtifact:
        place = shown(folder.at(_ARTIFACT))
        with tempfile.TemporaryDirectory(prefix="sparkq-") as local:
            file = Path(local) / _ARTIFACT
            if not folder.download(_ARTIFACT, str(file)):
                raise InputError(
                    f"{place}: expected the stage's artifact; got nothing there.",
                    hint="the stage was not saved to its end; save it again.",
                )
            data = file.read_bytes()
        if sha256_digest(data) != digest:
            raise ArtifactDigestError(
                f"{place}: expected the artifact that was saved with the stage, sha256 {digest}; got {sha256_digest(data)}.",
                hint="it was changed or replaced; save the stage again.",
            )
        artifact = ModelArtifact.loads(data, place=place)
        artifact.program(place=place)
        return artifact
