"""A TorchScript archive, checked and written anew: what torch opens holds what was checked and nothing else.

torch's own reader of zips differs from Python's (it ignores the case of names, and finds the directory in its own way), so that
what one of them sees need not be what the other does.
"""
from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping

from sparkq.artifact.torchscript.code import CodeError, check_code
from sparkq.artifact.torchscript.pickles import PickleError, check_pickle
from sparkq.errors import ArtifactFormatError, one_line

__all__ = ["check_torchscript", "checked_torchscript"]

_MOST_CODE_BYTES = 32 * 2**20
"""Source is the one thing that is stored compressed: of maxvit_t it is 0.8 MB."""
_CODE = re.compile(r"code/((?:\w+/)*\w+)\.py", re.ASCII)
_KEPT = re.compile(r"(?:data|constants)(?:\.pkl|/\d{1,9})|(?:\.data/)?version|byteorder", re.ASCII)
_NUMBERS = re.compile(r"(?:data|constants)/\d+", re.ASCII)
_VERSIONS = (".data/version", "version")
"""The first where torch's latest operators are in it."""
_HINT = (
    "load only artifacts that `sparkq quantize` wrote; if it wrote this one, quantize again, and report the operator if it stays."
)


def check_torchscript(payload: bytes, *, place: str) -> None:
    """Check a payload, executing nothing of it.

    Parameters
    ----------
    payload : bytes
        An archive of ``torch.jit.save``.
    place : str
        Where it came from, for the message.

    Raises
    ------
    ArtifactFormatError
        If its code or its pickles hold what no payload of sparkq's needs, such as an operator that opens a file.
    """
    _copy(payload, None, place)


def checked_torchscript(payload: bytes, *, place: str) -> io.BytesIO:
    """The same archive, checked as by `check_torchscript` and written anew for ``torch.jit.load``, without debug information.

    Raises
    ------
    ArtifactFormatError
        As `check_torchscript`.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as target:
        _copy(payload, target, place)
    stream.seek(0)
    return stream


def _copy(payload: bytes, target: zipfile.ZipFile | None, place: str) -> None:
    """Check an archive and write what a model is made of to `target`."""
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            entries = _entries(archive, len(payload))
            texts = {name: _read(archive, entry) for name, entry in entries.items() if not _NUMBERS.fullmatch(name)}
            _check(texts, {name: entry.file_size for name, entry in entries.items() if _NUMBERS.fullmatch(name)})
            for name, entry in entries.items() if target else ():
                assert target
                target.writestr(zipfile.ZipInfo(f"archive/{name}"), texts.get(name) or _read(archive, entry))
    except (CodeError, PickleError) as error:
        raise ArtifactFormatError(
            f"{place}: expected a payload that computes with tensors and nothing else; got {error}.", hint=_HINT,
        ) from error
    # zipfile answers damage with whatever its parser meets first: struct.error, NotImplementedError, EOFError ...
    except Exception as error:
        raise ArtifactFormatError(
            f"{place}: expected a TorchScript archive as payload; got {one_line(error)}.", hint=_HINT,
        ) from error


def _entries(archive: zipfile.ZipFile, file_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """Entries by their names, all in one folder; torch takes that of the first one for it."""
    root = archive.namelist()[0].partition("/")[0]
    entries: dict[str, zipfile.ZipInfo] = {}
    code_bytes = stored_bytes = 0
    for entry in archive.infolist():
        folder, _, name = entry.filename.partition("/")
        is_code = _CODE.fullmatch(name) is not None
        if not is_code and not _KEPT.fullmatch(name):
            continue
        code_bytes += entry.file_size if is_code else 0
        stored_bytes += 0 if is_code else entry.file_size
        if folder != root or name in entries:
            raise CodeError(f"file {entry.filename!r}, which is apart from the others or there twice")
        entries[name] = entry
    if stored_bytes > file_bytes or code_bytes > _MOST_CODE_BYTES:
        raise CodeError(f"files of {stored_bytes} bytes and code of {code_bytes} in an archive of {file_bytes}")
    return entries


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as stream:
        # What is compressed may be longer than it says.
        content = stream.read(entry.file_size + 1)
    if len(content) != entry.file_size:
        raise CodeError(f"file {entry.filename!r} of another size than it says")
    return content


def _check(texts: Mapping[str, bytes], sizes: Mapping[str, int]) -> None:
    sources = {
        found.group(1).replace("/", "."): content.decode("ascii")
        for name, content in texts.items() if (found := _CODE.fullmatch(name))
    }
    classes = check_code(sources)
    for kind in ("data", "constants"):
        files = {name.partition("/")[2]: size for name, size in sizes.items() if name.startswith(f"{kind}/")}
        check_pickle(texts[f"{kind}.pkl"], classes=classes, files=files)
    versions = [texts[name] for name in _VERSIONS if name in texts]
    if len(versions) != 1 or re.fullmatch(rb"\d{1,3}\n?", versions[0]) is None or texts.get("byteorder", b"little") != b"little":
        raise CodeError(f"versions {versions[:2]} or an order of bytes {texts.get('byteorder')!r}")
