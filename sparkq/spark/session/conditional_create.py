"""Creation of a file on the condition that there is none, by whatever the store's connector has for it. On the driver."""
from __future__ import annotations

import time
from typing import Any

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]  # it ships no types

__all__ = ["can_create_if_absent", "create_if_absent", "fill"]

# S3A of Hadoop 3.4.2 or later: `If-None-Match: *`.
_CONDITIONAL = "fs.option.create.conditional.overwrite"
# Here plain `create` without overwriting is one step of the store's: generation 0 at Google, `If-None-Match` at Azure.
_CONDITIONAL_CREATE = ("gs", "abfs", "abfss")
_EXISTS, _CONFLICT, _NOT_IMPLEMENTED = 412, 409, 501
_CONFLICT_PAUSES_SECONDS = (0.2, 1.0, 5.0)


def can_create_if_absent(filesystem: Any, path: Any) -> bool:
    """Whether of several that create `path` at the same moment all but one are refused, or find out that they came second."""
    return _by_option(filesystem, path) or _request_maker(filesystem) is not None


def create_if_absent(jvm: Any, filesystem: Any, path: Any, data: bytes) -> bool:
    """Write a file where there is none; False where there is one.

    Where not `can_create_if_absent`, it looks whether there is one just before it writes.

    Raises
    ------
    Py4JJavaError
        For whatever else the filesystem refuses, and where one appeared meanwhile on filesystems that say so by an error.
    """
    maker = None if _by_option(filesystem, path) else _request_maker(filesystem)
    created = None if maker is None else _put(jvm, filesystem, maker, path, data)
    if created is not None:
        return created
    # Not `must`: connectors that do not know the option look whether there is a file before they write.
    builder = filesystem.createFile(path).overwrite(False).recursive()
    fill(builder.opt(_CONDITIONAL, "true").build(), data)
    return True


def fill(stream: Any, data: bytes) -> None:
    """Write all of a file's bytes to a Java stream and close it."""
    try:
        stream.write(bytearray(data))
    finally:
        stream.close()


def _by_option(filesystem: Any, path: Any) -> bool:
    return filesystem.getUri().getScheme() in _CONDITIONAL_CREATE or bool(filesystem.hasPathCapability(path, _CONDITIONAL))


def _methods(java_object: Any) -> set[tuple[str, int]]:
    """Names of public methods, with how many parameters each takes: py4j believes that every object has every method."""
    return {(str(method.getName()), int(method.getParameterCount())) for method in java_object.getClass().getMethods()}


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
    for pause in (*_CONFLICT_PAUSES_SECONDS, None):
        stream = jvm.java.io.ByteArrayInputStream(bytearray(data))
        request = maker.newPutObjectRequest(key, maker.newObjectMetadata(len(data)), stream)
        request.putCustomRequestHeader("If-None-Match", "*")
        try:
            client.putObject(request)
        except Py4JJavaError as error:
            status = _status(error)
            if status == _NOT_IMPLEMENTED:
                return None
            if status == _EXISTS:
                return False
            # Another request for the same key is under way, and may yet fail.
            if status != _CONFLICT or pause is None:
                raise
            time.sleep(pause)
        else:
            return True
    return False


def _status(error: Py4JJavaError) -> int | None:
    raised = error.java_exception
    return int(raised.getStatusCode()) if ("getStatusCode", 0) in _methods(raised) else None
