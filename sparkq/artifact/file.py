"""``NAME.sparkq``: one file that holds a model and all that is known of it.

A stored (uncompressed) zip of ``manifest.json`` and ``program.safetensors``, a quantized program whose input is
``uint8 [N, H, W, 3]`` RGB (`sparkq.program`). Where the manifest says ``entropy_coding``, which is the default, the program
stands there as ``program.safetensors.zst``. Nothing in the file is code: this module needs neither torch nor Spark, and unpickles
nothing.
"""
from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass, replace
from functools import cached_property

from sparkq.artifact.manifest import PROTOCOL, Manifest
from sparkq.artifact.payload_coding import decode_payload, encode_payload, is_plausible
from sparkq.config import check_sha256
from sparkq.errors import ArtifactDigestError, ArtifactError, ArtifactFormatError
from sparkq.program.storage import loads_program
from sparkq.program.types import Program
from sparkq.storage import open_stored_zip, read_file, shown, write_file

__all__ = ["PROTOCOL", "ModelArtifact", "sha256_digest"]

MANIFEST_NAME = "manifest.json"
PAYLOAD_NAME = "program.safetensors"
CODED_PAYLOAD_NAME = "program.safetensors.zst"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def sha256_digest(data: bytes) -> str:
    """Hexadecimal sha256."""
    return hashlib.sha256(data).hexdigest()


def _require_sha256(data: bytes, sha256: str, place: str) -> None:
    check_sha256("sha256 of the artifact", sha256)
    found = sha256_digest(data)
    if found != sha256.lower():
        raise ArtifactDigestError(
            f"{place}: expected a file with sha256 {sha256.lower()}; got {found}.",
            hint="it is not the file that was pinned; what `sha256sum FILE` prints counts, not the artifact's digest.",
        )


@dataclass(frozen=True)
class ModelArtifact:
    """A model as it travels: from the driver to a file, and from a file to every Python worker.

    Parameters
    ----------
    manifest : Manifest
        What it says of itself.
    payload : bytes
        A program as `sparkq.program.storage` writes it; an engine builds its model from it, and runs nothing of it.
    """

    manifest: Manifest
    payload: bytes

    @property
    def digest(self) -> str:
        """sha256 of the payload: `model_digest` of every row that it predicts."""
        return self.manifest.payload_sha256

    def __repr__(self) -> str:
        manifest = self.manifest
        height, width = manifest.input_size
        length = f"classes={manifest.classes}" if manifest.classes else f"output_length={manifest.output_length}"
        return (
            f"ModelArtifact({manifest.name!r}, task={manifest.task!r}, recipe={manifest.quantization.recipe!r}, "
            f"input={height}x{width}, {length}, bytes={len(self.payload)}, digest={self.digest[:12]!r})"
        )

    def _repr_html_(self) -> str:
        # Notebooks only: what reads and writes files needs neither.
        from sparkq.artifact.fact_table import fact_table
        from sparkq.artifact.facts import ModelFacts

        facts = ModelFacts.of(self.manifest, len(self.dumps()))
        return fact_table(f"{facts.name}: {facts.task}", facts.recipe_line(), facts.rows())

    @cached_property
    def _coded_payload(self) -> bytes:
        # Every job asks for the file's bytes: ResNet-50 takes 0.1 s to code.
        return encode_payload(self.payload)

    def dumps(self) -> bytes:
        """The file as bytes; the same artifact always gives the same bytes."""
        # Of nothing but zeros the code is too short to be believed.
        coded = self.manifest.quantization.entropy_coding and is_plausible(len(self._coded_payload), len(self.payload))
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(zipfile.ZipInfo(MANIFEST_NAME, _EPOCH), self.manifest.dumps())
            name, content = (CODED_PAYLOAD_NAME, self._coded_payload) if coded else (PAYLOAD_NAME, self.payload)
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
        return stream.getvalue()

    @classmethod
    def loads(cls, data: bytes, *, place: str = "artifact", sha256: str | None = None) -> ModelArtifact:
        """Read an artifact from bytes and check it.

        Parameters
        ----------
        data : bytes
            A whole file.
        place : str
            Where it came from, for messages.
        sha256 : str, optional
            What the sha256 of `data` must be.

        Raises
        ------
        ConfigError
            If `sha256` is none.
        ArtifactFormatError
            If it is truncated or no artifact.
        ArtifactProtocolError
            If another protocol wrote it.
        ArtifactDigestError
            If the payload is not the one that the manifest names, or the file not the one that `sha256` does.
        """
        if sha256 is not None:
            _require_sha256(data, sha256, place)
        try:
            with open_stored_zip(data) as archive:
                # Before the payload, which had another name in earlier protocols.
                manifest = Manifest.loads(archive.read(MANIFEST_NAME), place=place)
                coded = CODED_PAYLOAD_NAME in archive.namelist()
                payload = archive.read(CODED_PAYLOAD_NAME if coded else PAYLOAD_NAME)
        except ArtifactError:
            raise
        # zipfile answers damage with whatever its parser meets first: struct.error, NotImplementedError, EOFError ...
        except Exception as error:
            raise ArtifactFormatError(
                f"{place}: expected a .sparkq artifact (zip of {MANIFEST_NAME} and {PAYLOAD_NAME}); got {len(data)} bytes "
                f"that do not open as one ({error}).",
                hint="copy the file again, or write it anew with `sparkq quantize`.",
            ) from error
        if coded:
            payload = decode_payload(payload, manifest.payload_bytes, place=place)
        digest = sha256_digest(payload)
        if digest != manifest.payload_sha256:
            raise ArtifactDigestError(
                f"{place}: expected a payload with sha256 {manifest.payload_sha256}; got {digest}.",
                hint="the file was changed after it was written; write it anew with `sparkq quantize`.",
            )
        if len(payload) != manifest.payload_bytes:
            raise ArtifactFormatError(
                f"{place}: expected a payload of {manifest.payload_bytes} bytes; got {len(payload)}.",
                hint="copy the file again, or make it anew with `sparkq quantize`.",
            )
        return cls(manifest, payload)

    def save(self, path: str) -> None:
        """Write the file; it appears whole or not at all.

        Parameters
        ----------
        path : str
            Local path or ``pyarrow.fs`` uri such as ``s3://bucket/model.sparkq``.
        """
        write_file(str(path), self.dumps(), what="artifact")

    @classmethod
    def load(cls, path: str, *, sha256: str | None = None) -> ModelArtifact:
        """Read and check a file.

        Parameters
        ----------
        path : str
            Local path or ``pyarrow.fs`` uri.
        sha256 : str, optional
            Pins the file: its sha256, as ``sha256sum model.sparkq`` prints it. Not the artifact's digest, which covers the
            payload alone and says nothing of labels and preprocessing.

        Raises
        ------
        InputError
            If there is no readable file.
        ConfigError, ArtifactError
            As `loads`; ArtifactFormatError also if the payload is no program.
        """
        place = shown(str(path))
        artifact = cls.loads(read_file(str(path), what="artifact"), place=place, sha256=sha256)
        # Engines do so again where they open it; here it costs no job.
        artifact.program(place=place)
        return artifact

    def program(self, *, place: str = "artifact") -> Program:
        """Read the payload and check it whole.

        Raises
        ------
        ArtifactFormatError
            If it is no program, or its images or its output are of another size than the manifest says.
        """
        program = loads_program(self.payload, place=place)
        found = (*program.input.shape[1:3], program.types()[program.output].shape[1])
        said = (*self.manifest.input_size, self.manifest.output_length)
        if found != said:
            raise ArtifactFormatError(
                "{}: expected a program from images of {} x {} pixels to {} outputs; got one from {} x {} to {}.".format(
                    place, *said, *found,
                ),
                hint="write it anew with `sparkq quantize`.",
            )
        return program

    def with_accuracy(self, **measured: float) -> ModelArtifact:
        """A copy whose manifest also says what was measured, e.g. ``top1`` in percent."""
        return replace(self, manifest=replace(self.manifest, accuracy={**self.manifest.accuracy, **measured}))
