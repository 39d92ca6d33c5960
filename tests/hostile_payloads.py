"""Payloads that reach for files: what someone else may put where the program stands. Each is a sound TorchScript archive."""
from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from sparkq.artifact.file import ModelArtifact
from tests.models import digits_artifact

BYTES = 10
"""What the file that is written, or read, has."""


class _WritesOnLoad(nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.opened = torch.zeros(BYTES, dtype=torch.uint8)

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        self.opened = torch.from_file(state[0], True, 10, dtype=torch.uint8)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :10].float() + self.opened.sum()


class _WritesWhenRun(nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, images: Tensor) -> Tensor:
        opened = torch.from_file(self.path, True, 10, dtype=torch.uint8)
        return images.flatten(1)[:, :10].float() + opened.fill_(7).sum()


class _SavesWhenRun(nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, images: Tensor) -> Tensor:
        torch.save(images, self.path)
        return images.flatten(1)[:, :10].float()


class _ReadsWhenRun(nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, images: Tensor) -> Tensor:
        content = torch.from_file(self.path, False, 10, dtype=torch.uint8).float()
        return images.flatten(1)[:, :10].float() * 0 + content


HOSTILE: dict[str, Callable[[str], nn.Module]] = {
    "writes when it is loaded": _WritesOnLoad, "writes when it is run": _WritesWhenRun, "saves when it is run": _SavesWhenRun,
    "reads when it is run": _ReadsWhenRun,
}
"""By what they do; each takes the path."""


def hostile_payload(kind: str, path: Path) -> bytes:
    """An archive whose code opens `path`, which must be there to read from."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(HOSTILE[kind](str(path))), stream)
    return stream.getvalue()


def with_payload(payload: bytes) -> ModelArtifact:
    """A sound artifact in all but its payload: manifest, digest and size are right."""
    manifest = digits_artifact("none").manifest
    return ModelArtifact(
        replace(manifest, payload_bytes=len(payload), payload_sha256=hashlib.sha256(payload).hexdigest()), payload,
    )
