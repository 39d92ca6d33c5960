"""A listing through Hadoop's filesystems, for those that ``pyarrow.fs`` does not reach."""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]  # it ships no types

from sparkq.errors import InputError
from sparkq.images.listing import ListedFile, Listing, listing_of, reason_to_leave_out
from sparkq.spark.session.failures import root_message

__all__ = ["list_hadoop"]


def list_hadoop(filesystem: Any, root: Any, location: str, matches: Callable[[str], bool]) -> Listing:
    """List a folder recursively, or one file. On the driver.

    Parameters
    ----------
    filesystem, root
        Java objects of `sparkq.spark.session.hadoop.hadoop_path`; `root` is there.
    location : str
        For messages.
    matches : callable
        Whether a file of this name is asked for.

    Raises
    ------
    InputError
        If a folder cannot be listed.
    """
    left_out: Counter[str] = Counter()
    try:
        top = filesystem.getFileStatus(root)
        if top.isFile():
            return listing_of([_listed(top)], left_out)
        base = f"{str(top.getPath().toString()).rstrip('/')}/"
        return listing_of(_below(filesystem, root, base, matches, left_out), left_out)
    except Py4JJavaError as error:
        raise InputError(
            f"input {location}: expected a folder that can be listed; got {root_message(error)}.",
            hint="check the path and the right to read it.",
        ) from error


def _below(
    filesystem: Any, root: Any, base: str, matches: Callable[[str], bool], left_out: Counter[str],
) -> Iterator[ListedFile]:
    # Recursive: on object stores a request a thousand objects, not one a folder.
    statuses = filesystem.listFiles(root, True)
    while statuses.hasNext():
        file = _listed(statuses.next())
        *folders, name = file.path.removeprefix(base).split("/")
        reason = reason_to_leave_out(folders, name, file.length, matches)
        if reason is None:
            yield file
        else:
            left_out[reason] += 1


def _listed(status: Any) -> ListedFile:
    return ListedFile(str(status.getPath().toString()), int(status.getLen()), int(status.getModificationTime()))
