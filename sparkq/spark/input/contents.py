"""Bytes of files as a pandas function of Spark's, for rows whose ``content`` a user reads himself."""
from __future__ import annotations

from collections.abc import Iterator

import pandas as pd  # type: ignore[import-untyped]  # it ships no types

from sparkq.config import DEFAULT_MAX_IMAGE_BYTES
from sparkq.images.read import read_objects

__all__ = ["contents_at"]

_BATCH_BYTES = 8 * 2**20


def contents_at(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
    """Read the bytes at paths, in small batches however many paths Spark sends at once."""
    for paths in batches:
        waiting: list[bytes | None] = []
        size = 0
        for read in read_objects(paths, max_bytes=DEFAULT_MAX_IMAGE_BYTES):
            waiting.append(read if isinstance(read, bytes) else None)
            size += len(waiting[-1] or b"")
            if size > _BATCH_BYTES:
                yield pd.Series(waiting, dtype=object)
                waiting, size = [], 0
        yield pd.Series(waiting, dtype=object)
