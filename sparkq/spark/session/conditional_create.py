"""Creation of a file on the condition that there is none, by whatever the store's connector has for it. On the driver."""
from __future__ import annotations

import time
from typing import Any

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]  # it ships no types

__all__ = ["UNCONDITIONAL", "can_create_if_absent", "create_if_absent", "fill"]

UNCONDITIONAL = (
    "output %s: its connector or its store cannot create a file on the condition that there is none. Two attempts of one run id "
    "that commit at the same moment may both report success, with rows of both in the folder. Hint: use Hadoop 3.4.2 or later "
    "(EMR 7.13 or later) on a store that knows If-None-Match, run one attempt of a run id at a time, and read with "
    "read_predictions."
)
"""The warning of a place where `create_if_absent` cannot keep what it promises elsewhere."""

# S3A of Hadoop 3.4.2 or later: `If-None-Match: *`.
_CONDITIONAL = "fs.option.create.conditional.overwrite"
# Here plain `create` without overwriting is one step of the store's: generation 0 at Google, `If-None-Match` at Azure.
_CONDITIONAL_CREATE = ("gs", "abfs", "abfss")
_EXISTS, _CONFLICT, _NOT_IMPLEMENTED = 412, 409, 501
_CONFLICT_PAUSES_SECONDS = (0.2, 1.0, 5.0)
_methods_by_class: dict[str, frozenset[tuple[str, int]]] = {}


def can_create_if_absent(filesystem: Any, path: Any) -> bool:
    """Whether of several that create `path` at the same moment all but one are refused, or find out that they came second."""
    return _by_option(filesystem, path) or _request_maker(filesystem) is not None


def create_if_absent(jvm: Any, filesystem: Any, path: Any, data: bytes) -> bool | None:
    """Write a file where there is none; False where there is one.

    Returns
    -------
    bool or None
        True where the store saw to it that there was none, in one step. None where it was only looked for just before: another
        may have been written at the same moment.

    Raises
    ------
    Py4JJavaError
        For whatever else the filesystem refuses, and where one appeared meanwhile on filesystems that say so by an error.
    """
    by_option = _by_option(filesystem, path)
    maker = None if by_option else _request_maker(filesystem)
    created = None if maker is None else _put(jvm, filesystem, maker, path, data)
    if created is not None:
        return created
    # Not `must`: connectors that do not know the option look whether there is a file before they write.
    builder = filesystem.createFile(path).overwrite(False).recursive()
    fill(builder.opt(_CONDITIONAL, "true").build(), data)
    return True if by_option else None


def fill(stream: Any, data: bytes) -> None:
    """Write all of a file's bytes to a Java stream and close it."""
    try:
        stream.write(bytearray(data))
    finally:
        stream.close()


def _by_option(filesystem: Any, path: Any) -> bool:
    return filesystem.getUri().getScheme() in _CONDITIONAL_CREATE or bool(filesystem.hasPathCapability(path, _CONDITIONAL))


def _methods(java_object: Any) -> frozenset[tuple[str, int]]:
    """Names of public methods, with how many parameters each takes: py4j believes that every object has every method."""
    kind = java_object.getClass()
    name = str(kind.getName())
    if name not in _methods_by_class:
        # Once a class: each call of Java's is a way through a socket, and S3A has hundreds of methods.
        _methods_by_class[name] = frozenset(
            (str(method.getName()), int(method.getParameterCount())) for method in kind.getMethods()
        )
    return _methods_by_class[name]


def _request_maker(filesystem: Any) -> Any:
    """Find what makes S3A's requests, with its encryption and rights, on Hadoop 3.3: Amazon's first SDK. None elsewhere."""
    methods = _methods(filesystem)
    if ("getAmazonS3ClientForTesting", 1) not in methods:
        return None
    makers = [filesystem] + ([filesystem.getRequestFactory()] if ("getRequestFactory", 0) in methods else [])
    wanted = {("newObjectMetadata", 1), ("newPutObjectRequest", 3)}
    return next((maker for maker in makers if wanted <= _methods(maker)), None)


def _put(jvm: Any, filesystem: Any, maker: Any, path: Any, data: bytes) -> bool | None:
    """Put an object with ``If-None-Match: *``, a header that this S3A has no option for; None where the store knows no such."""
    client = filesystem.getAmazonS3ClientForTesting("create a run manifest where there is none")
    key = str(path.toUri().getPath()).lstrip("/")
    pauses = list(_CONFLICT_PAUSES_SECONDS)
    while True:
        stream = jvm.java.io.ByteArrayInputStream(bytearray(data))
        request = maker.newPutObjectRequest(key, maker.newObjectMetadata(len(data)), stream)
        request.putCustomRequestHeader("If-None-Match", "*")
        try:
            client.putObject(request)
            return True
        except Py4JJavaError as error:
            status = _status(error)
            if status == _NOT_IMPLEMENTED:
                return None
            if status == _EXISTS:
                return False
            # Another request for the same key is under way, and may yet fail.
            if status != _CONFLICT or not pauses:
                raise
            time.sleep(pauses.pop(0))


def _status(error: Py4JJavaError) -> int | None:
    raised = error.java_exception
    return int(raised.getStatusCode()) if ("getStatusCode", 0) in _methods(raised) else None
