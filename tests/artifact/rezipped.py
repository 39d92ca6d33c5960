"""Zips of an artifact's files that no `ModelArtifact` would write."""
from __future__ import annotations

import io
import zipfile


def rezipped(
    manifest: bytes | None, payload: bytes | None, compression: int = zipfile.ZIP_STORED, name: str = "program.safetensors",
) -> bytes:
    """A sound zip of these files, as someone who edits an artifact by hand would make."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in (("manifest.json", manifest), (name, payload)):
            if data is not None:
                archive.writestr(name, data)
    return stream.getvalue()
