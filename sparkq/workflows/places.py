"""Check the places that a job names before Spark is started: what is local is looked at, what is elsewhere is left to Spark."""
from __future__ import annotations

import os
import re
import tempfile

from sparkq.errors import InputError
from sparkq.storage import local_path, shown

__all__ = ["require_input", "require_writable"]

_PATTERN = re.compile(r"[*?\[{]")


def require_input(path: str) -> None:
    """Raise `InputError` if an input is local and not there; patterns are left to Spark."""
    place = local_path(path)
    if place is not None and not os.path.exists(place) and not _PATTERN.search(path):
        raise InputError(f"input {shown(path)}: expected images; got no such path.", hint="check the path.")


def require_writable(path: str, *, what: str, is_folder: bool) -> None:
    """Raise `InputError` if a local output cannot be written. A folder is made for that beside it, and removed again.

    Parameters
    ----------
    path : str
        Of the output, which need not be there.
    what : str
        What it is, for the message.
    is_folder : bool
        Whether it is a folder to write into, or a file.
    """
    place = local_path(path)
    if place is None:
        return
    # Rights alone do not tell: root has them on a disk that is read-only.
    above = os.path.abspath(os.fsdecode(place))
    if not is_folder:
        above = os.path.dirname(above)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".sparkq-", dir=above))
    except OSError as error:
        raise InputError(
            f"{what} {shown(path)}: expected a writable place; got {error.strerror} at {shown(above)}.",
            hint="check the path, and the right to write there.",
        ) from error
