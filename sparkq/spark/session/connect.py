"""Spark Connect: its client has no broadcast and no JVM, so an artifact travels as a file of the session."""
from __future__ import annotations

import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark import SparkFiles

__all__ = ["SessionFile", "add_to_session", "is_connect"]

_MAX_REMEMBERED = 64
_added: OrderedDict[tuple[str, str], None] = OrderedDict()


@dataclass(frozen=True)
class SessionFile:
    """A file that a session has sent along, read like a broadcast.

    Parameters
    ----------
    name : str
        What `add_to_session` gave it.
    """

    name: str

    @property
    def value(self) -> bytes:
        """The bytes that were sent. On a Python worker of the session."""
        return Path(SparkFiles.get(self.name)).read_bytes()


def is_connect(session: Any) -> bool:
    """Whether a session is one of Spark Connect; its module is not imported for that, it needs packages of its own."""
    return type(session).__module__.startswith("pyspark.sql.connect.")


def add_to_session(session: Any, data: bytes, file_sha256: str) -> SessionFile:
    """Send bytes to the server, once a session however often it is asked for; executors fetch them when a task needs them.

    Parameters
    ----------
    session : pyspark.sql.connect.session.SparkSession
        Where.
    data : bytes
        The whole ``.sparkq`` file.
    file_sha256 : str
        Of `data`: the file's name, so that one session may hold many.
    """
    file = SessionFile(f"{file_sha256}.sparkq")
    key = (str(session.session_id), file_sha256)
    if key not in _added:
        with tempfile.TemporaryDirectory(prefix="sparkq-") as folder:
            path = Path(folder) / file.name
            path.write_bytes(data)
            session.addArtifacts(str(path), file=True)
        _added[key] = None
    _added.move_to_end(key)
    while len(_added) > _MAX_REMEMBERED:
        # What is forgotten is sent again if it is asked for; the server takes the same bytes twice.
        _added.popitem(last=False)
    return file
